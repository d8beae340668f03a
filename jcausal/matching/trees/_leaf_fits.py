"""The regressions of a tree's leaves, and what they foretell."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int

from jcausal.data import on_host


class LeafFits(eqx.Module):
    """The weighted least squares of every leaf on its controls.

    `controls` (l,) units; `weight` (l,) their weight; `centre` (l, f) and `level` (l,) weighted
    means of features and outcome; `coef` (l, f) slopes; `root` (l, f, f) R with R R' the
    pseudo-inverse of sum w (x - centre)(x - centre)'; `rank` (l,) of that sum; `residual_variance`
    (l,) with df = n - rank - 1 (NaN without any); `adjusted_r2` (l,); `lower`, `upper` (l, f) range
    of the features.
    """

    controls: Int[Array, " l"]
    weight: Float[Array, " l"]
    centre: Float[Array, "l f"]
    level: Float[Array, " l"]
    coef: Float[Array, "l f"]
    root: Float[Array, "l f f"]
    rank: Int[Array, " l"]
    residual_variance: Float[Array, " l"]
    adjusted_r2: Float[Array, " l"]
    lower: Float[Array, "l f"]
    upper: Float[Array, "l f"]


@on_host
def predictions(
    lib: Any, features: Float[Array, "m f"], leaf: Int[Array, " m"], fits: LeafFits
) -> Float[Array, "m 2"]:
    """The regression of each point's leaf, and NaN for the treated."""
    control = fits.level[leaf] + (fits.coef[leaf] * (features - fits.centre[leaf])).sum(1)
    return lib.stack([control, lib.full_like(control, lib.nan)], axis=1)


@on_host
def intercepts(lib: Any, fits: LeafFits) -> Float[Array, " l"]:
    """Outcome of each regression where all features are 0."""
    return fits.level - (fits.coef * fits.centre).sum(1)


@on_host
def scaled_slopes(
    lib: Any, coef: Float[Array, "l f"], low: Float[Array, " f"], high: Float[Array, " f"]
) -> Float[Array, "l f"]:
    """|slope| on features scaled to [0, 1]."""
    return lib.abs(coef) * (high - low)


@on_host
def noise_of(lib: Any, fits: LeafFits) -> Float[Array, " 2"]:
    """Residual variance over all leaves that have one, and NaN for the treated."""
    known = fits.residual_variance >= 0
    weight = lib.where(known, fits.weight, 0)
    total = (weight * lib.where(known, fits.residual_variance, 0)).sum()
    mean = total / lib.where(weight.sum() > 0, weight.sum(), lib.nan)
    return lib.stack([mean, lib.full_like(mean, lib.nan)])
