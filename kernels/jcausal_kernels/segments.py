"""Running sums that start anew with every segment, without a long chain of slices.

(1) Formula, shapes, cost
    out[k] = sum of values[i] over i <= k in the segment of k (or any other associative operation)
n values in r blocks of b = about sqrt(n): two loops of b and r steps over r and 1 lanes. Every
value is read and written twice. Nothing is taken off a larger sum, so that no digits are lost. (A
scan by halves, `lax.associative_scan`, takes log2(n) steps but seconds to compile.)
"""

from collections.abc import Callable
from math import isqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

# (2) The reference is NumPy's, in the tests. (3) One version for every platform. (4) No choice.


def _pick(flag: Array, yes: Any, no: Any) -> Any:
    """`yes` where the flag is set, else `no`, for trees of arrays with more axes."""

    def one(a: Array, b: Array) -> Array:
        return jnp.where(flag.reshape(flag.shape + (1,) * (a.ndim - flag.ndim)), a, b)

    return jax.tree.map(one, yes, no)


# (5) The public function.


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
