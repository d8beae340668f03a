"""The core of Fast AHB: all boxes of a batch grow together, one expansion a step."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._grow import (
    Choice,
    Grid,
    Problem,
    State,
    Steps,
    coded_boxes,
    options,
    rungs_of,
    smallest,
    start,
    weighted,
)
from jcausal.matching.boxes._look import Looks, look, nothing_seen
from jcausal.matching.boxes._space import Layout, Queries, pick
from jcausal_kernels import Units, box_counts

SCREEN = 4096  # units that are looked at before all are counted
SWEEP = 8  # steps between two looks at which lanes are free and which boxes hold enough units


def _enough(problem: Problem, queries: Queries, state: State, units: Units) -> Bool[Array, "q 2"]:
    """Which boxes hold enough of some units of either arm."""
    lower, upper = rungs_of(problem.space, queries, state, problem.rules.levels)
    gate = jnp.zeros(lower.shape[0], lower.dtype)
    boxes = coded_boxes(lower, upper, state.open, gate)
    counts = box_counts(units, boxes, ladder=problem.space.ladder.shape[1])
    return state.enough | (counts >= problem.rules.minimum)


def _some_enough(
    problem: Problem,
    queries: Queries,
    state: State,
    asks: Bool[Array, " q"],
    units: Units,
    most: int,
) -> tuple[Bool[Array, "q 2"], Bool[Array, " q"]]:
    """The same of at most so many boxes, those that ask first, and which of them asked."""
    _, some = lax.top_k(asks.astype(jnp.int32), min(most, asks.shape[0]))
    part = State(*(field[some] for field in state))
    found = _enough(problem, pick(queries, some), part, units)
    enough = state.enough.at[some].set(found, unique_indices=True)
    known = jnp.zeros_like(asks).at[some].set(asks[some], unique_indices=True)
    return enough, known


def _answers(
    problem: Problem, queries: Queries, state: State, asks: Bool[Array, " q"]
) -> tuple[Bool[Array, "q 2"], Bool[Array, " q"]]:
    """Which boxes hold enough units, and whose count is known, of some of those that ask.

    The others wait for the next step, so that a count costs little. Of many units a few are looked
    at first: a box that holds enough of them needs no more.
    """
    units, n, most = problem.space.units, problem.space.x.shape[0], max(4, asks.shape[0] // 8)
    if n <= 2 * SCREEN:
        return _some_enough(problem, queries, state, asks, units, most)
    few = Units(*(field[:: n // SCREEN | 1] for field in units))  # odd: pairs lie side by side
    enough, known = _some_enough(problem, queries, state, asks, few, most)
    known &= enough.all(1)
    left, state = asks & ~known, state._replace(enough=enough)
    enough, more = lax.cond(
        left.any(),
        lambda: _some_enough(problem, queries, state, left, units, most),
        lambda: (enough, known),
    )
    return enough, known | more


def _apply(state: State, steps: Steps, made: Bool[Array, "q k"], plan: Layout) -> State:
    """Make an expansion in the boxes that have one."""
    width = len(plan.ordered)
    moved, opened = made[:, :width], made[:, width:]
    slot, level = plan.entries[:, 0], plan.entries[:, 1]
    return state._replace(
        up=state.up + (moved & steps.upward),
        down=state.down + (moved & ~steps.upward),
        open=state.open.at[:, slot, level].max(opened),
    )


class Growth(NamedTuple):
    """Boxes, what the surfaces say of their next expansions, and for which it holds no more."""

    state: State
    looks: Looks
    stale: Bool[Array, " q"]


def _begin(state: State, home: Float[Array, "q 2"], plan: Layout) -> Growth:
    return Growth(state, nothing_seen(home, plan), jnp.ones(len(home), bool))


def _step(
    problem: Problem,
    queries: Queries,
    home: Float[Array, "q 2"],
    plan: Layout,
    grid: Grid,
    points: int,
    growth: Growth,
    known: Bool[Array, " q"] | None,
) -> tuple[Growth, Bool[Array, " q"]]:
    """Test the best expansion of every box that still grows, make it, and tell which moved.

    The best is the one of smallest score within reach; beyond it, only while units are missing, the
    nearest. Units are counted only when the decision hangs on them: here, or, where `known` tells
    whose count is known, elsewhere, and other boxes that ask stand still.

    The surfaces are asked where a box's centre has moved. A level that opens leaves it where it is;
    for the surface, so does a covariate that it does not see.
    """
    state = growth.state
    growing = state.status == code(RESULTS.growing)
    stale = growing & growth.stale
    looks = look(problem, queries, home, stale, state, growth.looks, plan, grid, points)
    rules, scale, spread = problem.rules, problem.scale, problem.spread
    steps = options(problem, queries, state, plan)[2]
    score = weighted(looks.variance, rules)
    distance = weighted(looks.shift**2, rules)
    nan = (jnp.isnan(score + distance) & steps.allowed).any(1) | jnp.isnan(spread)
    near = steps.allowed & (jnp.isinf(rules.reach) | (distance <= rules.reach * spread))
    best = smallest(score, score, near, steps.size, scale)
    limit = rules.c * jnp.maximum(state.score, rules.slack * scale)
    calm = jnp.where(rules.slack > 0, best.score <= limit, best.score < rules.c * state.score)
    calm &= best.exists
    asks = growing & ~nan & ~calm & ~state.enough.all(1)
    enough, counted = state.enough, known
    if counted is None:
        enough, counted = lax.cond(
            asks.any(),
            lambda: _answers(problem, queries, state, asks),
            lambda: (state.enough, jnp.zeros_like(asks)),
        )
    growing &= ~asks | counted
    short = ~calm & ~enough.all(1)
    beyond = short & ~best.exists
    far = smallest(distance, score, steps.allowed, steps.size, scale)
    choice = Choice(*(jnp.where(beyond, there, here) for here, there in zip(best, far)))
    grow = growing & ~nan & choice.exists & (calm | short)
    lacking = jnp.where(enough[:, 0], code(RESULTS.no_treated), code(RESULTS.no_control))
    ended = jnp.where(enough.all(1), code(RESULTS.matched), lacking)
    ended = jnp.where(nan, code(RESULTS.surface_nan), ended)
    made = grow[:, None] & (jnp.arange(score.shape[1]) == choice.pick[:, None])
    moved = _apply(state, steps, made, plan)._replace(
        score=jnp.where(grow, choice.score, state.score),
        enough=enough,
        status=jnp.where(growing & ~grow, ended, state.status),
    )
    seen = problem.surface.sees(len(plan.kinds))[plan.ordered]
    stale = (made[:, : len(seen)] & seen).any(1)
    return Growth(moved, looks, stale), grow


@eqx.filter_jit
def advance(
    problem: Problem,
    queries: Queries,
    state: State,
    limit: Int[Array, ""],
    plan: Layout,
    grid: Grid,
    points: int,
) -> tuple[State, Int[Array, ""]]:
    """Up to `limit` steps, or until no box grows; and how many steps it took."""
    home = problem.surface(queries.x)

    def going(carry: tuple[Growth, Array]) -> Array:
        growing = carry[0].state.status == code(RESULTS.growing)
        return growing.any() & (carry[1] < limit)

    def step(carry: tuple[Growth, Array]) -> tuple[Growth, Array]:
        growth, _ = _step(problem, queries, home, plan, grid, points, carry[0], None)
        return growth, carry[1] + 1

    first = (_begin(state, home, plan), jnp.zeros((), jnp.int32))
    growth, made = lax.while_loop(going, step, first)
    return growth.state, made


class Lanes(NamedTuple):
    """Boxes that grow side by side: each lane's query, its state, and what is done so far.

    A lane without a query has the number q. `ahead` counts the queries that have had a lane.
    """

    row: Int[Array, " s"]
    state: State
    done: State
    ahead: Int[Array, ""]


@eqx.filter_jit
def drain(
    problem: Problem,
    queries: Queries,
    asked: Bool[Array, " q"],
    plan: Layout,
    grid: Grid,
    points: int,
) -> State:
    """Grow every box that is asked for, in one loop over fewer lanes than queries.

    A lane whose box is finished takes the next query: lanes stand still neither for queries that
    are not asked for nor for the box that takes the most steps. For jit and vmap, where the number
    of boxes that grow is not known.
    """
    q = asked.shape[0]
    first = start(problem.space, queries, asked)
    wanted = first.status == code(RESULTS.growing)
    order, total = jnp.argsort(~wanted, stable=True), wanted.sum()
    width = min(q, max(16, q // 16))
    idle = jnp.full(width, q)
    nothing = State(*(jnp.zeros((width, *field.shape[1:]), field.dtype) for field in first))
    nothing = nothing._replace(status=jnp.broadcast_to(code(RESULTS.not_asked), (width,)))

    def going(lanes: Lanes) -> Array:
        return (lanes.ahead < total) | (lanes.state.status == code(RESULTS.growing)).any()

    def sweep(lanes: Lanes) -> Lanes:
        lanes = _refilled(lanes, first, order, total)
        part = pick(queries, jnp.minimum(lanes.row, q - 1))
        home = problem.surface(part.x)

        def step(_: Array, carry: tuple[Growth, Array]) -> tuple[Growth, Array]:
            growth, moved = _step(problem, part, home, plan, grid, points, *carry)
            return growth, carry[1] & ~moved

        enough = _enough(problem, part, lanes.state, problem.space.units)
        counted = lanes.state._replace(enough=enough)
        first_step = (_begin(counted, home, plan), jnp.ones(width, bool))
        state = lax.fori_loop(0, SWEEP, step, first_step)[0].state
        return lanes._replace(state=state, done=_put(lanes.done, lanes.row, state))

    return lax.while_loop(going, sweep, Lanes(idle, nothing, first, jnp.zeros((), jnp.int32))).done


def _put(done: State, row: Int[Array, " s"], state: State) -> State:
    """Write the lanes into the rows of their queries."""
    return State(*(a.at[row].set(b, mode="drop") for a, b in zip(done, state)))


def _refilled(lanes: Lanes, first: State, order: Int[Array, " q"], total: Array) -> Lanes:
    """Give the next queries to the lanes whose box is finished."""
    q = order.shape[0]
    free = lanes.state.status != code(RESULTS.growing)
    turn = lanes.ahead + jnp.cumsum(free) - 1
    row = jnp.where(free & (turn < total), order[jnp.minimum(turn, q - 1)], q)
    fresh = State(*(field[jnp.minimum(row, q - 1)] for field in first))
    fresh = fresh._replace(
        status=jnp.where(row < q, fresh.status, code(RESULTS.not_asked)),
    )
    state = State(
        *(
            jnp.where(free.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for new, old in zip(fresh, lanes.state)
        )
    )
    ahead = jnp.minimum(lanes.ahead + free.sum(), total)
    row, ahead = jnp.where(free, row, lanes.row), ahead.astype(lanes.ahead.dtype)
    return Lanes(row, state, lanes.done, ahead)
