"""The split of every node of a level: cuts tried in the order of their reductions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching.trees._cut_sides import (
    CutsTried,
    OpenNodes,
    list_smaller_sides,
    products_of_sides,
)
from jcausal.matching.trees._growth_state import GrowthRules, TreeGrowth
from jcausal.matching.trees._least_squares import (
    Quality,
    over_chunks,
    own_products,
    precision_of,
    put_rows,
    quality,
)
from jcausal_kernels import split_scan

CUTS = 4  # splits of a node that are fitted at a time


class ChosenSplits(NamedTuple):
    """The split of each slot, and the regressions of its children.

    `feature` (s,), -1 for none; `cut` the largest code that goes left, `above` the smallest that
    goes right; `sides` (s, 2) left and right.
    """

    feature: Int[Array, " s"]
    cut: Int[Array, " s"]
    above: Int[Array, " s"]
    sides: Quality


class RankedCuts(NamedTuple):
    """The best cut of each feature in every slot, the largest reductions first; (s, r) each.

    `feature`, `cut` and `above` as in `ChosenSplits`; `reduction` relative to the slot's standard
    deviation, 0 where there is no cut.
    """

    feature: Int[Array, "s r"]
    cut: Int[Array, "s r"]
    above: Int[Array, "s r"]
    reduction: Float[Array, "s r"]


def choose_splits(growth: TreeGrowth) -> ChosenSplits:
    """Try the cuts of each slot, some at a time, until one stands."""
    ranked = _ranked_cuts(growth)
    width = 1 if growth.rules.search == "best" else min(CUTS, ranked.feature.shape[1])
    ranked = _padded(ranked, width)

    def pending(done: Array, chosen: ChosenSplits) -> Bool[Array, " s"]:
        left = jnp.pad(ranked.reduction > 0, [(0, 0), (0, 1)])[:, done]
        return (growth.frontier.node >= 0) & (chosen.feature < 0) & left

    none = _no_splits(growth)
    nodes = _open_nodes(growth, pending(jnp.zeros((), jnp.int32), none))

    def more(carry: tuple[Array, ChosenSplits]) -> tuple[Array, ChosenSplits]:
        done, chosen = carry
        take = lambda a: lax.dynamic_slice_in_dim(a, done, width, axis=1)  # noqa: E731
        some = RankedCuts(*map(take, ranked))
        return done + width, _chosen_of(growth, nodes, some, pending(done, chosen), chosen)

    start = (jnp.zeros((), jnp.int32), none)
    return lax.while_loop(lambda carry: pending(*carry).any(), more, start)[1]


def _ranked_cuts(growth: TreeGrowth) -> RankedCuts:
    """The cuts that may be tried: of every feature, or the very best alone."""
    sample = growth.sample
    found = split_scan(
        sample.codes,
        growth.slot,
        sample.z[:, -1],
        sample.weight,
        nodes=growth.frontier.node.shape[0],
        heights=sample.heights,
        minimum=growth.rules.min_controls,
        order=growth.sorted,
    )
    rank = jnp.argsort(-found.level, axis=1, stable=True).astype(jnp.int32)
    rank = rank[:, :1] if growth.rules.search == "best" else rank
    cut, above, level = (
        jnp.take_along_axis(a, rank, axis=1) for a in (found.cut, found.above, found.level)
    )
    return RankedCuts(rank, cut.astype(jnp.int32), above.astype(jnp.int32), level)


def _padded(ranked: RankedCuts, width: int) -> RankedCuts:
    """With cuts that are none, up to a multiple of the width."""
    more = -ranked.feature.shape[1] % width
    return RankedCuts(*(jnp.pad(a, [(0, 0), (0, more)]) for a in ranked))


def _open_nodes(growth: TreeGrowth, open_: Bool[Array, " s"]) -> OpenNodes:
    """The nodes of all slots, with the cross products of those that are open."""
    at = jnp.maximum(growth.frontier.node, 0)
    start, units = growth.nodes.start[at], growth.nodes.units[at]
    wide = growth.sample.z.shape[1] + 1

    def some(grams: Array, slot: Array, there: Array) -> Array:
        own = own_products(
            growth.sample, growth.order, start[slot], jnp.where(there, units[slot], 0)
        )
        return put_rows(grams, own, slot, there)

    grams = jnp.zeros((at.shape[0], wide, wide), growth.sample.z.dtype)
    return OpenNodes(start, units, growth.frontier.quality, over_chunks(open_, grams, some))


def _chosen_of(
    growth: TreeGrowth,
    nodes: OpenNodes,
    ranked: RankedCuts,
    open_: Bool[Array, " s"],
    chosen: ChosenSplits,
) -> ChosenSplits:
    """The splits chosen so far, and of the open slots the first of some cuts that stands."""
    able = open_[:, None] & (ranked.reduction > 0)
    cuts, listed = list_smaller_sides(growth, nodes, ranked.feature, ranked.cut, able)

    def some(chosen: ChosenSplits, slot: Array, there: Array) -> ChosenSplits:
        own, tried = jax.tree.map(lambda a: a[slot], (nodes, cuts))
        stands, sides = _fitted(growth, own, tried, listed)
        first, each = lax.argmax(stands, 1, jnp.int32), jnp.arange(slot.shape[0])
        pick = lambda a: a[slot, first]  # noqa: E731
        made = ChosenSplits(
            pick(ranked.feature),
            pick(ranked.cut),
            pick(ranked.above),
            Quality(*(a[each, first] for a in sides)),
        )
        return put_rows(chosen, made, slot, stands.any(1) & there)

    return over_chunks(open_, chosen, some)


def _fitted(
    growth: TreeGrowth, nodes: OpenNodes, cuts: CutsTried, listed: Int[Array, " m"]
) -> tuple[Bool[Array, "k c"], Quality]:
    """Which of the cuts of some nodes stand, and the regressions of their sides (k, c, 2)."""
    grams = products_of_sides(growth, nodes, cuts, listed)
    units = jnp.stack([cuts.left, nodes.units[:, None] - cuts.left], axis=2)
    sides = quality(grams, units, growth.rules.free)
    return _stands(nodes.quality, sides, growth.rules) & (cuts.units > 0), sides


def _stands(parent: Quality, sides: Quality, rules: GrowthRules) -> Bool[Array, "k c"]:
    """Whether the regressions of both sides (k, c, 2) are better than their parent's (k,)."""
    tie = precision_of(sides.adjusted.dtype)[1]
    parent = Quality(*(a[:, None] for a in parent))
    if rules.criterion == "adjusted_r2":
        return (sides.adjusted > parent.adjusted[..., None] + tie).any(2)
    df = parent.units - rules.free - 1
    able = (sides.units > rules.free + 1).all(2)
    both = sides.residual.sum(2) / jnp.where(able, df - rules.free - 1, 1)
    return able & (both < parent.residual / jnp.where(able, df, 1) * (1 - tie))


def _no_splits(growth: TreeGrowth) -> ChosenSplits:
    """No split of any slot."""
    slots = growth.frontier.node.shape[0]
    none, two = jnp.full(slots, -1, jnp.int32), jnp.zeros((slots, 2), growth.sample.z.dtype)
    return ChosenSplits(none, none, none, Quality(jnp.zeros((slots, 2), jnp.int32), two, two))
