"""Trees on at most two features as tables over all bins of both, added up by pair of features."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from jcausal.data import pad_rows
from jcausal.surfaces._arrays import read, total
from jcausal.surfaces.tree_sums._tree_arrays import (
    TreeArrays,
    families,
    octave,
    pick_trees,
    reached,
)


class PairAddresses(NamedTuple):
    """Where tables are read: value[offset + bin[own] own_stride + bin[other] other_stride].

    One entry a table, with leading axes where lists of tables lie side by side. A table on one
    feature has the other's stride 0; what fills up a list is all zeros, and reads the zero at 0.

    - `other`: the second feature of each table.
    - `offset`: where each table begins.
    - `own_stride`, `other_stride`: how many entries apart neighbouring bins of each feature are.
    """

    other: Int32[Array, "*r k"]
    offset: Int32[Array, "*r k"]
    own_stride: Int32[Array, "*r k"]
    other_stride: Int32[Array, "*r k"]


class PairTables(eqx.Module):
    """The sum of k tables, each over the bins of one or two features.

    - `value` (s,): all tables one after the other; entry 0 is a zero of its own.
    - `first` (k,): the first feature of each table.
    - `pairs` (k,): where each table is read, `own` being its first feature.
    - `by_feature` (f, w): for each feature the tables that hold it, as the one that moves.
    """

    value: Float32[Array, " s"]
    first: Int32[Array, " k"]
    pairs: PairAddresses
    by_feature: PairAddresses

    def values(self, bins: Int[Array, "m f"]) -> Float32[Array, " m"]:
        """The sum of all tables at each point."""
        pairs = self.pairs
        place = bins[:, self.first] * pairs.own_stride + bins[:, pairs.other] * pairs.other_stride
        return total(read(self.value, pairs.offset + place))

    def along(
        self, j: Int[Array, "#m k"], bins: Int[Array, "m f"], moved: Int[Array, "m k g"]
    ) -> Float32[Array, "m k g"]:
        """The sum of the tables that hold feature j, where its bin alone is one of `moved`."""
        mine = PairAddresses(*(a[j] for a in self.by_feature))
        others = read(bins, jnp.arange(len(bins))[:, None, None], mine.other)
        fixed = others * mine.other_stride + mine.offset
        place = fixed[:, :, None] + moved[..., None] * mine.own_stride[:, :, None]
        return total(read(self.value, place))

    @property
    def held(self) -> Bool[Array, " f"]:
        """Which features any table holds."""
        return (self.by_feature.offset > 0).any(1)


class _PairsOfFeatures(NamedTuple):
    """The pairs of features that some trees split on, both features alike where it is one.

    - `pair` (k, 2): the features.
    - `size` (k,): entries of its table.
    - `width` (k,): bins of its second feature, 1 where there is only one feature.
    - `member` (t,): the pair of each tree.
    - `trees` (k,): how many trees each pair has.
    """

    pair: Int[np.ndarray, "k 2"]
    size: Int[np.ndarray, " k"]
    width: Int[np.ndarray, " k"]
    member: Int[np.ndarray, " t"]
    trees: Int[np.ndarray, " k"]


def make_pair_tables(
    trees: TreeArrays, bins: Int[np.ndarray, " f"], max_bytes: int
) -> tuple[PairTables, TreeArrays]:
    """Tables for the trees on at most two features, within a byte budget, and the other trees.

    A tree on one feature is the pair (f, f): its table is the diagonal, stored as one column.
    Pairs that carry the most trees are tabulated first.
    """
    low, high, small = _features_used(trees)
    low, high = np.maximum(low, 0), np.maximum(high, 0)
    rows = np.flatnonzero(small)
    found = _pairs_of_features(low[rows], high[rows], bins)
    order = np.lexsort((found.size, -found.trees))
    fits = np.zeros(len(found.pair), bool)
    fits[order] = np.cumsum(found.size[order]) * 4 <= max_bytes
    leaves = _leaf_rectangles(pick_trees(trees, rows), low[rows], high[rows], bins)
    values, offset, at = [np.zeros(1)], [], 1
    for k in np.flatnonzero(fits).tolist():
        values.append(_table_of_pair(leaves, found, k, bins).ravel())
        offset.append(at)
        at += values[-1].size
    rest = ~small
    rest[rows] = ~fits[found.member]
    tables = _lay_out(np.concatenate(values), np.array(offset, int), found, fits, len(bins))
    return tables, pick_trees(trees, rest)


def _features_used(trees: TreeArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest and largest feature of each tree (-1 without a split), and whether no other."""
    inner = trees.child > 0
    low = np.where(inner, trees.var, np.iinfo(np.int32).max).min(1)
    high = np.where(inner, trees.var, -1).max(1)
    between = inner & (trees.var != low[:, None]) & (trees.var != high[:, None])
    return np.where(high < 0, -1, low), high, ~between.any(1)


def _pairs_of_features(low: np.ndarray, high: np.ndarray, bins: np.ndarray) -> _PairsOfFeatures:
    pair, member, trees = np.unique(
        np.stack([low, high], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    width = np.where(pair[:, 0] == pair[:, 1], 1, bins[pair[:, 1]])
    return _PairsOfFeatures(pair, bins[pair[:, 0]] * width, width, member.ravel(), trees)


class _Rectangles(NamedTuple):
    """Leaves as constant rectangles: bins [lo, hi) in the two features of their tree.

    - `tree` (r,): whose leaf each is.
    - `lo`, `hi` (r, 2): the first bin in it and the first behind it, by feature.
    - `value` (r,): of the leaf.
    """

    tree: Int[np.ndarray, " r"]
    lo: Int[np.ndarray, "r 2"]
    hi: Int[np.ndarray, "r 2"]
    value: Float[np.ndarray, " r"]


def _leaf_rectangles(
    trees: TreeArrays, low: np.ndarray, high: np.ndarray, bins: np.ndarray
) -> _Rectangles:
    """The leaves that a point can come to, `low` and `high` being the features of each tree."""
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
    return _Rectangles(tree, lo[tree, slot], hi[tree, slot], trees.value[tree, slot])


def _table_of_pair(
    leaves: _Rectangles, found: _PairsOfFeatures, k: int, bins: np.ndarray
) -> Float[np.ndarray, "a b"]:
    """The sum of the trees of pair k over the bins of its features."""
    here = found.member[leaves.tree] == k
    lo, hi = leaves.lo[here], leaves.hi[here]
    if found.pair[k, 0] == found.pair[k, 1]:
        lo, hi = lo * [1, 0], np.stack([hi[:, 0], np.ones(len(hi), int)], 1)
    shape = int(bins[found.pair[k, 0]]), int(found.width[k])
    return _sum_of_rectangles(lo, hi, leaves.value[here], shape)


def _sum_of_rectangles(
    lo: np.ndarray, hi: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> Float[np.ndarray, "a b"]:
    """The sum of constant rectangles on a grid, by corner differences and two prefix sums."""
    tall, wide = shape[0] + 1, shape[1] + 1
    corners = ((lo, lo, 1), (hi, lo, -1), (lo, hi, -1), (hi, hi, 1))
    place = np.concatenate([a[:, 0] * wide + b[:, 1] for a, b, _ in corners])
    weight = np.concatenate([sign * value for _, _, sign in corners])
    grid = np.bincount(place, weight, tall * wide).reshape(tall, wide)
    return grid.cumsum(0).cumsum(1)[:-1, :-1]


def _lay_out(
    value: np.ndarray, offset: np.ndarray, found: _PairsOfFeatures, fits: np.ndarray, features: int
) -> PairTables:
    """The arrays of the tables that fit, in sizes of powers of two."""
    size = octave(len(offset))
    pair, stride = found.pair[fits].reshape(-1, 2), found.width[fits]
    first, second, offset, stride = (pad_rows(a, size) for a in (*pair.T, offset, stride))
    twice = (offset > 0) & (first != second)
    pairs = _as_addresses(second, offset, np.where(offset > 0, stride, 0), twice.astype(int))
    return PairTables(
        jnp.asarray(pad_rows(value, octave(len(value))), jnp.float32),
        jnp.asarray(first, jnp.int32),
        pairs,
        _by_feature(first, pairs, features),
    )


def _as_addresses(*columns: np.ndarray) -> PairAddresses:
    return PairAddresses(*(jnp.asarray(c, jnp.int32) for c in columns))


def _by_feature(first: np.ndarray, pairs: PairAddresses, features: int) -> PairAddresses:
    """The pairs again, listed for each feature as the one that moves; zeros read entry 0."""
    second, offset, own, other = (np.asarray(a) for a in pairs)
    rows: list[list[tuple[int, int, int, int]]] = [[] for _ in range(features)]
    for k in np.flatnonzero(offset > 0):
        rows[first[k]].append((second[k], offset[k], own[k], other[k]))
        if other[k]:
            rows[second[k]].append((first[k], offset[k], other[k], own[k]))
    width = max(1, *(len(r) for r in rows))
    padded = np.array([r + [(0, 0, 0, 0)] * (width - len(r)) for r in rows])
    return _as_addresses(*np.moveaxis(padded, 2, 0))
