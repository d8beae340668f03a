"""Samples, boxes and values as the kernels take them."""

from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jcausal.data import Sample, bucket, is_traced, on_host, pad_rows
from jcausal.matching.boxes._edges import Edges
from jcausal_kernels import CodedBoxes, Units


def kernel_units(sample: Sample, fold: Int[Array, " n"]) -> Units:
    """The sample; the last column of its codes is the fold, which a box must agree with.

    A unit of weight 0 carries no mean: it is in no box. Rows beyond the sample's fill a bucket, so
    that near sizes share a trace: they are in no box either.
    """
    schema = sample.schema
    parts = _padded(sample.codes, sample.t, sample.weight, fold)
    return _units(*parts, schema.ordered, schema.categories)


def kernel_boxes(edges: Edges, fold: Int[Array, " q"]) -> CodedBoxes:
    """Boxes that units of one fold can be in, and rows of zeros up to a bucketed number."""
    return with_gate(*_padded(*edges, fold))


def above_all_codes(sample: Sample, fold: Int[Array, " n"]) -> int:
    """More than any code of `kernel_units`: than values on a ladder, and than folds."""
    heights = sample.ladder.shape[1]
    if is_traced(fold):
        return max(heights, fold.shape[0])  # there are no more folds than units
    return max(heights, int(np.max(np.asarray(fold), initial=0)) + 1)


def _padded(*arrays: Array) -> tuple[Any, ...]:
    """Concrete arrays with rows of zeros up to a bucketed number."""
    if is_traced(arrays):
        return arrays
    rows = bucket(arrays[0].shape[0])
    return tuple(pad_rows(np.asarray(array), rows) for array in arrays)


@on_host
def _units(
    lib: Any,
    codes: Int[Array, "n p"],
    t: Bool[Array, " n"],
    weight: Float[Array, " n"],
    fold: Int[Array, " n"],
    ordered: ArrayLike,
    categories: ArrayLike,
) -> Units:
    """Ordered columns with the fold behind them (-2 for a unit without weight), and categories."""
    gate = lib.where(weight > 0, fold, -2)[:, None].astype(codes.dtype)
    return Units(lib.concatenate([codes[:, ordered], gate], axis=1), codes[:, categories], t)


@on_host
def with_gate(
    lib: Any,
    lower: Int[Array, "q o"],
    upper: Int[Array, "q o"],
    opened: Bool[Array, "q c l"],
    fold: Int[Array, " q"],
) -> CodedBoxes:
    """Boxes with one column more, which lets in the units that have this number there."""
    gate = fold[:, None].astype(lower.dtype)
    return CodedBoxes(
        lib.concatenate([lower, gate], axis=1), lib.concatenate([upper, gate], axis=1), opened
    )


@on_host
def weighted_rows(
    lib: Any,
    values: Float[Array, "n d"],
    weight: Float[Array, " n"],
    fold: Int[Array, " n"],
    power: int,
    rows: int,
) -> Float[Array, "r d"]:
    """Values times the weight's power, 0 for a unit without a fold and in rows up to `rows`."""
    weighted = lib.where(fold[:, None] < 0, 0, values * (weight**power)[:, None])
    return lib.pad(weighted, [(0, rows - values.shape[0]), (0, 0)])


@on_host
def as_column(lib: Any, shares: Float[Array, "q 2"], rows: int) -> Float[Array, "r 2 1"]:
    """Shares as one column, with zeros in rows up to `rows`."""
    return lib.pad(shares[:, :, None], [(0, rows - shares.shape[0]), (0, 0), (0, 0)])


@on_host
def times_weight(
    lib: Any, total: Float[Array, "n 1"], weight: Float[Array, " n"], power: int
) -> Float[Array, " n"]:
    """A column times the weight's power."""
    return total[:, 0] * weight**power


@on_host
def moment_columns(
    lib: Any,
    y: Float[Array, " n"],
    valid: Bool[Array, " n"],
    weight: Float[Array, " n"],
    also: Float[Array, "n d"] | None,
) -> tuple[Float[Array, "n e"], Float[Array, ""]]:
    """What `around_means` takes the sums of, and the largest weight."""
    w = lib.where(valid, weight, 0).astype(y.dtype)
    largest = w.max()
    w = w / lib.where(largest > 0, largest, 1)
    columns = lib.stack([lib.ones_like(y), y, y**2, w, w**2], axis=1)
    return columns if also is None else lib.concatenate([columns, also], axis=1), largest


@on_host
def observed(
    lib: Any, opened: Bool[Array, "q c l"], p: int, slots: dict[int, int]
) -> Bool[Array, "q p"]:
    """Whether each box holds observed values of a covariate; `slots`: of the flags of numbers."""
    every = lib.ones(opened.shape[0], bool)
    columns = [opened[:, slots[j], 0] if j in slots else every for j in range(p)]
    return lib.stack(columns, axis=1)
