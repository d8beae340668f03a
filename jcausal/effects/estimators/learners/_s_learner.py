"""The S-learner: one model of all outcomes, which has the treatment among its covariates."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import Sample, on_host, with_binary
from jcausal.effects._learned import Foretold, Learned
from jcausal.effects.estimators.learners._learner import Averaged, Learner
from jcausal.effects.estimators.learners._regressions import one_armed
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

NAME = "treated"  # of the treatment among the covariates


class SLearner(Learner):
    """One model f(x, t) of all outcomes; the effect is f(x, 1) - f(x, 0).

    The treatment is one more binary covariate, called "treated". A model that hardly uses it finds
    effects near 0.

    **Arguments:** as in `TLearner`.

    **Raises:** `DataError` when a covariate is called "treated".

    **Source:** Künzel, Sekhon, Bickel and Yu (2019), PNAS 116(10).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.SLearner(outcome=jc.Ridge()), key=0)
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
        """Fit one model to all rows."""
        rows = one_armed(with_binary(train, NAME, train.t))
        return OneSurface(fit(rows, self.outcome, arms="control", key=key).lean())


class OneSurface(Learned):
    """A surface of the covariates and the treatment."""

    surface: ResponseSurface

    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """Without and with the treatment, and the difference."""
        without, treated = (values_at(self.surface, _beside(x, arm)) for arm in (0.0, 1.0))
        return _both(without, treated)


@on_host
def _beside(lib: Any, x: Float[Array, "m p"], arm: float) -> Float[Array, "m g"]:
    return lib.concatenate([x, lib.full((x.shape[0], 1), arm, x.dtype)], axis=1)


@on_host
def _both(lib: Any, without: Float[Array, "m 2"], treated: Float[Array, "m 2"]) -> Foretold:
    f0, f1 = without[:, 0], treated[:, 0]
    return Foretold(lib.stack([f0, f1], axis=1), f1 - f0)
