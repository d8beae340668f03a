"""What tells of a surface without asking it everywhere: levels of a category, covariates unseen."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.surfaces._boosted import BoostedTreesSurface
from jcausal.surfaces._boosted_lines import bins_of
from jcausal.surfaces._boosted_tree import Trees, binned
from jcausal.surfaces._boosting import Boosted
from jcausal.surfaces._forest import Forest
from jcausal.surfaces._pair import ForestSurface
from jcausal.surfaces._ridge import RidgeSurface
from jcausal.surfaces._surface import Encoding, ResponseSurface, evaluate_along


def level_changes(
    surface: ResponseSurface,
    centre: Float[Array, "m p"],
    column: Int[Array, " m"],
    level: Int[Array, "m k"],
    wanted: Bool[Array, "m k"],
) -> Float[Array, "m k 2"]:
    """How both outcomes change when category `column[i]` alone goes from `centre[i]` to `level`.

    Sums of trees are read where they hold the levels, and slopes are subtracted; other surfaces are
    asked at all levels. What is not `wanted` may hold any numbers.
    """
    if not isinstance(surface, ForestSurface | RidgeSurface | BoostedTreesSurface):
        j, at = jnp.broadcast_to(column[:, None], level.shape), level.astype(centre.dtype)
        return evaluate_along(surface, centre, j, at[:, :, None], wanted)[:, :, 0]
    own = jnp.take_along_axis(centre, column[:, None], axis=1).astype(level.dtype)
    every = jnp.concatenate([level, own], axis=1)
    feature = _features(surface.encoding, column, every)
    if isinstance(surface, RidgeSurface):
        value = _where_known(feature, surface.slope[feature])
    elif isinstance(surface, ForestSurface):
        z = jnp.where(surface.encoding.column == column[:, None], 0, surface.encoding(centre))
        value = _in_forests(surface, z, feature)
    else:
        value = jnp.take_along_axis(_in_boosted(surface, centre), feature[:, :, None], 1)
        value = _where_known(feature, value)
    value = value.astype(centre.dtype)
    return value[:, :-1] - value[:, -1:]


def all_level_changes(
    surface: ResponseSurface,
    centre: Float[Array, "m p"],
    columns: Int[np.ndarray, " c"],
    heights: Int[np.ndarray, " c"],
) -> Float[Array, "m c l 2"]:
    """The same for every level of all these categories; what lies beyond a height is any number."""
    m, c, tallest = len(centre), len(columns), int(max(heights))
    if isinstance(surface, BoostedTreesSurface):
        level = np.minimum(np.arange(tallest), heights[:, None] - 1)
        value = _in_boosted(surface, centre).astype(centre.dtype)
        feature = jnp.asarray(surface.encoding.of_level)[columns]
        every = feature[jnp.arange(c)[:, None], level]
        there = _where_known(every, value[:, every])
        own = feature[jnp.arange(c), centre[:, columns].astype(jnp.int32)]
        here = _where_known(own, jnp.take_along_axis(value, own[:, :, None], 1))
        return there - here[:, :, None]
    slot = np.repeat(np.arange(c), heights)
    level = np.concatenate([np.arange(height) for height in heights])
    if isinstance(surface, ForestSurface | RidgeSurface):
        rows, column = jnp.repeat(centre, c, axis=0), jnp.tile(jnp.asarray(columns), m)
        each = jnp.broadcast_to(jnp.arange(tallest), (m * c, tallest))
        each = jnp.minimum(each, jnp.tile(jnp.asarray(heights - 1), m)[:, None])
        found = level_changes(surface, rows, column, each, jnp.ones(each.shape, bool))
        return found.reshape(m, c, tallest, 2)
    moved = jnp.repeat(centre[:, None], len(level), axis=1)
    moved = moved.at[:, np.arange(len(level)), columns[slot]].set(level.astype(moved.dtype))
    there = surface(moved.reshape(-1, centre.shape[1])).reshape(m, len(level), 2)
    change = there - surface(centre)[:, None]
    return jnp.zeros((m, c, tallest, 2), change.dtype).at[:, slot, level].set(change)


def _in_forests(
    surface: ForestSurface, z: Float[Array, "m f"], feature: Int[Array, "m k"]
) -> Float[Array, "m k 2"]:
    """What each level adds where its category has none."""
    on, nan = jnp.ones((*feature.shape, 1), z.dtype), jnp.full(feature.shape, jnp.nan, z.dtype)
    arms = (surface.control, surface.treated)
    lines = [nan if f is None else f.lines(z, feature, on)[:, :, 0] for f in arms]
    return _where_known(feature, jnp.stack(lines, axis=2))


def _in_boosted(surface: BoostedTreesSurface, centre: Float[Array, "m p"]) -> Float[Array, "m f 2"]:
    """What each level adds where its category has none; 0 for the features that are no level.

    A tree is asked twice for each of its levels, without it and with it, the nodes of other
    covariates standing where the centre puts them.
    """
    encoding = surface.encoding
    z, levels = encoding(centre), jnp.asarray(encoding.level >= 0)
    column = jnp.asarray(encoding.column)

    def arm(one: Boosted) -> Float[Array, "f m"]:
        trees, nodes = one.trees, one.trees.feature.shape[1]
        here = bins_of(z, one.cuts, surface.ordered)
        off, on = binned(jnp.stack([jnp.zeros_like(z[0]), jnp.ones_like(z[0])]), one.cuts).T
        terms, count = _levels_of_trees(one, levels)

        def add(i: Array, table: Float[Array, "f m"]) -> Float[Array, "f m"]:
            tree = Trees(*(a[terms[i] // nodes] for a in trees))
            moving = tree.feature[terms[i] % nodes]
            own = levels[tree.feature] & (column[tree.feature] == column[moving])

            def value(node: int, there: bool) -> Array:
                if node >= nodes:
                    return tree.leaf[node - nodes]
                feature, cut = tree.feature[node], tree.cut[node]
                switched = jnp.where((feature == moving) & there, on[feature], off[feature])
                right = jnp.where(own[node], switched, here[feature]) > cut
                return jnp.where(right, value(2 * node + 2, there), value(2 * node + 1, there))

            change = value(0, True) - value(0, False)
            return table.at[moving].add(change)

        none = jnp.zeros((z.shape[1], z.shape[0]), trees.leaf.dtype)
        table = lax.fori_loop(0, count, add, none)
        known = jnp.where(jnp.isnan(one.level), jnp.nan, 0)  # NaN for an arm that is not fitted
        return table + jnp.where(levels, one.slope, 0)[:, None] + known

    return jnp.transpose(lax.map(arm, surface.arms), (2, 1, 0))


def _levels_of_trees(
    one: Boosted, levels: Bool[Array, " f"]
) -> tuple[Int[Array, " s"], Int[Array, ""]]:
    """Nodes (tree times nodes of a tree + node) with a level that is new in the tree, first."""
    feature, nodes = one.trees.feature, jnp.arange(one.trees.feature.shape[1])
    splits = _splits(one) & levels[feature]
    same = (feature[:, :, None] == feature[:, None]) & splits[:, None]
    new = splits & ~(same & (nodes < nodes[:, None])).any(-1)
    return jnp.argsort(~new.ravel(), stable=True), new.sum()


def _splits(one: Boosted) -> Bool[Array, "t s"]:
    """Which nodes of the grown trees split."""
    grown = jnp.arange(len(one.trees.cut)) < one.grown
    return (one.trees.cut <= one.cuts.shape[-1]) & grown[:, None]


def _features(
    encoding: Encoding, column: Int[Array, " m"], level: Int[Array, "m k"]
) -> Int[Array, "m k"]:
    """The feature of a level of a category; -1 for a level that the surface does not know."""
    return jnp.asarray(encoding.of_level)[column[:, None], level]


def _where_known(feature: Int[Array, "*k"], value: Float[Array, "*m 2"]) -> Float[Array, "*m 2"]:
    """0 for a level that the surface does not know, which has no feature."""
    return jnp.where((feature < 0)[..., None], 0, value)


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
    splits = jax.vmap(_splits)(arms)
    return (arms.slope != 0).any(0).at[arms.trees.feature].max(splits)
