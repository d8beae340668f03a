"""Arrays on the device: entries at known places, sums of what was gathered, rows block by block."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def read(array: Array, *place: Array) -> Array:
    """Entries at places that are within bounds: nothing is checked, which is quicker."""
    return array.at[place].get(mode="promise_in_bounds", wrap_negative_indices=False)


def total(values: Float[Array, "*r w"]) -> Float[Array, "*r"]:
    """Sums over the last axis as a matrix product, which is quicker where values are gathered."""
    flat = values.reshape(-1, values.shape[-1])
    ones = jnp.ones(values.shape[-1], values.dtype)
    return product(flat, ones).reshape(values.shape[:-1])


def product(a: Array, b: Array) -> Array:
    """A matrix product in full precision, also where a GPU would round."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def in_blocks(f: Callable[..., Array], arrays: tuple[Array, ...], most: int) -> Array:
    """f(*arrays), a function of rows, in even blocks of at most `most` rows.

    The first array has all m rows; others have m too, or one row, which every block gets whole.
    The last block is filled up with its last row.
    """
    m = arrays[0].shape[0]
    if m <= most:
        return f(*arrays)
    most = -(-m // -(-m // most))
    pad, cut = -m % most, [a.shape[0] == m for a in arrays]
    blocks = tuple(
        jnp.pad(a, [(0, pad)] + [(0, 0)] * (a.ndim - 1), mode="edge").reshape(
            -1, most, *a.shape[1:]
        )
        for a, rows in zip(arrays, cut)
        if rows
    )

    def one(block: tuple[Array, ...]) -> Array:
        mine = iter(block)
        return f(*(next(mine) if rows else a for a, rows in zip(arrays, cut)))

    out = lax.map(one, blocks)
    return out.reshape(-1, *out.shape[2:])[:m]
