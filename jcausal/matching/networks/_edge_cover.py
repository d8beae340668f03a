"""The cheapest edges that leave no unit alone: a cover of one block by stars."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from jcausal.matching._matching import MatchError
from jcausal.matching.networks._assignment import EXACT
from jcausal.matching.networks._finders import (
    BLOCK,
    ROUNDED,
    InBlocks,
    PairReach,
    SideOfPairs,
    finder,
)

EDGE_BYTES = 96  # what an edge that could help takes while it is found, laid out and solved


class StarEdges(NamedTuple):
    """Edges between treated and controls of a block.

    - `treated` (e,), `control` (e,): places on their sides; `distance` (e,).
    """

    treated: Int[np.ndarray, " e"]
    control: Int[np.ndarray, " e"]
    distance: Float[np.ndarray, " e"]


NO_EDGES = StarEdges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class TwoSides(NamedTuple):
    """The treated and the controls of a block, and how far partners may be."""

    treated: SideOfPairs
    controls: SideOfPairs
    reach: PairReach

    def turned(self) -> "TwoSides":
        """The same with the sides changed."""
        return TwoSides(self.controls, self.treated, self.reach)


class NearestOnSide(NamedTuple):
    """The nearest partner of each unit of a side, -1 for none, and its distance, inf for none."""

    partner: Int[np.ndarray, " m"]
    distance: Float[np.ndarray, " m"]


def least_cover(sides: TwoSides, max_bytes: int) -> StarEdges:
    """The edges of least total distance that touch every unit with a partner in reach.

    Each unit u could take its nearest partner, at the distance n(u). An edge (i, j) in place of the
    two nearest of its ends saves n(i) + n(j) - d(i, j); the edges saving most, no two of them at
    one unit, are an assignment, and all other units take their nearest. In the cheapest cover no
    edge has others at both its ends, so that its parts are stars.

    Of twins, which are nearest to the same, each takes another of the partner's twins in turn.

    **Raises:** `MatchError` when the edges that save something take more than `max_bytes`.

    **Source:** the reduction of covers to matchings: Schrijver (2003), Combinatorial Optimization,
    section 19.3; full matching: Rosenbaum (1991), JRSS B 53.
    """
    near, back = nearest_in_turn(sides), nearest_in_turn(sides.turned())
    saving = _saving_edges(sides, near.distance, back.distance, max_bytes)
    chosen = _most_saved(saving, near.distance, back.distance)
    one = np.setdiff1d(np.flatnonzero(near.partner >= 0), chosen.treated)
    other = np.setdiff1d(np.flatnonzero(back.partner >= 0), chosen.control)
    edges = StarEdges(
        np.concatenate([chosen.treated, one, back.partner[other]]),
        np.concatenate([chosen.control, near.partner[one], other]),
        np.concatenate([chosen.distance, near.distance[one], back.distance[other]]),
    )
    return without_middles(edges)


def nearest_in_turn(sides: TwoSides) -> NearestOnSide:
    """The nearest control of each treated unit; twins take the twins that are nearest in turn."""
    own, mine = _distinct(sides.treated)
    other, theirs = _distinct(sides.controls)
    found = finder(own, other, sides.reach).pairs(1)
    partner, distance = np.full(len(own.points), -1), np.full(len(own.points), np.inf)
    partner[found.query], distance[found.query] = found.partner, found.distance
    members = np.argsort(theirs, kind="stable")
    size = np.bincount(theirs, minlength=len(other.points))
    first = np.cumsum(size) - size
    group = partner[mine]
    turn = _rank(mine) % size[group]
    return NearestOnSide(np.where(group < 0, -1, members[first[group] + turn]), distance[mine])


def _distinct(side: SideOfPairs) -> tuple[SideOfPairs, Int[np.ndarray, " m"]]:
    """Units without twins, and which of them stands for each unit."""
    every = np.concatenate([side.points, side.columns], axis=1)
    _, first, group = np.unique(
        np.nan_to_num(every, nan=np.inf), axis=0, return_index=True, return_inverse=True
    )
    return SideOfPairs(side.points[first], side.columns[first]), group.ravel()


def _rank(group: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """How many of its group stand before each."""
    order = np.argsort(group, kind="stable")
    rank = np.empty(group.size, np.int64)
    rank[order] = np.arange(group.size) - np.searchsorted(group[order], group[order])
    return rank


def _saving_edges(sides: TwoSides, near: np.ndarray, back: np.ndarray, max_bytes: int) -> StarEdges:
    """Edges shorter than the two nearest of their ends together.

    Such an edge is at most twice as long as the longer of the two: it is within that of one end.
    """
    parts, bytes_ = [NO_EDGES], 0
    for edges in short_edges(sides, near, back):
        kept = edges.distance < near[edges.treated] + back[edges.control]
        parts.append(StarEdges(*(each[kept] for each in edges)))
        bytes_ += int(kept.sum()) * EDGE_BYTES
        if bytes_ > max_bytes:
            raise MatchError(
                f"more than {bytes_ // EDGE_BYTES:,} edges could shorten the strata and would take "
                f"{bytes_:,} bytes or more, and max_bytes is {max_bytes:,}: raise it, set a "
                "narrower caliper, or match a column exactly."
            )
    edges = StarEdges(*(np.concatenate(each) for each in zip(*parts)))
    order = np.lexsort((edges.control, edges.treated))
    return StarEdges(*(each[order] for each in edges))


def short_edges(sides: TwoSides, near: np.ndarray, back: np.ndarray) -> Iterator[StarEdges]:
    """Edges that may be shorter, so many at a time, each once."""
    if sides.reach.gaps.size or sides.treated.points.shape[1] == 1:
        for turned, own in ((False, near), (True, back)):
            for one, other, distance in _within_twice(sides.turned() if turned else sides, own):
                edges = (
                    StarEdges(other, one, distance) if turned else StarEdges(one, other, distance)
                )
                longer = near[edges.treated] >= back[edges.control]
                yield StarEdges(*(each[longer != turned] for each in edges))
        return
    one, other = np.flatnonzero(np.isfinite(near)), np.flatnonzero(np.isfinite(back))
    points = sides.treated.points[one], sides.controls.points[other]
    for found in InBlocks(*points, near[one], back[other]).parts(other.size):
        kept = found.distance <= sides.reach.distance * ROUNDED
        yield StarEdges(one[found.query[kept]], other[found.partner[kept]], found.distance[kept])


def _within_twice(
    sides: TwoSides, own: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs within twice the nearest of each unit, so many units at a time."""
    width = np.minimum(np.where(np.isfinite(own), 2 * own, -1), sides.reach.distance)
    open_ = np.flatnonzero(width > 0)
    side = SideOfPairs(sides.treated.points[open_], sides.treated.columns[open_])
    every = finder(side, sides.controls, sides.reach._replace(distance=width[open_]))
    edges = np.concatenate([[0], np.cumsum(every.counts())]) if open_.size else np.zeros(1)
    start = 0
    while start < open_.size:
        stop = int(np.searchsorted(edges, edges[start] + BLOCK, "right")) - 1
        stop = min(max(stop, start + 1), open_.size)
        here = SideOfPairs(side.points[start:stop], side.columns[start:stop])
        reach = sides.reach._replace(distance=width[open_[start:stop]])
        found = finder(here, sides.controls, reach).pairs(len(sides.controls.points))
        yield open_[start + found.query], found.partner, found.distance
        start = stop


def _most_saved(edges: StarEdges, near: np.ndarray, back: np.ndarray) -> StarEdges:
    """Edges at different units that save most together: an assignment with a way out for each."""
    if not edges.treated.size:
        return edges
    saved = near[edges.treated] + back[edges.control] - edges.distance
    scale = min(EXACT / 64, 2.0**40) / saved.max()
    cost = np.rint((saved.max() - saved) * scale) + 1  # from 1, since 0 would be no entry
    rows, row = np.unique(edges.treated, return_inverse=True)
    start = np.searchsorted(row, np.arange(rows.size + 1))
    none = np.full(rows.size, np.rint(saved.max() * scale) + 1)
    value = np.insert(cost, start[1:], none)
    column = np.insert(edges.control, start[1:], back.size + np.arange(rows.size))
    shape = rows.size, back.size + rows.size
    matrix = csr_array((value, column, start + np.arange(rows.size + 1)), shape=shape)
    place = min_weight_full_bipartite_matching(matrix)[1]
    kept = np.zeros(edges.treated.size, bool)
    held = np.flatnonzero(place < back.size)
    key = row * back.size + edges.control
    kept[np.searchsorted(key, held * back.size + place[held])] = True
    return StarEdges(*(each[kept] for each in edges))


def without_middles(edges: StarEdges) -> StarEdges:
    """Without edges both of whose ends have another one: what is left are stars.

    The longest go first. Every edge that goes makes the total smaller, or is of length 0.
    """
    key = np.unique(np.stack([edges.treated, edges.control], axis=1), axis=0, return_index=True)[1]
    edges = StarEdges(*(each[key] for each in edges))
    degree = [np.bincount(a) for a in (edges.treated, edges.control)]
    middle = (degree[0][edges.treated] > 1) & (degree[1][edges.control] > 1)
    kept = np.ones(edges.treated.size, bool)
    places = np.flatnonzero(middle)
    for e in places[np.argsort(-edges.distance[places], kind="stable")]:
        i, j = edges.treated[e], edges.control[e]
        if degree[0][i] > 1 and degree[1][j] > 1:
            kept[e] = False
            degree[0][i] -= 1
            degree[1][j] -= 1
    return StarEdges(*(each[kept] for each in edges))
