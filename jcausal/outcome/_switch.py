"""What tells of a surface without asking it everywhere: levels of a category, covariates unseen."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.outcome._boosted import BoostedTreesSurface
from jcausal.outcome._boosting import Boosted
from jcausal.outcome._forest import Forest
from jcausal.outcome._pair import ForestSurface
from jcausal.outcome._ridge import RidgeSurface
from jcausal.outcome._surface import Encoding, ResponseSurface, evaluate_along


def level_changes(
    surface: ResponseSurface,
    centre: Float[Array, "m p"],
    column: Int[Array, " m"],
    level: Int[Array, "m k"],
    wanted: Bool[Array, "m k"],
) -> Float[Array, "m k 2"]:
    """How both outcomes change when category `column[i]` alone goes from `centre[i]` to `level`.

    Sums of trees are read where they hold the levels, a line's slopes are subtracted; other
    surfaces are evaluated. What is not `wanted` may hold any numbers.
    """
    at = level.astype(centre.dtype)
    if not isinstance(surface, ForestSurface | RidgeSurface):
        j = jnp.broadcast_to(column[:, None], level.shape)
        return evaluate_along(surface, centre, j, at[:, :, None], wanted)[:, :, 0]
    own = jnp.take_along_axis(centre, column[:, None], axis=1).astype(level.dtype)
    feature = _features(surface.encoding, column, jnp.concatenate([level, own], axis=1))
    if isinstance(surface, RidgeSurface):
        value = surface.slope[feature]
    else:
        z = jnp.where(surface.encoding.column == column[:, None], 0, surface.encoding(centre))
        on = jnp.ones((*feature.shape, 1), z.dtype)
        none = jnp.full(feature.shape, jnp.nan, z.dtype)
        forests = (surface.control, surface.treated)
        lines = [none if f is None else f.lines(z, feature, on)[:, :, 0] for f in forests]
        value = jnp.stack(lines, axis=2).astype(centre.dtype)
    return value[:, :-1] - value[:, -1:]


def _features(
    encoding: Encoding, column: Int[Array, " m"], level: Int[Array, "m k"]
) -> Int[Array, "m k"]:
    """The feature of a level of a category: those of one category lie side by side."""
    first = jnp.argmax(jnp.asarray(encoding.column) == column[:, None], axis=1)
    return first[:, None] + level


def sees(surface: ResponseSurface, p: int) -> Bool[Array, " p"]:
    """Which ordered covariates may matter: where False, the surface is the same all along."""
    if isinstance(surface, ForestSurface):
        forests = [f for f in (surface.control, surface.treated) if f is not None]
        seen = jnp.stack([_of_forest(f) for f in forests]).any(0)
    elif isinstance(surface, BoostedTreesSurface):
        seen = _of_boosted(surface.arms)
    else:
        return jnp.ones(p, bool)
    feature = jnp.asarray(surface.encoding.feature)
    return jnp.where(feature < 0, True, seen[feature])


def _of_forest(forest: Forest) -> Bool[Array, " f"]:
    """Features that any tree splits on."""
    inner = forest.rest.child > 0
    walked = jnp.zeros(forest.cuts.shape[0], bool).at[forest.rest.var].max(inner)
    masked = (forest.mask_partners.leaf != 0).any((1, 2))
    return walked | masked | (forest.partners.offset > 0).any(1) | (forest.cells.table > 0).any(1)


def _of_boosted(arms: Boosted) -> Bool[Array, " f"]:
    """Features that any tree splits on or that a line has a slope in."""
    feature, cut = arms.trees.feature, arms.trees.cut
    grown = jnp.arange(feature.shape[1]) < arms.grown[:, None]
    splits = (cut <= arms.cuts.shape[-1]) & grown[:, :, None]
    return (arms.slope != 0).any(0).at[feature].max(splits)
