"""The R-learner: what is left of the outcomes against what is left of the treatment."""

from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import Sample, on_host, step_key
from jcausal.effects._learned import Foretold, Learned, mean_of
from jcausal.effects.estimators.learners._learner import Averaged, Learner
from jcausal.effects.estimators.learners._regressions import (
    InnerFit,
    Nuisances,
    cross_nuisances,
    one_armed,
)
from jcausal.effects.estimators.learners._two_stages import check_inner
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


class RLearner(Learner):
    """The effect that best explains outcome residuals by treatment residuals.

    With m(x) the mean outcome and e(x) the chance of treatment, tau minimises the weighted mean of
    ((y - m) - (t - e) tau(x))^2: a regression of (y - m) / (t - e) with weights (t - e)^2. m and e
    are cross-fitted on parts of the rows that are trained on. Both outcomes of a fold follow as
    m - e tau and m + (1 - e) tau, with the mean of the parts' m and an e of all these rows.

    **Arguments:** as in `DRLearner`; `outcome` is the model of m, of both arms together, and e is
    held within clip and 1 - clip in the regression.

    **Source:** Nie and Wager (2021), Biometrika 108(2).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> learner = jc.RLearner(outcome=jc.Ridge(), effect=jc.Ridge())
        >>> jc.estimate(sample, learner, key=0).ite.shape
        (445,)
    """

    outcome: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    effect: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    propensity: Propensity = LOGISTIC
    clip: float | Array = 0.01
    average: Averaged = eqx.field(static=True, default="doubly_robust")
    inner: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        check_inner(self.inner)

    @property
    def models(self) -> dict[str, OutcomeModel]:
        """Those of the mean outcome and of the effect."""
        return dict(outcome=self.outcome, effect=self.effect)

    def learn(self, train: Sample, key: PRNGKeyArray) -> Learned:
        """Cross-fit m and e, and regress what they leave."""
        assert train.y is not None
        ask = InnerFit(self.outcome, self.propensity, self.inner, self.clip)
        known = cross_nuisances(train, ask, "control", key)
        left = _left(train.y, train.t, train.weight, known)
        rows = one_armed(train, left.ratio, left.weight)
        effect = fit(rows, self.effect, arms="control", key=step_key(key, "effect"))
        chance = fit_propensity(train, self.propensity, step_key(key, "propensity"))
        return ResidualEffect(known.surfaces, effect.lean(), chance)


class ResidualEffect(Learned):
    """The parts' models of the mean outcome, the effect, and the chance of treatment."""

    means: tuple[ResponseSurface, ...]
    effect: ResponseSurface
    chance: FittedPropensity

    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """The effect, and both outcomes around the mean."""
        mean = mean_of(*(values_at(one, x) for one in self.means))
        return around_mean(mean, values_at(self.effect, x), self.chance(x))


class Leftover(NamedTuple):
    """(y - m) / (t - e) and its weight in the regression, of each row."""

    ratio: Float[Array, " n"]
    weight: Float[Array, " n"]


@on_host
def _left(
    lib: Any,
    y: Float[Array, " n"],
    t: Bool[Array, " n"],
    weight: Float[Array, " n"],
    known: Nuisances,
) -> Leftover:
    treatment = t.astype(y.dtype) - known.chance
    return Leftover((y - known.outcomes[:, 0]) / treatment, weight * treatment**2)


@on_host
def around_mean(
    lib: Any, mean: Float[Array, "m 2"], effect: Float[Array, "m 2"], chance: Float[Array, " m"]
) -> Foretold:
    """Outcomes m - e tau and m + (1 - e) tau, of mean and effect in the first columns."""
    m, tau = mean[:, 0], effect[:, 0]
    return Foretold(lib.stack([m - chance * tau, m + (1 - chance) * tau], axis=1), tau)
