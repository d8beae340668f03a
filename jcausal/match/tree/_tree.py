"""A tree of linear regressions as a response surface."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, Schema, is_traced
from jcausal.data._schema import plain_schema
from jcausal.match.tree import _words
from jcausal.outcome._surface import Encoding, Noise, ResponseSurface, Trained, evaluate_along


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

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """The regression of each point's leaf; NaN for the treated."""
        features = self.encoding(x)
        place = route(self.nodes, features)
        slope = self.fits.coef[place]
        control = self.fits.level[place] + (slope * (features - self.fits.centre[place])).sum(1)
        return jnp.stack([control, jnp.full_like(control, jnp.nan)], axis=1)

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
        return self.fits.level - (self.fits.coef * self.fits.centre).sum(1)

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
        return jnp.abs(self.fits.coef) * (self.scale[1] - self.scale[0])

    @property
    def gram_inverse(self) -> Float[Array, "l g g"]:
        """(X'WX)^- of each leaf with the intercept first: x'(X'WX)^- x is for x = (1, features)."""
        fits, precise = self.fits, lax.Precision.HIGHEST
        ends = -jnp.einsum("lij,li->lj", fits.root, fits.centre, precision=precise)
        rows = jnp.concatenate([ends[:, None], fits.root], axis=1)
        found = jnp.einsum("lij,lkj->lik", rows, rows, precision=precise)
        weight = jnp.where(fits.weight > 0, fits.weight, jnp.nan)
        return found.at[:, 0, 0].add(1 / weight)

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
        use = sample.valid & (sample.t == treated)
        return counts_of(jnp.where(use, self.leaf(sample.x), -1), self.leaves)

    def rules(self) -> list[str]:
        """What each leaf asks of a unit, in words, one line a leaf."""
        return _words.rules(self)

    def to_frame(self, sample: Sample | None = None, *, effects: Any | None = None) -> Any:
        """One row a leaf: leaf, rule, controls, treated, adjusted R2, residual error.

        **Arguments:** `sample`: count its valid units in place of those that the tree was made of.
        `effects` of such units: also the matched treated and the mean effect (ATT) of each leaf.

        **Returns:** a frame, of the kind that the sample was read from.
        """
        return _words.leaves_frame(self, sample, effects)


def _levels(levels: tuple[str, ...]) -> str:
    """Of a category, in words."""
    return f"a category of {', '.join(levels)}" if levels else "a number"


@jax.jit
def route(nodes: Nodes, features: Float[Array, "m f"]) -> Int[Array, " m"]:
    """The leaf of each row of features; carries no gradient."""
    features, nodes = lax.stop_gradient((features, nodes))
    row = jnp.arange(features.shape[0])

    def step(place: Array) -> Array:
        split = nodes.feature[place]
        value = features[row, jnp.maximum(split, 0)]
        below = jnp.where(value <= nodes.threshold[place], nodes.left[place], nodes.right[place])
        return jnp.where(split >= 0, below, place)

    start = jnp.zeros(features.shape[0], jnp.int32)
    found = lax.while_loop(lambda place: (nodes.feature[place] >= 0).any(), step, start)
    return nodes.leaf[found]


def counts_of(leaf: Int[Array, " n"], leaves: int) -> Int[Array, " l"]:
    """How many units each leaf has; -1 is no leaf."""
    if not is_traced(leaf):
        place = np.asarray(leaf)
        return jnp.asarray(np.bincount(place[place >= 0], minlength=leaves).astype(np.int32))
    ordered, edges = jnp.sort(leaf), jnp.arange(leaves)
    last, first = (jnp.searchsorted(ordered, edges, side=side) for side in ("right", "left"))
    return (last - first).astype(jnp.int32)


@jax.jit
def scale_of(
    features: Float[Array, "n f"], valid: Bool[Array, " n"]
) -> tuple[Float[Array, " f"], Float[Array, " f"]]:
    """Smallest and largest value of every feature over the valid rows."""
    use = valid[:, None]
    low = jnp.where(use, features, jnp.inf).min(0)
    return low, jnp.where(use, features, -jnp.inf).max(0)
