"""What coarse estimates say about the true effects: counts in intervals, mass at the threshold."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.allocation._group_values import GroupValues, as_values, check_budget, check_rho
from jcausal.data import is_traced

Numbers = float | Float[Array, "*q"] | Float[np.ndarray, "*q"]
Counts = int | Int[Array, "*q"] | Int[np.ndarray, "*q"]


class CountBounds(NamedTuple):
    """The fewest and the most groups whose true effect lies in an interval, (q,) or ()."""

    least: Counts
    most: Counts


def count_bounds(estimates: GroupValues, low: Numbers, high: Numbers, *, rho: float) -> CountBounds:
    """How many true effects lie in [low, high], from estimates that are within rho of them.

    #{estimates in [low + rho, high - rho]} <= count <= #{estimates in [low - rho, high + rho]}.
    With low = -inf these are bounds on M F(high), the distribution function of the effects.

    **Arguments:** `estimates` (M,) in any unit; `low`, `high` one interval or q of them; `rho` in
    the same unit. Values may be traced.

    **Returns:** `CountBounds`. **Raises:** `DataError` for NaN; ValueError for rho.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, claims 3.13 and 3.14.

    **Example:**

        >>> import jcausal as jc
        >>> bounds = jc.allocation.count_bounds([0.1, 0.3, 0.35, 0.8], 0.2, 0.4, rho=0.05)
        >>> int(bounds.least), int(bounds.most)
        (2, 2)
    """
    values = as_values("estimates", estimates)
    if not is_traced(rho):
        check_rho(rho)
    least = _between(values, low + rho, high - rho)
    return CountBounds(least, _between(values, low - rho, high + rho))


def _between(
    values: Float[Array, " m"] | Float[np.ndarray, " m"], low: Numbers, high: Numbers
) -> Counts:
    """How many values lie in [low, high]."""
    use = jnp if is_traced(values, low, high) else np
    ordered = use.sort(values)
    first = use.searchsorted(ordered, low, side="left")
    return use.maximum(use.searchsorted(ordered, high, side="right") - first, 0)


class ThresholdMass(NamedTuple):
    """Groups around the K-th largest estimate t_K.

    `inside` counts estimates in [t_K, t_K + 2 rho]; `most` those in [t_K - 2 rho, t_K + 4 rho],
    which are no fewer than the true effects in [tau_K, tau_K + 2 rho]; `uniform` = 2 rho M is what
    equal spacing would put in an interval of 2 rho.
    """

    inside: int | Int[np.ndarray, " q"]
    most: int | Int[np.ndarray, " q"]
    uniform: float

    @property
    def heavy(self) -> bool | Bool[np.ndarray, " q"]:
        """Whether `inside` is above 1.6 times `uniform` (the rule of the paper's scripts)."""
        return self.inside > HEAVY * self.uniform


HEAVY = 1.6


def threshold_mass(
    estimates: GroupValues, *, budget: int | Int[np.ndarray, " q"], rho: float
) -> ThresholdMass:
    """How many groups stand at the threshold of a budget of K groups, from estimates within rho.

    **Arguments:** `estimates` (M,) concrete; `budget` one K or several (q,); `rho`.

    **Returns:** `ThresholdMass`. **Raises:** `DataError` for NaN; ValueError for a budget out of
    range or for rho.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 4.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.allocation.threshold_mass([0.1, 0.5, 0.52, 0.55, 0.9], budget=3, rho=0.05)
        >>> found.inside, found.most, found.heavy
        (2, 3, True)
    """
    values = np.sort(np.asarray(as_values("estimates", estimates)))
    check_rho(rho)
    budgets = np.asarray(budget)
    for each in (budgets.min(), budgets.max()):
        check_budget(int(each), values.size)
    at = values[values.size - budgets]
    counts = [_between(values, at - a * rho, at + b * rho) for a, b in ((0, 2), (2, 4))]
    inside, most = (int(c) if budgets.ndim == 0 else np.asarray(c) for c in counts)
    return ThresholdMass(inside, most, 2 * rho * values.size)
