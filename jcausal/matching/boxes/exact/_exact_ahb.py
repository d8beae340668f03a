"""Exact AHB: the method's hyperparameters, and what is done with each fold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jcausal.data import Sample, is_traced
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._columns import columns_of
from jcausal.matching.boxes._task import arms_of, check_minimum, prognosis_of, stage
from jcausal.matching.boxes.exact._branch_and_bound import SearchLimits
from jcausal.matching.boxes.exact._engines import Engine, prove
from jcausal.matching.boxes.exact._found_boxes import FoundBoxes
from jcausal.matching.boxes.exact._places import BoxStart, FoldMembers, Pruning, Quest
from jcausal.solvers import Interrupted, SolverPool
from jcausal.surfaces import Arms, BoostedTrees, OutcomeModel, ResponseSurface, check_model
from jcausal_kernels import prune_pairs

Scale = Literal["sd", "variance", "none"]


class ExactAHB(Matcher):
    """Adaptive Hyper-Boxes, proven best: one box per query that minimises an upper bound.

    The box of query i minimises the sum, over the units k inside, of
    g0 |f0(x_i) - f0(x_k)| + g1 |f1(x_i) - f1(x_k)| - beta, times k's sampling weight (of mean 1),
    and holds at least `min_controls` controls and `min_treated` treated: units that the surfaces
    hold alike are wanted, others are not. g_t = gamma_t / scale of f_t. Edges are values of the
    data. No outcome of the units matched is looked at.

    The search is exact: `boxes.proven` tells for whom the box is shown to be the best, `boxes.gap`
    how far it can be from the best. Costs are rounded to whole numbers for the search (their sum
    to 2^29, with float64 to 2^61), objectives are in float64, and the gap allows for the rounding.

    **Arguments:**

    - `gamma0`, `gamma1`: weights of the two surfaces. With gamma1 = 0 only the control surface is
      fitted.
    - `beta`: what a unit in the box is worth.
    - `scale`: "sd" divides by the standard deviation (n - 1) of f_t over the units that are
      matched, "variance" by its square, "none" by nothing.
    - `floor`: the standard deviation is taken to be at least this share of the outcome's own (the
      surface's variance plus the noise around it): a surface that is all but flat is not blown up.
      0.5 halves the error where nothing but noise shapes the surfaces, and changes no other row
      of the paper's Table 2 (`python -m bench exact --parts floor`).
    - `min_controls`, `min_treated`: units (not weights) that a box needs.
    - `candidates`: look only at so many units of each arm, those of the smallest weighted
      distance; the box is then the best for them, and the group is all units in it. Those left
      out are the ones that a box should keep out: it takes them in free of charge. Ask for
      enough that costly units are among them, and read `boxes.proof.left_out`.
    - `max_distance`: look only at units within this weighted distance, or, as a mapping from
      covariates to numbers, within so much of the query in each of them.
    - `engine`: "device" searches by branch and bound, "highs" solves integer programs, "auto"
      searches first and hands over what it could not close.
    - `max_nodes`: nodes of the search a query; an integer program gets a hundredth.
    - `time_limit`: seconds a query in either engine; not reproducible. A limit leaves a valid box,
      the best that is known, and its gap.
    - `gap`: a box within this distance of the best counts as proven.
    - `pool`: a `jc.solvers.SolverPool` for the integer programs; None makes one for the call.
    - `outcome`: the model of the surfaces, for `jc.estimate`.

    **Source:** Morucci, Orlandi, Roy, Rudin and Volfovsky, "Adaptive Hyper-box Matching for
    Interpretable Individualized Treatment Effect Estimation" (UAI 2020), section 3.1 and supplement
    6.1 (the formula before (7) has beta with the wrong sign); the defaults are those of its code.
    `floor`, the ladders and the search are ours.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> surface = jc.fit(train, jc.Ridge())
        >>> boxes = jc.match(test, jc.ExactAHB(), surface=surface, query=[0, 1])
        >>> boxes.proven.tolist()
        [True, True]
    """

    gamma0: float = 3.0
    gamma1: float = 3.0
    beta: float = 2.0
    scale: Scale = eqx.field(static=True, default="sd")
    floor: float = 0.5
    min_controls: int = 1
    min_treated: int = 1
    candidates: int | None = None
    max_distance: float | Mapping[str, float] | None = None
    engine: Engine = eqx.field(static=True, default="auto")
    max_nodes: int = 200_000
    time_limit: float | None = None
    gap: float = 0.0
    pool: SolverPool | None = eqx.field(static=True, default=None)
    outcome: OutcomeModel | ResponseSurface | Callable = BoostedTrees()

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        for name in ("gamma0", "gamma1", "beta", "floor", "gap"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must not be negative.")
        if self.gamma0 + self.gamma1 == 0:
            raise ValueError("gamma0 and gamma1 are 0: one must be positive.")
        if self.beta == 0:
            raise ValueError("beta is 0: a unit in the box must be worth something.")
        if isinstance(self.max_distance, int | float) and not self.max_distance >= 0:
            raise ValueError(f"max_distance is {self.max_distance}: it must be at least 0.")
        check_minimum(self.min_controls, self.min_treated)
        if self.candidates is not None and self.candidates < 1:
            raise ValueError(f"candidates is {self.candidates}: it must be at least 1, or None.")
        if self.max_nodes < 1 or (self.time_limit is not None and not self.time_limit > 0):
            raise ValueError("max_nodes must be at least 1, time_limit above 0 or None.")

    def arms(self, estimand: Estimand = "ate", effect: EffectKind = "group") -> Arms:
        """Only the surfaces with a positive weight."""
        return arms_of(bool(self.gamma0 > 0), bool(self.gamma1 > 0))

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def traceable(self) -> bool:
        """Never: the search is driven from the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Boxes:
        """Find the best box of every query inside its own fold.

        **Raises:** `Interrupted` upon Ctrl-C, with the boxes so far in `found`: of the queries that
        were at work the best that was known, and none of those that were not begun.
        """
        if is_traced(task, surfaces):
            raise ValueError(
                "ExactAHB runs on the host and cannot be used under jit, vmap or grad: match "
                "outside, or use jc.AHB."
            )
        found = FoundBoxes(task, prognosis_of(task, surfaces))
        limits = SearchLimits(self.max_nodes, self.time_limit, self.gap)
        try:
            for k, surface in enumerate(surfaces):
                quest = self.quest(k, surface, found)
                ended = prove(quest, limits, self.engine, self.pool)
                for done, (i, best) in enumerate(ended, start=1):
                    found.keep(quest, i, best)
                    if progress is not None:
                        progress(stage(k, len(surfaces)), done, quest.rows.size)
        except KeyboardInterrupt:
            raise Interrupted(found.boxes()) from None
        return found.boxes()

    def quest(self, k: int, surface: ResponseSurface, found: FoundBoxes) -> Quest:
        """What is looked for in fold k; queries that cannot be are noted among what is found."""
        task, sample = found.task, found.task.sample.plain()
        held = (np.asarray(task.fold) == k) & (np.asarray(sample.weight) > 0)
        rows = np.flatnonzero((np.asarray(task.query_fold) == k) & np.asarray(task.asked))
        members = np.flatnonzero(held)
        used = np.array([self.gamma0 > 0, self.gamma1 > 0])
        values = np.asarray(found.prognosis.units, np.float64)[members][:, used]
        at = np.asarray(found.prognosis.queries, np.float64)[rows][:, used]
        noise = np.asarray(surface.noise, np.float64)[used]
        bad = ~np.isfinite(at).all(1) | ~(np.isfinite(values).all() & np.isfinite(noise).all())
        found.status[rows[bad]] = int(code(RESULTS.surface_nan))
        if not _sound(sample, members):
            bad = np.ones(rows.size, bool)
            found.status[rows] = int(code(RESULTS.bad_input))
        rows, at = rows[~bad], at[~bad]
        if not rows.size:
            values = np.zeros_like(values)  # nothing is looked for
        weight = np.asarray(sample.weight, np.float64)[members]
        factor = self._factor(noise, values, weight, used)
        units = _members(sample, members, weight, values * factor)
        starts = found.starts(rows, members, at * factor)
        minimum = np.array([self.min_controls, self.min_treated])
        pruning = self._pruning(task.sample, units, starts)
        return Quest(units, rows, starts, columns_of(sample), pruning, self.beta, minimum)

    def _factor(
        self, noise: np.ndarray, values: np.ndarray, weight: np.ndarray, used: np.ndarray
    ) -> np.ndarray:
        """The weight of each surface over its scale."""
        gamma, share = np.array([self.gamma0, self.gamma1])[used], weight / weight.sum()
        if self.scale == "none":
            return gamma
        variance = share @ (values - share @ values) ** 2 / max(1 - share @ share, 1e-12)
        least = self.floor**2 * (variance + noise)
        scale = np.maximum(variance, least) ** (0.5 if self.scale == "sd" else 1.0)
        return np.where(scale > 0, gamma / np.where(scale > 0, scale, 1), 0)

    def _pruning(self, sample: Sample, members: FoldMembers, starts: list[BoxStart]) -> Pruning:
        """Who is looked at."""
        rows = None
        if self.candidates is not None and starts:
            everybody = jnp.ones(members.arm.size, bool)
            at = jnp.asarray(np.stack([start.scores for start in starts]))
            scores, arm = jnp.asarray(members.scores), jnp.asarray(members.arm)
            rows = np.asarray(prune_pairs(scores, arm, everybody, at, self.candidates)[0])
        if self.max_distance is None:
            return Pruning(rows)
        if not isinstance(self.max_distance, Mapping):
            return Pruning(rows, float(self.max_distance))
        return Pruning(rows, None, _columns(sample, self.max_distance))


def _columns(sample: Sample, most: Mapping[str, float]) -> dict[int, float]:
    """Distances by column number.

    **Raises:** ValueError for a name that is none, a category, or no distance.
    """
    names, found = sample.schema.names, {}
    for name, distance in most.items():
        if name not in names:
            raise ValueError(f"max_distance names {name!r}, which is no covariate of the sample.")
        j = names.index(name)
        if j in sample.schema.categories:
            raise ValueError(f"max_distance names {name!r}: a category has no distances.")
        if not distance >= 0:
            raise ValueError(f"max_distance of {name!r} is {distance}: it must be at least 0.")
        found[j] = float(distance)
    return found


def _sound(sample: Sample, members: np.ndarray) -> bool:
    """Whether covariates and weights of the members are finite."""
    x, weight = np.asarray(sample.x)[members], np.asarray(sample.weight)[members]
    return bool(np.isfinite(x).all() and np.isfinite(weight).all())


def _members(
    sample: Sample, rows: np.ndarray, weight: np.ndarray, scores: np.ndarray
) -> FoldMembers:
    columns, codes = columns_of(sample), np.asarray(sample.codes)[rows]
    return FoldMembers(
        codes[:, columns.ordered],
        codes[:, columns.categories],
        np.asarray(sample.points)[rows],
        np.asarray(sample.t)[rows],
        weight / weight.mean(),
        scores,
    )
