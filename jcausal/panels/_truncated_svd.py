"""The largest singular values and vectors by subspace iteration, and the part of a rank.

One step is V -> orth(A^T orth(A A^T A V)), each column of V in its own singular direction by the
step before: products cost less than factorisations, so that two of them come between. It takes
10 n m l operations for a block of l columns, never n m min(n, m). The block has `OVERSAMPLE`
columns more than are asked for and starts at random directions from a fixed key, so that the same
matrix gives the same answer. Where the block would hold more than half of min(n, m) columns a full
SVD is made instead.

Source: Halko, Martinsson and Tropp (2011), SIAM Review 53(2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

OVERSAMPLE = 10
STEPS = 100


class Factors(NamedTuple):
    """A ~ u diag(s) v^T, largest first; `converged` tells whether the tolerance was met."""

    u: Float[Array, "n k"]
    s: Float[Array, " k"]
    v: Float[Array, "m k"]
    converged: Bool[Array, ""]


class _Subspace(NamedTuple):
    """Triples found so far, largest first, `image` = A v, and how far they are from those before.

    `change` of the values that are asked for, `residual` |A v - s u| of the pairs that are kept,
    both over the largest value; `step` counts.
    """

    u: Float[Array, "n l"]
    s: Float[Array, " l"]
    v: Float[Array, "m l"]
    image: Float[Array, "n l"]  # with which the next step begins
    change: Float[Array, ""]
    residual: Float[Array, ""]
    step: Int[Array, ""]


def product(a: Array, b: Array) -> Array:
    """A matrix product in full precision, also where a GPU would round."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def tolerance_of(dtype: jnp.dtype) -> float:
    """eps^0.6: 7e-5 in float32, 4e-10 in float64."""
    return float(jnp.finfo(dtype).eps) ** 0.6


def block(n: int, m: int, k: int) -> int:
    """Columns of the block for k singular values; min(n, m) stands for a full SVD."""
    wide = k + OVERSAMPLE
    return min(n, m) if 2 * wide >= min(n, m) else wide


def top_factors(a: Float[Array, "n m"], k: int, keep: Int[Array, ""] | int = 0) -> Factors:
    """The k largest singular values and vectors.

    **Arguments:** `keep` (may be traced): the first `keep` pairs must have converged as vectors,
    |A v - s u| <= tol s_1; of the others only the values, which must move by less than tol s_1 in
    a step. tol is `tolerance_of` the dtype.

    **Returns:** `Factors` with k columns; not differentiable (see `rank_part`).
    """
    a = lax.stop_gradient(a)
    n, m = a.shape
    wide = block(n, m, k)
    if wide == min(n, m):
        u, s, vt = jnp.linalg.svd(a, full_matrices=False)
        return Factors(u[:, :k], s[:k], vt.T[:, :k], jnp.asarray(True))
    tolerance = tolerance_of(a.dtype)
    column = jnp.arange(wide)

    def step(state: _Subspace) -> _Subspace:
        u, s, v = turned(a, product(a, of_size_1(product(a.T, of_size_1(state.image)))))
        image = product(a, v)
        scale = jnp.where(s[0] > 0, s[0], 1)
        change = jnp.where(column < k, jnp.abs(s - state.s), 0).max() / scale
        gap = jnp.linalg.norm(image - u * s, axis=0)
        residual = jnp.where(column < keep, gap, 0).max() / scale
        return _Subspace(u, s, v, image, change, residual, state.step + 1)

    def going(state: _Subspace) -> Bool[Array, ""]:
        open_ = (state.change > tolerance) | (state.residual > tolerance)
        return open_ & (state.step < STEPS)

    v = sketch(m, wide, a.dtype)
    far, none = jnp.asarray(jnp.inf, a.dtype), jnp.full(wide, jnp.inf, a.dtype)
    nothing = jnp.zeros((n, wide), a.dtype)
    state = _Subspace(nothing, none, v, product(a, v), far, far, jnp.asarray(0))
    state = lax.while_loop(going, step, state)
    done = (state.change <= tolerance) & (state.residual <= tolerance)
    return Factors(state.u[:, :k], state.s[:k], state.v[:, :k], done)


def of_size_1(columns: Array) -> Array:
    """The same span in numbers that neither overflow nor vanish in further products."""
    largest = jnp.abs(columns).max()
    return columns / jnp.where(largest > 0, largest, 1)


def sketch(m: int, wide: int, dtype: jnp.dtype) -> Float[Array, "m l"]:
    """Random directions, the same in every call."""
    return jax.random.normal(jax.random.key(0), (m, wide), dtype)


def turned(a: Float[Array, "n m"], image: Float[Array, "n l"]) -> tuple[Array, Array, Array]:
    """One step: singular triples of A restricted to the span of `image`.

    The SVD waits for v (0 v is no 0 to a compiler, which knows of NaN): two batched factorisations
    at a time, each waiting for threads that the other holds, stop a CPU with two threads for ever.
    """
    q = jnp.linalg.qr(image)[0]
    v, r = jnp.linalg.qr(product(a.T, q))  # A restricted is q r^T v^T
    r = r + 0 * v[0, 0]
    left, s, right = jnp.linalg.svd(r.T, full_matrices=False)
    return product(q, left), s, product(v, right.T)


def rank_part(a: Float[Array, "n m"], factors: Factors, keep: Array | int) -> Array:
    """The best approximation of rank `keep` to A, from its converged factors; differentiable in A.

    With the singular values s_1 ... s_k kept and a gap below s_k, dA_k = P_U dA P_V + sum_l s_l
    (du_l v_l^T + u_l dv_l^T), where du = (I - P_U)(dA v + A dv) / s and dv likewise with A^T,
    solved by iteration (which contracts by (s_k+1 / s_k)^2). This map is its own transpose, since
    A_k is the gradient of half the sum of the k largest s^2: it is applied to what comes back.
    """
    kept = jnp.arange(factors.s.shape[0]) < keep
    u, v = jnp.where(kept, factors.u, 0), jnp.where(kept, factors.v, 0)
    return _part(a, u, jnp.where(kept, factors.s, 0), v)


@jax.custom_vjp
def _part(a: Array, u: Array, s: Array, v: Array) -> Array:
    return product(u * s, v.T)


def _forward(a: Array, u: Array, s: Array, v: Array) -> tuple[Array, tuple]:
    return _part(a, u, s, v), (a, u, s, v)


def _backward(saved: tuple, g: Array) -> tuple[Array, Array, Array, Array]:
    a, u, s, v = saved
    inverse = jnp.where(s > 0, 1 / jnp.where(s > 0, s, 1), 0)
    gv, gu = product(g, v), product(g.T, u)
    tolerance = tolerance_of(a.dtype)

    def off(x: Array, basis: Array) -> Array:
        return x - product(basis, product(basis.T, x))

    def step(state: tuple) -> tuple:
        _, dv, _, count = state
        du = off(gv + product(a, dv), u) * inverse
        new = off(gu + product(a.T, du), v) * inverse
        return du, new, jnp.abs(new - dv).max() > tolerance * jnp.abs(new).max(), count + 1

    def going(state: tuple) -> Array:
        return state[2] & (state[3] < STEPS)

    begin = (jnp.zeros_like(u), jnp.zeros_like(v), jnp.asarray(True), jnp.asarray(0))
    du, dv, _, _ = lax.while_loop(going, step, begin)
    inner = product(product(u, product(u.T, gv)), v.T)
    back = inner + product(du * s, v.T) + product(u * s, dv.T)
    return back, jnp.zeros_like(u), jnp.zeros_like(s), jnp.zeros_like(v)


_part.defvjp(_forward, _backward)
