"""What boxes grow around: units of the sample, or points anywhere."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import DataError, Sample, is_traced, on_host, rows_in_words, rows_of, to_device
from jcausal.matching.boxes._columns import Columns, columns_of
from jcausal_kernels import MISSING


class Queries(NamedTuple):
    """Values `x`, first codes `lower` and `upper`, and own levels of what boxes grow around.

    `place` is how far each stands above the ladders' feet, as a sum of two numbers so that
    neighbours on a long ladder stay apart in float32.
    """

    x: Float[Array, "q p"]
    place: Float[Array, "q o 2"]
    lower: Int[Array, "q o"]
    upper: Int[Array, "q o"]
    open: Bool[Array, "q c l"]


def unit_queries(sample: Sample, units: Int[Array, " q"]) -> Queries:
    """Queries that are units of the sample; a missing value starts with its whole ladder."""
    columns = columns_of(sample)
    ordered, ladder = columns.ordered, sample.ladder[columns.ordered]
    lower, upper, opened = _own_boxes(sample.codes, units, sample.heights, columns)
    host = isinstance(ladder, np.ndarray) and not is_traced(sample.codes, units)
    ladder = ladder if host else jnp.asarray(ladder, sample.x.dtype)
    values = ladder[np.arange(len(ordered)), np.asarray(lower) if host else lower]
    place = places(ladder, values, sample.x.dtype)
    return Queries(rows_of(sample.x, units), place, lower, upper, opened)


@on_host
def _own_boxes(
    lib: Any,
    codes: Int[Array, "n p"],
    units: Int[Array, " q"],
    heights: Int[Array, " p"],
    columns: Columns,
) -> tuple[Int[Array, "q o"], Int[Array, "q o"], Bool[Array, "q c l"]]:
    """First and last code of each unit's own box, and its levels."""
    own = codes[units]
    code, levels = own[:, columns.ordered], own[:, columns.categories]
    missing, top = code == MISSING, (heights[columns.ordered] - 1).astype(code.dtype)
    opened = levels[:, :, None] == lib.arange(columns.tallest)
    return lib.where(missing, 0, code), lib.where(missing, top, code), opened


def point_queries(sample: Sample, at: Float[np.ndarray, "q p"]) -> Queries:
    """Queries anywhere: between two values a box starts empty, with both within reach.

    Where a flag says that a number is missing, the number may be anything, NaN too.

    **Raises:** `DataError` for NaN, a wrong width, or a level that the sample does not have.
    """
    if at.ndim != 2 or at.shape[1] != sample.p:
        raise DataError(f"at has shape {at.shape}: it must be (q, {sample.p}), one row a point.")
    columns, missing = columns_of(sample), missing_at(sample, at)
    at = np.where(missing, np.asarray(sample.fill), at)
    _check_points(sample, at, columns)
    ladder, heights = np.asarray(sample.ladder), np.asarray(sample.heights)
    ordered = columns.ordered
    first, last = np.zeros((2, at.shape[0], len(ordered)), np.int32)
    for slot, j in enumerate(ordered):
        values, gap = ladder[j, : heights[j]], missing[:, j]
        first[:, slot] = np.where(gap, 0, np.searchsorted(values, at[:, j]))
        above = np.searchsorted(values, at[:, j], "right")
        last[:, slot] = np.where(gap, heights[j], above) - 1
    opened = at[:, columns.categories].astype(np.int32)[:, :, None] == np.arange(columns.tallest)
    place = places(ladder[ordered], at[:, ordered], sample.x.dtype)
    x = to_device(at.astype(sample.x.dtype))
    return Queries(x, place, to_device(first), to_device(last), to_device(opened))


def _check_points(sample: Sample, at: Float[np.ndarray, "q p"], columns: Columns) -> None:
    """Refuse numbers that are not finite, and levels that there are not."""
    names = sample.schema.names
    for j, name in enumerate(names):
        bad = np.flatnonzero(~np.isfinite(at[:, j]))
        if bad.size:
            raise DataError(
                f"at: {name!r} is not finite in {bad.size} points ({rows_in_words(bad)})."
            )
    for j, height in zip(columns.categories, columns.heights):
        bad = np.flatnonzero(~np.isin(at[:, j], np.arange(height)))
        if bad.size:
            raise DataError(
                f"at: category {names[j]!r} has no level {at[bad[0], j]:g} "
                f"({rows_in_words(bad)}): use the level numbers 0 to {height - 1}."
            )


def missing_at(sample: Sample, at: Float[np.ndarray, "q p"]) -> Bool[np.ndarray, "q p"]:
    """Which numbers of the points are missing, as their flag columns say."""
    missing = np.zeros(at.shape, bool)
    for j, flag in sample.schema.flag_of.items():
        missing[:, j] = at[:, flag] == 1
    return missing


def places(
    ladder: np.ndarray | Array, values: np.ndarray | Array, dtype: np.dtype
) -> Float[Array, "k o 2"]:
    """How far `values` (k, o) stand above the feet of ladders (o, l), as two numbers to add."""
    above = values - ladder[:, 0]
    if not isinstance(ladder, np.ndarray):
        return jnp.stack([above, jnp.zeros_like(above)], axis=2).astype(dtype)
    first = above.astype(dtype)
    return to_device(np.stack([first, (above - first).astype(dtype)], axis=2))
