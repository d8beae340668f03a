"""k-means: Lloyd's rounds from k-means++ starts, in blocks of rows."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

BLOCK = 2**13  # rows whose distances to all centres are held at once
ROUNDS = 300


class Clusters(NamedTuple):
    """Which centre is nearest to each point, the centres, and the weighted squares within."""

    code: Int[Array, " n"]
    centre: Float[Array, "k d"]
    within: Float[Array, ""]


def _squares(points: Float[Array, "b d"], centre: Float[Array, "k d"]) -> Float[Array, "b k"]:
    """Squared distances of points to centres."""
    cross = jnp.matmul(points, centre.T, precision=lax.Precision.HIGHEST)
    found = (points**2).sum(1, keepdims=True) - 2 * cross + (centre**2).sum(1)
    return jnp.maximum(found, 0)


class _Round(NamedTuple):
    """Sums of one round: weight and weighted points by centre, squares within."""

    mass: Float[Array, " k"]
    total: Float[Array, "k d"]
    within: Float[Array, ""]


def _round(
    points: Float[Array, "c b d"], weight: Float[Array, "c b"], centre: Float[Array, "k d"]
) -> _Round:
    """Each point to its nearest centre."""

    def more(done: _Round, part: tuple[Array, Array]) -> tuple[_Round, None]:
        x, w = part
        squares = _squares(x, centre)
        one = jax.nn.one_hot(jnp.argmin(squares, 1), len(centre), dtype=x.dtype) * w[:, None]
        total = jnp.matmul(one.T, x, precision=lax.Precision.HIGHEST)
        within = (w * squares.min(1)).sum()
        return _Round(done.mass + one.sum(0), done.total + total, done.within + within), None

    zero = jnp.zeros((), points.dtype)
    start = _Round(jnp.zeros(len(centre), points.dtype), jnp.zeros_like(centre), zero)
    return lax.scan(more, start, (points, weight))[0]


def _starts(
    points: Float[Array, "c b d"], weight: Float[Array, "c b"], k: int, key: PRNGKeyArray
) -> Float[Array, "k d"]:
    """k-means++: each next centre a point drawn by its squared distance to the nearest so far."""
    flat, mass = points.reshape(-1, points.shape[2]), weight.ravel()
    first, rest = jax.random.split(key)
    centre = flat[jax.random.categorical(first, jnp.log(mass))]

    def more(nearest: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        chance = nearest * mass
        chance = jnp.where(chance.sum() > 0, chance, mass)
        drawn = flat[jax.random.categorical(key, jnp.log(chance))]
        return jnp.minimum(nearest, ((flat - drawn) ** 2).sum(1)), drawn

    begin = ((flat - centre) ** 2).sum(1)
    return jnp.concatenate([centre[None], lax.scan(more, begin, jax.random.split(rest, k - 1))[1]])


@partial(jax.jit, static_argnames=("k", "tries"))
def k_means(
    points: Float[Array, "n d"],
    weight: Float[Array, " n"],
    key: PRNGKeyArray,
    *,
    k: int,
    tries: int,
) -> Clusters:
    """The best of several clusterings by the weighted squared distances to the centres.

    Each try costs n k d operations a round, at most 300 rounds, until no centre moves; a centre
    without points stays where it is. Rows of weight 0 are assigned but count for nothing.
    """
    n, d = points.shape
    block = min(BLOCK, n)
    pad = -n % block
    blocks = jnp.pad(points, [(0, pad), (0, 0)]).reshape(-1, block, d)
    mass = jnp.pad(weight, (0, pad)).reshape(-1, block)

    def settle(key: PRNGKeyArray) -> tuple[Array, Array]:
        def more(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            centre, _, count = state
            found = _round(blocks, mass, centre)
            here = found.mass[:, None] > 0
            moved = jnp.where(here, found.total / jnp.where(here, found.mass[:, None], 1), centre)
            return moved, (moved != centre).any(), count + 1

        begin = _starts(blocks, mass, k, key), jnp.array(True), jnp.array(0)
        centre, _, _ = lax.while_loop(lambda s: s[1] & (s[2] < ROUNDS), more, begin)
        return centre, _round(blocks, mass, centre).within

    centres, within = lax.map(settle, jax.random.split(key, tries))
    best = jnp.argmin(within)
    code = lax.map(lambda x: jnp.argmin(_squares(x, centres[best]), 1), blocks)
    return Clusters(code.reshape(-1)[:n].astype(jnp.int32), centres[best], within[best])
