"""Boxes grow in fewer lanes than there are queries: a lane whose box is finished takes the next."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes._rows import choose, put, take
from jcausal.matching.boxes.fast._box_state import BoxState, start
from jcausal.matching.boxes.fast._counts import enough_units
from jcausal.matching.boxes.fast._problem import GrowthProblem, origins
from jcausal.matching.boxes.fast._step import GrowingBoxes, begin, step

SWEEP = 8  # steps between two looks at which lanes are free and which boxes hold enough units


class GrowthLanes(NamedTuple):
    """Boxes that grow side by side in s lanes.

    `row` (s,): each lane's query, q for a lane without one; `state` of its box; `done`: all q boxes
    as they are so far; `ahead` counts the queries that have had a lane.
    """

    row: Int[Array, " s"]
    state: BoxState
    done: BoxState
    ahead: Int[Array, ""]


class Queue(NamedTuple):
    """Who waits for a lane: the queries in their `order`, of which `total` are asked for."""

    order: Int[Array, " q"]
    total: Int[Array, ""]


@eqx.filter_jit
def drain(problem: GrowthProblem, queries: Queries, asked: Bool[Array, " q"]) -> BoxState:
    """Grow every box that is asked for, in one loop over the lanes.

    Lanes stand still neither for queries that are not asked for nor for the box that takes the most
    steps. For jit and vmap, where the number of boxes that grow is not known.
    """
    first = start(problem.fold, queries, asked)
    queue = Queue(jnp.argsort(~first.growing, stable=True), first.growing.sum())

    def going(lanes: GrowthLanes) -> Array:
        return (lanes.ahead < queue.total) | lanes.state.growing.any()

    def sweep(lanes: GrowthLanes) -> GrowthLanes:
        lanes = _refilled(lanes, first, queue)
        state = _swept(problem, take(queries, jnp.minimum(lanes.row, len(asked) - 1)), lanes.state)
        return lanes._replace(state=state, done=put(lanes.done, lanes.row, state))

    return lax.while_loop(going, sweep, _idle(first)).done


def _idle(first: BoxState) -> GrowthLanes:
    """Lanes without a query: one for every sixteen, and 16 at least."""
    q = first.status.shape[0]
    width = min(q, max(16, q // 16))
    nothing = BoxState(*(jnp.zeros((width, *field.shape[1:]), field.dtype) for field in first))
    nothing = nothing._replace(status=jnp.broadcast_to(code(RESULTS.not_asked), (width,)))
    return GrowthLanes(jnp.full(width, q), nothing, first, jnp.zeros((), jnp.int32))


def _swept(problem: GrowthProblem, queries: Queries, state: BoxState) -> BoxState:
    """The boxes some steps later; one whose count would be needed anew waits for the next sweep."""
    starts = origins(problem, queries)

    def next_step(_: Array, carry: tuple[GrowingBoxes, Array]) -> tuple[GrowingBoxes, Array]:
        boxes, counted = carry
        boxes, moved = step(problem, starts, boxes, counted)
        return boxes, counted & ~moved

    enough = enough_units(problem, queries, state, problem.fold.units)
    boxes = begin(problem, starts, state._replace(enough=enough))
    first = (boxes, jnp.ones(state.status.shape[0], bool))
    return lax.fori_loop(0, SWEEP, next_step, first)[0].state


def _refilled(lanes: GrowthLanes, first: BoxState, queue: Queue) -> GrowthLanes:
    """Give the next queries to the lanes whose box is finished."""
    q, free = queue.order.shape[0], ~lanes.state.growing
    turn = lanes.ahead + jnp.cumsum(free) - 1
    row = jnp.where(free & (turn < queue.total), queue.order[jnp.minimum(turn, q - 1)], q)
    fresh = take(first, jnp.minimum(row, q - 1))
    fresh = fresh._replace(status=jnp.where(row < q, fresh.status, code(RESULTS.not_asked)))
    state = choose(free, fresh, lanes.state)
    ahead = jnp.minimum(lanes.ahead + free.sum(), queue.total).astype(lanes.ahead.dtype)
    return GrowthLanes(jnp.where(free, row, lanes.row), state, lanes.done, ahead)
