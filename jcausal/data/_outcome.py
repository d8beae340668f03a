"""Outcomes: read, checked and put beside the rows, with a sample or later."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.data._check import check_outcome
from jcausal.data._errors import DataError
from jcausal.data._host import to_device
from jcausal.data._numbers import as_numbers
from jcausal.data._shapes import is_traced


def read_outcome(y: Any, n: int) -> Float[np.ndarray, " n"] | Float[Array, " n"]:
    """Outcomes as numbers; traced ones as they are."""
    if not is_traced(y):
        return as_numbers("y", y, n)
    traced = jnp.asarray(y)
    if traced.shape != (n,):
        raise DataError(f"y has shape {traced.shape} but x has {n} rows.")
    return traced


def placed_outcome(
    y: Any, valid: Bool[Array, " n"] | Bool[np.ndarray, " n"], dtype: np.dtype
) -> Float[Array, " n"]:
    """The outcome in the working dtype; 0 in rows that do not count."""
    if is_traced(y, valid):
        return jnp.where(valid, y, 0).astype(dtype)
    return to_device(np.where(np.asarray(valid), y, 0).astype(dtype))


def attached_outcome(y: Any, valid: Bool[Array, " n"], dtype: np.dtype) -> Float[Array, " n"]:
    """Outcomes for rows that are at hand.

    **Raises:** `DataError`.
    """
    read = read_outcome(y, valid.shape[0])
    if not is_traced(read, valid):
        check_outcome(np.asarray(read), np.asarray(valid), dtype)
    return placed_outcome(read, valid, dtype)
