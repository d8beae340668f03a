"""Genetic matching: a metric whose weights evolve until matches are balanced."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float

from jcausal.data import check_kind, to_device, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching.learned._balance_tests import PairMoments, p_values
from jcausal.matching.learned._evolution import EvolutionPlan, Evolved, evolve
from jcausal.matching.learned._genetic_arms import ArmPoints, many_values, value_orders
from jcausal.matching.learned._genetic_pairs import evolved_pairs
from jcausal.matching.learned._match_points import MatchPoints, Scaling, match_points
from jcausal.matching.learned._metric_balance import PairRule, pair_rule, population_balance
from jcausal.matching.neighbors import Pairs
from jcausal.matching.neighbors._limits import Exact, Limits, check_rule, search_space
from jcausal.surfaces import Propensity, ResponseSurface, propensity_scores

RATE = 2e10  # distances times (columns + PASSES) a second, about, on two cores
PASSES = 30  # what looking at a distance costs, in columns
HOURS = 2.0  # a search that would take more is refused


class GeneticMatching(DesignMatcher):
    """Match each query to its nearest partners by a metric that is evolved for balance.

    The metric is d(x, x') = sum_j w_j (z_j - z'_j)^2 of coordinates z: with scaling "sd" columns
    over their standard deviations, as R's Matching does; with "cholesky" z = L^-1 x, L L' the
    covariance matrix of the sample, as in the paper (equal weights are then the Mahalanobis metric,
    and a column that those before it make up adds nothing). Columns are numbers as they are and one
    of 0 and 1 for every level of a category. The w_j are evolved: a generation of `population`
    metrics is matched at once, and graded by the p-values of a paired t test of each column, and of
    a Kolmogorov-Smirnov test of each with more than two values, over the matched pairs. Of two
    metrics the one with the larger smallest p-value is better; if these are equal, the next
    smallest decides, and so on.

    With replacement all partners that are as near as the last of the `ratio` nearest are kept, and
    share the query's weight by their sampling weights. Without, queries take the nearest partner
    that is free, the query farthest from the partners' mean first, in `ratio` rounds; of partners
    that are as near the one with the lower covariates, column by column, then the lower id.
    Distances as near are those within 1e-5 of each other. The p-values are a measure to be made
    large, no evidence of balance in a population. Queries count with their sampling weights.

    Cost: `population` x generations x queries x possible partners distances; units of equal
    covariates count once. About 2e10 / (c + 30) of them a second on two cores, c twice the columns:
    20,000 rows with 3,000 treated and ten columns take 13 s a generation of 100.

    **Arguments:**

    - `population`: metrics of a generation; `generations`: at most so many; `wait`: it ends after
      so many without gain.
    - `ratio`: partners of a query; `replace`: whether a partner may serve several queries.
    - `caliper`: partners lie within so many standard deviations in every column; None for any.
    - `exact`: names of covariates in which partners agree, or None.
    - `scaling`: "sd" or "cholesky".
    - `propensity`: a `jc.Propensity`, whose score is one more column, the first; None for none.
    - `max_bytes`: what tables of distances may take.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`; their summary tells the smallest
    p-value and the weights.

    **Raises:** ValueError for bad options, points outside the sample, no key, and more distances
    than hours allow.

    **Source:** Diamond and Sekhon (2013), Review of Economics and Statistics 95(3); operators of
    the evolution are ours (a blend of two parents and normal moves, of logs of weights).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> method = jc.GeneticMatching(population=20, generations=5)
        >>> effects = jc.estimate(sample, method, key=0)
        >>> effects.share_matched
        1.0
    """

    population: int = eqx.field(converter=whole, static=True, default=100)
    generations: int = eqx.field(converter=whole, static=True, default=100)
    wait: int = eqx.field(converter=whole, static=True, default=4)
    ratio: int = eqx.field(converter=whole, static=True, default=1)
    replace: bool = eqx.field(static=True, default=True)
    caliper: float | None = eqx.field(static=True, default=None)
    exact: Exact = eqx.field(static=True, default=None)
    scaling: Scaling = eqx.field(static=True, default="sd")
    propensity: Propensity | None = None
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**28)

    def __check_init__(self) -> None:
        least = dict(population=4, generations=1, wait=1, ratio=1, max_bytes=2**20)
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                value = getattr(self, name)
                raise ValueError(f"{name} is {value}: it must be at least {lowest:,}.")
        check_rule(self.ratio, self.exact, self.max_bytes)
        if self.caliper is not None and self.caliper < 0:
            raise ValueError(f"caliper is {self.caliper}: it must not be negative, or None.")

        if self.propensity is not None:
            check_kind(self.propensity, Propensity, "propensity=", "such as jc.Propensity()")

    @property
    def traceable(self) -> bool:
        """Never: generations are graded on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Pairs:
        """Evolve the metric, and match by the best."""
        self.check_rows(task)
        if task.key is None:
            raise ValueError("GeneticMatching draws at random: give key= a JAX key or an int.")
        points = self._points(task)
        rule = PairRule(self.ratio, self.replace, self.caliper)
        arms = [ArmPoints(task, points, treated, rule) for treated in (True, False)]
        arms = [arm for arm in arms if arm.query.size]
        self._refuse_hours(arms, points.raw.shape[1] + points.scaled.shape[1])
        evolved = self._evolve(task, points, arms, rule, progress)
        return evolved_pairs(task, points, arms, evolved, rule, self.max_bytes)

    def _points(self, task: Task) -> MatchPoints:
        """The sample's points, with the propensity score where it is asked for."""
        score, sample = None, task.sample
        none = np.zeros((sample.n, 0))
        limits = Limits(np.inf, none, np.zeros(0))
        block = search_space(task, none, limits, self.exact, None).block
        if self.propensity is not None:
            order = match_points(sample, None, "sd", alike=False).order
            score = np.zeros(sample.n)
            score[order] = propensity_scores(sample.take(order), self.propensity, key=task.key)
            if not np.isfinite(score).all():
                raise ValueError(
                    f"the propensity score is not finite in {(~np.isfinite(score)).sum()} rows: "
                    "leave propensity= out, or check its options."
                )
        return match_points(sample, block, self.scaling, self.replace, score)

    def _refuse_hours(self, arms: list[ArmPoints], columns: int) -> None:
        """Refuse a search of hours.

        **Raises:** ValueError.
        """
        cells = float(sum(arm.query.size * arm.partner.size for arm in arms))
        every = cells * self.population * self.generations
        hours = every * (columns + PASSES) / RATE / 3600
        if hours > HOURS:
            raise ValueError(
                f"GeneticMatching would look at {every:.1e} distances ({self.generations} "
                f"generations of {self.population} metrics, {cells:.1e} pairs each), about "
                f"{hours:.0f} hours on two cores: ask for fewer generations or a smaller "
                "population, or match a part of the sample."
            )

    def _evolve(
        self,
        task: Task,
        points: MatchPoints,
        arms: list[ArmPoints],
        rule: PairRule,
        progress: Progress | None,
    ) -> Evolved:
        """The best metric."""
        assert task.key is not None
        dtype = np.dtype(task.sample.x.dtype)
        sides = tuple(arm.side(points, dtype) for arm in arms)
        size = max(len(arm.query) for arm in arms), max(len(arm.partner) for arm in arms)
        cells = (*size, points.scaled.shape[1])
        rule = pair_rule(rule, self.population, cells, self.max_bytes)
        values, many = value_orders(points), many_values(points)

        def grade(weights: Float[np.ndarray, "P r"]) -> Float[np.ndarray, "P g"]:
            given = to_device(weights.astype(dtype))
            sums, gap = population_balance(given, sides, values, rule)
            moments = PairMoments(*(np.asarray(a, np.float64) for a in (*sums, gap)))
            return p_values(moments, many)

        plan = EvolutionPlan(self.population, self.generations, self.wait)
        return evolve(grade, points.scaled.shape[1], plan, task.key, progress)
