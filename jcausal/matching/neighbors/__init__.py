"""Matchings by partners: rows beside rows, with weights."""

from jcausal.matching.neighbors._nearest_neighbors import NearestNeighbors as NearestNeighbors
from jcausal.matching.neighbors._pairs import Guide as Guide
from jcausal.matching.neighbors._pairs import Pairs as Pairs
