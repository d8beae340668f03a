"""Sums of many regression trees, on the host: equal structures merged, small ones tabulated.

T trees of S slots: slot 0 is unused, the root is slot 1, and the children of slot i are the slots
`child[i]` and `child[i] + 1`, which stand behind it; `child[i] = 0` marks a leaf. At an inner slot
a point goes left when its bin in feature `var[i]` is below `cut[i]`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import pad_rows


class TreeArrays(NamedTuple):
    """Trees as arrays: features, cuts, left children and leaf values."""

    var: Int[np.ndarray, "t s"]
    cut: Int[np.ndarray, "t s"]
    child: Int[np.ndarray, "t s"]
    value: Float[np.ndarray, "t s"]


class Tables(NamedTuple):
    """All pair tables in one flat array; entry 0 is a zero that absent pairs point to."""

    value: Float[np.ndarray, " s"]
    first: Int[np.ndarray, " k"]
    second: Int[np.ndarray, " k"]
    offset: Int[np.ndarray, " k"]
    stride: Int[np.ndarray, " k"]


def from_heaps(var: np.ndarray, cut: np.ndarray, leaf: np.ndarray) -> TreeArrays:
    """Trees of H inner slots where slot i has the children 2 i and 2 i + 1, and cut 0 is a leaf."""
    slots = np.arange(var.shape[1])
    child = np.where(cut > 0, 2 * slots, 0)
    pad = [(0, 0), (0, leaf.shape[1] - var.shape[1])]
    var, cut, child = (np.pad(np.where(cut > 0, a, 0), pad) for a in (var, cut, child))
    return TreeArrays(*(a.astype(np.int32) for a in (var, cut, child)), value=leaf)


def merge(trees: TreeArrays) -> TreeArrays:
    """Add up the leaves of trees that split alike: the same sum of trees, fewer trees."""
    first, group = _same_rows(np.concatenate(trees[:3], axis=1))
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(first)))
    value = np.add.reduceat(trees.value[order].astype(np.float64), starts, axis=0)
    return pick_trees(trees, first)._replace(value=value)


def _same_rows(rows: Int[np.ndarray, "t k"]) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of row, and every row's kind: by a hash, and whole if that errs."""
    mix = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64) | np.uint64(1)
    hashed = rows.astype(np.uint64) @ mix
    _, first, group = np.unique(hashed, return_index=True, return_inverse=True)
    if (rows[first][group] != rows).any():
        _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, group.ravel()


def pick_trees(trees: TreeArrays, which: np.ndarray) -> TreeArrays:
    """Some of the trees, by number or mask."""
    return TreeArrays(*(a[which] for a in trees))


def features_used(trees: TreeArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest and largest feature of each tree (-1 without a split), and whether no other."""
    inner = trees.child > 0
    low = np.where(inner, trees.var, np.iinfo(np.int32).max).min(1)
    high = np.where(inner, trees.var, -1).max(1)
    between = inner & (trees.var != low[:, None]) & (trees.var != high[:, None])
    return np.where(high < 0, -1, low), high, ~between.any(1)


def reached(trees: TreeArrays) -> Bool[np.ndarray, "t s"]:
    """Which slots a point can come to, cuts apart."""
    found = np.zeros(trees.child.shape, bool)
    found[:, 1] = True
    for rows, parent, child in families(trees):
        found[rows, child] = found[rows, child + 1] = found[rows, parent]
    return found


def families(trees: TreeArrays) -> list[tuple[np.ndarray, int, np.ndarray]]:
    """(trees, slot, left child) for each slot that is inner in some trees, parents first."""
    found = []
    for parent in np.flatnonzero((trees.child > 0).any(0)):
        rows = np.flatnonzero(trees.child[:, parent])
        found.append((rows, int(parent), trees.child[rows, parent]))
    return found


def depth_of(trees: TreeArrays) -> int:
    """The longest way from a root to a leaf."""
    depth = np.zeros(trees.child.shape, int)
    for rows, parent, child in families(trees):
        depth[rows, child] = depth[rows, child + 1] = depth[rows, parent] + 1
    return int(depth.max(initial=0))


def _rectangles(
    trees: TreeArrays, low: np.ndarray, high: np.ndarray, bins: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The bins [lo, hi) of every leaf in its tree's two features: (tree, lo, hi, value)."""
    count, slots = trees.child.shape
    extent = np.stack([bins[np.maximum(low, 0)], bins[np.maximum(high, 0)]], axis=1)
    lo = np.zeros((count, slots, 2), np.int32)
    hi = np.broadcast_to(extent[:, None], (count, slots, 2)).astype(np.int32).copy()
    for rows, parent, child in families(trees):
        side = (trees.var[rows, parent] != low[rows]).astype(int)
        at = trees.cut[rows, parent]
        for own in (child, child + 1):
            lo[rows, own], hi[rows, own] = lo[rows, parent], hi[rows, parent]
        hi[rows, child, side] = np.minimum(hi[rows, child, side], at)
        lo[rows, child + 1, side] = np.maximum(lo[rows, child + 1, side], at)
    leaf = reached(trees) & (trees.child == 0)
    tree, slot = np.nonzero(leaf & (lo < hi).all(2))
    return tree, lo[tree, slot], hi[tree, slot], trees.value[tree, slot]


def _corner_table(
    lo: np.ndarray, hi: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> Float[np.ndarray, "a b"]:
    """The sum of constant rectangles on a grid, by corner differences and two prefix sums."""
    tall, wide = shape[0] + 1, shape[1] + 1
    corners = ((lo, lo, 1), (hi, lo, -1), (lo, hi, -1), (hi, hi, 1))
    place = np.concatenate([a[:, 0] * wide + b[:, 1] for a, b, _ in corners])
    weight = np.concatenate([sign * value for _, _, sign in corners])
    grid = np.bincount(place, weight, tall * wide).reshape(tall, wide)
    return grid.cumsum(0).cumsum(1)[:-1, :-1]


def tabulate(
    trees: TreeArrays, bins: Int[np.ndarray, " f"], max_bytes: int
) -> tuple[Tables, TreeArrays]:
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
    chosen = pick_trees(trees, rows)
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
    return tables, pick_trees(trees, rest)


def octave(size: int) -> int:
    """The next power of two: a surface has several sizes, and finer steps would multiply traces."""
    return 1 << max(size - 1, 0).bit_length()


def pad_tables(tables: Tables) -> Tables:
    """Sizes of powers of two; a padding pair reads the zero at entry 0."""
    pairs = octave(len(tables.first))
    value = pad_rows(tables.value, octave(len(tables.value)))
    return Tables(value, *(pad_rows(a, pairs) for a in tables[1:]))


def pad_trees(trees: TreeArrays) -> TreeArrays:
    """None, or powers of two of trees and slots; padding trees are single leaves of value zero."""
    count, slots = trees.child.shape
    if not count:
        return TreeArrays(*(a[:, :2] for a in trees))
    wide = [(0, octave(count + 1) - count), (0, octave(slots) - slots)]
    return TreeArrays(*(np.pad(a, wide) for a in trees))


def trees_by_feature(trees: TreeArrays, features: int) -> Int[np.ndarray, "f r"]:
    """For each feature the trees that split on it, padded with -1."""
    inner = trees.child > 0
    holds = [np.flatnonzero(((trees.var == f) & inner).any(1)) for f in range(features)]
    longest = octave(max(len(h) for h in holds))
    return np.stack([np.pad(h, (0, longest - len(h)), constant_values=-1) for h in holds])


def every_tree(trees: TreeArrays) -> Int[np.ndarray, "1 t"]:
    """All trees as one list, padded with -1."""
    count = len(trees.var)
    return np.pad(np.arange(count), (0, octave(count) - count), constant_values=-1)[None]
