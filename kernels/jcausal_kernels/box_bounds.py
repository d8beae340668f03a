"""Bounds on all boxes between an inner and an outer one, for `box_search`.

(1) Formula, shapes, cost
    A node is all boxes between its inner and its outer box. A cell is held (in the inner box), out
    (not in the outer one), or open: kept out of the inner box by one side or by more (`box_cells`).
    Bounds, each valid for every box of the node, with N the open cells of negative cost:
    (a) held costs + costs of N + the least that the missing units of one arm add
    (b) for each column: held + N within the inner box's column + min over the upper edge + min over
        the lower edge, where an edge takes in N, and the cells that this side alone keeps out
    Edges whose bound meets the best box known are cut off; edges stand only at cells of N, or of an
    arm that lacks units (`box_edges`). Where nothing moves the inner box, a node is split: an edge
    stands short of a code, or at it or beyond. The first loses l, the negative costs from the code
    on, the second takes in p, the positive costs up to the code, each a quarter for every further
    side that keeps the cell out; the code has the largest l p / (l + p), with a little for equal
    halves.
    g lanes, each of one problem of n cells and c columns, and of k <= 16 nodes. About 10 operations
    for each of g n c k, and 60 where the cell is open to a node of the lane.

**Source:** ours; docs/proofs/box_bounds.md proves that nothing better is ever cut off.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels.box_cells import BoxNodes, LaneProblems, cells_of, none, open_rows
from jcausal_kernels.box_edges import (
    EdgePair,
    EdgePlaces,
    EdgeRooms,
    UsefulCells,
    cheapest_edges,
    places_of_edges,
)

LITTLE = 0.001  # of a mean cost: what a useful cell counts at least in a split


class Judged(NamedTuple):
    """Nodes with tighter boxes, whether they live, and where to split them: g lanes of k nodes.

    - `nodes`: the nodes (g, k), tightened.
    - `alive` (g, k): a box of the node may beat the best that is known.
    - `moved` (g, k): the inner box has grown, so that the node is to be judged again.
    - `side` (g, k): the edge to split at: its column for the lower one, + c for the upper one.
    - `at` (g, k): the code to split at; 0 where no edge can move.
    - `total` (g, k): the cost of the inner box as it was, that of no box where it lacks units.
    - `guess` (g, 2, c): the best place of each edge by itself, of each lane's first node.
    """

    nodes: BoxNodes
    alive: Bool[Array, "g k"]
    moved: Bool[Array, "g k"]
    side: Int[Array, "g k"]
    at: Int[Array, "g k"]
    total: Int[Array, "g k"]
    guess: Int[Array, "g 2 c"]


def judge(
    lanes: LaneProblems, nodes: BoxNodes, best: Int[Array, " g"], minimum: Int[Array, " 2"]
) -> Judged:
    """Bound nodes, cut their edges off, and choose where to split.

    **Arguments:** `lanes` the problems; `nodes` (g, k) some of each; `best` (g,): what a box must
    cost less than to matter; `minimum` (2,): units of each arm that a box needs.

    **Returns:** a `Judged`.
    """
    inner, outer = (jnp.moveaxis(a, 1, -1) for a in (nodes.inner, nodes.outer))  # (g, 2, c, k)
    cells = cells_of(lanes, inner, outer, minimum)
    rows, count = open_rows(lanes, cells.word)
    wanted = UsefulCells(cells.missing, _unit(lanes))
    found = cheapest_edges(rows, count, inner, wanted)
    without = (cells.held + cells.negative)[:, None] - found.beyond  # the column's edges
    down, up = found.least
    bound = jnp.maximum(cells.held + cells.negative + cells.extra, (without + down + up).max(1))
    bound = jnp.maximum(bound, nodes.bound)
    free = best[:, None, None] - without
    sides = EdgeRooms(room=EdgePair(free - up, free - down), mass=found.mass)
    stands = places_of_edges(rows, count, inner, wanted, sides)
    tight, outside = _between(inner, sides, stands)
    some = (tight < none(inner.dtype)).all((1, 2))
    side, at = _split(stands)
    return Judged(
        nodes=BoxNodes(jnp.moveaxis(tight, -1, 1), jnp.moveaxis(outside, -1, 1), bound),
        alive=(bound < best[:, None]) & some & ~cells.hopeless,
        moved=(tight > inner).any((1, 2)),
        side=side,
        at=at,
        total=jnp.where((cells.missing <= 0).all(-1), cells.held, none(lanes.cost.dtype)),
        guess=jnp.stack(found.guess, 1),
    )


def _unit(lanes: LaneProblems) -> Float[Array, "g 1 1"]:
    """What a useful cell counts at least in the score of a split."""
    size = LITTLE * jnp.abs(lanes.cost).astype(jnp.float32).mean(0)
    return jnp.maximum(size, 1)[:, None, None]


def _between(
    inner: Int[Array, "g 2 c k"], sides: EdgeRooms, stands: EdgePlaces
) -> tuple[Int[Array, "g 2 c k"], Int[Array, "g 2 c k"]]:
    """The least and the largest box whose edges are not too dear.

    An edge stays at the inner box, where it adds 0, if there is room; else it moves to the first
    place that it can stand at, beyond all codes if there is none.
    """
    stay = jnp.stack(sides.room, 1) > 0
    tight = jnp.where(stay, inner, jnp.stack(stands.near, 1))
    return tight, jnp.maximum(jnp.stack(stands.far, 1), tight)


def _split(stands: EdgePlaces) -> tuple[Int[Array, "g k"], Int[Array, "g k"]]:
    """The side and the code of the best split of all columns."""
    c = stands.at.shape[1]
    column = jnp.argmax(stands.score, axis=1)
    at = jnp.take_along_axis(stands.at, column[:, None], 1)[:, 0]
    return column + jnp.where(at > 0, c, 0), jnp.abs(at)
