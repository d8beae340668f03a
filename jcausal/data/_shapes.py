"""Static shapes: bucketed sizes, so that samples of nearly one size share one trace."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def bucket(size: int) -> int:
    """Round up to four sizes an octave (4, 5, 6, 7, 8, 10, 12, 14, 16, ...): at most 25% waste."""
    if size <= 4:
        return max(size, 1)
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step


def pad_rows(array: np.ndarray, rows: int, fill: float | np.generic = 0) -> np.ndarray:
    """Append rows of `fill` up to `rows` rows."""
    widths = [(0, rows - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths, constant_values=fill)


def first_rows(array: np.ndarray | jax.Array, rows: int) -> jax.Array:
    """The first rows of a padded result: cut on the host, where no shape costs a compilation."""
    if rows == array.shape[0]:
        return jnp.asarray(array)
    return jnp.asarray(array[:rows] if is_traced(array) else np.asarray(array)[:rows])


def is_traced(*arrays: object) -> bool:
    """Whether any of these is a tracer of jit, vmap or grad."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))
