"""What the surfaces say of every expansion that a box could make next."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.matching.boxes._grow import Grid, Problem, Side, State, Steps, options
from jcausal.matching.boxes._space import Layout, Queries, pick
from jcausal.surfaces import line_offsets
from jcausal_kernels import Slabs, grid_variance

BLOCK = 64  # boxes that ask the surfaces together
ROW = 4  # levels that a point more is worth, where levels are asked by the row


class Looks(NamedTuple):
    """What the surfaces say of every proposal.

    Variance over the points that it adds; `shift`: the prediction at the new edge, the other
    covariates at the box's centre, minus the prediction at the query itself.
    """

    variance: Float[Array, "q k 2"]
    shift: Float[Array, "q k 2"]


def look(
    problem: Problem,
    queries: Queries,
    home: Float[Array, "q 2"],
    asks: Bool[Array, " q"],
    state: State,
    looks: Looks,
    plan: Layout,
    grid: Grid,
    points: int,
) -> Looks:
    """What the surfaces say to the boxes that ask, block by block; the others keep their looks."""
    q, count = asks.shape[0], asks.sum()
    order, size = jnp.argsort(~asks, stable=True), min(BLOCK, q)

    def block(carry: tuple[Array, Looks]) -> tuple[Array, Looks]:
        done, looks = carry
        place = done + jnp.arange(size)
        rows = order[jnp.minimum(place, q - 1)]
        part = State(*(field[rows] for field in state))
        few = pick(queries, rows), home[rows], asks[rows], part
        found = _look(problem, *few, plan, grid, points)
        rows = jnp.where(place < count, rows, q)
        return done + size, Looks(
            *(old.at[rows].set(new, mode="drop") for old, new in zip(looks, found))
        )

    first = (jnp.zeros((), count.dtype), looks)
    return lax.while_loop(lambda carry: carry[0] < count, block, first)[1]


def nothing_seen(home: Float[Array, "q 2"], plan: Layout) -> Looks:
    """Looks of boxes that have asked nothing yet."""
    none = jnp.zeros((len(home), len(plan.ordered) + len(plan.entries), 2), home.dtype)
    return Looks(none, none)


class Around(NamedTuple):
    """Where each box stands: its query, its centre, its corners, and f(centre) - f(query)."""

    own: Float[Array, "q p"]
    centre: Float[Array, "q p"]
    low: Float[Array, "q p"]
    high: Float[Array, "q p"]
    change: Float[Array, "q 2"]


def _look(
    problem: Problem,
    queries: Queries,
    home: Float[Array, "q 2"],
    growing: Bool[Array, " q"],
    state: State,
    plan: Layout,
    grid: Grid,
    points: int,
) -> Looks:
    down, up, steps = options(problem, queries, state, plan)
    wanted, width = growing[:, None] & steps.allowed, len(plan.ordered)
    around = _around(problem, queries, home, down, up, plan)
    parts = []
    if width:
        parts.append(_numbers(problem, around, steps, wanted[:, :width], plan, grid, points))
    if len(plan.entries):
        parts.append(_levels(problem, around, wanted[:, width:], plan, grid, points))
    return Looks(*(jnp.concatenate(part, axis=1) for part in zip(*parts)))


def _around(
    problem: Problem, queries: Queries, home: Array, down: Side, up: Side, plan: Layout
) -> Around:
    x, ordered = queries.x, plan.ordered
    centre = x.at[:, ordered].set((down.value + up.value) / 2)
    low, high = (x.at[:, ordered].set(side.value) for side in (down, up))
    return Around(x, centre, low, high, problem.surface(centre) - home)


def _numbers(
    problem: Problem,
    around: Around,
    steps: Steps,
    wanted: Bool[Array, "q o"],
    plan: Layout,
    grid: Grid,
    points: int,
) -> tuple[Array, Array]:
    """Variance and shift of the next step along each ladder: (q, o, 2) both."""
    (q, width), ordered = wanted.shape, jnp.asarray(plan.ordered)
    line = _line(steps.start, steps.stop, points if grid == "line" else 2)
    change = problem.surface.along(around.centre, ordered[None], line, wanted)
    shift = change[:, :, -1] + around.change[:, None]
    if grid == "line":
        return change.var(2), shift
    low, high = (jnp.repeat(a, width, axis=0) for a in (around.low, around.high))
    ends = steps.start.ravel(), steps.stop.ravel()
    slabs = Slabs(low, high, jnp.tile(ordered, q), *ends)
    return _by_points(problem, slabs, plan, points).reshape(q, width, 2), shift


def _line(start: Float[Array, "*r"], stop: Float[Array, "*r"], points: int) -> Float[Array, "*r g"]:
    """Evenly spaced points, both ends included."""
    share = line_offsets(points, 1)[:, 0].astype(start.dtype)
    return start[..., None] + share * (stop - start)[..., None]


def _levels(
    problem: Problem,
    around: Around,
    wanted: Bool[Array, "q e"],
    plan: Layout,
    grid: Grid,
    points: int,
) -> tuple[Array, Array]:
    """Variance and shift of opening each level: (q, e, 2) both.

    On a line the points are the query's own level and, from the middle on, the other one.
    """
    change = _opened(problem, around, wanted, plan)
    if grid == "line":
        near = points // 2 / points
        var = near * (1 - near) * jnp.square(change)
    else:
        var = _lattice_of_levels(problem, around, plan, points)
    shift = change + around.change[:, None]
    if not plan.flags:
        return var, shift
    entry = plan.observed[:, 3]
    first, asked = change[:, entry], wanted[:, entry]
    whole_var, whole_shift = _observed(problem, around, first, asked, plan, grid, points)
    return var.at[:, entry].set(whole_var), shift.at[:, entry].set(whole_shift)


def _opened(
    problem: Problem, around: Around, wanted: Bool[Array, "q e"], plan: Layout
) -> Float[Array, "q e 2"]:
    """How f changes from the centre to each level, which may call a number missing."""
    slot, level, entry, place = _rows_of_levels(plan.heights)
    (q, p), r = around.own.shape, len(slot)
    column = plan.categories[slot]
    base = jnp.repeat(around.centre[:, None], r, axis=1)
    for number, flag in plan.flags:
        base = base.at[:, column == flag, number].set(problem.space.fill[number])
    change = problem.surface.level_changes(
        base.reshape(-1, p),
        jnp.tile(jnp.asarray(column), q),
        jnp.tile(jnp.asarray(level), (q, 1)),
        wanted[:, entry].reshape(q * r, -1),
    )
    change = change.reshape(q, -1, 2)[:, place]
    if not plan.flags:
        return change
    number, missing = plan.observed[:, 0], plan.observed[:, 3] + 1
    fill = jnp.broadcast_to(problem.space.fill[number][:, None], (q, len(number), 1))
    columns = jnp.asarray(number)[None]
    filled = problem.surface.along(around.centre, columns, fill, wanted[:, missing])
    return change.at[:, missing].add(jnp.where(wanted[:, missing, None], filled[:, :, 0], 0))


def _rows_of_levels(heights: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """All levels as rows of one category each: its slot (r,), levels and entries (r, w).

    And where each entry stands among the r w levels, of which the last of a category may repeat.
    """
    tallest = max(heights)
    wide = min(
        range(1, tallest + 1), key=lambda w: sum(-(-h // w) for h in heights) * (w + 1 + ROW)
    )
    rows = [(c, level) for c, h in enumerate(heights) for level in range(0, h, wide)]
    slot, first = np.array(rows, np.int32).T
    level = np.minimum(first[:, None] + np.arange(wide), np.array(heights)[slot][:, None] - 1)
    entry = np.cumsum([0, *heights])[slot][:, None] + level
    place = np.unique(entry, return_index=True)[1]
    return slot, level.astype(np.int32), entry, place


def _observed(
    problem: Problem,
    around: Around,
    first: Float[Array, "q s 2"],
    wanted: Bool[Array, "q s"],
    plan: Layout,
    grid: Grid,
    points: int,
) -> tuple[Array, Array]:
    """The same of opening "observed" to a query whose value is missing: the whole ladder at once.

    The variance is over the query itself and points along the ladder, the shift in each surface
    the larger one of the ladder's two ends. `first` leads to the fill, observed.
    """
    (q, p), (number, slot, flag, _) = around.own.shape, plan.observed.T
    count, place = len(number), np.arange(len(number))
    base = jnp.repeat(around.centre[:, None], count, axis=1).at[:, place, flag].set(0)
    foot, top = (problem.space.ladder[slot, code] for code in (0, -1))
    at = jnp.tile(_line(foot, top, points if grid == "line" else 2), (q, 1))[:, None]
    moving, asked = jnp.tile(jnp.asarray(number), q)[:, None], wanted.reshape(-1, 1)
    line = problem.surface.along(base.reshape(-1, p), moving, at, asked)
    change = first[:, :, None] + line.reshape(q, count, -1, 2)
    ends = jnp.abs(change[:, :, jnp.array([0, -1])] + around.change[:, None, None])
    if grid == "line":
        own = jnp.zeros_like(change[:, :, :1])
        return jnp.concatenate([own, change], axis=2).var(2), ends.max(2)
    low, high = (
        jnp.repeat(corner[:, None], count, axis=1).at[:, place, number].set(end).reshape(-1, p)
        for corner, end in ((around.low, foot), (around.high, top))
    )
    start = around.own[:, flag].ravel()
    slabs = Slabs(low, high, jnp.tile(jnp.asarray(flag), q), start, jnp.zeros_like(start))
    return _by_points(problem, slabs, plan, points).reshape(q, count, 2), ends.max(2)


def _lattice_of_levels(
    problem: Problem, around: Around, plan: Layout, points: int
) -> Float[Array, "q e 2"]:
    """Variance over a lattice in the box, half of it at the new level."""
    columns, level = plan.categories[plan.entries[:, 0]], plan.entries[:, 1]
    q, e = around.own.shape[0], len(level)
    low, high = (jnp.repeat(a, e, axis=0) for a in (around.low, around.high))
    start, stop = around.own[:, columns].ravel(), jnp.tile(jnp.asarray(level, low.dtype), q)
    slabs = Slabs(low, high, jnp.tile(jnp.asarray(columns), q), start, stop)
    return _by_points(problem, slabs, plan, points).reshape(q, e, 2)


def lattice_offsets(points: int, p: int) -> Float[np.ndarray, "g p"]:
    """A rank-1 lattice of `points` points in [0, 1)^p, by powers of the generalised golden ratio.

    **Source:** the R-sequence; the ratio solves r^(p+1) = r + 1.
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (p + 1))
    generator = ratio ** -np.arange(1, p + 1)
    return (0.5 + np.outer(np.arange(points), generator)) % 1.0


def _by_points(problem: Problem, slabs: Slabs, plan: Layout, points: int) -> Float[Array, "m 2"]:
    """By evaluation: in a category an offset below one half stands for the query's own level."""
    category = jnp.zeros(slabs.lower.shape[1], bool).at[plan.categories].set(True)
    shares = jnp.asarray(lattice_offsets(points, len(plan.kinds)), slabs.lower.dtype)
    return grid_variance(lambda x: problem.ask(x, plan), slabs, shares, category)
