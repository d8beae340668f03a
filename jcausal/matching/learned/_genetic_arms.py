"""The queries of one arm and their possible partners, as points of a metric."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import bucket, pad_rows, to_device
from jcausal.matching._matcher import Task
from jcausal.matching.learned._match_points import MatchPoints
from jcausal.matching.learned._metric_balance import MetricSide, PairRule, ValueOrder
from jcausal.matching.learned._metric_pairs import (
    Found,
    PairedPoints,
    nearest_free,
    nearest_shared,
    unit_pairs,
)


class ArmPoints:
    """The queries of one arm, and who may be their partners.

    `query` (a,), `partner` (c,): points, in the order in which they are asked.
    """

    def __init__(self, task: Task, points: MatchPoints, treated: bool, rule: PairRule) -> None:
        sample = task.sample
        t, weight = np.asarray(sample.t), np.asarray(sample.weight, np.float64)
        asked = np.zeros(sample.n)
        np.add.at(asked, np.asarray(task.query)[np.asarray(task.asked)], 1.0)
        able = (t != treated) & (weight > 0) & np.asarray(sample.valid)
        self.treated = treated
        self.able = able[points.order]
        weight = weight / weight[np.asarray(sample.valid)].mean()
        self.asked_weight = points.added(np.where(t == treated, asked * weight, 0))
        squares = np.where(t == treated, asked * weight**2, 0)
        self.asked_square = points.added(squares)
        self.able_weight = points.added(np.where(able, weight, 0))
        self.able_count = points.added(able.astype(float)).astype(np.int64)
        self.partner = np.flatnonzero(self.able_count)
        self.query = np.flatnonzero(points.added(np.where(t == treated, asked, 0)))
        if not rule.replace and self.partner.size:
            self.query = self._farthest_first(points)

    def _farthest_first(self, points: MatchPoints) -> Int[np.ndarray, " a"]:
        """The queries by their distance from the partners' mean."""
        share = self.able_weight / self.able_weight.sum()
        apart = np.square(points.scaled - share @ points.scaled).sum(1)[self.query]
        return self.query[np.argsort(-apart, kind="stable")]

    def side(self, points: MatchPoints, dtype: np.dtype) -> MetricSide:
        """What the compiled program needs, in padded shapes."""
        query, partner, m = self.query, self.partner, len(points.raw)
        a, c = bucket(query.size), bucket(max(partner.size, 1))

        def padded(values: np.ndarray, rows: int, fill: int = 0) -> Any:
            kind = np.int32 if values.dtype.kind in "iu" else dtype
            return to_device(pad_rows(values.astype(kind), rows, fill))

        def places(of: np.ndarray, rows: int) -> Any:
            out = np.full(bucket(m), rows, np.int32)
            out[of] = np.arange(of.size)
            return to_device(out)

        return MetricSide(
            query=padded(points.scaled[query], a),
            partner=padded(points.scaled[partner], c),
            query_raw=padded(points.raw[query], a),
            partner_raw=padded(points.raw[partner], c),
            query_weight=padded(self.asked_weight[query], a),
            query_square=padded(self.asked_square[query], a),
            partner_weight=padded(self.able_weight[partner], c),
            partner_count=padded(self.able_count[partner].astype(float), c),
            query_group=padded(points.group[query], a, -1),
            partner_group=padded(points.group[partner], c, -2),
            query_of=places(query, a),
            partner_of=places(partner, c),
            sign=to_device(np.asarray(1 if self.treated else -1, dtype)),
        )

    def partners(
        self, points: MatchPoints, weights: Float[np.ndarray, " r"], rule: PairRule
    ) -> Found:
        """Pairs of query points and units, by their place in the points' order."""
        query, partner = self.query, self.partner
        scaled = points.scaled * np.sqrt(weights)
        paired = PairedPoints(
            scaled[query],
            scaled[partner],
            points.raw[query],
            points.raw[partner],
            points.group[query],
            points.group[partner],
            self.able_count[partner],
            rule.caliper,
        )
        pick = nearest_shared if rule.replace else nearest_free
        found = pick(paired, rule.ratio)
        units = np.flatnonzero(self.able)
        points_of = Found(query[found.query], partner[found.partner])
        by_unit = unit_pairs(points_of, points.place[units], len(points.raw))
        return Found(by_unit.query, units[by_unit.partner])


def value_orders(points: MatchPoints) -> ValueOrder:
    """All points sorted by each column, padded by points at the end that carry nothing."""
    m, columns = len(points.raw), points.raw.shape[1]
    wide = bucket(m)
    order = np.tile(np.arange(wide, dtype=np.int32), (columns, 1))
    last = np.ones((columns, wide), bool)
    for j, column in enumerate(points.raw.T):
        turn = np.argsort(column, kind="stable")
        order[j, :m] = turn
        last[j, : m - 1] = column[turn][1:] > column[turn][:-1]
    return ValueOrder(to_device(order), to_device(last))


def many_values(points: MatchPoints) -> Bool[np.ndarray, " f"]:
    """Which columns have more than two values."""
    return np.array([np.unique(column).size > 2 for column in points.raw.T], bool)
