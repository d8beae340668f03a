"""The units that are nearest to each query, among all units.

(1) Formula, shapes, cost
    distance[i, k] = sum_f (at[i, f] - values[k, f])^2
    out[i]         = the k units with the smallest distance, nearest first; of equal ones, those of
                     the lower row
n units, q queries, f features. Units stand in strips. A first pass takes the least distance of
every strip by |v|^2 - 2 <a, v>, one matmul: 2 (f + 1) q n operations, at the rate of a matmul. The
k nearest units stand in the k strips of the least distances, so that a second pass looks only into
these, by direct differences: 3 f operations a unit. Strips are so wide that both passes take about
as long. Bytes: a tile of queries beside a block of units at a time, and beside one number a strip;
tiles are cut so that this stays within `max_bytes`. Nothing is ever q x n.

The first pass rounds: with u the unit roundoff and c = (2 f + 6) u, the number of a unit at the
distance d from a query a is off by at most 3 c (|a| + d)^2, the cast to this dtype included. A unit
that is among the k nearest by less than that may be missed: a caller who must not miss it asks for
one more than he needs, and looks at the gap.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels.blocks import cut, each

Implementation = Literal["auto", "reference", "xla"]
BLOCK, TILE = 4096, 1024  # units and queries that are compared at once, at most
STRIPS = 16, 256  # units of a strip


# (2) The reference: all distances at once.


def _reference(values: Array, able: Array, at: Array, k: int) -> tuple[Array, Array]:
    distance = ((at[:, None] - values) ** 2).sum(-1)
    distance = jnp.where(able & jnp.isfinite(distance), distance, jnp.inf)
    distance = jnp.pad(distance, [(0, 0), (0, k)], constant_values=jnp.inf)
    rows = jnp.argsort(distance, axis=-1, stable=True)[:, :k].astype(jnp.int32)
    near = jnp.take_along_axis(distance, rows, -1)
    return jnp.where(near < jnp.inf, rows, values.shape[0]), near


# (3) The tuned version: the least of every strip by a matmul, then the best strips unit by unit.


class _Blocks(NamedTuple):
    """Units in b blocks of s strips of w: their features, and |v|^2, infinite for nobody."""

    value: Float[Array, "b sw f"]
    square: Float[Array, "b sw"]


def _strips(units: _Blocks, at: Float[Array, "t f"], strip: int) -> Float[Array, "t s"]:
    """The least |v|^2 - 2 <a, v> of every strip."""

    def least(part: _Blocks) -> Float[Array, "t s"]:
        # |v|^2 is one more feature, so that the matmul adds it
        value = jnp.concatenate([part.value, part.square[:, None]], 1)
        there = jnp.concatenate([-2 * at, jnp.ones_like(at[:, :1])], 1)
        number = jnp.matmul(there, value.T, precision=lax.Precision.HIGHEST)
        return number.reshape(at.shape[0], -1, strip).min(-1)

    return jnp.moveaxis(each(least, units), 0, 1).reshape(at.shape[0], -1)


def _tile(units: _Blocks, at: Float[Array, "t f"], k: int, strip: int) -> tuple[Array, Array]:
    """The nearest of one tile."""
    features, tile = at.shape[1], at.shape[0]
    value, square = (a.reshape(-1, strip, *a.shape[2:]) for a in units)
    best = lax.top_k(-_strips(units, at, strip), min(k, value.shape[0]))[1]
    best = jnp.sort(best, axis=1)  # so that of equal units those of lower rows come first
    near = value[best].reshape(tile, -1, features)
    distance = ((at[:, None] - near) ** 2).sum(-1)
    there = (square[best].reshape(tile, -1) < jnp.inf) & jnp.isfinite(distance)
    distance = jnp.where(there, distance, jnp.inf)
    row = (best[..., None] * strip + jnp.arange(strip)).reshape(tile, -1).astype(jnp.int32)
    least, place = lax.top_k(-distance, min(k, row.shape[1]))
    return jnp.take_along_axis(row, place, 1), -least


class _Cut(NamedTuple):
    """How arrays are cut: queries a tile, units a block and a strip."""

    tile: int
    block: int
    strip: int


@partial(jax.jit, static_argnames=("k", "size"))
def _tiled(values: Array, able: Array, at: Array, k: int, size: _Cut) -> tuple[Array, Array]:
    n, q = values.shape[0], at.shape[0]
    able = able & jnp.isfinite(values).all(1)
    values = jnp.where(able[:, None], values, 0)
    square = jnp.where(able, (values**2).sum(1), jnp.inf)
    units = _Blocks(cut(values, size.block), cut(square, size.block, jnp.inf))
    found = each(lambda some: _tile(units, some, k, size.strip), cut(at, size.tile))
    rows, near = (a.reshape(-1, a.shape[-1])[:q] for a in found)
    more = [(0, 0), (0, k - rows.shape[1])]
    rows, near = jnp.pad(rows, more), jnp.pad(near, more, constant_values=jnp.inf)
    return jnp.where(near < jnp.inf, rows, n), near


# (4) The choice: "auto" is the tiled version on every platform.


def _sizes(values: Array, q: int, k: int, max_bytes: int) -> _Cut:
    """Tiles and blocks that stay within so many bytes, as far as one query and one strip do."""
    n, features = values.shape
    size, strip = values.dtype.itemsize, STRIPS[0]
    while strip < STRIPS[1] and 12 * features * k * strip**2 < 10 * n:
        strip *= 2  # a strip's number costs about 10 operations more, of its units 3 features
    strip = min(strip, max(n, 1))
    strips = min(BLOCK, max(n, 1)) // strip
    query = size * (BLOCK + 3 * n // strip + k * strip * (2 * features + 4))
    return _Cut(max(1, min(TILE, q, max_bytes // query)), max(strips, 1) * strip, strip)


# (5) The public function.


def nearest_points(
    values: Float[Array, "n f"],
    able: Bool[Array, " n"],
    at: Float[Array, "q f"],
    k: int,
    *,
    max_bytes: int = 2**28,
    implementation: Implementation = "auto",
) -> tuple[Int[Array, "q k"], Float[Array, "q k"]]:
    """The k units nearest to each query.

    **Arguments:** `values` (n, f) the units' features, in the order that breaks ties, about centred
    (rounding grows with their squares); `able` (n,) who may be a neighbour; `at` (q, f) the
    queries'.

    **Returns:** rows (q, k), nearest first, n where there are fewer, and squared distances (q, k),
    there infinite. A distance that is NaN or infinite is no neighbour's. Units that are as near as
    the k-th within rounding may stand in each other's place.

    **Raises:** ValueError for k below 1, or an unknown `implementation`.
    """
    if k < 1:
        raise ValueError(f"k is {k}: at least one unit.")
    if implementation not in ("auto", "reference", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    if implementation == "reference" or not (values.size and at.size):
        return _reference(values, able, at, k)
    return _tiled(values, able, at, k, _sizes(values, at.shape[0], k, max_bytes))
