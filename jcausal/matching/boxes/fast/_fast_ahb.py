"""Fast AHB: the method's hyperparameters, and prepare / core / finish around them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jcausal.data import bucket, first_rows, is_traced
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._columns import columns_of
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._queries import Queries, point_queries, unit_queries
from jcausal.matching.boxes._rows import choose, take
from jcausal.matching.boxes._task import (
    arms_of,
    boxes_of,
    check_minimum,
    prognosis_of,
    queries_of,
    stage,
    still,
)
from jcausal.matching.boxes.fast._box_state import edges_of
from jcausal.matching.boxes.fast._grow_all import grow_all
from jcausal.matching.boxes.fast._problem import (
    Grid,
    GrowthProblem,
    Rules,
    fold_arrays,
    scales_of,
)
from jcausal.surfaces import (
    Arms,
    BoostedTrees,
    OutcomeModel,
    ResponseSurface,
    check_model,
    in_one_shape,
)

Number = float | int | Array
POINTS = dict(line=3, lattice=16)  # that the surface is asked at, unless told


class FastAHB(Matcher):
    """Adaptive Hyper-Boxes by the fast approximation: one box per query, grown step by step.

    A box starts at its query. Each step proposes, for every covariate, the nearest value outside
    (the nearer side, a tie goes up) or, for a category, each level that is not yet open; scores a
    proposal by v = gamma0 var f0 + gamma1 var f1 over points of the slab that it adds; and makes
    the one with the smallest v, or of equal ones the shortest step, if
    v <= c max(previous v, tolerance * (gamma0 var f0 + gamma1 var f1 over the units matched)), or
    if the box does not yet hold `min_controls` controls and `min_treated` treated. Edges are values
    of the data. No outcome of the units matched is looked at.

    Where a number can be missing, a box around a known value takes in the missing ones in one step,
    judged by the surface at the sample's fill with the flag on; a box around a missing one takes
    in all known values in one step, judged along the whole ladder with the flag off.

    **Arguments:**

    - `gamma0`, `gamma1`: weights of the two surfaces. With gamma1 = 0 only the control surface is
      fitted, and every treated unit can be matched.
    - `c`: by how much the score may rise from one step to the next.
    - `tolerance`: scores below this share of the surfaces' variance never stop the growth; 0 is the
      paper's rule to the letter (strictly smaller than c times the previous score).
    - `caliper`: no step goes where the predictions differ from the query's own by more than this
      many standard deviations of the outcome (the other covariates at the box's centre; variance
      of the surface plus the noise around it, both weighted by gamma): 0.5 is half a standard
      deviation, and the default's square is .2 of the variance. Only a group that lacks units goes
      beyond, then to the nearest prediction. None is the paper's rule, which lets a box creep: with
      many distinct values and a smooth surface each small step alone changes next to nothing. Where
      the controls are many and unlike the treated, a smaller caliper keeps bias out; the default is
      a good one for single effects in small samples.
    - `grid`: "line": `points` on the line from the old edge to the new one through the box's
      centre; "lattice": `points` of a low-discrepancy lattice that fills the slab.
    - `points`: default 3 on a line, 16 on a lattice.
    - `levels`: at most this many stops on each side of a query (quantiles of the values there), so
      that the number of steps does not grow with n; None for every value.
    - `min_controls`, `min_treated`: units (not weights) that a group needs; a unit of weight 0 can
      carry no mean and is not counted.
    - `outcome`: the model of the surfaces, for `jc.estimate`.

    **Source:** Morucci, Orlandi, Roy, Rudin and Volfovsky, "Adaptive Hyper-box Matching for
    Interpretable Individualized Treatment Effect Estimation" (UAI 2020), Algorithm 1;
    `tolerance`, `caliper`, the lattice, whole levels and the order of ties are ours.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=0)
        >>> effects.matched.shape
        (185,)
    """

    gamma0: Number = 1.0
    gamma1: Number = 1.0
    c: Number = 1.1
    tolerance: Number = 0.1
    caliper: Number | None = 0.447  # squared: .2 of the outcome's variance
    grid: Grid = eqx.field(static=True, default="line")
    points: int | None = eqx.field(static=True, default=None)
    levels: int | None = None
    min_controls: int = 1
    min_treated: int = 1
    outcome: OutcomeModel | ResponseSurface | Callable = BoostedTrees()

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        if self.points is not None and self.points < 2:
            raise ValueError(f"points is {self.points}: a variance needs at least 2.")
        if is_traced(self.gamma0, self.gamma1, self.c, self.tolerance, self.caliper):
            return
        if min(self.gamma0, self.gamma1) < 0 or self.gamma0 + self.gamma1 <= 0:
            raise ValueError("gamma0 and gamma1 must not be negative, and one must be positive.")
        if self.c <= 0 or self.tolerance < 0 or (self.caliper or 0) < 0:
            raise ValueError("c must be positive, tolerance and caliper must not be negative.")
        check_minimum(self.min_controls, self.min_treated)
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"levels is {self.levels}: it must be at least 1, or None.")

    def arms(self, estimand: Estimand = "ate", effect: EffectKind = "group") -> Arms:
        """Only the surfaces with a positive weight."""
        if is_traced(self.gamma0, self.gamma1):
            return "both"
        return arms_of(bool(self.gamma0 > 0), bool(self.gamma1 > 0))

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def traceable(self) -> bool:
        """As its outcome model."""
        return not isinstance(self.outcome, OutcomeModel) or self.outcome.traceable

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Boxes:
        """Grow the boxes of each fold, and put them in the order of the queries."""
        parts = []
        for k, surface in enumerate(in_one_shape([surface.lean() for surface in surfaces])):
            if is_traced(task) or (np.asarray(task.query_fold) == k).any():
                problem = self._problem(task, k, surface)
                report = _named(progress, stage(k, len(surfaces)))
                parts.append(_grown(task, k, problem, report))
        edges, status = _joined(task, parts)
        return boxes_of(task, edges, status, prognosis_of(task, surfaces))

    def _problem(self, task: Task, k: int, surface: ResponseSurface) -> GrowthProblem:
        """What stays the same while the boxes of fold k grow."""
        sample = task.sample.plain()
        fold = fold_arrays(sample, (task.fold == k) & (sample.weight > 0))
        surface, fold, rules = still((surface, fold, self._rules(sample.x.dtype)))
        return GrowthProblem(
            fold=fold,
            surface=surface,
            rules=rules,
            scales=scales_of(fold, surface, rules),
            columns=columns_of(sample),
            grid=self.grid,
            points=self.points or POINTS[self.grid],
        )

    def _rules(self, dtype: np.dtype) -> Rules:
        caliper = jnp.inf if self.caliper is None else self.caliper**2
        return Rules(
            gamma=jnp.stack([jnp.asarray(g, dtype) for g in (self.gamma0, self.gamma1)]),
            c=jnp.asarray(self.c, dtype),
            tolerance=jnp.asarray(self.tolerance, dtype),
            caliper=jnp.asarray(caliper, dtype),
            minimum=jnp.asarray([self.min_controls, self.min_treated], jnp.int32),
            levels=None if self.levels is None else jnp.asarray(self.levels, jnp.int32),
        )


class FoldBoxes(NamedTuple):
    """Boxes of fold `k`: the `rows` (r,) of their queries, None for all, and how they ended."""

    k: int
    rows: Int[np.ndarray, " r"] | None
    edges: Edges
    status: Int[Array, " r"]


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    """A report of one stage."""
    return None if progress is None else lambda done, total: progress(name, done, total)


def _grown(
    task: Task, k: int, problem: GrowthProblem, report: Callable[[int, int], None] | None
) -> FoldBoxes:
    """The boxes of a fold's queries.

    Rows are padded to bucketed numbers, so that near numbers of queries share one trace.
    """
    if is_traced(task, problem):
        rows, asked = None, task.asked & (task.query_fold == k)
        count, queries = task.query.shape[0], still(queries_of(task))
    else:
        rows = np.flatnonzero(np.asarray(task.query_fold) == k)
        count = rows.size
        asked, queries = _filled_up(task, rows)
    state = grow_all(problem, queries, asked, report)
    edges = Edges(*(first_rows(a, count) for a in edges_of(problem, queries, state)))
    return FoldBoxes(k, rows, edges, first_rows(state.status, count))


def _filled_up(task: Task, rows: Int[np.ndarray, " r"]) -> tuple[Bool[Array, " w"], Queries]:
    """Some queries, and copies of the last that are not asked for up to a bucketed number."""
    wide = np.pad(rows, (0, bucket(rows.size) - rows.size), mode="edge")
    there = np.arange(wide.size) < rows.size
    asked = jnp.asarray(np.asarray(task.asked)[wide] & there)
    if task.at is None:
        return asked, unit_queries(task.sample, jnp.asarray(np.asarray(task.query)[wide]))
    found = point_queries(task.sample, np.asarray(task.at)[rows])
    return asked, take(found, np.minimum(np.arange(wide.size), rows.size - 1))


def _joined(task: Task, parts: list[FoldBoxes]) -> tuple[Edges, Int[Array, " q"]]:
    """One box a query, from its own fold."""
    if all(part.rows is None for part in parts):
        found = parts[0].edges, parts[0].status
        for part in parts[1:]:
            found = choose(task.query_fold == part.k, (part.edges, part.status), found)
        return found
    order = np.argsort(
        np.concatenate([part.rows for part in parts if part.rows is not None]), kind="stable"
    )
    found = [(part.edges, part.status) for part in parts]
    return jax.tree.map(lambda *a: jnp.asarray(np.concatenate(a)[order]), *found)
