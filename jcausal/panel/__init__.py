"""Panels: units over times, a treatment that may come and go, and both outcomes completed."""

from jcausal.panel._assignment import Assignment as Assignment
from jcausal.panel._assignment import PatternError as PatternError
from jcausal.panel._complete import CompletionWarning as CompletionWarning
from jcausal.panel._complete import check_pattern as check_pattern
from jcausal.panel._complete import complete as complete
from jcausal.panel._completer import Completed as Completed
from jcausal.panel._completer import Completer as Completer
from jcausal.panel._completer import Errors as Errors
from jcausal.panel._completion import Completion as Completion
from jcausal.panel._cross_fitted import CrossFittedDR as CrossFittedDR
from jcausal.panel._dr_neighbors import DoublyRobustNeighbors as DoublyRobustNeighbors
from jcausal.panel._mcnnm import MCNNM as MCNNM
from jcausal.panel._panel import Panel as Panel
from jcausal.panel._row_scaled import RowScaledSpectral as RowScaledSpectral
from jcausal.panel._snn import SyntheticNearestNeighbors as SyntheticNearestNeighbors
from jcausal.panel._synthetic_control import SyntheticControl as SyntheticControl
from jcausal.panel._synthetic_did import SyntheticDiD as SyntheticDiD
from jcausal.panel._two_way import TwoWayFixedEffects as TwoWayFixedEffects
from jcausal.panel._unit_means import UnitMeans as UnitMeans
from jcausal.panel._usvt import USVT as USVT
