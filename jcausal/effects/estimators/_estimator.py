"""What an estimator without groups is."""

from abc import abstractmethod

import equinox as eqx
from jaxtyping import PRNGKeyArray

from jcausal.data import Options, Sample
from jcausal.effects._average import Average, Population
from jcausal.matching import Progress


class Estimator(Options, eqx.Module):
    """A method that gives an average effect and makes no groups: hyperparameters only.

    `jc.estimate(sample, method)` checks what it is asked, deals the key and calls `run`.
    """

    @property
    @abstractmethod
    def traceable(self) -> bool:
        """Whether it may run under jit, vmap and grad."""

    @property
    @abstractmethod
    def cross_fits(self) -> bool:
        """Whether models are trained on other folds, which `key` deals; else `folds` is 1."""

    @property
    @abstractmethod
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""

    @abstractmethod
    def run(
        self,
        sample: Sample,
        estimand: Population,
        folds: int,
        key: PRNGKeyArray | None,
        progress: Progress | None,
    ) -> Average:
        """The average of a sample that has outcomes."""
