"""The causal forest: honest trees, by econml, of what is left of outcomes and treatment."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import Sample, is_traced, step_key, to_device
from jcausal.effects._learned import Foretold, Learned, mean_of
from jcausal.effects.estimators.learners._learner import Averaged, Learner
from jcausal.effects.estimators.learners._r_learner import around_mean
from jcausal.effects.estimators.learners._regressions import InnerFit, cross_nuisances
from jcausal.effects.estimators.learners._two_stages import check_inner
from jcausal.surfaces import (
    LOGISTIC,
    BoostedTrees,
    Encoding,
    FittedPropensity,
    MaxFeatures,
    OutcomeModel,
    Propensity,
    ResponseSurface,
    as_outcome_model,
    check_forest,
    fit_propensity,
    rows_by_draw,
    seed_of,
    values_at,
)

BAG = 4  # trees of one half sample, from whose spread the errors of single effects come


class CausalForest(Learner):
    """An honest forest of the effect, with an interval for each unit; by econml (extra `forest`).

    With m(x) the mean outcome and e(x) the chance of treatment, cross-fitted on parts of the rows
    that are trained on, each tree solves sum (y - m - tau (t - e) - c)(t - e, 1) = 0 in its leaves:
    splits look at one half of a tree's units, tau at the other. That is econml's `CausalForestDML`
    with these models. The effects of a fold are those of the forest of the other folds, whose
    errors (by bags of little trees) are `ite_error`; they take units as independent, also where the
    average's error knows clusters. A unit's interval covers the mean effect at its covariates if
    the forest is near enough to unbiased there, which the bags do not tell.

    The average is doubly robust, with the outcomes m - e tau and m + (1 - e) tau, as that of grf;
    its interval does not rest on the forest's.

    **Arguments:**

    - `trees`: how many, a multiple of 4; `min_leaf`: the fewest units of a leaf.
    - `max_features`: how many features a split chooses among: a share of them, a count, "sqrt" or
      "log2" of their number, or None for all. A category is one feature a level.
    - `criterion`: what splits look for, "mse" or "het" (as in econml).
    - `outcome`, `propensity`, `clip`, `average`, `inner`: as in `RLearner`.

    **Raises:** ImportError that names the extra.

    **Source:** Athey, Tibshirani and Wager (2019), Annals of Statistics 47(2); Wager and Athey
    (2018), JASA 113(523).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.CausalForest(outcome=jc.Ridge(), trees=40), key=0)
        >>> list(found.units_frame().columns)[-4:]
        ['ite', 'lower', 'upper', 'influence']
    """

    trees: int = eqx.field(static=True, default=500)
    min_leaf: int = eqx.field(static=True, default=5)
    max_features: MaxFeatures = eqx.field(static=True, default=None)
    criterion: Literal["mse", "het"] = eqx.field(static=True, default="mse")
    outcome: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    propensity: Propensity = LOGISTIC
    clip: float | Array = 0.01
    average: Averaged = eqx.field(static=True, default="doubly_robust")
    inner: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        check_inner(self.inner)
        check_forest(self.trees, self.min_leaf, self.max_features)
        if self.trees % BAG:
            raise ValueError(
                f"trees is {self.trees}: give a multiple of {BAG}, the trees of one half sample."
            )

    @property
    def models(self) -> dict[str, OutcomeModel]:
        """That of the mean outcome, and the forest, which no one else may fit."""
        return dict(outcome=self.outcome)

    @property
    def on_host(self) -> bool:
        """Always: econml grows the trees."""
        return True

    def learn(self, train: Sample, key: PRNGKeyArray) -> Learned:
        """Cross-fit m and e, and grow a forest on what they leave."""
        assert train.y is not None
        ask = InnerFit(self.outcome, self.propensity, self.inner, self.clip)
        known = cross_nuisances(train, ask, "control", key)
        grown = step_key(key, "effect")
        rows = rows_by_draw(train, grown)
        y, t, m, e, w = (
            np.asarray(a, np.float64)[rows]
            for a in (train.y, train.t, known.outcomes[:, 0], known.chance, train.weight)
        )
        encoding = Encoding(train.schema)
        features = np.asarray(encoding(train.x), np.float64)[rows]
        forest = self._forest(seed_of(grown))
        forest.fit(features, (t - e)[:, None], (y - m)[:, None], sample_weight=w)
        forest.set_params(n_jobs=1)  # threads would add up trees in any order
        chance = fit_propensity(train, self.propensity, step_key(key, "propensity"))
        return HonestForest(known.surfaces, chance, encoding, forest)

    def _forest(self, seed: int) -> Any:
        try:
            from econml.grf import CausalForest as Grown
        except ImportError as error:
            raise ImportError(
                'jc.CausalForest needs econml: pip install "jcausal[forest]".'
            ) from error
        features: Any = self.max_features
        return Grown(
            n_estimators=self.trees,
            criterion=self.criterion,
            min_samples_leaf=self.min_leaf,
            min_samples_split=2 * self.min_leaf,
            max_features=features,
            subforest_size=BAG,
            random_state=seed,
        )


class HonestForest(Learned):
    """The parts' models of the mean outcome, the chance of treatment, and econml's forest."""

    means: tuple[ResponseSurface, ...]
    chance: FittedPropensity
    encoding: Encoding
    forest: Any = eqx.field(static=True)

    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """The effect with its error, and both outcomes around the mean.

        **Raises:** ValueError under jit.
        """
        if is_traced(x):
            raise ValueError("a causal forest predicts on the host and cannot be used under jit.")
        mean = mean_of(*(values_at(one, x) for one in self.means))
        points = np.asarray(x)
        effect, error = np.zeros(len(points)), np.zeros(len(points))
        if len(points):
            found, variance = self.forest.predict_and_var(np.asarray(self.encoding(x), np.float64))
            effect, error = found[:, 0], np.sqrt(variance[:, 0, 0])
        both = np.stack([effect, effect], axis=1).astype(points.dtype)
        told = around_mean(mean, to_device(both), self.chance(x))
        return told._replace(error=to_device(error.astype(points.dtype)))
