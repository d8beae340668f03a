"""Running sums that start anew with every segment, and sums by group.

(1) Formula, shapes, cost
    segmented_scan: out[k] = sum of values[i] over i <= k in the segment of k (or any other
                    associative operation)
    segment_sums:   out[g] = sum of values[i] over the rows i of segment g, which stand together
    sums_by_group:  out[g] = sum of values[i] over group[i] = g, rows in any order
A scan of n values in r blocks of b = about sqrt(n): two loops of b and r steps over r and 1 lanes.
Every value is read and written twice. Nothing is taken off a larger sum, so that no digits are
lost. (A scan by halves, `lax.associative_scan`, takes log2(n) steps but seconds to compile.)
Sums by group: on a CPU one pass; elsewhere, where adding by index is slow and in no fixed order,
products with the members of each group, 2 n groups d operations: for few groups. For many, sort the
rows and use `segment_sums`.
"""

from collections.abc import Callable
from math import isqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, Shaped

BLOCK = 1024  # rows that are looked at together where sums are products
SHORT = 2**10  # float32 numbers that are added up one by one

# (2) The reference is NumPy's, in the tests. (3) Scans are the same on every platform. (4) Sums in
# any order are one pass on a CPU, products elsewhere.


def _pick(flag: Array, yes: Any, no: Any) -> Any:
    """`yes` where the flag is set, else `no`, for trees of arrays with more axes."""

    def one(a: Array, b: Array) -> Array:
        return jnp.where(flag.reshape(flag.shape + (1,) * (a.ndim - flag.ndim)), a, b)

    return jax.tree.map(one, yes, no)


# (5) The public functions.


def segment_starts(segment: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Where a segment begins, of rows whose segments stand together.

    **Returns:** flags (n,), the first one set.
    """
    return jnp.concatenate([jnp.ones(1, bool), segment[1:] != segment[:-1]])


def segmented_scan(
    combine: Callable[[Any, Any], Any], new: Bool[Array, " n"], values: Any, identity: Any
) -> Any:
    """Prefixes of `values` under `combine`, starting anew where `new` is set.

    **Arguments:** `combine` of two trees of arrays, associative; `new` (n,); `values` a tree of
    arrays (n, ...); `identity` a tree of scalars, neutral on the left.

    **Returns:** a tree like `values`.
    """
    n = new.shape[0]
    block = max(1, isqrt(max(n - 1, 0)) + 1)
    rows = -(-n // block)

    def cut(a: Array) -> Array:
        padded = jnp.pad(a, [(0, rows * block - n)] + [(0, 0)] * (a.ndim - 1))
        return jnp.moveaxis(padded.reshape(rows, block, *a.shape[1:]), 1, 0)

    def within(carry: tuple, at: tuple) -> tuple:
        so_far, seen = carry
        start, value = at
        so_far = _pick(start, value, combine(so_far, value))
        seen = seen | start
        return (so_far, seen), (so_far, seen)

    none = jax.tree.map(lambda a, i: jnp.full((rows, *a.shape[1:]), i, a.dtype), values, identity)
    start = (none, jnp.zeros(rows, bool))
    (last, closed), (inside, seen) = lax.scan(within, start, (cut(new), jax.tree.map(cut, values)))

    def across(carry: Any, at: tuple) -> tuple:
        total, reset = at
        return _pick(reset, total, combine(carry, total)), carry

    first = jax.tree.map(lambda a: a[0], none)
    before = lax.scan(across, first, (last, closed))[1]
    before = jax.tree.map(lambda a: jnp.broadcast_to(a, (block, *a.shape)), before)
    out = _pick(seen, inside, combine(before, inside))

    def join(a: Array) -> Array:
        return jnp.moveaxis(a, 0, 1).reshape(rows * block, *a.shape[2:])[:n]

    return jax.tree.map(join, out)


def segment_sums(
    values: Shaped[Array, "n ..."], segment: Int[Array, " n"], segments: int
) -> Shaped[Array, "k ..."]:
    """Sums of the rows of each segment, which stand together in rising order.

    **Arguments:** `values` (n, ...); `segment` (n,) that each row is in; `segments` k.

    **Returns:** (k, ...), 0 for a segment without rows.
    """
    if not segment.shape[0]:
        return jnp.zeros((segments, *values.shape[1:]), values.dtype)
    name = jnp.arange(segments)
    sums = segmented_scan(jnp.add, segment_starts(segment), values, 0)
    last = jnp.maximum(jnp.searchsorted(segment, name, side="right") - 1, 0)
    return _pick(segment[last] == name, sums[last], jnp.zeros((), values.dtype))


def sums_by_group(
    values: Shaped[Array, "n ..."], group: Int[Array, " n"], groups: int
) -> Shaped[Array, "k ..."]:
    """Sums of the rows of each group, in any order.

    **Arguments:** `values` (n, ...); `group` (n,), of another number than 0 to k - 1 for none;
    `groups` k.

    **Returns:** (k, ...).
    """
    flat = values.reshape(values.shape[0], -1)
    place = jnp.where((group >= 0) & (group < groups), group, groups)

    def add(flat: Array, place: Array) -> Array:
        return sums_in_one_pass(flat, place, groups + 1)[:groups]

    def multiply(flat: Array, place: Array) -> Array:
        return _by_products(flat, place, groups)

    out = lax.platform_dependent(flat, place, cpu=add, default=multiply)
    return out.reshape(groups, *values.shape[1:])


def sums_in_one_pass(
    values: Shaped[Array, "n d"], place: Int[Array, " n"], places: int
) -> Shaped[Array, "k d"]:
    """Sums by place, added up by index: for CPUs.

    In float32 of some rows each first, since long sums of equal signs drift.

    **Arguments:** `values` (n, d); `place` (n,) from 0 to k - 1; `places` k. **Returns:** (k, d).
    """
    n = values.shape[0]
    lanes = max(1, min(n // SHORT, 4 * n // places))
    if values.dtype == jnp.float64 or lanes == 1:
        return jax.ops.segment_sum(values, place, places)
    lane = jnp.arange(n, dtype=place.dtype) % lanes
    parts = jax.ops.segment_sum(values, place * lanes + lane, places * lanes)
    return parts.reshape(places, lanes, -1).sum(1)


def _by_products(values: Array, place: Array, groups: int) -> Array:
    more = -place.shape[0] % BLOCK
    place = jnp.pad(place, (0, more), constant_values=groups).reshape(-1, BLOCK)
    values = jnp.pad(values, [(0, more), (0, 0)]).reshape(-1, BLOCK, values.shape[1])

    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        one = (at[0] == jnp.arange(groups)[:, None]).astype(values.dtype)
        return total + jnp.matmul(one, at[1], precision=lax.Precision.HIGHEST), None

    none = jnp.zeros((groups, values.shape[2]), values.dtype)
    return lax.scan(add, none, (place, values))[0]
