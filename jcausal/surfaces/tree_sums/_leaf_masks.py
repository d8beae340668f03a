"""Trees by leaf masks: which leaves each bin of each feature leaves over, and the one that stays.

A tree of at most 32 leaves, numbered from left to right, is a row of bits a feature and bin; the
bits that all features leave over begin with the point's own leaf (Lucchese et al. (2015),
QuickScorer, SIGIR). The masks of all trees of a list lie side by side, so that a point reads one
run of memory a feature.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, UInt32

from jcausal.data import pad_rows
from jcausal.surfaces.tree_sums._tree_arrays import (
    TreeArrays,
    every_tree,
    families,
    octave,
    pick_trees,
    reached,
    trees_by_feature,
)

LEAVES = 32
ALL = np.uint32(2**32 - 1)


class LeafMasks(NamedTuple):
    """Lists of trees, each of t, where the trees of a short list are filled up by value 0.

    - `row` (j, b): for each list and flat bin (counted over all features) the row of its bits.
    - `mask` (s, t): bits of the leaves that a bin leaves over, one entry a tree of the list; the
      last row leaves over everything.
    - `leaf` (j, t, l): the leaves' values from left to right; without trees l is 1, else more.
    """

    row: Int32[Array, "j b"]
    mask: UInt32[Array, "s t"]
    leaf: Float32[Array, "j t l"]


class MaskedTrees(eqx.Module):
    """The sum of trees of at most 32 leaves.

    - `whole`: the masks of all trees as one list.
    - `by_feature`: for each feature a list of the trees that split on it.
    """

    whole: LeafMasks
    by_feature: LeafMasks

    def __init__(self, trees: TreeArrays, bins: Int[np.ndarray, " f"]) -> None:
        self.whole = _make_masks(trees, every_tree(trees), bins)
        self.by_feature = _make_masks(trees, trees_by_feature(trees, len(bins)), bins)

    @property
    def empty(self) -> bool:
        """Whether there is no tree."""
        return self.whole.leaf.shape[2] == 1

    def values(self, flat: Int[Array, "m f"]) -> Float32[Array, " m"]:
        """The sum of all trees at each point, given as flat bins."""
        return _look(self.whole, jnp.zeros(flat.shape[0], jnp.int32), flat)

    def along(
        self, j: Int[Array, " m"], flat: Int[Array, "m f"], line: Int[Array, "m g"]
    ) -> Float32[Array, "m g"]:
        """The sum of the trees that hold feature j, where its flat bin alone is one of `line`."""
        return _look_along(self.by_feature, j, flat, line)

    @property
    def held(self) -> Bool[Array, " f"]:
        """Which features any tree splits on."""
        return (self.by_feature.leaf != 0).any((1, 2))


def _leaf_bits(trees: TreeArrays) -> tuple[np.ndarray, np.ndarray]:
    """Leaves of each tree, and for each slot the bits of the leaves below it: (T,), (T, S).

    Bits beyond the 32nd are lost: such a tree has no masks.
    """
    ways = families(trees)
    leaf = reached(trees) & (trees.child == 0)
    below, first = leaf.astype(np.int64), np.zeros(trees.child.shape, np.int64)
    for rows, parent, child in reversed(ways):
        below[rows, parent] = below[rows, child] + below[rows, child + 1]
    for rows, parent, child in ways:
        first[rows, child] = first[rows, parent]
        first[rows, child + 1] = first[rows, parent] + below[rows, child]
    bit = np.uint32(1) << np.minimum(first, LEAVES - 1).astype(np.uint32)
    bits = np.where(leaf & (first < LEAVES), bit, np.uint32(0))
    for rows, parent, child in reversed(ways):
        bits[rows, parent] = bits[rows, child] | bits[rows, child + 1]
    return below[:, 1], bits


def fit_for_masks(trees: TreeArrays, features: int, max_bytes: int) -> Bool[np.ndarray, " t"]:
    """Which trees become masks: those of few leaves, if their lists by feature fit the budget."""
    few = _leaf_bits(trees)[0] <= LEAVES
    small = pick_trees(trees, few)
    return few & (_mask_bytes(small, trees_by_feature(small, features)) <= max_bytes)


def _mask_bytes(trees: TreeArrays, lists: Int[np.ndarray, "j t"]) -> int:
    """What the masks of some lists of trees take."""
    inner = trees.child > 0
    split = np.where(inner, (trees.var.astype(np.int64) << 32) + trees.cut, -1)
    rows = [len(np.unique(split[members[members >= 0]])) for members in lists]
    return 4 * lists.shape[1] * octave(sum(rows) + len(lists) * (int(trees.var.max(initial=0)) + 1))


def _make_masks(
    trees: TreeArrays, lists: Int[np.ndarray, "j t"], bins: Int[np.ndarray, " f"]
) -> LeafMasks:
    """Masks of some lists of trees; -1 in a list is a tree of value 0.

    Bins between which no tree of a list splits share a row. Sizes are padded to powers of two.
    """
    leaves, bits = _leaf_bits(trees)
    width = octave(max(2, int(leaves.max()))) if len(leaves) else 1
    inner = trees.child > 0
    rows, blocks, total = [], [], 0
    for members in lists:
        own = np.flatnonzero(members >= 0)
        tree = members[own]
        row = []
        for f, height in enumerate(bins):
            place, slot = np.nonzero(inner[tree] & (trees.var[tree] == f))
            cut = trees.cut[tree[place], slot].astype(int)
            used = np.unique(cut)
            row.append(total + np.searchsorted(used, np.arange(height), side="right"))
            total += len(used) + 1
            child = trees.child[tree[place], slot]
            sides = bits[tree[place], child], bits[tree[place], child + 1]
            blocks.append(_block(len(members), used, cut, slot, own[place], sides))
        rows.append(np.concatenate(row))
    mask = np.concatenate(blocks)
    return LeafMasks(
        jnp.asarray(np.stack(rows), jnp.int32),
        jnp.asarray(pad_rows(mask, octave(total + 1), ALL)),
        jnp.asarray(_leaf_values(trees, lists, bits, width), jnp.float32),
    )


def _block(
    count: int,
    used: np.ndarray,
    cut: np.ndarray,
    slot: np.ndarray,
    column: np.ndarray,
    sides: tuple[np.ndarray, np.ndarray],
) -> UInt32[np.ndarray, "b t"]:
    """The masks of one feature: below a cut the leaves to its right go, above it those left."""
    block = np.full((len(used) + 1, count), ALL)
    right = np.arange(len(used) + 1)[:, None] > np.searchsorted(used, cut)
    for s in np.unique(slot):  # one node a tree
        here = slot == s
        block[:, column[here]] &= ~np.where(right[:, here], sides[0][here], sides[1][here])
    return block


def _leaf_values(
    trees: TreeArrays, lists: np.ndarray, bits: np.ndarray, width: int
) -> Float[np.ndarray, "j t l"]:
    """The value of each leaf, by its number from the left."""
    value = np.zeros((len(trees.child) + 1, width))  # the last for -1
    tree, slot = np.nonzero((bits > 0) & (trees.child == 0))
    value[tree, np.log2(bits[tree, slot]).astype(int)] = trees.value[tree, slot]
    return value[lists]


def _look(masks: LeafMasks, j: Int[Array, " m"], flat: Int[Array, "m f"]) -> Float32[Array, " m"]:
    """The sum of list j's trees at each point, given as flat bins."""
    rows = masks.row[j[:, None], flat]

    def one(row: Array, j: Array) -> Array:
        return _values(masks, j, _meet(masks.mask, row))

    def blocked(rows: Array, j: Array) -> Array:
        left = masks.mask[rows[:, 0]]
        for f in range(1, rows.shape[1]):
            left = left & masks.mask[rows[:, f]]
        return jax.vmap(_values, (None, 0, 0))(masks, j, left)

    return _by_platform(one, blocked, rows, j)


def _look_along(
    masks: LeafMasks,
    j: Int[Array, " m"],
    flat: Int[Array, "m f"],
    moved: Int[Array, "m g"],
) -> Float32[Array, "m g"]:
    """The same for the list of feature j, whose flat bin takes each of the values `moved`."""
    moving = jnp.arange(flat.shape[1]) == j[:, None]
    rows = jnp.where(moving, masks.mask.shape[0] - 1, masks.row[j[:, None], flat])
    line = masks.row[j[:, None], moved]

    def one(row: Array, line: Array, j: Array) -> Array:
        rest = _meet(masks.mask, row)
        ends = [rest & lax.dynamic_slice_in_dim(masks.mask, at, 1)[0] for at in line]
        return jnp.stack([_values(masks, j, end) for end in ends])

    def blocked(rows: Array, line: Array, j: Array) -> Array:
        rest = masks.mask[rows[:, 0]]
        for f in range(1, rows.shape[1]):
            rest = rest & masks.mask[rows[:, f]]
        ends = rest[:, None] & masks.mask[line]
        return jax.vmap(jax.vmap(_values, (None, None, 0)), (None, 0, 0))(masks, j, ends)

    return _by_platform(one, blocked, rows, line, j)


def _by_platform(one, blocked, *arrays: Array) -> Array:  # noqa: ANN001
    """Point after point where runs of memory are quick to read, else all at once."""
    return lax.platform_dependent(
        *arrays, cpu=lambda *a: lax.map(lambda row: one(*row), a), default=blocked
    )


def _meet(mask: UInt32[Array, "s t"], row: Int[Array, " f"]) -> UInt32[Array, " t"]:
    left = lax.dynamic_slice_in_dim(mask, row[0], 1)[0]
    for f in range(1, row.shape[0]):
        left = left & lax.dynamic_slice_in_dim(mask, row[f], 1)[0]
    return left


def _values(masks: LeafMasks, j: Array, left: UInt32[Array, " t"]) -> Float32[Array, ""]:
    """The sum of each tree's lowest leaf that is left."""
    lowest = lax.population_count((left & (~left + 1)) - 1).astype(jnp.int32)
    count, width = masks.leaf.shape[1:]
    place = (j * count + jnp.arange(count)) * width + jnp.minimum(lowest, width - 1)
    return masks.leaf.ravel()[place].sum()
