"""The partners by one metric, on the host in float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.matching.learned._match_points import fits_caliper
from jcausal.matching.learned._metric_balance import TIE

CELLS = 2**21  # of a table of distances that is looked at


class PairedPoints(NamedTuple):
    """Queries and their possible partners, as points of a metric.

    - `query` (a, r), `partner` (c, r): coordinates, weighted so that distances are plain sums of
      squared differences.
    - `query_raw` (a, f), `partner_raw` (c, f): columns in sd, for a caliper.
    - `query_group` (a,), `partner_group` (c,): partners are of the same group.
    - `units` (c,): how many units a partner is.
    - `caliper`: in sd, or None.
    """

    query: Float[np.ndarray, "a r"]
    partner: Float[np.ndarray, "c r"]
    query_raw: Float[np.ndarray, "a f"]
    partner_raw: Float[np.ndarray, "c f"]
    query_group: Int[np.ndarray, " a"]
    partner_group: Int[np.ndarray, " c"]
    units: Int[np.ndarray, " c"]
    caliper: float | None

    def distances(self, some: slice) -> Float[np.ndarray, "b c"]:
        """Of some queries; infinite where a pair is not allowed."""
        allowed = self.query_group[some, None] == self.partner_group
        if self.caliper is not None:
            wide = self.caliper * (1 + TIE)
            allowed &= fits_caliper(self.query_raw[some], self.partner_raw, wide)
        out = np.zeros(allowed.shape)
        for one, other in zip(self.query[some].T, self.partner.T):
            out += np.square(one[:, None] - other)
        return np.where(allowed, out, np.inf)


class Found(NamedTuple):
    """Pairs: the query of each (e,), and its partner (e,)."""

    query: Int[np.ndarray, " e"]
    partner: Int[np.ndarray, " e"]


def nearest_shared(points: PairedPoints, ratio: int) -> Found:
    """Of each query all of the `ratio` nearest units: query and partner of every such pair."""
    queries, partners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    block = max(1, CELLS // max(len(points.partner), 1))
    for start in range(0, len(points.query) if len(points.partner) else 0, block):
        distance = points.distances(slice(start, start + block))
        near = distance <= _reach(distance, points.units, ratio)[:, None]
        query, partner = np.nonzero(near)
        queries.append(query + start)
        partners.append(partner)
    return Found(np.concatenate(queries), np.concatenate(partners))


def _reach(
    distance: Float[np.ndarray, "b c"], count: Int[np.ndarray, " c"], ratio: int
) -> Float[np.ndarray, " b"]:
    """How far the `ratio` nearest units are; -1 where there is none."""
    reach = distance.min(1)
    for _ in range(ratio - 1):
        within = distance <= reach[:, None] * (1 + TIE)
        farther = np.where(within, np.inf, distance).min(1)
        enough = np.where(within, count, 0).sum(1) >= ratio
        reach = np.where(enough | ~np.isfinite(farther), reach, farther)
    return np.where(np.isfinite(reach), reach * (1 + TIE), -1)


def nearest_free(points: PairedPoints, ratio: int) -> Found:
    """Query by query, in rounds, each takes the nearest partner that is free."""
    free, found = np.ones(len(points.partner), bool), []
    for _ in range(ratio if free.size else 0):
        for i in range(len(points.query)):
            distance = np.where(free, points.distances(slice(i, i + 1))[0], np.inf)
            least = distance.min()
            if np.isfinite(least):
                j = int((distance <= least * (1 + TIE)).argmax())
                free[j] = False
                found.append((i, j))
    table = np.array(sorted(found), np.int64).reshape(-1, 2)
    return Found(table[:, 0], table[:, 1])


def in_rows(query: Int[np.ndarray, " e"], queries: int) -> tuple[Int[np.ndarray, " e"], int]:
    """The column of each pair among those of its query, given in rising order; the most there."""
    many = np.bincount(query, minlength=queries)
    first = np.append(0, np.cumsum(many))[:-1]
    return np.arange(query.size) - first[query], int(many.max(initial=0))


def unit_pairs(found: Found, place: Int[np.ndarray, " u"], points: int) -> Found:
    """Pairs of queries and units, from pairs of queries and points.

    `place` (u,): the point of each unit, in rising order.
    """
    query, partner = found
    many = np.bincount(place, minlength=points)
    first = np.append(0, np.cumsum(many))[:-1]
    repeats = many[partner]
    begin = np.append(0, np.cumsum(repeats))[:-1]
    within = np.arange(int(repeats.sum())) - np.repeat(begin, repeats)
    return Found(np.repeat(query, repeats), np.repeat(first[partner], repeats) + within)
