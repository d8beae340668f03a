"""Averages by weights of chances of treatment that are taken as known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import Sample, bucket, is_traced, pad_rows, to_device
from jcausal.effects._average import Average, Population
from jcausal.effects.estimators._moves import effective_units, variance_of
from jcausal.effects.estimators._weighted_average import (
    Family,
    WeightedFound,
    WeightingAsk,
    WeightRows,
    average_of_found,
    check_weights,
    difference_of_means,
    in_place,
    weights_of,
)
from jcausal.surfaces import Chances, chances_of, shares_beyond


def average_by_chances(sample: Sample, ask: WeightingAsk, key: PRNGKeyArray | None) -> Average:
    """The weighted average by a propensity's chances; with `trim` these are found twice.

    **Raises:** `DataError` when no weights are to be had; ValueError without a key for folds.
    """
    assert sample.y is not None
    chances = chances_of(sample, ask.propensity, key)
    if ask.trim:
        kept = (chances.chance >= ask.trim) & (chances.chance <= 1 - ask.trim)
        chances = chances_of(sample.with_valid(kept), ask.propensity, key)
    columns = sample.x, sample.t, sample.y, sample.weight, sample.cluster
    there = (sample.weight > 0) & sample.valid & ~jnp.isnan(chances.chance)
    if is_traced(columns, there):
        found = _average(WeightRows(*columns, use=there), chances, ask.family, ask.estimand)
        return average_of_found(sample, ask, found, jnp.where(there, 0, -1))
    kept = np.flatnonzero(np.asarray(there))
    size = bucket(kept.size)
    padded = [None if a is None else pad_rows(np.asarray(a)[kept], size) for a in columns]
    rows = WeightRows(*padded, use=np.arange(size) < kept.size)  # type: ignore[arg-type]
    known = Chances(pad_rows(np.asarray(chances.chance)[kept], size), chances.slope)
    found = _average(rows, known, ask.family, ask.estimand)
    check_weights(sample, found, kept, ask)
    fold = np.where(np.asarray(there), 0, -1).astype(np.int32)
    return average_of_found(sample, ask, in_place(sample, found, kept), to_device(fold))


@partial(jax.jit, static_argnames=("family", "estimand"))
def _average(
    rows: WeightRows, chances: Chances, family: Family, estimand: Population
) -> WeightedFound:
    """The difference of weighted means, and the sum of squares of the rows' parts in it."""
    t, use = rows.t, rows.use
    w, y = jnp.where(use, rows.weight, 0), jnp.where(use, rows.y, 0)
    chance: Float[Array, " n"] = jnp.where(use, chances.chance, 0.5)
    score = jnp.log(chance) - jnp.log1p(-chance)
    stands = jnp.where(use, w * weights_of(family, estimand, t, (score,)), 0)
    average, (moves, _) = difference_of_means(t, y, stands)
    arms = [effective_units(jnp.where(t == arm, stands, 0)) for arm in (False, True)]
    return WeightedFound(
        average=average,
        std_error=jnp.sqrt(variance_of(moves, use, rows.cluster)),
        influence=moves * use.sum(),
        propensity=jnp.where(use, chance, jnp.nan),
        unit_weight=stands,
        slope=chances.slope,
        counts=jnp.stack([(use & ~t).sum(), (use & t).sum()]),
        effective=jnp.stack(arms),
        beyond=shares_beyond(chance, t, w),
        gap=jnp.zeros(chances.slope.shape[1], w.dtype),
    )
