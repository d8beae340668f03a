"""What the surface says of every expansion that a box could make next."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.matching.boxes._rows import put, take
from jcausal.matching.boxes.fast._box_state import BoxState
from jcausal.matching.boxes.fast._centres import box_centres
from jcausal.matching.boxes.fast._ladder_looks import look_along_ladders
from jcausal.matching.boxes.fast._level_looks import look_at_levels
from jcausal.matching.boxes.fast._problem import GrowthProblem, Origins
from jcausal.matching.boxes.fast._proposals import proposals

BLOCK = 64  # boxes that ask the surface together


class Looks(NamedTuple):
    """What the surface says of every proposal, in both outcomes.

    `variance` over the points that it adds; `shift`: the prediction at the new edge, the other
    covariates at the box's centre, minus the prediction at the query itself.
    """

    variance: Float[Array, "q k 2"]
    shift: Float[Array, "q k 2"]


def nothing_seen(problem: GrowthProblem, home: Float[Array, "q 2"]) -> Looks:
    """Looks of boxes that have asked nothing yet."""
    proposed = len(problem.columns.ordered) + len(problem.columns.entries)
    none = jnp.zeros((len(home), proposed, 2), home.dtype)
    return Looks(none, none)


def look(
    problem: GrowthProblem,
    origins: Origins,
    state: BoxState,
    asks: Bool[Array, " q"],
    looks: Looks,
) -> Looks:
    """What the surface says to the boxes that ask, block by block; the others keep their looks."""
    q, count = asks.shape[0], asks.sum()
    order, size = jnp.argsort(~asks, stable=True), min(BLOCK, q)

    def block(carry: tuple[Array, Looks]) -> tuple[Array, Looks]:
        done, looks = carry
        turn = done + jnp.arange(size)
        rows = order[jnp.minimum(turn, q - 1)]
        found = _look(problem, take(origins, rows), take(state, rows), asks[rows])
        return done + size, put(looks, jnp.where(turn < count, rows, q), found)

    first = (jnp.zeros((), count.dtype), looks)
    return lax.while_loop(lambda carry: carry[0] < count, block, first)[1]


def _look(
    problem: GrowthProblem, origins: Origins, state: BoxState, asks: Bool[Array, " q"]
) -> Looks:
    """What it says of the ladders' next steps, and then of the levels; zero if not asked."""
    steps, width = proposals(problem, origins.queries, state), len(problem.columns.ordered)
    centres = box_centres(problem, origins, steps)
    wanted = asks[:, None] & steps.allowed
    parts = []
    if width:
        parts.append(look_along_ladders(problem, centres, steps, wanted[:, :width]))
    if len(problem.columns.entries):
        parts.append(look_at_levels(problem, centres, wanted[:, width:]))
    return Looks(*(jnp.concatenate(part, axis=1) for part in zip(*parts)))
