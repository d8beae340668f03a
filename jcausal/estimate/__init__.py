"""Effects from a matching."""

from jcausal.estimate._aipw import AIPW as AIPW
from jcausal.estimate._average import Average as Average
from jcausal.estimate._effects import Effects as Effects
from jcausal.estimate._effects import Partitions as Partitions
from jcausal.estimate._estimate import estimate as estimate
from jcausal.estimate._words import factorized as factorized
from jcausal.estimate._words import group_codes as group_codes
from jcausal.estimate._words import group_labels as group_labels
