"""The best box of one query as an integer program: on ladders, and with the paper's big M."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.solvers import IntegerProgram


class PlacesAround(NamedTuple):
    """The n places around one query where units stand.

    `away` (n, c): how many values up (or, below 0, down) a place lies from where the box starts;
    `cost` (n,): what its units add to the objective; `units` (n, 2) by arm; `minimum`
    (2,): units that a box needs.
    """

    away: Int[np.ndarray, "n c"]
    cost: Float[np.ndarray, " n"]
    units: Int[np.ndarray, "n 2"]
    minimum: Int[np.ndarray, " 2"]


class Reach(NamedTuple):
    """How many values down and up a box reaches from where it starts."""

    down: Int[np.ndarray, " c"]
    up: Int[np.ndarray, " c"]


Decode = Callable[[Float[np.ndarray, " v"]], Reach]


def inside(places: PlacesAround, reach: Reach) -> Bool[np.ndarray, " n"]:
    """Which places a box holds."""
    return np.all((places.away >= -reach.down) & (places.away <= reach.up), axis=1)


def objective(places: PlacesAround, reach: Reach) -> float:
    """What a box costs, in float64."""
    return float(places.cost[inside(places, reach)].sum())


def lacking(places: PlacesAround) -> Int[np.ndarray, " 2"]:
    """How many units of each arm a box needs beyond those that are in it from the start."""
    return np.maximum(places.minimum - places.units[(places.away == 0).all(1)].sum(0), 0)


def useful(places: PlacesAround) -> Bool[np.ndarray, " n"]:
    """Where the edges of a best box stand: at a cost below 0, or at an arm that lacks units."""
    return (places.cost < 0) | ((places.units > 0) & (lacking(places) > 0)).any(1)


def ladder_program(
    places: PlacesAround, known: Reach | None = None
) -> tuple[IntegerProgram, Decode]:
    """The program on ladders: one binary a code, one continuous column a place.

    z = 1 for each code that the box reaches, z of the next code <= z; w <= z at a place's code on
    each side on which it lies away, w >= 1 - (number of those sides) + the sum of those z. Values
    where no edge of a best box stands are left out, and so are rows that nothing ever presses.

    **Returns:** the program, and what turns its solution into a box.
    """
    lack, edges = lacking(places), useful(places)
    sides = np.concatenate([np.maximum(-places.away, 0), np.maximum(places.away, 0)], axis=1)
    stops = [np.unique(side[edges & (side > 0)]) for side in sides.T]
    heights = np.array([len(each) for each in stops])
    first = np.cumsum(heights) - heights
    place = np.stack([np.searchsorted(r, s) for r, s in zip(stops, sides.T)], 1)
    kept = ((sides == 0) | (place < heights)).all(1) & (sides > 0).any(1)
    start = (sides == 0).all(1)

    unit, side = np.nonzero(sides[kept] > 0)
    z = (first + place[kept])[unit, side]
    height, count = int(heights.sum()), int(kept.sum())
    cost, counts = places.cost[kept], places.units[kept]
    rows = _ProgramRows()
    lower = np.setdiff1d(np.arange(height), first)  # every code but the first of a side
    rows.add(lower.size, [lower, lower - 1], [1.0, -1.0], upper=0.0)
    up = edges[kept][unit]
    rows.add(int(up.sum()), [height + unit[up], z[up]], [1.0, -1.0], upper=0.0)
    for k in np.flatnonzero(cost > 0):
        at = z[unit == k]
        rows.add(1, [np.array([height + k]), *at[:, None]], [1.0] + [-1.0] * at.size, 1.0 - at.size)
    for own, missing in zip(counts.T, lack):
        if missing > 0:
            at = np.flatnonzero(own)
            rows.add(1, list(height + at[:, None]), own[at].tolist(), float(missing))

    def decode(values: np.ndarray) -> Reach:
        reached = np.split(values[:height] > 0.5, first[1:])
        reach = np.array([r[o].max(initial=0) for r, o in zip(stops, reached)], int)
        return Reach(*np.split(reach, 2))

    program = rows.program(
        cost=np.concatenate([np.zeros(height), cost]),
        integer=np.arange(height + count) < height,
        offset=float(places.cost[start].sum()),
    )
    if known is not None:
        far = np.concatenate(known)
        opened = np.concatenate([r <= f for r, f in zip(stops, far)] or [np.zeros(0)])
        values = np.concatenate([opened, inside(places, decode(opened))[kept]])
        program = program._replace(incumbent=values.astype(float))
    return program, decode


def big_m_program(places: PlacesAround) -> tuple[IntegerProgram, Decode]:
    """The program after the paper (supplement, 6.1), on codes and with strict edges.

    Continuous edges a and b; binaries w (in the box), u (at or above a), v (at or below b): u = 0
    asks for a >= x + 1/2, v = 0 for b <= x - 1/2, and the count is one of each arm. 4 c n + 2 n
    rows and one for each arm that needs units.
    """
    n, c = places.away.shape
    far = np.abs(places.away).max(0, initial=0)
    a, b, w = np.arange(c), c + np.arange(c), 2 * c + np.arange(n)
    u = 2 * c + n + np.arange(n * c).reshape(n, c)
    v = u + n * c
    rows = _ProgramRows()
    for j in range(c):
        x, big = places.away[:, j].astype(float), 2.0 * far[j] + 1
        edge_a, edge_b = np.full(n, a[j]), np.full(n, b[j])
        rows.add(n, [u[:, j], edge_a], [big, 1.0], upper=big + x)
        rows.add(n, [u[:, j], edge_a], [-big, -1.0], upper=-x - 0.5)
        rows.add(n, [v[:, j], edge_b], [big, -1.0], upper=big - x)
        rows.add(n, [v[:, j], edge_b], [-big, 1.0], upper=x - 0.5)
    both = [*u.T, *v.T]
    rows.add(n, [*both, w], [1.0] * 2 * c + [-2.0 * c], upper=2.0 * c - 1)
    rows.add(n, [*both, w], [-1.0] * 2 * c + [2.0 * c], upper=0.0)
    for own, minimum in zip(places.units.T, places.minimum):
        at = np.flatnonzero(own)
        rows.add(1, list(w[at, None]), own[at].tolist(), float(minimum))
    program = rows.program(
        cost=np.concatenate([np.zeros(2 * c), places.cost, np.zeros(2 * n * c)]),
        integer=np.arange(2 * c + n + 2 * n * c) >= 2 * c,
        lower=np.concatenate([-far - 0.5, np.zeros(c + n + 2 * n * c)]),
        upper=np.concatenate([np.zeros(c), far + 0.5, np.ones(n + 2 * n * c)]),
    )

    def decode(values: np.ndarray) -> Reach:
        """The smallest box around the units that are in: edges themselves carry the tolerance."""
        held = places.away[values[2 * c : 2 * c + n] > 0.5]
        return Reach(-held.min(0, initial=0), held.max(0, initial=0))

    return program, decode


class _ProgramRows:
    """Rows of a matrix, collected block by block."""

    def __init__(self) -> None:
        self.count = 0
        self.entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.bounds: list[np.ndarray] = []

    def add(
        self,
        rows: int,
        columns: list[np.ndarray],
        values: list[float],
        lower: float | np.ndarray = -np.inf,
        upper: float | np.ndarray = np.inf,
    ) -> None:
        """`rows` rows with the same values, each in its own columns."""
        at = self.count + np.arange(rows)
        for column, value in zip(columns, values):
            self.entries.append((at, column, np.full(rows, value)))
        limits = [np.broadcast_to(np.asarray(bound, float), rows) for bound in (lower, upper)]
        self.bounds.append(np.stack(limits))
        self.count += rows

    def program(
        self,
        cost: np.ndarray,
        integer: np.ndarray,
        offset: float = 0.0,
        lower: np.ndarray | None = None,
        upper: np.ndarray | None = None,
    ) -> IntegerProgram:
        """All of it; columns between 0 and 1 unless told."""
        none = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
        row, column, value = (np.concatenate(parts) for parts in zip(*(self.entries or none)))
        order = np.argsort(row, kind="stable")
        limits = np.concatenate([np.zeros((2, 0)), *self.bounds], axis=1)
        return IntegerProgram(
            cost=cost,
            lower=np.zeros(cost.size) if lower is None else lower,
            upper=np.ones(cost.size) if upper is None else upper,
            integer=integer,
            start=np.searchsorted(row[order], np.arange(self.count + 1)).astype(np.int32),
            column=column[order].astype(np.int32),
            value=value[order],
            row_lower=limits[0],
            row_upper=limits[1],
            offset=offset,
        )
