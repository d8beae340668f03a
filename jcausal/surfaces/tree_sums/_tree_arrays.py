"""Many regression trees as NumPy arrays: one layout for the trees of every library.

T trees of S slots: slot 0 is unused, the root is slot 1, and the children of slot i are the slots
`child[i]` and `child[i] + 1`, which stand behind it; `child[i] = 0` marks a leaf. At an inner slot
a point goes left when its bin in feature `var[i]` is below `cut[i]`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class TreeArrays(NamedTuple):
    """Trees of one number of slots, one row a tree.

    - `var` (t, s): the feature of each inner slot.
    - `cut` (t, s): the first bin of that feature that goes right.
    - `child` (t, s): the slot of the left child, 0 at a leaf.
    - `value` (t, s): of each leaf.
    """

    var: Int[np.ndarray, "t s"]
    cut: Int[np.ndarray, "t s"]
    child: Int[np.ndarray, "t s"]
    value: Float[np.ndarray, "t s"]


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


def octave(size: int) -> int:
    """The next power of two: a surface has several sizes, and finer steps would multiply traces."""
    return 1 << max(size - 1, 0).bit_length()


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
