"""The doubly robust average: a model of the outcome and one of the treatment, both cross-fitted."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    bucket,
    check_kind,
    is_traced,
    on_host,
    pad_rows,
    rows_in_words,
    to_device,
)
from jcausal.effects._average import Average, Population
from jcausal.effects.estimators._estimator import Estimator
from jcausal.effects.estimators._moves import effective_units, mean_and_parts, variance_of
from jcausal.effects.estimators._predictions import cross_fitted
from jcausal.matching import Estimand, Progress
from jcausal.surfaces import (
    LOGISTIC,
    Arms,
    BoostedTrees,
    Chances,
    OutcomeModel,
    Propensity,
    ResponseSurface,
    chances_of,
    check_model,
    placed,
    shares_beyond,
)

LEAST_CLIP = 1e-6
ARMS: dict[Estimand, Arms] = {"att": "control", "atc": "treated", "ate": "both"}


class AIPW(Estimator):
    """Augmented inverse probability weighting: right if either of its two models is.

    With f0, f1 the outcome model's predictions, e the chance of treatment and w the sampling
    weight, all means weighted and each divided by the sum of its own weights (Hajek):
    ATT = mean over treated of y - f0, less the mean over controls of y - f0 by w e / (1 - e);
    ATC = mean over treated of y - f1 by w (1 - e) / e, less the mean over controls of y - f1;
    ATE = mean of f1 - f0, plus the mean over treated of y - f1 by w / e, less the mean over
    controls of y - f0 by w / (1 - e).
    The outcome model is trained without the fold that it predicts. e is by default a logistic
    regression on the standardised covariates of all rows: it sees no outcome, and with fewer rows
    it would only be less precise. No unit is matched.

    **Arguments:**

    - `outcome`: an outcome model such as `jc.Ridge()`, or a surface or function.
    - `propensity`: the model for e, a `jc.Propensity(...)`; with as many folds as the outcome
      model has it gets the same.
    - `clip`: the chance of the arm that a unit is in counts as at least this where it is divided
      by, so that no unit stands for more than about 1 / clip others; the average tells how many
      units that touched.

    **Source:** Robins, Rotnitzky and Zhao (1994), JASA 89(427); Hirano, Imbens and Ridder (2003),
    Econometrica 71(4); cross-fitting: Chernozhukov et al. (2018), Econometrics Journal 21(1).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), key=0)
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
        """Deal folds, train the outcome model apart from each, predict it, and average.

        **Raises:** as `aipw_of` and `cross_fitted`.
        """
        assert estimand != "ato"
        made = cross_fitted(sample, self.outcome, ARMS[estimand], folds, key, progress)
        chances = chances_of(sample, self.propensity, key)
        return aipw_of(sample, made.fold, made.predicted, estimand, self.clip, chances)


class _Found(NamedTuple):
    average: Float[Array, ""]
    std_error: Float[Array, ""]
    influence: Float[Array, " n"]
    counts: Int[Array, " 2"]
    effective: Float[Array, " 2"]
    beyond: Float[Array, " 2"]
    clipped: Int[Array, ""]


class _Columns(NamedTuple):
    """What the average needs of each row."""

    y: Float[Array, " n"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    chance: Float[Array, " n"]
    predicted: Float[Array, "n 2"]
    cluster: Int[Array, " n"] | None


def aipw_of(
    sample: Sample,
    fold: Int[Array, " n"],
    predicted: Float[Array, "n 2"],
    estimand: Estimand = "att",
    clip: float | Array = 0.01,
    chances: Chances | None = None,
) -> Average:
    """The doubly robust average from predictions that are at hand; may run under jit and vmap.

    **Arguments:** `fold` (n,), -1 for rows that count nothing; `predicted` (n, 2), each row's
    outcomes by a surface that has not seen its fold (att needs the first column only, atc the
    second); `clip` as in `AIPW`; `chances` of treatment, None for those of `jc.Propensity()`.

    **Returns:** `Average`; NaN under tracing when an arm is empty or a prediction is NaN.

    **Raises:** `DataError` without outcomes, for an arm that is empty, for predictions that are
    NaN; ValueError for an unknown estimand or a clip out of range.
    """
    check_estimand(estimand)
    check_clip(clip)
    if sample.y is None:
        raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
    if chances is None:
        chances = chances_of(sample.with_valid(_counts(fold)), LOGISTIC, None)
    columns = _Columns(sample.y, sample.t, sample.weight, chances.chance, predicted, sample.cluster)
    if is_traced(columns, sample.valid, fold, clip):
        ours = jnp.where(sample.valid, fold, -1)
        use = (ours >= 0) & (sample.weight > 0)
        found = _average(columns, use, jnp.asarray(clip, sample.y.dtype), estimand)
    else:
        ours = np.where(np.asarray(sample.valid), np.asarray(fold), -1)
        found = _on_host(columns, ours, clip, estimand)
        ours = to_device(ours)
    return Average(
        **found._asdict(),
        propensity=chances.chance,
        predicted=predicted,
        fold=ours,
        slope=chances.slope,
        sample=sample,
        estimand=estimand,
        method="AIPW",
    )


@on_host
def _counts(lib: Any, fold: Int[Array, " n"]) -> Bool[Array, " n"]:
    return fold >= 0


def _on_host(
    columns: _Columns, fold: Int[np.ndarray, " n"], clip: float | Array, estimand: Estimand
) -> _Found:
    """Pick the rows that count, pad them to a bucket, and put the influence back."""
    kept = np.flatnonzero((fold >= 0) & (np.asarray(columns.weight) > 0))
    _check_predictions(np.asarray(columns.predicted), kept, estimand)
    size = bucket(len(kept))
    picked = jax.tree.map(lambda a: pad_rows(np.asarray(a)[kept], size), columns)
    use = np.arange(size) < len(kept)
    found = _average(picked, use, np.asarray(clip, picked.y.dtype), estimand)
    zero = np.zeros(len(fold), picked.y.dtype)
    return found._replace(influence=placed(found.influence, kept, zero))


@partial(jax.jit, static_argnames="estimand")
def _average(
    rows: _Columns, use: Bool[Array, " n"], clip: Float[Array, ""], estimand: Estimand
) -> _Found:
    """A mean of f1 - f0 and one of each arm's residuals, with what each row adds to them.

    For ATT f1 is set to f0, for ATC f0 to f1: the other column cancels.
    """
    t, y = rows.t, jnp.where(use, rows.y, 0)
    w = jnp.where(use, rows.weight, 0)
    e, f = jnp.where(use, rows.chance, 0.5), jnp.where(use[:, None], rows.predicted, 0)
    f0 = f[:, 1] if estimand == "atc" else f[:, 0]
    f1 = f[:, 0] if estimand == "att" else f[:, 1]
    averaged = dict(att=t, atc=~t, ate=jnp.ones_like(t))[estimand]
    own = jnp.where(t, e, 1 - e)
    held = jnp.maximum(own, clip)
    stands_for = 1 / held if estimand == "ate" else jnp.where(averaged, 1, (1 - held) / held)
    weighs = use & (jnp.full_like(t, True) if estimand == "ate" else ~averaged)
    treated, control = (jnp.where(arm, w * stands_for, 0) for arm in (t, ~t))
    gain, gain_of = mean_and_parts(jnp.where(averaged, w, 0), f1 - f0)
    above, above_of = mean_and_parts(treated, y - f1)
    below, below_of = mean_and_parts(control, y - f0)
    moves = gain_of + above_of - below_of
    return _Found(
        average=gain + above - below,
        std_error=jnp.sqrt(variance_of(moves, use, rows.cluster)),
        influence=moves * use.sum(),
        counts=jnp.stack([(use & ~t).sum(), (use & t).sum()]),
        effective=jnp.stack([effective_units(control), effective_units(treated)]),
        beyond=shares_beyond(e, t, w),
        clipped=(weighs & (own < clip)).sum(),
    )


def check_estimand(estimand: str) -> None:
    if estimand not in ARMS:
        raise ValueError(f"estimand is {estimand!r}: use 'att', 'atc' or 'ate'.")


def check_clip(clip: float | Array, name: str = "clip") -> None:
    """Refuse a bound of chances that is none.

    **Raises:** ValueError.
    """
    if not is_traced(clip) and not LEAST_CLIP <= clip < 0.5:
        raise ValueError(f"{name} is {clip}: it must be at least {LEAST_CLIP:g} and under 0.5.")


def _check_predictions(
    predicted: np.ndarray, rows: Int[np.ndarray, " r"], estimand: Estimand
) -> None:
    """Refuse predictions that are NaN or infinite where they are needed."""
    needed = dict(att=(0,), atc=(1,), ate=(0, 1))[estimand]
    for column in needed:
        bad = rows[~np.isfinite(predicted[rows, column])]
        if bad.size:
            raise DataError(
                f"the surface gives no finite outcome {'with' if column else 'without'} the "
                f"treatment for {bad.size} of {rows.size} units ({rows_in_words(bad)}): check it "
                "at their covariates, and that it was fitted for that arm."
            )
