"""Covers by stars whose sizes are limited: a flow, as a linear program on the edges that matter."""

import numpy as np

from jcausal.matching._matching import MatchError
from jcausal.matching.networks._edge_cover import (
    EDGE_BYTES,
    Edges,
    TwoSides,
    short_edges,
    without_middles,
)
from jcausal.matching.networks._finders import OnLine, SideOfPairs, finder
from jcausal.matching.networks._limits_of_strata import Degrees
from jcausal.matching.networks._line_cover import line_cover
from jcausal.solvers import IntegerProgram, SolverError, SolverPool

FIRST = 8  # partners of a unit that come into the program together
TOLERANCE = 1e-6  # of the mean distance: an edge that would save less stays out


def capped_cover(sides: TwoSides, degrees: Degrees, max_bytes: int) -> Edges:
    """The edges of least total distance within the limits, that touch as many units as can be.

    The program of `_Flow`, on a few edges first; those that its prices show to be worth while
    come in, until there is none. Its corners are whole. Treated (or controls) that need several
    partners and have some but not enough go out, those with the fewest first, and it is solved
    again.

    **Raises:** `MatchError` when edges take more than `max_bytes`; `SolverError`.
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
        edges = Edges(places[0][found.treated], places[1][found.control], found.distance)
        short = _too_short(edges, degrees)
        if short is None:
            return without_middles(edges)
        inside[short[0]][short[1]] = False


def _of(side: SideOfPairs, places: np.ndarray) -> SideOfPairs:
    return SideOfPairs(side.points[places], side.columns[places])


def _too_short(edges: Edges, degrees: Degrees) -> tuple[int, np.ndarray] | None:
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


def _solved(sides: TwoSides, degrees: Degrees, max_bytes: int) -> Edges:
    """The best flow over all edges in reach."""
    flow = _Flow(sides, degrees)
    edges = _first_edges(sides)
    while edges.treated.size:
        if edges.treated.size * EDGE_BYTES > max_bytes:
            raise MatchError(
                f"{edges.treated.size:,} edges are worth while in strata with such limits, "
                f"{edges.treated.size * EDGE_BYTES:,} bytes, and max_bytes is {max_bytes:,}: raise "
                "it, or set a narrower caliper."
            )
        chosen, treated, controls = flow.solve(edges)
        more = _worth_while(sides, edges, treated, controls)
        if not more.treated.size:
            return Edges(*(each[chosen] for each in edges))
        edges = Edges(*(np.concatenate(each) for each in zip(edges, more)))
    return edges


def _first_edges(sides: TwoSides) -> Edges:
    """The nearest few partners of every unit."""
    one = finder(sides.treated, sides.controls, sides.reach).pairs(FIRST)
    other = finder(sides.controls, sides.treated, sides.reach).pairs(FIRST)
    k = max(len(sides.controls.points), 1)
    key = np.concatenate([one.query * k + one.partner, other.partner * k + other.query])
    key, first = np.unique(key, return_index=True)
    return Edges(key // k, key % k, np.concatenate([one.distance, other.distance])[first])


def _worth_while(sides: TwoSides, edges: Edges, treated: np.ndarray, controls: np.ndarray) -> Edges:
    """Edges that cost less than the prices of their ends, of each unit the few that save most."""
    k, found = max(len(sides.controls.points), 1), []
    there = np.sort(edges.treated * k + edges.control)
    slack = TOLERANCE * max(edges.distance.mean(), 1e-300)
    for part in short_edges(sides, treated, controls):
        cost = part.distance - treated[part.treated] - controls[part.control]
        key = part.treated * k + part.control
        kept = (cost < -slack) & (there[np.searchsorted(there, key) % there.size] != key)
        order = np.lexsort((cost[kept], part.treated[kept]))
        mine = part.treated[kept][order]
        few = np.arange(mine.size) - np.searchsorted(mine, mine) < FIRST
        found.append(Edges(*(each[kept][order][few] for each in part)))
    if not found:
        return Edges(edges.treated[:0], edges.control[:0], edges.distance[:0])
    return Edges(*(np.concatenate(each) for each in zip(*found)))


class _Flow:
    """The program of a cover within limits, over edges e = (i, j) and what units v lack.

        min sum_e d_e x_e + sum_v P_v s_v,   l_v <= sum_{e at v} x_e + s_v <= u_v,   0 <= x, s

    A unit that lacks a partner costs more than any change of distances could save; one of the side
    that comes first twice that.
    """

    def __init__(self, sides: TwoSides, degrees: Degrees) -> None:
        self.sizes = tuple(len(side.points) for side in sides[:2])
        self.least = np.repeat([degrees.treated[0], degrees.controls[0]], self.sizes)
        self.most = np.repeat([degrees.treated[1], degrees.controls[1]], self.sizes)
        self.twice = np.repeat(np.array(degrees.weights, float), self.sizes)
        every = np.concatenate([sides.treated.points, sides.controls.points])
        across = float(np.sqrt((np.ptp(every, axis=0) ** 2).sum()))
        self.lack = 2.0 * min(self.sizes) * min(across, float(sides.reach.distance)) or 1.0

    def solve(self, edges: Edges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which edges are taken, and the prices of treated and of controls."""
        count, units = edges.treated.size, self.least.size
        scale = float(edges.distance.mean()) or 1.0
        ends = np.concatenate([edges.treated, self.sizes[0] + edges.control])
        row = np.concatenate([ends, np.arange(units)])
        column = np.concatenate([np.tile(np.arange(count), 2), count + np.arange(units)])
        order = np.argsort(row, kind="stable")
        columns = count + units
        program = IntegerProgram(
            cost=np.concatenate([edges.distance, self.lack * self.twice]) / scale,
            lower=np.zeros(columns),
            upper=np.concatenate([np.ones(count), self.least.astype(float)]),
            integer=np.zeros(columns, bool),
            start=np.searchsorted(row[order], np.arange(units + 1)),
            column=column[order],
            value=np.ones(row.size),
            row_lower=self.least.astype(float),
            row_upper=self.most,
        )
        with SolverPool(workers=1) as pool:
            [found] = pool.solve([program])
        if found.ended != "optimal" or found.values is None or found.prices is None:
            raise SolverError(f"the program of full matching ended with {found.ended!r}.")
        treated, controls = np.split(found.prices * scale, [self.sizes[0]])
        return found.values[:count] > 0.5, treated, controls
