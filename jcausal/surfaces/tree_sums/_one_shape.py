"""Sums of trees of one shape, so that the surfaces of all folds share a program."""

from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jcausal.data import is_traced
from jcausal.surfaces.tree_sums._leaf_masks import ALL
from jcausal.surfaces.tree_sums._tree_sum import TreeSum

S = TypeVar("S", bound=eqx.Module)


def in_one_shape(surfaces: Sequence[S]) -> list[S]:
    """The same surfaces; sums of trees that stand at one place are padded to one shape."""
    flat = [jax.tree.flatten(s, is_leaf=lambda node: isinstance(node, TreeSum)) for s in surfaces]
    if is_traced(surfaces) or any(kind != flat[0][1] for _, kind in flat):
        return list(surfaces)
    places = [_padded(same) for same in zip(*(leaves for leaves, _ in flat))]
    return [jax.tree.unflatten(flat[0][1], leaves) for leaves in zip(*places)]


def _padded(same: tuple) -> list:
    """Sums with the most of everything and the deepest walk; other things as they are."""
    if not all(isinstance(each, TreeSum) for each in same):
        return list(same)
    kind = jax.tree.structure(max(same, key=lambda one: one.walked.depth))
    fills = jax.tree.leaves(_fills(same[0]))
    parts = [jax.tree.leaves(_with_columns(one)) for one in same]
    sizes = [np.max([np.shape(a) for a in each], axis=0) for each in zip(*parts)]
    wide = []
    for own in parts:
        arrays = [_pad(*each) for each in zip(own, sizes, fills)]
        wide.append(_with_places(jax.tree.unflatten(kind, arrays)))
    return wide


def _fills(one: TreeSum) -> TreeSum:
    """What fills up each array to say nothing.

    Zeros read an empty table or are a leaf of value 0, but a cut beyond all values, a mask that
    leaves over everything, and -1 for the last tree and for the last, empty, column of steps.
    """
    return eqx.tree_at(
        lambda s: (
            s.cuts,
            s.set_tables.member,
            s.masked.whole.mask,
            s.masked.by_feature.mask,
            s.walked.holds,
        ),
        jax.tree.map(lambda _: 0, one),
        (np.inf, -1, ALL, ALL, -1),
    )


def _with_columns(one: TreeSum) -> TreeSum:
    """With the place of each step as feature and column, -1 for the last, which may move."""
    width = one.set_tables.step.shape[1]
    feature, column = np.divmod(np.asarray(one.set_tables.member), width)
    found = np.stack([feature, np.where(column == width - 1, -1, column)])
    return eqx.tree_at(lambda s: s.set_tables.member, one, found)


def _with_places(one: TreeSum) -> TreeSum:
    """The way back, in the width that `step` has now."""
    width = one.set_tables.step.shape[1]
    feature, column = one.set_tables.member
    member = feature * width + jnp.where(column < 0, width - 1, column)
    return eqx.tree_at(lambda s: s.set_tables.member, one, member.astype(jnp.int32))


def _pad(array: jax.Array | np.ndarray, size: np.ndarray, fill: float | int) -> jax.Array:
    more = [(0, int(wide) - own) for wide, own in zip(size, np.shape(array))]
    return jnp.asarray(np.pad(array, more, constant_values=fill) if more else array)
