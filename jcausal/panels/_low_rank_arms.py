"""What a low-rank method gives of one arm, and of both together."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from jcausal.panels._completer import Completed, Spectrum, completed


class LowRankArm(NamedTuple):
    """One arm completed: `y` (n, m), NaN where it is not identified, at `rank` ().

    `values` (k,) are the singular values that the rank was read from, largest first; `converged` ()
    whether iterations ended below the tolerance; `details` the numbers that the method chose.
    """

    y: Float[Array, "n m"]
    rank: Int[Array, ""]
    values: Float[Array, " k"]
    converged: Bool[Array, ""]
    details: dict[str, Array]


def completed_arms(arms: LowRankArm) -> Completed:
    """The completion of two arms, stacked along a first axis: without and with treatment."""
    return completed(
        arms.y[0],
        arms.y[1],
        spectrum=Spectrum(arms.rank, arms.values),
        converged=arms.converged.all(),
        details=arms.details,
    )
