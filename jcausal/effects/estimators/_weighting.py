"""Averages by weighting: inverse probabilities, overlap weights, entropy balancing, CBPS."""

from abc import abstractmethod

from jaxtyping import PRNGKeyArray

from jcausal.data import Sample, check_kind
from jcausal.effects._average import Average, Population
from jcausal.effects.estimators._estimator import Estimator
from jcausal.effects.estimators._known_chances import average_by_chances
from jcausal.effects.estimators._weighted_average import (
    MAXIMUM_LIKELIHOOD,
    WeightingAsk,
    average_by_weights,
)
from jcausal.matching import Progress, default
from jcausal.surfaces import Propensity


class Weighting(Estimator):
    """What weightings have in common: no outcome model, no folds, any platform."""

    @property
    @default
    def traceable(self) -> bool:
        """Whether it may run under jit and vmap: but for a classifier, always."""
        return True

    @property
    def cross_fits(self) -> bool:
        """Never: weights see no outcome."""
        return False

    @abstractmethod
    def asked(self, estimand: Population) -> WeightingAsk:
        """What weights are to be had."""

    def run(
        self,
        sample: Sample,
        estimand: Population,
        folds: int,
        key: PRNGKeyArray | None,
        progress: Progress | None,
    ) -> Average:
        """The weighted average."""
        asked = self.asked(estimand)
        if asked.propensity.is_one_regression:
            return average_by_weights(sample, asked)
        return average_by_chances(sample, asked, key)


class IPTW(Weighting):
    """Inverse probability of treatment weighting, with weights that add up to 1 in each arm.

    With e the chance of treatment by a logistic regression on all covariates (a category as its
    levels) and w the sampling weight, the difference of the arms' weighted means, where a unit
    counts w times: ATT: 1 if treated, else e / (1 - e); ATC: (1 - e) / e, and 1; ATE: 1 / e, and
    1 / (1 - e). Each arm is divided by the sum of its weights (Hajek), so that stabilising them
    changes nothing (there is no option for it). The variance is that of the stacked estimating
    equations of e and both means: that e is estimated makes it smaller.

    **Arguments:**

    - `propensity`: the model of e; by default maximum likelihood. With a classifier, or with folds,
      e is taken as known, which most often makes the error too large, and the summary says so.
    - `trim`: leave units out whose e is below it or above 1 - trim (.1 is usual), and fit e again;
      the average is then of the units that are left, and says so.

    **Raises:** `DataError` when a unit would stand for more than a million others.

    **Source:** Hirano, Imbens and Ridder (2003), Econometrica 71(4); Lunceford and Davidian (2004),
    Statistics in Medicine 23(19), for the variance; Crump, Hotz, Imbens and Mitnik (2009),
    Biometrika 96(1), for trimming.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.estimate(jc.datasets.lalonde("experiment"), jc.IPTW())
        >>> low, high = found.bounds(0.95)
        >>> bool(low < found.average < high)
        True
    """

    propensity: Propensity = MAXIMUM_LIKELIHOOD
    trim: float | int = 0.0

    def __check_init__(self) -> None:
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
        if not 0 <= self.trim < 0.5:
            raise ValueError(f"trim is {self.trim}: it must be at least 0 and under 0.5.")

    @property
    def traceable(self) -> bool:
        """As its propensity."""
        return self.propensity.traceable

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""
        return "att", "atc", "ate"

    def asked(self, estimand: Population) -> WeightingAsk:
        """What weights are to be had."""
        return WeightingAsk("inverse", estimand, "IPTW", self.propensity, self.trim)


class OverlapWeights(Weighting):
    """The average over the units that could as well have been in the other arm.

    A treated unit counts 1 - e times, a control e times, with e the chance of treatment by a
    logistic regression on all covariates: no weight is above 1, and with maximum likelihood the
    arms' means of every covariate agree exactly. The average is of the overlap population ("ato"),
    whoever is treated in it; the variance knows that e is estimated.

    **Arguments:** `propensity`: as in `IPTW`.

    **Source:** Li, Morgan and Zaslavsky (2018), JASA 113(521).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("psid")
        >>> found = jc.estimate(sample, jc.OverlapWeights(), estimand="ato")
        >>> bool(found.std_error > 0)
        True
    """

    propensity: Propensity = MAXIMUM_LIKELIHOOD

    def __check_init__(self) -> None:
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")

    @property
    def traceable(self) -> bool:
        """As its propensity."""
        return self.propensity.traceable

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Only one."""
        return ("ato",)

    def asked(self, estimand: Population) -> WeightingAsk:
        """What weights are to be had."""
        return WeightingAsk("overlap", estimand, "OverlapWeights", self.propensity)


class EntropyBalance(Weighting):
    """Weights as even as can be under which the arms' means of every covariate are the same.

    ATT: controls get the weights exp(b0 + b'x) that give them the treated's means exactly (of a
    category, the shares of its levels); of all weights that do so these are nearest to even in
    Kullback-Leibler divergence. ATC likewise the other way; ATE weighs both arms to all units. For
    the ATT that is also the just identified covariate balancing propensity score. The variance is
    that of the stacked estimating equations of weights and means.

    **Raises:** `DataError` when no weights reach the means (a treated unit beyond all controls can
    do that), naming the covariate that stays apart the most.

    **Source:** Hainmueller (2012), Political Analysis 20(1); Zhao and Percival (2017), Journal of
    Causal Inference 5(1), for its double robustness.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.estimate(jc.datasets.lalonde("psid"), jc.EntropyBalance())
        >>> bool(found.effective[0] < 2490)
        True
    """

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""
        return "att", "atc", "ate"

    def asked(self, estimand: Population) -> WeightingAsk:
        """What weights are to be had."""
        return WeightingAsk("entropy", estimand, "EntropyBalance")


class CBPS(Weighting):
    """The covariate balancing propensity score, just identified: a logistic e by its balance alone.

    The coefficients of logit e = b'x solve the arms' balance in place of the score: ATE: the means
    of t x / e and (1 - t) x / (1 - e) agree; ATT: those of t x and (1 - t) x e / (1 - e) do, which
    gives the weights of `EntropyBalance`. Weights then add up to 1 in each arm. The variance is
    that of the stacked estimating equations.

    **Raises:** `DataError` when no coefficients balance the arms.

    **Source:** Imai and Ratkovic (2014), JRSS B 76(1).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.CBPS(), estimand="ate")
        >>> bool(found.std_error > 0)
        True
    """

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""
        return "att", "atc", "ate"

    def asked(self, estimand: Population) -> WeightingAsk:
        """What weights are to be had."""
        return WeightingAsk("moments", estimand, "CBPS")
