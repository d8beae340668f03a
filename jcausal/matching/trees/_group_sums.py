"""Sums over groups of units.

On the host group by group; else in one pass on a CPU, elsewhere by products with the members.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Values, on_host
from jcausal_kernels import segments

ROWS = 1024  # in a block, at most
BYTES = 2**26  # of a matrix for each row of a block, at most


def members(group: Any) -> Iterator[tuple[int, Int[np.ndarray, " m"]]]:
    """Each group of a NumPy array (n,) that has units, with their rows in order; -1: no group."""
    order = np.argsort(group, kind="stable")
    at = group[order]
    edges = np.append(np.flatnonzero(np.diff(at, prepend=-1)), at.size)
    for first, last in pairwise(edges):
        yield int(at[first]), order[first:last]


@on_host
def units_by_group(
    lib: Any, group: Int[Array, " n"], use: Bool[Array, " n"], groups: int
) -> Int[Array, " k"]:
    """How many units in use each group has; -1 is no group."""
    if lib is np:
        place = group[use & (group >= 0)]
        return np.bincount(place, minlength=groups).astype(np.int32)  # type: ignore[return-value]
    ordered, edges = jnp.sort(jnp.where(use, group, -1)), jnp.arange(groups)
    last, first = (jnp.searchsorted(ordered, edges, side=side) for side in ("right", "left"))
    return (last - first).astype(jnp.int32)


def sums_by_group(
    lib: Any,
    row: Float[Values, "n h"],
    values: Float[Values, "n d"],
    group: Int[Values, " n"],
    groups: int,
) -> Any:
    """Sum over each group of row values': (groups, h, d)."""
    if lib is jnp:
        return _sums_by_group(row, values, group, groups)
    out = np.zeros((groups, row.shape[1], values.shape[1]), row.dtype)
    for k, rows in members(group):
        out[k] = row[rows].T @ values[rows]
    return out


def square_sums(
    lib: Any,
    row: Float[Values, "n h"],
    values: Float[Values, "n d"],
    group: Int[Values, " n"],
    here: Float[Values, "q h"],
    at: Int[Values, " q"],
    groups: int,
) -> Any:
    """Sum over k in the group `at` of values_k (here' row_k)^2, for each column of values."""
    columns = [
        quadratic_forms(lib, row, values[:, i], group, here, at, groups)
        for i in range(values.shape[1])
    ]
    return lib.stack(columns, axis=1) if columns else lib.zeros((here.shape[0], 0), row.dtype)


def quadratic_forms(
    lib: Any,
    row: Float[Values, "n h"],
    weight: Float[Values, " n"],
    group: Int[Values, " n"],
    here: Float[Values, "q h"],
    at: Int[Values, " q"],
    groups: int,
) -> Any:
    """Sum over the units k of the group that each row of `here` is `at`: weight_k (here' row_k)^2.

    0 where there is none.
    """
    if lib is jnp:
        return _forms(_products_by_group(row, weight, group, groups), here, at)
    products = np.zeros((groups, row.shape[1], row.shape[1]), row.dtype)
    for k, rows in members(group):
        products[k] = (row[rows] * weight[rows, None]).T @ row[rows]
    out = np.zeros(here.shape[0], row.dtype)
    for k, rows in members(at):
        out[rows] = ((here[rows] @ products[k]) * here[rows]).sum(1)
    return out


def rows_of_block(rows: int, h: int, dtype: jnp.dtype) -> int:
    """How many (h, h) matrices of at most `rows` the bytes of a block hold; at least one."""
    return max(1, min(rows, BYTES // (h * h * dtype.itemsize)))


def _blocks(arrays: tuple[Array, ...], group: Array, rows: int) -> tuple[tuple[Array, ...], Array]:
    """The arrays cut into blocks of rows, padded with rows of group -1."""
    more = -group.shape[0] % rows
    cut = [jnp.pad(a, [(0, more)] + [(0, 0)] * (a.ndim - 1)) for a in arrays]
    group = jnp.pad(group, (0, more), constant_values=-1)
    return tuple(a.reshape(-1, rows, *a.shape[1:]) for a in cut), group.reshape(-1, rows)


@partial(jax.jit, static_argnames="groups")
def _sums_by_group(
    row: Float[Array, "n h"], values: Float[Array, "n d"], group: Int[Array, " n"], groups: int
) -> Float[Array, "k h d"]:
    columns = [
        segments.sums_by_group(row * values[:, i : i + 1], group, groups)
        for i in range(values.shape[1])
    ]
    return (
        jnp.stack(columns, axis=-1) if columns else jnp.zeros((groups, row.shape[1], 0), row.dtype)
    )


@partial(jax.jit, static_argnames="groups")
def _products_by_group(
    row: Float[Array, "n h"], weight: Float[Array, " n"], group: Int[Array, " n"], groups: int
) -> Float[Array, "k h h"]:
    """Sum over each group of weight row row'."""
    (row, weight), group = _blocks(
        (row, weight), group, rows_of_block(ROWS, row.shape[1], row.dtype)
    )

    def more(total: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        row, weight, group = at
        outer = (row * weight[:, None])[:, :, None] * row[:, None]
        return total + segments.sums_by_group(outer, group, groups), None

    none = jnp.zeros((groups, row.shape[2], row.shape[2]), row.dtype)
    return lax.scan(more, none, (row, weight, group))[0]


@jax.jit
def _forms(
    products: Float[Array, "k h h"], row: Float[Array, "n h"], group: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Row' products[group] row, a block of rows at a time."""
    n, h = row.shape
    (row,), group = _blocks((row,), group, rows_of_block(min(ROWS, n), h, row.dtype))

    def one(at: tuple[Array, Array]) -> Array:
        row, group = at
        held = products[group]
        found = jnp.einsum("ri,rij,rj->r", row, held, row, precision=lax.Precision.HIGHEST)
        return jnp.where(group >= 0, found, 0)

    return lax.map(one, (row, group)).reshape(-1)[:n]
