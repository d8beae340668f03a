"""What the cells around a start are to the nodes of a search: held, open or out.

A node is all boxes between an inner and an outer one. A cell is held by it if it lies in the inner
box, and so in all of its boxes; out if it does not lie in the outer one, and so in none; else open.
A side of the inner box keeps an open cell out if the cell lies beyond it: one side or more do.
How many is packed, two bits a node, so that running sums along the sorted cells need one word for
all nodes of a lane.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, UInt32

LANE = 16  # nodes a lane: two bits each in a word
NEW, LAST, TURN, CONTROL, TREATED = 1, 2, 4, 8, 16  # marks of a sorted cell
OUT = 2**16  # above any number of columns


class LaneProblems(NamedTuple):
    """The problems of a step, one a lane: n cells, g lanes, c columns; see `BoxProblems`.

    - `away` (n, g, c): codes from the start to the cell, above 0 for up, below 0 for down.
    - `cost` (n, g): what the cell adds to the cost of a box.
    - `units` (n, g, 2): its controls and its treated.

    Of each column, with the cells of no distance first, then those down and then up, outward:

    - `order` (n, g, c): which cell it is.
    - `code`, `price` (n, g, c): its `away` in this column, and its cost.
    - `mark` (n, g, c): whether it is the `LAST` of its code; `CONTROL`, `TREATED`: whom it holds.
    """

    away: Int[Array, "n g c"]
    cost: Int[Array, "n g"]
    units: Int[Array, "n g 2"]
    order: Int[Array, "n g c"]
    code: Int[Array, "n g c"]
    price: Int[Array, "n g c"]
    mark: Int[Array, "n g c"]


class BoxNodes(NamedTuple):
    """Nodes: all boxes that hold an inner box and lie in an outer one.

    A box is its reach (2, c), in codes from the start: down in row 0, up in row 1, never below 0.

    - `inner`, `outer` (..., 2, c): the two reaches.
    - `bound` (...): no box of the node that has the units it needs costs less.
    """

    inner: Int[Array, "*k 2 c"]
    outer: Int[Array, "*k 2 c"]
    bound: Int[Array, "*k"]


def none(dtype: jnp.dtype) -> int:
    """The cost that stands for no box at all."""
    return int(jnp.iinfo(dtype).max // 2)


class CellsOfNodes(NamedTuple):
    """What the n cells of a lane are to its k nodes.

    - `word` (n, g): two bits a node: how many sides keep an open cell out, 3 for three and more;
      0 for a cell that is held or out.
    - `held` (g, k): the cost of the inner box.
    - `negative` (g, k): the costs of the open cells of negative cost, added up.
    - `missing` (g, k, 2): units of either arm that the inner box lacks, 0 or below for none.
    - `extra` (g, k): what open cells with the missing units add at least, their own negative
      costs left out.
    - `hopeless` (g, k): the outer box lacks units too.
    """

    word: UInt32[Array, "n g"]
    held: Int[Array, "g k"]
    negative: Int[Array, "g k"]
    missing: Int[Array, "g k 2"]
    extra: Int[Array, "g k"]
    hopeless: Bool[Array, "g k"]


def cells_of(
    lanes: LaneProblems,
    inner: Int[Array, "g 2 c k"],
    outer: Int[Array, "g 2 c k"],
    minimum: Int[Array, " 2"],
) -> CellsOfNodes:
    """Tell held cells from open ones, and add up what every box of a node has."""
    away, cost = lanes.away[..., None], lanes.cost[..., None]
    shut = (away < -inner[:, 0]) | (away > inner[:, 1])
    gone = (away < -outer[:, 0]) | (away > outer[:, 1])
    sides = (shut + OUT * gone.astype(jnp.int32)).sum(2)
    held, opened = sides == 0, (sides > 0) & (sides < OUT)
    missing, hopeless, extra = [], False, 0
    for arm in (0, 1):
        count = lanes.units[:, :, arm, None]
        lack = minimum[arm] - jnp.where(held, count, 0).sum(0)
        there = jnp.where(opened, count, 0)
        missing.append(lack)
        hopeless |= there.sum(0) < lack
        extra = jnp.maximum(extra, _least_extra(cost, there, lack))
    return CellsOfNodes(
        word=_packed(jnp.where(opened, jnp.minimum(sides, 3), 0)),
        held=jnp.where(held, cost, 0).sum(0),
        negative=jnp.where(opened, jnp.minimum(cost, 0), 0).sum(0),
        missing=jnp.stack(missing, -1),
        extra=extra,
        hopeless=hopeless,
    )


def _least_extra(
    cost: Int[Array, "n g 1"], there: Int[Array, "n g k"], missing: Int[Array, "g k"]
) -> Int[Array, "g k"]:
    """What so many units add at least: as many as are missing, all at the least cost a unit."""
    most = none(cost.dtype)
    price = jnp.where(there > 0, jnp.maximum(cost, 0) // jnp.maximum(there, 1), most)
    cheapest = price.min(0)
    return jnp.where((missing > 0) & (cheapest < most), cheapest * missing, 0)


def _packed(sides: Int[Array, "n g k"]) -> UInt32[Array, "n g"]:
    shift = 2 * jnp.arange(sides.shape[-1], dtype=jnp.uint32)
    return (sides.astype(jnp.uint32) << shift).sum(-1, dtype=jnp.uint32)


def _unpacked(word: UInt32[Array, "g c"], k: int) -> Int[Array, "g c k"]:
    return ((word[..., None] >> (2 * jnp.arange(k, dtype=jnp.uint32))) & 3).astype(jnp.int32)


# Walks along the sorted cells, all columns of all lanes at once, one row after the other.


class CellRow(NamedTuple):
    """One sorted cell of every column of every lane, or all of them with an axis n in front.

    - `word` (g, c): to which nodes it is open, as in `CellsOfNodes`.
    - `code`, `price` (g, c): as in `LaneProblems`.
    - `mark` (g, c): whether it is the first of its code (`NEW`), the `LAST` one, or the first
      above 0 (`TURN`), and whom it holds.
    """

    word: UInt32[Array, "*n g c"]
    code: Int[Array, "*n g c"]
    price: Int[Array, "*n g c"]
    mark: Int[Array, "*n g c"]

    def has(self, mark: int) -> Bool[Array, "g c 1"]:
        """Whether a mark is set."""
        return (self.mark & mark != 0)[..., None]

    @property
    def cost(self) -> Int[Array, "g c 1"]:
        """The price, for all nodes alike."""
        return self.price[..., None]


def open_rows(lanes: LaneProblems, word: UInt32[Array, "n g"]) -> tuple[CellRow, Int[Array, ""]]:
    """The sorted cells that are open to a node of their lane, moved to the front; and how many.

    Rows behind the last one of a lane are open to no node.
    """
    n, g, c = lanes.order.shape
    lane, column = jnp.arange(g)[:, None], jnp.arange(c)
    word = word[lanes.order, lane]
    kept = word != 0
    place = running(kept.astype(jnp.int32))
    count = place[-1]
    here = jnp.arange(n, dtype=jnp.int32)[:, None, None]
    at = jnp.where(kept, place - 1, n), lane, column
    source = jnp.zeros((n, g, c), jnp.int32).at[at].set(here, mode="drop", unique_indices=True)
    there = here < count
    word, code, price, mark = (
        jnp.where(there, field[source, lane, column], 0)
        for field in (word, lanes.code, lanes.price, lanes.mark)
    )
    return CellRow(word, code, price, _marked(code, there, mark)), count.max()


def _marked(
    code: Int[Array, "n g c"], there: Bool[Array, "n g c"], mark: Int[Array, "n g c"]
) -> Int[Array, "n g c"]:
    """Marks of the ends of codes among the rows that are left."""
    edge = jnp.ones((1, *code.shape[1:]), bool)
    differ = (code[1:] != code[:-1]) | ~there[1:]
    before = jnp.concatenate([jnp.zeros_like(code[:1]), code[:-1]])
    mark &= CONTROL + TREATED
    mark += NEW * jnp.concatenate([edge, differ]) + LAST * jnp.concatenate([differ, edge])
    return mark + TURN * ((code > 0) & (before <= 0))


def running(steps: Array) -> Array:
    """Cumulative sums along the first axis; on CPU a loop beats XLA's own fivefold."""

    def loop(x: Array) -> Array:
        return lax.scan(lambda s, v: (s + v, s + v), jnp.zeros_like(x[0]), x)[1]

    return lax.platform_dependent(steps, cpu=loop, default=partial(jnp.cumsum, axis=0))


def walk(
    go: Callable[[Any, CellRow], Any], start: Any, rows: CellRow, count: Int[Array, ""]
) -> Any:
    """What `go` makes of `start` along the first `count` rows."""

    def step(i: Array, now: Any) -> Any:
        return go(now, CellRow(*(lax.dynamic_index_in_dim(a, i, keepdims=False) for a in rows)))

    return lax.fori_loop(0, count, step, start)


class SeenCell(NamedTuple):
    """What a row is to the nodes of its lane.

    - `sides` (g, c, k): how many sides keep the cell out; 0 where it is not open.
    - `beyond` (g, c, k): it is open, and beyond the inner box's edge in this column.
    - `far` (g, c, 1): how far it lies from the start, down or up.
    - `up` (g, c, 1): it lies up.
    - `adds` (g, c, k): what an edge that takes it in adds at least: a negative cost, since the cell
      may come with it; a positive one only if no other side keeps the cell out.
    """

    sides: Int[Array, "g c k"]
    beyond: Bool[Array, "g c k"]
    far: Int[Array, "g c 1"]
    up: Bool[Array, "g c 1"]
    adds: Int[Array, "g c k"]


def seen(row: CellRow, inner: Int[Array, "g 2 c k"]) -> SeenCell:
    """What a row is to the nodes of its lane."""
    sides = _unpacked(row.word, inner.shape[-1])
    far, up = jnp.abs(row.code)[..., None], (row.code > 0)[..., None]
    beyond = (sides > 0) & (far > jnp.where(up, inner[:, 1], inner[:, 0]))
    adds = jnp.where(beyond & ((row.cost < 0) | (sides == 1)), row.cost, 0)
    return SeenCell(sides, beyond, far, up, adds)
