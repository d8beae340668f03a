"""Nearest neighbours in what an outcome model foretells, cross-fitted."""

from collections.abc import Callable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float

from jcausal.data import is_traced, to_device, whole
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task, rows_only
from jcausal.matching._matching import Estimand
from jcausal.matching._prognosis import foretell
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors._limits import (
    Caliper,
    CaliperUnit,
    Exact,
    check_caliper,
    check_rule,
    limits_of,
    search_space,
)
from jcausal.matching.neighbors._neighbor_pairs import neighbor_pairs
from jcausal.matching.neighbors._pairs import Pairs
from jcausal.matching.neighbors._pairs_at_points import pairs_at_points
from jcausal.matching.neighbors._search_space import SearchSpace, with_equal_twins
from jcausal.matching.neighbors._with_replacement import NearestRule, Order, Ties
from jcausal.surfaces import Arms, BoostedTrees, OutcomeModel, ResponseSurface, check_model


class PrognosticNeighbors(Matcher):
    """Match each query to the units of the other arm with the nearest predicted outcomes.

    The distance of a treated unit i to a control k is |f0(x_i) - f0(x_k)|, the prognostic score: of
    a control to a treated unit |f1(x_i) - f1(x_k)|. The model is trained on the other folds, so
    that no group was shaped by the outcomes that it averages, and partners are of the query's fold.

    **Arguments:** all but these as in `jc.NearestNeighbors`.

    - `outcome`: the model of the outcomes, for `jc.estimate`.
    - `caliper`: a number is the largest distance allowed, in sd of the predicted outcome over the
      sample, or as it is with `caliper_unit="raw"`; or {name: width} by covariate.
    - `order`, without replacement: "largest" takes the treated queries of the largest prediction
      first, of controls the smallest.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`, adjusted by the model unless
    `adjust=None`.

    **Raises:** ValueError as `jc.NearestNeighbors`.

    **Source:** Hansen (2008), Biometrika 95, for the prognostic score; the folds are ours.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.PrognosticNeighbors(outcome=jc.Ridge()), key=0)
        >>> effects.share_matched, effects.adjusted
        (1.0, True)
    """

    outcome: OutcomeModel | ResponseSurface | Callable = BoostedTrees()
    ratio: int = eqx.field(converter=whole, static=True, default=1)
    replace: bool = eqx.field(static=True, default=True)
    caliper: Caliper = None
    caliper_unit: CaliperUnit = eqx.field(static=True, default="sd")
    exact: Exact = eqx.field(static=True, default=None)
    ties: Ties = eqx.field(static=True, default="all")
    order: Order = eqx.field(static=True, default="largest")
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**30)

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        check_rule(self.ratio, self.exact, self.max_bytes)
        check_caliper(self.caliper)

    def arms(self, estimand: Estimand = "att", effect: EffectKind = "own") -> Arms:
        """The arms of the partners, and those whose outcomes are averaged."""
        if effect == "group" or estimand == "ate":
            return "both"
        return "control" if estimand == "att" else "treated"

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def traceable(self) -> bool:
        """Never: scores are sorted on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Pairs:
        """Find the partners of every query inside its own fold."""
        if is_traced(task, surfaces):
            raise ValueError(
                "PrognosticNeighbors runs on the host and cannot be used under jit, vmap or grad: "
                "match outside, or use jc.AHB."
            )
        if task.at is not None and self.replace:
            return pairs_at_points(task, lambda rows: self.run(rows, surfaces, progress))
        if task.at is not None:
            raise ValueError(rows_only(type(self).__name__))
        prognosis = foretell(
            task.sample.plain(), task.fold, task.query, surfaces, adjusts=task.honest
        )
        units = np.asarray(prognosis.units, np.float64)
        spaces = self._space(task, units[:, 1]), self._space(task, units[:, 0])
        rule = NearestRule(self.ratio, self.replace, self.ties, self.order, self.max_bytes)
        found = neighbor_pairs(spaces, task, rule, prognosis=prognosis)
        own = np.where(np.asarray(found.query_treated), units[task.query, 0], units[task.query, 1])
        return _without_numbers(found, ~np.isfinite(own))

    def _space(self, task: Task, score: Float[np.ndarray, " n"]) -> SearchSpace:
        """Where partners are looked for by a predicted outcome; a NaN is nobody's."""
        known = np.where(np.isfinite(score), score, 0)
        missing = np.where(np.isfinite(score), score, np.nan)
        limits = limits_of(task.sample, self.caliper, self.caliper_unit, missing)
        space = search_space(task, known[:, None], limits, self.exact, known)
        space = with_equal_twins(task.sample, space)
        return space._replace(block=np.where(np.isfinite(score), space.block, -1))


def _without_numbers(pairs: Pairs, broken: np.ndarray) -> Pairs:
    """Queries whose prediction is no number say so."""
    status = np.asarray(pairs.status)
    asked = status != int(code(RESULTS.not_asked))
    status = np.where(broken & asked, int(code(RESULTS.surface_nan)), status)
    return eqx.tree_at(lambda p: p.status, pairs, to_device(status.astype(np.int32)))
