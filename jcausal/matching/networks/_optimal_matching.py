"""Optimal pair matching: the pairs without replacement whose total distance is least."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import Sample, to_device, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors import Pairs
from jcausal.matching.neighbors._points import NamedMetric, units_in_order
from jcausal.matching.networks._assignment import bytes_a_pair, least_total
from jcausal.matching.networks._near_pairs import CaliperUnit, Room, Space, near_pairs
from jcausal.matching.networks._pair_rules import (
    PairRules,
    as_names,
    check_rules,
    filled_words,
    space_of,
)
from jcausal.surfaces import Propensity, ResponseSurface


class OptimalMatching(DesignMatcher):
    """Match pairs without replacement so that all distances together are as small as can be.

    Of all ways to give each query up to `ratio` partners of the other arm, none to two queries,
    the one is taken that makes as many pairs as can be, among those with as many queries matched
    as can be, and among those with the least

        sum over pairs (i, j) of d(i, j)

    Where a nearest-neighbour matching gives a close partner to the query that comes first, this
    one looks at all queries together. Only pairs within the caliper and alike in the `exact`
    columns are looked at, and memory is proportional to them. Row order changes no pair: units are
    told apart by their covariates, column by column, then by id.

    Sampling weights: queries and partners count as units; those of weight 0 are no partners, and
    as queries they get what the others leave.

    **Arguments:**

    - `ratio`: partners of each query, at most.
    - `metric`: "propensity": |e_i - e_j| of the chances of treatment; "mahalanobis" by the
      covariance within the arms; "robust_mahalanobis" of ranks; "scaled_euclidean";
      "euclidean".
    - `caliper`: no pair is farther apart; None: any. `caliper_unit`: "sd" is that of the
      propensity, over the whole sample; the two Mahalanobis distances and the scaled one are in
      sd as they are, so that for them both units are one; "raw" is the distance itself.
    - `exact`: names of covariates in which partners agree; a missing value is alike to others.
    - `propensity`: how chances of treatment are estimated.
    - `max_bytes`: what pairs may take; more is refused before it is laid out.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`.

    **Raises:** `MatchError` when more pairs are within the caliper than there is room for, with
    the caliper that would fit; ValueError for bad options, points, and estimand "ate".

    **Source:** Rosenbaum (1989), JASA 84(408), 1024-1032.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> matching = jc.match(sample, jc.OptimalMatching(caliper=0.2))
        >>> matching.rows.shape
        (185, 1)
    """

    ratio: int = eqx.field(converter=whole, static=True, default=1)
    metric: NamedMetric = eqx.field(static=True, default="propensity")
    caliper: float | int | None = None
    caliper_unit: CaliperUnit = eqx.field(static=True, default="sd")
    exact: tuple[str, ...] = eqx.field(converter=as_names, static=True, default=())
    propensity: Propensity = Propensity()
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**30)

    def __check_init__(self) -> None:
        if self.ratio < 1:
            raise ValueError(f"ratio is {self.ratio}: it must be at least 1.")
        check_rules(self._rules, self.max_bytes)

    @property
    def _rules(self) -> PairRules:
        return PairRules(self.metric, self.propensity, self.caliper, self.caliper_unit, self.exact)

    @property
    def traceable(self) -> bool:
        """Never: pairs are chosen on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Pairs:
        """Match all queries together."""
        self.check_rows(task)
        if task.estimand == "ate":
            raise ValueError(
                "OptimalMatching pairs the units of one arm: use estimand='att' or 'atc', or "
                "jc.FullMatching() for 'ate'."
            )
        space = space_of(task.sample, self._rules, task.key)
        rows = np.unique(np.asarray(task.query))
        chosen = _choose(task.sample, space, rows, self)
        return _as_pairs(task, self, space, chosen)


class _Chosen(NamedTuple):
    """What was chosen for each row that is queried.

    - `partner` (n, r): rows, nearest first, -1 where there is none.
    - `near` (n,): whether any unit was near enough.
    """

    partner: Int[np.ndarray, "n r"]
    near: Bool[np.ndarray, " n"]


def _choose(
    sample: Sample, space: Space, rows: Int[np.ndarray, " q"], method: OptimalMatching
) -> _Chosen:
    """Partners of all queried rows, one party of queries after the other."""
    ratio, room = method.ratio, Room(method.max_bytes, bytes_a_pair(method.ratio))
    treated, counts = np.asarray(sample.t), np.asarray(sample.weight) > 0
    order = units_in_order(sample)
    asked, free = np.isin(order, rows), counts.copy()
    chosen = _Chosen(np.full((sample.n, ratio), -1), np.zeros(sample.n, bool))
    for heavy, arm in ((True, True), (True, False), (False, True), (False, False)):
        query = order[asked & (treated[order] == arm) & (counts[order] == heavy)]
        others = order[(treated[order] != arm) & counts[order]]
        open_ = others[free[others]]
        pairs = near_pairs(space, query, open_, ratio, room)
        place = least_total(pairs, ratio)
        chosen.partner[query] = np.where(place < 0, -1, np.append(open_, -1)[place])
        chosen.near[query] = np.diff(pairs.start) > 0
        lone = query[~chosen.near[query]]
        if open_.size < others.size and lone.size:
            chosen.near[lone] = np.diff(near_pairs(space, lone, others, 1, room).start) > 0
        free[chosen.partner[query]] = False
    return chosen


def _as_pairs(task: Task, method: OptimalMatching, space: Space, chosen: _Chosen) -> Pairs:
    """The matching, with what is to be said of it."""
    sample, query = task.sample, np.asarray(task.query)
    rows = chosen.partner[query]
    weight = np.where(rows < 0, 0, np.asarray(sample.weight, np.float64)[rows])
    total = weight.sum(1, keepdims=True)
    reason = np.where(
        chosen.near[query], int(code(RESULTS.all_taken)), int(code(RESULTS.outside_caliper))
    )
    status = np.where(rows[:, 0] >= 0, int(code(RESULTS.matched)), reason)
    return Pairs(
        sample=sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        rows=to_device(rows.astype(np.int32)),
        weights=to_device((weight / np.where(total > 0, total, 1)).astype(sample.x.dtype)),
        status=to_device(status.astype(np.int32)),
        estimand=task.estimand,
        caution=_told(method, space, query, rows) + filled_words(sample, method.metric),
    )


def _told(
    method: OptimalMatching,
    space: Space,
    query: Int[np.ndarray, " q"],
    rows: Int[np.ndarray, "q r"],
) -> str:
    """The total distance, and how many queries got fewer partners than were asked for."""
    own, place = np.nonzero(rows >= 0)
    apart = space.points[query[own]] - space.points[rows[own, place]]
    total = float(np.sqrt((apart**2).sum(1)).sum())
    words = f"{own.size:,} pairs, their distances in {method.metric} add up to {total:.4g}"
    short = int(((rows >= 0).sum(1)[rows[:, 0] >= 0] < method.ratio).sum())
    return words + (f"; {short:,} queries have fewer than {method.ratio} partners" if short else "")
