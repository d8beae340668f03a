"""How well a response surface foretells outcomes, by arm."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.data import Sample, bucket, is_traced, pad_rows

BLOCK = 16_384  # rows that are evaluated at a time


class FitWarning(UserWarning):
    """A response surface explains nothing of the outcomes that it has not seen."""


def r_squared(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], sample: Sample
) -> Float[Array, " 2"]:
    """1 - residual sum of squares / total sum of squares of each arm, over the valid rows."""
    assert sample.y is not None
    arrays = sample.x, sample.y, sample.t, sample.valid & (sample.weight > 0), sample.weight
    if not is_traced(arrays):
        rows = np.flatnonzero(np.asarray(arrays[3]))
        size = bucket(len(rows))
        arrays = tuple(jnp.asarray(pad_rows(np.asarray(a)[rows], size)) for a in arrays)
    return _r_squared(surface, *arrays)


@eqx.filter_jit
def _r_squared(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]],
    x: Float[Array, "n p"],
    y: Float[Array, " n"],
    t: Bool[Array, " n"],
    use: Bool[Array, " n"],
    weight: Float[Array, " n"],
) -> Float[Array, " 2"]:
    return share_explained(by_blocks(surface, x), y, t, use, weight)


def share_explained(
    fitted: Float[Array, "n 2"],
    y: Float[Array, " n"],
    t: Bool[Array, " n"],
    use: Bool[Array, " n"],
    weight: Float[Array, " n"],
) -> Float[Array, " 2"]:
    """R2 by arm from predictions, over the rows in use; NaN for a constant outcome.

    Two passes over the outcomes, so that no digits are lost.
    """
    columns = []
    for arm in (False, True):
        mine = use & (t == arm)
        w = jnp.where(mine, weight, 0)
        inside = jnp.where(mine, y, 0)
        mean = (w * inside).sum() / jnp.where(mine.any(), w.sum(), 1)
        total = (w * jnp.square(inside - mean)).sum()
        residual = jnp.where(mine, y - fitted[:, int(arm)], 0)
        varies = jnp.where(mine, y, -jnp.inf).max() > jnp.where(mine, y, jnp.inf).min()
        share = (w * jnp.square(residual)).sum() / jnp.where(varies, total, 1)
        columns.append(jnp.where(varies, 1 - share, jnp.nan))
    return jnp.stack(columns)


@eqx.filter_jit
def predictions(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], x: Float[Array, "n p"]
) -> Float[Array, "n 2"]:
    """Both outcomes at every point, as a program of its own."""
    return by_blocks(surface, x)


def by_blocks(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], x: Float[Array, "n p"]
) -> Float[Array, "n 2"]:
    """Evaluate block by block of rows, so that no more than one block's work is held."""
    n = x.shape[0]
    if n <= BLOCK:
        return surface(x)
    padded = jnp.pad(x, [(0, -n % BLOCK), (0, 0)], mode="edge")
    return lax.map(surface, padded.reshape(-1, BLOCK, x.shape[1])).reshape(-1, 2)[:n]
