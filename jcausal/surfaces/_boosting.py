"""Gradient boosting of one arm: members side by side, two starts, a joint early stop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8, UInt32

from jcausal.surfaces._boosted_tree import Plan, Trees, binned, cut_points, grow, tree_values
from jcausal.surfaces._linear_start import Start, starts

WINDOW = 32_768  # rows that one tree looks at, at most; the next tree takes the next ones


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

    f(z) = level + z slope + sum of the first `grown` trees on the bins that `cuts` make of z.
    """

    trees: Trees
    grown: Int[Array, ""]
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
