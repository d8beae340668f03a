"""A tree of linear regressions as a response surface."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jcausal.data import Sample, Schema, Trained, like, plain_schema
from jcausal.matching.trees._group_sums import units_by_group
from jcausal.matching.trees._leaf_fits import (
    LeafFits,
    intercepts,
    predictions,
    scaled_slopes,
)
from jcausal.matching.trees._nodes import TreeNodes, route
from jcausal.matching.trees._rules import branches, rules
from jcausal.surfaces import Encoding, EvaluatedSurface, Noise, of_arms


class Tree(EvaluatedSurface):
    """A tree whose leaves hold linear regressions of the controls. Made by `jc.fit` of `M5Tree`.

    f0(x) = intercept[leaf(x)] + features(x) @ coef[leaf(x)]; f1 is NaN, since only controls are
    looked at. A tree that was grown under jit or vmap has room for as many leaves as there could
    be; those that are not there have 0 controls.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("psid")
        >>> tree = jc.fit(sample, jc.M5Tree())
        >>> tree.leaf(sample.x).shape, tree.coef.shape == (tree.leaves, 8)
        ((2675,), True)
    """

    nodes: TreeNodes
    fits: LeafFits
    treated: Int[Array, " l"]
    scale: tuple[Float[Array, " f"], Float[Array, " f"]]
    noise: Noise
    encoding: Encoding
    trained: Trained | None
    schema: Schema = eqx.field(static=True)
    evaluates_on_host: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """The regression of each point's leaf; NaN for the treated."""
        features = self.encoding(x)
        return predictions(features, route(self.nodes, features), self.fits)

    def lean(self) -> Tree:
        """Without the training rows and the words."""
        return Tree(
            nodes=self.nodes,
            fits=self.fits,
            treated=self.treated,
            scale=self.scale,
            noise=self.noise,
            encoding=self.encoding,
            trained=None,
            schema=plain_schema(self.schema),
        )

    @property
    def leaves(self) -> int:
        """Number of leaves L."""
        return self.fits.level.shape[0]

    @property
    def coef(self) -> Float[Array, "l f"]:
        """Slopes of each leaf, in outcome units per unit of the feature."""
        return self.fits.coef

    @property
    def intercept(self) -> Float[Array, " l"]:
        """Outcome of each leaf's regression where all features are 0."""
        return intercepts(self.fits)

    @property
    def controls(self) -> Int[Array, " l"]:
        """Controls in each leaf, counted without weights."""
        return self.fits.controls

    @property
    def adjusted_r2(self) -> Float[Array, " l"]:
        """1 - (1 - R2)(n - 1)/(n - p - 1) of each leaf."""
        return self.fits.adjusted_r2

    @property
    def residual_variance(self) -> Float[Array, " l"]:
        """Residual variance of each leaf, in squared outcome units."""
        return self.fits.residual_variance

    @property
    def lower(self) -> Float[Array, "l f"]:
        """Smallest value of each feature among the leaf's controls."""
        return self.fits.lower

    @property
    def upper(self) -> Float[Array, "l f"]:
        """Largest value of each feature among the leaf's controls."""
        return self.fits.upper

    @property
    def importance(self) -> Float[Array, "l f"]:
        """|slope| of each leaf on features scaled to [0, 1], in outcome units."""
        return scaled_slopes(self.fits.coef, *self.scale)

    def features(self, x: Float[Array, "m p"]) -> Float[Array, "m f"]:
        """Design columns: ordered covariates as they are, one 0/1 column for each level."""
        return self.encoding(x)

    def leaf(self, x: Float[Array, "m p"]) -> Int[Array, " m"]:
        """The leaf, 0 to L - 1, that each point falls into."""
        return route(self.nodes, self.encoding(x))

    def check(self, sample: Sample) -> None:
        """Refuse a sample of other covariates or levels, or of these in another order.

        **Raises:** ValueError that names both.
        """
        own, other = self.schema.names, sample.schema.names
        if own != other:
            raise ValueError(
                f"the tree was grown on the covariates {', '.join(own)}; the sample has "
                f"{', '.join(other)}: pass a sample with the same ones in the same order."
            )
        for name, mine, theirs in zip(own, self.schema.levels, sample.schema.levels):
            if mine != theirs:
                raise ValueError(
                    f"the tree knows {name!r} as {_levels(mine)}, the sample as {_levels(theirs)}: "
                    "make both of one frame, or pass levels={...} to jc.Sample."
                )

    def count(self, sample: Sample, *, treated: bool) -> Int[Array, " l"]:
        """Valid units of one arm in each leaf, counted without weights."""
        self.check(sample)
        use = of_arms(sample.t, sample.valid, "treated" if treated else "control")
        return units_by_group(self.leaf(sample.x), use, self.leaves)

    def rules(self) -> list[str]:
        """What each leaf asks of a unit, in words, one line a leaf."""
        return rules(self.nodes, self.leaves, self.encoding, self.schema)

    def to_frame(self, sample: Sample | None = None, *, effects: Any | None = None) -> Any:
        """One row a leaf: leaf, rule, controls, treated, adjusted R2, residual error.

        **Arguments:** `sample`: count its valid units in place of those that the tree was made of.
        `effects` of such units: also the matched treated and the mean effect (ATT) of each leaf.

        **Returns:** a frame of the kind that the sample was read from; without one a pandas frame.
        """
        sample = effects.sample if sample is None and effects is not None else sample
        frame = _leaves_frame(self, sample, effects)
        return frame if sample is None else like(sample.home, frame)

    def _shown(self) -> pd.DataFrame:
        return _leaves_frame(self, None, None)


def _levels(levels: tuple[str, ...]) -> str:
    """Of a category, in words."""
    return f"a category of {', '.join(levels)}" if levels else "a number"


def conditions(tree: Tree, node: int) -> tuple[str, str]:
    """What the left and the right branch of a node ask, in words."""
    return branches(tree.nodes, node, tree.encoding, tree.schema)


def sums_by_leaf(tree: Tree, effects: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each leaf the matched treated queries, their weight, and their effects times weight."""
    query = np.asarray(effects.matching.query)
    use = np.asarray(effects.matched & effects.matching.query_treated) & (query >= 0)
    leaf = np.asarray(tree.leaf(effects.sample.x))[query[use]]
    weight = np.asarray(effects.matching.query_weight, float)[use]
    total = weight * np.asarray(effects.ite, float)[use]
    count, of = np.bincount(leaf, minlength=tree.leaves), partial(np.bincount, leaf)
    return count, of(weight, tree.leaves), of(total, tree.leaves)


def _leaves_frame(tree: Tree, sample: Sample | None, effects: Any | None) -> pd.DataFrame:
    """One row a leaf."""
    controls, treated = np.asarray(tree.controls), np.asarray(tree.treated)
    if sample is not None:
        controls, treated = (np.asarray(tree.count(sample, treated=arm)) for arm in (False, True))
    columns: dict[str, object] = dict(
        leaf=np.arange(tree.leaves),
        rule=tree.rules(),
        controls=controls,
        treated=treated,
        adjusted_r2=np.asarray(tree.adjusted_r2),
        residual_sd=np.sqrt(np.asarray(tree.residual_variance)),
    )
    if effects is not None:
        matched, weight, total = sums_by_leaf(tree, effects)
        att = np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)
        columns |= dict(matched=matched, att=att)
    return pd.DataFrame(columns)
