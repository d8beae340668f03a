"""Response surfaces: models of the outcome without and with the treatment."""

from jcausal.outcome._bart import BART as BART
from jcausal.outcome._bart import BARTSurface as BARTSurface
from jcausal.outcome._boosted import BoostedTrees as BoostedTrees
from jcausal.outcome._boosted import BoostedTreesSurface as BoostedTreesSurface
from jcausal.outcome._ensemble import Trees as Trees
from jcausal.outcome._ensemble import TreesSurface as TreesSurface
from jcausal.outcome._fit import fit as fit
from jcausal.outcome._function import Function as Function
from jcausal.outcome._function import as_surface as as_surface
from jcausal.outcome._given import check_model as check_model
from jcausal.outcome._mlp import MLP as MLP
from jcausal.outcome._mlp import MLPSurface as MLPSurface
from jcausal.outcome._quality import FitWarning as FitWarning
from jcausal.outcome._ridge import Ridge as Ridge
from jcausal.outcome._ridge import RidgeSurface as RidgeSurface
from jcausal.outcome._surface import OutcomeModel as OutcomeModel
from jcausal.outcome._surface import ResponseSurface as ResponseSurface
from jcausal.outcome._surface import line_offsets as line_offsets
