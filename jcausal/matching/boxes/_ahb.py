"""AHB by level boxes: the method's hyperparameters, and prepare / core / finish around them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, bucket, is_traced, on_host, pad_rows, row_draws, to_device
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._fast import points_of, prognosis_of, queries_of, still
from jcausal.matching.boxes._levels import Batch, Crowd, Found, Ground, lay_out, level_boxes
from jcausal.matching.boxes._lines import Edges
from jcausal.matching.boxes._space import Layout, Queries, layout, pick
from jcausal.surfaces import Arms, BoostedTrees, OutcomeModel, ResponseSurface, check_model
from jcausal_kernels import MISSING

Number = float | int | Array
PAIRS = 2**28  # queries times units from which units are sampled for the choice of a level
FEWEST = 4096  # units that are looked at however many queries there are
BYTES = 2**27  # of the points of a batch's lines, were they evaluated one by one


class AHB(Matcher):
    """Adaptive Hyper-Boxes by level boxes: one box per query, the best of a nested family.

    Through each query i a line runs along every covariate j. m_ij(v) is the largest change of the
    surface from x_i to any value between x_ij and v (of a category to the level v), all else as it
    is. The box of level u holds the values with m_ij <= u for every j: boxes of growing levels hold
    each other, and a covariate that the surface does not see is open from end to end at once. Of
    all levels that a unit stands at the one is taken whose box minimises, over the arms whose means
    are used,

        (mean of f over the arm's units in the box - f(x_i))^2 + noise / effective units,

    squared bias plus variance. Edges are values of the data; no outcome of the units matched is
    looked at, and no hyperparameter is needed. Ladders of more than `bins` values are taken in
    steps of about equally many units. Where numbers can be missing, missing is a level of its own,
    and a box around a missing value takes in all known values in one step.

    **Arguments:**

    - `gamma0`, `gamma1`: how much the error of f0 and of f1 counts. None: 1 for the surface of the
      arm that the query is compared with (f0 for a treated unit, f1 for a control, both for a point
      and under effect "group" of an average over both arms), 0 for the other.
    - `bins`: at most so many steps on a ladder.
    - `min_controls`, `min_treated`: units (not weights) that a box needs.
    - `outcome`: the model of the surfaces, for `jc.estimate`.

    Beyond some hundred millions of queries times units the level is chosen on a sample of the
    units, by their identity; groups always hold all units in the box.

    **Source:** the objective of Morucci, Orlandi, Roy, Rudin and Volfovsky, "Adaptive Hyper-box
    Matching for Interpretable Individualized Treatment Effect Estimation" (UAI 2020), eqs 2 to 4;
    the nested family and the choice in it are ours. `jc.FastAHB` is the paper's Algorithm 1,
    `jc.ExactAHB` its program with proof.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
        >>> effects.share_matched, effects.adjusted
        (1.0, True)
    """

    gamma0: Number | None = None
    gamma1: Number | None = None
    bins: int = eqx.field(static=True, default=64)
    min_controls: int = 1
    min_treated: int = 1
    outcome: OutcomeModel | ResponseSurface | Callable = BoostedTrees()

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        if self.bins < 2:
            raise ValueError(f"bins is {self.bins}: a ladder needs at least 2 steps.")
        counts = (self.min_controls, self.min_treated)
        if not is_traced(counts) and min(counts) < 1:
            raise ValueError("min_controls and min_treated must be at least 1.")
        if is_traced(self.gamma0, self.gamma1):
            return
        given = [g for g in (self.gamma0, self.gamma1) if g is not None]
        if any(not 0 <= g < np.inf for g in given):
            raise ValueError("gamma0 and gamma1 must be finite and not negative, or None.")
        if len(given) == 2 and sum(given) == 0:
            raise ValueError("gamma0 and gamma1 are 0: one must be positive.")

    def arms(self, estimand: Estimand = "ate", effect: EffectKind = "group") -> Arms:
        """The surfaces that count for some query: of the partners, and those asked for."""
        control, treated = (
            wanted if gamma is None or is_traced(gamma) else bool(gamma > 0)
            for gamma, wanted in (
                (self.gamma0, estimand != "atc" or effect == "group"),
                (self.gamma1, estimand != "att" or effect == "group"),
            )
        )
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
        """Choose the box of every query inside its own fold."""
        prognosis = prognosis_of(task, surfaces)
        whole = task.sample.plain()
        plan = layout(whole)
        traced = is_traced(task, surfaces, prognosis)
        ground = _laid_out(whole, plan, self.bins, traced)
        if traced:
            found = self._traced(task, surfaces, prognosis, ground, plan)
        else:
            found = self._hosted(task, surfaces, prognosis, ground, plan, progress)
        return Boxes(
            sample=task.sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            point=points_of(task),
            lower_code=found.edges.lower,
            upper_code=found.edges.upper,
            open=found.edges.open,
            status=found.status,
            estimand=task.estimand,
            prognosis=prognosis,
        )

    def _traced(
        self,
        task: Task,
        surfaces: Sequence[ResponseSurface],
        prognosis: Prognosis,
        ground: Ground,
        plan: Layout,
    ) -> Found:
        """Chunk by chunk in every fold, as many as the fold's queries need.

        How many units of a fold can be matched is not known, only how many there are at most.
        """
        sample, use = task.sample.plain(), self._use(task)
        parts = still((queries_of(task), prognosis, use, ground))
        queries, prognosis, use, ground = parts
        every = Batch(queries, prognosis.queries, use, task.asked)
        found = _none(every, plan)
        for k, surface in enumerate(surfaces):
            member = (task.fold == k) & (sample.weight > 0) & sample.valid
            rows = jnp.nonzero(member, size=task.most or sample.n, fill_value=sample.n)[0]
            arms = jnp.stack([~sample.t, sample.t], axis=1) & member[:, None]
            crowd = Crowd(
                ground.cells.at[rows].get(mode="fill", fill_value=0),
                sample.t.at[rows].get(mode="fill", fill_value=False),
                still(sample.weight).at[rows].get(mode="fill", fill_value=0),
                prognosis.units.at[rows].get(mode="fill", fill_value=0),
                jnp.ones(2, sample.x.dtype),
                arms.sum(0),
            )
            mine = task.asked & (task.query_fold == k)
            solve = partial(level_boxes, still(surface.lean()), ground, crowd)
            found = self._chunks(solve, every, mine, found, plan)
        return found

    def _chunks(
        self,
        solve: Callable[[Batch, Array, Layout], Found],
        every: Batch,
        mine: Bool[Array, " q"],
        found: Found,
        plan: Layout,
    ) -> Found:
        """Put the boxes of some queries in their place; time follows how many there are."""
        total = mine.shape[0]
        size = min(_at_once(self.bins, plan, every.queries.x.shape[1]), max(32, -(-total // 8)))
        order = jnp.nonzero(mine, size=-(-total // size) * size, fill_value=total)[0]

        def step(state: tuple[Array, Found]) -> tuple[Array, Found]:
            start, found = state
            rows = lax.dynamic_slice_in_dim(order, start, size)
            one = solve(_rows_of(every, jnp.minimum(rows, total - 1)), self._minimum, plan)
            placed = jax.tree.map(lambda a, b: a.at[rows].set(b, mode="drop"), found, one)
            return start + size, placed

        count = mine.sum(dtype=jnp.int32)
        return lax.while_loop(lambda state: state[0] < count, step, (jnp.int32(0), found))[1]

    def _hosted(
        self,
        task: Task,
        surfaces: Sequence[ResponseSurface],
        prognosis: Prognosis,
        ground: Ground,
        plan: Layout,
        progress: Progress | None,
    ) -> Found:
        """Fold by fold and batch by batch, in bucketed shapes that near sizes share."""
        most = _at_once(self.bins, plan, task.sample.p)
        where, parts, done = [], [], 0
        query_fold, total = np.asarray(task.query_fold), task.query.shape[0]
        use = np.asarray(self._use(task))
        if not (use > 0).any(1).all():
            raise ValueError(
                "with these gammas no surface counts for some queries, so that any box is as good: "
                "leave gamma0 and gamma1 at None, or give the other one too."
            )
        of_fold = [np.flatnonzero(query_fold == k) for k in range(len(surfaces))]
        least = np.asarray(self._minimum)
        crowds = [
            _crowd(
                task,
                k,
                prognosis,
                ground,
                (use[mine] > 0).any(0) | (least > 1),
                max(FEWEST, PAIRS // max(mine.size, 1)),
            )
            for k, mine in enumerate(of_fold)
        ]
        room = bucket(max(crowd.arm.size for crowd in crowds))
        size = min(bucket(max(mine.size for mine in of_fold)), most)
        for surface, mine, few in zip(surfaces, of_fold, crowds):
            crowd, lean = _padded(few, room), surface.lean()
            for start in range(0, mine.size, size):
                rows = mine[start : start + size]
                wide_rows = np.pad(rows, (0, size - rows.size), mode="edge")
                batch = _batch(task, wide_rows, rows.size, prognosis, use)
                one = level_boxes(lean, ground, crowd, batch, self._minimum, plan)
                parts.append(jax.tree.map(lambda a: np.asarray(a)[: rows.size], one))  # noqa: B023
                where.append(rows)
                done += rows.size
                if progress is not None:
                    progress("boxes", done, total)
        order = np.argsort(np.concatenate(where), kind="stable")
        return jax.tree.map(lambda *a: to_device(np.concatenate(a)[order]), *parts)

    @property
    def _minimum(self) -> Int[Array, " 2"]:
        return _pair(self.min_controls, self.min_treated)

    def _use(self, task: Task) -> Float[Array, "q 2"]:
        """What the error of each surface counts for each query."""
        sample, gammas = task.sample, (self.gamma0, self.gamma1)
        return _use_of(sample.t, task.query, gammas, task.effect == "group", sample.x.dtype)


@on_host
def _pair(lib: Any, one: Any, other: Any) -> Int[Array, " 2"]:
    return lib.stack([lib.asarray(one, np.int32), lib.asarray(other, np.int32)])


@on_host
def _use_of(
    lib: Any,
    t: Bool[Array, " n"],
    query: Int[Array, " q"],
    gammas: tuple[Number | None, Number | None],
    both: bool,
    dtype: np.dtype,
) -> Float[Array, "q 2"]:
    every, treated = (query < 0) | both, t[query]
    columns = [
        (every | wanted).astype(dtype) if gamma is None else lib.full(query.shape, gamma, dtype)
        for gamma, wanted in zip(gammas, (treated, ~treated))
    ]
    return lib.stack(columns, axis=1)


def _crowd(
    task: Task,
    k: int,
    prognosis: Prognosis,
    ground: Ground,
    needed: Bool[np.ndarray, " 2"],
    most: int,
) -> Crowd:
    """The units of a fold that may be matched, of the arms that are needed.

    At most so many of an arm: the first in an order that follows the units' identity.
    """
    sample = task.sample
    arm, weight = np.asarray(sample.t), np.asarray(sample.weight)
    member = (np.asarray(task.fold) == k) & (weight > 0) & np.asarray(sample.valid)
    there = np.array([(member & ~arm).sum(), (member & arm).sum()], np.int32)
    rows, share = [np.zeros(0, int)], np.ones(2, sample.x.dtype)
    for a in np.flatnonzero(needed):
        mine = np.flatnonzero(member & (arm == bool(a)))
        if mine.size > most:
            draw = np.asarray(row_draws(sample, jax.random.key(0)))[mine]
            share[a] = most / mine.size
            mine = np.sort(mine[np.argsort(draw, kind="stable")[:most]])
        rows.append(mine)
    chosen = np.concatenate(rows)
    cells, values = np.asarray(ground.cells)[chosen], np.asarray(prognosis.units)[chosen]
    columns = (cells, arm[chosen], weight[chosen], values, share, there)
    return Crowd(*map(to_device, columns))


def _padded(crowd: Crowd, size: int) -> Crowd:
    """The same with units of weight 0 up to `size`."""
    cells, arm, weight, values = (to_device(pad_rows(np.asarray(a), size)) for a in crowd[:4])
    return Crowd(cells, arm, weight, values, crowd.share, crowd.there)


def _at_once(bins: int, plan: Layout, p: int) -> int:
    """Queries of a batch, within the bytes that the points of their lines take."""
    wide = len(plan.ordered) * bins * p * 4
    return int(np.clip(BYTES // max(wide, 1), 32, 4096))


def _none(every: Batch, plan: Layout) -> Found:
    """Boxes that hold their query alone."""
    queries = every.queries
    lower, upper = (place.astype(jnp.int32) for place in (queries.lower, queries.upper))
    status = jnp.full(every.asked.shape, code(RESULTS.not_asked))
    return Found(Edges(lower, upper, queries.open), status)


def _rows_of(every: Batch, rows: Int[Array, " r"]) -> Batch:
    """Some of the queries."""
    rest = (each[rows] for each in (every.home, every.use, every.asked))
    return Batch(pick(every.queries, rows), *rest)


def _laid_out(sample: Sample, plan: Layout, most: int, traced: bool) -> Ground:
    """The ground of a sample; on the host in a bucketed number of rows."""
    x, codes, weight, valid = sample.x, sample.codes, sample.weight, sample.valid
    ladder, heights = sample.ladder[plan.ordered], sample.heights
    if not traced:
        size = bucket(sample.n)
        x, codes, weight, valid = (pad_rows(np.asarray(a), size) for a in (x, codes, weight, valid))
        ladder, heights = np.asarray(ladder).astype(sample.x.dtype), np.asarray(heights)
    steps = to_device(ladder), to_device(heights[plan.ordered])
    return lay_out(x, codes, weight, valid, *steps, sample.fill, plan, most)


def _batch(
    task: Task,
    rows: Int[np.ndarray, " r"],
    count: int,
    prognosis: Prognosis,
    use: Float[np.ndarray, "q 2"],
) -> Batch:
    """Some queries, of which the first `count` are asked for and the others repeat the last."""
    asked = np.asarray(task.asked)[rows] & (np.arange(rows.size) < count)
    if task.at is None:
        queries = _rows_as_queries(task.sample, np.asarray(task.query)[rows])
    else:
        queries = pick(queries_of(task), rows)
    home = np.asarray(prognosis.queries)[rows]
    return Batch(queries, *map(to_device, (home, use[rows], asked)))


def _rows_as_queries(sample: Sample, rows: Int[np.ndarray, " r"]) -> Queries:
    """What `unit_queries` gives, without places, by NumPy alone."""
    plan, codes = layout(sample.plain()), np.asarray(sample.codes)[rows]
    heights = np.asarray(sample.heights)[plan.ordered]
    place, levels = codes[:, plan.ordered], codes[:, plan.categories]
    missing = place == MISSING
    lower, upper = np.where(missing, 0, place), np.where(missing, heights - 1, place)
    opened = levels[:, :, None] == np.arange(plan.tallest)
    x, place = np.asarray(sample.x)[rows], np.zeros((2, rows.size, 0), sample.x.dtype)
    return Queries(*map(to_device, (x, place, lower, upper, opened)))
