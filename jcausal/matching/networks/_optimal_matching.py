"""Optimal pair matching: the pairs without replacement whose total distance is least."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import to_device, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors import Pairs
from jcausal.matching.neighbors._limits import Caliper, CaliperUnit, Exact
from jcausal.matching.neighbors._nearest_neighbors import NeighborMetric
from jcausal.matching.networks._assignment import best_partners
from jcausal.matching.networks._near_pairs import PairsAsked
from jcausal.matching.networks._pair_rules import (
    OrderedUnits,
    PairRules,
    as_names,
    check_rules,
    filled_words,
    metric_words,
    units_of,
)
from jcausal.surfaces import LIKELIEST, Propensity, ResponseSurface


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
    - `metric`: "propensity": |logit e_i - logit e_j|, e the chance of treatment; or
      "mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean", a matrix or a function,
      as in `jc.NearestNeighbors`.
    - `caliper`: no pair is farther apart; None: any. For the propensity in sd of its logit over the
      sample, or as it is with `caliper_unit="raw"`; for other metrics in the metric's own unit. Or
      {name: width} by covariate, in sd or raw; the name "propensity" stands for the logit:
      Mahalanobis within propensity calipers is
      `OptimalMatching(metric="mahalanobis", caliper={"propensity": 0.2})`.
    - `exact`: names of covariates in which partners agree; a missing value is alike to others.
    - `propensity`: how chances of treatment are estimated; by default a logistic regression
      with so small a penalty (1e-6) that it is maximum likelihood as far as anyone can see, and
      has a fit also where units are told apart (penalty=0 refuses those).
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
    metric: NeighborMetric = "propensity"
    caliper: Caliper = None
    caliper_unit: CaliperUnit = eqx.field(static=True, default="sd")
    exact: Exact = eqx.field(static=True, default=None)
    propensity: Propensity = LIKELIEST
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**30)

    def __check_init__(self) -> None:
        if self.ratio < 1:
            raise ValueError(f"ratio is {self.ratio}: it must be at least 1.")
        check_rules(self._rules, self.max_bytes)

    @property
    def _rules(self) -> PairRules:
        return PairRules(
            self.metric, self.propensity, self.caliper, self.caliper_unit, as_names(self.exact)
        )

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
        units = units_of(task.sample, self._rules, task.key, task.estimand != "atc")
        query = units.places(np.asarray(task.query))
        chosen = _choose(units, np.unique(query), self)
        return _as_pairs(task, units, chosen, query, self)


class _ChosenPartners(NamedTuple):
    """What was chosen for each of m units that is queried, by place.

    - `partner` (m, r): nearest first, -1 where there is none.
    - `near` (m,): whether any unit was near enough.
    """

    partner: Int[np.ndarray, "m r"]
    near: Bool[np.ndarray, " m"]


def _choose(
    units: OrderedUnits, queries: Int[np.ndarray, " q"], method: OptimalMatching
) -> _ChosenPartners:
    """Partners of all queries, one party after the other: those of an arm that count alike."""
    ratio = method.ratio
    treated, counts, free = units.treated, units.counts, units.counts.copy()
    chosen = _ChosenPartners(np.full((treated.size, ratio), -1), np.zeros(treated.size, bool))
    for heavy, arm in ((True, True), (True, False), (False, True), (False, False)):
        mine = queries[(treated[queries] == arm) & (counts[queries] == heavy)]
        others = np.flatnonzero((treated != arm) & counts)
        open_ = others[free[others]]
        found = best_partners(units.space, PairsAsked(mine, open_), ratio, method.max_bytes)
        chosen.partner[mine] = np.where(found.place < 0, -1, np.append(open_, -1)[found.place])
        chosen.near[mine] = found.near
        lone = mine[~found.near]
        if open_.size < others.size and lone.size:
            again = PairsAsked(lone, others)
            chosen.near[lone] = best_partners(units.space, again, 1, method.max_bytes).near
        taken = chosen.partner[mine]
        free[taken[taken >= 0]] = False
    return chosen


def _as_pairs(
    task: Task,
    units: OrderedUnits,
    chosen: _ChosenPartners,
    query: Int[np.ndarray, " q"],
    method: OptimalMatching,
) -> Pairs:
    """The matching of queries, by place, with what is to be said of it."""
    sample, partner = task.sample, chosen.partner[query]
    rows = np.where(partner < 0, -1, units.rows[partner])
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
        caution=_told(units, query, partner, method._rules) + filled_words(units.filled),
    )


def _told(
    units: OrderedUnits,
    query: Int[np.ndarray, " q"],
    partner: Int[np.ndarray, "q r"],
    rules: PairRules,
) -> str:
    """The total distance, and how many queries got fewer partners than were asked for."""
    own, which = np.nonzero(partner >= 0)
    points = units.space.points
    apart = points[query[own]] - points[partner[own, which]]
    total = float(np.sqrt((apart**2).sum(1)).sum())
    count, ratio = (partner >= 0).sum(1), partner.shape[1]
    short = int(((count > 0) & (count < ratio)).sum())
    words = f"{own.size:,} pairs, whose distances in {metric_words(rules)} add up to {total:.4g}"
    return words + (f"; {short:,} queries have fewer than {ratio} partners" if short else "")
