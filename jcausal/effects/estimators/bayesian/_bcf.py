"""The effect by a Bayesian causal forest."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from jcausal.data import DataError, Sample, check_kind, to_device
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
    LOGISTIC,
    CausalForestAsk,
    Posterior,
    Propensity,
    TreeRows,
    cut_points,
    evaluate_draws,
    sample_causal_forest,
)


class BCF(Estimator):
    """The effect tau(x) by a Bayesian causal forest, with its posterior.

    y = mu(x, e(x)) + tau(x) t + noise: mu and tau are two sums of trees, that of tau with fewer and
    shallower ones and a level of its own, so that effects are held towards a common one and not
    towards what two outcomes leave. e(x), the chance of treatment, is a covariate of mu only. The
    average is that of tau(x_i) over the sample's treated (ATT), controls (ATC) or all units (ATE);
    intervals hold the middle of the draws, and that of the average is of the units at hand.

    Sampling weights weigh the average only: the sampler has none. Outcomes of 0 and 1 are fitted as
    numbers, with normal noise. The order of rows changes nothing. The sampler is compiled anew for
    every number of rows, which takes longer than small samples themselves.

    **Arguments:**

    - `trees` of mu and `effect_trees` of tau; `k` and `effect_k`: the prior sd of mu and of tau
      (beside its level) is half the outcome's range divided by it. A small `effect_k` lets effects
      differ: 95% intervals held 91%, 82% and 37% of the units' effects of IHDP with 2, 4 and 10.
    - `chains`; `burn` steps thrown away in each; `draws` kept in each, one of every `thin` steps;
      `max_bins` cut points and one per covariate.
    - `with_score`: whether e(x) is a covariate of mu; `propensity`: the model of e, which also
      tells how far the arms overlap.
    - `max_bytes`: as in `BARTEffect`.

    **Raises:** ValueError without a key; `DataError` where an arm is empty.

    **Source:** Hahn, Murray and Carvalho (2020), Bayesian Analysis 15(3); sampler: bartz.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> few = jc.BCF(trees=20, effect_trees=10, chains=2, burn=50, draws=50)
        >>> found = jc.estimate(sample, few, key=0)
        >>> low, high = found.bounds(0.9)
        >>> bool(low < found.average < high), found.ite.shape
        (True, (445,))
    """

    trees: int = 250
    effect_trees: int = 100
    chains: int = 4
    burn: int = 250
    draws: int = 250
    thin: int = 2
    max_bins: int = 256
    k: float = 2.0
    effect_k: float = 4.0
    with_score: bool = eqx.field(static=True, default=True)
    propensity: Propensity = LOGISTIC
    max_bytes: int = eqx.field(static=True, default=1 << 28)

    def __check_init__(self) -> None:
        for name in ("trees", "effect_trees", "chains", "draws", "thin", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        for name in ("k", "effect_k"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")
        if self.burn < 0 or not 2 <= self.max_bins <= 32_767:
            raise ValueError("burn must not be negative and max_bins lie in 2 to 32,767.")
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
        check_chains(self.chains, self.draws)

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
        ask = BayesAsk(estimand, "BCF", self.propensity, self.with_score, self.max_bytes)
        keys = keys_of(key, ask)
        rows = rows_to_fit(sample, ask, keys.propensity)
        if rows.y.min() == rows.y.max():
            raise DataError(
                f"BCF: the outcome is {rows.y[0]:g} in all {rows.y.size:,} rows: name an outcome "
                "that varies."
            )
        if progress is not None:
            progress("sampling the posterior", 0, 1)
        cuts = cut_points(rows.features, self.max_bins)
        may = np.arange(len(cuts)) < len(cuts) - self.with_score
        drawn = sample_causal_forest(
            TreeRows(rows.features, rows.y, rows.weight),
            rows.t > 0,
            (cuts, may),
            CausalForestAsk(
                *(self.trees, self.effect_trees, self.chains, self.burn, self.draws, self.thin),
                *(self.k, self.effect_k),
            ),
            keys.chains,
        )
        check_finite(drawn.effect.leaf, ask.name)
        forest = EffectTrees(drawn.effect, drawn.level, rows.made)
        return posterior_average(
            sample, ask, forest, drawn.effect.noise[:, :, None], keys.propensity
        )


class EffectTrees(EffectForest):
    """Trees of the effect, and its level in every draw."""

    trees: Posterior
    level: Float32[np.ndarray, " b"]
    features: Features

    def effects(self, x: Float[Array, "m p"]) -> Float32[Array, "b m"]:
        """The sums of the trees and the level."""
        found = evaluate_draws(self.trees, to_device(self.features(x)))
        return to_device(np.asarray(found) + self.level[:, None])
