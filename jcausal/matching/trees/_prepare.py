"""From a sample to what a tree is grown on: places of values, centred and scaled columns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, traced_ladders
from jcausal.matching.trees._fit import Design
from jcausal.surfaces._surface import Encoding
from jcausal_kernels import MISSING
from jcausal_kernels.split_scan import FEW_RUNGS


class FeatureCodes(NamedTuple):
    """The place of each unit's value in every feature, and the values of each place.

    `top` and `bottom` (f, r) are the largest and smallest value of a place: the same, unless places
    are bins.
    """

    codes: Int[Array, "n f"] | Int[np.ndarray, "n f"]
    top: Float[Array, "f r"] | Float[np.ndarray, "f r"]
    bottom: Float[Array, "f r"] | Float[np.ndarray, "f r"]
    units: Int[np.ndarray, " f"] | None = None


class Scaling(NamedTuple):
    """What was taken off the features and the outcome (last), and what they were divided by."""

    centre: Float[Array, " g"]
    scale: Float[Array, " g"]


def host_codes(
    sample: Sample,
    encoding: Encoding,
    features: Float[np.ndarray, "n f"],
    rows: Int[np.ndarray, " r"],
    bins: int | None,
) -> FeatureCodes:
    """Places among the values of some rows, in the working dtype, read off the sample's ladders."""
    codes = np.empty((rows.size, features.shape[1]), np.int32)
    ladders: list[tuple[np.ndarray, np.ndarray]] = []
    for f in range(features.shape[1]):
        place, values = _column(sample, encoding, f, features, rows)
        counts = np.bincount(place, minlength=values.size)
        kept = np.flatnonzero(counts)
        place, values, counts = (np.cumsum(counts > 0) - 1)[place], values[kept], counts[kept]
        top = bottom = values
        if bins is not None and values.size > bins:
            of = np.unique((np.cumsum(counts) - counts) * bins // rows.size, return_inverse=True)[1]
            first = np.flatnonzero(np.diff(of, prepend=-1))
            place, bottom = of[place], values[first]
            top = values[np.append(first[1:], values.size) - 1]
        codes[:, f] = place
        ladders.append((top, bottom))
    count = np.array([top.size for top, _ in ladders], np.int32)
    wide = count.max(initial=1)
    tops, bottoms = (
        np.stack([np.pad(pair[side], (0, wide - pair[side].size), mode="edge") for pair in ladders])
        for side in (0, 1)
    )
    return FeatureCodes(codes, tops, bottoms, count)


def _column(
    sample: Sample, encoding: Encoding, f: int, features: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of one feature; sorted anew only where the ladder does not hold it."""
    j, level = int(encoding.column[f]), int(encoding.level[f])
    column = features[rows, f]
    if level >= 0:
        return column.astype(np.int64), np.array([0, 1], features.dtype)
    codes = np.asarray(sample.codes)[rows, j]
    ladder = np.asarray(sample.ladder)[j, : np.asarray(sample.heights)[j]].astype(features.dtype)
    if (codes == MISSING).any():
        values, place = np.unique(column, return_inverse=True)
        return place, values
    values, place = np.unique(ladder, return_inverse=True)
    return place[codes], values


def traced_codes(
    features: Float[Array, "n f"], use: Bool[Array, " n"], bins: int | None
) -> FeatureCodes:
    """The same under tracing, by sorting; `use` marks the rows whose values count."""
    codes, ladder, heights = traced_ladders(features, use, jnp.zeros(features.shape, bool))
    if bins is None:
        return FeatureCodes(codes, ladder, ladder)
    total = jnp.maximum(use.sum(), 1)

    def one(codes: Array, column: Array, height: Array) -> tuple[Array, Array, Array]:
        ordered = jnp.sort(jnp.where(use, codes, codes.shape[0]))
        below = jnp.searchsorted(ordered, codes, side="left")
        place = jnp.minimum(below * bins // total, bins - 1)
        place = jnp.where(height <= bins, jnp.minimum(codes, bins - 1), place)
        member = use & (place == jnp.arange(bins)[:, None])
        top = jnp.where(member, column, -jnp.inf).max(1)
        return place.astype(jnp.int32), top, jnp.where(member, column, jnp.inf).min(1)

    return FeatureCodes(*jax.vmap(one, (1, 1, 0), (1, 0, 0))(codes, features, heights))


def sizes_of(count: Int[np.ndarray, " f"], rows: int) -> tuple[int, ...]:
    """Few sizes, so that features with about as many values share a trace.

    A power of 4 for a feature whose units are not kept sorted; else `rows`.
    """
    bits = [(max(int(k), 2) - 1).bit_length() for k in count]
    sizes = [2 if b == 1 else 1 << (b + b % 2) for b in bits]
    return tuple(size if size <= FEW_RUNGS else rows for size in sizes)


def design_of(
    features: Float[Array, "n f"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"] | None,
    use: Bool[Array, " n"],
    codes: Int[Array, "n f"],
) -> tuple[Design, Scaling]:
    """Columns less their mean, over their standard deviation, on the rows in use."""
    columns = jnp.concatenate([features, y[:, None]], axis=1)
    share = use.astype(columns.dtype) if weight is None else jnp.where(use, weight, 0)
    share = (share / jnp.maximum(share.sum(), jnp.finfo(columns.dtype).tiny))[:, None]
    inside = jnp.where(use[:, None], columns, 0)
    centre = (share * inside).sum(0)
    z = jnp.where(use[:, None], columns - centre, 0)
    scale = jnp.sqrt((share * z**2).sum(0))
    scale = jnp.where(scale > 0, scale, 1)
    return Design(z / scale, weight, codes), Scaling(centre, scale)
