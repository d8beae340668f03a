"""Effects on the scale from 0 to 1."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcausal.allocation._group_values import GroupValues, as_values
from jcausal.data import is_traced


class UnitScale(NamedTuple):
    """Effects as (effect - low) / spread: `tau` (k,), `low` and `spread` in the effects' units."""

    tau: Float[Array, " k"] | Float[np.ndarray, " k"]
    low: Float[Array, ""] | float
    spread: Float[Array, ""] | float


def unit_scale(effects: GroupValues) -> UnitScale:
    """Rescale effects of k groups so that the smallest is 0 and the largest 1.

    tau = (effect - min) / (max - min); 1/2 for all when they are equal. A ratio of values depends
    on this origin: the worst group counts as worth nothing, whatever its effect. Errors scale by
    `spread`: an accuracy rho of tau is rho * spread in the effects' own units. The smallest and
    largest of noisy estimates are noise too.

    **Arguments:** `effects` (k,), larger is better.

    **Returns:** `UnitScale`. **Raises:** `DataError` for NaN.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 6.

    **Example:**

        >>> import jcausal as jc
        >>> scaled = jc.allocation.unit_scale([-1.0, 1.0, 3.0])
        >>> scaled.tau.tolist(), scaled.spread
        ([0.0, 0.5, 1.0], 4.0)
    """
    found = as_values("effects", effects)
    if is_traced(found):
        low, spread = jnp.min(found), jnp.max(found) - jnp.min(found)
        tau = jnp.where(spread > 0, (found - low) / jnp.where(spread > 0, spread, 1), 0.5)
        return UnitScale(tau, low, spread)
    low, spread = float(found.min()), float(np.ptp(found))
    tau = (np.asarray(found) - low) / spread if spread > 0 else np.full(found.shape, 0.5)
    return UnitScale(tau, low, spread)
