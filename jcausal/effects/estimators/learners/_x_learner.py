"""The X-learner: each arm's outcomes against the other arm's model, weighed by the propensity."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import Sample, on_host, step_key
from jcausal.effects._learned import Foretold, Learned
from jcausal.effects.estimators.learners._learner import Averaged, Learner
from jcausal.effects.estimators.learners._regressions import with_targets
from jcausal.surfaces import (
    LOGISTIC,
    BoostedTrees,
    FittedPropensity,
    OutcomeModel,
    Propensity,
    ResponseSurface,
    as_outcome_model,
    fit,
    fit_propensity,
    values_at,
)


class XLearner(Learner):
    """Effects imputed to each unit by the other arm's model, and regressed in each arm.

    With f0, f1 as in `TLearner`: tau1 is the regression of y - f0(x) on x among the treated, tau0
    that of f1(x) - y among the controls, and the effect e tau0 + (1 - e) tau1 with e the chance of
    treatment. Good where one arm is much larger.

    **Arguments:** as in `TLearner`, and `effect`: the model of the second regressions.
    `propensity` is also that of e, which here is fitted to all rows that are trained on.

    **Source:** Künzel, Sekhon, Bickel and Yu (2019), PNAS 116(10).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> learner = jc.XLearner(outcome=jc.Ridge(), effect=jc.Ridge())
        >>> jc.estimate(sample, learner, key=0).ite.shape
        (445,)
    """

    outcome: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    effect: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    propensity: Propensity = LOGISTIC
    clip: float | Array = 0.01
    average: Averaged = eqx.field(static=True, default="doubly_robust")

    @property
    def models(self) -> dict[str, OutcomeModel]:
        """Those of the outcome and of the effect."""
        return dict(outcome=self.outcome, effect=self.effect)

    def learn(self, train: Sample, key: PRNGKeyArray) -> Learned:
        """Fit both arms' outcomes, both arms' imputed effects, and the chance of treatment."""
        assert train.y is not None
        outcomes = fit(train, self.outcome, key=key).lean()
        imputed = _imputed(train.y, train.t, values_at(outcomes, train.x))
        effects = fit(with_targets(train, imputed), self.effect, key=step_key(key, "effect"))
        chance = fit_propensity(train, self.propensity, step_key(key, "propensity"))
        return CrossedEffects(outcomes, effects.lean(), chance)


class CrossedEffects(Learned):
    """The arms' outcomes, the arms' effects, and the chance by which these are weighed."""

    outcomes: ResponseSurface
    effects: ResponseSurface
    chance: FittedPropensity

    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """Both outcomes and the weighed effect."""
        effect = _weighed(values_at(self.effects, x), self.chance(x))
        return Foretold(values_at(self.outcomes, x), effect)


@on_host
def _imputed(
    lib: Any, y: Float[Array, " n"], t: Bool[Array, " n"], outcomes: Float[Array, "n 2"]
) -> Float[Array, " n"]:
    return lib.where(t, y - outcomes[:, 0], outcomes[:, 1] - y)


@on_host
def _weighed(
    lib: Any, effects: Float[Array, "m 2"], chance: Float[Array, " m"]
) -> Float[Array, " m"]:
    return chance * effects[:, 0] + (1 - chance) * effects[:, 1]
