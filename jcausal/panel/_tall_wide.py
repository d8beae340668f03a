"""Cross-fitted completion: each quarter of a matrix from the other three.

The rows are halved and the columns are halved. The quarter of the row half s and the column half c
is predicted from the tall matrix (all rows, the other columns) and the wide one (the other rows,
all columns), neither of which holds it. With U the r leading left vectors of the tall matrix and L
the wide one's best approximation of rank r:

    quarter = U_s pinv(U_s') L_c,    s' the other rows.

Without noise, at rank r, this is the quarter itself. Costs four truncated SVDs of half the matrix.

Source: Bai and Ng (2021), JASA 116(536), for a matrix with a quarter missing; Abadie, Agarwal,
Dwivedi and Shah, arXiv 2402.11652, for going round the quarters.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.panel._svd import product, rank_part, tolerance_of, top_factors


class Halves(NamedTuple):
    """Orders of rows and columns; the first n // 2 and m // 2 are one half, the rest the other."""

    rows: Int[Array, " n"]
    columns: Int[Array, " m"]


class Quarters(NamedTuple):
    """A matrix each of whose quarters was predicted from the others."""

    value: Float[Array, "n m"]
    converged: Bool[Array, ""]


def drawn_halves(n: int, m: int, key: PRNGKeyArray) -> Halves:
    """Random halves of the rows and of the columns."""
    left, right = jax.random.split(key)
    return Halves(jax.random.permutation(left, n), jax.random.permutation(right, m))


def cross_fitted(
    a: Float[Array, "n m"], halves: Halves, most: int, keep: Int[Array, ""]
) -> Quarters:
    """Every quarter from the other three at rank `keep`, at most `most`; differentiable in A.

    Directions whose singular value is below eps^0.6 times the largest are left out, so that a
    matrix of lower rank than asked for is completed as what it is.
    """
    n, m = a.shape
    row, column = n // 2, m // 2
    sorted_ = a[halves.rows][:, halves.columns]
    bases = [_basis(t, most, keep) for t in (sorted_[:, :column], sorted_[:, column:])]
    wides = [_low(w, most, keep) for w in (sorted_[:row], sorted_[row:])]

    def quarter(s: int, c: int) -> Float[Array, "k l"]:
        base = bases[1 - c].value
        own, other = (base[:row], base[row:])[:: 1 - 2 * s]
        low = wides[1 - s].value[:, :column] if c == 0 else wides[1 - s].value[:, column:]
        inverse = jnp.linalg.pinv(other, rtol=tolerance_of(a.dtype) ** 0.5)
        return product(own, product(inverse, low))

    made = jnp.block([[quarter(0, 0), quarter(0, 1)], [quarter(1, 0), quarter(1, 1)]])
    back = made[jnp.argsort(halves.rows)][:, jnp.argsort(halves.columns)]
    return Quarters(back, jnp.stack([part.converged for part in (*bases, *wides)]).all())


def _low(a: Float[Array, "n m"], most: int, keep: Int[Array, ""]) -> Quarters:
    """The best approximation of rank `keep`."""
    factors = top_factors(a, most, keep)
    return Quarters(rank_part(a, factors, keep), factors.converged)


def _basis(a: Float[Array, "n m"], most: int, keep: Int[Array, ""]) -> Quarters:
    """The leading left vectors (n, most), 0 where left out: A_r v / s, so that gradients pass."""
    factors = top_factors(a, most, keep)
    floor = tolerance_of(a.dtype) * factors.s[0]
    use = (jnp.arange(most) < keep) & (factors.s > floor)
    scale = jnp.where(use, factors.s, 1)
    turn = jnp.where(use, factors.v / scale, 0)
    return Quarters(product(rank_part(a, factors, keep), turn), factors.converged)
