"""From a grown tree to its nodes and the regressions of its leaves."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal.matching.trees._growth_state import TreeGrowth
from jcausal.matching.trees._leaf_fits import LeafFits
from jcausal.matching.trees._least_squares import (
    least_squares,
    over_chunks,
    own_products,
    put_rows,
    quality,
)
from jcausal.matching.trees._nodes import TreeNodes
from jcausal.matching.trees._prepare import PlaceValues
from jcausal_kernels import segmented_scan


def leaf_numbers(growth: TreeGrowth, leaves: int) -> tuple[Int[Array, " k"], Int[Array, " l"]]:
    """Leaves from left to right: each node's number (-1: none), and each leaf's node (-1: none)."""
    grown = growth.nodes
    at = jnp.arange(grown.units.shape[0], dtype=jnp.int32)
    leaf = (at < growth.used) & (grown.feature < 0)
    beyond = jnp.iinfo(jnp.int32).max
    order = jnp.argsort(jnp.where(leaf, grown.start, beyond), stable=True).astype(jnp.int32)
    rank = jnp.zeros_like(at).at[order].set(at)
    listed = jnp.pad(order, (0, leaves))[:leaves]
    there = jnp.arange(leaves) < leaf.sum()
    return jnp.where(leaf, rank, -1), jnp.where(there, listed, -1)


def cut_between(below: Array, above: Array) -> Array:
    """Half-way between two values; the lower one where rounding would reach the upper."""
    middle = below + (above - below) / 2
    return jnp.where(middle < above, middle, below)


def nodes_of(growth: TreeGrowth, values: PlaceValues, leaves: int) -> TreeNodes:
    """Splits by value."""
    grown = growth.nodes
    feature = jnp.maximum(grown.feature, 0)
    below = jnp.asarray(values.top)[feature, jnp.maximum(grown.cut, 0)]
    above = jnp.asarray(values.bottom)[feature, jnp.maximum(grown.above, 0)]
    inner = grown.feature >= 0
    left = jnp.maximum(grown.left, 0)
    return TreeNodes(
        grown.feature,
        jnp.where(inner, cut_between(below, above), 0),
        jnp.where(inner, left, 0),
        jnp.where(inner, left + 1, 0),
        leaf_numbers(growth, leaves)[0],
    )


def leaf_of_units(growth: TreeGrowth, listed: Int[Array, " l"]) -> Int[Array, " n"]:
    """The leaf of every unit that the tree was grown on; the number of leaves for others."""
    n, leaves = growth.order.shape[0], listed.shape[0]
    first = jnp.where(listed >= 0, growth.nodes.start[listed], n)
    marks = jnp.zeros(n, jnp.int32).at[first].set(1, mode="drop")
    there = jnp.arange(n) < growth.nodes.units[0]
    place = jnp.where(there, jnp.cumsum(marks) - 1, leaves)
    return jnp.zeros(n, jnp.int32).at[growth.order].set(place.astype(jnp.int32))


def fits_of(growth: TreeGrowth, features: Float[Array, "n f"], leaves: int) -> LeafFits:
    """The regression of every leaf in the features' own units.

    Of leaves that are not there rows of 0, with a residual variance of NaN.
    """
    listed = leaf_numbers(growth, leaves)[1]
    start, count = growth.nodes.start[listed], growth.nodes.units[listed]

    def some(parts: dict[str, Array], leaf: Array, there: Array) -> dict[str, Array]:
        own = _regressed(growth, start[leaf], jnp.where(there, count[leaf], 0))
        return put_rows(parts, own, leaf, there)

    parts = over_chunks(listed >= 0, _nothing(features, leaves), some)
    low, high = ranges(features, leaf_of_units(growth, listed), leaves)
    return LeafFits(**parts, lower=low, upper=high)


def _regressed(
    growth: TreeGrowth, start: Int[Array, " k"], n: Int[Array, " k"]
) -> dict[str, Array]:
    """The fields of `LeafFits` but the ranges, for leaves with n units of the order each.

    The adjusted R2 waits for the slopes (0 rss is no 0 to a compiler, which knows of NaN): two
    batched factorisations at a time can stop a CPU with two threads for ever.
    """
    gram = own_products(growth.sample, growth.order, start, n)
    found = least_squares(growth.sample, gram, growth.order[start])
    df = n - found.rank - 1
    mean_square = found.rss / jnp.where(found.weight > 0, found.weight, 1)
    after = gram + 0 * found.rss[:, None, None]
    return dict(
        controls=n,
        weight=found.weight,
        centre=found.centre,
        level=found.level,
        coef=found.slope,
        root=found.root,
        rank=found.rank,
        residual_variance=jnp.where(df > 0, mean_square * n / jnp.maximum(df, 1), jnp.nan),
        adjusted_r2=quality(after, n, growth.rules.free).adjusted,
    )


def _nothing(features: Float[Array, "n f"], leaves: int) -> dict[str, Array]:
    """The same fields of leaves that are not there."""
    f, dtype = features.shape[1], features.dtype
    each, row = jnp.zeros(leaves, dtype), jnp.zeros((leaves, f), dtype)
    none = jnp.zeros(leaves, jnp.int32)
    parts = dict(controls=none, weight=each, centre=row, level=each, coef=row, rank=none)
    parts |= dict(root=jnp.zeros((leaves, f, f), dtype))
    return parts | dict(residual_variance=each + jnp.nan, adjusted_r2=each)


def ranges(
    features: Float[Array, "n f"], place: Int[Array, " n"], leaves: int
) -> tuple[Float[Array, "l f"], Float[Array, "l f"]]:
    """Smallest and largest value of each feature by leaf; 0 for a leaf without units."""

    def scatter(features: Array, place: Array) -> tuple[Array, Array]:
        low = jax.ops.segment_min(features, place, leaves + 1)
        return low[:leaves], jax.ops.segment_max(features, place, leaves + 1)[:leaves]

    def scan(features: Array, place: Array) -> tuple[Array, Array]:
        order = jnp.argsort(place, stable=True)
        at = place[order]
        new = jnp.concatenate([jnp.ones(1, bool), at[1:] != at[:-1]])
        low = segmented_scan(jnp.minimum, new, features[order], jnp.inf)
        high = segmented_scan(jnp.maximum, new, features[order], -jnp.inf)
        end = jnp.maximum(jnp.searchsorted(at, jnp.arange(leaves), side="right") - 1, 0)
        return low[end], high[end]

    low, high = lax.platform_dependent(features, place, cpu=scatter, default=scan)
    there = jnp.zeros(leaves + 1, bool).at[place].set(True)[:leaves, None]
    return jnp.where(there, low, 0), jnp.where(there, high, 0)
