"""Pairs: for every query its partners by row, with weights."""

from jcausal.matching.neighbors._best_counterfactual import BestCounterfactual as BestCounterfactual
from jcausal.matching.neighbors._nearest_neighbors import NearestNeighbors as NearestNeighbors
from jcausal.matching.neighbors._pairs import Guide as Guide
from jcausal.matching.neighbors._pairs import Pairs as Pairs
from jcausal.matching.neighbors._prognostic_neighbors import (
    PrognosticNeighbors as PrognosticNeighbors,
)
