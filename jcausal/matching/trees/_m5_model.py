"""M5Model: the regression of a leaf's controls predicts what its treated would be without it."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import bucket, check_kind, is_traced, on_host, pad_rows, to_device
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching._results import RESULTS, code
from jcausal.matching.trees._finish import ranges
from jcausal.matching.trees._fit import Blocks, moments, solve, whole
from jcausal.matching.trees._growth import CHUNK
from jcausal.matching.trees._leaves import Design, Leaves
from jcausal.matching.trees._m5_tree import M5Tree
from jcausal.matching.trees._prepare import design_of
from jcausal.matching.trees._projections import rows_of
from jcausal.matching.trees._tree import Tree, counts_of
from jcausal.surfaces import Arms, ResponseSurface, fit, of_arms


class M5Model(Matcher):
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
        >>> bool(jc.interval(effects, jc.AbadieImbens()).error > 0)
        True
    """

    tree: M5Tree = M5Tree()
    honest: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_kind(self.tree, M5Tree, "M5Model(tree=)", "such as jc.M5Tree(min_controls=50)")

    @property
    def outcome(self) -> M5Tree:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The tree, as a model of the outcome."""
        return self.tree

    def arms(self, estimand: Estimand = "att", effect: EffectKind = "own") -> Arms:
        """Controls only."""
        return "control"

    @property
    def traceable(self) -> bool:
        """Always; a gradient takes the tree as given."""
        return True

    @property
    def cross_fits(self) -> bool:
        """Only if honest."""
        return self.honest

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
        for surface in surfaces:
            if not isinstance(surface, Tree):
                raise ValueError(
                    f"M5Model needs a tree, not a {type(surface).__name__}: use "
                    "surface=jc.fit(train, jc.M5Tree())."
                )
            surface.check(task.sample)
        trees: tuple[Tree, ...] = tuple(surfaces)  # type: ignore[assignment]
        design = design_of_trees(task, trees, fitted=own)
        return Leaves(
            sample=task.sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            status=_status(design, task.query, task.asked),
            design=design,
            trees=trees,
            estimand=task.estimand,
            honest=not own and task.honest,
        )


def _check_queries(task: Task) -> None:
    """Only treated units have a prediction without the treatment to be compared with."""
    if task.at is not None:
        raise ValueError("M5Model predicts y(0) for treated units of the sample: at= has none.")
    if task.estimand != "att":
        raise ValueError(
            f"M5Model predicts y(0) for treated units: estimand {task.estimand!r} asks for "
            "controls too; use 'att', or jc.AHB."
        )
    if is_traced(task.query, task.sample.t):
        return
    query, asked = np.asarray(task.query), np.asarray(task.asked)
    controls = (asked & ~np.asarray(task.sample.t)[query]).sum()
    if controls:
        raise ValueError(
            f"M5Model predicts y(0) for treated units, and {controls} of the queried are controls."
        )


def design_of_trees(task: Task, trees: tuple[Tree, ...], *, fitted: bool) -> Design:
    """Every unit's leaf in the tree of its fold and row of the regression there.

    `fitted`: the one tree's regressions are those of the controls at hand; else they are refitted.
    """
    sample = task.sample
    features, first = trees[0].features(sample.x), sum(tree.leaves for tree in trees)
    leaf = _leaf_in_folds(task.fold, [tree.leaf(sample.x) for tree in trees], _firsts(trees))
    where = _of_controls(leaf, task.fold, sample.t, sample.valid, sample.weight)
    treated = counts_of(leaf, of_arms(sample.t, sample.valid, "treated"), first)
    if fitted:
        fits = trees[0].fits
        row = rows_of(features, leaf, fits.weight, fits.centre, fits.root)
        return Design(row, leaf, fits.lower, fits.upper, fits.rank, fits.controls, treated)
    dtype = sample.x.dtype
    if is_traced(sample, leaf):
        with jax.enable_x64(True):
            x, w = features.astype(jnp.float64), sample.weight.astype(jnp.float64)
            found = _refit(x, where, w, leaf, first)
            parts = [a.astype(dtype) if a.dtype == jnp.float64 else a for a in found]
    else:
        wide, none = bucket(sample.n), np.int32(-1)
        x, w = (pad_rows(np.asarray(a, np.float64), wide) for a in (features, sample.weight))
        at, own = (pad_rows(np.asarray(a), wide, none) for a in (where, leaf))
        with jax.enable_x64(True):
            row, *rest = map(np.asarray, _jitted_refit(x, at, w, own, bucket(first)))
        cut = [row[: sample.n], *(a[:first] for a in rest)]
        parts = [to_device(a.astype(dtype) if a.dtype.kind == "f" else a) for a in cut]
    row, low, high, rank, controls = parts
    return Design(row, leaf, low, high, rank, controls, treated)


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
    lib: Any, design: Design, query: Int[Array, " q"], asked: Bool[Array, " q"]
) -> Int[Array, " q"]:
    at = design.leaf[query]
    empty = (at < 0) | (design.controls[at] == 0)
    status = lib.where(empty, code(RESULTS.no_leaf_control), code(RESULTS.matched))
    return lib.where(asked, status, code(RESULTS.not_asked))


def _refit(
    features: Float[Array, "n f"],
    where: Int[Array, " n"],
    weight: Float[Array, " n"],
    leaf: Int[Array, " n"],
    leaves: int,
) -> list[Array]:
    """Rows, ranges, rank and controls of the regressions of the units in `where`, by leaf."""
    use = where >= 0
    order = jnp.argsort(jnp.where(use, where, leaves), stable=True).astype(jnp.int32)
    count = counts_of(where, use, leaves)
    start = (jnp.cumsum(count) - count).astype(jnp.int32)
    codes = jnp.zeros(features.shape, jnp.int32)
    blank = jnp.zeros(features.shape[0], features.dtype)
    design, scaling = design_of(features, blank, weight, use, codes)
    chunk = min(CHUNK, leaves)
    more = -leaves % chunk

    def some(at: tuple[Array, Array]) -> tuple[Array, ...]:
        found = moments(whole(design, order, *at, Blocks(32, 32)))
        done = solve(found)
        mean = (found.mean + design.z[order[at[0]]]) * scaling.scale + scaling.centre
        root = done.root / scaling.scale[:-1, None]
        return found.weight, mean[:, :-1], root, done.rank

    parts = tuple(jnp.pad(a, (0, more)).reshape(-1, chunk) for a in (start, count))
    mapped = jax.lax.map(some, parts)
    mass, centre, root, rank = (a.reshape(-1, *a.shape[2:])[:leaves] for a in mapped)
    low, high = ranges(features, jnp.where(use, where, leaves), leaves)
    row = rows_of(features, leaf, mass, centre, root)
    return [row, low, high, rank, count]


_jitted_refit = jax.jit(_refit, static_argnums=4)
