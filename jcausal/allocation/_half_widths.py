"""How far estimates may be from the truth, all of them at once."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jax.scipy.special import betainc
from jaxtyping import Array, Float

from jcausal.allocation._estimates import GroupEstimates, Vector
from jcausal.data import DataError, as_numbers, beside, bucket, is_traced, pad_rows

Rho = float | Vector | Float[Array, ""] | pd.Series | None
MOST_FREEDOM = 1000  # more degrees of freedom are taken for so many
STEPS = 80  # halvings on the logarithmic scale: more than the digits of float64


def half_widths(estimates: GroupEstimates, rho: Rho, delta: float) -> Vector:
    """The rho (k,) as given, or from the errors: no estimate is off by more.

    From errors: rho = q error with q the quantile of the normal or t distribution at
    1 - delta / (2 k), so that all k hold at once with probability 1 - delta (Bonferroni).

    **Raises:** `DataError` without errors, for negative, infinite or missing rho.
    """
    k = estimates.groups
    if rho is None:
        if estimates.error is None:
            raise DataError(
                "how far the estimates may be off is not known: give rho=, or error= in the "
                "estimates."
            )
        return _quantiles(estimates, delta / (2 * k)) * estimates.error
    if is_traced(rho, estimates):
        return jnp.broadcast_to(jnp.asarray(rho), (k,))
    found = as_numbers("rho", beside("rho", rho, estimates.index, "the estimates"))
    if found.shape not in ((), (k,)):
        raise DataError(f"rho has shape {found.shape}: give one number, or one for each of {k}.")
    found = np.broadcast_to(found, (k,))
    bad = np.flatnonzero(~((found >= 0) & np.isfinite(found)))
    if bad.size:
        raise DataError(
            f"rho is {found[bad[0]]:g} in group {estimates.names(bad)} ({bad.size} of {k}): it "
            "must be a finite number of at least 0."
        )
    return found


def _quantiles(estimates: GroupEstimates, tail: float) -> float | Vector:
    """How many errors wide; freedom is rounded down, which makes it wider."""
    if estimates.freedom is None:
        return -NormalDist().inv_cdf(tail)
    if is_traced(estimates):
        raise ValueError(
            "estimates with degrees of freedom need concrete arrays: give rho= under jit and vmap."
        )
    whole = np.clip(np.floor(np.asarray(estimates.freedom)), 1, MOST_FREEDOM)
    distinct, place = np.unique(whole, return_inverse=True)
    padded = pad_rows(distinct, bucket(distinct.size), 1.0)
    with jax.enable_x64(True):
        found = np.asarray(_t_quantile(jnp.asarray(padded), jnp.asarray(tail)))
    return found[place]


@jax.jit
def _t_quantile(freedom: Float[Array, " v"], tail: Float[Array, ""]) -> Float[Array, " v"]:
    """The q with P(T > q) = I_w(v/2, 1/2) / 2 = tail, w = v / (v + q^2), by bisection of log q."""

    def halved(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        w = freedom / (freedom + jnp.exp(2 * middle))
        beyond = betainc(freedom / 2, jnp.full_like(w, 0.5), w) / 2 > tail
        return jnp.where(beyond, middle, low), jnp.where(beyond, high, middle)

    ends = jnp.full_like(freedom, -20.0), jnp.full_like(freedom, 40.0)
    return jnp.exp(lax.fori_loop(0, STEPS, halved, ends)[1])
