"""Fast AHB: the method's hyperparameters, and prepare / core / finish around them."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jcausal.data import bucket, first_rows, is_traced
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching._prognosis import Prognosis, foretell
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._grow import Grid, Rules, pose, rungs_of
from jcausal.matching.boxes._rounds import grow_all
from jcausal.matching.boxes._space import (
    Queries,
    layout,
    make_space,
    missing_at,
    pick,
    point_queries,
    unit_queries,
)
from jcausal.surfaces import (
    Arms,
    BoostedTrees,
    OutcomeModel,
    ResponseSurface,
    check_model,
    in_one_shape,
)
from jcausal_kernels import MISSING

Number = float | int | Array


class FastAHB(Matcher):
    """Adaptive Hyper-Boxes by the fast approximation: one box per query, grown step by step.

    A box starts at its query. Each step proposes, for every covariate, the nearest value outside
    (the nearer side, a tie goes up) or, for a category, each level that is not yet open; scores a
    proposal by v = gamma0 var f0 + gamma1 var f1 over points of the slab that it adds; and makes
    the one with the smallest v, or of equal ones the shortest step, if
    v <= c max(previous v, slack * (gamma0 var f0 + gamma1 var f1 over the units matched)), or if
    the box does not yet hold `min_controls` controls and `min_treated` treated. Edges are values
    of the data. No outcome of the units matched is looked at.

    Where a number can be missing, a box around a known value takes in the missing ones in one step,
    judged by the surface at the sample's fill with the flag on; a box around a missing one takes
    in all known values in one step, judged along the whole ladder with the flag off.

    **Arguments:**

    - `gamma0`, `gamma1`: weights of the two surfaces. With gamma1 = 0 only the control surface is
      fitted, and every treated unit can be matched.
    - `c`: by how much the score may rise from one step to the next.
    - `slack`: scores below this share of the surfaces' variance never stop the growth; 0 is the
      paper's rule to the letter (strictly smaller than c times the previous score).
    - `reach`: no step goes where the predictions differ from the query's own by more than this
      share of the outcome's variance (squared difference, the other covariates at the box's
      centre; variance of the surface plus the noise around it): 0.25 is half a standard
      deviation, 0.01 a tenth. Only a group that lacks units goes beyond, then to the nearest
      prediction. None is the paper's rule, which lets a box creep: with many distinct values and a
      smooth surface each small step alone changes next to nothing. Where the controls are many
      and unlike the treated, a smaller reach keeps bias out; the default is a good one for single
      effects in small samples.
    - `grid`: "line": `points` on the line from the old edge to the new one through the box's
      centre; "lattice": `points` of a low-discrepancy lattice that fills the slab.
    - `points`: default 3 on a line, 16 on a lattice.
    - `levels`: at most this many stops on each side of a query (quantiles of the values there), so
      that the number of steps does not grow with n; None for every value.
    - `min_controls`, `min_treated`: units (not weights) that a group needs; a unit of weight 0 can
      carry no mean and is not counted.
    - `outcome`: the model of the surfaces, for `jc.estimate`.

    **Source:** Morucci, Orlandi, Roy, Rudin and Volfovsky, "Adaptive Hyper-box Matching for
    Interpretable Individualized Treatment Effect Estimation" (UAI 2020), Algorithm 1; `slack`,
    `reach`, the lattice, whole levels and the order of ties are ours.

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
    slack: Number = 0.1
    reach: Number | None = 0.2
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
        if is_traced(self.gamma0, self.gamma1, self.c, self.slack, self.reach):
            return
        if min(self.gamma0, self.gamma1) < 0 or self.gamma0 + self.gamma1 <= 0:
            raise ValueError("gamma0 and gamma1 must not be negative, and one must be positive.")
        if self.c <= 0 or self.slack < 0 or (self.reach or 0) < 0:
            raise ValueError("c must be positive, slack and reach must not be negative.")
        if min(self.min_controls, self.min_treated) < 1:
            raise ValueError("min_controls and min_treated must be at least 1.")
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"levels is {self.levels}: it must be at least 1, or None.")

    def arms(self, estimand: Estimand = "ate", effect: EffectKind = "group") -> Arms:
        """Only the surfaces with a positive weight."""
        if is_traced(self.gamma0, self.gamma1):
            return "both"
        control, treated = bool(self.gamma0 > 0), bool(self.gamma1 > 0)
        return "both" if control and treated else ("control" if control else "treated")

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
            where = f"boxes, fold {k + 1} of {len(surfaces)}" if len(surfaces) > 1 else "boxes"
            parts.append(self._fold(task, k, surface, where, progress))
        lower, upper, opened, status = _join(task, parts)
        return Boxes(
            prognosis=prognosis_of(task, surfaces),
            sample=task.sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            point=points_of(task),
            lower_code=lower,
            upper_code=upper,
            open=opened,
            status=status,
            estimand=task.estimand,
        )

    def _fold(
        self, task: Task, k: int, surface: ResponseSurface, where: str, progress: Progress | None
    ) -> tuple[np.ndarray | None, tuple[Array, ...]]:
        """Rows of the queries (None: all of them) and their boxes in fold k.

        Rows are padded to bucketed numbers, so that near numbers of queries share one trace.
        """
        sample = task.sample.plain()
        rules = self._rules(sample.x.dtype)
        if is_traced(task, surface, rules):
            rows, count = None, task.query.shape[0]
            asked, queries = task.asked & (task.query_fold == k), queries_of(task)
        else:
            rows = np.flatnonzero(np.asarray(task.query_fold) == k)
            count = rows.size
            if count == 0:
                return rows, ()
            wide = np.pad(rows, (0, bucket(count) - count), mode="edge")
            asked = jnp.asarray(np.asarray(task.asked)[wide] & (np.arange(wide.size) < count))
            queries = _wide_queries(task, rows, wide)
        space = make_space(sample, (task.fold == k) & (sample.weight > 0))
        surface, space, rules = still((surface, space, rules))
        problem = pose(space, surface, rules)
        points = self.points or (3 if self.grid == "line" else 16)
        report = None if progress is None else lambda done, total: progress(where, done, total)
        plan = layout(sample)
        state = grow_all(problem, still(queries), asked, plan, self.grid, points, report)
        shape = (*rungs_of(problem.space, queries, state, rules.levels), state.open, state.status)
        return rows, tuple(first_rows(array, count) for array in shape)

    def _rules(self, dtype: jnp.dtype) -> Rules:
        return Rules(
            gamma=jnp.stack([jnp.asarray(g, dtype) for g in (self.gamma0, self.gamma1)]),
            c=jnp.asarray(self.c, dtype),
            slack=jnp.asarray(self.slack, dtype),
            reach=jnp.asarray(jnp.inf if self.reach is None else self.reach, dtype),
            minimum=jnp.asarray([self.min_controls, self.min_treated], jnp.int32),
            levels=None if self.levels is None else jnp.asarray(self.levels, jnp.int32),
        )


def prognosis_of(task: Task, surfaces: Sequence[ResponseSurface]) -> Prognosis:
    """What the surfaces foretell of the units and queries of a task."""
    points = None if task.at is None else queries_of(task).x
    return foretell(
        task.sample.plain(),
        task.fold,
        task.query,
        surfaces,
        at=points,
        query_fold=task.query_fold,
        adjusts=task.honest,
    )


def points_of(task: Task) -> np.ndarray | Array:
    """Where the boxes grow from; NaN where a number is missing."""
    sample = task.sample
    if task.at is not None:
        return np.where(missing_at(sample, task.at), np.nan, task.at)
    if is_traced(sample.codes, sample.ladder, task.query):
        return jnp.where(sample.codes == MISSING, jnp.nan, sample.x)[task.query]
    return sample.points[np.asarray(task.query)]


def still(tree):  # noqa: ANN001, ANN202
    """Boxes are piecewise constant in everything: no gradient passes through their growth."""
    return jax.tree.map(
        lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree
    )


def queries_of(task: Task) -> Queries:
    if task.at is not None:
        return point_queries(task.sample, np.asarray(task.at))
    return unit_queries(task.sample, task.query)


def _wide_queries(task: Task, rows: np.ndarray, wide: np.ndarray) -> Queries:
    """The queries of some rows, in the shape of `wide`, which repeats the last."""
    if task.at is not None:
        found = point_queries(task.sample, np.asarray(task.at)[rows])
        return pick(found, np.minimum(np.arange(wide.size), rows.size - 1))
    return unit_queries(task.sample, jnp.asarray(np.asarray(task.query)[wide]))


def _join(task: Task, parts: list) -> tuple[Array, ...]:
    """One box a query, from its own fold."""
    shaped = [(rows, boxes) for rows, boxes in parts if boxes]
    if all(rows is None for rows, _ in shaped):
        first, *others = [boxes for _, boxes in shaped]
        for k, boxes in enumerate(others, start=1):
            pick = task.query_fold == k
            first = tuple(
                jnp.where(pick.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(first, boxes)
            )
        return first
    order = np.argsort(np.concatenate([rows for rows, _ in shaped]), kind="stable")
    columns = zip(*(boxes for _, boxes in shaped))
    return tuple(jnp.asarray(np.concatenate(column)[order]) for column in columns)
