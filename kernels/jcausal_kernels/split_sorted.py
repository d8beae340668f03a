"""The best cuts of covariates of any number of values: from units in the order of their codes.

Sums run along the units of each node, and a cut may stand wherever the code rises. Both versions
look at the same cuts; they add up, and find the best one, in the way that suits a platform.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels.segments import segment_starts, segmented_scan
from jcausal_kernels.split_score import Cuts, Scanned, level_of, sums_of


def sorted_order(codes: Int[Array, "n p"], node: Int[Array, " n"]) -> Int[Array, "p n"]:
    """Units by node, and within a node by code, for each covariate.

    **Arguments:** `codes` (n, p), `node` (n,) of each unit. **Returns:** rows (p, n), stable.
    """
    n, p = codes.shape
    keys = (jnp.broadcast_to(node, (p, n)), codes.T, jnp.broadcast_to(jnp.arange(n), (p, n)))
    return lax.sort(keys, dimension=1, num_keys=2, is_stable=True)[2].astype(jnp.int32)


def by_scans(codes: Int[Array, "n p"], units: Scanned, order: Int[Array, "p n"] | None) -> Cuts:
    """The best cut of each covariate in each node, by segmented scans: for any platform."""
    return _by_order(codes, units, order, (_scanned_sums, _best_by_scan))


def by_steps(codes: Int[Array, "n p"], units: Scanned, order: Int[Array, "p n"] | None) -> Cuts:
    """The same by running sums over the positions, one after the other, all covariates at once.

    For a CPU, and numbers wide enough for long running sums.
    """
    return _by_order(codes, units, order, (_running_sums, _best_by_place))


class _Nodes(NamedTuple):
    """The nodes of the units in their order, the same for all covariates.

    - `at` (n,): the node, k for none.
    - `starts`, `follows` (n,): the first unit of its node; another one of its node follows.
    - `last` (n,): the node whose last unit this is, k + 1 for none.
    """

    at: Int[Array, " n"]
    starts: Bool[Array, " n"]
    follows: Bool[Array, " n"]
    last: Int[Array, " n"]


def _nodes_in_order(place: Int[Array, " n"], nodes: int) -> _Nodes:
    follows = jnp.concatenate([place[1:] == place[:-1], jnp.zeros(1, bool)])
    last = jnp.where(follows, nodes + 1, place)
    return _Nodes(place, segment_starts(place), follows, last)


def _by_order(
    codes: Int[Array, "n p"],
    units: Scanned,
    order: Int[Array, "p n"] | None,
    how: tuple[Callable, Callable],
) -> Cuts:
    """`how`: the sums from the start of the node to each unit, and the best of the levels."""
    add_up, best_of = how
    order = sorted_order(codes, units.node) if order is None else order
    rows = order.T
    nodes = _nodes_in_order(units.place[rows[:, 0]], units.nodes)
    sums = add_up(nodes.starts, _in_order(units.columns, rows, nodes.at < units.nodes))
    place = jnp.arange(rows.shape[0], dtype=jnp.int32)
    end = jnp.zeros(units.nodes + 1, jnp.int32).at[nodes.last].set(place, mode="drop")
    of = sums_of(sums[end][nodes.at])  # of these very sums, so that both sides add up to it
    code = jnp.take_along_axis(codes, rows, axis=0)
    after = jnp.concatenate([code[1:], code[-1:]])
    able = nodes.follows[:, None] & (after > code)
    level = jnp.where(able, level_of(of, sums_of(sums), units.minimum), 0)
    best, row = best_of(level, nodes, units.nodes)
    cut, above = (jnp.take_along_axis(each, row, axis=0) for each in (code, after))
    return best, cut, above


def _in_order(
    columns: Float[Array, "n d"], rows: Int[Array, "n p"], inside: Bool[Array, " n"]
) -> Float[Array, "n p d"]:
    """Columns of the units in `rows`; of units without weights only w y is looked up."""
    if columns.shape[1] > 3:
        return columns[rows]
    first = columns[:, 1][rows]
    one = jnp.broadcast_to(inside[:, None], first.shape).astype(first.dtype)
    return jnp.stack([one, first, first**2], axis=2)


def _scanned_sums(starts: Bool[Array, " n"], columns: Float[Array, "n p d"]) -> Array:
    return segmented_scan(jnp.add, starts, columns, 0)


def _running_sums(starts: Bool[Array, " n"], columns: Float[Array, "n p d"]) -> Array:
    def add(total: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        total = jnp.where(row[0], 0, total) + row[1]
        return total, total

    flat = columns.reshape(columns.shape[0], -1)
    none = jnp.zeros(flat.shape[1], flat.dtype)
    return lax.scan(add, none, (starts, flat))[1].reshape(columns.shape)


def _best_by_scan(
    level: Float[Array, "n p"], nodes: _Nodes, count: int
) -> tuple[Float[Array, "k p"], Int[Array, "k p"]]:
    """The largest level of each node, and the first row that has it, by a segmented scan."""

    def larger(a: tuple, b: tuple) -> tuple:
        keep = a[0] >= b[0]
        return jnp.where(keep, a[0], b[0]), jnp.where(keep, a[1], b[1])

    place = jnp.arange(level.shape[0], dtype=jnp.int32)
    values = (level, jnp.broadcast_to(place[:, None], level.shape))
    best, row = segmented_scan(larger, nodes.starts, values, (-1, 0))
    end = jnp.full(count + 1, -1).at[nodes.last].set(place, mode="drop")[:count]
    return jnp.where(end[:, None] >= 0, best[end], 0), row[end]


def _best_by_place(
    level: Float[Array, "n p"], nodes: _Nodes, count: int
) -> tuple[Float[Array, "k p"], Int[Array, "k p"]]:
    """The same by index."""
    n, p = level.shape
    place = jnp.arange(n, dtype=jnp.int32)[:, None]
    best = jnp.zeros((count + 1, p), level.dtype).at[nodes.at].max(level)
    first = jnp.full((count + 1, p), n - 1, jnp.int32)
    first = first.at[nodes.at].min(jnp.where(level == best[nodes.at], place, n - 1))
    return best[:count], first[:count]
