"""The growth of an M5 tree, level by level: pure functions on arrays of fixed shape."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jcausal.matching.trees._choose import choose, scan
from jcausal.matching.trees._fit import Design, Quality, quality, whole
from jcausal.matching.trees._growth import NOWHERE, Frontier, Grown, Growth, Limits, Plan
from jcausal_kernels import with_many_values


def begin(
    design: Design, use: Bool[Array, " n"], limits: Limits, plan: Plan, nodes: int, slots: int
) -> Growth:
    """One node with all units in use."""
    order = jnp.argsort(~use, stable=True).astype(jnp.int32)
    count = use.sum().astype(jnp.int32)
    kept = design.codes[:, jnp.asarray(with_many_values(plan.heights), jnp.int32)].T
    top = max(plan.heights, default=1)
    arranged = order_of(jnp.where(use, kept, top), top + 1)
    gram = whole(design, order, jnp.zeros(1, jnp.int32), count[None], plan.blocks)
    own = quality(gram, count[None], limits.free)
    pad = partial(jnp.pad, pad_width=(0, slots - 1))
    root = jnp.where((count >= 2 * limits.minimum) & (limits.depth > 0), 0, -1)
    frontier = Frontier(
        jnp.full(slots, -1, jnp.int32).at[0].set(root), Quality(*(pad(a) for a in own))
    )
    none = jnp.full(nodes, -1, jnp.int32)
    tree = Grown(none, none, none, none, 0 * none, jnp.zeros_like(none).at[0].set(count))
    slot = jnp.where(use & (root == 0), 0, NOWHERE).astype(jnp.int32)
    one = jnp.ones((), jnp.int32)
    return Growth(tree, one, 0 * one, frontier, order, arranged, slot)


def order_of(codes: Int[Array, "g n"], heights: int) -> Int[Array, "g n"]:
    """Units by code, stable: sorted as one number, code n + unit, where an integer holds it."""
    n = codes.shape[1]
    whole_number = jax.dtypes.canonicalize_dtype(jnp.int64)
    if heights * n > jnp.iinfo(whole_number).max:
        return jnp.argsort(codes, axis=1, stable=True).astype(jnp.int32)
    key = codes.astype(whole_number) * n + jnp.arange(n, dtype=whole_number)
    return (lax.sort(key, dimension=1, is_stable=False) % n).astype(jnp.int32)


def unfinished(growth: Growth) -> Bool[Array, ""]:
    """Whether a node may still be split."""
    return (growth.frontier.node >= 0).any()


def _parted(order: Array, left: Array, split: Array, start: Array, count: Array) -> Array:
    """The order with each split node's left units first; all arrays but the first by position."""
    left = left.astype(jnp.int32)
    before = jnp.cumsum(left) - left
    rank = before - before[jnp.minimum(start, order.shape[0] - 1)]
    place = jnp.arange(order.shape[0], dtype=jnp.int32)
    to = start + jnp.where(left > 0, rank, count + place - start - rank)
    to = jnp.where(split, to, place).astype(jnp.int32)
    return jnp.zeros_like(order).at[to].set(order, unique_indices=True)


def grow_level(design: Design, growth: Growth, limits: Limits, plan: Plan) -> Growth:
    """Split every node of the frontier that can be split."""
    slots, n = growth.frontier.node.shape[0], growth.order.shape[0]
    tried = scan(design, growth, limits, plan)
    chosen = choose(design, growth, limits, plan, tried)
    split, node = chosen.feature >= 0, growth.frontier.node
    capacity = growth.nodes.units.shape[0]
    child = growth.used + 2 * (jnp.cumsum(split, dtype=jnp.int32) - 1)
    parent = jnp.where(split, node, capacity)
    start, counts = growth.nodes.start[jnp.maximum(node, 0)], chosen.sides.units

    nodes = growth.nodes
    put = lambda old, new: old.at[parent].set(new, mode="drop")  # noqa: E731
    nodes = nodes._replace(
        feature=put(nodes.feature, chosen.feature),
        cut=put(nodes.cut, chosen.cut),
        above=put(nodes.above, chosen.above),
        left=put(nodes.left, child),
    )
    both = jnp.stack([child, child + 1], axis=1)
    where = jnp.where(split[:, None], both, capacity).ravel()
    starts = jnp.stack([start, start + counts[:, 0]], axis=1).ravel()
    nodes = nodes._replace(
        start=nodes.start.at[where].set(starts, mode="drop"),
        units=nodes.units.at[where].set(counts.ravel(), mode="drop"),
    )

    pad = partial(jnp.pad, pad_width=(0, 1))
    own = jnp.minimum(growth.slot, slots)
    code = design.codes[jnp.arange(n), pad(jnp.maximum(chosen.feature, 0))[own]]
    left = (code <= pad(chosen.cut)[own]) & pad(split)[own]

    def part(order: Array) -> Array:
        at = own[order]
        return _parted(order, left[order], pad(split)[at], pad(start)[at], pad(counts[:, 0])[at])

    orders = jax.vmap(part)(jnp.concatenate([growth.order[None], growth.sorted]))
    able = split[:, None] & (counts >= 2 * limits.minimum) & (growth.depth + 1 < limits.depth)
    able = able.ravel()
    place = jnp.where(able, jnp.cumsum(able, dtype=jnp.int32) - 1, slots)
    empty = jnp.full(slots, -1, jnp.int32)
    sides = Quality(*(a.ravel() for a in chosen.sides))
    frontier = Frontier(
        empty.at[place].set(both.ravel(), mode="drop"),
        Quality(*(jnp.zeros(slots, a.dtype).at[place].set(a, mode="drop") for a in sides)),
    )
    beyond = jnp.where(able, place, NOWHERE).reshape(slots, 2)
    beyond = jnp.pad(beyond, [(0, 1), (0, 0)], constant_values=NOWHERE)[own]
    slot = jnp.where(left, beyond[:, 0], beyond[:, 1])
    return Growth(
        nodes,
        growth.used + 2 * split.sum(dtype=jnp.int32),
        growth.depth + 1,
        frontier,
        orders[0],
        orders[1:],
        slot.astype(jnp.int32),
    )


def grow_whole(
    design: Design, use: Bool[Array, " n"], limits: Limits, plan: Plan, nodes: int, slots: int
) -> Growth:
    """All levels in one loop, for use under jit and vmap."""
    start = begin(design, use, limits, plan, nodes, slots)
    return lax.while_loop(unfinished, lambda g: grow_level(design, g, limits, plan), start)
