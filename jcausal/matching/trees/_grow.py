"""The growth of an M5 tree, level by level: pure functions on arrays of fixed shape."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jcausal.matching.trees._choose_split import ChosenSplits, choose_splits
from jcausal.matching.trees._growth_state import (
    NOWHERE,
    Frontier,
    GrowingNodes,
    GrowthRoom,
    GrowthRules,
    TreeGrowth,
)
from jcausal.matching.trees._least_squares import Quality, ScaledSample, own_products, quality
from jcausal_kernels import with_many_values


def begin(
    sample: ScaledSample, use: Bool[Array, " n"], rules: GrowthRules, room: GrowthRoom
) -> TreeGrowth:
    """One node with all units in use."""
    order = jnp.argsort(~use, stable=True).astype(jnp.int32)
    count = use.sum().astype(jnp.int32)
    many = jnp.asarray(with_many_values(sample.heights), jnp.int32)
    top = max(sample.heights, default=1)
    arranged = order_of(jnp.where(use, sample.codes[:, many].T, top), top + 1)
    gram = own_products(sample, order, jnp.zeros(1, jnp.int32), count[None])
    own = quality(gram, count[None], rules.free)
    pad = partial(jnp.pad, pad_width=(0, room.slots - 1))
    root = jnp.where((count >= 2 * rules.min_controls) & (rules.max_depth > 0), 0, -1)
    none = jnp.full(room.nodes, -1, jnp.int32)
    one = jnp.ones((), jnp.int32)
    return TreeGrowth(
        sample=sample,
        rules=rules,
        nodes=GrowingNodes(none, none, none, none, 0 * none, (0 * none).at[0].set(count)),
        used=one,
        depth=0 * one,
        frontier=Frontier(
            jnp.full(room.slots, -1, jnp.int32).at[0].set(root), Quality(*(pad(a) for a in own))
        ),
        order=order,
        sorted=arranged,
        slot=jnp.where(use & (root == 0), 0, NOWHERE).astype(jnp.int32),
    )


def order_of(codes: Int[Array, "g n"], heights: int) -> Int[Array, "g n"]:
    """Units by code, stable: sorted as one number, code n + unit, where an integer holds it."""
    n = codes.shape[1]
    whole_number = jax.dtypes.canonicalize_dtype(jnp.int64)
    if heights * n > jnp.iinfo(whole_number).max:
        return jnp.argsort(codes, axis=1, stable=True).astype(jnp.int32)
    key = codes.astype(whole_number) * n + jnp.arange(n, dtype=whole_number)
    return (lax.sort(key, dimension=1, is_stable=False) % n).astype(jnp.int32)


def unfinished(growth: TreeGrowth) -> Bool[Array, ""]:
    """Whether a node may still be split."""
    return (growth.frontier.node >= 0).any()


class Families(NamedTuple):
    """What a level's splits make of the node in each slot.

    `split` (s,): whether it has children; `start` (s,): where its units stand in the order. Of the
    left and the right child (s, 2): `child` its number, `units`, and `slot` that of the next
    frontier, `NOWHERE` for one that cannot be split.
    """

    split: Bool[Array, " s"]
    start: Int[Array, " s"]
    child: Int[Array, "s 2"]
    units: Int[Array, "s 2"]
    slot: Int[Array, "s 2"]


def grow_level(growth: TreeGrowth) -> TreeGrowth:
    """Split every node of the frontier that can be split."""
    chosen = choose_splits(growth)
    families = _families(growth, chosen)
    own = jnp.minimum(growth.slot, families.split.shape[0])  # one more for units of no slot
    left = _goes_left(growth, chosen, own)
    orders = _parted_orders(growth, families, own, left)
    slots = jnp.pad(families.slot, [(0, 1), (0, 0)], constant_values=NOWHERE)[own]
    return TreeGrowth(
        sample=growth.sample,
        rules=growth.rules,
        nodes=_with_children(growth, chosen, families),
        used=growth.used + 2 * families.split.sum(dtype=jnp.int32),
        depth=growth.depth + 1,
        frontier=_next_frontier(chosen, families),
        order=orders[0],
        sorted=orders[1:],
        slot=jnp.where(left, slots[:, 0], slots[:, 1]).astype(jnp.int32),
    )


def _families(growth: TreeGrowth, chosen: ChosenSplits) -> Families:
    """Number the children, and give slots to those that may be split in turn."""
    split, units = chosen.feature >= 0, chosen.sides.units
    child = growth.used + 2 * (jnp.cumsum(split, dtype=jnp.int32) - 1)
    deeper = growth.depth + 1 < growth.rules.max_depth
    able = split[:, None] & (units >= 2 * growth.rules.min_controls) & deeper
    slot = jnp.cumsum(able.ravel(), dtype=jnp.int32).reshape(able.shape) - 1
    return Families(
        split,
        growth.nodes.start[jnp.maximum(growth.frontier.node, 0)],
        jnp.stack([child, child + 1], axis=1),
        units,
        jnp.where(able, slot, NOWHERE),
    )


def _with_children(growth: TreeGrowth, chosen: ChosenSplits, families: Families) -> GrowingNodes:
    """All nodes, the level's splits and the new children among them."""
    nodes, beyond = growth.nodes, growth.nodes.units.shape[0]
    parent = jnp.where(families.split, growth.frontier.node, beyond)
    child = jnp.where(families.split[:, None], families.child, beyond)
    start = jnp.stack([families.start, families.start + families.units[:, 0]], axis=1)
    put = lambda old, place, new: old.at[place].set(new, mode="drop")  # noqa: E731
    return GrowingNodes(
        feature=put(nodes.feature, parent, chosen.feature),
        cut=put(nodes.cut, parent, chosen.cut),
        above=put(nodes.above, parent, chosen.above),
        left=put(nodes.left, parent, families.child[:, 0]),
        start=put(nodes.start, child, start),
        units=put(nodes.units, child, families.units),
    )


def _next_frontier(chosen: ChosenSplits, families: Families) -> Frontier:
    """The children that may be split, in their slots."""

    def seated(values: Array, empty: int) -> Array:
        seats = jnp.full(families.split.shape[0], empty, values.dtype)
        return seats.at[families.slot].set(values, mode="drop")

    return Frontier(
        seated(families.child, -1), Quality(*(seated(side, 0) for side in chosen.sides))
    )


def _goes_left(
    growth: TreeGrowth, chosen: ChosenSplits, own: Int[Array, " n"]
) -> Bool[Array, " n"]:
    """Which units are in the left side of a split; `own` is the slot of each."""
    feature, cut = (jnp.pad(a, (0, 1), constant_values=-1) for a in (chosen.feature, chosen.cut))
    column = feature[own]
    code = growth.sample.codes[jnp.arange(own.shape[0]), jnp.maximum(column, 0)]
    return (code <= cut[own]) & (column >= 0)


def _parted_orders(
    growth: TreeGrowth, families: Families, own: Int[Array, " n"], left: Bool[Array, " n"]
) -> Int[Array, "g1 n"]:
    """The order and the sorted ones, with each split node's left units before its right ones.

    Units of a node keep their order on either side; every order has the nodes in the same places.
    """
    pad = partial(jnp.pad, pad_width=(0, 1))
    split, start, many = (pad(a) for a in (families.split, families.start, families.units[:, 0]))
    at = own[growth.order]  # of each place, in all orders alike
    place, first = jnp.arange(own.shape[0], dtype=jnp.int32), start[at]
    before_first = jnp.minimum(first, place.shape[0] - 1)

    def part(order: Array) -> Array:
        is_left = left[order]
        before = jnp.cumsum(is_left, dtype=jnp.int32) - is_left
        rank = before - before[before_first]
        to = first + jnp.where(is_left, rank, many[at] + place - first - rank)
        to = jnp.where(split[at], to, place).astype(jnp.int32)
        return jnp.zeros_like(order).at[to].set(order, unique_indices=True)

    return jax.vmap(part)(jnp.concatenate([growth.order[None], growth.sorted]))


def grow_whole(
    sample: ScaledSample, use: Bool[Array, " n"], rules: GrowthRules, room: GrowthRoom
) -> TreeGrowth:
    """All levels in one loop, for use under jit and vmap."""
    return lax.while_loop(unfinished, grow_level, begin(sample, use, rules, room))
