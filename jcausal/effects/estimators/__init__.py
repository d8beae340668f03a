"""Average effects without a matching."""

from jcausal.effects.estimators._aipw import AIPW as AIPW
from jcausal.effects.estimators._aipw import aipw_of as aipw_of
from jcausal.effects.estimators._estimator import Estimator as Estimator
