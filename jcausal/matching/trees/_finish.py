"""From a grown tree to its nodes and the regressions of its leaves."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal.matching.trees._fit import (
    Blocks,
    Design,
    moments,
    quality,
    solve,
    whole,
)
from jcausal.matching.trees._growth import CHUNK, Growth
from jcausal.matching.trees._prepare import FeatureCodes, Scaling
from jcausal.matching.trees._tree import Fits, Nodes
from jcausal_kernels import segmented_scan


def leaf_numbers(growth: Growth, leaves: int) -> tuple[Int[Array, " k"], Int[Array, " l"]]:
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


def nodes_of(growth: Growth, coded: FeatureCodes, leaves: int) -> Nodes:
    """Splits by value."""
    grown = growth.nodes
    feature = jnp.maximum(grown.feature, 0)
    below = jnp.asarray(coded.top)[feature, jnp.maximum(grown.cut, 0)]
    above = jnp.asarray(coded.bottom)[feature, jnp.maximum(grown.above, 0)]
    inner = grown.feature >= 0
    left = jnp.maximum(grown.left, 0)
    return Nodes(
        grown.feature,
        jnp.where(inner, cut_between(below, above), 0),
        jnp.where(inner, left, 0),
        jnp.where(inner, left + 1, 0),
        leaf_numbers(growth, leaves)[0],
    )


def leaf_of_units(growth: Growth, listed: Int[Array, " l"]) -> Int[Array, " n"]:
    """The leaf of every unit that the tree was grown on; the number of leaves for others."""
    n, leaves = growth.order.shape[0], listed.shape[0]
    first = jnp.where(listed >= 0, growth.nodes.start[listed], n)
    marks = jnp.zeros(n, jnp.int32).at[first].set(1, mode="drop")
    there = jnp.arange(n) < growth.nodes.units[0]
    place = jnp.where(there, jnp.cumsum(marks) - 1, leaves)
    return jnp.zeros(n, jnp.int32).at[growth.order].set(place.astype(jnp.int32))


def fits_of(
    design: Design,
    growth: Growth,
    features: Float[Array, "n f"],
    scaling: Scaling,
    free: Array,
    leaves: int,
    blocks: Blocks,
) -> Fits:
    """The regression of every leaf in the features' own units; `leaves` a multiple of the chunk.

    Chunks without a leaf are passed over: rows of 0, with a residual variance of NaN.
    The adjusted R2 waits for the slopes (0 rss is no 0 to a compiler, which knows of NaN): two
    batched factorisations at a time can stop a CPU with two threads for ever.
    """
    listed = leaf_numbers(growth, leaves)[1]
    chunk, f = min(CHUNK, leaves), features.shape[1]
    start = jnp.where(listed >= 0, growth.nodes.start[listed], 0)
    count = jnp.where(listed >= 0, growth.nodes.units[listed], 0)
    scale, y_scale = scaling.scale[:-1], scaling.scale[-1]

    def some(start: Array, n: Array) -> dict[str, Array]:
        gram = whole(design, growth.order, start, n, blocks)
        found = moments(gram)
        done, shift = solve(found), design.z[growth.order[start]]
        mean = (found.mean + shift) * scaling.scale + scaling.centre
        freedom = n - done.rank - 1
        per = done.rss / jnp.where(found.weight > 0, found.weight, 1) * n
        per = jnp.where(freedom > 0, per / jnp.maximum(freedom, 1), jnp.nan)
        return dict(
            controls=n,
            weight=found.weight,
            centre=mean[:, :-1],
            level=mean[:, -1],
            coef=done.slope * (y_scale / scale),
            root=done.root / scale[:, None],
            rank=done.rank,
            sigma2=per * y_scale**2,
            adjusted_r2=quality(gram + 0 * done.rss[:, None, None], n, free).adjusted,
        )

    def more(carry: tuple[Array, dict[str, Array]]) -> tuple[Array, dict[str, Array]]:
        done, parts = carry
        found = some(*(lax.dynamic_slice_in_dim(a, done, chunk) for a in (start, count)))
        put = partial(lax.dynamic_update_slice_in_dim, start_index=done, axis=0)
        return done + chunk, {name: put(parts[name], a) for name, a in found.items()}

    blank = jnp.zeros(leaves, features.dtype)
    row, none = jnp.zeros((leaves, f), features.dtype), jnp.zeros(leaves, jnp.int32)
    root = jnp.zeros((leaves, f, f), features.dtype)
    parts = dict(controls=none, weight=blank, centre=row, level=blank, coef=row, root=root)
    parts |= dict(rank=none, sigma2=blank + jnp.nan, adjusted_r2=blank)
    many, first = (listed >= 0).sum(), jnp.zeros((), jnp.int32)
    parts = lax.while_loop(lambda carry: carry[0] < many, more, (first, parts))[1]
    low, high = ranges(features, leaf_of_units(growth, listed), leaves)
    return Fits(**parts, lower=low, upper=high)


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
