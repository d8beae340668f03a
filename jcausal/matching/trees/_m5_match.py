"""M5Match: exact subsets of the nearest controls in the leaves of a causal M5 tree."""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import DataError, Sample, is_traced, to_device, whole
from jcausal.matching._matcher import Progress, Task, prefixed, rows_only
from jcausal.matching._prognosis import foretell
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors import Pairs
from jcausal.matching.trees._candidates import Candidates, Metric, Weights, leaf_space, nearest
from jcausal.matching.trees._m5_tree import M5Tree
from jcausal.matching.trees._subset_program import Balance, SubsetObjective
from jcausal.matching.trees._subsets import Engine, choose
from jcausal.matching.trees._tree import Tree
from jcausal.matching.trees._tree_matcher import TreeMatcher
from jcausal.solvers import Interrupted, SolverPool
from jcausal.surfaces import ResponseSurface, fit

MOST = dict(device=20, highs=64, auto=64)  # candidates
CAUTION = (
    "not honest: the tree and its weights were learnt from the control outcomes that are averaged "
    "(honest=True cross-fits)"
)


class M5Match(TreeMatcher):
    """Match each treated unit to the subset of its leaf's nearest controls that balances best.

    A tree is grown on the controls; the k controls nearest to treated unit t in its leaf are the
    candidates, with the deviations d_jf = w_f (x_jf - t_f) of their features, scaled to [0, 1],
    from the unit's. Of all nonempty subsets S of them the one is taken that minimises

        A = max_f |mean_{j in S} d_jf|   and then   B = max_{j in S} max_f |d_jf|

    and the unit's effect is its outcome minus the mean outcome of S. Values within `tolerance`
    times the largest |d| count as equal; of equal sets the largest is taken (all exact twins of the
    unit among its candidates belong together), then the one with the nearer candidates. Candidates
    that are as near are taken by their covariates' values, column by column, then by id: row order
    changes no group.

    Sampling weights: means over S (of deviations and of outcomes) are weighted by them; the k
    nearest and the size of S count units. Controls of weight 0 are no candidates.

    **Arguments:**

    - `k`: candidates, at most; up to 20 with engine "device", up to 64 otherwise.
    - `tree`: the `jc.M5Tree` that is grown on the controls.
    - `metric`: "weighted" is sum_f w_f^2 (x_f - t_f)^2, "euclidean" has w = 1 (the deviations keep
      their weights).
    - `weights`: w, "leaf": |slope| of the leaf's regression on scaled features; "global": their
      mean over the leaves, by controls; or an array (p,), one number a covariate.
    - `balance`: "mean" as above, or "sum": A = max_f |sum_{j in S} d_jf|, which keeps sets small.
    - `priority`: "lexicographic" as above, or a number alpha: alpha A + B is minimised.
    - `engine`: "device" looks at every subset, "highs" solves integer programs, "auto" looks at
      every subset of up to 16 candidates and solves programs beyond.
    - `honest`: False grows the tree on all controls, and the result says that it is not honest;
      True lets `jc.estimate` cross-fit: the tree of a fold is grown on the other folds.
    - `tolerance`: what counts as equal.
    - `pool`: a `jc.solvers.SolverPool` for the integer programs; None makes one for the call.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`, whose `guides` are the trees.

    **Raises:** ValueError for bad options, queries that are controls or points, and a surface that
    is no M5 tree; `Interrupted` upon Ctrl-C among integer programs.

    **Source:** Yang and Noor-E-Alam (arXiv 2604.27307), (11), (12a-f), Algorithm 2 and (8); the
    weighted metric, the lexicographic order and the rules for ties are ours.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.M5Match(k=6))
        >>> effects.matching.rows.shape
        (185, 6)
    """

    k: int = eqx.field(converter=whole, static=True, default=10)
    tree: M5Tree = M5Tree()
    metric: Metric = eqx.field(static=True, default="weighted")
    weights: Weights = "leaf"
    balance: Balance = eqx.field(static=True, default="mean")
    priority: Literal["lexicographic"] | float = "lexicographic"
    engine: Engine = eqx.field(static=True, default="auto")
    honest: bool = eqx.field(static=True, default=False)
    tolerance: float = 1e-5
    pool: SolverPool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if not 1 <= self.k <= MOST[self.engine]:
            raise ValueError(
                f"k is {self.k}: engine {self.engine!r} takes 1 to {MOST[self.engine]} candidates."
            )
        if not isinstance(self.priority, str) and self.priority < 0:
            raise ValueError(f"priority is {self.priority}: it must not be negative.")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance is {self.tolerance}: it must lie between 0 and 1.")
        if isinstance(self.weights, str):
            if self.weights not in ("leaf", "global"):
                raise ValueError(
                    f"weights is {self.weights!r}: use 'leaf', 'global' or an array, one number a "
                    "covariate."
                )
        elif not (np.isfinite(self.weights) & (np.asarray(self.weights) >= 0)).all():
            raise ValueError("weights must be finite and not negative.")

    @property
    def traceable(self) -> bool:
        """Never: leaves are walked through on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Pairs:
        """Match the queries of each fold inside it, in the leaves of that fold's tree.

        Without surfaces one tree is grown on the task's own sample.
        """
        _check_task(task)
        caution = "" if surfaces and task.honest else CAUTION
        if not surfaces:
            if task.sample.y is None:
                raise DataError("the sample has no outcome to grow a tree on: use with_outcome(y).")
            surfaces = [fit(task.sample, self.tree, arms="control")]
        trees = self.trees_of(surfaces, task.sample)
        sheet, first = _Sheet(task, self.k), 0
        try:
            for k, tree in enumerate(trees):
                told = f"subsets, fold {k + 1} of {len(trees)}" if len(trees) > 1 else "subsets"
                here = sheet.queries_of(k)
                if here.size:
                    candidates = self._candidates(task, k, tree, here)
                    sheet.begin(here, candidates, first)
                    self._choose(sheet, here, candidates, prefixed(progress, told))
                first += tree.leaves
        except KeyboardInterrupt:
            raise Interrupted(sheet.pairs(trees, caution)) from None
        return sheet.pairs(trees, caution)

    def _candidates(
        self, task: Task, k: int, tree: Tree, here: Int[np.ndarray, " m"]
    ) -> Candidates:
        """Of some queries of fold k the nearest controls in their leaf."""
        sample, queries = task.sample, np.asarray(task.query)[here]
        weight = np.asarray(sample.weight, np.float64)
        able = (np.asarray(task.fold) == k) & ~np.asarray(sample.t) & (weight > 0)
        space = leaf_space(tree, sample, self.weights)
        rows = nearest(space, sample, queries, able, self.k, self.metric)
        held = rows >= 0
        own = np.where(held, weight[rows], 0)
        total = np.where(held.any(1), own.sum(1), 1)
        return Candidates(space, queries, rows, own * (held.sum(1) / total)[:, None])

    def _choose(
        self,
        sheet: "_Sheet",
        here: Int[np.ndarray, " m"],
        candidates: Candidates,
        progress: Progress | None,
    ) -> None:
        """The best subsets of some queries' candidates, written down."""
        alpha = None if isinstance(self.priority, str) else float(self.priority)
        aim = SubsetObjective(self.balance, alpha, float(self.tolerance))
        done, many = 0, int((candidates.rows >= 0).any(1).sum())
        for some, chosen in choose(candidates, aim, self.engine, self.pool):
            sheet.keep(here[some], chosen)
            done += some.size
            if progress is not None:
                progress("", done, many)


def _check_task(task: Task) -> None:
    """Only rows, and of these only treated ones, have a leaf's controls to be compared with."""
    if is_traced(task):
        raise ValueError(
            "M5Match runs on the host and cannot be used under jit, vmap or grad: match outside, "
            "or use jc.AHB."
        )
    if task.at is not None:
        raise ValueError(rows_only("M5Match"))
    controls = ~np.asarray(task.sample.t)[np.asarray(task.query)] & np.asarray(task.asked)
    if controls.any():
        raise ValueError(
            f"{controls.sum()} of {controls.size} queries are controls, and M5Match matches "
            "treated units to controls: use estimand='att' and treated rows."
        )


class _Sheet:
    """Where the groups are written down, query by query."""

    def __init__(self, task: Task, k: int) -> None:
        q = task.query.shape[0]
        self.task = task
        asked = np.asarray(task.asked)
        growing, not_asked = int(code(RESULTS.growing)), int(code(RESULTS.not_asked))
        self.status = np.where(asked, growing, not_asked).astype(np.int32)
        self.rows = np.full((q, k), -1, np.int32)
        self.chosen = np.zeros((q, k), bool)
        self.place = np.full(q, -1, np.int32)

    def queries_of(self, k: int) -> Int[np.ndarray, " m"]:
        """Places of the queries of fold k that are asked for."""
        return np.flatnonzero((np.asarray(self.task.query_fold) == k) & np.asarray(self.task.asked))

    def begin(self, here: Int[np.ndarray, " m"], candidates: Candidates, first: int) -> None:
        """The candidates of some queries, whose leaves are numbered from `first`.

        Queries without any are noted.
        """
        rows, leaf = candidates.rows, candidates.space.leaf[candidates.queries]
        self.rows[here], self.place[here] = rows, leaf + first
        self.status[here[(rows < 0).all(1)]] = int(code(RESULTS.no_leaf_control))

    def keep(self, here: Int[np.ndarray, " m"], chosen: Bool[np.ndarray, "m k"]) -> None:
        """The subsets of some queries."""
        self.chosen[here] = chosen
        self.status[here] = int(code(RESULTS.matched))

    def pairs(self, trees: tuple[Tree, ...], caution: str) -> Pairs:
        """All groups, with the chosen candidates first."""
        sample: Sample = self.task.sample
        turn = np.argsort(~self.chosen, axis=1, kind="stable")
        chosen = np.take_along_axis(self.chosen, turn, 1)
        rows = np.where(chosen, np.take_along_axis(self.rows, turn, 1), -1)
        weight = np.where(chosen, np.asarray(sample.weight, np.float64)[rows], 0)
        total = weight.sum(1, keepdims=True)
        weight /= np.where(total > 0, total, 1)
        return Pairs(
            sample=sample,
            fold=self.task.fold,
            query=self.task.query,
            query_fold=self.task.query_fold,
            rows=to_device(rows.astype(np.int32)),
            weights=to_device(weight.astype(sample.x.dtype)),
            status=to_device(self.status),
            estimand=self.task.estimand,
            guides=trees,
            place=to_device(self.place),
            caution=caution,
            prognosis=foretell(sample, self.task.fold, self.task.query, trees),
        )
