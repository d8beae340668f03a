"""Matchings by strata: units that share a label are compared with each other."""

from jcausal.matching.strata._strata import Strata as Strata
from jcausal.matching.strata._strata import StratumGuide as StratumGuide
