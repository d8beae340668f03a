"""The best box around a point, by branch and bound over many boxes at once.

(1) Formula, shapes, cost
    minimise  sum_{k in box} cost[k]   subject to  sum_{k in box} units[k, arm] >= minimum[arm]
over boxes -reach[0] <= away[k] <= reach[1], reach (2, c) in rungs. A node is an inner and an outer
box; its cells are held (in the inner box), out (not in the outer one), or open. Bounds, each valid
for every box between the two, with N the open cells of negative cost:
    (a) held costs + costs of N + the least that the missing units of one arm add
    (b) for each column: held + N within the inner box's column + min over the upper edge + min over
        the lower edge, where an edge takes in N, and the cells that this column alone keeps out
Edges whose bound meets the incumbent are cut off; edges stand only at cells of N, or of an arm that
lacks units. A node is split on the side with most of N beyond the inner box, where half of it lies.
Costs are whole numbers: sums are exact, and the least box is the least box of these costs.
w problems of n cells and c columns, b nodes a step: bytes and operations of the order of b n c.

**Source:** the ladders and bounds are ours; the problem is that of Morucci, Orlandi, Roy, Rudin and
Volfovsky (UAI 2020), section 3.1.
"""

from functools import partial
from itertools import product
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

Implementation = Literal["auto", "reference", "xla"]


class BoxProblems(NamedTuple):
    """Cells around the starts of boxes: units at one place are one cell.

    `away` (n, w, c): rungs up, or below 0 down, from the start; `cost` (n, w); `units` (n, w, 2)
    by arm; `query` (w,): whose box is sought. `order` (n, w, c): cells by rising `away` on
    each column, `rung` (n, w, c): `away` in that order. The absolute costs of a problem must add
    up to less than a quarter of the integers. A cell of zeros is padding. The cells come first
    because running sums go along them.
    """

    away: Int[Array, "n w c"]
    cost: Int[Array, "n w"]
    units: Int[Array, "n w 2"]
    query: Int[Array, " w"]
    order: Int[Array, "n w c"]
    rung: Int[Array, "n w c"]


class Nodes(NamedTuple):
    """Parts of the search: every box that holds `inner` and lies in `outer` (k, 2, c)."""

    problem: Int[Array, " k"]
    inner: Int[Array, "k 2 c"]
    outer: Int[Array, "k 2 c"]
    bound: Int[Array, " k"]


class Search(NamedTuple):
    """The nodes that wait (the first `size`, the last one next), and what is known of q queries.

    `best` (q,): cost of the best box, half the largest integer without one; `reach` (q, 2, c): that
    box; `visited` (q,) nodes; `lost` (q,): the least bound of nodes put aside at the limit.
    """

    nodes: Nodes
    size: Int[Array, ""]
    best: Int[Array, " q"]
    reach: Int[Array, "q 2 c"]
    visited: Int[Array, " q"]
    lost: Int[Array, " q"]


def none(dtype: jnp.dtype) -> int:
    """The cost that stands for no box at all."""
    return int(jnp.iinfo(dtype).max // 2)


def box_problems(
    away: Int[Array, "n w c"],
    cost: Int[Array, "n w"],
    units: Int[Array, "n w 2"],
    query: Int[Array, " w"],
) -> BoxProblems:
    """Lay problems out.

    **Arguments:** the first four fields of `BoxProblems`.

    **Returns:** a `BoxProblems`, with the order of the cells on every column.
    """
    order = jnp.argsort(away, axis=0, stable=True)
    rung = jnp.take_along_axis(away, order, axis=0)
    return BoxProblems(away, cost, units, query, order, rung)


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


# (3) The tuned version: one jitted loop, `batch` nodes a step.


class _Cells(NamedTuple):
    """What n cells are to each of b nodes."""

    open: Array  # (n, b)
    adds: Array  # what an edge takes on with the cell: open costs below 0, or kept out by one side
    useful: Array  # edges stand at these
    held: Array  # (b,) costs of the inner box
    negative: Array  # costs of the open cells of negative cost
    extra: Array  # the least that missing units add
    enough: Array
    hopeless: Array


def _cells(found: BoxProblems, nodes: Nodes, minimum: Array) -> _Cells:
    away, cost = found.away[:, nodes.problem], found.cost[:, nodes.problem]
    count = found.units[:, nodes.problem]
    times = _outside(away, nodes.inner).sum(-1)
    held = times == 0
    opened = ~held & ~_outside(away, nodes.outer).any(-1)
    missing = minimum - jnp.where(held[..., None], count, 0).sum(0)
    there = jnp.where(opened[..., None], count, 0)
    return _Cells(
        opened,
        jnp.where(opened & ((cost < 0) | (times == 1)), cost, 0),
        opened & ((cost < 0) | ((there > 0) & (missing > 0)).any(-1)),
        jnp.where(held, cost, 0).sum(0),
        jnp.where(opened, jnp.minimum(cost, 0), 0).sum(0),
        _least_extra(cost, there, missing),
        (missing <= 0).all(-1),
        (there.sum(0) < missing).any(-1),
    )


def _outside(away: Array, reach: Array) -> Array:
    return (away < -reach[:, 0]) | (away > reach[:, 1])


def _least_extra(cost: Array, there: Array, missing: Array) -> Array:
    """What the missing units add at least: of the arm that costs more, so many cheapest units."""
    most = none(cost.dtype)
    price = jnp.where(there > 0, jnp.maximum(cost, 0)[..., None] // jnp.maximum(there, 1), most)
    cheapest = price.min(0)
    return jnp.where((missing > 0) & (cheapest < most), cheapest * missing, 0).max(-1)


class _Side(NamedTuple):
    """The places of one edge, (n, b, c), for each of b nodes and c columns."""

    rung: Array  # how far from the start
    gain: Array  # what the edge adds when it stands there
    end: Array  # between the boxes, and no further cell stands at the same rung
    useful: Array
    mass: Array  # what of negative cost stands there


def _sides(found: BoxProblems, nodes: Nodes, cells: _Cells) -> tuple[_Side, _Side]:
    """The lower and the upper edges: running sums over the cells between inner and outer box."""
    order, rung = found.order[:, nodes.problem], found.rung[:, nodes.problem]
    b, c = order.shape[1:]
    packed = 2 * cells.adds + cells.useful  # one gather for both
    at = order * b + jnp.arange(b)[:, None]
    packed = packed.reshape(-1).at[at].get(mode="promise_in_bounds", unique_indices=True)
    below = (rung < -nodes.inner[:, 0]) & (rung >= -nodes.outer[:, 0])
    above = (rung > nodes.inner[:, 1]) & (rung <= nodes.outer[:, 1])
    step = jnp.where(below | above, packed >> 1, 0)
    useful = (packed & 1) == 1
    total = _running(step)
    down = jnp.where(below, step, 0).sum(0)
    differ = rung[1:] != rung[:-1]
    edge = jnp.ones((1, b, c), bool)
    first, last = jnp.concatenate([edge, differ]), jnp.concatenate([differ, edge])
    mass = 1 - jnp.minimum(step, 0)
    lower = _Side(-rung, down - total + step, below & first, below & useful, mass)
    return lower, _Side(rung, total - down, above & last, above & useful, mass)


def _running(steps: Array) -> Array:
    """Cumulative sums along the first axis; on CPU a loop beats XLA's own fivefold."""

    def loop(x: Array) -> Array:
        return lax.scan(lambda s, v: (s + v, s + v), jnp.zeros_like(x[0]), x)[1]

    return lax.platform_dependent(steps, cpu=loop, default=partial(jnp.cumsum, axis=0))


class _Judged(NamedTuple):
    """Nodes with tighter boxes, whether they live, and where to split them."""

    nodes: Nodes
    alive: Array
    moved: Array  # the inner box has grown
    side: Array
    at: Array  # 0 where no useful cell is left between the boxes
    total: Array
    enough: Array
    guess: Array  # (b, 2, c): the best place of each edge by itself


def _judge(found: BoxProblems, nodes: Nodes, best: Array, minimum: Array) -> _Judged:
    """Bound nodes, cut their edges off, and choose where to split."""
    cells = _cells(found, nodes, minimum)
    sides = _sides(found, nodes, cells)
    most, far = none(cells.held.dtype), none(nodes.inner.dtype)
    gains = [jnp.where(side.end, side.gain, most) for side in sides]
    least = jnp.stack([jnp.minimum(gain.min(0), 0) for gain in gains], 1)
    beyond = [jnp.where(side.useful, 1 - side.mass, 0).sum(0) for side in sides]
    rest = (cells.held + cells.negative)[:, None] - sum(beyond)
    bound = jnp.maximum(cells.held + cells.negative + cells.extra, (rest + least.sum(1)).max(-1))

    room = best[:, None, None] - rest[:, None] - least[:, ::-1]  # an edge must add less than this
    stay = room > 0
    nearest, farthest, guess = [], [], []
    for s, (side, gain) in enumerate(zip(sides, gains)):
        fits = gain < jnp.minimum(room[:, s], most)
        nearest.append(jnp.where(fits, side.rung, far).min(0))
        hull = jnp.where(side.useful, side.rung, 0).max(0)
        farthest.append(jnp.minimum(jnp.where(fits, side.rung, 0).max(0), hull))
        guess.append(jnp.where(gain <= jnp.minimum(least[:, s], -1), side.rung, 0).max(0))
    inner = jnp.where(stay, nodes.inner, jnp.stack(nearest, 1))
    outer = jnp.maximum(jnp.stack(farthest, 1), inner)
    bound = jnp.maximum(bound, nodes.bound)
    alive = (bound < best) & (inner < far).all((1, 2)) & ~cells.hopeless
    side, at = _split(sides, inner, outer)
    guess = jnp.maximum(nodes.inner, jnp.stack(guess, 1))
    moved = (inner > nodes.inner).any((1, 2))
    tight = Nodes(nodes.problem, inner, outer, bound)
    return _Judged(tight, alive, moved, side, at, cells.held, cells.enough, guess)


def _split(sides: tuple[_Side, _Side], inner: Array, outer: Array) -> tuple[Array, Array]:
    """The side with most negative cost between the boxes, and where half of it lies beyond.

    Cells that are useful for their number only count as the least cost. At 0 there is none.
    """
    b, _, c = inner.shape
    masses = []
    for s, side in enumerate(sides):
        between = (side.rung > inner[:, s]) & (side.rung <= outer[:, s])
        masses.append(jnp.where(side.useful & between, side.mass, 0))
    pick = jnp.argmax(jnp.concatenate([mass.sum(0) for mass in masses], -1), axis=-1)
    rows = (slice(None), jnp.arange(b), pick % c)
    down = pick < c
    mass = jnp.where(down, masses[0][rows], masses[1][rows])
    rung = jnp.where(down, sides[0].rung[rows], sides[1].rung[rows])
    before, whole = _running(mass), mass.sum(0)
    beyond = jnp.where(down, before, whole - before + mass)  # this cell and those further out
    half = (beyond >= (whole + 1) // 2) & (mass > 0)
    return pick, jnp.where(half, rung, 0).max(0)


def _children(judged: _Judged, alive: Array) -> tuple[Nodes, Array]:
    """Two for each node that lives: its edge short of `at`, or at least there.

    Where nothing is left to split, the inner box is the only one: it comes back if it has grown,
    so that its cost is looked at.
    """
    nodes, splits = judged.nodes, judged.at > 0
    b, _, c = nodes.inner.shape
    here = (jnp.arange(2 * c) == judged.side[:, None]).reshape(b, 2, c) & splits[:, None, None]
    at = judged.at[:, None, None]
    near = nodes._replace(outer=jnp.where(here, at - 1, nodes.outer))
    far = nodes._replace(inner=jnp.where(here, at, nodes.inner))
    both = Nodes(*(jnp.concatenate(pair) for pair in zip(near, far)))
    return both, jnp.concatenate([alive & (splits | judged.moved), alive & splits])


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


def _totals(found: BoxProblems, problem: Array, reach: Array, minimum: Array) -> Array:
    """The cost of one box a row, that of no box where it lacks units."""
    held = ~_outside(found.away[:, problem], reach).any(-1)
    enough = jnp.where(held[..., None], found.units[:, problem], 0).sum(0) >= minimum
    total = jnp.where(held, found.cost[:, problem], 0).sum(0)
    return jnp.where(enough.all(-1), total, none(total.dtype))


def _step(
    found: BoxProblems, minimum: Array, limit: Array, slack: Array, batch: int, state: Search
) -> Search:
    """Judge the last nodes, keep better boxes, and put the children in their place."""
    most = none(found.cost.dtype)
    start = jnp.maximum(state.size - batch, 0)
    nodes = Nodes(*(lax.dynamic_slice_in_dim(a, start, batch) for a in state.nodes))
    query = found.query[nodes.problem]
    live = (start + jnp.arange(batch) < state.size) & (nodes.bound < state.best[query] - slack)
    over = live & (state.visited[query] >= limit)
    lost = state.lost.at[query].min(jnp.where(over, nodes.bound, most))
    live &= ~over
    judged = _judge(found, nodes, state.best[query] - slack, minimum)
    guess = _totals(found, nodes.problem, judged.guess, minimum)
    total = jnp.where(judged.enough, judged.total, most)
    take = guess < total
    total = jnp.where(live, jnp.minimum(guess, total), most)
    reach = jnp.where(take[:, None, None], judged.guess, nodes.inner)
    state = _better(state, query, total, reach)
    alive = live & judged.alive & (judged.nodes.bound < state.best[query] - slack)
    children, there = _children(judged, alive)
    order = jnp.argsort(jnp.where(there, -children.bound, most), stable=True)
    rows = (a[order] for a in children)
    kept = (lax.dynamic_update_slice_in_dim(a, r, start, 0) for a, r in zip(state.nodes, rows))
    return state._replace(
        nodes=Nodes(*kept),
        size=start + there.sum(),
        visited=state.visited.at[query].add(live),
        lost=lost,
    )


@partial(jax.jit, static_argnames="batch")
def _run(
    found: BoxProblems,
    state: Search,
    minimum: Array,
    limit: Array,
    slack: Array,
    steps: Array,
    batch: int,
) -> Search:
    room = state.nodes.bound.shape[0] - 2 * batch

    def more(carry: tuple[Array, Search]) -> Array:
        made, now = carry
        return (made < steps) & (now.size > 0) & (now.size <= room)

    def go(carry: tuple[Array, Search]) -> tuple[Array, Search]:
        made, now = carry
        return made + 1, _step(found, minimum, limit, slack, batch, now)

    return lax.while_loop(more, go, (jnp.zeros_like(steps), state))[1]


# (4) The choice: "auto" is the loop on every platform.
# (5) The public functions.


def start_search(found: BoxProblems, queries: int, capacity: int) -> Search:
    """One node for each problem, from the start to where no cell lies further.

    **Arguments:** `queries` is the number of queries q; `capacity` how many nodes may wait.

    **Raises:** ValueError when the problems do not fit.
    """
    _, w, c = found.away.shape
    if capacity < w:
        raise ValueError(f"capacity is {capacity}: there are {w} problems.")
    reach = jnp.stack([jnp.maximum(-found.away, 0).max(0), jnp.maximum(found.away, 0).max(0)], 1)
    most = none(found.cost.dtype)
    room = [(0, capacity - w)]
    nodes = Nodes(
        jnp.pad(jnp.arange(w), room),
        jnp.zeros((capacity, 2, c), found.away.dtype),
        jnp.pad(reach, [*room, (0, 0), (0, 0)]),
        jnp.full(capacity, -most, found.cost.dtype),
    )
    return Search(
        nodes,
        jnp.asarray(w),
        jnp.full(queries, most, found.cost.dtype),
        jnp.zeros((queries, 2, c), found.away.dtype),
        jnp.zeros(queries, jnp.int32),
        jnp.full(queries, most, found.cost.dtype),
    )


def box_search(
    found: BoxProblems,
    state: Search,
    minimum: Int[Array, " 2"],
    *,
    steps: int | Int[Array, ""],
    limit: int | Int[Array, ""] = 2**30,
    slack: int | Int[Array, ""] = 0,
    batch: int = 256,
    implementation: Implementation = "auto",
) -> Search:
    """Go on with a search: at most `steps` steps of `batch` nodes each.

    It stops early when no node waits, or when there is no room for the children of another step:
    take nodes out, and put them back when there is. A query whose nodes are all gone has its best
    box in `reach`, to within `slack`; nodes beyond `limit` of one query are put aside, and `lost`
    keeps the least of their bounds.

    **Arguments:** `minimum` (2,): units of each arm that a box needs; costs are those of `found`.

    **Returns:** the `Search`; "reference" tries all boxes of a single problem.

    **Raises:** ValueError for too small a capacity, or an unknown `implementation`.
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
    if state.nodes.bound.shape[0] < 3 * batch:
        raise ValueError(f"room for {state.nodes.bound.shape[0]} nodes: 3 x {batch} are needed.")
    slack = jnp.asarray(slack, found.cost.dtype)
    minimum, limit, steps = map(jnp.asarray, (minimum, limit, steps))
    return _run(found, state, minimum, limit, slack, steps, batch)
