"""Sums of many regression trees, on the host: equal structures merged, small ones tabulated.

A tree is a heap: node i has the children 2i and 2i+1, the root is 1; `cut[i] = 0` marks a leaf,
else a point goes left when its bin in feature `var[i]` is below `cut[i]`. T trees of H inner slots.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import pad_rows


class Heaps(NamedTuple):
    """Trees as arrays: (T, H) features and cuts, (T, 2 H) leaf values."""

    var: Int[np.ndarray, "t h"]
    cut: Int[np.ndarray, "t h"]
    leaf: Float[np.ndarray, "t l"]


class Tables(NamedTuple):
    """All pair tables in one flat array; entry 0 is a zero that absent pairs point to."""

    value: Float[np.ndarray, " s"]
    first: Int[np.ndarray, " k"]
    second: Int[np.ndarray, " k"]
    offset: Int[np.ndarray, " k"]
    stride: Int[np.ndarray, " k"]


def merge(trees: Heaps) -> Heaps:
    """Add up the leaves of trees that split alike: the same sum of trees, fewer trees."""
    var = np.where(trees.cut > 0, trees.var, 0)
    shape = np.ascontiguousarray(np.concatenate([var, trees.cut], axis=1).astype(np.uint16))
    rows = shape.view([("", shape.dtype)] * shape.shape[1]).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(first)))
    leaf = np.add.reduceat(trees.leaf[order].astype(np.float64), starts, axis=0)
    return Heaps(var[first], trees.cut[first], leaf)


def features_used(trees: Heaps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest and largest feature of each tree (-1 without a split), and whether no other."""
    inner, var = trees.cut > 0, trees.var.astype(np.int32)
    low = np.where(inner, var, np.iinfo(np.int32).max).min(1)
    high = np.where(inner, var, -1).max(1)
    between = inner & (var != low[:, None]) & (var != high[:, None])
    return np.where(high < 0, -1, low), high, ~between.any(1)


def _rectangles(
    trees: Heaps, low: np.ndarray, high: np.ndarray, bins: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The bins [lo, hi) of every leaf in its tree's two features: (tree, lo, hi, value)."""
    count, slots = trees.leaf.shape
    extent = np.stack([bins[np.maximum(low, 0)], bins[np.maximum(high, 0)]], axis=1)
    lo = np.zeros((count, slots, 2), np.int32)
    hi = np.broadcast_to(extent[:, None], (count, slots, 2)).astype(np.int32).copy()
    exists = np.zeros((count, slots), bool)
    exists[:, 1] = True
    cut = np.concatenate([trees.cut, np.zeros_like(trees.cut)], axis=1).astype(np.int32)
    for parent in range(1, slots // 2):
        side = (trees.var[:, parent] != low).astype(int)
        rows, at = np.arange(count), cut[:, parent]
        for child in (2 * parent, 2 * parent + 1):
            exists[:, child] = exists[:, parent] & (at > 0)
            lo[:, child], hi[:, child] = lo[:, parent], hi[:, parent]
        hi[rows, 2 * parent, side] = np.minimum(hi[rows, 2 * parent, side], at)
        lo[rows, 2 * parent + 1, side] = np.maximum(lo[rows, 2 * parent + 1, side], at)
    tree, slot = np.nonzero(exists & (cut == 0) & (lo < hi).all(2))
    return tree, lo[tree, slot], hi[tree, slot], trees.leaf[tree, slot]


def _corner_table(
    lo: np.ndarray, hi: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> Float[np.ndarray, "a b"]:
    """The sum of constant rectangles on a grid, by corner differences and two prefix sums."""
    grid = np.zeros((shape[0] + 1, shape[1] + 1))
    for a, b, sign in ((lo, lo, 1), (hi, lo, -1), (lo, hi, -1), (hi, hi, 1)):
        np.add.at(grid, (a[:, 0], b[:, 1]), sign * value)
    return grid.cumsum(0).cumsum(1)[:-1, :-1]


def tabulate(trees: Heaps, bins: Int[np.ndarray, " f"], max_bytes: int) -> tuple[Tables, Heaps]:
    """Tables for the trees with at most two features, within a byte budget, and the other trees.

    A tree with one feature is the pair (f, f): its table is the diagonal, stored as one column.
    Pairs that carry the most trees are tabulated first.
    """
    low, high, small = features_used(trees)
    low, high = np.maximum(low, 0), np.maximum(high, 0)
    pairs, member, counts = np.unique(
        np.stack([low, high], axis=1)[small], axis=0, return_inverse=True, return_counts=True
    )
    width = np.where(pairs[:, 0] == pairs[:, 1], 1, bins[pairs[:, 1]])
    size = bins[pairs[:, 0]] * width
    order = np.lexsort((size, -counts))
    fits = np.zeros(len(pairs), bool)
    fits[order] = np.cumsum(size[order]) * 4 <= max_bytes
    rows = np.flatnonzero(small)
    chosen = Heaps(*(a[rows] for a in trees))
    tree, lo, hi, value = _rectangles(chosen, low[rows], high[rows], bins)
    values, offset, at = [np.zeros(1)], [], 1
    for k in np.flatnonzero(fits):
        here = member[tree] == k
        lower, upper, tall = lo[here], hi[here], (int(bins[pairs[k, 0]]), int(width[k]))
        if pairs[k, 0] == pairs[k, 1]:
            lower, upper = lower * [1, 0], np.stack([upper[:, 0], np.ones(len(upper), int)], 1)
        values.append(_corner_table(lower, upper, value[here], tall).ravel())
        offset.append(at)
        at += tall[0] * tall[1]
    rest = ~small
    rest[rows] = ~fits[member]
    kept = pairs[fits].reshape(-1, 2)
    tables = Tables(
        np.concatenate(values), kept[:, 0], kept[:, 1], np.array(offset, int), width[fits]
    )
    return tables, Heaps(*(a[rest] for a in trees))


def octave(size: int) -> int:
    """The next power of two: a surface has several sizes, and finer steps would multiply traces."""
    return 1 << max(size - 1, 0).bit_length()


def pad_tables(tables: Tables) -> Tables:
    """Sizes of powers of two; a padding pair reads the zero at entry 0."""
    pairs = octave(len(tables.first))
    value = pad_rows(tables.value, octave(len(tables.value)))
    return Tables(value, *(pad_rows(a, pairs) for a in tables[1:]))


def pad_heaps(trees: Heaps) -> Heaps:
    """None, or a power of two of trees; padding trees are single leaves of value zero."""
    count = octave(len(trees.var) + 1) if len(trees.var) else 0
    return Heaps(*(pad_rows(a, count) for a in trees))


def trees_by_feature(trees: Heaps, features: int) -> Int[np.ndarray, "f r"]:
    """For each feature the trees that split on it, padded with -1."""
    holds = [np.flatnonzero(((trees.var == f) & (trees.cut > 0)).any(1)) for f in range(features)]
    longest = octave(max(len(h) for h in holds))
    return np.stack([np.pad(h, (0, longest - len(h)), constant_values=-1) for h in holds])


def every_tree(trees: Heaps) -> Int[np.ndarray, "1 t"]:
    """All trees as one list, padded with -1."""
    count = len(trees.var)
    return np.pad(np.arange(count), (0, octave(count) - count), constant_values=-1)[None]
