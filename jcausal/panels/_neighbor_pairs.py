"""Sums over pairs of a neighbouring unit and a neighbouring time, as matrix products.

For a unit i let A_ji' say whether i' is near i, judged without time j, and observed at j, and B_jj'
whether j' is near j, judged without unit i, and i observed at j'. Then, with W the cells in use and
Y their outcomes, 0 elsewhere,

    sum w       = sum_j' B o (A W)
    sum w Y_ij' = sum_j' B o (A W) Y_ij'
    sum w Y_i'j = sum_j' B o ((A o Y^T) W)
    sum w Y_i'j'= sum_j' B o (A Y),

three products of (m, n) and (n, m) matrices for the m cells of a unit.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.panels._masked import mean_of
from jcausal.panels._truncated_svd import product

QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
Given = Array | None


class Radii(NamedTuple):
    """How far neighbours may be, and the held-out errors on the grid that they are from."""

    row: Float[Array, ""]
    column: Float[Array, ""]
    error: Float[Array, "k l"] | None


def neighbor_fit(
    y: Float[Array, "n m"], use: Bool[Array, "n m"], row: Array, column: Array
) -> Float[Array, "n m"]:
    """Theta in every cell, NaN without a pair of positive weight.

    Distances between the shorter side's members are kept, those between the longer's never.
    """
    n, m = y.shape
    if n < m:
        return neighbor_fit(y.T, use.T, column, row).T
    middle = mean_of(y, use, None)
    y = jnp.where(use, y - middle, 0)
    weight = use.astype(y.dtype)

    def between(j: Int[Array, ""]) -> tuple[Float[Array, " m"], Int[Array, " m"]]:
        gap, common = _squares(y.T, use.T, j)
        return gap.sum(1), common.sum(1)

    total, count = lax.map(between, jnp.arange(m))

    @jax.checkpoint
    def one(i: Int[Array, ""]) -> Float[Array, " m"]:
        gap, common = _squares(y, use, i)
        rest, shared = gap.sum(1, keepdims=True) - gap, common.sum(1, keepdims=True) - common
        near = _within(rest, shared, row) & use & (jnp.arange(n) != i)[:, None]
        pair = use[i][:, None] & use[i]
        own = jnp.where(pair, (y[i][:, None] - y[i]) ** 2, 0)
        close = _within(total - own, count - pair, column) & use[i] & ~jnp.eye(m, dtype=bool)
        a, b = near.T.astype(y.dtype), close.astype(y.dtype)
        pairs = product(a, weight) * b
        cross = b * (product(a * y.T, weight) - product(a, y))
        return _ratio((pairs * y[i] + cross).sum(1), pairs.sum(1), jnp.nan)

    return middle + lax.map(one, jnp.arange(n))


def chosen_radii(
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    given: tuple[Given, Given],
    held_out: int,
    key: PRNGKeyArray,
) -> Radii:
    """The given radii, or those of least squared error on cells drawn from those in use."""
    if given[0] is not None and given[1] is not None:
        return Radii(given[0], given[1], None)
    y = lax.stop_gradient(jnp.where(use, y - mean_of(y, use, None), 0))
    draw = jnp.where(use, jax.random.uniform(key, use.shape), -1)
    value, place = lax.top_k(draw.ravel(), min(held_out, use.size))
    counts, cells = value >= 0, (place // use.shape[1], place % use.shape[1])
    rows, columns = lax.map(lambda cell: _distances(y, use, *cell), cells)
    grids = [_grid(far, counts, own) for far, own in zip((rows, columns), given)]

    def error(part: tuple[Array, ...]) -> Float[Array, "k l"]:
        i, j, row, column, counted = part
        a = (row <= grids[0][:, None]) & use[:, j]
        b = (column <= grids[1][:, None]) & use[i]
        found = _pairs(y, use, i, j, a.astype(y.dtype), b.astype(y.dtype))
        return jnp.where(counted, (y[i, j] - found) ** 2, 0)

    def add(total: Array, part: tuple[Array, ...]) -> tuple[Array, None]:
        return total + error(part), None

    none = jnp.zeros((grids[0].size, grids[1].size), y.dtype)
    errors = lax.scan(add, none, (*cells, rows, columns, counts))[0] / counts.sum()
    best = jnp.unravel_index(jnp.argmin(errors), errors.shape)
    return Radii(grids[0][best[0]], grids[1][best[1]], errors)


def _squares(y: Array, use: Array, i: Int[Array, ""]) -> tuple[Float[Array, "n m"], Array]:
    """Squared differences of row i and every row where both are in use, and where that is."""
    common = use[i] & use
    return jnp.where(common, (y - y[i]) ** 2, 0), common


def _within(total: Array, count: Array, radius: Array) -> Array:
    """Whether a mean is at most the radius; never without a common cell."""
    return (count > 0) & (total <= radius * count)


def _ratio(total: Array, count: Array, other: float) -> Array:
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1), other)


def _distances(
    y: Float[Array, "n m"], use: Bool[Array, "n m"], i: Int[Array, ""], j: Int[Array, ""]
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Of row i to every row without column j, of column j to every one without row i.

    Infinite to itself and to those without a common cell.
    """

    def to_rows(y: Array, use: Array, i: Array, j: Array) -> Array:
        gap, common = _squares(y, use.at[:, j].set(False), i)
        far = _ratio(gap.sum(1), common.sum(1), jnp.inf)
        return jnp.where(jnp.arange(far.size) == i, jnp.inf, far)

    return to_rows(y, use, i, j), to_rows(y.T, use.T, j, i)


def _grid(far: Float[Array, "h n"], counts: Bool[Array, " h"], given: Given) -> Float[Array, " k"]:
    """The given radius, or quantiles of the finite distances of the cells that count."""
    if given is not None:
        return given[None]
    known = jnp.where(counts[:, None] & jnp.isfinite(far), far, jnp.nan)
    grid = jnp.nanquantile(known, jnp.asarray(QUANTILES, far.dtype))
    return jnp.where(jnp.isfinite(grid), grid, 0)


def _pairs(
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    i: Int[Array, ""],
    j: Int[Array, ""],
    a: Float[Array, "k n"],
    b: Float[Array, "l m"],
) -> Float[Array, "k l"]:
    """Theta of one cell for several sets of rows and of columns; 0 without a pair."""
    weight = use.astype(y.dtype)
    by_column = product(a, weight)
    count = product(by_column, b.T)
    total = product(by_column * y[i], b.T)
    cross = product(a * y[:, j], weight) - product(a, y)
    return _ratio(total + product(cross, b.T), count, 0.0)
