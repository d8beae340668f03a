"""Sums of trees of one shape, so that the surfaces of all folds share a program."""

from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jcausal.data import is_traced
from jcausal.surfaces._forest import Forest
from jcausal.surfaces._masks import ALL

S = TypeVar("S", bound=eqx.Module)


def alike(surfaces: Sequence[S]) -> list[S]:
    """The same surfaces; sums of trees that stand at one place are padded to one shape."""
    flat = [jax.tree.flatten(s, is_leaf=lambda node: isinstance(node, Forest)) for s in surfaces]
    if is_traced(surfaces) or any(kind != flat[0][1] for _, kind in flat):
        return list(surfaces)
    places = [_of_one_shape(same) for same in zip(*(leaves for leaves, _ in flat))]
    return [jax.tree.unflatten(flat[0][1], leaves) for leaves in zip(*places)]


def _of_one_shape(same: tuple) -> list:
    """Forests with the most of everything and the deepest walk; other things as they are."""
    if not all(isinstance(each, Forest) for each in same):
        return list(same)
    kind = jax.tree.structure(max(same, key=lambda forest: forest.depth))
    parts = [_parts(forest) for forest in same]
    sizes = [np.max([a.shape for a, _ in each], axis=0) for each in zip(*parts)]
    wide = []
    for forest, own in zip(same, parts):
        arrays = [_pad(a, size, fill) for (a, fill), size in zip(own, sizes)]
        wide.append(jax.tree.unflatten(kind, jax.tree.leaves(_put_together(forest, arrays))))
    return wide


def _parts(forest: Forest) -> list[tuple[np.ndarray, float | int]]:
    """The arrays whose sizes hang on the trees, and what fills each up to say nothing.

    Zeros read an empty table or are a leaf of value 0, but a cut beyond all values, a mask that
    leaves over everything, and -1 for the last tree and for the last, empty, column of steps.
    """
    cells, width = forest.cells, forest.cells.step.shape[1]
    feature, column = np.divmod(np.asarray(cells.member), width)
    zero = [forest.table, forest.first, *forest.pairs, *forest.partners]
    zero += [feature, cells.step, cells.table, cells.base, cells.value, *forest.rest]
    zero += [part for m in (forest.masks, forest.mask_partners) for part in (m.row, m.leaf)]
    trees = len(forest.rest.var)
    holds = np.asarray(forest.holds)
    rest = [(forest.cuts, np.inf), (np.where(column == width - 1, -1, column), -1)]
    rest += [(forest.masks.mask, ALL), (forest.mask_partners.mask, ALL)]
    rest += [(np.where(holds == trees - 1, -1, holds), -1)]
    every = [*((a, 0) for a in zero), *rest]
    return [(np.asarray(a), fill) for a, fill in every]


def _pad(array: np.ndarray, size: np.ndarray, fill: float | int) -> np.ndarray:
    more = [(0, int(wide) - own) for wide, own in zip(size, array.shape)]
    return np.pad(array, more, constant_values=fill)


def _put_together(forest: Forest, arrays: list[np.ndarray]) -> Forest:
    """A forest of the arrays of `_parts`."""
    take = iter(arrays)

    def following(count: int) -> list[Array]:
        return [jnp.asarray(next(take)) for _ in range(count)]

    table, first = following(2)
    pairs, partners = (type(forest.pairs)(*following(4)) for _ in range(2))
    feature, step, tables, base, value = following(5)
    rest = type(forest.rest)(*following(4))
    row, leaf, own_row, own_leaf = following(4)
    cuts, column, mask, own_mask, holds = following(5)
    width = step.shape[1]
    member = feature * width + jnp.where(column < 0, width - 1, column)
    fields = dict(
        cuts=cuts,
        table=table,
        first=first,
        pairs=pairs,
        partners=partners,
        cells=type(forest.cells)(step, tables, member.astype(jnp.int32), base, value),
        masks=type(forest.masks)(row, mask, leaf),
        mask_partners=type(forest.masks)(own_row, own_mask, own_leaf),
        rest=rest,
        holds=jnp.where(holds < 0, len(rest.var) - 1, holds),
    )
    return eqx.tree_at(
        lambda f: [getattr(f, name) for name in fields], forest, list(fields.values())
    )
