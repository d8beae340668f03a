"""Average effects without a matching."""

from jcausal.effects.estimators._aipw import AIPW as AIPW
from jcausal.effects.estimators._aipw import aipw_of as aipw_of
from jcausal.effects.estimators._estimator import Estimator as Estimator
from jcausal.effects.estimators._tmle import TMLE as TMLE
from jcausal.effects.estimators._weighting import CBPS as CBPS
from jcausal.effects.estimators._weighting import IPTW as IPTW
from jcausal.effects.estimators._weighting import EntropyBalance as EntropyBalance
from jcausal.effects.estimators._weighting import OverlapWeights as OverlapWeights
from jcausal.effects.estimators.bayesian import BCF as BCF
from jcausal.effects.estimators.bayesian import BARTEffect as BARTEffect
from jcausal.effects.estimators.learners import DML as DML
from jcausal.effects.estimators.learners import CausalForest as CausalForest
from jcausal.effects.estimators.learners import DRLearner as DRLearner
from jcausal.effects.estimators.learners import Forest as Forest
from jcausal.effects.estimators.learners import Learner as Learner
from jcausal.effects.estimators.learners import RLearner as RLearner
from jcausal.effects.estimators.learners import SLearner as SLearner
from jcausal.effects.estimators.learners import TLearner as TLearner
from jcausal.effects.estimators.learners import XLearner as XLearner
from jcausal.effects.estimators.learners import partial_linear_of as partial_linear_of
