"""gamma = sqrt(V* / M / (8 c)): what the theorem asks of the accuracy rho = gamma sqrt(eps)."""

from math import inf, sqrt

import equinox as eqx
import numpy as np

from jcausal.allocation._distributions import Distribution
from jcausal.allocation._group_values import GroupValues, as_effects, check_budget
from jcausal.allocation._regularity import regularity
from jcausal.data import Options, check_share

HALVINGS = 60


class TheoremGamma(Options, eqx.Module):
    """The largest gamma for which LEA is proven to lose at most eps of the best value.

    gamma = sqrt(mean_value / (8 c)), where `mean_value` = V* / M is the value of the best K of M
    groups, spread over all M, and `c` the regularity of the effects (`jc.allocation.regularity`).

    **Example:**

        >>> import jcausal as jc
        >>> round(jc.allocation.TheoremGamma(mean_value=11 / 32, c=1.5).gamma, 3)
        0.169
        >>> round(jc.allocation.TheoremGamma.of(jc.allocation.Beta(2.0, 2.0), budget=0.5).gamma, 3)
        0.169

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, theorems 7 and 8.
    """

    mean_value: float = eqx.field(static=True)
    c: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        for name, value in (("mean_value", self.mean_value), ("c", self.c)):
            if not 0 < value < inf:
                raise ValueError(f"{name} is {value}: it must be a positive number.")
        if self.mean_value > 1:
            raise ValueError(f"mean_value is {self.mean_value}: effects of at most 1 cannot reach.")

    @property
    def gamma(self) -> float:
        """sqrt(mean_value / (8 c))."""
        return sqrt(self.mean_value / (8 * self.c))

    @classmethod
    def of(
        cls, tau: GroupValues | Distribution, *, budget: float | int, eps: float | None = None
    ) -> "TheoremGamma":
        """Both numbers from effects or from a distribution that a plan assumes.

        With `eps`, c counts only intervals of length 2 rho or more for the largest rho with
        rho = gamma sqrt(eps) (a bisection: 8 c(rho) rho^2 grows with rho). Without it, c is the
        largest density, which only a distribution has.

        **Arguments:** `budget`: for effects (M,) the number K of groups, for a distribution the
        share K / M in (0, 1).

        **Raises:** `DataError` for effects outside [0, 1]; ValueError for a budget out of range,
        for effects without `eps`, and for a distribution without a largest density.
        """
        mean_value = best_mean(tau, budget)
        if eps is None:
            if not isinstance(tau, Distribution):
                raise ValueError(
                    "single effects have no density: give eps, for 2 rho depends on it."
                )
            return cls(mean_value, _finite(float(regularity(tau, rho=0.0))))
        check_share("eps", eps)
        low, high = 0.0, sqrt(eps)
        for _ in range(HALVINGS):
            rho = (low + high) / 2
            enough = 8 * float(regularity(tau, rho=rho)) * rho**2 <= mean_value * eps
            low, high = (rho, high) if enough else (low, rho)
        return cls(mean_value, mean_value * eps / (8 * low**2))


def _finite(c: float) -> float:
    if c == inf:
        raise ValueError("the density has no largest value: give eps, for intervals of 2 rho.")
    return float(c)


def best_mean(tau: GroupValues | Distribution, budget: float | int) -> float:
    """V* / M: the sum of the best K effects, or the integral over the best share, by group.

    **Raises:** ValueError for a budget out of range, and for effects of which the best are 0.
    """
    if isinstance(tau, Distribution):
        check_share("budget (as the share K / M)", budget)
        return tau.mean_between(tau.quantile(1 - budget), 1.0)
    values = np.sort(np.asarray(as_effects("tau", tau)))[::-1]
    if budget != int(budget):
        raise ValueError(f"budget is {budget}: of single effects count whole groups.")
    check_budget(int(budget), values.size)
    found = float(values[: int(budget)].sum() / values.size)
    if found <= 0:
        raise ValueError("the best effects are 0: there is no value to lose.")
    return found
