"""Ladders: a covariate's distinct values in order, and each unit's code, its place on them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data._shapes import bucket
from jcausal_kernels import MISSING


def host_ladders(
    x: Float[np.ndarray, "n p"],
    valid: Bool[np.ndarray, " n"],
    fill: Float[np.ndarray, " p"],
) -> tuple[Int[np.ndarray, "n p"], Float[np.ndarray, "p l"], Int[np.ndarray, " p"]]:
    """Rung codes, ladders (padded with their last value) and their heights, in float64.

    NaN in a valid row is a missing value: it has the code `MISSING` and no code. A column without
    any value has the one code `fill`.
    """
    codes, ladders = np.zeros(x.shape, np.int32), []
    for j in range(x.shape[1]):
        present = valid & ~np.isnan(x[:, j])
        if present.all():
            values, codes[:, j] = np.unique(x[:, j], return_inverse=True)
        else:
            values, codes[present, j] = np.unique(x[present, j], return_inverse=True)
            codes[valid & ~present, j] = MISSING
        ladders.append(values if values.size else fill[j : j + 1])
    heights = np.array([len(values) for values in ladders], np.int32)
    ladder = np.empty((len(ladders), bucket(int(heights.max(initial=1)))))
    for j, values in enumerate(ladders):
        ladder[j, : values.size], ladder[j, values.size :] = values, values[-1]
    return codes, ladder, heights


def traced_ladders(
    x: Float[Array, "n p"], valid: Bool[Array, " n"], missing: Bool[Array, "n p"]
) -> tuple[Int[Array, "n p"], Float[Array, "p l"], Int[Array, " p"]]:
    """The same under tracing: static height n, in the dtype of x, which holds the fill if missing.

    Rows that are `missing` in a column have the code `MISSING` there.
    """

    def one(column: Array, gap: Array) -> tuple[Array, Array, Array]:
        present = valid & ~gap
        use = jnp.where(present.any(), present, valid)
        ordered = jnp.sort(jnp.where(use, column, jnp.inf))
        new = jnp.concatenate([jnp.ones(1, bool), ordered[1:] > ordered[:-1]])
        new &= jnp.isfinite(ordered)
        height = new.sum()
        place = jnp.where(new, jnp.cumsum(new) - 1, column.shape[0])
        top = jnp.max(jnp.where(use, column, -jnp.inf))
        values = jnp.full_like(column, top).at[place].set(ordered, mode="drop")
        codes = jnp.minimum(jnp.searchsorted(values, column, side="left"), height - 1)
        codes = jnp.where(gap & valid, MISSING, codes)
        return codes.astype(jnp.int32), values, height.astype(jnp.int32)

    codes, ladder, heights = jax.vmap(one, in_axes=1, out_axes=(1, 0, 0))(x, missing)
    return codes, ladder, heights
