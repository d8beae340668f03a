"""Matchings by strata: units that share a label are compared with each other."""

from jcausal.matching.strata._cem import CEM as CEM
from jcausal.matching.strata._dame import DAME as DAME
from jcausal.matching.strata._flame import FLAME as FLAME
from jcausal.matching.strata._strata import Strata as Strata
from jcausal.matching.strata._strata import StratumGuide as StratumGuide
from jcausal.matching.strata._subclassification import Subclassification as Subclassification
