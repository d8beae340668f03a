"""Nuclear-norm completion with unit and time effects: one penalty, and a warm-started path.

minimise over M = L + a 1^T + 1 g^T:  1/2 |P_O(Y - M)|^2 + t |L|_*,  O the cells in use.

The proximal map of the second term is exact in one step: with J the removal of row and column
means, the best L for a filled matrix Z is the soft-thresholded J Z J (a projection onto matrices
without row and column means never raises a nuclear norm), and the effects are the means of Z. So
accelerated proximal gradient with step 1 fills the other cells with the last M, centres, soft-
thresholds, and adds the means again. Singular values come from one subspace step an iteration from
the last directions: 4 n m l operations.

Source: Athey, Bayati, Doudchenko, Imbens and Khosravi (2021), JASA 116(536), for the estimator;
Mazumder, Hastie and Tibshirani (2010), JMLR 11, and Beck and Teboulle (2009), SIAM J. Imaging
Sciences 2(1), for the algorithm; the joint step with the effects is ours.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.panels._truncated_svd import OVERSAMPLE, block, product, sketch, turned

LIMIT = 1000  # iterations for one penalty
TRACED = 20  # rank that there is room for under tracing


class Fit(NamedTuple):
    """A solution: M, its low-rank part's directions and (shrunk) singular values.

    `change` is the last step's |M - the point it was made from|_F over the norm of the centred
    outcomes; `short` tells whether every singular value looked at was above the threshold, so that
    there may be more.
    """

    m: Float[Array, "n m"]
    v: Float[Array, "m l"]
    s: Float[Array, " l"]
    change: Float[Array, ""]
    iterations: Int[Array, ""]
    short: Bool[Array, ""]


class _Descent(NamedTuple):
    """Where accelerated steps stand: the last M, and `ahead`, the point that the next is made from.

    `v`, `s` directions and shrunk singular values of the low-rank part, `momentum` the weight of
    the way ahead, `change` as in `Fit`, `step` counts.
    """

    m: Float[Array, "n m"]
    ahead: Float[Array, "n m"]
    v: Float[Array, "m l"]
    s: Float[Array, " l"]
    momentum: Float[Array, ""]
    change: Float[Array, ""]
    step: Int[Array, ""]


@jax.jit
def fit_one(
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    threshold: Float[Array, ""],
    start: Float[Array, "n m"],
    v: Float[Array, "m l"],
    tolerance: float | Float[Array, ""],
) -> Fit:
    """Solve for one threshold t = lambda |O| / 2, from M = `start` and directions `v` (m, l).

    With l = min(n, m) directions every step is a full SVD; `v` is then not looked at.
    """
    scale = _size(y, use)
    full = v.shape[1] == min(y.shape)

    def step(state: _Descent) -> _Descent:
        filled = jnp.where(use, y, state.ahead)
        rows, columns = filled.mean(1, keepdims=True), filled.mean(0)
        effects = rows + columns - filled.mean()
        u, s, v = _directions(filled - effects, state.v, full)
        s = jnp.maximum(s - threshold, 0)
        m = product(u * s, v.T) + effects
        back = ((state.ahead - m) * (m - state.m)).sum() > 0
        momentum = jnp.where(back, 1.0, (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2)
        weight = jnp.where(back, 0.0, (state.momentum - 1) / momentum)
        change = jnp.linalg.norm(m - state.ahead) / scale
        ahead = m + weight * (m - state.m)
        return _Descent(m, ahead, v, s, momentum, change, state.step + 1)

    def going(state: _Descent) -> Bool[Array, ""]:
        return (state.change > tolerance) & (state.step < LIMIT)

    far, one = jnp.asarray(jnp.inf, y.dtype), jnp.ones((), y.dtype)
    first = _Descent(start, start, v, jnp.zeros(v.shape[1], y.dtype), one, far, jnp.asarray(0))
    state = lax.while_loop(going, step, first)
    short = jnp.asarray(False) if full else state.s[-1] > 0
    return Fit(state.m, state.v, state.s, state.change, state.step, short)


def _directions(a: Array, v: Array, full: bool) -> tuple[Array, Array, Array]:
    if full:
        u, s, vt = jnp.linalg.svd(a, full_matrices=False)
        return u, s, vt.T
    return turned(a, product(a, v))


def _size(y: Float[Array, "n m"], use: Bool[Array, "n m"]) -> Float[Array, ""]:
    """Norm of the outcomes in use around their mean; 1 when they are all equal."""
    count = jnp.maximum(use.sum(), 1)
    mean = jnp.where(use, y, 0).sum() / count
    size = jnp.sqrt(jnp.where(use, (y - mean) ** 2, 0).sum())
    return jnp.where(size > 0, size, 1)


@partial(jax.jit, static_argnums=(0, 1, 2))
def directions(m: int, wide: int, dtype: jnp.dtype, v: Array | None = None) -> Float[Array, "m l"]:
    """A block of directions: those that there are, then random ones."""
    fresh = sketch(m, wide, dtype)
    if v is None:
        return fresh
    kept = min(wide, v.shape[1])
    return jnp.concatenate([v[:, :kept], fresh[:, kept:]], axis=1)


def walk(
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    thresholds: Float[np.ndarray, " k"],
    start: Float[Array, "n m"],
    tolerance: float | Float[Array, ""],
) -> Iterator[Fit]:
    """Solutions for thresholds from large to small, each from where the two before lead (host).

    The block of directions grows with the rank, through powers of two, so that few shapes are
    compiled; a solution that used up its block is gone on with in a larger one.
    """
    n, m = y.shape
    wide, v, before = _wide(0, n, m), None, start
    for k in range(len(thresholds)):
        last = start
        if k > 1:
            start = _ahead(before, last, thresholds[k - 2 : k + 1])
        while True:
            v = directions(m, wide, y.dtype, v)
            found = fit_one(y, use, thresholds[k], start, v, tolerance)
            start, v = found.m, found.v
            if not np.asarray(found.short):
                break
            wide = _wide(wide, n, m)
        yield found
        before = last
        wide = max(wide, _wide(int((np.asarray(found.s) > 0).sum()), n, m))


@jax.jit
def _ahead(
    before: Float[Array, "n m"], last: Float[Array, "n m"], thresholds: Float[Array, " 3"]
) -> Float[Array, "n m"]:
    """Where a line through two solutions leads: they are nearly linear in the threshold."""
    first, second, third = thresholds
    apart = second != first
    step = jnp.where(apart, (third - second) / jnp.where(apart, second - first, 1), 0)
    return last + step * (last - before)


def _wide(rank: int, n: int, m: int) -> int:
    """Directions for a rank: a power of two, or a full SVD."""
    wide = 1 << max(4, (rank + OVERSAMPLE - 1).bit_length())
    return min(n, m) if 4 * wide >= 3 * min(n, m) else wide


def scan(
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    thresholds: Float[Array, " k"],
    start: Float[Array, "n m"],
    tolerance: float | Float[Array, ""],
    tell: Callable[[Fit], Array],
) -> tuple[Fit, Array]:
    """The same under tracing, with room for rank `TRACED`.

    **Returns:** the last solution, and what `tell` makes of each.
    """
    n, m = y.shape
    v = directions(m, block(n, m, TRACED), y.dtype)

    def one(last: Fit, threshold: Array) -> tuple[Fit, Array]:
        found = fit_one(y, use, threshold, last.m, last.v, tolerance)
        return found, tell(found)

    first = fit_one(y, use, thresholds[0], start, v, tolerance)
    last, told = lax.scan(one, first, thresholds[1:])
    return last, jnp.concatenate([tell(first)[None], told])
