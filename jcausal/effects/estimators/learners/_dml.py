"""Double machine learning: partially linear, or interactive."""

import dataclasses
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import Sample, bucket, check_kind, is_traced, pad_rows, to_device
from jcausal.effects._average import Average, Population
from jcausal.effects.estimators._aipw import ARMS, aipw_of, check_clip
from jcausal.effects.estimators._estimator import Estimator
from jcausal.effects.estimators._moves import effective_units, variance_of
from jcausal.effects.estimators._predictions import cross_fitted
from jcausal.effects.estimators.learners._learner import check_several, check_trainable, dealt
from jcausal.effects.estimators.learners._regressions import one_armed
from jcausal.matching import Progress, foretell
from jcausal.surfaces import (
    LOGISTIC,
    BoostedTrees,
    Chances,
    OutcomeModel,
    Propensity,
    as_outcome_model,
    chances_by_folds,
    fold_surface,
    placed,
    shares_beyond,
)

CLIP = 0.01


class DML(Estimator):
    """Double machine learning: an average from a score that small errors of its models leave alone.

    Outcome and treatment are foretold in each fold by models of the other folds.
    "interactive": the score of `AIPW` with f0, f1 and e, of ATT, ATC or ATE. "partial_linear": with
    m(x) the mean outcome and v = t - e(x), sum w v (y - m) / sum w v^2, the effect under which
    y - m is v times it; where effects differ that is their average over the overlap population
    ("ato"), in which a unit counts e (1 - e). Its variance is sum (w v (y - m - v effect))^2 over
    (sum w v^2)^2, sums of clusters in place of rows where there are any.

    **Arguments:**

    - `kind`: "interactive" or "partial_linear".
    - `outcome`: an outcome model, or an unfitted regressor of scikit-learn.
    - `propensity`: the model for e, fitted to the other folds (`folds` of its own are not used).
    - `clip`: as in `AIPW`, of "interactive" alone; None is .01.

    **Source:** Chernozhukov, Chetverikov, Demirer, Duflo, Hansen, Newey and Robins (2018),
    Econometrics Journal 21(1); partially linear: Robinson (1988), Econometrica 56(4).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> partial = jc.DML(kind="partial_linear", outcome=jc.Ridge())
        >>> found = jc.estimate(sample, partial, estimand="ato", key=0)
        >>> low, high = found.bounds(0.95)
        >>> bool(low < found.average < high)
        True
    """

    kind: Literal["interactive", "partial_linear"] = eqx.field(static=True, default="interactive")
    outcome: OutcomeModel = eqx.field(default=BoostedTrees(), converter=as_outcome_model)
    propensity: Propensity = LOGISTIC
    clip: float | Array | None = None

    def __check_init__(self) -> None:
        check_trainable("outcome", self.outcome)
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
        if self.clip is None:
            return
        check_clip(self.clip)
        if self.kind == "partial_linear":
            raise ValueError(
                "clip is for kind='interactive': the partially linear score divides by no chance."
            )

    @property
    def traceable(self) -> bool:
        """Whether it may run under jit and vmap: as its two models."""
        return self.outcome.traceable and self.propensity.traceable

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""
        return ("ato",) if self.kind == "partial_linear" else ("att", "atc", "ate")

    def run(
        self,
        sample: Sample,
        estimand: Population,
        folds: int,
        key: PRNGKeyArray | None,
        progress: Progress | None,
    ) -> Average:
        """Cross-fit both models on the same folds, and average.

        **Raises:** `HonestyError` with one fold; `DataError` when a fold lacks an arm.
        """
        check_several(folds)
        assert key is not None
        if estimand == "ato":
            return self._partial_linear(sample, folds, key, progress)
        made = cross_fitted(sample, self.outcome, ARMS[estimand], folds, key, progress)
        chances = chances_by_folds(sample, self.propensity, made.fold, folds, key)
        clip = CLIP if self.clip is None else self.clip
        found = aipw_of(sample, made.fold, made.predicted, estimand, clip, chances)
        return dataclasses.replace(found, method="DML (interactive)")

    def _partial_linear(
        self, sample: Sample, folds: int, key: PRNGKeyArray, progress: Progress | None
    ) -> Average:
        """The mean outcome of both arms together, and what is left of it."""
        fold, surfaces, rows = dealt(sample, folds, key), [], one_armed(sample)
        for k in range(folds):
            if progress is not None:
                progress("training the surface", k, folds)
            surfaces.append(fold_surface(rows, self.outcome, "control", fold, k, key))
        mean = foretell(rows, fold, to_device(np.zeros(0, np.int32)), surfaces).units
        chances = chances_by_folds(sample, self.propensity, fold, folds, key)
        return partial_linear_of(sample, fold, mean, chances)


class PartialRows(NamedTuple):
    """What the partially linear score needs of each row.

    - `y` (n,), `t` (n,), `weight` (n,): outcome, treatment and sampling weight.
    - `mean` (n,) and `chance` (n,): foretold outcome and chance of treatment.
    - `cluster` (n,): or None.
    """

    y: Float[Array, " n"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    mean: Float[Array, " n"]
    chance: Float[Array, " n"]
    cluster: Int[Array, " n"] | None


class PartialFound(NamedTuple):
    """The average and what stands behind it, as `Average` names it."""

    average: Float[Array, ""]
    std_error: Float[Array, ""]
    influence: Float[Array, " n"]
    counts: Int[Array, " 2"]
    effective: Float[Array, " 2"]
    beyond: Float[Array, " 2"]
    unit_weight: Float[Array, " n"]


def partial_linear_of(
    sample: Sample, fold: Int[Array, " n"], mean: Float[Array, "n 2"], chances: Chances
) -> Average:
    """The partially linear average from predictions at hand, the mean in the first column."""
    assert sample.y is not None
    m = mean[:, 0] if is_traced(mean) else to_device(np.asarray(mean)[:, 0])
    rows = PartialRows(sample.y, sample.t, sample.weight, m, chances.chance, sample.cluster)
    if is_traced(rows, sample.valid, fold):
        found = _partialled(rows, sample.valid & (fold >= 0) & (sample.weight > 0))
    else:
        found = _on_host(rows, np.asarray(fold))
    return Average(
        **found._asdict(),
        propensity=chances.chance,
        fold=fold,
        slope=chances.slope,
        sample=sample,
        estimand="ato",
        method="DML (partially linear)",
    )


def _on_host(rows: PartialRows, fold: Int[np.ndarray, " n"]) -> PartialFound:
    """Pick the rows that count, pad them to a bucket, and put what is of rows back."""
    kept = np.flatnonzero((fold >= 0) & (np.asarray(rows.weight) > 0))
    size = bucket(len(kept))
    picked = jax.tree.map(lambda a: pad_rows(np.asarray(a)[kept], size), rows)
    found = _partialled(picked, np.arange(size) < len(kept))
    back = {
        name: placed(getattr(found, name), kept, np.zeros(len(fold), picked.y.dtype))
        for name in ("influence", "unit_weight")
    }
    return found._replace(**back)


@jax.jit
def _partialled(rows: PartialRows, use: Bool[Array, " n"]) -> PartialFound:
    """The ratio of sums, and each row's part in its error; NaN where every v is 0."""
    t, w = rows.t, jnp.where(use, rows.weight, 0)
    e = jnp.where(use, rows.chance, 0.5)
    v = jnp.where(use, t - e, 0)
    u = jnp.where(use, rows.y - rows.mean, 0)
    share = w * v / jnp.where((w * v**2).sum() > 0, (w * v**2).sum(), jnp.nan)
    effect = (share * u).sum()
    moves = share * (u - v * effect)
    heavy = w * jnp.abs(v)
    treated, control = (jnp.where(arm, heavy, 0) for arm in (t, ~t))
    return PartialFound(
        average=effect,
        std_error=jnp.sqrt(variance_of(moves, use, rows.cluster)),
        influence=moves * use.sum(),
        counts=jnp.stack([(use & ~t).sum(), (use & t).sum()]),
        effective=jnp.stack([effective_units(control), effective_units(treated)]),
        beyond=shares_beyond(e, t, w),
        unit_weight=heavy,
    )
