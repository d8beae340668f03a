"""Group sums of what is averaged: outcomes, or residuals from what a model foretells."""

from contextlib import nullcontext
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    difference,
    is_traced,
    on_host,
)
from jcausal.effects._residuals import residuals
from jcausal.matching import RESULTS, Matching, Prognosis, code


def summed(
    matching: Matching, prognosis: Prognosis | None, adjusted: bool
) -> tuple[Matching, Float[Array, "q 2 5"], Float[Array, "q 2"] | None, Float[Array, ""]]:
    """Group sums of what is averaged, and mean predictions; queries that are not finite are marked.

    On concrete arrays in float64: squares around a group's mean need the digits.
    """
    sample = matching.sample
    assert sample.y is not None
    values, own, predicted = sample.y, None, None
    if prognosis is not None:
        own = residuals(sample, matching.fold, prognosis)
        predicted = difference(sample.y, own)
        values = own if adjusted else values
    centre = _centre(values, sample.valid, sample.weight, adjusted)
    traced = is_traced(matching, values)
    with nullcontext() if traced else jax.enable_x64(True):
        wide = values.dtype if traced else np.dtype(np.float64)
        away = _away(values, centre, sample.valid, wide)
        also = None if predicted is None else _wide(predicted, wide)
        totals = matching.totals(away, also)
        totals, foretold = _parted(totals, sample.x.dtype, predicted is not None)
    return _marked(matching, totals, prognosis, adjusted), totals, foretold, centre


@on_host
def _away(
    lib: Any,
    values: Float[Array, " n"],
    centre: Float[Array, ""],
    valid: Bool[Array, " n"],
    wide: np.dtype,
) -> Float[Array, " n"]:
    return lib.where(valid, values.astype(wide) - centre.astype(wide), 0)


@on_host
def _wide(lib: Any, predicted: Float[Array, " n"], wide: np.dtype) -> Float[Array, "n 1"]:
    return predicted.astype(wide)[:, None]


@on_host
def _parted(
    lib: Any, totals: Float[Array, "q 2 e"], dtype: np.dtype, told: bool
) -> tuple[Float[Array, "q 2 5"], Float[Array, "q 2"] | None]:
    """Totals, and mean predictions where their sums stand behind."""
    foretold = None
    if told:
        weight = totals[..., 0]
        foretold = lib.where(weight > 0, totals[..., 5] / lib.where(weight > 0, weight, 1), 0)
        foretold = foretold.astype(dtype)
    return totals[..., :5].astype(dtype), foretold


@on_host
def _centre(
    lib: Any,
    values: Float[Array, " n"],
    valid: Bool[Array, " n"],
    weight: Float[Array, " n"],
    adjusted: bool,
) -> Float[Array, ""]:
    """The weighted mean of what is averaged; 0 for risks, so that a risk of 0 is 0 exactly."""
    usable = valid & lib.isfinite(values)
    weight = lib.where(usable, weight, 0)
    centre = (weight * lib.where(usable, values, 0)).sum() / weight.sum()
    binary = (~usable | (values == 0) | (values == 1)).all()
    return lib.where(binary & (not adjusted), 0, centre)


def _marked(
    matching: Matching,
    totals: Float[Array, "q 2 5"],
    prognosis: Prognosis | None,
    adjusted: bool,
) -> Matching:
    """The matching with a status for matched queries whose group or own outcome is not finite."""
    sample = matching.sample
    assert sample.y is not None
    told = prognosis.queries if adjusted and prognosis is not None else None
    status = _status(matching.status, matching.query, sample.y, sample.valid, totals, told)
    if not is_traced(status) and (np.asarray(status) == np.asarray(matching.status)).all():
        return matching
    return eqx.tree_at(lambda m: m.status, matching, status)


@on_host
def _status(
    lib: Any,
    status: Int[Array, " q"],
    query: Int[Array, " q"],
    y: Float[Array, " n"],
    valid: Bool[Array, " n"],
    totals: Float[Array, "q 2 5"],
    told: Float[Array, "q 2"] | None,
) -> Int[Array, " q"]:
    outcomes = lib.where(valid, y, 0)
    own = lib.where(query >= 0, outcomes[query], 0)
    fine = lib.isfinite(totals[..., :2]).all((1, 2)) & lib.isfinite(own)
    reason = code(RESULTS.bad_input)
    if told is not None:
        fine &= lib.isfinite(told).any(1)
        reason = lib.where(lib.isfinite(outcomes).all(), code(RESULTS.surface_nan), reason)
    return lib.where((status == code(RESULTS.matched)) & ~fine, reason, status)
