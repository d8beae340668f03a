"""Nearest neighbour matching: the method's hyperparameters, and its search space."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jcausal.data import check_kind, is_traced, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching.neighbors._limits import (
    Caliper,
    CaliperUnit,
    Exact,
    check_caliper,
    check_rule,
    limits_of,
    search_space,
)
from jcausal.matching.neighbors._metric_points import metric_points
from jcausal.matching.neighbors._neighbor_pairs import neighbor_pairs
from jcausal.matching.neighbors._pairs import Pairs
from jcausal.matching.neighbors._pairs_at_points import pairs_at_points
from jcausal.matching.neighbors._search_space import SearchSpace, with_equal_twins
from jcausal.matching.neighbors._traced_neighbors import traced_pairs
from jcausal.matching.neighbors._with_replacement import NearestRule, Order, Ties
from jcausal.surfaces import LIKELIEST, Propensity, propensity_scores

NeighborMetric = (
    Literal["mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean", "propensity"]
    | Float[np.ndarray, "f f"]
    | Float[Array, "f f"]
    | Callable
)
TRACED = ("mahalanobis", "scaled_euclidean", "euclidean")


class NearestNeighbors(DesignMatcher):
    """Match each query to the nearest units of the other arm.

    The distance d(i, k) = |z_i - z_k| is that of points z of the covariates:

    - "mahalanobis": d^2 = (x_i - x_k)' C^+ (x_i - x_k), C the covariance within the arms.
    - "robust_mahalanobis": the same of ranks, ties averaged, all with the variance of ranks without
      ties: rare levels of binaries weigh less, and outliers nothing beyond their rank.
    - "scaled_euclidean": each column over its sd within the arms; "euclidean": as they are, and two
      levels of a category 1 apart.
    - "propensity": |logit e_i - logit e_k|, e the chance of treatment by `propensity`.
    - a matrix M (f, f): d^2 = (x_i - x_k)' M (x_i - x_k), over the columns that `jc.balance` lists
      of covariates (one 0/1 column a level); a function of these columns (n, f) gives points.

    A category enters as one 0/1 column a level. A missing number stands at the mean of the known,
    beside a 0/1 column that says so; the summary then says how many. `jc.PrognosticNeighbors`
    matches on predicted outcomes.

    Every query takes its `ratio` nearest units. With replacement the search is exact; units as near
    as the last are all taken and the query's mean is over all of them, by sampling weight
    (`ties="all"`), or the first by their covariates' values, then by id (`ties="first"`). Without,
    queries take a partner each in turn, then each its second: who comes first is said by `order`.
    Units of weight 0 are no partners; `ratio` counts units. Distances that differ by less than 1e-9
    of their square tie.

    **Arguments:**

    - `metric`, `ratio`, `replace`, `ties`: as above; `ties` is for `replace=True`.
    - `caliper`: the largest distance allowed. For "propensity" in sd of the logit over the sample
      (over n - 1, as in MatchIt), or as it is with `caliper_unit="raw"`; for other metrics in the
      metric's own unit whatever `caliper_unit` says. Or {name: width} by covariate, in sd or raw;
      the name "propensity" stands for the logit: Mahalanobis within propensity calipers is
      `NearestNeighbors(caliper={"propensity": 0.2})`. Missing is as near as missing only.
    - `exact`: a name or names of covariates in which partners agree; missing agrees with missing.
    - `order`, without replacement: "largest" takes the largest propensities first for treated
      queries, the smallest for controls, and for other metrics the order of the covariates' values;
      "closest" the closest pair of all; "data" the order of the rows, which then decide.
    - `propensity`: the model of the chance of treatment; by default a logistic regression
      with so small a penalty (1e-6) that it is maximum likelihood as far as anyone can see, and
      has a fit also where units are told apart (penalty=0 refuses those).
    - `max_bytes`: memory for lists of candidates, and for ties.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`. Queries without a partner have
    the status outside_caliper or all_taken.

    **Raises:** ValueError for bad options, names that are no covariate's, and ties that take more
    than `max_bytes`.

    **Cost:** nothing is ever n x n. One feature (a score): a sort and a window. Up to six: scipy's
    tree. More: every pair by a matmul in float32 (the kernel `nearest_points`), the candidates
    again by differences in float64, with a proof from the rounding that none was missed. On two
    busy cores, where scikit-learn's brute force took 18 s and its tree 40 s: 5.4 s for 20,000
    queries x 180,000 units x 10 numbers. 100,000 x 900,000 x 10: 93 s in 1.4 GB, a third of the
    matmul rate. Without replacement, 3,087 of 20,000 units: 0.6 to 1.1 s.

    May run under jit and vmap with replacement, `ties="first"`, without calipers and exact columns,
    for "mahalanobis", "scaled_euclidean", "euclidean", matrices and functions in JAX.

    **Source:** Rubin (1973), Biometrics 29; Rosenbaum and Rubin (1985), American Statistician 39,
    for calipers; Abadie and Imbens (2006), Econometrica 74, for ties and replacement; Rosenbaum
    (2010), section 8.3, for ranks. `adjust=jc.Ridge()` of `jc.estimate` is the bias correction of
    Abadie and Imbens (2011).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.NearestNeighbors(ratio=2, ties="first"))
        >>> effects.matching.rows.shape
        (185, 2)
    """

    metric: NeighborMetric = "mahalanobis"
    ratio: int = eqx.field(converter=whole, static=True, default=1)
    replace: bool = eqx.field(static=True, default=True)
    caliper: Caliper = None
    caliper_unit: CaliperUnit = eqx.field(static=True, default="sd")
    exact: Exact = eqx.field(static=True, default=None)
    ties: Ties = eqx.field(static=True, default="all")
    order: Order = eqx.field(static=True, default="largest")
    propensity: Propensity = LIKELIEST
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**30)

    def __check_init__(self) -> None:
        if isinstance(self.metric, str) and self.metric == "prognostic":
            raise ValueError(
                "metric is 'prognostic': predicted outcomes need an outcome model, use "
                "jc.PrognosticNeighbors(outcome=...)."
            )
        if isinstance(self.metric, str) and self.metric not in (*TRACED, *MORE):
            raise ValueError(
                f"metric is {self.metric!r}: use one of {', '.join((*TRACED, *MORE))}, a matrix or "
                "a function."
            )
        check_rule(self.ratio, self.exact, self.max_bytes)
        check_caliper(self.caliper)
        check_kind(self.propensity, Propensity, "propensity=", "such as jc.Propensity()")

    @property
    def traceable(self) -> bool:
        """With replacement and ties="first", for metrics that JAX works out, without limits."""
        plain = self.replace and self.ties == "first" and not self.exact and self.caliper is None
        return plain and (not isinstance(self.metric, str) or self.metric in TRACED)

    def run(
        self, task: Task, surfaces: Sequence[Any] = (), progress: Progress | None = None
    ) -> Pairs:
        """Find the partners of every query."""
        if task.at is not None and self.replace:
            return pairs_at_points(task, self.run)
        self.check_rows(task)
        if is_traced(task, self.metric):
            return traced_pairs(task, self.metric, self.ratio, self.max_bytes)
        space, filled = self._space(task)
        rule = NearestRule(self.ratio, self.replace, self.ties, self.order, self.max_bytes)
        return neighbor_pairs((space, space), task, rule, caution=filled_in_words(filled))

    def _space(self, task: Task) -> tuple[SearchSpace, int]:
        """Where partners are looked for, and how many missing values stand at a mean."""
        sample, filled, logit = task.sample, 0, None
        if isinstance(self.metric, str) and self.metric == "propensity":
            logit = _logit(task, self.propensity)
            points = logit[:, None]
        else:
            points, filled = metric_points(sample, self.metric)
        score = logit
        if isinstance(self.caliper, Mapping) and score is None and "propensity" in self.caliper:
            score = _logit(task, self.propensity)
        limits = limits_of(sample, self.caliper, self.caliper_unit, logit, score)
        space = search_space(task, points, limits, self.exact, logit)
        return with_equal_twins(sample, space), filled


MORE = ("robust_mahalanobis", "propensity")


def filled_in_words(filled: int) -> str:
    """A sentence on missing values, where there are some."""
    if not filled:
        return ""
    return (
        f"{filled:,} missing values stand at the mean of the known in distances, beside columns "
        "that say so"
    )


def _logit(task: Task, propensity: Propensity) -> Float[np.ndarray, " n"]:
    """log(e / (1 - e)) of every row, 0 for padding; a chance of 0 or 1 is one within rounding."""
    sample = task.sample
    chance = np.asarray(propensity_scores(sample, propensity, key=task.key), np.float64)
    least = np.finfo(np.float64).eps
    chance = np.clip(np.where(np.asarray(sample.valid), chance, 0.5), least, 1 - least)
    return np.log(chance) - np.log1p(-chance)
