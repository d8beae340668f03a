"""Which boxes hold enough units."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from jcausal.matching.boxes._kernel_arrays import with_gate
from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes._rows import take
from jcausal.matching.boxes.fast._box_state import BoxState, edges_of
from jcausal.matching.boxes.fast._problem import GrowthProblem
from jcausal_kernels import Units, box_counts

SCREEN = 4096  # units that are looked at before all are counted


def enough_units(
    problem: GrowthProblem, queries: Queries, state: BoxState, units: Units
) -> Bool[Array, "q 2"]:
    """Which boxes hold enough of some units of either arm."""
    members = jnp.zeros(state.status.shape[0], jnp.int32)
    boxes = with_gate(*edges_of(problem, queries, state), members)
    counts = box_counts(units, boxes, ladder=problem.fold.ladder.shape[1])
    return state.enough | (counts >= problem.rules.minimum)


def count_some(
    problem: GrowthProblem, queries: Queries, state: BoxState, asks: Bool[Array, " q"]
) -> tuple[Bool[Array, "q 2"], Bool[Array, " q"]]:
    """Which boxes hold enough units, and whose count is known, of some of those that ask.

    The others wait for the next step, so that a count costs little. Of many units a few are looked
    at first: a box that holds enough of them needs no more.
    """
    units, n = problem.fold.units, problem.fold.x.shape[0]
    if n <= 2 * SCREEN:
        return _first_that_ask(problem, queries, state, asks, units)
    few = Units(*(field[:: n // SCREEN | 1] for field in units))  # odd: pairs lie side by side
    enough, known = _first_that_ask(problem, queries, state, asks, few)
    known &= enough.all(1)
    left, state = asks & ~known, state._replace(enough=enough)
    enough, more = lax.cond(
        left.any(),
        lambda: _first_that_ask(problem, queries, state, left, units),
        lambda: (enough, known),
    )
    return enough, known | more


def _first_that_ask(
    problem: GrowthProblem,
    queries: Queries,
    state: BoxState,
    asks: Bool[Array, " q"],
    units: Units,
) -> tuple[Bool[Array, "q 2"], Bool[Array, " q"]]:
    """Which of an eighth of the boxes hold enough of some units, and which of them asked."""
    q = asks.shape[0]
    _, some = lax.top_k(asks.astype(jnp.int32), min(max(4, q // 8), q))
    found = enough_units(problem, take(queries, some), take(state, some), units)
    enough = state.enough.at[some].set(found, unique_indices=True)
    known = jnp.zeros_like(asks).at[some].set(asks[some], unique_indices=True)
    return enough, known
