"""What a fold's models say of any point: both outcomes and the effect."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from jcausal.data import on_host


class Foretold(NamedTuple):
    """At m points: `outcomes` (m, 2) without and with the treatment, and the `effect` (m,).

    The effect has a model of its own where the learner has one: it need not be the difference.
    """

    outcomes: Float[Array, "m 2"]
    effect: Float[Array, " m"]


class Learned(eqx.Module):
    """The models that a learner trained without one fold."""

    @abstractmethod
    def at(self, x: Float[Array, "m p"]) -> Foretold:
        """Outcomes and effect at points (m, p) in the covariates' own units."""


@on_host
def mean_of(lib: Any, *values: Float[Array, "..."]) -> Float[Array, "..."]:
    """The mean of arrays of one shape."""
    return sum(values[1:], values[0]) / len(values)
