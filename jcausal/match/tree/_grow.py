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
)
from jcausal_kernels import split_scan

Search = Literal["best", "first_passing"]
Criterion = Literal["adjusted_r2", "residual_variance"]
CHUNK = 32  # nodes whose regressions are fitted at a time
NOWHERE = 2**30  # the slot of a unit whose node is finished


class Plan(NamedTuple):
    """How a tree is grown: static under jit.

    `groups` of features with at most `rungs` values each, by number; a group with rungs 0 is kept
    sorted instead.
    """

    search: Search
    criterion: Criterion
    groups: tuple[tuple[tuple[int, ...], int], ...]
    blocks: Blocks


class Limits(NamedTuple):
    """Units that a child needs, levels below the root, free slopes of a regression."""

    minimum: Int[Array, ""]
    depth: Int[Array, ""]
    free: Int[Array, ""]


class Grown(NamedTuple):
    """All nodes so far: splits (feature -1: none yet), left child (the right one follows), units."""

    feature: Int[Array, " k"]
    cut: Int[Array, " k"]
    above: Int[Array, " k"]
    left: Int[Array, " k"]
    start: Int[Array, " k"]
    count: Int[Array, " k"]


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


def _parts_of(plan: Plan) -> tuple[list[tuple[list[int], int]], list[int]]:
    """Groups for histograms, and the features that are kept sorted."""
    few = [(list(features), rungs) for features, rungs in plan.groups if rungs]
    return few, [f for features, rungs in plan.groups if not rungs for f in features]


def sorted_features(plan: Plan) -> list[int]:
    """Features with too many values for a histogram."""
    return _parts_of(plan)[1]


def begin(
    design: Design, use: Bool[Array, " n"], limits: Limits, plan: Plan, nodes: int, slots: int
) -> Growth:
    """One node with all units in use."""
    n = use.shape[0]
    order = jnp.argsort(~use, stable=True).astype(jnp.int32)
    count = use.sum().astype(jnp.int32)
    kept = design.codes[:, jnp.asarray(sorted_features(plan), jnp.int32)].T
    keys = (jnp.broadcast_to(~use, kept.shape), kept)
    place = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), kept.shape)
    arranged = lax.sort((*keys, place), dimension=1, num_keys=2, is_stable=True)[2]
    zero = jnp.zeros(1, jnp.int32)
    grams, counts = cross_products(
        design, order, Part(zero, count[None], zero, zero - 1), plan.blocks
    )
    own = quality(grams[:, 1], counts[:, 1], limits.free)
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


def _scan(design: Design, growth: Growth, limits: Limits, plan: Plan) -> tuple[Array, Array, Array]:
    """Level, cut and next rung (s, f) of the best cut of every feature in every slot."""
    slots = growth.frontier.node.shape[0]
    few, many = _parts_of(plan)
    y, found, features = design.z[:, -1], [], []
    ask = partial(
        split_scan,
        node=growth.slot,
        y=y,
        weight=design.weight,
        nodes=slots,
        minimum=limits.minimum,
    )
    for group, rungs in few:
        found.append(ask(design.codes[:, jnp.asarray(group)], rungs=rungs))
        features += group
    if many:
        codes = design.codes[:, jnp.asarray(many)]
        found.append(ask(codes, rungs=codes.shape[0], order=growth.sorted))
        features += many
    back = jnp.argsort(jnp.asarray(features))
    parts = zip(*((s.level, s.cut, s.above) for s in found))
    level, cut, above = (jnp.concatenate(part, axis=1)[:, back] for part in parts)
    return level, cut.astype(jnp.int32), above.astype(jnp.int32)


def _stands(parent: Quality, sides: Quality, limits: Limits, criterion: Criterion) -> Bool[Array, " c"]:
    """Whether a split's regressions are good enough."""
    tie = precision_of(sides.adjusted.dtype)[1]
    if criterion == "adjusted_r2":
        return (sides.adjusted > parent.adjusted[:, None] + tie).any(1)
    freedom = parent.count - limits.free - 1
    able = (sides.count > limits.free + 1).all(1)
    both = sides.residual.sum(1) / jnp.where(able, freedom - limits.free - 1, 1)
    return able & (both < parent.residual / jnp.where(able, freedom, 1) * (1 - tie))


def _choose(
    design: Design,
    growth: Growth,
    limits: Limits,
    plan: Plan,
    level: Array,
    cut: Array,
    above: Array,
) -> Chosen:
    """Try the features of each slot in the order of their reductions until a split stands."""
    slots, features = level.shape
    chunk = min(CHUNK, slots)
    rank = jnp.argsort(-level, axis=1, stable=True).astype(jnp.int32)
    tries = 1 if plan.search == "best" else features
    node, every = growth.frontier.node, jnp.arange(slots)
    wide = jnp.pad(node, (0, chunk), constant_values=-1)

    def pending(done: Array, r: Array) -> Array:
        return (node >= 0) & ~done & (level[every, rank[:, jnp.minimum(r, features - 1)]] > 0)

    def attempt(carry: tuple[Array, Chosen]) -> tuple[Array, Chosen]:
        r, chosen = carry
        open_ = pending(chosen.feature >= 0, r)
        listed = jnp.where(open_, jnp.cumsum(open_) - 1, slots + chunk)
        listed = jnp.full(slots + chunk, slots).at[listed].set(every, mode="drop")

        def some(carry: tuple[Array, Chosen]) -> tuple[Array, Chosen]:
            done, chosen = carry
            slot = lax.dynamic_slice_in_dim(listed, done, chunk)
            own = jnp.minimum(slot, slots - 1)
            at, feature = jnp.maximum(wide[slot], 0), rank[own, r]
            count = jnp.where(slot < slots, growth.nodes.count[at], 0)
            split = feature, cut[own, feature]
            part = Part(growth.nodes.start[at], count, *split)
            sides = quality(*cross_products(design, growth.order, part, plan.blocks), limits.free)
            parent = Quality(*(a[own] for a in growth.frontier.quality))
            stands = _stands(parent, sides, limits, plan.criterion)
            to = jnp.where(stands & (slot < slots), slot, slots)
            made = Chosen(*split, above[own, feature], sides)
            put = lambda old, new: old.at[to].set(new, mode="drop")  # noqa: E731
            return done + chunk, jax.tree.map(put, chosen, made)

        start = (jnp.zeros((), jnp.int32), chosen)
        return r + 1, lax.while_loop(lambda c: c[0] < open_.sum(), some, start)[1]

    none = jnp.full(slots, -1, jnp.int32)
    two = jnp.zeros((slots, 2), design.z.dtype)
    sides = Quality(jnp.zeros((slots, 2), jnp.int32), two, two)
    start = (jnp.zeros((), jnp.int32), Chosen(none, none, none, sides))

    def go_on(carry: tuple[Array, Chosen]) -> Array:
        return (carry[0] < tries) & pending(carry[1].feature >= 0, carry[0]).any()

    return lax.while_loop(go_on, attempt, start)[1]


def _parted(order: Array, left: Array, split: Array, start: Array, count: Array) -> Array:
    """The order with each split node's left units first; all arrays but the first by position."""
    before = jnp.cumsum(left) - left
    rank = before - before[jnp.minimum(start, order.shape[0] - 1)]
    place = jnp.arange(order.shape[0], dtype=jnp.int32)
    to = start + jnp.where(left, rank, count + place - start - rank)
    to = jnp.where(split, to, place).astype(jnp.int32)
    return jnp.zeros_like(order).at[to].set(order, unique_indices=True)


def grow_level(design: Design, growth: Growth, limits: Limits, plan: Plan) -> Growth:
    """Split every node of the frontier that can be split."""
    slots, n = growth.frontier.node.shape[0], growth.order.shape[0]
    scanned = _scan(design, growth, limits, plan)
    chosen = _choose(design, growth, limits, plan, *scanned)
    split, node = chosen.feature >= 0, growth.frontier.node
    capacity = growth.nodes.count.shape[0]
    child = growth.used + 2 * (jnp.cumsum(split, dtype=jnp.int32) - 1)
    parent = jnp.where(split, node, capacity)
    start, counts = growth.nodes.start[jnp.maximum(node, 0)], chosen.sides.count

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
        count=nodes.count.at[where].set(counts.ravel(), mode="drop"),
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
