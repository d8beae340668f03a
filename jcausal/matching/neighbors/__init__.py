"""Pairs: for every query its partners by row, with weights."""

from jcausal.matching.neighbors._pairs import Guide as Guide
from jcausal.matching.neighbors._pairs import Pairs as Pairs
