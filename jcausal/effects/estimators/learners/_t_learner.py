"""The T-learner: a model of each arm's outcomes, and their difference."""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import Sample, column, difference
from jcausal.effects._learned import Foretold, Learned
from jcausal.effects.estimators.learners._learner import Averaged, Learner
from jcausal.surfaces import (
    LOGISTIC,
    BoostedTrees,
    OutcomeModel,
    Propensity,
    ResponseSurface,
    as_outcome_model,
    fit,
    values_at,
)


class TLearner(Learner):
    """Two models: f0 of the controls' outcomes, f1 of the treated's; the effect is f1 - f0.

    **Arguments:**

    - `outcome`: an outcome model such as `jc.BoostedTrees()`, or an unfitted regressor of
      scikit-learn.
    - `propensity`, `clip`: of the doubly robust average, as in `AIPW`.
    - `average`: "doubly_robust", or "plug_in" for the mean of the units' effects, with the same
      error, which then leaves out what the learner itself is wrong by.

    **Source:** Künzel, Sekhon, Bickel and Yu (2019), PNAS 116(10).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.TLearner(outcome=jc.Ridge()), key=0)
        >>> found.ite.shape, found.predict(sample.x[:3]).shape
        ((445,), (3,))
    """

    outcome: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    propensity: Propensity = LOGISTIC
    clip: float | Array = 0.01
    average: Averaged = eqx.field(static=True, default="doubly_robust")

    @property
    def models(self) -> dict[str, OutcomeModel]:
        """That of the outcome."""
        return dict(outcome=self.outcome)

    def learn(self, train: Sample, key: PRNGKeyArray) -> Learned:
        """Fit both arms."""
        return TwoSurfaces(fit(train, self.outcome, key=key).lean())


class TwoSurfaces(Learned):
    """The outcomes of both arms; their difference is the effect."""

    surface: ResponseSurface

    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """Both outcomes and their difference."""
        found = values_at(self.surface, x)
        return Foretold(found, difference(column(found, 1), column(found, 0)))
