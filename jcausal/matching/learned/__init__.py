"""Matching by what is learnt: a metric that balances or predicts, a subset that balances."""

from jcausal.matching.learned._boss import BOSS as BOSS
from jcausal.matching.learned._genetic_matching import GeneticMatching as GeneticMatching
from jcausal.matching.learned._malts import MALTS as MALTS
from jcausal.matching.learned._stretch import Stretch as Stretch
from jcausal.matching.learned._stretch import StretchSurface as StretchSurface
