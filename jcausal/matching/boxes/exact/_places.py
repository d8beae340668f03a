"""What lies around each query: costs, and how far every unit stands from where its box starts."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.matching.boxes._columns import Columns
from jcausal.matching.boxes.exact._integer_programs import PlacesAround, Reach, useful
from jcausal_kernels import MISSING


class FoldMembers(NamedTuple):
    """The n members of a fold, for all of its queries.

    `codes` (n, o) places on the ladders, `levels` (n, k) of the categories, `x` (n, p) in the
    covariates' units, `weight` (n,) of mean 1, `scores` (n, s): predictions times their weights.
    """

    codes: Int[np.ndarray, "n o"]
    levels: Int[np.ndarray, "n k"]
    x: Float[np.ndarray, "n p"]
    arm: Bool[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    scores: Float[np.ndarray, "n s"]


class BoxStart(NamedTuple):
    """Where a query's box starts: codes, levels, covariates, scores; `row`: its own, or -1."""

    lower: Int[np.ndarray, " o"]
    upper: Int[np.ndarray, " o"]
    level: Int[np.ndarray, " k"]
    x: Float[np.ndarray, " p"]
    scores: Float[np.ndarray, " s"]
    row: int


class Pruning(NamedTuple):
    """Which units are looked at: rows by query (or None), and the farthest that they may be."""

    rows: Int[np.ndarray, "q 2 d"] | None = None
    score: float | None = None
    covariate: Mapping[int, float] = {}


class Quest(NamedTuple):
    """The best boxes that are looked for: q starts among the same members, of the queries `rows`.

    `beta` is what a unit in a box is worth; `minimum` (2,) how many a box needs of either arm.
    """

    members: FoldMembers
    rows: Int[np.ndarray, " q"]
    starts: list[BoxStart]
    columns: Columns
    pruning: Pruning
    beta: float
    minimum: Int[np.ndarray, " 2"]


def distances(members: FoldMembers, start: BoxStart) -> Float[np.ndarray, " n"]:
    """How far each unit's weighted predictions are from the query's."""
    return np.abs(members.scores - start.scores).sum(1)


def candidates(quest: Quest, i: int) -> Bool[np.ndarray, " n"]:
    """The units that the i-th search looks at; the query itself is always one."""
    members, start, pruning = quest.members, quest.starts[i], quest.pruning
    kept = np.ones(members.arm.size, bool)
    if pruning.rows is not None:
        kept = np.zeros(members.arm.size + 1, bool)  # where an arm has fewer, the row is n
        kept[pruning.rows[i].ravel()] = True
        kept = kept[:-1]
    if pruning.score is not None:
        kept &= distances(members, start) <= pruning.score
    for j, most in pruning.covariate.items():
        kept &= ~(np.abs(members.x[:, j] - start.x[j]) > most)
    if start.row >= 0:
        kept[start.row] = True
    return kept


def away(members: FoldMembers, start: BoxStart, columns: Columns) -> Int[np.ndarray, "n c"]:
    """Steps up or down the ladders from the start; each other level is a column of 0 and 1."""
    up = np.maximum(members.codes - start.upper, 0)
    down = np.maximum(start.lower - members.codes, 0)
    parts = [np.where(members.codes == MISSING, 0, up - down)]
    for slot, height in enumerate(columns.heights):
        other = (members.levels[:, slot] - start.level[slot]) % height
        parts.append((other[:, None] == np.arange(1, height)).astype(int))
    return np.concatenate(parts, axis=1)


def edges_of(
    start: BoxStart, reach: Reach, columns: Columns
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes and open levels of a box: (o,), (o,), (k, tallest)."""
    o = start.lower.size
    opened = np.zeros((len(columns.heights), columns.tallest), bool)
    first = o
    for slot, height in enumerate(columns.heights):
        others = 1 + np.flatnonzero(reach.up[first : first + height - 1] > 0)
        opened[slot, (start.level[slot] + np.concatenate([[0], others])) % height] = True
        first += height - 1
    return start.lower - reach.down[:o], start.upper + reach.up[:o], opened


def places_around(quest: Quest, i: int) -> PlacesAround:
    """The places that the i-th box may hold, units at one place together.

    A unit's cost is (distance - beta) times its weight. Places beyond every place at which an edge
    can stand are left out.
    """
    members, start = quest.members, quest.starts[i]
    kept = candidates(quest, i)
    cost = ((distances(members, start) - quest.beta) * members.weight)[kept]
    arm, every = members.arm[kept], away(members, start, quest.columns)[kept]
    found = _merged(every, cost, np.stack([~arm, arm], 1).astype(int), quest.minimum)
    at = found.away[useful(found)]
    low, high = at.min(0, initial=0), at.max(0, initial=0)
    near = ((found.away >= low) & (found.away <= high)).all(1)
    return PlacesAround(found.away[near], found.cost[near], found.units[near], quest.minimum)


def _merged(
    every: np.ndarray, cost: np.ndarray, count: np.ndarray, minimum: np.ndarray
) -> PlacesAround:
    """One place for all units that stand there."""
    place, at = np.unique(every, axis=0, return_inverse=True)
    if place.shape[0] == every.shape[0]:
        return PlacesAround(every, cost, count, minimum)
    at = at.reshape(-1)
    totals = np.stack([np.bincount(at, one) for one in (cost, *count.T)])
    return PlacesAround(place, totals[0], totals[1:].T.astype(int), minimum)
