"""Averages by weights: Hajek means, and a variance that knows the weights were estimated."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    DataError,
    Sample,
    bucket,
    is_traced,
    pad_rows,
    rows_in_words,
    to_device,
)
from jcausal.effects._average import Average, Population
from jcausal.effects.estimators._moves import effective_units, mean_and_parts, variance_of
from jcausal.effects.estimators._weight_models import Loss, WeightFit, fit_weights
from jcausal.surfaces import (
    Encoding,
    Propensity,
    check_separation,
    placed,
    shares_beyond,
    standardised,
    tells_apart,
)

Family = Literal["inverse", "overlap", "entropy", "moments"]
FAR = 1e6  # others that a unit stands for, from which the arms count as told apart
MAXIMUM_LIKELIHOOD = Propensity(penalty=0)
KNOWN = (
    "the chances of treatment are taken as known: that they were estimated is not in the error, "
    "which is most often too large for it"
)
BALANCED = 1e-3  # sd: a difference of means up to which moments count as equal (float32)


class WeightRows(NamedTuple):
    """What weighting needs of each row: padding and dropped rows have `use` False."""

    x: Float[Array, "n p"]
    t: Bool[Array, " n"]
    y: Float[Array, " n"]
    weight: Float[Array, " n"]
    cluster: Int[Array, " n"] | None
    use: Bool[Array, " n"]


class WeightedFound(NamedTuple):
    """The average and what is told beside it.

    - `unit_weight` (n,): what each row counts in its arm's mean, the sampling weight included.
    - `gap` (f,): the largest gradient of the fitted models, by feature, in standard deviations.
    """

    average: Float[Array, ""]
    std_error: Float[Array, ""]
    influence: Float[Array, " n"]
    propensity: Float[Array, " n"]
    unit_weight: Float[Array, " n"]
    slope: Float[Array, "k f"]
    counts: Int[Array, " 2"]
    effective: Float[Array, " 2"]
    beyond: Float[Array, " 2"]
    gap: Float[Array, " f"]


def models_of(family: Family, estimand: Population) -> tuple[Loss, ...]:
    """Which losses a family minimises; with two, treated come first."""
    if family in ("inverse", "overlap"):
        return ("logistic",)
    if estimand == "att":
        return ("controls_to_treated",)
    if estimand == "atc":
        return ("treated_to_controls",)
    return ("moments",) if family == "moments" else ("treated_to_all", "controls_to_all")


def weights_of(
    family: Family, estimand: Population, t: Bool[Array, " n"], scores: tuple[Array, ...]
) -> Float[Array, " n"]:
    """What each row stands for, from the scores z'b of the models."""
    first, last = scores[0], scores[-1]
    if family == "overlap":
        return jnp.where(t, jax.nn.sigmoid(-first), jax.nn.sigmoid(first))
    if estimand == "att":
        return jnp.where(t, 1, jnp.exp(first))
    if estimand == "atc":
        return jnp.where(t, jnp.exp(-first if family == "inverse" else first), 1)
    if family == "entropy":
        return jnp.exp(jnp.where(t, first, last))
    return 1 + jnp.exp(jnp.where(t, -first, first))


@partial(jax.jit, static_argnames=("family", "estimand"))
def weighted_average(
    encoding: Encoding,
    rows: WeightRows,
    penalty: Float[Array, ""],
    trim: Float[Array, ""],
    family: Family,
    estimand: Population,
) -> tuple[WeightedFound, Bool[Array, " n"]]:
    """WeightFit, drop rows whose chance is outside of `trim`, fit again, and average.

    The error is that of stacked estimating equations: the rows' parts in the two means, and the
    gradient of the average along what each row moves the coefficients.
    """
    first = _fitted(encoding, rows, penalty, ("logistic",))[1][0]
    chance = jax.nn.sigmoid(first.score)
    rows = rows._replace(use=rows.use & (chance >= trim) & (chance <= 1 - trim))
    design, chances = _fitted(encoding, rows, penalty, ("logistic",))
    kinds = models_of(family, estimand)
    fits = chances if kinds == ("logistic",) else _fitted(encoding, rows, penalty, kinds)[1]
    t, w = rows.t, jnp.where(rows.use, rows.weight, 0)
    y = jnp.where(rows.use, rows.y, 0)

    def average_of(coefficients: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        scores = tuple(design @ b for b in coefficients)
        stands = jnp.where(rows.use, w * weights_of(family, estimand, t, scores), 0)
        return difference_of_means(t, y, stands)

    coefficients = tuple(fit.b for fit in fits)
    slopes, (moves, stands) = jax.grad(average_of, has_aux=True)(coefficients)
    for slope, fit in zip(slopes, fits):
        moves = moves + fit.part @ slope
    moves = jnp.where(rows.use, moves, 0)
    chance = jnp.where(rows.use, jax.nn.sigmoid(chances[0].score), jnp.nan)
    found = WeightedFound(
        average=average_of(coefficients)[0],
        std_error=jnp.sqrt(variance_of(moves, rows.use, rows.cluster)),
        influence=moves * rows.use.sum(),
        propensity=chance,
        unit_weight=stands,
        slope=chances[0].b[None, 1:],
        counts=jnp.stack([(rows.use & ~t).sum(), (rows.use & t).sum()]),
        effective=jnp.stack(
            [effective_units(jnp.where(t == arm, stands, 0)) for arm in (False, True)]
        ),
        beyond=shares_beyond(jnp.where(rows.use, chance, 0.5), t, w),
        gap=jnp.stack([jnp.abs(fit.gap[1:]) for fit in fits]).max(0),
    )
    return found, rows.use


def difference_of_means(
    t: Bool[Array, " n"], y: Float[Array, " n"], stands: Float[Array, " n"]
) -> tuple[Array, tuple[Array, Array]]:
    """The difference of the arms' weighted means; each row's part in it; the weights."""
    above, above_of = mean_and_parts(jnp.where(t, stands, 0), y)
    below, below_of = mean_and_parts(jnp.where(t, 0, stands), y)
    return above - below, (above_of - below_of, stands)


def _fitted(
    encoding: Encoding, rows: WeightRows, penalty: Array, kinds: tuple[Loss, ...]
) -> tuple[Float[Array, "n g"], list[WeightFit]]:
    """The design of rows in use, standardised, and every model's fit."""
    w = jnp.where(rows.use, rows.weight, 0)
    share = w / jnp.where(w.sum() > 0, w.sum(), 1)
    features = jnp.where(rows.use[:, None], encoding(rows.x), 0)
    z = jnp.where(rows.use[:, None], standardised(features, share, rows.use), 0)
    design = jnp.concatenate([jnp.ones_like(z[:, :1]), z], axis=1)
    return design, [fit_weights(kind, design, rows.t, share, penalty) for kind in kinds]


class WeightingAsk(NamedTuple):
    """What is asked of a weighting.

    `family` of weights and `estimand`; `name` of the method; `propensity` where weights are of it;
    `trim`: units of a propensity below it or above 1 - trim are left out.
    """

    family: Family
    estimand: Population
    name: str
    propensity: Propensity = MAXIMUM_LIKELIHOOD
    trim: float | int = 0.0


def average_by_weights(sample: Sample, ask: WeightingAsk) -> Average:
    """The weighted average of a sample: padded on the host, as it is under tracing.

    **Raises:** `DataError` when no weights are to be had; see `check_weights`.
    """
    assert sample.y is not None
    columns = sample.x, sample.t, sample.y, sample.weight, sample.cluster
    dtype, encoding = sample.x.dtype, Encoding(sample.schema)
    penalty = ask.propensity.held
    if is_traced(columns, sample.valid, penalty):
        rows = WeightRows(*columns, use=sample.valid & (sample.weight > 0))
        options = jnp.asarray(penalty, dtype), jnp.asarray(ask.trim, dtype)
        found, use = weighted_average(encoding, rows, *options, ask.family, ask.estimand)
        return average_of_found(sample, ask, found, jnp.where(use, 0, -1))
    kept = np.flatnonzero(np.asarray(sample.valid) & (np.asarray(sample.weight) > 0))
    size = bucket(kept.size)
    if ask.family in ("inverse", "overlap") and not penalty and not ask.trim:
        inside = np.zeros(sample.n, bool)
        inside[kept] = True
        check_separation(sample, inside)
    padded = [None if a is None else pad_rows(np.asarray(a)[kept], size) for a in columns]
    rows = WeightRows(*padded, use=np.arange(size) < kept.size)  # type: ignore[arg-type]
    options = (to_device(np.asarray(one, dtype)) for one in (penalty, ask.trim))
    found, use = weighted_average(encoding, rows, *options, ask.family, ask.estimand)
    check_weights(sample, found, kept, ask)
    fold = np.full(sample.n, -1, np.int32)
    fold[kept] = np.where(np.asarray(use)[: kept.size], 0, -1)
    return average_of_found(sample, ask, in_place(sample, found, kept), to_device(fold))


def in_place(sample: Sample, found: WeightedFound, kept: Int[np.ndarray, " m"]) -> WeightedFound:
    """What was found of some rows at their places in the sample."""
    dtype = sample.x.dtype
    zero, unknown = np.zeros(sample.n, dtype), np.full(sample.n, np.nan, dtype)
    return found._replace(
        influence=placed(found.influence, kept, zero.copy()),
        unit_weight=placed(found.unit_weight, kept, zero),
        propensity=placed(found.propensity, kept, unknown),
    )


def average_of_found(
    sample: Sample, ask: WeightingAsk, found: WeightedFound, fold: Int[Array, " n"]
) -> Average:
    """The result; trimming renames the estimand."""
    aside = () if ask.propensity.is_one_regression else (KNOWN,)
    whose = f"with a propensity of {ask.trim:g} to {1 - ask.trim:g}" if ask.trim else ""
    return Average(
        **{one: value for one, value in found._asdict().items() if one != "gap"},
        fold=fold,
        sample=sample,
        estimand=ask.estimand,
        method=ask.name,
        whose=whose,
        aside=aside,
    )


def check_weights(
    sample: Sample, found: WeightedFound, kept: Int[np.ndarray, " m"], ask: WeightingAsk
) -> None:
    """Refuse weights that do not exist: arms told apart, or moments that cannot be reached.

    **Raises:** `DataError` naming the covariate and what to do.
    """
    counts, column = np.asarray(found.counts), np.asarray(Encoding(sample.schema).column)
    if (counts == 0).any():
        arm = "controls" if counts[0] == 0 else "treated"
        more = "make trim smaller, or " if ask.trim else ""
        raise DataError(f"{ask.name}: no {arm} are left: {more}give units of both arms.")
    if (counts == 1).any():
        arm = "control" if counts[0] == 1 else "treated unit"
        raise DataError(
            f"{ask.name}: there is one {arm}, whose outcome tells no spread, and so no error: give "
            "at least two units of each arm."
        )
    gap = np.asarray(found.gap)
    if ask.family in ("entropy", "moments") and not gap.max(initial=0) < BALANCED:
        worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
        raise DataError(
            f"{ask.name}: no weights make the arms' means alike, and "
            f"{sample.schema.names[int(column[worst])]!r} stays apart the most: leave it out, or "
            "ask for the units that have their like in both arms, by "
            "jc.OverlapWeights(propensity=jc.Propensity())."
        )
    worst = tells_apart(sample.schema, np.asarray(found.slope))
    stands = np.asarray(found.unit_weight)[: kept.size] / np.asarray(sample.weight)[kept]
    far = ~(stands < FAR)
    if far.any():
        raise DataError(
            f"{ask.name}: {far.sum()} units would stand for more than {FAR:,.0f} others each "
            f"({rows_in_words(kept[far])}), and {worst!r} tells the arms apart the most: use "
            "jc.OverlapWeights(), jc.IPTW(trim=0.01), or leave that covariate out."
        )
