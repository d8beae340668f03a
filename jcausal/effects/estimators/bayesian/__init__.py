"""Effects with a posterior: sums of trees drawn by Markov chains."""

from jcausal.effects.estimators.bayesian._bart_effect import BARTEffect as BARTEffect
from jcausal.effects.estimators.bayesian._bcf import BCF as BCF
