"""Gradient boosting on binned features: bins, one tree, and rounds with a joint early stop.

A tree of depth d has 2^d - 1 nodes in heap order (the children of node i are 2 i + 1 and
2 i + 2) and 2^d leaves. A row goes right at a node when its bin is above the node's cut; a node
that does not split sends all rows left.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8, UInt32

from jcausal.outcome._linear_start import Start, starts

WINDOW = 32_768  # rows that one tree looks at, at most; the next tree takes the next ones
BYTES = 2**25  # of a block's indicators where histograms are matrix products, at most


class Trees(NamedTuple):
    """Any number of trees (leading axes): features and cuts of the nodes, values of the leaves."""

    feature: Int[Array, "*t k"]
    cut: Int[Array, "*t k"]
    leaf: Float[Array, "*t l"]


class Plan(NamedTuple):
    """How to boost: numbers that may be traced."""

    learning_rate: Float[Array, ""]
    penalty: Float[Array, ""]
    least: Float[Array, ""]
    share: Float[Array, ""]
    patience: Int[Array, ""]


class Shape(NamedTuple):
    """What fixes the shapes: members, most rounds, depth of a tree, most bins of a feature."""

    members: int
    rounds: int
    depth: int
    bins: int


class Rows(NamedTuple):
    """The rows of one arm; padding has weight 0. `draw`, then `row`, gives their random order."""

    z: Float[Array, "n f"]
    y: Float[Array, " n"]
    weight: Float[Array, " n"]
    fold: Int[Array, " n"]
    draw: Float[Array, " n"]
    row: UInt32[Array, "n 2"]


class Boosted(NamedTuple):
    """Boosted trees on top of a line, for one arm, in the outcome's units.

    f(z) = level + z slope + sum of the first `count` trees on the bins that `cuts` make of z.
    """

    trees: Trees
    count: Int[Array, ""]
    cuts: Float[Array, "f c"]
    level: Float[Array, ""]
    slope: Float[Array, " f"]
    noise: Float[Array, ""]


class _State(NamedTuple):
    """Boosters in growth: two starts (the mean, a line) by k members."""

    trees: Trees
    fitted: Float[Array, "2 k n"]
    best: Float[Array, " 2"]
    kept: Int[Array, " 2"]
    round: Int[Array, ""]


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
        before = lax.cummax(jnp.where(ends, place, 0))
        crossed = place > jnp.append(jnp.zeros(1, place.dtype), before[:-1])
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


def leaf_places(
    bins: UInt8[Array, "f n"], feature: Int[Array, " k"], cut: Int[Array, " k"], depth: int
) -> Int[Array, " n"]:
    """The node at a depth (counted from the left) that each row comes to."""
    place = jnp.zeros(bins.shape[1], jnp.int32)
    for level in range(depth):
        right = jnp.zeros(bins.shape[1], bool)
        for k in range(2**level):
            node = 2**level - 1 + k
            right = jnp.where(place == k, bins[feature[node]] > cut[node], right)
        place = 2 * place + right
    return place


def tree_values(bins: UInt8[Array, "f n"], tree: Trees, depth: int) -> Float[Array, " n"]:
    """The value of one tree for each row."""
    place = leaf_places(bins, tree.feature, tree.cut, depth)
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

    place = node + bins.astype(jnp.int32)
    return lax.platform_dependent(place, values, cpu=scatter, default=_by_products(size))


def _by_products(size: int):
    """Histograms as matrix products with 0/1 indicators, a block of rows at a time."""

    def products(place: Int[Array, "f n"], values: Float[Array, "n d"]) -> Float[Array, "f s d"]:
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

    return products


def grow(
    bins: UInt8[Array, "f n"],
    residual: Float[Array, " n"],
    weight: Float[Array, " n"],
    plan: Plan,
    depth: int,
    most: int,
) -> Trees:
    """One tree, level by level, each node split where the squared error falls most.

    The gain of a split is G_L^2 / (W_L + penalty) + G_R^2 / (W_R + penalty) less the same of the
    node, G and W the sums of weighted residuals and of weights; a leaf is worth
    learning_rate G / (W + penalty). Ties go to the lower feature, then to the lower cut.
    """
    values = jnp.stack([weight * residual, weight], 1)
    feature, cut = jnp.zeros(2**depth - 1, jnp.int32), jnp.full(2**depth - 1, most, jnp.int32)
    upto, sums = jnp.triu(jnp.ones((most, most), values.dtype)), jnp.zeros((0, 2), values.dtype)
    for level in range(depth):
        nodes = 2**level
        place = leaf_places(bins, feature, cut, level)
        found = histograms(bins, place * most, values, nodes * most)
        found = found.reshape(bins.shape[0], nodes, most, 2)
        low = jnp.einsum("fkbd,bc->kfcd", found, upto, precision=lax.Precision.HIGHEST)
        chosen, at, sums = _best_splits(low, plan)
        here = slice(nodes - 1, 2 * nodes - 1)
        feature, cut = feature.at[here].set(chosen), cut.at[here].set(at)
    worth = sums[:, 0] / jnp.where(sums[:, 1] > 0, sums[:, 1] + plan.penalty, 1)
    return Trees(feature, cut, plan.learning_rate * worth)


def _best_splits(
    low: Float[Array, "k f b 2"], plan: Plan
) -> tuple[Int[Array, " k"], Int[Array, " k"], Float[Array, "2*k 2"]]:
    """Feature, cut and the children's sums of the best split of each node."""
    nodes, _, most, _ = low.shape
    whole = low[:, :, -1:]
    high = whole - low

    def score(sums: Array) -> Array:
        return jnp.square(sums[..., 0]) / jnp.maximum(sums[..., 1] + plan.penalty, 1e-12)

    fits = (low[..., 1] >= plan.least) & (high[..., 1] >= plan.least)
    gain = jnp.where(fits, score(low) + score(high) - score(whole), -jnp.inf)
    best = jnp.argmax(gain.reshape(nodes, -1), axis=1)
    splits = jnp.take_along_axis(gain.reshape(nodes, -1), best[:, None], 1)[:, 0] > 0
    left = jnp.take_along_axis(low.reshape(nodes, -1, 2), best[:, None, None], 1)[:, 0]
    left = jnp.where(splits[:, None], left, whole[:, 0, 0])
    both = jnp.stack([left, jnp.where(splits[:, None], whole[:, 0, 0] - left, 0)], 1)
    feature = jnp.where(splits, best // most, 0).astype(jnp.int32)
    cut = jnp.where(splits, best % most, most).astype(jnp.int32)
    return feature, cut, both.reshape(-1, 2)


def boost(rows: Rows, key: PRNGKeyArray, plan: Plan, shape: Shape) -> Boosted:
    """Fit one arm: k members, each without the rows of its fold, from the better of two starts.

    Members grow side by side, one tree a round; the number of rounds is the one at which the
    squared error of all rows, each foretold by the member that did not see it, is least.
    """
    rows = _in_order(rows)
    rows, level, spread = _standard(rows)
    begun = starts(rows.z, rows.y, rows.weight, rows.fold, shape.members)
    cuts = cut_points(rows.z, rows.weight, shape.bins)
    state = _rounds(rows, binned(rows.z, cuts), begun, key, plan, shape)
    return _better(state, cuts, begun, level, spread, shape, rows)


def _in_order(rows: Rows) -> Rows:
    """Rows of positive weight first, in the order of their draws."""
    order = jnp.lexsort((rows.row[:, 1], rows.row[:, 0], rows.draw, rows.weight <= 0))
    return Rows(*(a[order] for a in rows))


def _standard(rows: Rows) -> tuple[Rows, Float[Array, ""], Float[Array, ""]]:
    """Outcomes with mean 0 and sd 1, weights with mean 1, zeros in padding."""
    use = rows.weight > 0
    weight = rows.weight * (use.sum() / jnp.where(use.any(), rows.weight.sum(), 1))
    total = jnp.maximum(use.sum(), 1).astype(weight.dtype)
    y = jnp.where(use, rows.y, 0)
    level = (weight * y).sum() / total
    spread = jnp.sqrt((weight * jnp.square(y - level)).sum() / total)
    spread = jnp.where(spread > 16 * jnp.finfo(y.dtype).eps * jnp.abs(y).max(), spread, 1)
    z = jnp.where(use[:, None], rows.z, 0)
    standard = rows._replace(z=z, y=jnp.where(use, (y - level) / spread, 0), weight=weight)
    return standard, level, spread


def _errors(rows: Rows, fitted: Float[Array, "2 k n"]) -> Float[Array, " 2"]:
    """Weighted sum of squares of each start, each row foretold by the member without it."""
    apart = jnp.arange(fitted.shape[1])[:, None] == rows.fold
    square = rows.weight * jnp.square(rows.y - fitted)
    return jnp.where(apart, square, 0).sum((1, 2))


def _rounds(
    rows: Rows,
    bins: UInt8[Array, "f n"],
    begun: Start,
    key: PRNGKeyArray,
    plan: Plan,
    shape: Shape,
) -> _State:
    """Grow until neither start has bettered its error for `patience` rounds."""
    n, nodes = len(rows.y), 2**shape.depth - 1
    none = jnp.zeros((shape.rounds, 2, shape.members, nodes), jnp.int32)
    leaf = jnp.zeros((shape.rounds, 2, shape.members, nodes + 1), rows.y.dtype)
    used, size = (rows.weight > 0).sum(), min(n, WINDOW)
    member, line = jnp.tile(jnp.arange(shape.members), 2), jnp.repeat(jnp.arange(2), shape.members)

    def one_round(state: _State) -> _State:
        mine = jax.random.fold_in(key, state.round)
        first = jnp.minimum(
            (state.round * size) % jnp.maximum(used, 1), jnp.maximum(used - size, 0)
        )
        part = Rows(*(lax.dynamic_slice_in_dim(a, first, size) for a in rows))
        some = lax.dynamic_slice_in_dim(bins, first, size, axis=1)
        drawn = _drawn(mine, size, jnp.where(used <= size, plan.share, 1), shape.members)

        def booster(at: tuple[Array, Array, Array]) -> tuple[Trees, Array]:
            k, fitted, growing = at

            def more() -> tuple[Trees, Array]:
                seen = drawn[k] & (part.fold != k)
                residual = part.y - lax.dynamic_slice_in_dim(fitted, first, size)
                weight = jnp.where(seen, part.weight, 0)
                tree = grow(some, residual, weight, plan, shape.depth, shape.bins)
                return tree, fitted + tree_values(bins, tree, shape.depth)

            def rest() -> tuple[Trees, Array]:
                return Trees(none[0, 0, 0], none[0, 0, 0], leaf[0, 0, 0]), fitted

            return lax.cond(growing, more, rest)

        growing = (state.round - state.kept < plan.patience)[line]
        flat = state.fitted.reshape(-1, n)
        grown, flat = lax.map(booster, (member, flat, growing))
        fitted = flat.reshape(2, -1, n)
        trees = Trees(
            *(a.at[state.round].set(b.reshape(a.shape[1:])) for a, b in zip(state.trees, grown))
        )
        error = _errors(rows, fitted)
        better = error < state.best
        done = state.round + 1
        kept = jnp.where(better, done, state.kept)
        return _State(trees, fitted, jnp.where(better, error, state.best), kept, done)

    first = jnp.stack([begun.level[:, None] + jnp.zeros_like(begun.fitted), begun.fitted])
    state = _State(
        Trees(none, none, leaf), first, _errors(rows, first), jnp.zeros(2, jnp.int32), jnp.int32(0)
    )
    return lax.while_loop(
        lambda s: (s.round < shape.rounds) & (s.round - s.kept < plan.patience).any(),
        one_round,
        state,
    )


def _drawn(
    key: PRNGKeyArray, size: int, share: Float[Array, ""], members: int
) -> Bool[Array, "k w"]:
    """A random share of the places for each member, drawn so that padding has no say.

    One number a place, turned on by a part of the circle from member to member.
    """
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(jnp.arange(size))
    turned = jnp.arange(members, dtype=jnp.uint32)[:, None] * jnp.uint32(2**32 // members)
    bits = (jax.random.key_data(keys)[:, 0] + turned) >> 8
    return bits.astype(jnp.float32) < (share * 2**24).astype(jnp.float32)


def _better(
    state: _State,
    cuts: Float[Array, "f c"],
    begun: Start,
    level: Float[Array, ""],
    spread: Float[Array, ""],
    shape: Shape,
    rows: Rows,
) -> Boosted:
    """The start of the lower error, its trees up to the best round, in the outcome's units."""
    line = jnp.argmin(state.best)
    trees = Trees(*(a[:, line].reshape(-1, a.shape[-1]) for a in state.trees))
    count = state.kept[line] * shape.members
    kept = jnp.arange(len(trees.leaf)) < count
    leaf = jnp.where(kept[:, None], trees.leaf * spread / shape.members, 0)
    slope = jnp.where(line == 1, begun.slope.mean(0), 0)
    above = jnp.where(line == 1, begun.intercept, begun.level).mean()
    noise = state.best[line] / jnp.maximum((rows.weight > 0).sum(), 1) * spread**2
    good = jnp.isfinite(noise) & jnp.isfinite(rows.z).all()
    return Boosted(
        trees._replace(leaf=leaf),
        count,
        cuts,
        jnp.where(good, level + spread * above, jnp.nan),
        spread * slope,
        jnp.where(good, noise, jnp.nan),
    )
