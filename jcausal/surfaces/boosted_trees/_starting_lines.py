"""Where boosting begins: the mean, and a ridge regression whose penalty held-out rows choose."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float, Int

from jcausal.surfaces._arrays import product

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # tried, in units of a standardised feature's variance


class StartingLines(NamedTuple):
    """Where k members begin.

    - `level` (k,): the mean outcome of each member's rows.
    - `intercept` (k,), `slope` (k, f): its ridge regression.
    - `fitted` (k, n): what that foretells of all rows.
    """

    level: Float[Array, " k"]
    intercept: Float[Array, " k"]
    slope: Float[Array, "k f"]
    fitted: Float[Array, "k n"]


def starting_lines(
    z: Float[Array, "n f"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"],
    fold: Int[Array, " n"],
    members: int,
) -> StartingLines:
    """Lines fitted by each member without its fold, all with the penalty of least error there."""
    penalties = jnp.asarray(PENALTIES, z.dtype)

    def member(k: Int[Array, ""]) -> tuple[StartingLines, Float[Array, " c"]]:
        w = jnp.where(fold == k, 0, weight)
        level, intercept, slope = _lines(z, y, w, penalties)
        fitted = intercept[:, None] + product(slope, z.T)
        apart = jnp.where(fold == k, weight, 0)
        errors = (apart * jnp.square(y - fitted)).sum(1)
        return StartingLines(jnp.full_like(intercept, level), intercept, slope, fitted), errors

    all_of_them, errors = lax.map(member, jnp.arange(members))
    best = jnp.argmin(errors.sum(0))
    return StartingLines(*(a[:, best] for a in all_of_them))


def _lines(
    z: Float[Array, "n f"], y: Float[Array, " n"], w: Float[Array, " n"], penalties: Array
) -> tuple[Float[Array, ""], Float[Array, " c"], Float[Array, "c f"]]:
    """Mean of y, and intercept and slopes for each penalty; features centred and scaled."""
    share = w / jnp.where(w.sum() > 0, w.sum(), 1)
    centre, level = product(share, z), product(share, y)
    scale = jnp.sqrt(product(share, jnp.square(z - centre)))
    largest = jnp.where(w[:, None] > 0, jnp.abs(z), 0).max(0)
    varies = scale > 16 * jnp.finfo(z.dtype).eps * largest
    scale = jnp.where(varies, scale, 1)
    inside = jnp.where(varies, (z - centre) / scale, 0)
    weighed = (inside * share[:, None]).T
    gram, right = product(weighed, inside), product(weighed, y - level)
    eye = jnp.eye(len(gram), dtype=gram.dtype)

    def solve(penalty: Array) -> Array:
        return cho_solve(cho_factor(gram + penalty * eye), right)

    solved = jax.vmap(solve)(penalties)
    slope = jnp.where(varies, solved / scale, 0)
    return level, level - product(slope, centre), slope
