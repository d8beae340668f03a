"""Which units may be partners: what the user asks for, and what it comes to on a sample."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import Sample, rows_in_words
from jcausal.matching._matching import MatchError
from jcausal.matching._order import value_order
from jcausal.matching.neighbors._limits import (
    Caliper,
    CaliperUnit,
    check_caliper,
    exact_blocks,
    limits_of,
)
from jcausal.matching.neighbors._metric_points import metric_points
from jcausal.matching.neighbors._nearest_neighbors import NeighborMetric
from jcausal.matching.networks._finders import PairReach
from jcausal.matching.networks._near_pairs import PairSpace
from jcausal.surfaces import Propensity, propensity_scores

NAMES = ("propensity", "mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean")


class PairRules(NamedTuple):
    """What a method asks of partners; each as in `jc.OptimalMatching`."""

    metric: NeighborMetric
    propensity: Propensity
    caliper: Caliper
    caliper_unit: CaliperUnit
    exact: tuple[str, ...]

    @property
    def by_propensity(self) -> bool:
        """Whether distances are those of the propensity."""
        return isinstance(self.metric, str) and self.metric == "propensity"


class OrderedUnits(NamedTuple):
    """The m valid units of a sample in an order that the order of its rows does not change.

    - `rows` (m,): the queried arm last, by covariates column by column, then by id.
    - `treated` (m,); `counts` (m,): who has weight.
    - `space`: where they stand.
    - `filled`: how many missing values stand at a mean.
    """

    rows: Int[np.ndarray, " m"]
    treated: Bool[np.ndarray, " m"]
    counts: Bool[np.ndarray, " m"]
    space: PairSpace
    filled: int

    def places(self, rows: Int[np.ndarray, " q"]) -> Int[np.ndarray, " q"]:
        """The places of some rows."""
        place = np.zeros(int(self.rows.max(initial=0)) + 1, np.int64)
        place[self.rows] = np.arange(self.rows.size)
        return place[rows]


def as_names(exact: Any) -> Any:
    """No, one or several names as a tuple; anything else as it is."""
    if exact is None:
        return ()
    if isinstance(exact, str):
        return (exact,)
    return tuple(exact) if isinstance(exact, list) else exact


def check_rules(rules: PairRules, max_bytes: int) -> None:
    """Refuse options that no sample could fulfil.

    **Raises:** ValueError.
    """
    exact, metric = rules.exact, rules.metric
    if isinstance(metric, str) and metric not in NAMES:
        raise ValueError(f"metric is {metric!r}: use {', '.join(NAMES)}, a matrix or a function.")
    if not isinstance(exact, tuple) or not all(isinstance(name, str) for name in exact):
        raise ValueError(f"exact is {exact!r}: it must be names of covariates, such as ('race',).")
    check_caliper(rules.caliper)
    if max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}: it must be at least 1.")


def units_of(
    sample: Sample, rules: PairRules, key: Any = None, queried: bool = True
) -> OrderedUnits:
    """The units with points, blocks and calipers.

    All is computed on the rows in that order, so that no sum depends, in its last bit, on the order
    in which they came. `queried`: the arm of the queries, which stands last and to the right on the
    line of the propensity, so that changing the arms changes no group.

    **Raises:** ValueError for names that are no covariate's; `MatchError` for points that are NaN.
    """
    rows = np.flatnonzero(np.asarray(sample.valid))
    rows = rows[value_order(sample, rows, (np.asarray(sample.t)[rows] == queried).astype(np.int64))]
    ordered = sample.take(rows)
    score, filled = None, 0
    if rules.by_propensity or (
        isinstance(rules.caliper, Mapping) and "propensity" in rules.caliper
    ):
        score = _logits(ordered, rules.propensity, key)
    if score is not None and rules.by_propensity:
        points = score[:, None] if queried else -score[:, None]
    else:
        points, filled = metric_points(ordered, rules.metric)
    lost = rows[~np.isfinite(points).all(1)]
    if lost.size:
        raise MatchError(
            f"{lost.size} units have no distances ({rows_in_words(lost)}): their propensity or "
            "metric is NaN; look at the covariates with jc.describe(sample)."
        )
    own, unit = score if rules.by_propensity else None, rules.caliper_unit
    limits = limits_of(ordered, rules.caliper, unit, own, score)
    one = limits_of(ordered, 1.0, unit, own, score).reach
    reach = PairReach(float(limits.reach), np.asarray(limits.widths))
    space = PairSpace(
        points,
        limits.columns,
        exact_blocks(ordered, np.zeros(ordered.n, int), rules.exact),
        reach,
        one or 1.0,
    )
    counts = np.asarray(ordered.weight) > 0
    return OrderedUnits(rows, np.asarray(ordered.t), counts, space, filled)


def filled_words(filled: int) -> str:
    """What is to be said of missing values in distances, behind a sentence; or nothing."""
    if not filled:
        return ""
    return f"; {filled:,} missing values stand at the mean of the known, beside a 0/1 column"


def metric_words(rules: PairRules) -> str:
    """The metric in words."""
    if isinstance(rules.metric, str):
        return "logits of the propensity" if rules.by_propensity else rules.metric
    return "the metric"


def _logits(sample: Sample, propensity: Propensity, key: Any) -> Float[np.ndarray, " n"]:
    """log(e / (1 - e)) of every unit; a chance of 0 or 1 is one within rounding."""
    chance = np.asarray(propensity_scores(sample, propensity, key=key), np.float64)
    least = np.finfo(np.float64).eps
    chance = np.clip(chance, least, 1 - least)
    return np.log(chance) - np.log1p(-chance)
