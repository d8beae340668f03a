"""Covers by stars whose sizes are limited: a table on a line, else an assignment of slots."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from jcausal.matching._matching import MatchError
from jcausal.matching.networks._assignment import EXACT
from jcausal.matching.networks._edge_cover import NO_EDGES, StarEdges, TwoSides, without_middles
from jcausal.matching.networks._finders import FoundPairs, OnLine, SideOfPairs, finder
from jcausal.matching.networks._limits_of_strata import Degrees
from jcausal.matching.networks._line_cover import line_cover

SLOT_BYTES = 64  # what an edge between two slots takes while it is laid out and solved


def capped_cover(sides: TwoSides, degrees: Degrees, max_bytes: int) -> StarEdges:
    """The edges of least total distance within the limits, that touch as many units as can be.

    On a line by a table, else by an assignment (`_Slots`). There units that need several partners
    and have some but not enough go out, those with the fewest first, and it is solved again.

    **Raises:** `MatchError` when edges take more than `max_bytes`.
    """
    if sides.treated.points.shape[1] == 1 and not sides.reach.gaps.size:
        line = finder(*sides)
        assert isinstance(line, OnLine)
        return without_middles(line_cover(line, degrees, max_bytes))
    inside = [np.ones(len(side.points), bool) for side in sides[:2]]
    while True:
        places = [np.flatnonzero(each) for each in inside]
        here = TwoSides(_of(sides.treated, places[0]), _of(sides.controls, places[1]), sides.reach)
        found = _solved(here, degrees, max_bytes)
        edges = StarEdges(places[0][found.treated], places[1][found.control], found.distance)
        short = _too_short(edges, degrees)
        if short is None:
            return without_middles(edges)
        inside[short[0]][short[1]] = False


def _of(side: SideOfPairs, places: np.ndarray) -> SideOfPairs:
    return SideOfPairs(side.points[places], side.columns[places])


def _too_short(edges: StarEdges, degrees: Degrees) -> tuple[int, np.ndarray] | None:
    """The side and the units that go out, since the others could use what they have; or None."""
    for side, (ends, (least, _)) in enumerate(
        zip((edges.treated, edges.control), (degrees.treated, degrees.controls))
    ):
        held = np.bincount(ends)
        few = np.flatnonzero((held > 0) & (held < least))
        if few.size:
            out = max(1, few.size - int(held[few].sum()) // least)
            return side, few[np.argsort(held[few], kind="stable")][:out]
    return None


def _solved(sides: TwoSides, degrees: Degrees, max_bytes: int) -> StarEdges:
    """The best cover over all edges in reach."""
    near = finder(*sides)
    slots = _Slots(degrees, len(sides.treated.points), len(sides.controls.points))
    count = int(near.counts().sum()) * slots.copies
    if count * SLOT_BYTES > max_bytes:
        raise MatchError(
            f"{count:,} edges would be laid out ({slots.copies} for each pair under such limits), "
            f"{count * SLOT_BYTES:,} bytes, and max_bytes is {max_bytes:,}: raise it, set a "
            "narrower caliper, or a smaller max_controls."
        )
    pairs = near.pairs(len(sides.controls.points))
    return slots.filled(pairs) if pairs.query.size else NO_EDGES


class _Slots:
    """Each unit as slots that must be filled and slots that may be: what the limits say.

    An edge joins two slots of which one at least must be filled. A slot that must be filled and
    is not costs more than all distances together; where the other side has no limit it costs the
    distance of the nearest instead, whose stratum is always open. So each treated slot takes a slot
    of a control or a place of its own, and the least total tells.
    """

    def __init__(self, degrees: Degrees, treated: int, controls: int) -> None:
        self.degrees, self.treated, self.controls = degrees, treated, controls
        self.open = tuple(np.isinf(most) for _, most in (degrees.controls, degrees.treated))
        self.must = degrees.treated[0], degrees.controls[0]
        self.all = tuple(
            min(int(least if np.isinf(most) else most), others)
            for (least, most), others in (
                (degrees.treated, max(controls, degrees.treated[0])),
                (degrees.controls, max(treated, degrees.controls[0])),
            )
        )

    @property
    def kinds(self) -> list[tuple[int, int]]:
        """The slots that an edge may join."""
        (must, needed), (slots, others) = self.must, self.all
        return [(a, b) for a in range(slots) for b in range(others) if a < must or b < needed]

    @property
    def copies(self) -> int:
        """How often each pair is laid out."""
        return len(self.kinds)

    def filled(self, pairs: FoundPairs) -> StarEdges:
        """The edges of the best filling."""
        m, k = self.treated, self.controls
        nearest = [np.full(size, np.inf) for size in (m, k)]
        for least, ends in zip(nearest, (pairs.query, pairs.partner)):
            np.minimum.at(least, ends, pairs.distance)
        units = EXACT / (64 * (m + k)) / (pairs.distance.max() or 1.0)
        cost = np.rint(pairs.distance * min(units, 2.0**40))
        lack = (cost.max() + 1) * (m + k)
        left = [
            np.where(np.isfinite(least), np.rint(least * min(units, 2.0**40)), 0.0)
            if open_
            else np.full(least.size, lack * weight)
            for least, open_, weight in zip(nearest, self.open, self.degrees.weights)
        ]
        place = self._assigned(pairs, cost, left)
        return self._edges(pairs, place, nearest)

    def _assigned(
        self, pairs: FoundPairs, cost: Float[np.ndarray, " e"], left: list[np.ndarray]
    ) -> np.ndarray:
        """For each slot of the treated that have an edge the slot that it takes, by number."""
        m, k, (must, needed), kinds = self.treated, self.controls, self.must, self.kinds
        rows = np.concatenate([a * m + pairs.query for a, _ in kinds])
        columns = np.concatenate([b * k + pairs.partner for _, b in kinds])
        gain = [left[1][pairs.partner] if b < needed else 0.0 for _, b in kinds]
        values = np.concatenate([cost - each for each in gain])
        own, slot = np.unique(rows, return_inverse=True)
        alone = np.where(own < must * m, left[0][own % m], 0.0)
        shift = 1 + left[1].max(initial=0)
        matrix = coo_array(
            (
                np.concatenate([values, alone]) + shift,
                (
                    np.concatenate([slot, np.arange(own.size)]),
                    np.concatenate([columns, self.all[1] * k + np.arange(own.size)]),
                ),
            ),
            shape=(own.size, self.all[1] * k + own.size),
        )
        place = np.full(self.all[0] * m, -1)
        found = min_weight_full_bipartite_matching(matrix.tocsr())[1]
        place[own] = np.where(found < self.all[1] * k, found, -1)
        return place

    def _edges(self, pairs: FoundPairs, place: np.ndarray, nearest: list[np.ndarray]) -> StarEdges:
        """The edges of slots, and those to the nearest of units left to an open side."""
        m, k = self.treated, self.controls
        chosen = np.zeros(pairs.query.size, bool)
        key = pairs.query * k + pairs.partner
        order = np.argsort(key)
        held = np.flatnonzero(place >= 0)
        wanted = (held % m) * k + place[held] % k
        chosen[order[np.searchsorted(key[order], wanted)]] = True
        for open_, least, ends in zip(self.open, nearest, (pairs.query, pairs.partner)):
            lone = np.setdiff1d(ends, ends[chosen])
            if open_:
                at = np.flatnonzero(np.isin(ends, lone) & (pairs.distance == least[ends]))
                chosen[at[np.unique(ends[at], return_index=True)[1]]] = True
        return StarEdges(pairs.query[chosen], pairs.partner[chosen], pairs.distance[chosen])
