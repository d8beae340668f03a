"""Distributions of the groups' effects on [0, 1]: what a plan may assume before any data."""

from abc import abstractmethod
from collections.abc import Callable
from math import exp, inf, lgamma, log, pi, sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Float

Points = float | Float[np.ndarray, "..."]

STEPS = 80  # halvings of [0, 1]: more than the digits of float64


class Distribution(eqx.Module):
    """A distribution on [0, 1] of the effects of groups."""

    @abstractmethod
    def cdf(self, t: Points) -> Points:
        """The share of groups with an effect of at most t, for one t or many."""

    @abstractmethod
    def density(self, t: float) -> float:
        """The density at t."""

    @abstractmethod
    def mean_between(self, low: float, high: float) -> float:
        """The integral of t dF over [low, high]."""

    @abstractmethod
    def densest(self, width: float) -> float:
        """The largest Pr[S] / |S| over intervals S in [0, 1] of at least this width; 0: density."""

    def quantile(self, share: float) -> float:
        """The smallest t with cdf(t) >= share, by bisection."""
        return _crossing(lambda t: self.cdf(t) >= share, 0.0, 1.0)


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition that fails at first begins to hold."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _best_window(of: Distribution, mode: float, width: float) -> float:
    """The mass by width of the heaviest window of a density that rises to its mode, then falls."""
    if width == 0:
        return of.density(mode)
    if width >= 1:
        return 1 / width
    low, high = max(0.0, mode - width), min(mode, 1 - width)
    start = _crossing(lambda a: of.density(a) >= of.density(a + width), low, high)
    return (of.cdf(start + width) - of.cdf(start)) / width


class Beta(Distribution):
    """Effects of density t^(a-1) (1-t)^(b-1) / B(a, b); Beta(1, 1) is the uniform.

    **Arguments:** `a`, `b` positive.

    **Example:**

        >>> import jcausal as jc
        >>> round(jc.regularity(jc.Beta(2.0, 2.0), rho=0.0), 6)
        1.5
    """

    a: float = eqx.field(static=True, default=1.0)
    b: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not 0 < value < inf:
                raise ValueError(f"{name} is {value}: it must be a positive number.")

    def cdf(self, t: Points) -> Points:
        """The regularised incomplete beta function."""
        return _incomplete_beta(self.a, self.b, t)

    def density(self, t: float) -> float:
        """The density at t."""
        total = lgamma(self.a) + lgamma(self.b) - lgamma(self.a + self.b)
        ends = [(self.a - 1, t), (self.b - 1, 1 - t)]
        if any(power < 0 and at <= 0 for power, at in ends):
            return inf
        if any(power > 0 and at <= 0 for power, at in ends):
            return 0.0
        return exp(sum(power * log(at) for power, at in ends if power) - total)

    def mean_between(self, low: float, high: float) -> float:
        """The mean a / (a + b) times the mass of Beta(a + 1, b) there."""
        mass = _incomplete_beta(self.a + 1, self.b, high) - _incomplete_beta(
            self.a + 1, self.b, low
        )
        return self.a / (self.a + self.b) * max(0.0, mass)

    def densest(self, width: float) -> float:
        """At the mode, or at an end of [0, 1] (or all of it) where the density is infinite."""
        if min(self.a, self.b) < 1:
            if width == 0:
                return inf
            if width >= 1:
                return 1 / width
            return max(1.0, self.cdf(width) / width, (1 - self.cdf(1 - width)) / width)
        free = self.a + self.b - 2
        return _best_window(self, (self.a - 1) / free if free > 0 else 0.5, width)


class TruncatedNormal(Distribution):
    """Effects of a normal distribution cut off outside [0, 1].

    **Arguments:** `mean` and `sd` of the normal before it is cut.

    **Example:**

        >>> import jcausal as jc
        >>> round(jc.regularity(jc.TruncatedNormal(0.5, 0.15), rho=0.0), 2)
        2.66
    """

    mean: float = eqx.field(static=True)
    sd: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 < self.sd < inf:
            raise ValueError(f"sd is {self.sd}: it must be a positive number.")
        if not abs(self.mean) < inf or self._mass < 1e-9:
            raise ValueError(
                f"a normal of mean {self.mean} and sd {self.sd} has almost no mass in [0, 1]."
            )

    @property
    def _mass(self) -> float:
        return float(self._below(1.0) - self._below(0.0))

    def _below(self, t: Points) -> Points:
        return _numbers(special.ndtr, (np.asarray(t, np.float64) - self.mean) / self.sd)

    def cdf(self, t: Points) -> Points:
        """The normal's, rescaled to [0, 1]."""
        return (self._below(np.clip(t, 0, 1)) - self._below(0.0)) / self._mass

    def density(self, t: float) -> float:
        """The density at t."""
        z = (t - self.mean) / self.sd
        return exp(-z * z / 2) / (self.sd * sqrt(2 * pi) * self._mass)

    def mean_between(self, low: float, high: float) -> float:
        """The mean times the mass, less sd^2 (density at high - density at low)."""
        low, high = (min(max(t, 0.0), 1.0) for t in (low, high))
        bend = self.sd**2 * (self.density(high) - self.density(low))
        return self.mean * (self.cdf(high) - self.cdf(low)) - bend

    def densest(self, width: float) -> float:
        """Around the mode."""
        return _best_window(self, min(max(self.mean, 0.0), 1.0), width)


def _incomplete_beta(a: float, b: float, t: Points) -> Points:
    inside = np.clip(t, 0, 1)
    found = _numbers(special.betainc, np.float64(a), np.float64(b), inside)
    return _plain(np.where((inside == 0) | (inside == 1), inside, found))


def _numbers(function: Callable[..., jax.Array], *arguments: np.ndarray | np.float64) -> Points:
    """A special function in float64."""
    with jax.enable_x64(True):
        return _plain(np.asarray(function(*(jnp.asarray(a, jnp.float64) for a in arguments))))


def _plain(values: np.ndarray) -> Points:
    return values if values.ndim else float(values)
