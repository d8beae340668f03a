"""The table of completion methods: one line a method."""

from collections.abc import Callable

from jcausal.panel._completer import Completer
from jcausal.panel._cross_fitted import CrossFittedDR
from jcausal.panel._dr_neighbors import DoublyRobustNeighbors
from jcausal.panel._mcnnm import MCNNM
from jcausal.panel._row_scaled import RowScaledSpectral
from jcausal.panel._snn import SyntheticNearestNeighbors
from jcausal.panel._synthetic_control import SyntheticControl
from jcausal.panel._synthetic_did import SyntheticDiD
from jcausal.panel._two_way import TwoWayFixedEffects
from jcausal.panel._unit_means import UnitMeans
from jcausal.panel._usvt import USVT

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
