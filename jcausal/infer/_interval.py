"""Intervals: what they hold, what a method for them is, and the verb `interval`."""

from abc import abstractmethod
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import as_key, number_in_words, step_key
from jcausal.estimate import Effects

Target = Literal["tau(x)", "realised", "population average", "sample average"]


class Interval(eqx.Module):
    """Estimates with a lower and an upper bound: of every query (q,) or of the average ().

    `target` says what is covered; `pooled` marks queries whose group holds too few units for a
    variance of its own.
    """

    estimate: Float[Array, "*q"]
    error: Float[Array, "*q"]
    lower: Float[Array, "*q"]
    upper: Float[Array, "*q"]
    pooled: Bool[Array, "*q"]
    level: float = eqx.field(static=True)
    target: Target = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __str__(self) -> str:
        """In words: one line for an average, a count for many."""
        percent = f"{100 * self.level:g}% interval"
        if self.estimate.ndim:
            return f"{self.estimate.shape[0]} {percent}s of {self.target} ({self.method})"
        middle, low, high = (
            number_in_words(float(v)) for v in (self.estimate, self.lower, self.upper)
        )
        return f"{middle} ({percent} {low} to {high}; {self.target}, {self.method})"

    def to_frame(self) -> pd.DataFrame:
        """One row an estimate."""
        names = ("estimate", "error", "lower", "upper", "pooled")
        columns = {name: np.atleast_1d(np.asarray(getattr(self, name))) for name in names}
        return pd.DataFrame(columns).assign(level=self.level, target=self.target)


class IntervalMethod(eqx.Module):
    """A way to put an interval around effects; holds hyperparameters only."""

    level: eqx.AbstractVar[float]

    @abstractmethod
    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """The interval of the method's target."""


def interval(
    effects: Effects,
    method: IntervalMethod,
    *,
    key: PRNGKeyArray | Array | int | None = None,
) -> Interval:
    """Bounds around effects.

    **Arguments:** `method` such as `jc.AbadieImbens()` for the average or
    `jc.ConservativeNormal()` for every query; `key` for methods that draw.

    **Returns:** an `Interval`.

    **Raises:** ValueError when the method does not fit the effects, with the reason.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=0)
        >>> bounds = jc.interval(effects, jc.AbadieImbens())
        >>> bool(bounds.lower < effects.att) and bool(effects.att < bounds.upper)
        True
    """
    if not isinstance(method, IntervalMethod):
        raise ValueError(f"{type(method).__name__} is no interval method such as AbadieImbens().")
    if not 0 < method.level < 1:
        raise ValueError(f"level is {method.level}: it must lie between 0 and 1.")
    return method.of(effects, None if key is None else step_key(as_key(key, "interval"), "inte"))


def normal_interval(
    estimate: Float[Array, "*q"],
    variance: Float[Array, "*q"],
    pooled: Bool[Array, "*q"],
    level: float,
    target: Target,
    method: str,
) -> Interval:
    """Estimate plus and minus the normal quantile times the standard error."""
    error = jnp.sqrt(variance)
    width = norm.ppf(0.5 + level / 2).astype(error.dtype) * error
    return Interval(
        estimate, error, estimate - width, estimate + width, pooled, level, target, method
    )
