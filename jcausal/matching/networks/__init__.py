"""Networks: matchings that are best as a whole, by flows and programs."""

from jcausal.matching.networks._cardinality_matching import (
    CardinalityMatching as CardinalityMatching,
)
from jcausal.matching.networks._full_matching import FullMatching as FullMatching
from jcausal.matching.networks._optimal_matching import OptimalMatching as OptimalMatching
