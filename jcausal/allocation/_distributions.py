"""Distributions of the groups' effects on [0, 1]: what a plan may assume before any data."""

from abc import abstractmethod
from collections.abc import Callable
from math import exp, inf, pi, sqrt

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy import special

from jcausal.data import Options

STEPS = 80  # halvings of [0, 1]: more than the digits of float64


class Distribution(Options, eqx.Module):
    """A distribution on [0, 1] of the effects of groups."""

    @abstractmethod
    def cdf_at(self, points: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        """The share of groups with an effect of at most each point (q,)."""

    @abstractmethod
    def density(self, t: float) -> float:
        """The density at t."""

    @abstractmethod
    def mean_between(self, low: float, high: float) -> float:
        """The integral of t dF over [low, high]."""

    @abstractmethod
    def densest(self, width: float) -> float:
        """The largest Pr[S] / |S| over intervals S in [0, 1] of at least this width; 0: density."""

    def cdf(self, t: float) -> float:
        """The share of groups with an effect of at most t."""
        return float(self.cdf_at(np.array([t], np.float64))[0])

    def quantile_at(self, shares: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        """The smallest t with cdf(t) >= share, for each share (q,), by bisection."""
        zero = np.zeros(len(shares))
        return _crossing(lambda t: self.cdf_at(t) >= shares, zero, zero + 1)

    def quantile(self, share: float) -> float:
        """The smallest t with cdf(t) >= share."""
        return float(self.quantile_at(np.array([share], np.float64))[0])


def _crossing(
    holds: Callable[[np.ndarray], np.ndarray],
    low: Float[np.ndarray, " q"],
    high: Float[np.ndarray, " q"],
) -> Float[np.ndarray, " q"]:
    """Where conditions that fail at first begin to hold."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = holds(middle)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


def _best_window(of: Distribution, mode: float, width: float) -> float:
    """The mass by width of the heaviest window of a density that rises to its mode, then falls."""
    if width == 0:
        return of.density(mode)
    if width >= 1:
        return 1 / width

    def falls(start: np.ndarray) -> np.ndarray:
        return np.array([of.density(a) >= of.density(a + width) for a in start.tolist()])

    ends = max(0.0, mode - width), min(mode, 1 - width)
    start = float(_crossing(falls, *(np.array([end]) for end in ends))[0])
    return (of.cdf(start + width) - of.cdf(start)) / width


class Beta(Distribution):
    """Effects of density t^(a-1) (1-t)^(b-1) / B(a, b); Beta(1, 1) is the uniform.

    **Arguments:** `a`, `b` positive.

    **Example:**

        >>> import jcausal as jc
        >>> round(jc.allocation.regularity(jc.allocation.Beta(2.0, 2.0), rho=0.0), 6)
        1.5
    """

    a: float = eqx.field(static=True, default=1.0)
    b: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not 0 < value < inf:
                raise ValueError(f"{name} is {value}: it must be a positive number.")

    def cdf_at(self, points: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        """The regularised incomplete beta function."""
        return special.betainc(self.a, self.b, np.clip(points, 0, 1))

    def density(self, t: float) -> float:
        """The density at t."""
        t = min(max(t, 0.0), 1.0)
        powers = special.xlogy(self.a - 1, t) + special.xlog1py(self.b - 1, -t)
        return float(np.exp(powers - special.betaln(self.a, self.b)))

    def mean_between(self, low: float, high: float) -> float:
        """The mean a / (a + b) times the mass of Beta(a + 1, b) there."""
        below, above = special.betainc(self.a + 1, self.b, np.clip([low, high], 0, 1))
        return self.a / (self.a + self.b) * max(0.0, float(above - below))

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
        >>> round(jc.allocation.regularity(jc.allocation.TruncatedNormal(0.5, 0.15), rho=0.0), 2)
        2.66
    """

    mean: float = eqx.field(static=True)
    sd: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 < self.sd < inf:
            raise ValueError(f"sd is {self.sd}: it must be a positive number.")
        if not abs(self.mean) < inf or self._ends[1] < 1e-9:
            raise ValueError(
                f"a normal of mean {self.mean} and sd {self.sd} has almost no mass in [0, 1]."
            )

    @property
    def _ends(self) -> tuple[float, float]:
        """The normal's mass below 0, and from 0 to 1."""
        low, high = self._below(np.array([0.0, 1.0])).tolist()
        return low, high - low

    def _below(self, points: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        return special.ndtr((points - self.mean) / self.sd)

    def cdf_at(self, points: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        """The normal's, rescaled to [0, 1]."""
        low, mass = self._ends
        return (self._below(np.clip(points, 0, 1)) - low) / mass

    def density(self, t: float) -> float:
        """The density at t."""
        z = (t - self.mean) / self.sd
        return exp(-z * z / 2) / (self.sd * sqrt(2 * pi) * self._ends[1])

    def mean_between(self, low: float, high: float) -> float:
        """The mean times the mass, less sd^2 (density at high - density at low)."""
        low, high = (min(max(t, 0.0), 1.0) for t in (low, high))
        bend = self.sd**2 * (self.density(high) - self.density(low))
        return self.mean * (self.cdf(high) - self.cdf(low)) - bend

    def densest(self, width: float) -> float:
        """Around the mode."""
        return _best_window(self, min(max(self.mean, 0.0), 1.0), width)
