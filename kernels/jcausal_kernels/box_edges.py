"""Where the edges of a better box can stand: two walks along the sorted open cells of each column.

The first finds what an edge adds at least, wherever it stands. With that the second knows which
places are too dear for an edge, and scores the places where a node can be split. Cells of negative
cost, and of an arm that lacks units, are useful: at others no edge of a best box stands. Sides come
in pairs, down and up. Each walk is one loop over the rows, for all columns and nodes at once.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels.box_cells import (
    CONTROL,
    LAST,
    NEW,
    TREATED,
    TURN,
    CellRow,
    SeenCell,
    none,
    seen,
    walk,
)

EVEN = 0.03  # what equal halves of a split are worth
Costs = Int[Array, "g c k"]
Masses = Float[Array, "g c k"]
Places = Int[Array, "g c k"]


class EdgePair(NamedTuple):
    """What belongs to the lower and to the upper edge: arrays of one shape."""

    down: Array
    up: Array


class UsefulCells(NamedTuple):
    """What makes a cell useful.

    - `missing` (g, k, 2): units of either arm that the inner box lacks.
    - `unit` (g, 1, 1): what a useful cell counts at least when splits are scored.
    """

    missing: Int[Array, "g k 2"]
    unit: Float[Array, "g 1 1"]


def _useful(row: CellRow, cell: SeenCell, wanted: UsefulCells) -> Bool[Array, "g c k"]:
    lacks = wanted.missing[:, None] > 0
    fills = (row.has(CONTROL) & lacks[..., 0]) | (row.has(TREATED) & lacks[..., 1])
    return cell.beyond & ((row.cost < 0) | fills)


def _mass(row: CellRow, useful: Bool[Array, "g c k"], wanted: UsefulCells) -> Masses:
    """What a side loses, in the score of a split, without this cell."""
    return jnp.where(useful, jnp.maximum(-row.cost.astype(jnp.float32), wanted.unit), 0)


def _sides(cell: SeenCell) -> EdgePair:
    return EdgePair(~cell.up, cell.up)


class CheapestEdges(NamedTuple):
    """What an edge adds at least, by column and node; pairs are down and up.

    - `running` (g, c, k): what an edge at the present row adds at least.
    - `beyond` (g, c, k): negative costs of the open cells beyond the inner box in the column.
    - `mass` of each side: the useful cells' part in scores of splits.
    - `least` of each side: the least of `running` over all places of an edge, 0 for the inner one.
    - `guess` (g, c) of each side: where the least is, for the first node of the lane.
    """

    running: Costs
    beyond: Costs
    mass: EdgePair
    least: EdgePair
    guess: EdgePair


def cheapest_edges(
    rows: CellRow, count: Int[Array, ""], inner: Int[Array, "g 2 c k"], wanted: UsefulCells
) -> CheapestEdges:
    """The first walk: what each edge adds at least, wherever it stands."""
    most = none(rows.price.dtype)

    def go(now: CheapestEdges, row: CellRow) -> CheapestEdges:
        cell = seen(row, inner)
        sides = _sides(cell)
        added = jnp.where(row.has(TURN), 0, now.running) + cell.adds
        here = jnp.where(row.has(LAST), added, most)  # an edge takes in all cells of a code
        mass = _mass(row, _useful(row, cell, wanted), wanted)
        found = [(s & (here <= low) & (here < 0))[..., 0] for s, low in zip(sides, now.least)]
        return CheapestEdges(
            running=added,
            beyond=now.beyond + jnp.where(cell.beyond, jnp.minimum(row.cost, 0), 0),
            mass=EdgePair(*(m + jnp.where(s, mass, 0) for m, s in zip(now.mass, sides))),
            least=EdgePair(
                *(jnp.minimum(low, jnp.where(s, here, most)) for low, s in zip(now.least, sides))
            ),
            guess=EdgePair(*(jnp.where(f, cell.far[..., 0], g) for g, f in zip(now.guess, found))),
        )

    zero = jnp.zeros_like(inner[:, 0], rows.price.dtype)
    mass, first = jnp.zeros(zero.shape, jnp.float32), inner[..., 0]
    start = CheapestEdges(
        running=zero,
        beyond=zero,
        mass=EdgePair(mass, mass),
        least=EdgePair(zero, zero),
        guess=EdgePair(first[:, 0], first[:, 1]),
    )
    return walk(go, start, rows, count)


class EdgeRooms(NamedTuple):
    """What is known of each side before the second walk; pairs are down and up.

    - `room` (g, c, k): an edge of a box that matters adds less.
    - `mass` (g, c, k): the useful cells' part in scores of splits, of the whole side.
    """

    room: EdgePair
    mass: EdgePair


class EdgePlaces(NamedTuple):
    """Where edges can stand, and the best split of every column; pairs are down and up.

    As far as the walk has come, by column and node (g, c, k):

    - `running`: what an edge at the present row adds at least.
    - `positive`: positive costs that it takes in, a quarter for every further side.
    - `mass`: of the useful cells so far; `before`: of those short of the present code.
    - `useful`: a cell of the present code is.
    - `near`, `far`: the first and last place that is not too dear; half the largest integer,
      and 0, where none is.
    - `score`, `at`: the best split; `at` is a code, below 0 for the lower edge, 0 for no place.
    """

    running: Costs
    positive: Masses
    mass: Masses
    before: Masses
    useful: Bool[Array, "g c k"]
    near: EdgePair
    far: EdgePair
    score: Masses
    at: Places


def places_of_edges(
    rows: CellRow,
    count: Int[Array, ""],
    inner: Int[Array, "g 2 c k"],
    wanted: UsefulCells,
    known: EdgeRooms,
) -> EdgePlaces:
    """The second walk: where each edge can stand, and where to split."""

    def go(now: EdgePlaces, row: CellRow) -> EdgePlaces:
        cell, turn = seen(row, inner), row.has(TURN)
        useful, last_mass = _useful(row, cell, wanted), jnp.where(turn, 0, now.mass)
        now = now._replace(
            running=jnp.where(turn, 0, now.running) + cell.adds,
            positive=jnp.where(turn, 0, now.positive) + _taken(row, cell),
            mass=last_mass + _mass(row, useful, wanted),
            before=jnp.where(row.has(NEW), last_mass, now.before),
            useful=useful | (now.useful & ~row.has(NEW)),
        )
        stands = row.has(LAST) & now.useful
        return _with_split(_with_ends(now, stands, cell, known), stands, row, known, wanted)

    zero = jnp.zeros_like(known.room[0])
    number, place = jnp.zeros(zero.shape, jnp.float32), jnp.zeros(zero.shape, inner.dtype)
    away = place + none(inner.dtype)
    start = EdgePlaces(
        running=zero,
        positive=number,
        mass=number,
        before=number,
        useful=zero > 0,
        near=EdgePair(away, away),
        far=EdgePair(place, place),
        score=number,
        at=place,
    )
    return walk(go, start, rows, count)


def _taken(row: CellRow, cell: SeenCell) -> Masses:
    """Positive cost that an edge takes in, a quarter for every further side that keeps it out."""
    taken = jnp.where(cell.beyond & (row.cost > 0), row.cost, 0)
    return (taken >> (2 * jnp.maximum(cell.sides - 1, 0))).astype(jnp.float32)


def _with_ends(
    now: EdgePlaces, stands: Bool[Array, "g c k"], cell: SeenCell, known: EdgeRooms
) -> EdgePlaces:
    """The first and last place of each edge, if it can stand here and is not too dear."""
    room = jnp.where(cell.up, known.room.up, known.room.down)
    fits = stands & (now.running < room)
    sides = [fits & side for side in _sides(cell)]
    near = (jnp.where(s, jnp.minimum(x, cell.far), x) for x, s in zip(now.near, sides))
    far = (jnp.where(s, cell.far, x) for x, s in zip(now.far, sides))
    return now._replace(near=EdgePair(*near), far=EdgePair(*far))


def _with_split(
    now: EdgePlaces,
    stands: Bool[Array, "g c k"],
    row: CellRow,
    known: EdgeRooms,
    wanted: UsefulCells,
) -> EdgePlaces:
    """The best split so far: an edge short of a code loses, one at it or beyond takes in."""
    whole = jnp.where((row.code > 0)[..., None], known.mass.up, known.mass.down)
    loss = jnp.maximum(whole - now.before, wanted.unit)
    score = loss * now.positive / (loss + now.positive) + EVEN * jnp.minimum(loss, now.mass)
    better = stands & (score > now.score)
    return now._replace(
        score=jnp.where(better, score, now.score),
        at=jnp.where(better, row.code[..., None], now.at),
    )
