"""Cross-fitted completion: each quarter of a matrix from the other three.

The rows are halved and the columns are halved. The quarter of the row half s and the column half c
is predicted from the tall matrix (all rows, the other columns) and the wide one (the other rows,
all columns), neither of which holds it. With U the r leading left vectors of the tall matrix and L
the wide one's best approximation of rank r:

    quarter = U_s pinv(U_s') L_c,    s' the other rows.

Without noise, at rank r, this is the quarter itself. Costs four truncated SVDs.

Source: Bai and Ng (2021), JASA 116(536), for a matrix with a quarter missing; Abadie, Agarwal,
Dwivedi and Shah, arXiv 2402.11652, for going round the quarters.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.panels._truncated_svd import product, rank_part, tolerance_of, top_factors

SINGULAR = 1e-2  # below so much of the largest a direction is not seen in half of the rows


class Halves(NamedTuple):
    """Which rows and which columns are in the first half."""

    rows: Bool[Array, " n"]
    columns: Bool[Array, " m"]


class QuarterPrediction(NamedTuple):
    """A matrix each of whose quarters was predicted from the others."""

    value: Float[Array, "n m"]
    converged: Bool[Array, ""]


class _Part(NamedTuple):
    """Of a matrix the leading left vectors and the best approximation at a rank."""

    basis: Float[Array, "n k"]
    low: Float[Array, "n m"]
    converged: Bool[Array, ""]


@partial(jax.jit, static_argnums=(0, 1))
def drawn_halves(n: int, m: int, key: PRNGKeyArray) -> Halves:
    """Random halves of the rows and of the columns."""
    left, right = jax.random.split(key)

    def first(size: int, key: PRNGKeyArray) -> Bool[Array, " k"]:
        return jax.random.permutation(key, size) < size // 2

    return Halves(first(n, left), first(m, right))


def cross_fitted(
    a: Float[Array, "n m"], halves: Halves, most: int, keep: Int[Array, ""]
) -> QuarterPrediction:
    """Every quarter from the other three at rank `keep`, at most `most`; differentiable in A.

    Tall and wide matrices are A with the other half 0, so that all four have one shape. Directions
    whose singular value is below eps^0.6 times the largest are left out, so that a matrix of lower
    rank than asked for is completed as what it is.
    """
    rows, columns = halves.rows[:, None], halves.columns
    wholes = [jnp.broadcast_to(use, a.shape) for use in (columns, ~columns, rows, ~rows)]
    parts = lax.map(lambda use: _part(jnp.where(use, a, 0), most, keep), jnp.stack(wholes))
    value = jnp.zeros_like(a)
    for tall, own_column in ((0, ~columns), (1, columns)):
        for wide, own_row in ((2, ~rows), (3, rows)):
            basis = parts.basis[tall]
            inverse = jnp.linalg.pinv(jnp.where(own_row, 0, basis), rtol=SINGULAR)
            quarter = product(basis, product(inverse, parts.low[wide]))
            value = jnp.where(own_row & own_column, quarter, value)
    return QuarterPrediction(value, parts.converged.all())


def _part(a: Float[Array, "n m"], most: int, keep: Int[Array, ""]) -> _Part:
    """The vectors are A_r v / s, so that gradients pass through them; 0 where left out."""
    factors = top_factors(a, most, keep)
    low = rank_part(a, factors, keep)
    use = (jnp.arange(most) < keep) & (factors.s > tolerance_of(a.dtype) * factors.s[0])
    turn = jnp.where(use, factors.v / jnp.where(use, factors.s, 1), 0)
    return _Part(product(low, turn), low, factors.converged)
