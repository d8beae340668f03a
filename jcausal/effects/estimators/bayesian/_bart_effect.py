"""The effect by BART: of each arm, or one of all outcomes with the treatment as a covariate."""

from typing import Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from jcausal.data import DataError, Sample, bucket, check_kind, difference, to_device
from jcausal.effects._average import Average, Population
from jcausal.effects._posterior import EffectForest
from jcausal.effects.estimators._estimator import Estimator
from jcausal.effects.estimators.bayesian._rows_of_trees import (
    BayesAsk,
    Features,
    FitRows,
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
    """The effect f1(x) - f0(x) by Bayesian additive regression trees, with its posterior.

    y = f_t(x) + noise: f0 and f1 are sums of trees, one of each arm ("apart"), or one sum of trees
    of all outcomes that may split on the treatment as on any covariate ("together"). Every draw of
    the posterior gives each unit an effect tau(x_i) = f1(x_i) - f0(x_i); the average is that of
    tau(x_i) over the sample's treated (ATT), controls (ATC) or all units (ATE), by sampling weight.
    Intervals hold the middle of the draws. That of the average is of the units at hand: it knows
    nothing of how they were drawn from a larger population.

    Sampling weights enter the fit as precisions (a unit of weight 2 has half the noise variance)
    and weigh the average. Outcomes of 0 and 1 are fitted as numbers, with normal noise. The order
    of rows changes nothing. No folds: trees are held back by their prior.

    **Arguments:**

    - `bart`: trees, chains, draws and prior.
    - `arms`: "apart" or "together", which is quicker, and holds effects towards 0 and those of
      units towards each other: on IHDP (six replications) 95% intervals held 98% of the units'
      effects apart and 89% together, and those of the ATT its truth six times either way.
    - `with_score`: whether the chance of treatment is one more covariate.
    - `propensity`: the model of that chance, which also tells how far the arms overlap.
    - `max_bytes`: draws are evaluated in blocks of units, and those of units kept, up to this size.

    **Raises:** ValueError without a key; `DataError` where an arm is empty, or of one unit alone
    when they are fitted apart.

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
    arms: Literal["apart", "together"] = eqx.field(static=True, default="apart")
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
        fit = _together if self.arms == "together" else _apart
        forest, noise = fit(self.bart, rows, keys.chains)
        return posterior_average(sample, ask, forest, noise, keys.propensity)


def _together(
    bart: BART, rows: FitRows, key: PRNGKeyArray
) -> tuple[EffectForest, Float[np.ndarray, "c s 1"]]:
    """One posterior, with the treatment as the last feature."""
    features = np.concatenate([rows.features, rows.t[:, None]], axis=1)
    cuts = cut_points(features, bart.max_bins)
    drawn = bart.posterior(TreeRows(features, rows.y, rows.weight), cuts, key)
    check_finite(drawn.leaf, "BARTEffect")
    forest = TreatmentTrees(that_split_on(drawn, features.shape[1] - 1), rows.made)
    return forest, drawn.noise[:, :, None]


def _apart(
    bart: BART, rows: FitRows, key: PRNGKeyArray
) -> tuple[EffectForest, Float[np.ndarray, "c s 2"]]:
    """A posterior of each arm, which are independent."""
    cuts, found = cut_points(rows.features, bart.max_bins), []
    for arm, word in enumerate(("control", "treated")):
        mine = rows.t == arm
        if mine.sum() < 2:
            raise DataError(
                f"there is {mine.sum()} {word} row to fit trees on: give at least 2, or use "
                'jc.BARTEffect(arms="together").'
            )
        of_arm = TreeRows(rows.features[mine], rows.y[mine], rows.weight[mine])
        drawn = bart.posterior(of_arm, cuts, jax.random.fold_in(key, arm))
        check_finite(drawn.leaf, "BARTEffect")
        found.append(drawn)
    noise = np.stack([drawn.noise for drawn in found], axis=2)
    return TreesOfArms(found[0], found[1], rows.made), noise


class TreesOfArms(EffectForest):
    """The trees of both arms."""

    control: Posterior
    treated: Posterior
    features: Features

    def effects(self, x: Float[Array, "m p"]) -> Float32[Array, "b m"]:
        """What the treated's trees say, less what the controls' say."""
        known = to_device(self.features(x))
        treated, without = (evaluate_draws(one, known) for one in (self.treated, self.control))
        return difference(treated, without)


class TreatmentTrees(EffectForest):
    """The trees that split on the treatment, which is the last feature: the others cancel."""

    trees: Posterior
    features: Features

    def effects(self, x: Float[Array, "m p"]) -> Float32[Array, "b m"]:
        """What those trees say with the treatment, less what they say without."""
        known = self.features(x)
        both = (np.pad(known, ((0, 0), (0, 1)), constant_values=arm) for arm in (1, 0))
        treated, without = (evaluate_draws(self.trees, to_device(one)) for one in both)
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
