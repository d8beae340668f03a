"""What each row moves an average by, and the variance of the average from that."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels import segmented_scan


def mean_and_parts(
    weight: Float[Array, " n"], values: Float[Array, " n"]
) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """A weighted mean, and each row's part in its error; NaN without weight."""
    share = weight / jnp.where(weight.sum() > 0, weight.sum(), jnp.nan)
    first = (share * values).sum()
    mean = first + (share * (values - first)).sum()
    return mean, share * (values - mean)


def effective_units(weight: Float[Array, " n"]) -> Float[Array, ""]:
    """(sum)^2 / sum of squares; 0 without weight."""
    share = weight / jnp.where(weight.max() > 0, weight.max(), 1)
    square = jnp.square(share).sum()
    return jnp.square(share.sum()) / jnp.where(square > 0, square, 1)


def variance_of(
    moves: Float[Array, " n"], use: Bool[Array, " n"], cluster: Int[Array, " n"] | None
) -> Float[Array, ""]:
    """Sum of squares of the rows' parts, or of their sums by cluster times g / (g - 1)."""
    if cluster is None:
        return jnp.square(moves).sum()
    label = jnp.where(use, cluster, jnp.iinfo(cluster.dtype).max)
    order = jnp.argsort(label)
    label = label[order]
    new = jnp.concatenate([jnp.ones(1, bool), label[1:] != label[:-1]])
    sums = segmented_scan(jnp.add, new, moves[order], jnp.zeros((), moves.dtype))
    last = jnp.concatenate([new[1:], jnp.ones(1, bool)]) & use[order]
    count = last.sum()
    total = jnp.where(last, jnp.square(sums), 0).sum()
    return jnp.where(count > 1, total * count / jnp.maximum(count - 1, 1), jnp.nan)
