"""Gradient boosting of one arm: members side by side, two starts, a joint early stop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8, UInt32

from jcausal.surfaces.boosted_trees._binned_tree import (
    BoostingSettings,
    HeapTrees,
    binned,
    cut_points,
    grow,
    tree_values,
)
from jcausal.surfaces.boosted_trees._starting_lines import StartingLines, starting_lines

WINDOW = 32_768  # rows that one tree looks at, at most; the next tree takes the next ones


class BoostingSizes(NamedTuple):
    """What fixes the shapes.

    - `members` of the ensemble, and folds.
    - `rounds`: trees of a member, at most.
    - `depth` of a tree.
    - `bins` of a feature, at most.
    """

    members: int
    rounds: int
    depth: int
    bins: int


class BoostingRows(NamedTuple):
    """The rows of one arm.

    - `z` (n, f): features, or before they are encoded the covariates (n, p).
    - `y` (n,), `weight` (n,): outcome and sampling weight, 0 in padding.
    - `fold` (n,): the member that does not see the row.
    - `draw` (n,), then `row` (n, 2): what puts the rows in a random order.
    """

    z: Float[Array, "n f"]
    y: Float[Array, " n"]
    weight: Float[Array, " n"]
    fold: Int[Array, " n"]
    draw: Float[Array, " n"]
    row: UInt32[Array, "n 2"]


class StandardRows(NamedTuple):
    """Rows with outcomes of mean 0 and sd 1, and the way back.

    - `rows`: n of them.
    - `level` (), `spread` (): mean and sd of the outcome as given.
    """

    rows: BoostingRows
    level: Float[Array, ""]
    spread: Float[Array, ""]


class BoostedArm(NamedTuple):
    """BoostedArm trees on top of a line, for one arm, in the outcome's units.

    f(z) = level + z slope + sum of the first `grown` trees on the bins that `cuts` make of z.

    - `trees`: t of them, room for all rounds of all members.
    - `grown` (): how many of them count.
    - `cuts` (f, c): the cut points of each feature in order, ended with +inf.
    - `level` (), `slope` (f,): the line; slopes of 0 where the mean was the better start.
    - `noise` (): mean squared residual, each row foretold by the member that did not see it.
    """

    trees: HeapTrees
    grown: Int[Array, ""]
    cuts: Float[Array, "f c"]
    level: Float[Array, ""]
    slope: Float[Array, " f"]
    noise: Float[Array, ""]


class BoostingState(NamedTuple):
    """Boosters in growth: two starts (the mean, a line) by k members.

    - `trees` (rounds, 2, k): those grown so far.
    - `fitted` (2, k, n): what each booster foretells of all rows.
    - `best` (2,): the least error of each start so far.
    - `kept` (2,): the number of rounds that had it.
    - `round` (): rounds done.
    """

    trees: HeapTrees
    fitted: Float[Array, "2 k n"]
    best: Float[Array, " 2"]
    kept: Int[Array, " 2"]
    round: Int[Array, ""]


def boost(
    rows: BoostingRows, key: PRNGKeyArray, settings: BoostingSettings, sizes: BoostingSizes
) -> BoostedArm:
    """Fit one arm: k members, each without the rows of its fold, from the better of two starts.

    Members grow side by side, one tree a round; the number of rounds is the one at which the
    squared error of all rows, each foretold by the member that did not see it, is least.
    """
    standard = _standard(_in_order(rows))
    rows = standard.rows
    begun = starting_lines(rows.z, rows.y, rows.weight, rows.fold, sizes.members)
    cuts = cut_points(rows.z, rows.weight, sizes.bins)
    state = _rounds(rows, binned(rows.z, cuts), begun, key, settings, sizes)
    return _better(state, cuts, begun, standard, sizes.members)


def _in_order(rows: BoostingRows) -> BoostingRows:
    """Rows of positive weight first, in the order of their draws."""
    order = jnp.lexsort((rows.row[:, 1], rows.row[:, 0], rows.draw, rows.weight <= 0))
    return BoostingRows(*(a[order] for a in rows))


def _standard(rows: BoostingRows) -> StandardRows:
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
    return StandardRows(standard, level, spread)


def _errors(rows: BoostingRows, fitted: Float[Array, "2 k n"]) -> Float[Array, " 2"]:
    """Weighted sum of squares of each start, each row foretold by the member without it."""
    apart = jnp.arange(fitted.shape[1])[:, None] == rows.fold
    square = rows.weight * jnp.square(rows.y - fitted)
    return jnp.where(apart, square, 0).sum((1, 2))


def _rounds(
    rows: BoostingRows,
    bins: UInt8[Array, "f n"],
    begun: StartingLines,
    key: PRNGKeyArray,
    settings: BoostingSettings,
    sizes: BoostingSizes,
) -> BoostingState:
    """Grow until neither start has bettered its error for `patience` rounds."""
    n = len(rows.y)
    used, size = (rows.weight > 0).sum(), min(n, WINDOW)
    member, line = jnp.tile(jnp.arange(sizes.members), 2), jnp.repeat(jnp.arange(2), sizes.members)

    def one_round(state: BoostingState) -> BoostingState:
        mine = jax.random.fold_in(key, state.round)
        first = jnp.minimum(
            (state.round * size) % jnp.maximum(used, 1), jnp.maximum(used - size, 0)
        )
        part = BoostingRows(*(lax.dynamic_slice_in_dim(a, first, size) for a in rows))
        some = lax.dynamic_slice_in_dim(bins, first, size, axis=1)
        drawn = _drawn(mine, size, jnp.where(used <= size, settings.share, 1), sizes.members)

        def booster(at: tuple[Array, Array, Array]) -> tuple[HeapTrees, Array]:
            k, fitted, growing = at

            def more() -> tuple[HeapTrees, Array]:
                seen = drawn[k] & (part.fold != k)
                residual = part.y - lax.dynamic_slice_in_dim(fitted, first, size)
                weight = jnp.where(seen, part.weight, 0)
                tree = grow(some, residual, weight, settings, sizes.depth, sizes.bins)
                return tree, fitted + tree_values(bins, tree, sizes.depth)

            def rest() -> tuple[HeapTrees, Array]:
                return HeapTrees(*(jnp.zeros_like(a[0, 0, 0]) for a in state.trees)), fitted

            return lax.cond(growing, more, rest)

        growing = (state.round - state.kept < settings.patience)[line]
        flat = state.fitted.reshape(-1, n)
        grown, flat = lax.map(booster, (member, flat, growing))
        fitted = flat.reshape(2, -1, n)
        trees = HeapTrees(
            *(a.at[state.round].set(b.reshape(a.shape[1:])) for a, b in zip(state.trees, grown))
        )
        error = _errors(rows, fitted)
        better = error < state.best
        done = state.round + 1
        kept = jnp.where(better, done, state.kept)
        return BoostingState(trees, fitted, jnp.where(better, error, state.best), kept, done)

    return lax.while_loop(
        lambda s: (s.round < sizes.rounds) & (s.round - s.kept < settings.patience).any(),
        one_round,
        _before_any_round(rows, begun, sizes),
    )


def _before_any_round(
    rows: BoostingRows, begun: StartingLines, sizes: BoostingSizes
) -> BoostingState:
    """Both starts with room for all trees, and none grown."""
    booster, nodes = (sizes.rounds, 2, sizes.members), 2**sizes.depth - 1
    none = jnp.zeros((*booster, nodes), jnp.int32)
    trees = HeapTrees(none, none, jnp.zeros((*booster, nodes + 1), rows.y.dtype))
    fitted = jnp.stack([begun.level[:, None] + jnp.zeros_like(begun.fitted), begun.fitted])
    kept = jnp.zeros(2, jnp.int32)
    return BoostingState(trees, fitted, _errors(rows, fitted), kept, jnp.int32(0))


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
    state: BoostingState,
    cuts: Float[Array, "f c"],
    begun: StartingLines,
    standard: StandardRows,
    members: int,
) -> BoostedArm:
    """The start of the lower error, its trees up to the best round, in the outcome's units."""
    rows, level, spread = standard
    line = jnp.argmin(state.best)
    trees = HeapTrees(*(a[:, line].reshape(-1, a.shape[-1]) for a in state.trees))
    count = state.kept[line] * members
    kept = jnp.arange(len(trees.leaf)) < count
    leaf = jnp.where(kept[:, None], trees.leaf * spread / members, 0)
    slope = jnp.where(line == 1, begun.slope.mean(0), 0)
    above = jnp.where(line == 1, begun.intercept, begun.level).mean()
    noise = state.best[line] / jnp.maximum((rows.weight > 0).sum(), 1) * spread**2
    good = jnp.isfinite(noise) & jnp.isfinite(rows.z).all()
    return BoostedArm(
        trees._replace(leaf=leaf),
        count,
        cuts,
        jnp.where(good, level + spread * above, jnp.nan),
        spread * slope,
        jnp.where(good, noise, jnp.nan),
    )
