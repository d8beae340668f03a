"""The growth of an M5 tree, level by level: pure functions on arrays of fixed shape."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jcausal.match.tree._fit import (
    Blocks,
    Design,
    Part,
    Quality,
    cross_products,
    precision_of,
    quality,
    whole,
)
from jcausal_kernels import Splits, many_rungs, running_sum, split_scan

Search = Literal["best", "first_passing"]
Criterion = Literal["adjusted_r2", "residual_variance"]
CHUNK = 32  # nodes whose regressions are fitted at a time
CUTS = 4  # splits of a node that are fitted at a time
NOWHERE = 2**30  # the slot of a unit whose node is finished


class Plan(NamedTuple):
    """How a tree is grown: static under jit.

    `rungs` more than any code of each feature.
    """

    search: Search
    criterion: Criterion
    rungs: tuple[int, ...]
    blocks: Blocks


class Limits(NamedTuple):
    """Units that a child needs, levels below the root, free slopes of a regression."""

    minimum: Int[Array, ""]
    depth: Int[Array, ""]
    free: Int[Array, ""]


class Grown(NamedTuple):
    """All nodes so far: splits (feature -1: none yet), left child (the right follows), units."""

    feature: Int[Array, " k"]
    cut: Int[Array, " k"]
    above: Int[Array, " k"]
    left: Int[Array, " k"]
    start: Int[Array, " k"]
    units: Int[Array, " k"]


class Frontier(NamedTuple):
    """The nodes of one level that may be split, by slot; `node` -1 marks an empty slot."""

    node: Int[Array, " s"]
    quality: Quality


class Growth(NamedTuple):
    """Where the growth stands.

    `order` (n,) units so that those of a node stand together; `sorted` (g, n) the same for each
    feature that is kept sorted, by its rungs; `slot` (n,) each unit's slot in the frontier.
    """

    nodes: Grown
    used: Int[Array, ""]
    depth: Int[Array, ""]
    frontier: Frontier
    order: Int[Array, " n"]
    sorted: Int[Array, "g n"]
    slot: Int[Array, " n"]


class Chosen(NamedTuple):
    """The split of each slot (feature -1: none), and the children's regressions."""

    feature: Int[Array, " s"]
    cut: Int[Array, " s"]
    above: Int[Array, " s"]
    sides: Quality


def begin(
    design: Design, use: Bool[Array, " n"], limits: Limits, plan: Plan, nodes: int, slots: int
) -> Growth:
    """One node with all units in use."""
    n = use.shape[0]
    order = jnp.argsort(~use, stable=True).astype(jnp.int32)
    count = use.sum().astype(jnp.int32)
    kept = design.codes[:, jnp.asarray(many_rungs(plan.rungs), jnp.int32)].T
    keys = (jnp.broadcast_to(~use, kept.shape), kept)
    place = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), kept.shape)
    arranged = lax.sort((*keys, place), dimension=1, num_keys=2, is_stable=True)[2]
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


def unfinished(growth: Growth) -> Bool[Array, ""]:
    """Whether a node may still be split."""
    return (growth.frontier.node >= 0).any()


def _scan(design: Design, growth: Growth, limits: Limits, plan: Plan) -> Splits:
    """The best cut of every feature in every slot."""
    return split_scan(
        design.codes,
        growth.slot,
        design.z[:, -1],
        design.weight,
        nodes=growth.frontier.node.shape[0],
        rungs=plan.rungs,
        minimum=limits.minimum,
        order=growth.sorted,
    )


def _stands(
    parent: Quality, sides: Quality, limits: Limits, criterion: Criterion
) -> Bool[Array, "k c"]:
    """Whether a split's regressions are good enough."""
    tie = precision_of(sides.adjusted.dtype)[1]
    parent = Quality(*(a[:, None] for a in parent))
    if criterion == "adjusted_r2":
        return (sides.adjusted > parent.adjusted[..., None] + tie).any(2)
    freedom = parent.units - limits.free - 1
    able = (sides.units > limits.free + 1).all(2)
    both = sides.residual.sum(2) / jnp.where(able, freedom - limits.free - 1, 1)
    return able & (both < parent.residual / jnp.where(able, freedom, 1) * (1 - tie))


def _attempt(
    design: Design,
    growth: Growth,
    limits: Limits,
    plan: Plan,
    slot: Int[Array, " k"],
    tried: Splits,
    features: Int[Array, "k c"],
) -> tuple[Chosen, Bool[Array, " k"]]:
    """Some features of some slots in their order: the first whose split stands, and whether any.

    A slot beyond the frontier holds nobody.
    """
    slots = growth.frontier.node.shape[0]
    own = jnp.minimum(slot, slots - 1)
    at = jnp.maximum(growth.frontier.node[own], 0)
    count = jnp.where(slot < slots, growth.nodes.units[at], 0)
    level, cut, above = (a[own[:, None], features] for a in (tried.level, tried.cut, tried.above))
    part = Part(growth.nodes.start[at], count, features, cut.astype(jnp.int32))
    sides = quality(*cross_products(design, growth.order, part, plan.blocks), limits.free)
    parent = Quality(*(a[own] for a in growth.frontier.quality))
    stands = _stands(parent, sides, limits, plan.criterion) & (level > 0)
    first = stands.argmax(1)
    each = jnp.arange(slot.shape[0])
    sides = Quality(*(a[each, first] for a in sides))
    made = Chosen(
        features[each, first], part.cut[each, first], above.astype(jnp.int32)[each, first], sides
    )
    return made, stands.any(1) & (slot < slots)


def _choose(design: Design, growth: Growth, limits: Limits, plan: Plan, tried: Splits) -> Chosen:
    """Try the features of each slot in the order of their reductions until a split stands."""
    slots, features = tried.level.shape
    chunk = min(CHUNK, slots)
    width = 1 if plan.search == "best" else min(CUTS, features)
    last = 1 if plan.search == "best" else features
    rank = jnp.argsort(-tried.level, axis=1, stable=True).astype(jnp.int32)
    rank = jnp.pad(rank, [(0, 0), (0, -features % width)], mode="edge")
    every = jnp.arange(slots)

    def pending(r: Array, chosen: Chosen) -> Array:
        left = tried.level[every, rank[:, jnp.minimum(r, features - 1)]] > 0
        return (growth.frontier.node >= 0) & (chosen.feature < 0) & left & (r < last)

    def attempt(carry: tuple[Array, Chosen]) -> tuple[Array, Chosen]:
        r, chosen = carry
        open_ = pending(r, chosen)
        place = jnp.where(open_, running_sum(open_.astype(jnp.int32)) - 1, slots + chunk)
        listed = jnp.full(slots + chunk, slots).at[place].set(every, mode="drop")

        def some(carry: tuple[Array, Chosen]) -> tuple[Array, Chosen]:
            done, chosen = carry
            slot = lax.dynamic_slice_in_dim(listed, done, chunk)
            own = jnp.minimum(slot, slots - 1)
            which = lax.dynamic_slice_in_dim(rank[own], r, width, axis=1)
            made, found = _attempt(design, growth, limits, plan, slot, tried, which)
            to = jnp.where(found, slot, slots)
            put = lambda old, new: old.at[to].set(new, mode="drop")  # noqa: E731
            return done + chunk, jax.tree.map(put, chosen, made)

        start = (jnp.zeros((), jnp.int32), chosen)
        return r + width, lax.while_loop(lambda c: c[0] < open_.sum(), some, start)[1]

    none = jnp.full(slots, -1, jnp.int32)
    two = jnp.zeros((slots, 2), design.z.dtype)
    sides = Quality(jnp.zeros((slots, 2), jnp.int32), two, two)
    start = (jnp.zeros((), jnp.int32), Chosen(none, none, none, sides))
    return lax.while_loop(lambda c: pending(*c).any(), attempt, start)[1]


def _parted(order: Array, left: Array, split: Array, start: Array, count: Array) -> Array:
    """The order with each split node's left units first; all arrays but the first by position."""
    left = left.astype(jnp.int32)
    before = running_sum(left) - left
    rank = before - before[jnp.minimum(start, order.shape[0] - 1)]
    place = jnp.arange(order.shape[0], dtype=jnp.int32)
    to = start + jnp.where(left > 0, rank, count + place - start - rank)
    to = jnp.where(split, to, place).astype(jnp.int32)
    return jnp.zeros_like(order).at[to].set(order, unique_indices=True)


def grow_level(design: Design, growth: Growth, limits: Limits, plan: Plan) -> Growth:
    """Split every node of the frontier that can be split."""
    slots, n = growth.frontier.node.shape[0], growth.order.shape[0]
    tried = _scan(design, growth, limits, plan)
    chosen = _choose(design, growth, limits, plan, tried)
    split, node = chosen.feature >= 0, growth.frontier.node
    capacity = growth.nodes.units.shape[0]
    child = growth.used + 2 * (running_sum(split.astype(jnp.int32)) - 1)
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

    able = split[:, None] & (counts >= 2 * limits.minimum) & (growth.depth + 1 < limits.depth)
    able = able.ravel()
    place = jnp.where(able, running_sum(able.astype(jnp.int32)) - 1, slots)
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
        part(growth.order),
        jax.vmap(part)(growth.sorted),
        slot.astype(jnp.int32),
    )


def grow_whole(
    design: Design, use: Bool[Array, " n"], limits: Limits, plan: Plan, nodes: int, slots: int
) -> Growth:
    """All levels in one loop, for use under jit and vmap."""
    start = begin(design, use, limits, plan, nodes, slots)
    return lax.while_loop(unfinished, lambda g: grow_level(design, g, limits, plan), start)
