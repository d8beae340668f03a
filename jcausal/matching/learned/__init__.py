"""Matching by what is learnt: a metric that balances or predicts, a subset that balances."""

from jcausal.matching.learned._genetic_matching import GeneticMatching as GeneticMatching
