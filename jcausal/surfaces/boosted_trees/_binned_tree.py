"""One regression tree on binned features: the bins, the histograms, the splits, the values.

A tree of depth d has 2^d - 1 nodes in heap order (the children of node i are 2 i + 1 and
2 i + 2) and 2^d leaves. A row goes right at a node when its bin is above the node's cut; a node
that does not split sends all rows left.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

BYTES = 2**25  # of a block's indicators where histograms are matrix products, at most


class HeapTrees(NamedTuple):
    """HeapTrees of k = 2^depth - 1 nodes and l = 2^depth leaves, any number of them (leading axes).

    - `feature` (k,): whose bin each node looks at.
    - `cut` (k,): the last bin that goes left; the number of bins at a node that does not split.
    - `leaf` (l,): the values.
    """

    feature: Int[Array, "*t k"]
    cut: Int[Array, "*t k"]
    leaf: Float[Array, "*t l"]


class BoostingSettings(NamedTuple):
    """The options of `jc.BoostedTrees` that may be traced: a number each, as documented there."""

    learning_rate: Float[Array, ""]
    penalty: Float[Array, ""]
    least: Float[Array, ""]
    share: Float[Array, ""]
    patience: Int[Array, ""]


def cut_points(
    z: Float[Array, "n f"], weight: Float[Array, " n"], bins: int
) -> Float[Array, "f c"]:
    """At most bins - 1 cuts of each feature, midpoints of neighbouring values, then infinities.

    All midpoints where there are few enough values. Else cuts lie evenly by the mean of two
    measures: the weight up to a value (a value of more than its share counting no more than that)
    and the way to it from the least value, so that a long tail is not one bin. Rows of weight 0
    have no say.
    """

    def one(column: Float[Array, " n"]) -> Float[Array, " c"]:
        value, w = lax.sort((jnp.where(weight > 0, column, jnp.inf), weight), num_keys=2)
        after = jnp.append(value[1:], jnp.inf)
        ends = (after > value) & jnp.isfinite(value)
        last = ends & ~jnp.isfinite(after)
        top = jnp.where(last, value, -jnp.inf).max()
        way = (value - value[0]) / jnp.where(top > value[0], top - value[0], 1)
        share = (_capped_shares(w, ends, bins) + jnp.where(ends, way, 0)) / 2
        place = jnp.floor(share * bins * (1 - 1e-6))
        behind = lax.cummin(jnp.where(ends, place, bins), reverse=True)
        crossed = jnp.append(behind[1:], bins) > place
        chosen = ends & ~last & ((ends.sum() <= bins) | crossed)
        at = jnp.searchsorted(jnp.cumsum(chosen), jnp.arange(1, bins))
        low, high = value.at[at].get(mode="clip"), after.at[at].get(mode="clip")
        middle = low + (high - low) / 2
        middle = jnp.where(middle < high, middle, low)
        return jnp.where(at < len(value), middle, jnp.inf)

    return lax.map(one, z.T)


def _capped_shares(w: Float[Array, " n"], ends: Bool[Array, " n"], bins: int) -> Float[Array, " n"]:
    """Share of the weight up to each end of a run, a run counting at most 1 / bins of it."""
    running = jnp.cumsum(w)
    before = lax.cummax(jnp.where(ends, running, 0))
    mass = running - jnp.append(jnp.zeros(1, w.dtype), before[:-1])
    capped = jnp.cumsum(jnp.where(ends, jnp.minimum(mass, running[-1] / bins), 0))
    return capped / jnp.where(capped[-1] > 0, capped[-1], 1)


def binned(z: Float[Array, "n f"], cuts: Float[Array, "f c"]) -> UInt8[Array, "f n"]:
    """How many cuts of its feature each value is above."""
    return (z.T[:, :, None] > cuts[:, None]).sum(2, dtype=jnp.uint8)


def next_places(
    bins: UInt8[Array, "f n"],
    place: Int[Array, " n"],
    feature: Int[Array, " k"],
    cut: Int[Array, " k"],
) -> Int[Array, " n"]:
    """From the node of one level that each row is at (counted from the left) to the next level."""
    right = jnp.zeros(place.shape, bool)
    for k in range(len(cut)):
        right = jnp.where(place == k, bins[feature[k]] > cut[k], right)
    return 2 * place + right


def of_level(level: int) -> slice:
    """The nodes of a level in heap order."""
    return slice(2**level - 1, 2 ** (level + 1) - 1)


def tree_values(bins: UInt8[Array, "f n"], tree: HeapTrees, depth: int) -> Float[Array, " n"]:
    """The value of one tree for each row."""
    place = jnp.zeros(bins.shape[1], jnp.int32)
    for level in range(depth):
        here = of_level(level)
        place = next_places(bins, place, tree.feature[here], tree.cut[here])
    value = jnp.broadcast_to(tree.leaf[0], place.shape)
    for k in range(1, 2**depth):
        value = jnp.where(place == k, tree.leaf[k], value)
    return value


def histograms(
    bins: UInt8[Array, "f n"], node: Int[Array, " n"], values: Float[Array, "n d"], size: int
) -> Float[Array, "f s d"]:
    """Sums of the values over the rows of each (node, bin), s = `size` of them, by feature."""

    def scatter(place: Array, values: Array) -> Array:
        return lax.map(lambda at: jax.ops.segment_sum(values, at, size), place)

    def products(place: Array, values: Array) -> Array:
        return sums_by_products(place, values, size)

    place = node + bins.astype(jnp.int32)
    return lax.platform_dependent(place, values, cpu=scatter, default=products)


def sums_by_products(
    place: Int[Array, "f n"], values: Float[Array, "n d"], size: int
) -> Float[Array, "f s d"]:
    """Histograms as matrix products with 0/1 indicators, a block of rows at a time."""
    (f, n), d = place.shape, values.shape[1]
    rows = max(1, min(n, BYTES // (f * size * values.dtype.itemsize)))
    more = -n % rows
    place = jnp.pad(place, [(0, 0), (0, more)], constant_values=-1)
    place = jnp.moveaxis(place.reshape(f, -1, rows), 1, 0)
    values = jnp.pad(values, [(0, more), (0, 0)]).reshape(-1, rows, d)

    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        inside = (block[0][:, :, None] == jnp.arange(size)).astype(total.dtype)
        part = jnp.einsum("fns,nd->fsd", inside, block[1], precision=lax.Precision.HIGHEST)
        return total + part, None

    return lax.scan(add, jnp.zeros((f, size, d), values.dtype), (place, values))[0]


def grow(
    bins: UInt8[Array, "f n"],
    residual: Float[Array, " n"],
    weight: Float[Array, " n"],
    settings: BoostingSettings,
    depth: int,
    most: int,
) -> HeapTrees:
    """One tree, level by level, each node split where the squared error falls most.

    The gain of a split is G_L^2 / (W_L + penalty) + G_R^2 / (W_R + penalty) less the same of the
    node, G and W the sums of weighted residuals and of weights; a leaf is worth
    learning_rate G / (W + penalty). Ties go to the lower feature, then to the lower cut.
    """
    values = jnp.stack([weight * residual, weight], 1)
    upto, sums = jnp.triu(jnp.ones((most, most), values.dtype)), jnp.zeros((0, 2), values.dtype)
    features, cuts, place = [], [], jnp.zeros(len(weight), jnp.int32)
    for level in range(depth):
        if level:
            place = next_places(bins, place, features[-1], cuts[-1])
        found = histograms(bins, place * most, values, 2**level * most)
        found = found.reshape(bins.shape[0], 2**level, most, 2)
        low = jnp.einsum("fkbd,bc->kfcd", found, upto, precision=lax.Precision.HIGHEST)
        feature, cut, sums = _best_splits(low, settings)
        features, cuts = [*features, feature], [*cuts, cut]
    worth = sums[:, 0] / jnp.where(sums[:, 1] > 0, sums[:, 1] + settings.penalty, 1)
    return HeapTrees(
        jnp.concatenate(features), jnp.concatenate(cuts), settings.learning_rate * worth
    )


def _best_splits(
    low: Float[Array, "k f b 2"], settings: BoostingSettings
) -> tuple[Int[Array, " k"], Int[Array, " k"], Float[Array, "2*k 2"]]:
    """Feature, cut and the children's sums of the best split of each node."""
    nodes, _, most, _ = low.shape
    whole = low[:, :, -1:]
    high = whole - low

    def score(sums: Array) -> Array:
        return jnp.square(sums[..., 0]) / jnp.maximum(sums[..., 1] + settings.penalty, 1e-12)

    fits = (low[..., 1] >= settings.least) & (high[..., 1] >= settings.least)
    gain = jnp.where(fits, score(low) + score(high) - score(whole), -jnp.inf)
    best = jnp.argmax(gain.reshape(nodes, -1), axis=1)
    splits = jnp.take_along_axis(gain.reshape(nodes, -1), best[:, None], 1)[:, 0] > 0
    left = jnp.take_along_axis(low.reshape(nodes, -1, 2), best[:, None, None], 1)[:, 0]
    left = jnp.where(splits[:, None], left, whole[:, 0, 0])
    both = jnp.stack([left, jnp.where(splits[:, None], whole[:, 0, 0] - left, 0)], 1)
    feature = jnp.where(splits, best // most, 0).astype(jnp.int32)
    cut = jnp.where(splits, best % most, most).astype(jnp.int32)
    return feature, cut, both.reshape(-1, 2)
