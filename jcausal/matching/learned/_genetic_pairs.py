"""Pairs from lists of who is matched with whom, and what is said of their balance."""

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import number_in_words, to_device
from jcausal.matching._matcher import Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.learned._balance_tests import PairMoments, p_values
from jcausal.matching.learned._evolution import Evolved
from jcausal.matching.learned._genetic_arms import ArmPoints, many_values
from jcausal.matching.learned._match_points import MatchPoints
from jcausal.matching.learned._metric_balance import PairRule
from jcausal.matching.learned._metric_pairs import Found, in_rows
from jcausal.matching.neighbors import Pairs

NAMED = 5  # weights that are told


def evolved_pairs(
    task: Task,
    points: MatchPoints,
    arms: list[ArmPoints],
    evolved: Evolved,
    rule: PairRule,
    max_bytes: int,
) -> Pairs:
    """The pairs by the best metric.

    **Raises:** ValueError when partners that are as near are more than `max_bytes` hold.
    """
    found = [arm.partners(points, evolved.weights, rule) for arm in arms]
    rows, weights = _tables(task, points, arms, found, max_bytes)
    moments = pair_moments(task, points, rows, weights)
    return Pairs(
        sample=task.sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        rows=to_device(rows),
        weights=to_device(weights.astype(task.sample.x.dtype)),
        status=to_device(_status(task, weights, rule)),
        estimand=task.estimand,
        caution=_told(p_values(moments, many_values(points))[0], evolved, points),
    )


def _tables(
    task: Task,
    points: MatchPoints,
    arms: list[ArmPoints],
    found: list[Found],
    max_bytes: int,
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """Rows and weights of each query's partners, from pairs of points and units."""
    sample, query = task.sample, np.asarray(task.query)
    m, asked = len(points.raw), np.asarray(task.asked)
    point = np.full(sample.n, -1)
    point[points.order] = points.place
    laid = []
    for arm, (by, unit) in zip(arms, found):
        turn = np.argsort(by, kind="stable")
        laid.append((arm, by[turn], unit[turn], *in_rows(by[turn], m)))
    k = max([1, *(most for *_, most in laid)])
    if 12 * k * len(query) > max_bytes:
        raise ValueError(
            f"{k:,} partners are as near to one query as its nearest: the pairs would take more "
            f"than max_bytes = {max_bytes:,}; give covariates with more values, or allow more."
        )
    rows = np.full((len(query), k), -1, np.int32)
    for arm, by, unit, column, _ in laid:
        table = np.full((m, k), -1, np.int32)
        table[by, column] = points.order[unit]
        mine = asked & (np.asarray(sample.t)[query] == arm.treated)
        rows[mine] = table[point[query[mine]]]
    weights = np.where(rows >= 0, np.asarray(sample.weight, np.float64)[rows], 0)
    total = weights.sum(1, keepdims=True)
    return rows, weights / np.where(total > 0, total, 1)


def _status(task: Task, weights: Float[np.ndarray, "q k"], rule: PairRule) -> np.ndarray:
    """Matched, or why not."""
    sample = task.sample
    able = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
    there = np.array([(able & (np.asarray(sample.t) == arm)).any() for arm in (False, True)])
    other = ~np.asarray(sample.t)[np.asarray(task.query)]
    free = RESULTS.outside_caliper if rule.replace else RESULTS.all_taken
    alone = RESULTS.no_control
    missing = np.where(there[other.astype(int)], code(free), code(alone))
    status = np.where((weights > 0).any(1), code(RESULTS.matched), missing)
    return np.where(np.asarray(task.asked), status, code(RESULTS.not_asked)).astype(np.int32)


def pair_moments(
    task: Task,
    points: MatchPoints,
    rows: Int[np.ndarray, "q k"],
    weights: Float[np.ndarray, "q k"],
) -> PairMoments:
    """What the tests of one set of pairs need, in float64."""
    sample, query = task.sample, np.asarray(task.query)
    point = np.zeros(sample.n, np.int64)
    point[points.order] = points.place
    held = (weights > 0).any(1)
    own = np.where(held, np.asarray(sample.weight, np.float64)[query], 0)
    sign = np.where(np.asarray(sample.t)[query], 1.0, -1.0)
    gap = points.raw[point[query]]
    apart = np.bincount(point[query], own * sign, len(points.raw))
    for row, weight in zip(rows.T, weights.T):
        gap = gap - weight[:, None] * points.raw[point[row]]
        apart -= np.bincount(point[row], own * sign * weight, len(points.raw))
    weighted = own[:, None] * sign[:, None] * gap
    return PairMoments(
        weight=np.array([own.sum()]),
        square=np.array([(own**2).sum()]),
        mean=weighted.sum(0)[None],
        second=(own[:, None] * gap**2).sum(0)[None],
        gap=_gaps(apart / (own.sum() or 1), points.raw)[None],
    )


def _gaps(apart: Float[np.ndarray, " m"], raw: Float[np.ndarray, "m f"]) -> np.ndarray:
    """The largest distance between both arms' distribution functions of each column."""
    found = []
    for column in raw.T:
        order = np.argsort(column, kind="stable")
        last = np.append(np.diff(column[order]) > 0, True)
        found.append(np.abs(np.cumsum(apart[order]))[last].max())
    return np.array(found)


def _told(p: Float[np.ndarray, " g"], evolved: Evolved, points: MatchPoints) -> str:
    """The balance that was found, and by which weights."""
    largest = np.argsort(-evolved.weights, kind="stable")[:NAMED]
    share = evolved.weights / evolved.weights.sum()
    named = [f"{points.of_scaled[j]} {number_in_words(float(share[j]))}" for j in largest]
    few = " the largest" if evolved.weights.size > NAMED else ""
    gaps = f"; {points.filled} missing values stand at the mean, flagged" if points.filled else ""
    return (
        f"balance was searched for: the smallest of {p.size} p-values is "
        f"{number_in_words(float(p.min()))} ({number_in_words(float(evolved.p_of_equal[0]))} by "
        f"equal weights) after {evolved.generations} generations; weights,{few} as shares: "
        f"{', '.join(named)}{gaps}"
    )
