"""How strong hidden bias must be to change the answer: the verb, and what a method for it is."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import DataError, Options, Shown, check_object, is_traced, named
from jcausal.effects import Average, Effects
from jcausal.inference import Interval, interval, usual_interval


class SensitivityAsk(NamedTuple):
    """What a method is asked: `found`, and the interval and key that were given, or None."""

    found: Effects | Average
    interval: Interval | None
    key: PRNGKeyArray | Array | int | None

    def std_error(self, level: float) -> float:
        """The standard error of the average, of the usual interval where none was given."""
        if self.interval is not None:
            return float(self.interval.std_error)
        if isinstance(self.found, Average):
            return float(self.found.std_error)
        return float(
            interval(self.found, usual_interval(self.found.sample, level), key=self.key).std_error
        )


class SensitivityMethod(Options, eqx.Module):
    """A way to ask how strong hidden bias must be; holds hyperparameters only."""

    level: eqx.AbstractVar[float]

    @abstractmethod
    def of(self, ask: SensitivityAsk) -> Shown:
        """The result, which prints as its summary and has a `to_frame()`."""


def sensitivity(
    effects: Effects | Average,
    method: SensitivityMethod,
    *,
    interval: Interval | None = None,
    key: PRNGKeyArray | Array | int | None = None,
) -> Any:
    """How strong a confounder that nobody measured must be to explain the average effect away.

    **Arguments:**

    - `effects`: what `jc.estimate` returns.
    - `method`: `jc.OmittedVariable()`, for any estimate that is linear in the outcomes;
      `jc.EValue()`, in terms of risk ratios; `jc.RosenbaumBounds()`, for matched pairs and sets
      that share no unit.
    - `interval`: of the average, by `jc.interval`, whose standard error is used; default: of
      matchings `jc.AbadieImbens()` (of 50,000 rows and more, and of clusters, `jc.Bootstrap()`),
      of estimators their own.
    - `key`: for a bootstrap.

    **Returns:** `OmittedBounds`, `EValues` or `GammaBounds` of `jc.diagnostics`: each prints as its
    summary and has a `to_frame()`.

    **Raises:** ValueError where a method does not fit the effects, with the reason, and when
    nothing is matched.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.NearestNeighbors())
        >>> found = jc.sensitivity(effects, jc.OmittedVariable(benchmark="age"))
        >>> 0 < found.robustness_value < 1
        True
    """
    if not isinstance(effects, Effects | Average):
        raise ValueError(
            f"sensitivity takes effects, not {named(effects)}: pass what jc.estimate returns."
        )
    check_object(method)
    if not isinstance(method, SensitivityMethod):
        raise ValueError(
            f"{type(method).__name__} is no method for sensitivity such as jc.OmittedVariable()."
        )
    if is_traced(effects):
        raise ValueError("sensitivity runs on concrete effects: call it outside of jit and vmap.")
    if not 0 < method.level < 1:
        raise ValueError(f"level is {method.level}: it must lie between 0 and 1.")
    _check(effects, interval)
    return method.of(SensitivityAsk(effects, interval, key))


def _check(effects: Effects | Average, interval: Interval | None) -> None:
    sample = effects.sample
    if isinstance(effects, Effects):
        if (np.asarray(effects.matching.query)[np.asarray(effects.matching.asked)] < 0).any():
            raise ValueError("sensitivity is of an average over units, and these are points.")
        if not np.asarray(effects.matched).any():
            raise ValueError(
                "no unit is matched, so that there is no average whose sensitivity could be told."
            )
    counts = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
    if sample.y is None or not np.ptp(np.asarray(sample.y)[counts]) > 0:
        raise DataError("the outcome never varies, so that there is nothing to explain away.")
    if not np.isfinite(float(effects.average)):
        raise ValueError("the average effect is NaN: look at effects.summary() for the reason.")
    if interval is None:
        return
    if not isinstance(interval, Interval) or np.ndim(interval.estimate):
        raise ValueError("interval must be one of the average: jc.interval(effects, method).")
    if not str(interval.target).endswith("average"):
        raise ValueError(f"interval is of the {interval.target}: give one of the average.")
