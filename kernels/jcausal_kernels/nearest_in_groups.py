"""The nearest units to each query among the units of the query's own group.

(1) Formula, shapes, cost
    distance[i, j] = sum_f (at[i, f] - values[j, f])^2     for first[i] <= j < last[i]
    out[i]         = the k units j with the smallest distance, nearest first; of equal ones,
                     those of the lower row
n units in an order in which every group is a range of rows, q queries, f features. Queries are
taken 64 at a time, with the blocks of units that any of them needs: sort them by `first`, then
operations are 3 f times the sum over the 64s of the rows that their groups span. Bytes: the
values twice, and 12 numbers a query and unit of a block; the block is chosen so that this stays
within `max_bytes`. Nothing is ever q x n.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal_kernels.blocks import cut

Implementation = Literal["auto", "reference", "xla"]
TILE, BLOCK = 64, 4096  # queries and units that are compared at once, at most


# (2) The reference: all distances at once.


def _reference(values: Array, first: Array, last: Array, at: Array, k: int) -> tuple[Array, Array]:
    row = jnp.arange(values.shape[0])
    here = (row >= first[:, None]) & (row < last[:, None])
    distance = ((at[:, None] - values) ** 2).sum(-1)
    distance = jnp.where(here & jnp.isfinite(distance), distance, jnp.inf)
    distance = jnp.pad(distance, [(0, 0), (0, k)], constant_values=jnp.inf)
    rows = jnp.argsort(distance, axis=-1, stable=True)[:, :k].astype(jnp.int32)
    near = jnp.take_along_axis(distance, rows, -1)
    return jnp.where(near < jnp.inf, rows, values.shape[0]), near


# (3) The tuned version: a tile of queries against the blocks of units that it spans.


class _Asked(NamedTuple):
    """Queries, in one axis or in tiles: the rows from `first` to `last` - 1, and their features."""

    first: Int[Array, "*q"]
    last: Int[Array, "*q"]
    at: Float[Array, "*q f"]


def _tile(values: Array, asked: _Asked, k: int, block: int) -> tuple[Array, Array]:
    """The nearest of one tile; `values` has a block of rows more than there are units."""
    first, last, at = asked
    some = last > first
    start = jnp.where(some, first, values.shape[0]).min()
    stop = jnp.where(some, last, 0).max()

    def look(i: Array, kept: tuple[Array, Array]) -> tuple[Array, Array]:
        rows, near = kept
        low = start + i * block
        part = lax.dynamic_slice_in_dim(values, low, block)
        row = low + jnp.arange(block, dtype=jnp.int32)
        distance = ((at[:, None] - part) ** 2).sum(-1)
        here = (row >= first[:, None]) & (row < last[:, None]) & jnp.isfinite(distance)
        both = jnp.concatenate([near, jnp.where(here, distance, jnp.inf)], -1)
        least, place = lax.top_k(-both, k)
        names = jnp.concatenate([rows, jnp.broadcast_to(row, distance.shape)], -1)
        return jnp.take_along_axis(names, place, -1), -least

    none = jnp.zeros((at.shape[0], k), jnp.int32), jnp.full((at.shape[0], k), jnp.inf, at.dtype)
    return lax.fori_loop(0, jnp.maximum(-(-(stop - start) // block), 0), look, none)


@partial(jax.jit, static_argnames=("k", "tile", "block"))
def _tiled(values: Array, asked: _Asked, k: int, tile: int, block: int) -> tuple[Array, Array]:
    n, q = values.shape[0], asked.at.shape[0]
    first, last = (jnp.clip(each, 0, n).astype(jnp.int32) for each in (asked.first, asked.last))
    values = jnp.pad(values, [(0, block), (0, 0)])
    tiles = _Asked(*(cut(each, tile) for each in (first, last, asked.at)))
    found = lax.map(lambda some: _tile(values, some, k, block), tiles)
    rows, near = (each.reshape(-1, k)[:q] for each in found)
    return jnp.where(near < jnp.inf, rows, n), near


# (4) The choice: "auto" is the tiled version on every platform.
# (5) The public function.


def nearest_in_groups(
    values: Float[Array, "n f"],
    first: Int[Array, " q"],
    last: Int[Array, " q"],
    at: Float[Array, "q f"],
    k: int,
    *,
    max_bytes: int = 2**26,
    implementation: Implementation = "auto",
) -> tuple[Int[Array, "q k"], Float[Array, "q k"]]:
    """The k units nearest to each query among a range of the units.

    **Arguments:** `values` (n, f) features times their weights, the units of a group in
    neighbouring rows, in the order that breaks ties; `first`, `last` (q,) the rows from first to
    last - 1 that are compared with a query; `at` (q, f) the queries' own features, weighted alike.

    **Returns:** rows (q, k), nearest first, n where a range has fewer, and squared distances
    (q, k), there infinite. A distance that is NaN or infinite is no neighbour's.

    **Raises:** ValueError for k below 1, or an unknown `implementation`.
    """
    if k < 1:
        raise ValueError(f"k is {k}: at least one unit.")
    if implementation not in ("auto", "reference", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    if implementation == "reference":
        return _reference(values, first, last, at, k)
    tile = max(min(TILE, at.shape[0]), 1)
    row = 12 * values.dtype.itemsize * tile
    block = max(1, min(BLOCK, max_bytes // row - k, max(values.shape[0], 1)))
    return _tiled(values, _Asked(first, last, at), k, tile, block)
