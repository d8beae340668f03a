"""The M5 tree: its hyperparameters, and what is said of one that did not grow."""

import warnings
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import DataError, Sample, Schema, is_traced, on_host, trained_on, whole
from jcausal.matching.trees._growers import GrowthOptions, grow_on_host, grow_traced
from jcausal.matching.trees._growth_state import Criterion, Search
from jcausal.matching.trees._leaf_fits import noise_of
from jcausal.matching.trees._prepare import feature_ranges
from jcausal.matching.trees._tree import Tree
from jcausal.surfaces import Arms, Encoding, OutcomeModel


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
        encoding, options = Encoding(sample.schema), self._options(sample.schema)
        features = encoding(sample.x)
        use = _controls(sample.valid, sample.t, sample.weight)
        if is_traced(sample):
            nodes, fits = grow_traced(sample, features, use, options)
            kept = trained_on(sample, None)
        else:
            rows = np.flatnonzero(np.asarray(use))
            if not rows.size:
                raise DataError("there is no control row of positive weight to grow a tree on.")
            nodes, fits = grow_on_host(sample, np.asarray(features), rows, options)
            kept = trained_on(sample, rows)
        tree = Tree(
            nodes=nodes,
            fits=fits,
            treated=fits.controls,
            scale=feature_ranges(features, sample.valid),
            noise=noise_of(fits),
            encoding=encoding,
            trained=kept,
            schema=sample.schema,
        )
        tree = eqx.tree_at(lambda t: t.treated, tree, tree.count(sample, treated=True))
        if kept.row is not None and tree.leaves == 1:
            warnings.warn(self._why_one_leaf(sample, tree), TreeWarning, stacklevel=3)
        return tree

    def _options(self, schema: Schema) -> GrowthOptions:
        """With what follows from the covariates."""
        free = free_slopes(schema)
        return GrowthOptions(
            min_controls=2 * (free + 1) if self.min_controls is None else self.min_controls,
            max_depth=self.max_depth,
            free=free,
            search=self.split_search,
            criterion=self.criterion,
            bins=self.bins,
        )

    def _why_one_leaf(self, sample: Sample, tree: Tree) -> str:
        """What kept the root from being split."""
        options = self._options(sample.schema)
        least, free = options.min_controls, options.free
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
