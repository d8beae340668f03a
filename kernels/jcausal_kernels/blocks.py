"""Arrays in blocks of rows, and sums over blocks that keep what rounding takes off them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Shaped


def cut(array: Shaped[Array, "n ..."], block: int, value: float = 0) -> Shaped[Array, "b r ..."]:
    """Fill up the first axis with `value` to whole blocks and split it: (blocks, block, ...)."""
    pad = -array.shape[0] % block
    padded = jnp.pad(array, [(0, pad)] + [(0, 0)] * (array.ndim - 1), constant_values=value)
    return padded.reshape(padded.shape[0] // block, block, *array.shape[1:])


def fold(step: Callable[[Any, Any], Any], carry: Any, blocks: Any) -> Any:
    """The carry after step(carry, block) for block after block."""
    if len(jax.tree.leaves(blocks)[0]) == 1:
        return step(carry, jax.tree.map(lambda a: a[0], blocks))
    return lax.scan(lambda c, block: (step(c, block), None), carry, blocks)[0]


def each(step: Callable[[Any], Any], blocks: Any) -> Any:
    """step(block) of every block, one beside the other."""
    if len(jax.tree.leaves(blocks)[0]) == 1:
        out = step(jax.tree.map(lambda a: a[0], blocks))
        return jax.tree.map(lambda a: a[None], out)
    return lax.map(step, blocks)


def add(total: tuple[Array, Array], part: Array) -> tuple[Array, Array]:
    """Add a part to a sum, and what rounding took off it to the rest.

    **Source:** the sum of two floats and its error, Knuth (1969), The Art of Computer Programming
    2, section 4.2.2, theorem B.
    """
    old, rest = total
    new = old + part
    taken = new - old
    return new, rest + ((old - (new - taken)) + (part - taken))


def whole(total: tuple[Array, Array]) -> Array:
    """A sum with its rest; the sum alone where it is not finite, since the rest is NaN there."""
    return jnp.where(jnp.isfinite(total[0]), total[0] + total[1], total[0])
