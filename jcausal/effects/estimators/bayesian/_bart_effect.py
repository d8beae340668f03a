"""The effect by one BART of all outcomes, which has the treatment among its covariates."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from jcausal.data import Sample, bucket, check_kind, difference
from jcausal.effects._average import Average, Population
from jcausal.effects._posterior import EffectForest
from jcausal.effects.estimators._estimator import Estimator
from jcausal.effects.estimators.bayesian._rows_of_trees import (
    BayesAsk,
    Features,
    check_chains,
    check_finite,
    keys_of,
    posterior_average,
    rows_to_fit,
)
from jcausal.matching import Progress
from jcausal.surfaces import (
    BART,
    LOGISTIC,
    Posterior,
    Propensity,
    TreeRows,
    cut_points,
    evaluate_draws,
)


class BARTEffect(Estimator):
    """The effect f(x, 1) - f(x, 0) by one BART of all outcomes, with its posterior.

    y = f(x, t) + noise, f a sum of trees that may split on the treatment as on any covariate. Every
    draw of the posterior gives each unit an effect tau(x_i) = f(x_i, 1) - f(x_i, 0); the average is
    that of tau(x_i) over the sample's treated (ATT), controls (ATC) or all units (ATE), by sampling
    weight. Intervals hold the middle of the draws. That of the average is of the units at hand: it
    knows nothing of how they were drawn from a larger population.

    Sampling weights enter the fit as precisions (a unit of weight 2 has half the noise variance)
    and weigh the average. Outcomes of 0 and 1 are fitted as numbers, with normal noise. The order
    of rows changes nothing. No folds: trees are held back by their prior.

    **Arguments:**

    - `bart`: trees, chains, draws and prior.
    - `with_score`: whether the chance of treatment is one more covariate.
    - `propensity`: the model of that chance, which also tells how far the arms overlap.
    - `max_bytes`: draws are evaluated in blocks of units, and those of units kept, up to this size.

    **Raises:** ValueError without a key; `DataError` where an arm is empty.

    **Source:** Hill (2011), Journal of Computational and Graphical Statistics 20(1); the chance as
    a covariate: Hahn, Murray and Carvalho (2020), Bayesian Analysis 15(3).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> few = jc.BART(trees=20, chains=2, burn=50, draws=50, thin=1)
        >>> found = jc.estimate(sample, jc.BARTEffect(bart=few), key=0)
        >>> low, high = found.bounds(0.9)
        >>> bool(low < found.average < high), found.ite.shape
        (True, (445,))
    """

    bart: BART = BART(draws=250, thin=2)
    with_score: bool = eqx.field(static=True, default=False)
    propensity: Propensity = LOGISTIC
    max_bytes: int = eqx.field(static=True, default=1 << 28)

    def __check_init__(self) -> None:
        check_kind(self.bart, BART, "bart", "write bart=jc.BART()")
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
        check_chains(self.bart.chains, self.bart.draws)
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}: it must be at least 1.")

    @property
    def traceable(self) -> bool:
        """Never: bartz is run from the host."""
        return False

    @property
    def cross_fits(self) -> bool:
        """Never."""
        return False

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""
        return "att", "atc", "ate"

    def run(
        self,
        sample: Sample,
        estimand: Population,
        folds: int,
        key: PRNGKeyArray | None,
        progress: Progress | None,
    ) -> Average:
        """Sample the posterior and average."""
        ask = BayesAsk(estimand, "BARTEffect", self.propensity, self.with_score, self.max_bytes)
        keys = keys_of(key, ask)
        rows = rows_to_fit(sample, ask, keys.propensity)
        if progress is not None:
            progress("sampling the posterior", 0, 1)
        features = np.concatenate([rows.features, rows.t[:, None]], axis=1)
        cuts = cut_points(features, self.bart.max_bins)
        drawn = self.bart.posterior(TreeRows(features, rows.y, rows.weight), cuts, keys.chains)
        check_finite(drawn.leaf, ask.name)
        forest = TreatmentTrees(that_split_on(drawn, features.shape[1] - 1), rows.made)
        return posterior_average(sample, ask, forest, np.asarray(drawn.noise), keys.propensity)


class TreatmentTrees(EffectForest):
    """The trees that split on the treatment, which is the last feature: the others cancel."""

    trees: Posterior
    features: Features

    def effects(self, x: Float[Array, "m p"]) -> Float32[Array, "b m"]:
        """What those trees say with the treatment, less what they say without."""
        known = self.features(x)
        treated, without = (
            evaluate_draws(self.trees, np.pad(known, ((0, 0), (0, 1)), constant_values=arm))
            for arm in (1, 0)
        )
        return difference(treated, without)


def that_split_on(posterior: Posterior, feature: int) -> Posterior:
    """The posterior with those trees only that split on a feature; trees of zeros fill up."""
    asks = ((posterior.cut > 0) & (posterior.var == feature)).any(2)
    most = min(bucket(max(1, int(asks.sum(1).max()))), asks.shape[1])
    order = np.argsort(~asks, axis=1, kind="stable")[:, :most, None]
    here = np.take_along_axis(asks[:, :, None], order, 1)

    def kept(values: np.ndarray) -> np.ndarray:
        return np.where(here, np.take_along_axis(values, order, 1), np.zeros((), values.dtype))

    return Posterior(
        var=kept(posterior.var),
        cut=kept(posterior.cut),
        leaf=kept(posterior.leaf),
        cuts=posterior.cuts,
        offset=0.0,
        noise=posterior.noise,
    )
