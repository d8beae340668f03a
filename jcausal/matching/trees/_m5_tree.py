"""The M5 tree: hyperparameters, and prepare / core / finish around the growth."""

import warnings
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    Schema,
    bucket,
    is_traced,
    on_host,
    pad_rows,
    to_device,
    trained_on,
    whole,
)
from jcausal.matching.trees._finish import fits_of, nodes_of
from jcausal.matching.trees._fit import Blocks, Design
from jcausal.matching.trees._grow import begin, grow_level, grow_whole
from jcausal.matching.trees._growth import CHUNK, Criterion, Growth, Limits, Plan, Search
from jcausal.matching.trees._prepare import (
    FeatureCodes,
    Scaling,
    design_of,
    host_codes,
    sizes_of,
    traced_codes,
)
from jcausal.matching.trees._tree import Fits, Nodes, Tree, scale_of
from jcausal.surfaces import Arms, Encoding, OutcomeModel

LARGE = 2**15  # rows from which on blocks are larger
SLOTS = (64, 512, 4096)  # sizes of a level


class TreeWarning(UserWarning):
    """A tree stayed a single leaf; the message says why, with the numbers."""


class M5Tree(OutcomeModel):
    """A tree with a linear regression in every leaf, grown on the controls only.

    In a node with outcomes T the split with the largest reduction
    SDR = sd(T) - |L|/|T| sd(L) - |R|/|T| sd(R) stands if a child's adjusted R2 exceeds the
    node's: 1 - (1 - R2)(n - 1)/(n - p - 1), R2 of the least squares on the p features with an
    intercept. Both children need `min_controls` controls. Thresholds lie half-way between
    neighbouring values in the node. The treated are routed afterwards.

    Features are the ordered covariates as they are and one 0/1 column for each level of a category
    (all levels, so that their order changes nothing; p counts k - 1 for k levels). Sampling weights
    count in means, deviations (|T| is then their sum) and regressions; `min_controls`, n and p
    count units. A unit of weight 0 is left out. Deviations divide by n. Reductions that are equal
    up to rounding count as equal: the first feature and the lowest threshold are taken. An adjusted
    R2 counts as higher from 1e-9 on (in float32 from 1e-4). The partition is the same after an
    affine change of a covariate; after another monotone one regressions, and so splits, differ. A
    child
    whose outcomes are all equal is fitted perfectly: its adjusted R2 is 1. Collinear and constant
    columns get the slopes of least length (in standard deviations of the leaf).

    The growth works in float64, whatever the dtype of the data; under jit and vmap in one loop with
    room for n / `min_controls` leaves, which gives the same tree.

    **Arguments:**

    - `min_controls`: controls that a child needs; None is 2(p + 1).
    - `max_depth`: splits between the root and a leaf, at most.
    - `split_search`: "best" is the paper's rule: only the split with the largest reduction is
      looked at. A strong linear covariate then often stops the growth at the root, since a split on
      it lowers the R2 of both children. "first_passing" (default) tries the best split of each
      feature, in the order of their reductions, until one stands.
    - `criterion`: "adjusted_r2", or "residual_variance": the children's residual sum of squares
      over n - 2(p + 1) must be below the node's over n - p - 1.
    - `bins`: at most so many thresholds a feature (quantiles of the controls); None for all. For
      large data with many distinct values.

    **Warns:** `TreeWarning` when the tree has one leaf, with the reason.

    **Source:** Yang and Noor-E-Alam, arXiv 2604.27307, equations 1 to 5, with strict improvement
    and both children large enough; "first_passing" and "residual_variance" are ours.

    **Example:**

        >>> import jcausal as jc
        >>> tree = jc.fit(jc.datasets.lalonde("psid"), jc.M5Tree(min_controls=300))
        >>> print(tree.rules()[0])
        age at most 25.5 years
    """

    min_controls: int | None = eqx.field(converter=whole, static=True, default=None)
    max_depth: int = eqx.field(converter=whole, static=True, default=30)
    split_search: Search = eqx.field(static=True, default="first_passing")
    criterion: Criterion = eqx.field(static=True, default="adjusted_r2")
    bins: int | None = eqx.field(converter=whole, static=True, default=None)
    traceable: bool = eqx.field(static=True, init=False, default=True)
    needs_key: bool = eqx.field(static=True, init=False, default=False)

    def __check_init__(self) -> None:
        if self.min_controls is not None and self.min_controls < 1:
            raise ValueError(
                f"min_controls is {self.min_controls}: it must be at least 1, or None."
            )
        if self.max_depth < 0:
            raise ValueError(f"max_depth is {self.max_depth}: it must not be negative.")
        if self.bins is not None and self.bins < 2:
            raise ValueError(f"bins is {self.bins}: it must be at least 2, or None.")

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> Tree:
        """Grow the tree on the controls, fit its leaves, count the treated in them.

        **Raises:** `DataError` without a control of positive weight; ValueError for treated alone.
        """
        if arms == "treated":
            raise ValueError("an M5 tree is learnt on controls only: use arms='control'.")
        assert sample.y is not None
        encoding = Encoding(sample.schema)
        features = encoding(sample.x)
        use = _controls(sample.valid, sample.t, sample.weight)
        free = free_slopes(sample.schema)
        least = 2 * (free + 1) if self.min_controls is None else self.min_controls
        limits = Limits(*(to_device(np.int32(v)) for v in (least, self.max_depth, free)))
        if is_traced(sample):
            nodes, fits = self._traced(sample, features, use, limits, least)
            kept = trained_on(sample, None)
        else:
            rows = np.flatnonzero(np.asarray(use))
            if not rows.size:
                raise DataError("there is no control row of positive weight to grow a tree on.")
            nodes, fits = self._on_host(sample, encoding, np.asarray(features), rows, limits, least)
            kept = trained_on(sample, rows)
        tree = Tree(
            nodes=nodes,
            fits=fits,
            treated=fits.controls,
            scale=scale_of(features, sample.valid),
            noise=_noise(fits),
            encoding=encoding,
            trained=kept,
            schema=sample.schema,
        )
        tree = eqx.tree_at(lambda t: t.treated, tree, tree.count(sample, treated=True))
        if kept.row is not None and tree.leaves == 1:
            warnings.warn(self._why_one_leaf(sample, tree, least, free), TreeWarning, stacklevel=3)
        return tree

    def _traced(
        self,
        sample: Sample,
        features: Float[Array, "n f"],
        use: Bool[Array, " n"],
        limits: Limits,
        least: int,
    ) -> tuple[Nodes, Fits]:
        """One loop, with room for as many leaves as there could be."""
        n, f = features.shape
        coded = traced_codes(features, use, self.bins)
        height = np.full(f, n if self.bins is None else self.bins)
        height[np.asarray(Encoding(sample.schema).level) >= 0] = 2
        leaves = max(1, n // least)
        blocks = Blocks(32, min(32, n // 32 + min(CHUNK, leaves)))
        plan = Plan(self.split_search, self.criterion, sizes_of(height, n), blocks)
        chunk = min(CHUNK, leaves)
        wide = -(-leaves // chunk) * chunk
        with jax.enable_x64(True):
            parts = (features, sample.y, sample.weight)
            x, y, w = (jnp.asarray(part, jnp.float64) for part in parts)
            design, scaling = design_of(x, y, w, use, jnp.asarray(coded.codes))
            growth = grow_whole(design, use, limits, plan, 2 * leaves, max(1, leaves // 2))
            nodes = nodes_of(growth, coded, wide)
            fits = fits_of(design, growth, x, scaling, limits.free, wide, blocks)
            dtype = sample.x.dtype
            shorter = lambda a: a.astype(dtype) if a.dtype == jnp.float64 else a  # noqa: E731
            return nodes, jax.tree.map(shorter, fits)

    def _on_host(
        self,
        sample: Sample,
        encoding: Encoding,
        features: Float[np.ndarray, "n f"],
        rows: Int[np.ndarray, " r"],
        limits: Limits,
        least: int,
    ) -> tuple[Nodes, Fits]:
        """Level by level, in shapes that near sizes share."""
        coded = host_codes(sample, encoding, features, rows, self.bins)
        assert coded.units is not None
        wide, dtype = bucket(rows.size), sample.x.dtype
        blocks = Blocks(64, 64) if wide >= LARGE else Blocks(32, 32)
        plan = Plan(self.split_search, self.criterion, sizes_of(coded.units, wide), blocks)
        weight = np.asarray(sample.weight, np.float64)[rows]
        even = bool((weight == weight[0]).all())
        outcome = np.asarray(sample.y, np.float64)[rows]
        nodes = 2 * max(1, wide // least)
        with jax.enable_x64(True):
            use = np.arange(wide) < rows.size
            parts = (features[rows].astype(np.float64), outcome, weight, coded.codes)
            x, y, w, codes = (pad_rows(np.asarray(a), wide) for a in parts)
            begun = _begun(x, y, None if even else w, use, codes, limits, plan, nodes, SLOTS[0])
            design, scaling, growth = begun
            while (np.asarray(growth.frontier.node) >= 0).any():
                growth = _level(design, _resized(growth, wide // (2 * least)), limits, plan)
            used = int(growth.used)
            leaves = int((np.asarray(growth.nodes.feature)[:used] < 0).sum())
            room = next(size for size in _rooms() if size >= leaves)
            ends = (_to_columns(a, wide) for a in (coded.top, coded.bottom))
            found = _ended(design, growth, x, scaling, *ends, limits.free, room, blocks)
        nodes, fits = jax.tree.map(np.asarray, found)
        nodes = jax.tree.map(lambda a: to_device(a[:used]), nodes)
        return nodes, _cut_fits(fits, leaves, dtype, weight, even)

    def _why_one_leaf(self, sample: Sample, tree: Tree, least: int, free: int) -> str:
        """What kept the root from being split."""
        controls, r2 = int(tree.controls[0]), float(tree.adjusted_r2[0])
        told = f"the M5 tree is one leaf of {controls:,} controls: "
        if self.max_depth == 0:
            return told + "max_depth is 0."
        if controls < 2 * least:
            if self.min_controls is not None:
                return told + f"a split needs two children of {least:,}: lower min_controls."
            return told + (
                f"a split needs two children of min_controls = {least:,} (2(p + 1) of {free} "
                "features), give more controls or fewer covariates."
            )
        rows = np.asarray(_controls(sample.valid, sample.t, sample.weight))
        y = np.asarray(sample.y)[rows]
        if np.ptp(y) == 0:
            return told + f"all their outcomes are {y[0]:g}."
        values = np.sort(np.asarray(tree.features(sample.x))[rows], axis=0)
        if (values[least - 1] >= values[-least]).all():
            return told + f"no cut leaves min_controls = {least:,} of them on both sides."
        if self.criterion == "residual_variance":
            return told + "no split tried lowers the residual variance of the regression."
        tried = "the split with the largest SDR does" if self.split_search == "best" else "no split"
        rest = " not raise" if self.split_search == "best" else " of any feature raises"
        advice = " Try split_search='first_passing'." if self.split_search == "best" else ""
        return told + f"{tried}{rest} the adjusted R2 of a child above the root's {r2:.3f}.{advice}"


def free_slopes(schema: Schema) -> int:
    """p: one for each ordered covariate, k - 1 for a category of k levels."""
    return len(schema.ordered) + sum(len(schema.levels[j]) - 1 for j in schema.categories)


@on_host
def _controls(
    lib: Any, valid: Bool[Array, " n"], t: Bool[Array, " n"], weight: Float[Array, " n"]
) -> Bool[Array, " n"]:
    """Who the tree is grown on."""
    return valid & ~t & (weight > 0)


@on_host
def _noise(lib: Any, fits: Fits) -> Float[Array, " 2"]:
    """Residual variance over all leaves that have one, and NaN for the treated."""
    known = fits.sigma2 >= 0
    weight = lib.where(known, fits.weight, 0)
    total = (weight * lib.where(known, fits.sigma2, 0)).sum()
    mean = total / lib.where(weight.sum() > 0, weight.sum(), lib.nan)
    return lib.stack([mean, lib.full_like(mean, lib.nan)])


@partial(jax.jit, static_argnames=("plan", "nodes", "slots"))
def _begun(
    x: Float[Array, "n f"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"] | None,
    use: Bool[Array, " n"],
    codes: Int[Array, "n f"],
    limits: Limits,
    plan: Plan,
    nodes: int,
    slots: int,
) -> tuple[Design, Scaling, Growth]:
    design, scaling = design_of(x, y, weight, use, codes)
    return design, scaling, begin(design, use, limits, plan, nodes, slots)


_level = jax.jit(grow_level, static_argnames="plan")


@partial(jax.jit, static_argnames=("leaves", "blocks"))
def _ended(
    design: Design,
    growth: Growth,
    x: Float[Array, "n f"],
    scaling: Scaling,
    top: Float[Array, "f r"],
    bottom: Float[Array, "f r"],
    free: Int[Array, ""],
    leaves: int,
    blocks: Blocks,
) -> tuple[Nodes, Fits]:
    nodes = nodes_of(growth, FeatureCodes(design.codes, top, bottom), leaves)
    return nodes, fits_of(design, growth, x, scaling, free, leaves, blocks)


def _rooms() -> Iterator[int]:
    """Sizes of arrays of leaves, far apart: near numbers share a trace."""
    return (4 * CHUNK * 8**k for k in count())


def _to_columns(ladders: Any, wide: int) -> Float[np.ndarray, "f r"]:
    """Values of each place, as wide as there could be places."""
    return pad_rows(np.asarray(ladders).T, wide).T


def _resized(growth: Growth, most: int) -> Growth:
    """The frontier with room for all children of its nodes."""
    open_ = int((np.asarray(growth.frontier.node) >= 0).sum())
    wanted = max(1, min(2 * open_, most))
    size = next((s for s in SLOTS if s >= wanted), 1 << (wanted - 1).bit_length())
    now = growth.frontier.node.shape[0]
    if size == now:
        return growth

    def fit(array: Array, fill: int) -> Array:
        cut = np.asarray(array)[:size]
        return to_device(pad_rows(cut, size, cut.dtype.type(fill)))

    frontier = growth.frontier._replace(
        node=fit(growth.frontier.node, -1),
        quality=jax.tree.map(partial(fit, fill=0), growth.frontier.quality),
    )
    return growth._replace(frontier=frontier)


def _cut_fits(fits: Fits, leaves: int, dtype: np.dtype, weight: np.ndarray, even: bool) -> Fits:
    """The leaves that there are, in the dtype of the data; all arrays on the host."""

    def one(array: np.ndarray) -> Array:
        kept = array[:leaves]
        return to_device(kept.astype(dtype) if kept.dtype.kind == "f" else kept)

    if even and weight[0] != 1:
        scaled = (fits.weight * weight[0], fits.root / np.sqrt(weight[0]))
        fits = eqx.tree_at(lambda f: (f.weight, f.root), fits, scaled)
    return jax.tree.map(one, fits)
