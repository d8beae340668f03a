"""Group sums of what is averaged: outcomes, or residuals from what a model foretells."""

from contextlib import nullcontext
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.data import Sample, is_traced
from jcausal.estimate._residuals import residuals
from jcausal.match import RESULTS, Matching, Prognosis, code


def summed(
    sample: Sample, matching: Matching, prognosis: Prognosis | None, adjusted: bool
) -> tuple[Matching, Float[Array, "q 2 5"], Float[Array, "q 2"] | None, Float[Array, ""]]:
    """Group sums of what is averaged, and mean predictions; queries that are not finite are marked.

    On concrete arrays in float64: squares around a group's mean need the digits.
    """
    assert sample.y is not None
    values, own, predicted = sample.y, None, None
    if prognosis is not None:
        own = residuals(sample, matching.fold, prognosis)
        predicted = sample.y - own
        values = own if adjusted else values
    centre = _centre(values, sample.valid, sample.weight, adjusted)
    traced = is_traced(sample, matching, values)
    with nullcontext() if traced else jax.enable_x64(True):
        wide = values.dtype if traced else np.float64
        away = jnp.where(sample.valid, values.astype(wide) - centre.astype(wide), 0)
        also = None if predicted is None else predicted.astype(wide)[:, None]
        totals, foretold = matching.totals(away, also), None
        if predicted is not None:
            weight = totals[..., 0]
            foretold = jnp.where(weight > 0, totals[..., 5] / jnp.where(weight > 0, weight, 1), 0)
    totals = jnp.asarray(totals[..., :5], sample.x.dtype)
    foretold = None if foretold is None else jnp.asarray(foretold, sample.x.dtype)
    return _marked(sample, matching, totals, prognosis, adjusted), totals, foretold, centre


@partial(jax.jit, static_argnames="adjusted")
def _centre(
    values: Float[Array, " n"],
    valid: Bool[Array, " n"],
    weight: Float[Array, " n"],
    adjusted: bool,
) -> Float[Array, ""]:
    """The weighted mean of what is averaged; 0 for risks, so that a risk of 0 is 0 exactly."""
    usable = valid & jnp.isfinite(values)
    weight = jnp.where(usable, weight, 0)
    centre = (weight * jnp.where(usable, values, 0)).sum() / weight.sum()
    binary = (~usable | (values == 0) | (values == 1)).all()
    return jnp.where(binary & (not adjusted), 0, centre)


def _marked(
    sample: Sample,
    matching: Matching,
    totals: Float[Array, "q 2 5"],
    prognosis: Prognosis | None,
    adjusted: bool,
) -> Matching:
    """The matching with a status for matched queries whose group or own outcome is not finite."""
    assert sample.y is not None
    outcomes = jnp.where(sample.valid, sample.y, 0)
    own = jnp.where(matching.query >= 0, outcomes[matching.query], 0)
    fine = jnp.isfinite(totals[..., :2]).all((1, 2)) & jnp.isfinite(own)
    reason = code(RESULTS.bad_input)
    if adjusted and prognosis is not None:
        fine &= jnp.isfinite(prognosis.queries).any(1)
        reason = jnp.where(jnp.isfinite(outcomes).all(), code(RESULTS.surface_nan), reason)
    status = jnp.where(matching.matched & ~fine, reason, matching.status)
    if not is_traced(status) and (np.asarray(status) == np.asarray(matching.status)).all():
        return matching
    return eqx.tree_at(lambda m: m.status, matching, status)
