"""Residuals of outcomes from what a model foretells, and how much of the outcome it explains."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample
from jcausal.match import Prognosis
from jcausal.outcome._quality import share_explained


def residuals(sample: Sample, fold: Int[Array, " n"], prognosis: Prognosis) -> Float[Array, " n"]:
    """Outcome less f(x) of each unit's own arm; the outcome as it is for rows of no fold."""
    assert sample.y is not None
    return _residuals(sample.y, sample.t, sample.valid, fold, prognosis.units)


def own_predictions(
    sample: Sample, fold: Int[Array, " n"], prognosis: Prognosis
) -> Float[Array, "q 2"]:
    """f0 and f1 at each query; an arm that was not fitted takes those of the other."""
    return _of_queries(prognosis.units, prognosis.queries, sample.valid, fold)


def drift_of(
    sample: Sample,
    own: Float[Array, "q 2"],
    foretold: Float[Array, "q 2"],
    treated: Bool[Array, " q"],
    matched: Bool[Array, " q"],
) -> Float[Array, " q"]:
    """Mean prediction in the arm of the partners minus the query's own, over the outcome's sd."""
    assert sample.y is not None
    return _drift(sample.y, sample.weight, sample.valid, own, foretold, treated, matched)


def explained(
    sample: Sample, fold: Int[Array, " n"], prognosis: Prognosis, folds: int
) -> Float[Array, "k 2"]:
    """R2 of each fold's surface by arm, on the rows of that fold (see `ResponseSurface.r2`)."""
    assert sample.y is not None
    use = sample.valid & (sample.weight > 0)
    return _explained(sample.y, sample.t, use, sample.weight, fold, prognosis.units, folds)


def _filled(values: Array, units: Array, use: Array) -> Array:
    """Columns of arms that were not fitted replaced by the other one."""
    absent = (jnp.isnan(units) | ~use[:, None]).all(0)
    return jnp.where(absent, values[:, ::-1], values)


@jax.jit
def _residuals(
    y: Float[Array, " n"],
    t: Bool[Array, " n"],
    valid: Bool[Array, " n"],
    fold: Int[Array, " n"],
    units: Float[Array, "n 2"],
) -> Float[Array, " n"]:
    use = valid & (fold >= 0)
    both = _filled(units, units, use)
    own = jnp.where(t, both[:, 1], both[:, 0])
    return y - jnp.where(use, own, 0).astype(y.dtype)


@jax.jit
def _of_queries(
    units: Float[Array, "n 2"],
    queries: Float[Array, "q 2"],
    valid: Bool[Array, " n"],
    fold: Int[Array, " n"],
) -> Float[Array, "q 2"]:
    return _filled(queries, units, valid & (fold >= 0))


@jax.jit
def _drift(
    y: Float[Array, " n"],
    weight: Float[Array, " n"],
    valid: Bool[Array, " n"],
    own: Float[Array, "q 2"],
    foretold: Float[Array, "q 2"],
    treated: Bool[Array, " q"],
    matched: Bool[Array, " q"],
) -> Float[Array, " q"]:
    gap = foretold - own
    gap = jnp.where(treated, gap[:, 0], gap[:, 1]) / outcome_sd(y, jnp.where(valid, weight, 0))
    return jnp.where(matched, gap, jnp.nan)


def outcome_sd(y: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """The weighted standard deviation of the outcome; 1 for a constant one."""
    share = weight / weight.sum()
    inside = jnp.where(weight > 0, y, 0)
    sd = jnp.sqrt((share * jnp.square(inside - (share * inside).sum())).sum())
    return jnp.where(sd > 0, sd, 1)


@partial(jax.jit, static_argnames="folds")
def _explained(
    y: Float[Array, " n"],
    t: Bool[Array, " n"],
    use: Bool[Array, " n"],
    weight: Float[Array, " n"],
    fold: Int[Array, " n"],
    units: Float[Array, "n 2"],
    folds: int,
) -> Float[Array, "k 2"]:
    def of_fold(k: Array) -> Array:
        return share_explained(units, y, t, use & (fold == k), weight)

    return jax.vmap(of_fold)(jnp.arange(folds))
