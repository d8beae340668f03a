"""Rows of structures whose arrays have one row a query."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

T = TypeVar("T")
Rows = Int[Array, " r"] | Int[np.ndarray, " r"]


def take(tree: T, rows: Rows) -> T:
    """Some rows of every array."""
    return jax.tree.map(lambda array: array[rows], tree)


def put(tree: T, rows: Rows, new: T) -> T:
    """New rows in every array; a row beyond the last is dropped."""
    return jax.tree.map(lambda old, one: old.at[rows].set(one, mode="drop"), tree, new)


def choose(first: Bool[Array, " q"], one: T, other: T) -> T:
    """Of every array the rows of the one or of the other."""

    def chosen(a: Array, b: Array) -> Array:
        return jnp.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(chosen, one, other)
