"""Panels: units over times, a treatment that may come and go, and both outcomes completed."""

from jcausal.panels._assignment import Assignment as Assignment
from jcausal.panels._assignment import PatternError as PatternError
from jcausal.panels._complete import CompletionWarning as CompletionWarning
from jcausal.panels._complete import check_pattern as check_pattern
from jcausal.panels._complete import complete as complete
from jcausal.panels._completer import Completed as Completed
from jcausal.panels._completer import Completer as Completer
from jcausal.panels._completer import StdErrors as StdErrors
from jcausal.panels._completion import Completion as Completion
from jcausal.panels._cross_fitted_dr import CrossFittedDR as CrossFittedDR
from jcausal.panels._dr_neighbors import DoublyRobustNeighbors as DoublyRobustNeighbors
from jcausal.panels._mcnnm import MCNNM as MCNNM
from jcausal.panels._panel import Panel as Panel
from jcausal.panels._row_scaled import RowScaledSpectral as RowScaledSpectral
from jcausal.panels._synthetic_control import SyntheticControl as SyntheticControl
from jcausal.panels._synthetic_did import SyntheticDiD as SyntheticDiD
from jcausal.panels._synthetic_neighbors import (
    SyntheticNearestNeighbors as SyntheticNearestNeighbors,
)
from jcausal.panels._two_way import TwoWayFixedEffects as TwoWayFixedEffects
from jcausal.panels._unit_means import UnitMeans as UnitMeans
from jcausal.panels._usvt import USVT as USVT
