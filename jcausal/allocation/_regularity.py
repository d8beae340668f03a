"""Regularity: how densely effects crowd in any interval that is not too short."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jcausal.allocation._distributions import Distribution
from jcausal.allocation._group_values import GroupValues, as_effects, check_rho
from jcausal.data import is_traced


def regularity(
    tau: GroupValues | Distribution, *, rho: float | Float[Array, ""]
) -> float | Float[Array, ""]:
    """The smallest c with Pr[S] <= c |S| for every interval S of length 2 rho or more.

    For k values the largest of (units in S) / (k |S|), exactly, in O(k log k): intervals from one
    value to another, and windows of length 2 rho. Windows are counted by bisection. Longer
    intervals maximise (count - c k length) for the best c so far until none is above 0: rounds of
    O(k) that converge faster than linearly (Dinkelbach). Values may be traced.

    **Arguments:**

    - `tau`: effects (k,) in [0, 1], or a distribution (`Beta`, `TruncatedNormal`).
    - `rho`: accuracy of the estimates; for a distribution 0 gives the largest density.

    **Returns:** c. **Raises:** `DataError` for effects outside [0, 1]; ValueError for rho.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, definition 11 and theorem 8.

    **Example:**

        >>> import jcausal as jc
        >>> jc.allocation.regularity([0.2, 0.25, 0.6, 0.9], rho=0.05)
        5.0
    """
    if isinstance(tau, Distribution):
        if rho != 0:
            check_rho(float(rho))
        return tau.densest(2 * float(rho))
    values = as_effects("tau", tau)
    if is_traced(values, rho):
        return _densest(jnp.sort(jnp.asarray(values)), 2 * rho)
    check_rho(float(rho))
    with jax.enable_x64(True):
        return float(_jitted(jnp.asarray(np.sort(values)), 2 * float(rho)))


def _densest(v: Float[Array, " k"], width: float | Array) -> Float[Array, ""]:
    """The largest count / (k length) of the intervals of at least this width; v ascending."""
    k = v.shape[0]
    at = jnp.arange(k)
    inside = jnp.searchsorted(v, v + width, side="right") - at
    windows = inside.max() / (k * width)
    start = jnp.searchsorted(v, v - width, side="right") - 1  # the last that is far enough below

    def better(c: Array) -> Array:
        """The density of the interval with the largest count - c k length."""
        cost = at - c * k * v
        lowest = lax.cummin(cost)[jnp.maximum(start, 0)]
        gain = jnp.where(start >= 0, at + 1 - c * k * v - lowest, -jnp.inf)
        last = jnp.argmax(gain)
        first = jnp.argmin(jnp.where(at <= start[last], cost, jnp.inf))
        length = v[last] - v[first]
        density = (last + 1 - first) / (k * jnp.where(length > 0, length, 1))
        return jnp.where((start[last] >= 0) & (length > 0), density, 0).astype(c.dtype)

    def more(found: tuple[Array, Array]) -> tuple[Array, Array]:
        return found[1], jnp.maximum(found[1], better(found[1]))

    begin = windows.astype(v.dtype)
    end = lax.while_loop(lambda f: f[1] > f[0], more, (jnp.zeros_like(begin), begin))
    return end[1]


_jitted = jax.jit(_densest)
