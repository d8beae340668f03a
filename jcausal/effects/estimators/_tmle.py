"""TMLE: predictions moved until weighting finds nothing left in their residuals."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import Sample, Values, check_kind, on_host
from jcausal.effects._average import Average, Population
from jcausal.effects.estimators._aipw import ARMS, aipw_of, check_clip
from jcausal.effects.estimators._estimator import Estimator
from jcausal.effects.estimators._predictions import cross_fitted
from jcausal.matching import Progress
from jcausal.surfaces import (
    LOGISTIC,
    BoostedTrees,
    OutcomeModel,
    Propensity,
    ResponseSurface,
    chances_of,
    check_model,
)

EDGE = 5e-3  # of the outcomes' range: how near to its ends a prediction may come
STEPS = 50


class TMLE(Estimator):
    """Targeted maximum likelihood: right if either the outcome's or the treatment's model is.

    Outcomes are scaled to [0, 1] by their range. The cross-fitted predictions f_a of each arm that
    the average needs move along expit(logit f_a + eps), with eps so chosen that the weighted
    residuals of that arm add up to 0: weights 1 / e and 1 / (1 - e) for ATE, e / (1 - e) of the
    controls for ATT, (1 - e) / e of the treated for ATC. The average is then that of the moved
    predictions, inside the outcomes' range whatever the weights; its variance is that of `AIPW`.

    **Arguments:** as in `AIPW`.

    **Raises:** as `AIPW`.

    **Source:** van der Laan and Rubin (2006), International Journal of Biostatistics 2(1); scaled
    outcomes: Gruber and van der Laan (2010), ibid. 6(1); cross-fitted: Zheng and van der Laan
    (2011).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.TMLE(outcome=jc.Ridge()), key=0)
        >>> low, high = found.bounds(0.95)
        >>> bool(low < found.average < high)
        True
    """

    outcome: OutcomeModel | ResponseSurface | Callable = BoostedTrees()
    propensity: Propensity = LOGISTIC
    clip: float | Array = 0.01

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
        check_clip(self.clip)

    @property
    def traceable(self) -> bool:
        """Whether it may run under jit, vmap and grad: as its two models."""
        outcome = not isinstance(self.outcome, OutcomeModel) or self.outcome.traceable
        return outcome and self.propensity.traceable

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

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
        """Cross-fit, move the predictions, and average."""
        assert estimand != "ato" and sample.y is not None
        made = cross_fitted(sample, self.outcome, ARMS[estimand], folds, key, progress)
        chances = chances_of(sample, self.propensity, key)
        use = _in_use(made.fold, sample.weight)
        rows = TargetRows(sample.y, sample.t, sample.weight, use, chances.chance)
        moved = _targeted(rows, made.predicted, self.clip, estimand)
        return _renamed(aipw_of(sample, made.fold, moved, estimand, self.clip, chances))


def _renamed(found: Average) -> Average:
    """The same average under the name of this method."""
    return dataclasses.replace(found, method="TMLE")


@on_host
def _in_use(lib: Any, fold: Array, weight: Float[Array, " n"]) -> Bool[Array, " n"]:
    return (fold >= 0) & (weight > 0)


class TargetRows(NamedTuple):
    """What the predictions are moved by: each (n,); `use` marks rows that count."""

    y: Float[Array, " n"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    use: Bool[Array, " n"]
    chance: Float[Array, " n"]


@on_host
def _targeted(
    lib: Any,
    rows: TargetRows,
    predicted: Float[Array, "n 2"],
    clip: float | Array,
    estimand: Population,
) -> Float[Array, "n 2"]:
    """The predictions of both arms, moved where the average needs them."""
    y, t, weight, use, chance = rows
    low = lib.where(use, y, lib.inf).min()
    span = lib.where(use, y, -lib.inf).max() - low
    span = lib.where(span > 0, span, 1)
    scaled = lib.where(use, (y - low) / span, 0)
    columns = []
    for arm in (False, True):
        needed = estimand == "ate" or (estimand == "att") != arm
        if not needed:
            columns.append(predicted[:, int(arm)])
            continue
        own = lib.maximum(lib.where(use, chance if arm else 1 - chance, 1), clip)
        stands = 1 / own if estimand == "ate" else (1 - own) / own
        heavy = lib.where(use & (t == arm), weight * stands, 0)
        first = lib.where(use, (predicted[:, int(arm)] - low) / span, 0.5)
        logit = _logit(lib, lib.clip(first, EDGE, 1 - EDGE))
        moved = low + span / (1 + lib.exp(-(logit + _shift(lib, scaled, logit, heavy))))
        columns.append(lib.where(use, moved, predicted[:, int(arm)]))
    return lib.stack(columns, axis=1).astype(predicted.dtype)


def _logit(lib: Any, share: Values) -> Any:
    return lib.log(share) - lib.log1p(-share)


def _shift(lib: Any, y: Values, logit: Values, weight: Values) -> Any:
    """Eps with sum weight (y - expit(logit + eps)) = 0, by Newton steps of at most 1."""
    total = weight.sum()
    share = weight / lib.where(total > 0, total, lib.nan)
    eps = lib.zeros((), logit.dtype)
    for _ in range(STEPS):
        f = 1 / (1 + lib.exp(-(logit + eps)))
        slope = lib.maximum((share * f * (1 - f)).sum(), np.finfo(logit.dtype).tiny)
        eps = eps + lib.clip((share * (y - f)).sum() / slope, -1, 1)
    return eps
