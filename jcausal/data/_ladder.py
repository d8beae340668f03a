"""Ladders: a covariate's distinct values in order, and each unit's rung on them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data._shapes import bucket


def host_ladders(
    x: Float[np.ndarray, "n p"], valid: Bool[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "n p"], Float[np.ndarray, "p l"], Int[np.ndarray, " p"]]:
    """Rung codes, ladders (padded with their last value) and their heights, in float64."""
    columns = [np.unique(x[valid, j], return_inverse=True) for j in range(x.shape[1])]
    rungs = np.array([len(values) for values, _ in columns], np.int32)
    ladder = np.zeros((x.shape[1], bucket(int(rungs.max(initial=1)))))
    codes = np.zeros(x.shape, np.int32)
    for j, (values, inverse) in enumerate(columns):
        ladder[j] = np.concatenate([values, np.repeat(values[-1:], ladder.shape[1] - len(values))])
        codes[valid, j] = inverse
    return codes, ladder, rungs


def traced_ladders(
    x: Float[Array, "n p"], valid: Bool[Array, " n"]
) -> tuple[Int[Array, "n p"], Float[Array, "p l"], Int[Array, " p"]]:
    """The same under tracing: static height n, in the dtype of x."""

    def one(column: Array) -> tuple[Array, Array, Array]:
        ordered = jnp.sort(jnp.where(valid, column, jnp.inf))
        new = jnp.concatenate([jnp.ones(1, bool), ordered[1:] > ordered[:-1]])
        new &= jnp.isfinite(ordered)
        height = new.sum()
        place = jnp.where(new, jnp.cumsum(new) - 1, column.shape[0])
        top = jnp.max(jnp.where(valid, column, -jnp.inf))
        values = jnp.full_like(column, top).at[place].set(ordered, mode="drop")
        codes = jnp.searchsorted(values, column, side="left")
        return jnp.minimum(codes, height - 1).astype(jnp.int32), values, height.astype(jnp.int32)

    codes, ladder, rungs = jax.vmap(one, in_axes=1, out_axes=(1, 0, 0))(x)
    return codes, ladder, rungs
