"""Response surfaces: models of the outcome without and with the treatment."""

from jcausal.surfaces._alike import alike as alike
from jcausal.surfaces._bart import BART as BART
from jcausal.surfaces._bart import BARTSurface as BARTSurface
from jcausal.surfaces._boosted import BoostedTrees as BoostedTrees
from jcausal.surfaces._boosted import BoostedTreesSurface as BoostedTreesSurface
from jcausal.surfaces._ensemble import Trees as Trees
from jcausal.surfaces._ensemble import TreesSurface as TreesSurface
from jcausal.surfaces._fit import fit as fit
from jcausal.surfaces._folds import deal_folds as deal_folds
from jcausal.surfaces._folds import fold_surface as fold_surface
from jcausal.surfaces._function import Function as Function
from jcausal.surfaces._function import as_surface as as_surface
from jcausal.surfaces._given import check_model as check_model
from jcausal.surfaces._mlp import MLP as MLP
from jcausal.surfaces._mlp import MLPSurface as MLPSurface
from jcausal.surfaces._quality import FitWarning as FitWarning
from jcausal.surfaces._ridge import Ridge as Ridge
from jcausal.surfaces._ridge import RidgeSurface as RidgeSurface
from jcausal.surfaces._surface import Arms as Arms
from jcausal.surfaces._surface import OutcomeModel as OutcomeModel
from jcausal.surfaces._surface import ResponseSurface as ResponseSurface
from jcausal.surfaces._surface import line_offsets as line_offsets
from jcausal.surfaces._switch import all_level_changes as all_level_changes
from jcausal.surfaces._switch import level_changes as level_changes
from jcausal.surfaces._switch import sees as sees
