"""Formulas that are worked out by NumPy where nothing is traced, so that none is compiled."""

from collections.abc import Callable
from functools import wraps
from inspect import unwrap
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jcausal.data._shapes import is_traced

R = TypeVar("R")
Values = Array | np.ndarray  # what a formula gets


def on_host(formula: Callable[..., R]) -> Callable[..., R]:
    """A function of arrays from a formula whose first argument is `numpy` or `jax.numpy`.

    Concrete arrays are worked out by NumPy: each jnp operation outside a compiled function would be
    a program of its own, compiled anew for every shape. Results are JAX arrays either way. A
    formula must cast itself where int32 meets float32, which is float64 in NumPy, and may not index
    with what only one of the two takes.
    """
    plain = unwrap(formula)  # without checks of annotations, which are those of JAX arrays

    @wraps(formula)
    def call(*args: Any, **options: Any) -> R:
        if is_traced(args, options):
            return formula(jnp, *args, **options)
        args, options = jax.tree.map(_given, (args, options))
        with np.errstate(all="ignore"):
            found = plain(np, *args, **options)
        return jax.tree.map(to_device, found)

    return call


def to_device(array: Any) -> Array:
    """A JAX array of a concrete array that nobody writes to, in JAX's dtype; no program is made.

    `jnp.asarray` copies by a program of its own for every shape; this may share the memory of what
    is given. Arrays of JAX pass through.
    """
    return array if isinstance(array, Array) else jax.device_put(np.asarray(array))


@on_host
def in_dtype(lib: Any, value: float | Values, dtype: np.dtype) -> Array:
    """A number as an array of a dtype."""
    return lib.asarray(value, dtype)


@on_host
def added(lib: Any, one: Array, other: Array) -> Array:
    """One + other."""
    return one + other


@on_host
def difference(lib: Any, one: Array, other: Array) -> Array:
    """One - other."""
    return one - other


@on_host
def column(lib: Any, values: Array, j: int) -> Array:
    """The j-th of the last axis."""
    return values[..., j]


@on_host
def rows_of(lib: Any, array: Array, rows: Array) -> Array:
    """Some rows of an array."""
    return array[rows]


@on_host
def stacked(lib: Any, *arrays: Array) -> Array:
    """Arrays of one shape along a new first axis."""
    return lib.stack(arrays)


def first_rows(array: np.ndarray | Array, rows: int) -> Array:
    """The first rows of a padded result: cut on the host, where no shape costs a compilation."""
    if rows == array.shape[0]:
        return to_device(array)
    return to_device(array[:rows] if is_traced(array) else np.asarray(array)[:rows])


def _given(leaf: Any) -> Any:
    return np.asarray(leaf) if eqx.is_array(leaf) else leaf


def add_at(lib: Any, rows: int, place: Int[Values, " q"], values: Values) -> Any:
    """Zeros (rows,) with each value added at its place; `lib` is `numpy` or `jax.numpy`."""
    if lib is jnp:
        return jnp.zeros(rows, values.dtype).at[place].add(values)
    out = np.zeros(rows, values.dtype)
    np.add.at(out, place, values)
    return out
