"""How much value an allocation can lose at most, given how far the estimates may be off.

With lower and upper ends of the effects, the worst that can be true of a chosen set C is that the
effects are at the lower end in C and at the upper end outside: w. Then the best set is worth
V*(w), C is worth V(w), and for all effects between the ends V / V* >= V(w) / V*(w): the loss
V* - V is largest there, and V / (V + loss) rises with V and falls with the loss. For the K largest
the loss is the sum, over pairs of the worst chosen and the best others, of max(0, upper - lower).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.allocation._estimates import Vector
from jcausal.allocation._top_k import Budget, TopK, any_group

Scalar = Float[Array, ""] | Float[np.ndarray, ""] | float
Chosen = Bool[Array, " k"] | Bool[np.ndarray, " k"]


class Certificate(NamedTuple):
    """What is sure of a chosen set: `kept` its value at least, `lost` of the best set's at most.

    `contested` (k,) are the groups that the best set would swap in the worst case.
    """

    kept: Scalar
    lost: Scalar
    contested: Chosen


def certify(budget: Budget, lower: Vector, upper: Vector, chosen: Chosen) -> Certificate:
    """The worst case of a chosen set."""
    xp = lower.__array_namespace__()
    worst = xp.where(chosen, lower, upper)
    rival = budget.best(worst[None], any_group(worst[None]))
    better = rival.chosen[0]
    gained = xp.where(better & ~chosen, worst, 0).sum()
    given_up = xp.where(chosen & ~better, worst, 0).sum()
    lost = xp.maximum(gained - given_up + rival.gap[0], 0)
    return Certificate(xp.where(chosen, lower, 0).sum(), lost, chosen ^ better)


def ratio(kept: Scalar, lost: Scalar) -> Scalar:
    """The ratio kept / (kept + lost); 1 if nothing can be lost, -infinity if kept is below 0."""
    xp = np if isinstance(kept, float | np.ndarray) else jnp
    best = kept + lost
    found = xp.where(best <= 0, 1.0, kept / xp.where(best <= 0, 1, best))
    return xp.where(kept < 0, xp.where(lost > 0, -xp.inf, 1.0), found)[()]


def one_sided(budget: Budget, value: Vector, rho: Vector, lower: Vector, chosen: Chosen) -> Scalar:
    """The paper's certificate: 1 - near / sure, at least 0.

    With t_K the K-th largest estimate and rho the largest half-width, `sure` sums value - rho over
    estimates from t_K + 2 rho on, `near` value + rho over those from t_K - 2 rho to t_K + 4 rho.
    The paper also takes off near the smallest (K - how many reach t_K) estimates, which are none.
    It supposes K chosen groups whose effects are not negative: NaN otherwise.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 4.3.
    """
    xp = value.__array_namespace__()
    if not isinstance(budget, TopK):
        return xp.asarray(xp.nan)[()]
    kth = xp.take(xp.sort(value), xp.asarray(value.shape[0] - budget.budget))
    wide = rho.max()
    sure = xp.where(value >= kth + 2 * wide, value - wide, 0).sum()
    close = (value >= kth - 2 * wide) & (value <= kth + 4 * wide)
    near = xp.where(close, xp.maximum(value + wide, 0), 0).sum()
    found = xp.maximum(0, 1 - near / xp.where(sure > 0, sure, 1))
    found = xp.where(sure > 0, found, 0.0)
    fits = (chosen.sum() == budget.budget) & (xp.where(chosen, lower, 0) >= 0).all()
    return xp.where(fits, found, xp.nan)[()]
