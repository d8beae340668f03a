"""What lies around each query: costs, and how far every unit stands from where its box starts."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.matching.boxes._programs import Around, Reach, useful
from jcausal.matching.boxes._space import Layout
from jcausal_kernels import MISSING


class Ground(NamedTuple):
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


class Start(NamedTuple):
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
    """The best boxes that are looked for: q starts on one ground, of the queries `rows`.

    `beta` is what a unit in a box is worth; `minimum` (2,) how many a box needs of either arm.
    """

    ground: Ground
    rows: Int[np.ndarray, " q"]
    starts: list[Start]
    plan: Layout
    pruning: Pruning
    beta: float
    minimum: Int[np.ndarray, " 2"]


def distances(ground: Ground, start: Start) -> Float[np.ndarray, " n"]:
    """How far each unit's weighted predictions are from the query's."""
    return np.abs(ground.scores - start.scores).sum(1)


def candidates(quest: Quest, i: int) -> Bool[np.ndarray, " n"]:
    """The units that the i-th search looks at; the query itself is always one."""
    ground, start, pruning = quest.ground, quest.starts[i], quest.pruning
    kept = np.ones(ground.arm.size, bool)
    if pruning.rows is not None:
        kept = np.zeros(ground.arm.size + 1, bool)  # where an arm has fewer, the row is n
        kept[pruning.rows[i].ravel()] = True
        kept = kept[:-1]
    if pruning.score is not None:
        kept &= distances(ground, start) <= pruning.score
    for j, most in pruning.covariate.items():
        kept &= ~(np.abs(ground.x[:, j] - start.x[j]) > most)
    if start.row >= 0:
        kept[start.row] = True
    return kept


def away(ground: Ground, start: Start, plan: Layout) -> Int[np.ndarray, "n c"]:
    """Steps up or down the ladders from the start; each other level is a column of 0 and 1."""
    up = np.maximum(ground.codes - start.upper, 0)
    down = np.maximum(start.lower - ground.codes, 0)
    columns = [np.where(ground.codes == MISSING, 0, up - down)]
    for slot, height in enumerate(plan.heights):
        other = (ground.levels[:, slot] - start.level[slot]) % height
        columns.append((other[:, None] == np.arange(1, height)).astype(int))
    return np.concatenate(columns, axis=1)


def edges(start: Start, reach: Reach, plan: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes and open levels of a box: (o,), (o,), (k, tallest)."""
    o = start.lower.size
    opened = np.zeros((len(plan.heights), plan.tallest), bool)
    first = o
    for slot, height in enumerate(plan.heights):
        others = 1 + np.flatnonzero(reach.up[first : first + height - 1] > 0)
        opened[slot, (start.level[slot] + np.concatenate([[0], others])) % height] = True
        first += height - 1
    return start.lower - reach.down[:o], start.upper + reach.up[:o], opened


def around(quest: Quest, i: int) -> Around:
    """The places that the i-th box may hold, units at one place together.

    A unit's cost is (distance - beta) times its weight. Places beyond every place at which an edge
    can stand are left out.
    """
    ground, start = quest.ground, quest.starts[i]
    kept = candidates(quest, i)
    cost = ((distances(ground, start) - quest.beta) * ground.weight)[kept]
    arm, every = ground.arm[kept], away(ground, start, quest.plan)[kept]
    found = _merged(every, cost, np.stack([~arm, arm], 1).astype(int), quest.minimum)
    at = found.away[useful(found)]
    low, high = at.min(0, initial=0), at.max(0, initial=0)
    near = ((found.away >= low) & (found.away <= high)).all(1)
    return Around(found.away[near], found.cost[near], found.units[near], quest.minimum)


def _merged(every: np.ndarray, cost: np.ndarray, count: np.ndarray, minimum: np.ndarray) -> Around:
    """One place for all units that stand there."""
    place, at = np.unique(every, axis=0, return_inverse=True)
    if place.shape[0] == every.shape[0]:
        return Around(every, cost, count, minimum)
    at = at.reshape(-1)
    totals = np.stack([np.bincount(at, one) for one in (cost, *count.T)])
    return Around(place, totals[0], totals[1:].T.astype(int), minimum)
