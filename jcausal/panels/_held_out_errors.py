"""Errors on cells held out, by rank."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.panels._truncated_svd import top_factors

FOLDS = 5


def folds_of(use: Bool[Array, "n m"], key: PRNGKeyArray) -> Int[Array, "n m"]:
    """Fold 0 to 4 of every cell, drawn cell by cell; -1 for cells not in use."""
    return jnp.where(use, jax.random.randint(key, use.shape, 0, FOLDS), -1)


def held_out_errors(
    y: Float[Array, "n m"], use: Bool[Array, "n m"], most: int, key: PRNGKeyArray
) -> Float[Array, " k"]:
    """Mean squared error of the row-scaled spectral estimator of rank 0 ... most, by five folds.

    Held-out cells of rows or columns without a cell left in the training part do not count.
    """
    y = lax.stop_gradient(y)
    fold = folds_of(use, key)

    def one(k: Int[Array, ""]) -> tuple[Float[Array, " k"], Int[Array, ""]]:
        train = use & (fold != k)
        test = use & (fold == k) & train.any(1)[:, None] & train.any(0)
        share = train.sum(1, keepdims=True) / use.shape[1]
        scaled = jnp.where(train, y, 0) / jnp.where(share > 0, share, 1)
        factors = top_factors(scaled, most, most)

        def add(low: Array, part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            u, s, v = part
            low = low + s * u[:, None] * v
            return low, (jnp.where(test, y - low, 0) ** 2).sum()

        none = jnp.zeros_like(y)
        first = (jnp.where(test, y, 0) ** 2).sum()
        errors = lax.scan(add, none, (factors.u.T, factors.s, factors.v.T))[1]
        return jnp.concatenate([first[None], errors]), test.sum()

    errors, counts = lax.map(one, jnp.arange(FOLDS))
    return errors.sum(0) / jnp.maximum(counts.sum(), 1)
