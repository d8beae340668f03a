"""Formulas that are worked out by NumPy where nothing is traced, so that none is compiled."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jcausal.data._shapes import is_traced

P = ParamSpec("P")
R = TypeVar("R")


def on_host(formula: Callable[Concatenate[Any, P], R]) -> Callable[P, R]:
    """A function of arrays from a formula whose first argument is `numpy` or `jax.numpy`.

    Concrete arrays are worked out by NumPy: each jnp operation outside a compiled function would be
    a program of its own, compiled anew for every shape. Results are JAX arrays either way. A
    formula must mind that int32 times float32 is float64 in NumPy (rounded back at the end), and
    may not index with what only one of the two takes.
    """

    @wraps(formula)
    def call(*args: P.args, **options: P.kwargs) -> R:
        if is_traced(args, options):
            return formula(jnp, *args, **options)
        args, options = jax.tree.map(_given, (args, options))
        with np.errstate(all="ignore"):
            found = formula(np, *args, **options)
        return jax.tree.map(jnp.asarray, found)

    return call


def _given(leaf: Any) -> Any:
    return np.asarray(leaf) if eqx.is_array(leaf) else leaf


def add_at(lib: Any, rows: int, place: Int[Array, " q"], values: Array) -> Array:
    """Zeros (rows,) with each value added at its place; `lib` is `numpy` or `jax.numpy`."""
    if lib is jnp:
        return jnp.zeros(rows, values.dtype).at[place].add(values)
    out = np.zeros(rows, values.dtype)
    np.add.at(out, place, values)
    return out  # type: ignore[return-value]
