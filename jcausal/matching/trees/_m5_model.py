"""M5Model: the regression of a leaf's controls predicts what its treated would be without it."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import is_traced, on_host
from jcausal.matching._matcher import Progress, Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.trees._group_sums import units_by_group
from jcausal.matching.trees._leaves import LeafRegressions, Leaves
from jcausal.matching.trees._m5_tree import M5Tree
from jcausal.matching.trees._projections import projecting_rows
from jcausal.matching.trees._refit import RefitRows, Refitted, refit_on_host, refit_traced
from jcausal.matching.trees._tree import Tree
from jcausal.matching.trees._tree_matcher import TreeMatcher
from jcausal.surfaces import ResponseSurface, fit, of_arms


class M5Model(TreeMatcher):
    """Effects from an M5 tree's own regressions: y - prediction of the leaf's controls (M5C_M).

    For a treated unit i of leaf s, ite_i = y_i - x_i' b_s with b_s the least squares of the leaf's
    controls; ATT is the mean over the treated, ATT = sum_s n_s / n ATT_s. Written as weights of the
    controls' outcomes it is a `Leaves` matching, so intervals, balance and pictures apply.
    Treated units outside the range of their leaf's controls, or of a mix of collinear features that
    none of these has, are extrapolated, and counted in the summary. Only the treated are queried.

    **Arguments:**

    - `tree`: an `M5Tree`.
    - `honest`: False grows one tree on all controls, whose outcomes are then also averaged, and
      `folds` are ignored; the summary says so. True cross-fits: the tree of fold k is grown on the
      other folds, and its regressions and effects are those of fold k.

    **Source:** Yang and Noor-E-Alam, arXiv 2604.27307, appendix D (M5C_M), proposition 4.1; the
    weights, honesty and the flag of extrapolation are ours.

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("psid"), jc.M5Model())
        >>> bool(jc.interval(effects, jc.AbadieImbens()).std_error > 0)
        True
    """

    tree: M5Tree = M5Tree()
    honest: bool = eqx.field(static=True, default=False)

    @property
    def traceable(self) -> bool:
        """Always; a gradient takes the tree as given."""
        return True

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Leaves:
        """Regress inside the leaves of each fold's tree; without surfaces grow one tree first.

        **Raises:** ValueError for queries that are points or controls, and for other surfaces.
        """
        _check_queries(task)
        own = not surfaces
        if own:
            if progress is not None:
                progress("growing the tree", 0, 1)
            held = jax.tree.map(lax.stop_gradient, task.sample.with_valid(_in_a_fold(task.fold)))
            surfaces = [fit(held, self.tree, arms="control")]
        trees = self.trees_of(surfaces, task.sample)
        found = leaf_regressions(task, trees, fitted=own)
        return Leaves(
            sample=task.sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            status=_status(found, task.query, task.asked),
            regressions=found,
            trees=trees,
            estimand=task.estimand,
            honest=not own and task.honest,
        )


def _check_queries(task: Task) -> None:
    """Only treated units have a prediction without the treatment to be compared with."""
    if task.at is not None:
        raise ValueError(
            "M5Model predicts y(0) for treated units of the sample: at= has none; for other points "
            "use jc.AHB, or a learner such as jc.DRLearner()."
        )
    if task.estimand != "att":
        raise ValueError(
            f"M5Model predicts y(0) for treated units: estimand {task.estimand!r} asks for "
            "controls too; use estimand='att', or jc.AHB()."
        )
    if is_traced(task.query, task.sample.t):
        return
    query, asked = np.asarray(task.query), np.asarray(task.asked)
    controls = (asked & ~np.asarray(task.sample.t)[query]).sum()
    if controls:
        raise ValueError(
            f"M5Model predicts y(0) for treated units, and {controls} of the queried are controls."
        )


def leaf_regressions(task: Task, trees: tuple[Tree, ...], *, fitted: bool) -> LeafRegressions:
    """Every unit's leaf in the tree of its fold and row of the regression there.

    `fitted`: the one tree's regressions are those of the controls at hand; else they are refitted.
    """
    sample = task.sample
    features, leaves = trees[0].features(sample.x), sum(tree.leaves for tree in trees)
    leaf = _leaf_in_folds(task.fold, [tree.leaf(sample.x) for tree in trees], _firsts(trees))
    treated = units_by_group(leaf, of_arms(sample.t, sample.valid, "treated"), leaves)
    if fitted:
        fits = trees[0].fits
        row = projecting_rows(features, leaf, fits.weight, fits.centre, fits.root)
        found = Refitted(row, fits.lower, fits.upper, fits.rank, fits.controls)
    else:
        member = _of_controls(leaf, task.fold, sample.t, sample.valid, sample.weight)
        rows = RefitRows(features, sample.weight, leaf, member)
        refit = refit_traced if is_traced(sample, leaf) else refit_on_host
        found = refit(rows, leaves)
    return LeafRegressions(leaf=leaf, treated=treated, **found._asdict())


def _firsts(trees: tuple[Tree, ...]) -> list[int]:
    """The number of the first leaf of each tree."""
    return [sum(tree.leaves for tree in trees[:k]) for k in range(len(trees))]


@on_host
def _leaf_in_folds(
    lib: Any, fold: Int[Array, " n"], leaves: list[Array], firsts: list[int]
) -> Int[Array, " n"]:
    """The leaf of every unit in its fold's tree, over all trees one after another; -1: none."""
    out = lib.full(fold.shape[0], -1, lib.int32)
    for k, (leaf, first) in enumerate(zip(leaves, firsts)):
        out = lib.where(fold == k, leaf + first, out)
    return out.astype(lib.int32)


@on_host
def _of_controls(
    lib: Any,
    leaf: Int[Array, " n"],
    fold: Int[Array, " n"],
    t: Bool[Array, " n"],
    valid: Bool[Array, " n"],
    weight: Float[Array, " n"],
) -> Int[Array, " n"]:
    """The leaf of the controls that a regression may use, -1 for others."""
    return lib.where(~t & (fold >= 0) & valid & (weight > 0), leaf, -1)


@on_host
def _in_a_fold(lib: Any, fold: Int[Array, " n"]) -> Bool[Array, " n"]:
    return fold >= 0


@on_host
def _status(
    lib: Any, found: LeafRegressions, query: Int[Array, " q"], asked: Bool[Array, " q"]
) -> Int[Array, " q"]:
    at = found.leaf[query]
    empty = (at < 0) | (found.controls[at] == 0)
    status = lib.where(empty, code(RESULTS.no_leaf_control), code(RESULTS.matched))
    return lib.where(asked, status, code(RESULTS.not_asked))
