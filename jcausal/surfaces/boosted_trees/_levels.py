"""What each level of a category adds to a sum of boosted trees."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces.boosted_trees._boosting import BoostedArm
from jcausal.surfaces.boosted_trees._evaluation import (
    bins_of,
    bins_of_levels,
    first_splits,
    leaf_reached,
    nan_if_not_fitted,
    tree_and_feature,
)


def level_values(
    arms: BoostedArm, encoding: Encoding, centre: Float[Array, "m p"], ordered: int
) -> Float[Array, "m f 2"]:
    """What each level adds where its category has none; 0 for the features that are no level.

    A tree is asked twice for each of its levels, without it and with it, the nodes of other
    covariates standing where the centre puts them.
    """
    z, levels = encoding(centre), jnp.asarray(encoding.level >= 0)
    column = jnp.asarray(encoding.column)

    def arm(one: BoostedArm) -> Float[Array, "f m"]:
        here, (off, on) = bins_of(z, one.cuts, ordered), bins_of_levels(one.cuts)
        splits = first_splits(one, levels)

        def add(i: Array, table: Float[Array, "f m"]) -> Float[Array, "f m"]:
            tree, moving = tree_and_feature(one.trees, splits.place[i])
            own = levels[tree.feature] & (column[tree.feature] == column[moving])

            def value(there: bool) -> Array:
                def goes_right(node: int) -> Bool[Array, " m"]:
                    feature, cut = tree.feature[node], tree.cut[node]
                    switched = jnp.where((feature == moving) & there, on[feature], off[feature])
                    return jnp.where(own[node], switched, here[feature]) > cut

                return leaf_reached(tree, goes_right)

            return table.at[moving].add(value(True) - value(False))

        none = jnp.zeros((z.shape[1], z.shape[0]), one.trees.leaf.dtype)
        table = lax.fori_loop(0, splits.many, add, none)
        return table + jnp.where(levels, one.slope, 0)[:, None] + nan_if_not_fitted(one)

    return jnp.transpose(lax.map(arm, arms), (2, 1, 0))
