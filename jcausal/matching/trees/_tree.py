"""A tree of linear regressions as a response surface."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, Schema, Trained, Values, like, on_host, plain_schema
from jcausal.matching.trees import _words
from jcausal.surfaces._surface import (
    Encoding,
    Noise,
    ResponseSurface,
    evaluate_along,
    of_arms,
)


class Nodes(eqx.Module):
    """The splits: at node i a unit goes to `left[i]` when feature `feature[i]` <= `threshold[i]`.

    Node 0 is the root. A leaf has feature -1 and the number `leaf[i]`; inner nodes have leaf -1.
    """

    feature: Int[Array, " k"]
    threshold: Float[Array, " k"]
    left: Int[Array, " k"]
    right: Int[Array, " k"]
    leaf: Int[Array, " k"]


class Fits(eqx.Module):
    """The weighted least squares of every leaf on its controls.

    `controls` (l,) units; `weight` (l,) their weight; `centre` (l, f) and `level` (l,) weighted
    means of features and outcome; `coef` (l, f) slopes; `root` (l, f, f) R with R R' the
    pseudo-inverse of sum w (x - centre)(x - centre)'; `rank` (l,) of that sum; `sigma2` (l,)
    residual variance with n - rank - 1 degrees of freedom (NaN without any); `adjusted_r2` (l,);
    `lower`, `upper` (l, f) range of the features.
    """

    controls: Int[Array, " l"]
    weight: Float[Array, " l"]
    centre: Float[Array, "l f"]
    level: Float[Array, " l"]
    coef: Float[Array, "l f"]
    root: Float[Array, "l f f"]
    rank: Int[Array, " l"]
    sigma2: Float[Array, " l"]
    adjusted_r2: Float[Array, " l"]
    lower: Float[Array, "l f"]
    upper: Float[Array, "l f"]


class Tree(ResponseSurface):
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

    nodes: Nodes
    fits: Fits
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
        return _regressed(features, route(self.nodes, features), self.fits)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """By evaluation."""
        return evaluate_along(self, centre, j, at, wanted)

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
        return _intercept(self.fits)

    @property
    def controls(self) -> Int[Array, " l"]:
        """Controls in each leaf, counted without weights."""
        return self.fits.controls

    @property
    def adjusted_r2(self) -> Float[Array, " l"]:
        """1 - (1 - R2)(n - 1)/(n - p - 1) of each leaf."""
        return self.fits.adjusted_r2

    @property
    def sigma2(self) -> Float[Array, " l"]:
        """Residual variance of each leaf, in squared outcome units."""
        return self.fits.sigma2

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
        return _importance(self.fits.coef, *self.scale)

    @property
    def gram_inverse(self) -> Float[Array, "l g g"]:
        """(X'WX)^- of each leaf with the intercept first: x'(X'WX)^- x is for x = (1, features)."""
        return _gram_inverse(self.fits)

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
        return counts_of(self.leaf(sample.x), use, self.leaves)

    def rules(self) -> list[str]:
        """What each leaf asks of a unit, in words, one line a leaf."""
        return _words.rules(self)

    def to_frame(self, sample: Sample | None = None, *, effects: Any | None = None) -> Any:
        """One row a leaf: leaf, rule, controls, treated, adjusted R2, residual error.

        **Arguments:** `sample`: count its valid units in place of those that the tree was made of.
        `effects` of such units: also the matched treated and the mean effect (ATT) of each leaf.

        **Returns:** a frame of the kind that the sample was read from; without one a pandas frame.
        """
        sample = effects.sample if sample is None and effects is not None else sample
        frame = _words.leaves_frame(self, sample, effects)
        return frame if sample is None else like(sample.home, frame)

    def _shown(self) -> pd.DataFrame:
        return _words.leaves_frame(self, None, None)


def _levels(levels: tuple[str, ...]) -> str:
    """Of a category, in words."""
    return f"a category of {', '.join(levels)}" if levels else "a number"


@on_host
def _regressed(
    lib: Any, features: Float[Array, "m f"], leaf: Int[Array, " m"], fits: Fits
) -> Float[Array, "m 2"]:
    control = fits.level[leaf] + (fits.coef[leaf] * (features - fits.centre[leaf])).sum(1)
    return lib.stack([control, lib.full_like(control, lib.nan)], axis=1)


@on_host
def _intercept(lib: Any, fits: Fits) -> Float[Array, " l"]:
    return fits.level - (fits.coef * fits.centre).sum(1)


@on_host
def _importance(
    lib: Any, coef: Float[Array, "l f"], low: Float[Array, " f"], high: Float[Array, " f"]
) -> Float[Array, "l f"]:
    return lib.abs(coef) * (high - low)


@on_host
def _gram_inverse(lib: Any, fits: Fits) -> Float[Array, "l g g"]:
    """R's rows with that of the intercept, (-centre R) above, times themselves."""
    precise = {} if lib is np else {"precision": lax.Precision.HIGHEST}
    ends = -lib.einsum("lij,li->lj", fits.root, fits.centre, **precise)
    rows = lib.concatenate([ends[:, None], fits.root], axis=1)
    found = lib.einsum("lij,lkj->lik", rows, rows, **precise)
    first = lib.arange(rows.shape[1]) == 0
    weight = lib.where(fits.weight > 0, fits.weight, lib.nan)[:, None, None]
    return found + lib.where(first & first[:, None], 1 / weight, 0)


def route(nodes: Nodes, features: Float[Array, "m f"]) -> Int[Array, " m"]:
    """The leaf of each row of features; carries no gradient."""
    return _routed(*lax.stop_gradient((nodes, features)))


@on_host
def _routed(lib: Any, nodes: Nodes, features: Float[Array, "m f"]) -> Int[Array, " m"]:
    row = lib.arange(features.shape[0])

    def step(place: Values) -> Any:
        split = nodes.feature[place]
        value = features[row, lib.maximum(split, 0)]
        below = lib.where(value <= nodes.threshold[place], nodes.left[place], nodes.right[place])
        return lib.where(split >= 0, below, place)

    place = lib.zeros(features.shape[0], lib.int32)
    unfinished = lambda place: (nodes.feature[place] >= 0).any()  # noqa: E731
    if lib is jnp:
        return nodes.leaf[lax.while_loop(unfinished, step, place)]
    while unfinished(place):
        place = step(place)
    return nodes.leaf[place]


@on_host
def counts_of(
    lib: Any, leaf: Int[Array, " n"], use: Bool[Array, " n"], leaves: int
) -> Int[Array, " l"]:
    """How many units in use each leaf has; -1 is no leaf."""
    if lib is np:
        place = leaf[use & (leaf >= 0)]
        return np.bincount(place, minlength=leaves).astype(np.int32)  # type: ignore[return-value]
    ordered, edges = jnp.sort(jnp.where(use, leaf, -1)), jnp.arange(leaves)
    last, first = (jnp.searchsorted(ordered, edges, side=side) for side in ("right", "left"))
    return (last - first).astype(jnp.int32)


@on_host
def scale_of(
    lib: Any, features: Float[Array, "n f"], valid: Bool[Array, " n"]
) -> tuple[Float[Array, " f"], Float[Array, " f"]]:
    """Smallest and largest value of every feature over the valid rows."""
    use = valid[:, None]
    low = lib.where(use, features, lib.inf).min(0)
    return low, lib.where(use, features, -lib.inf).max(0)
