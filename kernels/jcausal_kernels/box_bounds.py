"""Bounds on all boxes between an inner and an outer one, for `box_search`.

(1) Formula, shapes, cost
    A cell is held (in the inner box), out (not in the outer one), or open: kept out of the inner
    box by one side or by more. Bounds, each valid for every box between the two, with N the open
    cells of negative cost:
    (a) held costs + costs of N + the least that the missing units of one arm add
    (b) for each column: held + N within the inner box's column + min over the upper edge + min over
        the lower edge, where an edge takes in N, and the cells that this side alone keeps out
    Edges whose bound meets the best box known are cut off; edges stand only at cells of N, or of an
    arm that lacks units. Where nothing moves the inner box, a node is split: an edge stands short
    of a code, or at it or beyond. The first loses l, the negative costs from the code on, the
    second takes in p, the positive costs up to the code, each a quarter for every further side that
    keeps the cell out; the code has the largest l p / (l + p), with a little for equal halves.
    g lanes, each of one problem of n cells and c columns, and of k <= 16 nodes: the sides that keep
    a cell out of each node are packed, two bits a node, so that running sums along the sorted cells
    need one word for all nodes. About 10 operations for each of g n c k, and 60 where the cell is
    open to a node of the lane.

**Source:** ours.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

LANE = 16  # nodes a lane: two bits each in a word
NEW, LAST, TURN, CONTROL, TREATED = 1, 2, 4, 8, 16  # marks of a sorted cell
EVEN = 0.03  # what equal halves of a split are worth
LITTLE = 0.001  # of a mean cost: what a useful cell counts at least in a split


class Lanes(NamedTuple):
    """One problem a lane: n cells, g lanes, c columns; see `BoxProblems`."""

    away: Int[Array, "n g c"]
    cost: Int[Array, "n g"]
    units: Int[Array, "n g 2"]
    order: Int[Array, "n g c"]
    code: Int[Array, "n g c"]
    price: Int[Array, "n g c"]
    mark: Int[Array, "n g c"]


class Boxes(NamedTuple):
    """Inner and outer boxes (g, k, 2, c) of k nodes a lane, and what their best is known to be."""

    inner: Int[Array, "g k 2 c"]
    outer: Int[Array, "g k 2 c"]
    bound: Int[Array, "g k"]


class Judged(NamedTuple):
    """Nodes with tighter boxes, whether they live, and where to split them."""

    boxes: Boxes
    alive: Array  # (g, k)
    moved: Array  # the inner box has grown: to be judged again
    side: Array  # (g, k): column, + c for the upper side
    at: Array  # 0 where no useful cell is left between the boxes
    total: Array  # of the inner box as it was; that of no box where it lacks units
    guess: Array  # (g, 2, c): the best place of each edge by itself, of the first node


def none(dtype: jnp.dtype) -> int:
    """The cost that stands for no box at all."""
    return int(jnp.iinfo(dtype).max // 2)


class _Cells(NamedTuple):
    """What the cells are to the nodes."""

    word: Array  # (n, g): 0 not open; else how many sides keep it out, 3 for more
    held: Array  # (g, k) costs of the inner box
    negative: Array  # costs of the open cells of negative cost
    extra: Array  # the least that missing units add
    missing: Array  # (g, k, 2) of either arm
    hopeless: Array


def _cells(lanes: Lanes, inner: Array, outer: Array, minimum: Array) -> _Cells:
    """`inner`, `outer` (g, 2, c, k)."""
    away, cost = lanes.away[..., None], lanes.cost[..., None]
    shut = (away < -inner[:, 0]) | (away > inner[:, 1])
    gone = (away < -outer[:, 0]) | (away > outer[:, 1])
    times = (shut + 2**16 * gone.astype(jnp.int32)).sum(2)
    opened, held = (times > 0) & (times < 2**16), times == 0
    state = jnp.where(opened, jnp.minimum(times, 3), 0).astype(jnp.uint32)
    shift = 2 * jnp.arange(inner.shape[-1], dtype=jnp.uint32)
    missing, hopeless, extra = [], False, 0
    for arm in (0, 1):
        count = lanes.units[:, :, arm, None]
        lack = minimum[arm] - jnp.where(held, count, 0).sum(0)
        there = jnp.where(opened, count, 0)
        missing.append(lack)
        hopeless |= there.sum(0) < lack
        extra = jnp.maximum(extra, _least_extra(cost, there, lack))
    return _Cells(
        (state << shift).sum(-1, dtype=jnp.uint32),
        jnp.where(held, cost, 0).sum(0),
        jnp.where(opened, jnp.minimum(cost, 0), 0).sum(0),
        extra,
        jnp.stack(missing, -1),
        hopeless,
    )


def _least_extra(cost: Array, there: Array, missing: Array) -> Array:
    """What the missing units add at least: so many cheapest units."""
    most = none(cost.dtype)
    price = jnp.where(there > 0, jnp.maximum(cost, 0) // jnp.maximum(there, 1), most)
    cheapest = price.min(0)
    return jnp.where((missing > 0) & (cheapest < most), cheapest * missing, 0)


class _Row(NamedTuple):
    """One sorted cell of every column, of the zeros first, then down, then up, outward."""

    word: Array  # (g, c)
    code: Array
    price: Array
    mark: Array


class _There(NamedTuple):
    """What a row is to the nodes, (g, c, k); flags are (g, c, 1)."""

    state: Array
    between: Array  # open, and beyond the inner box's edge
    far: Array
    up: Array
    adds: Array  # what an edge takes on with it


def _rows(lanes: Lanes, word: Array) -> tuple[_Row, Array]:
    """The cells that are open to a node of their lane, moved to the front; how many there are."""
    n, g, c = lanes.order.shape
    lane = jnp.arange(g)[:, None]
    word = word[lanes.order, lane]
    kept = word != 0
    place = _running(kept.astype(jnp.int32))
    count = place[-1]
    column = jnp.arange(c)
    at = jnp.where(kept, place - 1, n), lane, column
    here = jnp.arange(n, dtype=jnp.int32)[:, None, None]
    source = jnp.zeros((n, g, c), jnp.int32).at[at].set(here, mode="drop", unique_indices=True)
    there = here < count
    word, code, price, mark = (
        jnp.where(there, field[source, lane, column], 0)
        for field in (word, lanes.code, lanes.price, lanes.mark)
    )
    edge = jnp.ones((1, g, c), bool)
    differ = (code[1:] != code[:-1]) | ~there[1:]
    before = jnp.concatenate([jnp.zeros_like(code[:1]), code[:-1]])
    mark &= CONTROL + TREATED
    mark += NEW * jnp.concatenate([edge, differ]) + LAST * jnp.concatenate([differ, edge])
    mark += TURN * ((code > 0) & (before <= 0))
    return _Row(word, code, price, mark), count.max()


def _running(steps: Array) -> Array:
    """Cumulative sums along the first axis; on CPU a loop beats XLA's own fivefold."""

    def loop(x: Array) -> Array:
        return lax.scan(lambda s, v: (s + v, s + v), jnp.zeros_like(x[0]), x)[1]

    return lax.platform_dependent(steps, cpu=loop, default=partial(jnp.cumsum, axis=0))


def _loop(go: Callable, start: Any, rows: _Row, count: Array) -> Any:
    """Go through the first `count` rows."""

    def step(i: Array, now: Any) -> Any:
        return go(now, _Row(*(lax.dynamic_index_in_dim(a, i, keepdims=False) for a in rows)))

    return lax.fori_loop(0, count, step, start)


def _there(row: _Row, inner: Array) -> _There:
    k = inner.shape[-1]
    shift = 2 * jnp.arange(k, dtype=jnp.uint32)
    state = ((row.word[..., None] >> shift) & 3).astype(jnp.int32)
    far, up, price = jnp.abs(row.code)[..., None], (row.code > 0)[..., None], row.price[..., None]
    between = (state > 0) & (far > jnp.where(up, inner[:, 1], inner[:, 0]))
    adds = jnp.where(between & ((price < 0) | (state == 1)), price, 0)
    return _There(state, between, far, up, adds)


def _is(row: _Row, mark: int) -> Array:
    return (row.mark & mark != 0)[..., None]


class _Wanted(NamedTuple):
    """What makes a cell useful: at others no edge stands."""

    missing: Array  # (g, k, 2) units of either arm
    unit: Array  # (g, 1, 1): what a cell counts at least in splits, where it is useful


def _useful(row: _Row, there: _There, wanted: _Wanted) -> Array:
    lacks = wanted.missing[:, None] > 0
    fills = (_is(row, CONTROL) & lacks[..., 0]) | (_is(row, TREATED) & lacks[..., 1])
    return there.between & ((row.price[..., None] < 0) | fills)


def _mass(row: _Row, useful: Array, wanted: _Wanted) -> Array:
    """Negative cost of a useful cell, for splits."""
    price = row.price[..., None].astype(jnp.float32)
    return jnp.where(useful, jnp.maximum(-price, wanted.unit), 0)


class _Least(NamedTuple):
    """What an edge adds at least, and the negative cost that lies beyond the inner box."""

    running: Array
    beyond: Array
    mass: tuple[Array, ...]  # down, up
    least: tuple[Array, ...]
    guess: tuple[Array, ...]  # (g, c), of the first node


def _least(rows: _Row, count: Array, inner: Array, wanted: _Wanted) -> _Least:
    most, kind = none(rows.price.dtype), rows.price.dtype
    zero = jnp.zeros_like(inner[:, 0], kind)

    def go(now: _Least, row: _Row) -> _Least:
        there = _there(row, inner)
        running = jnp.where(_is(row, TURN), 0, now.running) + there.adds
        beyond = now.beyond + jnp.where(there.between, jnp.minimum(row.price[..., None], 0), 0)
        mass = _mass(row, _useful(row, there, wanted), wanted)
        gain = jnp.where(_is(row, LAST), running, most)
        sides = (~there.up, there.up)
        masses = tuple(m + jnp.where(s, mass, 0) for m, s in zip(now.mass, sides))
        least = tuple(jnp.minimum(x, jnp.where(s, gain, most)) for x, s in zip(now.least, sides))
        guess = tuple(
            jnp.where((s & (gain <= x) & (gain < 0))[..., 0], there.far[..., 0], g)
            for g, x, s in zip(now.guess, now.least, sides)
        )
        return _Least(running, beyond, masses, least, guess)

    mass, first = jnp.zeros(zero.shape, jnp.float32), inner[..., 0]
    start = _Least(zero, zero, (mass, mass), (zero, zero), (first[:, 0], first[:, 1]))
    return _loop(go, start, rows, count)


class _Cut(NamedTuple):
    """Where edges can stand, and the best split of every column."""

    running: Array
    positive: Array
    mass: Array
    before: Array  # mass before the present code
    useful: Array  # a cell of the present code is
    near: tuple[Array, ...]  # down, up
    far: tuple[Array, ...]
    score: Array
    at: Array  # below 0 for the lower edge


def _cut(
    rows: _Row,
    count: Array,
    inner: Array,
    wanted: _Wanted,
    room: tuple[Array, ...],
    whole: tuple[Array, ...],
) -> _Cut:
    """`room`: what each edge must add less than; `whole`: the mass of each side."""
    zero, far_off = jnp.zeros_like(room[0]), none(inner.dtype)

    def go(now: _Cut, row: _Row) -> _Cut:
        there, turn = _there(row, inner), _is(row, TURN)
        price = row.price[..., None]
        running = jnp.where(turn, 0, now.running) + there.adds
        taken = jnp.where(there.between & (price > 0), price, 0) >> (
            2 * jnp.maximum(there.state - 1, 0)
        )
        positive = jnp.where(turn, 0, now.positive) + taken.astype(jnp.float32)
        last = jnp.where(turn, 0, now.mass)
        before = jnp.where(_is(row, NEW), last, now.before)
        useful = _useful(row, there, wanted)
        mass = last + _mass(row, useful, wanted)
        useful |= now.useful & ~_is(row, NEW)
        stands = _is(row, LAST) & useful
        fits = stands & (running < jnp.where(there.up, room[1], room[0]))
        sides = (fits & ~there.up, fits & there.up)
        near = tuple(jnp.where(s, jnp.minimum(x, there.far), x) for x, s in zip(now.near, sides))
        far = tuple(jnp.where(s, there.far, x) for x, s in zip(now.far, sides))
        loss = jnp.maximum(jnp.where(there.up, whole[1], whole[0]) - before, wanted.unit)
        score = loss * positive / (loss + positive) + EVEN * jnp.minimum(loss, mass)
        better = stands & (score > now.score)
        score = jnp.where(better, score, now.score)
        at = jnp.where(better, row.code[..., None], now.at)
        return _Cut(running, positive, mass, before, useful, near, far, score, at)

    number, place = jnp.zeros(zero.shape, jnp.float32), jnp.zeros(zero.shape, inner.dtype)
    away = place + far_off
    start = _Cut(
        zero, number, number, number, zero > 0, (away, away), (place, place), number, place
    )
    return _loop(go, start, rows, count)


def judge(lanes: Lanes, boxes: Boxes, best: Array, minimum: Array) -> Judged:
    """Bound nodes, cut their edges off, and choose where to split.

    **Arguments:** `best` (g,): what a box must cost less than to matter; `minimum` (2,).
    """
    most, c = none(lanes.cost.dtype), lanes.away.shape[2]
    inner, outer = (jnp.moveaxis(a, 1, -1) for a in (boxes.inner, boxes.outer))
    cells = _cells(lanes, inner, outer, minimum)
    rows, count = _rows(lanes, cells.word)
    size = LITTLE * jnp.abs(lanes.cost).astype(jnp.float32).mean(0)
    wanted = _Wanted(cells.missing, jnp.maximum(size, 1)[:, None, None])
    found = _least(rows, count, inner, wanted)
    rest = (cells.held + cells.negative)[:, None] - found.beyond
    least = found.least
    bound = jnp.maximum(
        cells.held + cells.negative + cells.extra, (rest + least[0] + least[1]).max(1)
    )
    bound = jnp.maximum(bound, boxes.bound)
    free = best[:, None, None] - rest
    room = (free - least[1], free - least[0])
    cut = _cut(rows, count, inner, wanted, room, found.mass)
    stay = jnp.stack(room, 1) > 0
    tight = jnp.where(stay, inner, jnp.stack(cut.near, 1))
    outside = jnp.maximum(jnp.stack(cut.far, 1), tight)
    alive = (bound < best[:, None]) & (tight < none(inner.dtype)).all((1, 2)) & ~cells.hopeless
    column = jnp.argmax(cut.score, axis=1)
    at = jnp.take_along_axis(cut.at, column[:, None], 1)[:, 0]
    inside, outside = jnp.moveaxis(tight, -1, 1), jnp.moveaxis(outside, -1, 1)
    return Judged(
        Boxes(inside, outside, bound),
        alive,
        (tight > inner).any((1, 2)),
        column + jnp.where(at > 0, c, 0),
        jnp.abs(at),
        jnp.where((cells.missing <= 0).all(-1), cells.held, most),
        jnp.stack(found.guess, 1),
    )


# One step of coordinate descent, for one box a lane.


def totals(lanes: Lanes, reach: Array, minimum: Array) -> Array:
    """The cost of one box (g, 2, c) a lane, that of no box where it lacks units."""
    away = lanes.away
    held = ((away >= -reach[:, 0]) & (away <= reach[:, 1])).all(-1)
    enough = jnp.where(held[..., None], lanes.units, 0).sum(0) >= minimum
    total = jnp.where(held, lanes.cost, 0).sum(0)
    return jnp.where(enough.all(-1), total, none(total.dtype))


def descend(lanes: Lanes, reach: Array) -> Array:
    """Move both edges of the one column that helps most to where they are best, others fixed."""
    away, code = lanes.away, lanes.code
    times = ((away < -reach[:, 0]) | (away > reach[:, 1])).sum(-1)
    g = jnp.arange(times.shape[1])[:, None]
    here = (code < -reach[:, 0]) | (code > reach[:, 1])
    step = jnp.where(times[lanes.order, g] == here, lanes.price, 0)
    most, up, last = none(step.dtype), code > 0, lanes.mark & LAST != 0
    side = [jnp.where(s, step, 0) for s in (code < 0, up)]
    runs = [_running(s) for s in side]
    gains = [jnp.where(last & s, r, most) for s, r in zip((code < 0, up), runs)]
    least = [jnp.minimum(gain.min(0), 0) for gain in gains]
    edge = [
        jnp.where((gain == low) & (gain < 0), jnp.abs(code), 0).max(0)
        for gain, low in zip(gains, least)
    ]
    total = jnp.where(code == 0, step, 0).sum(0) + least[0] + least[1]
    best = jnp.argmin(total, axis=1)
    change = (jnp.arange(total.shape[1]) == best[:, None])[:, None]
    return jnp.where(change, jnp.stack(edge, 1), reach)
