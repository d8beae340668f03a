"""How far estimates may be from the truth, all of them at once."""

from statistics import NormalDist

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from scipy.special import stdtrit

from jcausal.allocation._estimates import GroupEstimates, Vector
from jcausal.data import DataError, as_numbers, beside, is_traced

Rho = float | Vector | Float[Array, ""] | pd.Series | None
MOST_DF = 1000  # more degrees of freedom are taken for so many


def half_widths(estimates: GroupEstimates, rho: Rho, delta: float) -> Vector:
    """The rho (k,) as given, or from the errors: no estimate is off by more.

    From errors: rho = q error with q the quantile of the normal or t distribution at
    1 - delta / (2 k), so that all k hold at once with probability 1 - delta (Bonferroni).

    **Raises:** `DataError` without errors, for negative, infinite or missing rho.
    """
    k = estimates.groups
    if rho is None:
        if estimates.std_error is None:
            raise DataError(
                "how far the estimates may be off is not known: give rho=, or std_error= in the "
                "estimates."
            )
        return _quantiles(estimates, delta / (2 * k)) * estimates.std_error
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
    """How many errors wide; degrees of freedom are rounded down, which makes it wider."""
    if estimates.df is None:
        return -NormalDist().inv_cdf(tail)
    if is_traced(estimates):
        raise ValueError(
            "estimates with degrees of freedom need concrete arrays: give rho= under jit and vmap."
        )
    whole = np.clip(np.floor(np.asarray(estimates.df)), 1, MOST_DF)
    return -stdtrit(whole, tail)
