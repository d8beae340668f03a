"""Least squares over the simplex: non-negative weights that sum to 1.

minimise f(w) = |D w|^2 + ridge |w|^2 over w >= 0, 1^T w = 1, where the columns of D (t, c) are
donors minus the series to be met: since the weights sum to 1, D w is the error of the fit, and
nothing is lost to rounding where levels are high.

A primal-dual interior point (predictor and corrector) goes from equal weights to the least f: 5 to
20 steps whatever the conditioning, each a Cholesky factorisation of (c, c). Where there are several
minimisers (copies of a donor, more donors than times) D w is the same for all, and it ends between
them; where exactly, is for rounding to say. The weights that are not on their way to 0 are then
corrected by Newton steps, the others being 0: this gives exact zeros, the last digits, and
derivatives, which take the set of donors with weight as given.

How good: f(w) - min f <= w^T g - min g, g the gradient (the duality gap), and <= f(w). `converged`
tells that the smaller of the two is at most eps^0.6 f(w) (7e-5 of it in float32, 4e-10 in float64)
plus 4 eps times the squared length of the longest column of D, or the ridge if that is more, for
rounding w moves the gap so far.

Source: Wright (1997), Primal-Dual Interior-Point Methods, chapter 10, for the steps; Jaggi (2013),
ICML, for the gap.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Int

from jcausal.panels._truncated_svd import product, tolerance_of

LIMIT = 60  # steps of the interior point
PASSES = 6  # corrections of the weights above 0
NEAR = 0.995  # of the way to the boundary that a step may go
ROUNDING = 16  # units in the last place that sums of products may lose


class Weights(NamedTuple):
    """Weights, and whether their objective is the least, as far as the module's head says."""

    w: Float[Array, " c"]
    converged: Bool[Array, ""]


class _Problem(NamedTuple):
    """The problem with the longest column of D, or the ridge, at 1, and Q = D^T D + ridge I."""

    d: Float[Array, "t c"]
    use: Bool[Array, " c"]
    ridge: Float[Array, ""]
    q: Float[Array, "c c"]

    def gradient(self, w: Float[Array, " c"]) -> Float[Array, " c"]:
        """Q w, by way of D w, which is small near a good fit."""
        return product(self.d.T, product(self.d, w)) + self.ridge * w


class _InteriorPoint(NamedTuple):
    """Weights w, multipliers z of w >= 0 and `level` of the sum: Q w = level + z at the end."""

    w: Float[Array, " c"]
    z: Float[Array, " c"]
    level: Float[Array, ""]
    step: Int[Array, ""]


def simplex_weights(
    d: Float[Array, "t c"], use: Bool[Array, " c"], ridge: Float[Array, ""] | float = 0.0
) -> Weights:
    """The least-squares weights of the columns in use; the others weigh 0.

    A NaN in a column in use, and no column in use, give NaN weights. Traceable, differentiable.
    """
    d = jnp.where(use, d, 0)
    ridge = jnp.asarray(ridge, d.dtype)
    size = jnp.sqrt(lax.stop_gradient(jnp.maximum((d**2).sum(0).max(), ridge)))
    size = jnp.where(size > 0, size, 1)
    d, ridge = d / size, ridge / size**2
    q = product(d.T, d) + ridge * jnp.eye(d.shape[1], dtype=d.dtype)
    problem = _Problem(d, use, ridge, lax.stop_gradient(q))
    fixed = lax.stop_gradient(problem)
    state = _interior(fixed)
    rough = jnp.where(use, state.w, 0) / state.w.sum()
    exact = _corrected(problem, rough, use & (state.w > state.z))
    excess, enough = _excess(fixed, lax.stop_gradient(exact))
    before, _ = _excess(fixed, rough)
    good = excess <= jnp.maximum(before, enough)
    w = jnp.where(good, exact, rough + exact - lax.stop_gradient(exact))
    return Weights(w, jnp.where(good, excess, before) <= enough)


def _excess(p: _Problem, w: Float[Array, " c"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """A bound of f(w) - min f, and what it may be."""
    gradient = p.gradient(w)
    value = w @ gradient
    gap = 2 * (value - jnp.where(p.use, gradient, jnp.inf).min())
    rounding = 4 * jnp.finfo(w.dtype).eps
    return jnp.minimum(gap, value), tolerance_of(w.dtype) * value + rounding


def _shift(p: _Problem) -> Float[Array, ""]:
    """What keeps a singular Q positive definite in this precision; its diagonal is 1 at most."""
    return ROUNDING * jnp.finfo(p.d.dtype).eps * len(p.use) ** 0.5 * (1 + p.ridge)


def _interior(p: _Problem) -> _InteriorPoint:
    """Steps until w^T z, the gap, is lost in f(w)."""
    count, eps = p.use.sum(), jnp.finfo(p.d.dtype).eps
    w = p.use / count.astype(p.d.dtype)
    gradient = p.gradient(w)
    level = jnp.where(p.use, gradient, jnp.inf).min() - jnp.abs(gradient).max() - eps
    z = jnp.where(p.use, gradient - level, 0)

    def going(state: _InteriorPoint) -> Bool[Array, ""]:
        value = state.w @ p.gradient(state.w)
        far = (state.w @ state.z > 0.01 * eps * value) & (value > (4 * eps) ** 2)
        return far & (state.step < LIMIT)

    first = _InteriorPoint(w, z, level, jnp.asarray(0))
    return lax.while_loop(going, lambda state: _step(p, state, count), first)


def _step(p: _Problem, state: _InteriorPoint, count: Int[Array, ""]) -> _InteriorPoint:
    """One predictor and corrector step (Mehrotra's)."""
    w, z, level, step = state
    one, safe = p.use.astype(w.dtype), jnp.where(p.use, w, 1)
    diagonal = jnp.where(p.use, z / safe + _shift(p), 1)
    factor = cho_factor(p.q + jnp.diag(diagonal))  # Q is 0 beside columns in use
    along = cho_solve(factor, one)
    dual = jnp.where(p.use, p.gradient(w) - level - z, 0)

    def towards(product_wz: Array) -> tuple[Array, Array, Array]:
        """The step after which w z would be this."""
        aim = jnp.where(p.use, (product_wz - w * z) / safe, 0)
        part = cho_solve(factor, aim - dual)
        dlevel = (1 - w.sum() - part @ one) / (along @ one)
        dw = jnp.where(p.use, part + dlevel * along, 0)
        return dw, aim - jnp.where(p.use, z * dw / safe, 0), dlevel

    mean = w @ z / count
    dw, dz, _ = towards(jnp.zeros_like(w))
    ahead = (w + _way(w, dw) * dw) @ (z + _way(z, dz) * dz) / count
    dw, dz, dlevel = towards((ahead / mean) ** 3 * mean - dw * dz)
    a = jnp.minimum(_way(w, dw, NEAR), _way(z, dz, NEAR))
    return _InteriorPoint(w + a * dw, z + a * dz, level + a * dlevel, step + 1)


def _way(v: Array, dv: Array, part: float = 1.0) -> Float[Array, ""]:
    """How far to go, at most 1, so that v stays at least 0."""
    down = dv < 0
    return jnp.minimum(1, part * jnp.where(down, -v / jnp.where(down, dv, -1), jnp.inf).min())


def _corrected(
    p: _Problem, w: Float[Array, " c"], support: Bool[Array, " c"]
) -> Float[Array, " c"]:
    """Newton steps on the support; the derivative of the last ones is that of the solution."""
    one = support.astype(w.dtype)
    inside = p.q * one[:, None] * one
    factor = cho_factor(inside + jnp.diag(jnp.where(support, _shift(p), 1)))
    along = cho_solve(factor, one)

    def newton(w: Array, _: None) -> tuple[Array, None]:
        part = cho_solve(factor, p.gradient(w) * one)
        level = (1 - w.sum() + part @ one) / (along @ one)
        return w + level * along - part, None

    w = jnp.maximum(lax.scan(newton, w * one, length=PASSES)[0], 0)
    return w / w.sum()
