"""What a fold's models say of any point: both outcomes and the effect."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jcausal.data import check_share, normal_quantile, on_host


class Foretold(NamedTuple):
    """At m points: `outcomes` (m, 2) without and with the treatment, and the `effect` (m,).

    The effect has a model of its own where the learner has one: it need not be the difference.
    `error` (m,): the standard error of the effect, where the learner tells it.
    """

    outcomes: Float[Array, "m 2"]
    effect: Float[Array, " m"]
    error: Float[Array, " m"] | None = None


class Learned(eqx.Module):
    """The models that a learner trained without one fold."""

    @abstractmethod
    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """Outcomes and effect at points (m, p) in the covariates' own units."""


@on_host
def mean_of(lib: Any, *values: Float[Array, "..."]) -> Float[Array, "..."]:
    """The mean of arrays of one shape."""
    return sum(values[1:], values[0]) / len(values)


def mean_told(learned: Sequence[Learned], x: Float[Array, "m p"]) -> Foretold:
    """The mean of what several models say of points; of their errors too."""
    told = [one.at(x) for one in learned]
    errors = [one.error for one in told if one.error is not None]
    return Foretold(
        mean_of(*(one.outcomes for one in told)),
        mean_of(*(one.effect for one in told)),
        mean_of(*errors) if errors else None,
    )


def unit_bounds(
    effect: Float[np.ndarray, " m"], error: Float[np.ndarray, " m"], level: float
) -> dict[str, np.ndarray]:
    """Ends of the normal intervals of single effects, `lower` and `upper` (m,)."""
    quantile = normal_quantile(check_share("level", level))
    return dict(lower=effect - quantile * error, upper=effect + quantile * error)
