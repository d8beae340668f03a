"""Logistic regression by Newton's method, of features that are standardised or made orthogonal."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.data import Values
from jcausal.surfaces._arrays import product

STEPS = 50
HALVINGS = 20


class Standard(NamedTuple):
    """What standardises features of f columns.

    - `centre` (f,): their weighted means, as rounded, and `left` (f,) what these leave of them.
    - `scale` (f,): their sd by weight; 0 for a constant.
    """

    centre: Float[Array, " f"]
    left: Float[Array, " f"]
    scale: Float[Array, " f"]


def standard_of(
    features: Float[Array, "n f"], share: Float[Array, " n"], train: Bool[Array, " n"]
) -> Standard:
    """Means and sds, by weight, of the training rows."""
    centre = product(share, features)
    z = features - centre
    left = product(share, z)  # the mean of what is left: the first was rounded
    scale = jnp.sqrt(product(share, jnp.square(z - left)))
    largest = jnp.max(jnp.where(train[:, None], jnp.abs(features), 0), axis=0)
    varies = scale > 16 * jnp.finfo(z.dtype).eps * largest
    return Standard(centre, left, jnp.where(varies, scale, 0))


def in_standard(lib: Any, features: Values, standard: Standard) -> Any:
    """Features less their mean over their sd; constants are 0. `lib` is `numpy` or `jax.numpy`."""
    z, varies = features - standard.centre - standard.left, standard.scale > 0
    return lib.where(varies, z / lib.where(varies, standard.scale, 1), 0)


def standardised(
    features: Float[Array, "n f"], share: Float[Array, " n"], train: Bool[Array, " n"]
) -> Float[Array, "n f"]:
    """Features less their mean over their sd, by weight, of the training rows; constants are 0."""
    return in_standard(jnp, features, standard_of(features, share, train))


def with_ones(z: Float[Array, "n f"]) -> Float[Array, "n g"]:
    """A column of ones, then the features."""
    return jnp.concatenate([jnp.ones_like(z[:, :1]), z], axis=1)


def orthogonal(
    z: Float[Array, "n f"], share: Float[Array, " n"]
) -> tuple[Float[Array, "f f"], Bool[Array, " f"]]:
    """W, of which z W has the identity as its covariance, and which columns of z W there are.

    z is standardised. A direction whose variance is within rounding errors of 0 has a column of
    zeros: two features that say the same, all levels of a category, a constant.
    """
    variance, direction = jnp.linalg.eigh(product((z * share[:, None]).T, z))
    kept = variance > 4 * z.shape[1] * jnp.finfo(z.dtype).eps * jnp.maximum(variance[-1], 1)
    return direction * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, variance, 1)), 0), kept


def logistic(
    design: Float[Array, "n g"], t: Bool[Array, " n"], share: Float[Array, " n"], penalty: Array
) -> Float[Array, " g"]:
    """Coefficients of least sum share log(1 + exp(-+ design b)) + penalty |b[1:]|^2 / 2, by Newton.

    The first column of `design` is 1; `penalty` is one number, or one for each other column. A
    step is halved until the loss falls; after a step under the root of the rounding error what is
    left is under that error.
    """
    eps = jnp.finfo(design.dtype).eps
    ridge = jnp.zeros(design.shape[1], design.dtype).at[1:].set(penalty)
    sign = jnp.where(t, -1, 1).astype(design.dtype)

    def loss(b: Array) -> Array:
        logs = jax.nn.softplus(sign * product(design, b))
        return product(share, logs) + (ridge * b**2).sum() / 2

    def step(b: Array) -> Array:
        score = product(design, b)
        up, down = jax.nn.sigmoid(score), jax.nn.sigmoid(-score)
        gradient = product(share * jnp.where(t, -down, up), design) + ridge * b
        curve = product((design * (share * up * down)[:, None]).T, design)
        return jnp.linalg.solve(curve + jnp.diag(ridge.at[0].set(eps**2)), gradient)

    def better(state: tuple) -> tuple:
        b, now, _, count = state
        way = step(b)

        def worse(tried: tuple) -> Array:
            return (tried[1] > now * (1 + 4 * eps)) & (tried[2] < HALVINGS)

        def halve(tried: tuple) -> tuple:
            size = tried[0] / 2
            return size, loss(b - size * way), tried[2] + 1

        whole = jnp.ones((), b.dtype)
        size, found, _ = lax.while_loop(worse, halve, (whole, loss(b - way), 0))
        moved = size * jnp.abs(way).max() / (1 + jnp.abs(b).max())
        return b - size * way, found, moved, count + 1

    treated = jnp.clip(product(share, t.astype(share.dtype)), eps, 1 - eps)
    start = jnp.zeros(design.shape[1], design.dtype)
    start = start.at[0].set(jnp.log(treated) - jnp.log1p(-treated))
    state = start, loss(start), jnp.full((), jnp.inf, design.dtype), 0
    return lax.while_loop(lambda s: (s[2] > jnp.sqrt(eps)) & (s[3] < STEPS), better, state)[0]
