"""The best box around a point, by branch and bound over many boxes at once.

(1) Formula, shapes, cost
    minimise  sum_{k in box} cost[k]   subject to  sum_{k in box} units[k, arm] >= minimum[arm]
over boxes -reach[0] <= away[k] <= reach[1], reach (2, c) in codes. A node is an inner and an outer
box; `box_bounds` says what no box between them can fall below, cuts edges off, and splits. Every
problem keeps its own nodes, the most promising of a step's children last; a step takes the last
ones of several problems, 16 a lane, and in every lane a box moves one column of its edges to where
they are best (`box_descent`; begun anew from a node's guess where it is stuck).
Costs are whole numbers: sums are exact, and the least box is the least box of these costs.
w problems of n cells and c columns, g lanes a step: about g n c words of memory, 60 operations for
each of 16 g n c.

**Source:** the ladders, bounds and splits are ours; the problem is that of Morucci, Orlandi, Roy,
Rudin and Volfovsky (UAI 2020), section 3.1.
"""

from functools import partial
from itertools import product
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jcausal_kernels.box_bounds import Judged, judge
from jcausal_kernels.box_cells import CONTROL, LANE, LAST, TREATED, BoxNodes, LaneProblems, none
from jcausal_kernels.box_descent import descend, totals

Implementation = Literal["auto", "reference", "xla"]


class BoxProblems(NamedTuple):
    """Cells around the starts of boxes: units at one place are one cell.

    - `away` (n, w, c): codes from the start to the cell, above 0 for up, below 0 for down.
    - `cost` (n, w): what the cell adds to the cost of a box. The absolute costs of a problem must
      add up to less than a quarter of the largest integer.
    - `units` (n, w, 2): its controls and its treated.
    - `query` (w,): whose box is sought.

    Of each column, with the cells of no distance first, then those down and then up, outward:

    - `order` (n, w, c): which cell it is.
    - `code`, `price` (n, w, c): its `away` in this column, and its cost.
    - `mark` (n, w, c): whether it is the last of its code, and whom it holds.

    A cell of zeros is padding.
    """

    away: Int[Array, "n w c"]
    cost: Int[Array, "n w"]
    units: Int[Array, "n w 2"]
    query: Int[Array, " w"]
    order: Int[Array, "n w c"]
    code: Int[Array, "n w c"]
    price: Int[Array, "n w c"]
    mark: Int[Array, "n w c"]


class Search(NamedTuple):
    """The nodes that wait, and what is known, of w problems and q queries.

    - `nodes` (w, r): of each problem the first `size` wait, the last one next.
    - `size` (w,): how many.
    - `best` (q,): the cost of the best box that is known, half the largest integer without one.
    - `reach` (q, 2, c): that box.
    - `visited` (q,): nodes looked into.
    - `lost` (q,): the least bound of nodes put aside at the limit; as `best` without one.
    - `moving` (w, g, 2, c): boxes on their way down, one for each lane that a problem can have.
    """

    nodes: BoxNodes
    size: Int[Array, " w"]
    best: Int[Array, " q"]
    reach: Int[Array, "q 2 c"]
    visited: Int[Array, " q"]
    lost: Int[Array, " q"]
    moving: Int[Array, "w g 2 c"]


@jax.jit
def box_problems(
    away: Int[Array, "n w c"],
    cost: Int[Array, "n w"],
    units: Int[Array, "n w 2"],
    query: Int[Array, " w"],
) -> BoxProblems:
    """Lay problems out.

    **Arguments:** the first four fields of `BoxProblems`.

    **Returns:** a `BoxProblems`, with the cells sorted on every column.
    """
    n = away.shape[0]
    key = jnp.abs(away) + jnp.where(away > 0, jnp.abs(away).max(initial=0) + 1, 0)
    order = jnp.argsort(key, axis=0, stable=True)
    code = jnp.take_along_axis(away, order, axis=0)
    price = jnp.take_along_axis(cost[..., None], order, axis=0)
    last = jnp.concatenate([code[1:] != code[:-1], jnp.ones((1, *code.shape[1:]), bool)[:n]])
    mark = LAST * last
    for arm, bit in enumerate((CONTROL, TREATED)):
        mark += bit * (jnp.take_along_axis(units[..., arm, None], order, axis=0) > 0)
    return BoxProblems(away, cost, units, query, order, code, price, mark)


# (2) The reference: every box.


def _reference(problem: BoxProblems, minimum: Int[Array, " 2"]) -> tuple[Array, Array]:
    """The least cost of the only problem, and its box, by trying every pair of edges."""
    away, cost, units = problem.away[:, 0], problem.cost[:, 0], problem.units[:, 0]
    low = [sorted({min(value, 0) for value in column}) for column in away.T.tolist()]
    high = [sorted({max(value, 0) for value in column}) for column in away.T.tolist()]
    least, box = jnp.asarray(none(cost.dtype), cost.dtype), jnp.zeros((2, away.shape[1]), int)
    for edges in product(*low, *high):
        below, above = jnp.split(jnp.asarray(edges, away.dtype), 2)
        held = ((away >= below) & (away <= above)).all(1)
        total = jnp.where(held, cost, 0).sum()
        enough = (jnp.where(held[:, None], units, 0).sum(0) >= minimum).all()
        better = enough & (total < least)
        least = jnp.where(better, total, least)
        box = jnp.where(better, jnp.stack([-below, above]), box)
    return least, box


# (3) The tuned version: one jitted loop, some lanes of 16 nodes a step.


class _Taken(NamedTuple):
    """What a step works on: g lanes, each of one problem.

    - `problem` (g,): which problem.
    - `chunk` (g,): the how manieth lane of its problem, from 0.
    - `there` (g,): the lane has nodes.
    - `left` (w,): nodes of each problem that stay.
    """

    problem: Int[Array, " g"]
    chunk: Int[Array, " g"]
    there: Bool[Array, " g"]
    left: Int[Array, " w"]


def _take(size: Array, lanes: int) -> _Taken:
    """A lane for every problem with nodes, then second ones, and so on."""
    w = size.shape[0]
    chunks = (size + LANE - 1) // LANE
    wanted = jnp.arange(lanes)[:, None] < chunks
    at = jnp.nonzero(wanted.reshape(-1), size=lanes, fill_value=lanes * w)[0]
    there = at < lanes * w
    problem, chunk = jnp.where(there, at % w, 0), at // w
    given = LANE * jnp.zeros_like(size).at[problem].add(there)
    return _Taken(problem, chunk, there, jnp.maximum(size - given, 0))


def _nodes(state: Search, taken: _Taken) -> tuple[BoxNodes, Array]:
    """The nodes of each lane, and which of them there are."""
    last = state.size[taken.problem] - LANE * taken.chunk
    at = last[:, None] - 1 - jnp.arange(LANE)
    there = taken.there[:, None] & (at >= 0)
    rows = taken.problem[:, None], jnp.maximum(at, 0)
    return BoxNodes(*(field[rows] for field in state.nodes)), there


def _better(state: Search, query: Array, total: Array, reach: Array) -> Search:
    """Keep boxes that beat what is known of their query; of equal ones the first."""
    b = query.shape[0]
    best = state.best.at[query].min(total)
    wins = (total == best[query]) & (total < state.best[query])
    first = jnp.full(best.shape, b).at[query].min(jnp.where(wins, jnp.arange(b), b))
    row = jnp.minimum(first, b - 1)
    return state._replace(
        best=best, reach=jnp.where((first < b)[:, None, None], reach[row], state.reach)
    )


def _children(judged: Judged, alive: Array) -> tuple[BoxNodes, Array]:
    """Two for each node that lives: its edge short of `at`, or at least there (g, 2 k, ...).

    A node whose inner box has grown comes back as it is, to be judged again.
    """
    nodes = judged.nodes
    g, k, _, c = nodes.inner.shape
    splits = (judged.at > 0) & ~judged.moved
    here = (jnp.arange(2 * c) == judged.side[..., None]).reshape(g, k, 2, c)
    here &= splits[..., None, None]
    at = judged.at[..., None, None]
    near = nodes._replace(outer=jnp.where(here, jnp.minimum(at - 1, nodes.outer), nodes.outer))
    far = nodes._replace(inner=jnp.where(here, at, nodes.inner))
    fits = (far.inner <= far.outer).all((2, 3))
    both = BoxNodes(*(jnp.concatenate(pair, 1) for pair in zip(near, far)))
    return both, jnp.concatenate([alive & (splits | judged.moved), alive & splits & fits], 1)


def _put(state: Search, taken: _Taken, children: BoxNodes, there: Array) -> Search:
    """Lay children on the nodes that stay, the most promising of each problem last."""
    w = state.size.shape[0]
    problem = jnp.where(there, taken.problem[:, None], w).reshape(-1)
    bound = -children.bound.reshape(-1)
    problem, _, order = lax.sort((problem, bound, jnp.arange(bound.size)), num_keys=2)
    count = jnp.zeros(w + 1, jnp.int32).at[problem].add(1)
    first = jnp.cumsum(count) - count
    at = jnp.append(taken.left, 0)[problem] + jnp.arange(bound.size) - first[problem]
    nodes = BoxNodes(
        *(
            old.at[problem, at].set(new.reshape(-1, *new.shape[2:])[order], mode="drop")
            for old, new in zip(state.nodes, children)
        )
    )
    return state._replace(nodes=nodes, size=taken.left + count[:w])


def _descent(
    state: Search, taken: _Taken, lanes: LaneProblems, guess: Array, minimum: Array
) -> tuple:
    """One move of a box in every lane; the state, the boxes and what they cost.

    Where a move brings nothing, or a box that lacks units, the next one begins at the guess.
    """
    rows = taken.problem, taken.chunk
    box = state.moving[rows]
    now, moved = totals(lanes, box, minimum), descend(lanes, box)
    then = totals(lanes, moved, minimum)
    goes = then < now
    following = jnp.where(goes[:, None, None], moved, guess)
    # lanes of nothing write nowhere
    rows = jnp.where(taken.there, taken.problem, state.size.shape[0]), taken.chunk
    state = state._replace(moving=state.moving.at[rows].set(following, mode="drop"))
    total = jnp.where(taken.there, jnp.minimum(now, then), none(now.dtype))
    return state, jnp.where(goes[:, None, None], moved, box), total


def _step(
    found: BoxProblems, minimum: Array, limit: Array, tolerance: Array, state: Search
) -> Search:
    """Judge the last nodes, keep better boxes, and put the children in their place."""
    most, g = none(found.cost.dtype), state.moving.shape[1]
    taken = _take(state.size, g)
    nodes, there = _nodes(state, taken)
    problem = taken.problem
    lanes = LaneProblems(*(getattr(found, name)[:, problem] for name in LaneProblems._fields))
    query = jnp.broadcast_to(found.query[problem][:, None], there.shape)
    known = state.best[query] - tolerance
    live = there & (nodes.bound < known)
    over = live & (state.visited[query] >= limit)
    lost = state.lost.at[query].min(jnp.where(over, nodes.bound, most))
    live &= ~over
    judged = judge(lanes, nodes, known[:, 0], minimum)
    total = jnp.where(live, judged.total, most)
    state, box, cost = _descent(state, taken, lanes, judged.guess, minimum)
    state = _better(
        state,
        jnp.concatenate([query.reshape(-1), query[:, 0]]),
        jnp.concatenate([total.reshape(-1), cost]),
        jnp.concatenate([nodes.inner.reshape(-1, *box.shape[1:]), box]),
    )
    alive = live & judged.alive & (judged.nodes.bound < state.best[query] - tolerance)
    children, kept = _children(judged, alive)
    state = _put(state, taken, children, kept)
    return state._replace(visited=state.visited.at[query].add(live), lost=lost)


@jax.jit
def _run(
    found: BoxProblems, state: Search, minimum: Array, limit: Array, tolerance: Array, steps: Array
) -> Search:
    room = state.nodes.bound.shape[1] - LANE * state.moving.shape[1]

    def more(carry: tuple[Array, Search]) -> Array:
        made, now = carry
        return (made < steps) & (now.size > 0).any() & (now.size <= room).all()

    def go(carry: tuple[Array, Search]) -> tuple[Array, Search]:
        made, now = carry
        return made + 1, _step(found, minimum, limit, tolerance, now)

    return lax.while_loop(more, go, (jnp.zeros_like(steps), state))[1]


# (4) The choice: "auto" is the loop on every platform.
# (5) The public functions.


@partial(jax.jit, static_argnames=("queries", "capacity", "lanes"))
def start_search(found: BoxProblems, queries: int, capacity: int, lanes: int = 16) -> Search:
    """One node for each problem, from the start to where no cell lies further.

    **Arguments:** `queries` is the number of queries q; `capacity` how many nodes of a problem may
    wait; `lanes` how many lanes of 16 nodes a step takes.

    **Raises:** ValueError when the capacity is below two steps.
    """
    _, w, c = found.away.shape
    if capacity < 2 * LANE * lanes:
        raise ValueError(f"capacity is {capacity}: {lanes} lanes need {2 * LANE * lanes}.")
    reach = jnp.stack([jnp.maximum(-found.away, 0).max(0), jnp.maximum(found.away, 0).max(0)], 1)
    most, kind = none(found.cost.dtype), found.away.dtype
    first = jnp.zeros((w, capacity, 2, c), kind)
    nodes = BoxNodes(
        first, first.at[:, 0].set(reach), jnp.full((w, capacity), -most, found.cost.dtype)
    )
    return Search(
        nodes,
        jnp.ones(w, jnp.int32),
        jnp.full(queries, most, found.cost.dtype),
        jnp.zeros((queries, 2, c), kind),
        jnp.zeros(queries, jnp.int32),
        jnp.full(queries, most, found.cost.dtype),
        jnp.broadcast_to(reach[:, None], (w, lanes, 2, c)),
    )


def box_search(
    found: BoxProblems,
    state: Search,
    minimum: Int[Array, " 2"],
    *,
    steps: int | Int[Array, ""],
    limit: int | Int[Array, ""] = 2**30,
    tolerance: int | Int[Array, ""] = 0,
    implementation: Implementation = "auto",
) -> Search:
    """Go on with a search: at most `steps` steps.

    It stops early when no node waits, or when a problem has no room for the children of another
    step: take nodes of it out, and put them back when there is. A query whose nodes are all gone
    has its best box in `reach`, to within `tolerance`; nodes beyond `limit` of one query are put
    aside, and `lost` keeps the least of their bounds.

    **Arguments:** `minimum` (2,): units of each arm that a box needs; costs are those of `found`.

    **Returns:** the `Search`; "reference" tries all boxes of a single problem.

    **Raises:** ValueError for an unknown `implementation`.
    """
    if implementation == "reference":
        best, reach = _reference(found, minimum)
        return state._replace(
            size=jnp.zeros_like(state.size),
            best=best[None],
            reach=reach[None].astype(state.reach.dtype),
        )
    if implementation not in ("auto", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    tolerance = jnp.asarray(tolerance, found.cost.dtype)
    minimum, limit, steps = map(jnp.asarray, (minimum, limit, steps))
    return _run(found, state, minimum, limit, tolerance, steps)
