"""Boosted trees at points and along lines."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from jcausal.surfaces._arrays import in_blocks, product
from jcausal.surfaces.boosted_trees._binned_tree import HeapTrees, binned, tree_values
from jcausal.surfaces.boosted_trees._boosting import BoostedArm

BYTES = 2**26  # of what is held for a block of rows, at most


class LineBlock(NamedTuple):
    """Some rows of lines: k features of each row move, each to g values.

    - `here` (f, m): bins of the rows' own features.
    - `own` (m, k): which features move.
    - `start` (m, k): their own bins.
    - `there` (m, k, g): the bins that they move to.
    """

    here: UInt8[Array, "f m"]
    own: Int[Array, "m k"]
    start: Int[Array, "m k"]
    there: Int[Array, "m k g"]


class FirstSplits(NamedTuple):
    """The nodes at which a tree splits on a feature for the first time, for some features.

    - `place` (s,): tree times nodes of a tree + node, those wanted first.
    - `many` (): how many are wanted.
    """

    place: Int[Array, " s"]
    many: Int[Array, ""]


def evaluate_boosted(arms: BoostedArm, z: Float[Array, "m f"], ordered: int) -> Float[Array, "m 2"]:
    """Both outcomes at each point, a block of rows at a time.

    `arms` are both arms, stacked; `ordered` the features that are no levels, which come first.
    Cost: 2^depth selects for a row and a tree. Trees have no slope: the derivative is the line's.
    """
    depth = arms.trees.leaf.shape[-1].bit_length() - 1

    def arm(one: BoostedArm) -> Float[Array, " m"]:
        inside = lax.stop_gradient(one)

        def block(z: Float[Array, "b f"]) -> Float[Array, " b"]:
            bins = bins_of(z, inside.cuts, ordered)

            def more(t: Array, total: Array) -> Array:
                return total + tree_values(bins, tree_at(inside.trees, t), depth)

            return lax.fori_loop(0, inside.grown, more, jnp.zeros(len(z), one.level.dtype))

        most = max(1, BYTES // (z.shape[1] + 32))
        stairs = in_blocks(block, (lax.stop_gradient(z),), most)
        return one.level + product(z, one.slope) + stairs

    return lax.map(arm, arms).T


def bins_of(z: Float[Array, "m f"], cuts: Float[Array, "f c"], ordered: int) -> UInt8[Array, "f m"]:
    """Bins of encoded points; a level is there or not, which needs no look at all cuts."""
    off, on = bins_of_levels(cuts)
    levels = jnp.where(z.T > 0, on[:, None], off[:, None])
    return jnp.concatenate([binned(z[:, :ordered], cuts[:ordered]), levels[ordered:]])


def bins_of_levels(cuts: Float[Array, "f c"]) -> UInt8[Array, "2 f"]:
    """The bin of each feature at 0 and at 1."""
    ends = jnp.arange(2, dtype=cuts.dtype)[:, None]
    return binned(jnp.broadcast_to(ends, (2, len(cuts))), cuts).T


def boosted_lines(
    arms: BoostedArm,
    centre: Float[Array, "m f"],
    feature: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
    ordered: int,
    dense: bool,
) -> Float[Array, "m k g 2"]:
    """Change of both outcomes when one ordered feature alone moves from the centre to `at`.

    Few points are asked one by one; where they lie `dense`, tables of all bins are made first.
    """
    feature = jnp.broadcast_to(feature, at.shape[:2])
    (k, g), bins, size = at.shape[1:], arms.cuts.shape[-1] + 1, at.dtype.itemsize
    width = size * ((ordered + k) * bins + 3 * k * g if dense else k * g * (bins + 7))

    def arm(one: BoostedArm) -> Float[Array, "m k g"]:
        change = _from_tables(one, ordered) if dense else _point_by_point(one, at.dtype)

        def block(z: Array, own: Array, value: Array) -> Float[Array, "b k g"]:
            here = bins_of(z, one.cuts, ordered)
            start = jnp.take_along_axis(here.T, own, 1).astype(jnp.int32)
            there = (value[..., None] > one.cuts[own][:, :, None]).sum(-1, dtype=jnp.int32)
            stairs = change(LineBlock(here, own, start, there))
            way = value - jnp.take_along_axis(z, own, 1)[..., None]
            return stairs + way * one.slope[own][..., None] + nan_if_not_fitted(one)

        return in_blocks(block, (centre, feature, at), max(1, BYTES // width))

    return jnp.moveaxis(lax.map(arm, arms), 0, -1)


def nan_if_not_fitted(one: BoostedArm) -> Float[Array, ""]:
    """What is added to a change: NaN for an arm that was not fitted, else 0."""
    return jnp.where(jnp.isnan(one.level), jnp.nan, 0)


def _point_by_point(
    one: BoostedArm, dtype: jnp.dtype
) -> Callable[[LineBlock], Float[Array, "m k g"]]:
    """The change of the trees, every tree asked at every point.

    Only the bin of the feature that moves is another; about 2^depth selects for a point and a tree.
    """

    def change(lines: LineBlock) -> Float[Array, "m k g"]:
        there = jnp.concatenate([lines.there, lines.start[..., None]], axis=2)

        def more(t: Array, total: Array) -> Array:
            tree = tree_at(one.trees, t)

            def goes_right(node: int) -> Bool[Array, "m k h"]:
                feature, cut = tree.feature[node], tree.cut[node]
                stays = (lines.here[feature] > cut)[:, None, None]
                return jnp.where((lines.own == feature)[:, :, None], there > cut, stays)

            return total + leaf_reached(tree, goes_right)

        stairs = lax.fori_loop(0, one.grown, more, jnp.zeros(there.shape, dtype))
        return stairs[..., :-1] - stairs[..., -1:]

    return change


def _from_tables(one: BoostedArm, ordered: int) -> Callable[[LineBlock], Float[Array, "m k g"]]:
    """The change of the trees, looked up by bins in tables.

    A tree is asked once for each of its features, in every bin of that feature, the other nodes
    standing where the row puts them: about 2^(depth + 1) selects for a row, tree, feature of the
    tree and bin.
    """
    splits = first_splits(one, jnp.arange(len(one.cuts)) < ordered)
    bins = one.cuts.shape[-1] + 1

    def change(lines: LineBlock) -> Float[Array, "m k g"]:
        m = len(lines.own)
        table = _tables(one.trees, splits, lines.here, (max(ordered, 1), m, bins))
        place = (lines.own * m + jnp.arange(m)[:, None]) * bins
        return table[place[..., None] + lines.there] - table[place + lines.start][..., None]

    return change


def _tables(
    trees: HeapTrees, splits: FirstSplits, here: UInt8[Array, "f m"], shape: tuple[int, int, int]
) -> Float[Array, " e"]:
    """For each ordered feature, row and bin (o, m, b): the sum of the trees with that feature."""
    bin_of = jnp.arange(shape[2])

    def add(i: Array, table: Float[Array, "o m b"]) -> Float[Array, "o m b"]:
        tree, moving = tree_and_feature(trees, splits.place[i])

        def goes_right(node: int) -> Bool[Array, "m b"]:
            there = bin_of > tree.cut[node]
            stays = here[tree.feature[node]] > tree.cut[node]
            return jnp.where(tree.feature[node] == moving, there, stays[:, None])

        old = lax.dynamic_index_in_dim(table, moving, keepdims=True)
        new = old + leaf_reached(tree, goes_right)[None]
        return lax.dynamic_update_index_in_dim(table, new, moving, 0)

    return lax.fori_loop(0, splits.many, add, jnp.zeros(shape, trees.leaf.dtype)).ravel()


def tree_at(trees: HeapTrees, t: Int[Array, ""]) -> HeapTrees:
    """One tree of many."""
    return HeapTrees(*(lax.dynamic_index_in_dim(a, t, keepdims=False) for a in trees))


def tree_and_feature(trees: HeapTrees, place: Int[Array, ""]) -> tuple[HeapTrees, Int[Array, ""]]:
    """The tree of a node (tree times nodes of a tree + node), and the feature it splits on."""
    nodes = trees.feature.shape[1]
    tree = tree_at(trees, place // nodes)
    return tree, tree.feature[place % nodes]


def leaf_reached(tree: HeapTrees, goes_right: Callable[[int], Array], node: int = 0) -> Array:
    """The value that many come to in one tree, told by each node who goes right there."""
    nodes = len(tree.feature)
    if node >= nodes:
        return tree.leaf[node - nodes]
    right, left = (leaf_reached(tree, goes_right, 2 * node + side) for side in (2, 1))
    return jnp.where(goes_right(node), right, left)


def splitting(one: BoostedArm) -> Bool[Array, "t k"]:
    """Which nodes of the grown trees split."""
    grown = jnp.arange(len(one.trees.cut)) < one.grown
    return (one.trees.cut <= one.cuts.shape[-1]) & grown[:, None]


def first_splits(one: BoostedArm, wanted: Bool[Array, " f"]) -> FirstSplits:
    """Where each tree splits on each of the wanted features for the first time."""
    feature, nodes = one.trees.feature, jnp.arange(one.trees.feature.shape[1])
    splits = splitting(one) & wanted[feature]
    same = (feature[:, :, None] == feature[:, None]) & splits[:, None]
    new = splits & ~(same & (nodes < nodes[:, None])).any(-1)
    return FirstSplits(jnp.argsort(~new.ravel(), stable=True), new.sum())
