"""What coarse estimates can lose at most when the effects are known: the paper's claims."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jcausal.allocation._distributions import Distribution
from jcausal.allocation._group_values import GroupValues, as_effects, check_rho
from jcausal.allocation._theorem_gamma import best_mean
from jcausal.data import Shown, check_share, is_traced

GRID = 2**14  # quantiles that stand for a distribution where no closed form does


class Masses(NamedTuple):
    """What the claims look at, as shares of all groups or values by group."""

    threshold: Array | float
    near: Array | float
    high_value: Array | float
    mean_value: Array | float
    swapped: Array | float
    worst: Array | float


class Guarantee(Shown, eqx.Module):
    """The smallest share of the best value that estimates within rho of the effects leave.

    Made by `jc.allocation.guarantee`. `threshold` is tau_K, the K-th largest effect; `near` the
    share of all groups that are among the best K with tau <= tau_K + 2 rho (theta_K); `high_value`
    the sum of tau > tau_K + 2 rho over M (gamma_1); `mean_value` V* / M; `swapped` what is lost,
    over M, when those near the threshold give way to the lowest as many in [tau_K - 2 rho, tau_K);
    `worst` the most that can be lost, over M.
    """

    rho: Float[Array, ""] | float
    threshold: Float[Array, ""] | float
    near: Float[Array, ""] | float
    high_value: Float[Array, ""] | float
    mean_value: Float[Array, ""] | float
    swapped: Float[Array, ""] | float
    worst: Float[Array, ""] | float

    @property
    def ratio(self) -> Float[Array, ""] | float:
        """V / V* >= 1 - 4 rho near / (high_value + (tau_K + 2 rho) near): claims 3.2 and 3.10."""
        top = self.high_value + (self.threshold + 2 * self.rho) * self.near
        return 1 - 4 * self.rho * self.near / top

    @property
    def plain_ratio(self) -> Float[Array, ""] | float:
        """1 - 4 rho near / (high_value + tau_K near): claim 3.11, a little less; 1 if nothing near.

        Negative or minus infinity where the claim says nothing.
        """
        return _lost(4 * self.rho * self.near, self.high_value + self.threshold * self.near)

    @property
    def swap_ratio(self) -> Float[Array, ""] | float:
        """1 - swapped / mean_value: the condition of definition 12 and claim 4.1.

        It lets any two effects swap that lie within 2 rho of tau_K, though they may be 4 rho apart:
        a lower bound, not the worst case.
        """
        return 1 - self.swapped / self.mean_value

    @property
    def worst_ratio(self) -> Float[Array, ""] | float:
        """1 - worst / mean_value, the worst case exactly: swaps of effects at most 2 rho apart."""
        return 1 - self.worst / self.mean_value

    def conditions(self, eps: float) -> pd.DataFrame:
        """Which conditions for a loss of at most eps hold: one row a claim.

        **Returns:** claim, condition, left, right, holds (left <= right). **Raises:** ValueError
        for eps outside (0, 1).
        """
        check_share("eps", eps)
        rho, low = float(self.rho), float(self.threshold)
        slack = 4 * rho - eps * (low + 2 * rho)
        near = eps * float(self.high_value) / slack if slack > 0 else float("inf")
        lost = eps * float(self.mean_value)
        rows = [
            ("3.2", "near <= eps high_value / (4 rho - eps (tau_K + 2 rho))", self.near, near),
            ("3.11", "1 - plain_ratio <= eps", 1 - float(self.plain_ratio), eps),
            ("4.1", "swapped <= eps mean_value", self.swapped, lost),
            ("exact", "worst <= eps mean_value", self.worst, lost),
        ]
        table = [(claim, said, float(a), float(b), float(a) <= b) for claim, said, a, b in rows]
        return pd.DataFrame(table, columns=["claim", "condition", "left", "right", "holds"])

    @property
    def _single(self) -> bool:
        return np.ndim(self.rho) == 0 and np.ndim(self.worst) == 0

    def _said(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """The guarantees in sentences."""
        return (
            f"With estimates within rho = {float(self.rho):.3g} of the effects, and tau_K = "
            f"{float(self.threshold):.3g}, the chosen groups keep at least "
            f"{100 * float(self.worst_ratio):.3g}% of the best value; claim 3.2 proves "
            f"{100 * float(self.ratio):.3g}%, claim 4.1 {100 * float(self.swap_ratio):.3g}%."
        )


def _lost(loss: Array | float, of: Array | float) -> Array | float:
    """1 - loss / of; 1 without a loss, minus infinity for a loss of nothing."""
    if isinstance(loss, Array) or isinstance(of, Array):
        safe = jnp.where(of > 0, of, 1)
        return jnp.where(loss > 0, jnp.where(of > 0, 1 - loss / safe, -jnp.inf), 1.0)
    return 1.0 if loss <= 0 else 1 - loss / of if of > 0 else -float("inf")


def guarantee(
    tau: GroupValues | Distribution,
    *,
    budget: int | float | Int[Array, ""],
    rho: float | Float[Array, ""],
) -> Guarantee:
    """What is kept at least of the best value when the K largest estimates within rho are chosen.

    The worst case swaps chosen effects for others when every such pair is at most 2 rho apart: over
    all s the effects of [tau_K, s + rho] for as many of [s - rho, tau_K), the largest of the first
    for the smallest of the second, in O(M log M). Values may be traced (then unchecked).

    **Arguments:**

    - `tau`: true (or assumed) effects (M,) in [0, 1], or a distribution; its worst case is that of
      16,384 of its quantiles.
    - `budget`: K for effects, the share K / M for a distribution.
    - `rho`: the largest error of an estimate.

    **Returns:** `Guarantee`. **Raises:** `DataError` for effects outside [0, 1]; ValueError for
    a budget or rho out of range.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, claims 3.2, 3.10 to 3.12 and 4.1; the worst
    case is ours.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.allocation.guarantee(jc.allocation.Beta(1.0, 1.0), budget=0.3, rho=0.05)
        >>> round(found.ratio, 3), round(found.swap_ratio, 3), round(found.worst_ratio, 3)
        (0.923, 0.961, 0.99)
    """
    if isinstance(tau, Distribution):
        check_rho(float(rho))
        return Guarantee(float(rho), *_of_distribution(tau, float(budget), float(rho)))
    values = as_effects("tau", tau)
    if is_traced(values, rho, budget):
        return Guarantee(rho, *_masses(-jnp.sort(-jnp.asarray(values)), budget, rho))
    check_rho(float(rho))
    best_mean(values, float(budget))
    with jax.enable_x64(True):
        found = _jitted(jnp.asarray(np.sort(values)[::-1].copy()), int(budget), float(rho))
        return Guarantee(float(rho), *(float(a) for a in found))


def _masses(v: Float[Array, " m"], budget: int | float | Array, rho: float | Array) -> Masses:
    """The masses of effects in descending order."""
    m, at = len(v), jnp.arange(len(v))
    chosen, low = at < budget, v[budget - 1]
    high = v > low + 2 * rho
    below = ~chosen & (v >= low - 2 * rho)
    k1, some = high.sum(), jnp.minimum(budget - high.sum(), below.sum())
    sums = jnp.concatenate([jnp.zeros(1, v.dtype), jnp.cumsum(v)])
    end = budget + below.sum()
    swapped = sums[k1 + some] - sums[k1] - sums[end] + sums[end - some]
    reach = jnp.searchsorted(-v, -(v - 2 * rho), side="right")  # how many may swap with v[i]
    pairs = jnp.where(chosen, jnp.clip(jnp.minimum(budget - at, reach - budget), 0), 0)
    gain = sums[at + pairs] - sums[at] - sums[reach] + sums[reach - pairs]
    return Masses(
        low,
        (budget - k1) / m,
        jnp.where(high, v, 0).sum() / m,
        sums[budget] / m,
        swapped / m,
        jnp.where(chosen, gain, 0).max() / m,
    )


_jitted = jax.jit(_masses)


def _of_distribution(of: Distribution, share: float, rho: float) -> Masses:
    """The masses of a distribution; the worst case on its quantiles."""
    mean_value = best_mean(of, share)
    low = of.quantile(1 - share)
    top, bottom = of.cdf(low + 2 * rho), of.cdf(low - 2 * rho)
    near = min(share, top - of.cdf(low))
    some = min(near, of.cdf(low) - bottom)
    taken = of.mean_between(of.quantile(top - some), low + 2 * rho)
    given = of.mean_between(low - 2 * rho, of.quantile(bottom + some))
    with jax.enable_x64(True):
        grid = jnp.asarray(_quantiles(of)[::-1].copy())
        found = _jitted(grid, max(1, round(share * GRID)), rho)
        worst = float(found.worst / found.mean_value) * mean_value
    high_value = of.mean_between(min(low + 2 * rho, 1.0), 1.0)
    return Masses(low, near, high_value, mean_value, taken - given, worst)


def _quantiles(of: Distribution) -> np.ndarray:
    """The quantiles (i + 1/2) / GRID, from the distribution function on a fine grid."""
    ends = np.linspace(0, 1, GRID + 1)
    return np.interp((np.arange(GRID) + 0.5) / GRID, of.cdf_at(ends), ends)
