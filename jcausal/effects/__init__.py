"""Effects from a matching."""

from jcausal.effects._average import Average as Average
from jcausal.effects._average import Population as Population
from jcausal.effects._average import apart_words as apart_words
from jcausal.effects._effects import Effects as Effects
from jcausal.effects._estimate import estimate as estimate
from jcausal.effects._frames import cate_frame as cate_frame
from jcausal.effects._group_effects import Partitions as Partitions
from jcausal.effects._group_labels import factorized as factorized
from jcausal.effects._group_labels import group_codes as group_codes
from jcausal.effects._group_labels import group_labels as group_labels
from jcausal.effects._notes import careful_words as careful_words
from jcausal.effects._notes import disagreement_words as disagreement_words
from jcausal.effects.estimators import AIPW as AIPW
from jcausal.effects.estimators import CBPS as CBPS
from jcausal.effects.estimators import DML as DML
from jcausal.effects.estimators import IPTW as IPTW
from jcausal.effects.estimators import TMLE as TMLE
from jcausal.effects.estimators import DRLearner as DRLearner
from jcausal.effects.estimators import EntropyBalance as EntropyBalance
from jcausal.effects.estimators import Estimator as Estimator
from jcausal.effects.estimators import OverlapWeights as OverlapWeights
from jcausal.effects.estimators import RLearner as RLearner
from jcausal.effects.estimators import SLearner as SLearner
from jcausal.effects.estimators import TLearner as TLearner
from jcausal.effects.estimators import XLearner as XLearner
