"""The table of completion methods: one line a method."""

from collections.abc import Callable

from jcausal.panels._completer import Completer
from jcausal.panels._cross_fitted import CrossFittedDR
from jcausal.panels._dr_neighbors import DoublyRobustNeighbors
from jcausal.panels._mcnnm import MCNNM
from jcausal.panels._row_scaled import RowScaledSpectral
from jcausal.panels._snn import SyntheticNearestNeighbors
from jcausal.panels._synthetic_control import SyntheticControl
from jcausal.panels._synthetic_did import SyntheticDiD
from jcausal.panels._two_way import TwoWayFixedEffects
from jcausal.panels._unit_means import UnitMeans
from jcausal.panels._usvt import USVT

METHODS: tuple[Callable[[], Completer], ...] = (
    RowScaledSpectral,
    USVT,
    MCNNM,
    CrossFittedDR,
    DoublyRobustNeighbors,
    SyntheticNearestNeighbors,
    TwoWayFixedEffects,
    SyntheticControl,
    SyntheticDiD,
    UnitMeans,
)
