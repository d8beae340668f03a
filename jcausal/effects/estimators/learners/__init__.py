"""Learners of the effect at each unit's covariates, and the averages that go with them."""

from jcausal.effects.estimators.learners._causal_forest import CausalForest as CausalForest
from jcausal.effects.estimators.learners._dml import DML as DML
from jcausal.effects.estimators.learners._dml import partial_linear_of as partial_linear_of
from jcausal.effects.estimators.learners._dr_learner import DRLearner as DRLearner
from jcausal.effects.estimators.learners._forest import Forest as Forest
from jcausal.effects.estimators.learners._learner import Learner as Learner
from jcausal.effects.estimators.learners._r_learner import RLearner as RLearner
from jcausal.effects.estimators.learners._s_learner import SLearner as SLearner
from jcausal.effects.estimators.learners._t_learner import TLearner as TLearner
from jcausal.effects.estimators.learners._x_learner import XLearner as XLearner
