"""Static shapes: bucketed sizes, so that samples of nearly one size share one trace."""

from typing import Any

import jax
import jax.core
import numpy as np


def bucket(size: int) -> int:
    """Round up to four sizes an octave (4, 5, 6, 7, 8, 10, 12, 14, 16, ...): at most 25% waste."""
    if size <= 4:
        return max(size, 1)
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step


def pad_rows(array: np.ndarray, rows: int, fill: float | np.generic = 0) -> Any:
    """Append rows of `fill` up to `rows` rows: a NumPy array, for a compiled function."""
    widths = [(0, rows - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths, constant_values=fill)


def is_traced(*arrays: object) -> bool:
    """Whether any of these is a tracer of jit, vmap or grad."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))
