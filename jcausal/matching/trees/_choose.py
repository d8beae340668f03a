"""The split of every node of a level: cuts tried in the order of their reductions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching.trees._fit import (
    Design,
    Groups,
    Quality,
    about_another,
    cross_products,
    moments,
    precision_of,
    quality,
    whole,
)
from jcausal.matching.trees._growth import CHUNK, Criterion, Growth, Limits, Plan
from jcausal_kernels import Splits, split_scan

CUTS = 4  # splits of a node that are fitted at a time


class Chosen(NamedTuple):
    """The split of each slot (feature -1: none), and the children's regressions."""

    feature: Int[Array, " s"]
    cut: Int[Array, " s"]
    above: Int[Array, " s"]
    sides: Quality


def scan(design: Design, growth: Growth, limits: Limits, plan: Plan) -> Splits:
    """The best cut of every feature in every slot."""
    return split_scan(
        design.codes,
        growth.slot,
        design.z[:, -1],
        design.weight,
        nodes=growth.frontier.node.shape[0],
        heights=plan.heights,
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


class Wave(NamedTuple):
    """Cuts that are tried at a time, some of each slot, with the units of their smaller sides.

    `feature` and `cut` (s, c): left are the units of the slot with a code of at most `cut`; there
    are `left` of them. `low` tells whether the smaller side is the left one; it stands in `listed`
    from `start`, with `units` units (0 for a cut that is not tried).
    """

    feature: Int[Array, "s c"]
    cut: Int[Array, "s c"]
    left: Int[Array, "s c"]
    low: Bool[Array, "s c"]
    listed: Int[Array, " m"]
    start: Int[Array, "s c"]
    units: Int[Array, "s c"]


def _wave(
    design: Design,
    growth: Growth,
    tried: Splits,
    features: Int[Array, "s c"],
    open_: Bool[Array, " s"],
) -> Wave:
    """List the smaller side of some cuts of every open slot."""
    (slots, cuts), n = features.shape, growth.order.shape[0]
    at = jnp.maximum(growth.frontier.node, 0)
    begins, count = growth.nodes.start[at], growth.nodes.units[at]
    level, cut = (jnp.take_along_axis(a, features, axis=1) for a in (tried.level, tried.cut))
    able = open_[:, None] & (level > 0)

    unit = growth.order
    own = jnp.minimum(growth.slot[unit], slots - 1)
    inside = able[own] & (growth.slot[unit] < slots)[:, None]
    is_left = inside & (design.codes[unit[:, None], features[own]] <= cut[own])
    upto = jnp.cumsum(is_left, axis=0, dtype=jnp.int32)
    before = upto - is_left
    first = before[jnp.minimum(begins, n - 1)]
    left = upto[jnp.clip(begins + count - 1, 0, n - 1)] - first

    low = 2 * left <= count[:, None]
    units = jnp.where(able, jnp.where(low, left, count[:, None] - left), 0)
    start = (jnp.cumsum(units.ravel(), dtype=units.dtype) - units.ravel()).reshape(slots, cuts)
    rank = before - first[own]
    place = jnp.arange(n, dtype=jnp.int32)[:, None] - begins[own][:, None]
    rank = jnp.where(low[own], rank, place - rank)
    room = cuts * (n // 2) + 1
    to = jnp.where(inside & (is_left == low[own]), start[own] + rank, room)
    listed = jnp.zeros(room, jnp.int32)
    listed = listed.at[to].set(unit[:, None], mode="drop")
    return Wave(features, cut, left, low, listed, start, units)


def _attempt(
    design: Design,
    growth: Growth,
    limits: Limits,
    plan: Plan,
    slot: Int[Array, " k"],
    gram: Float[Array, "k h h"],
    wave: Wave,
) -> tuple[Bool[Array, "k c"], Quality]:
    """Which of the cuts of some slots stand, and the quality of their sides (k, c, 2)."""
    at = jnp.maximum(growth.frontier.node[slot], 0)
    count = growth.nodes.units[at][:, None]
    start, units, left, low = (a[slot] for a in (wave.start, wave.units, wave.left, wave.low))
    own = wave.listed[jnp.minimum(start, wave.listed.shape[0] - 1)]
    groups = Groups(start.ravel(), units.ravel(), own.ravel())
    small = cross_products(design, wave.listed, groups, plan.blocks)
    small = small.reshape(*units.shape, *small.shape[1:])
    first = growth.order[growth.nodes.start[at]]
    moved = about_another(small, design.z[own] - design.z[first][:, None])
    other = _larger(design, growth, plan, slot, gram, moved, wave)
    lower = low[..., None, None]
    sides = jnp.stack([jnp.where(lower, small, other), jnp.where(lower, other, small)], axis=2)
    found = quality(sides, jnp.stack([left, count - left], axis=2), limits.free)
    parent = Quality(*(a[slot] for a in growth.frontier.quality))
    return _stands(parent, found, limits, plan.criterion) & (units > 0), found


def _larger(
    design: Design,
    growth: Growth,
    plan: Plan,
    slot: Int[Array, " k"],
    gram: Float[Array, "k h h"],
    small: Float[Array, "k c h h"],
    wave: Wave,
) -> Float[Array, "k c h h"]:
    """Cross products of the larger sides: what the smaller side leaves of the node's.

    `small` about the node's unit. Where a column varies far less there than in the node, the
    difference has lost digits (more than the trifle that collinear columns bear), and the side is
    summed by itself. In float64 a column with less than 64 eps of the node's variance
    counts as constant (its square is set to 0), as all columns are that a cut makes constant; in
    float32 such a column may be a real one beside a few far values, and is summed too.
    """
    at = jnp.maximum(growth.frontier.node[slot], 0)
    cuts, wide = small.shape[1], small.shape[-1]
    other = gram[:, None] - small
    about = moments(other)
    spread = jnp.diagonal(about.product, axis1=-2, axis2=-1)
    node = jnp.diagonal(moments(gram).product, axis1=-2, axis2=-1)[:, None]
    eps = float(jnp.finfo(gram.dtype).eps)
    constant = (spread <= 64 * eps * node) & (gram.dtype == jnp.float64)
    digits = 4 * eps / precision_of(gram.dtype)[0]
    lost = ((spread <= digits * node) & ~constant).any(2) & (wave.units[slot] > 0)
    feature, cut, low = (a[slot].ravel() for a in (wave.feature, wave.cut, wave.low))

    def counts(own: Array, unit: Array) -> Array:
        left = design.codes[unit, feature[own][:, None]] <= cut[own][:, None]
        return left != low[own][:, None]

    start = jnp.repeat(growth.nodes.start[at], cuts)
    units = jnp.where(lost, growth.nodes.units[at][:, None], 0).ravel()
    groups = Groups(start, units, growth.order[start])
    mean = about.mean.reshape(-1, wide - 1)  # near enough: the node's first unit may be far away
    summed = cross_products(design, growth.order, groups, plan.blocks, counts, mean)
    kept = jnp.pad(constant, [(0, 0), (0, 0), (1, 0)])[..., None] & jnp.eye(wide, dtype=bool)
    other = jnp.where(kept, 0, other)
    return jnp.where(lost[..., None, None], summed.reshape(other.shape), other)


def _by_chunk(
    listed: Int[Array, " s"], many: Int[Array, ""], chunk: int, start: Any, some: Callable
) -> Any:
    """Fold `some(state, slots, whether each is one of the first `many`)` over chunks of a list."""
    listed = jnp.pad(listed, (0, chunk), constant_values=0)

    def step(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        done, state = carry
        slot = lax.dynamic_slice_in_dim(listed, done, chunk)
        return done + chunk, some(state, slot, done + jnp.arange(chunk) < many)

    first = (jnp.zeros((), jnp.int32), start)
    return lax.while_loop(lambda carry: carry[0] < many, step, first)[1]


def choose(design: Design, growth: Growth, limits: Limits, plan: Plan, tried: Splits) -> Chosen:
    """Try the features of each slot in the order of their reductions until a split stands."""
    slots, features = tried.level.shape
    chunk = min(CHUNK, slots)
    width = 1 if plan.search == "best" else min(CUTS, features)
    last = 1 if plan.search == "best" else features
    rank = jnp.argsort(-tried.level, axis=1, stable=True).astype(jnp.int32)
    rank = jnp.pad(rank, [(0, 0), (0, -features % width)], mode="edge")
    every, wide = jnp.arange(slots), design.z.shape[1] + 1
    tries = tried._replace(cut=tried.cut.astype(jnp.int32), above=tried.above.astype(jnp.int32))

    def pending(r: Array, chosen: Chosen) -> Array:
        left = tried.level[every, rank[:, jnp.minimum(r, features - 1)]] > 0
        return (growth.frontier.node >= 0) & (chosen.feature < 0) & left & (r < last)

    def firsts(open_: Array) -> Array:
        return jnp.argsort(~open_, stable=True).astype(jnp.int32)

    def put(old: Any, new: Any, slot: Array, found: Array) -> Any:
        to = jnp.where(found, slot, slots)
        return jax.tree.map(lambda a, b: a.at[to].set(b, mode="drop"), old, new)

    def own_gram(grams: Array, slot: Array, there: Array) -> Array:
        at = jnp.maximum(growth.frontier.node[slot], 0)
        count = jnp.where(there, growth.nodes.units[at], 0)
        made = whole(design, growth.order, growth.nodes.start[at], count, plan.blocks)
        return put(grams, made, slot, there)

    start = jnp.zeros((), jnp.int32)
    open_ = pending(start, _nothing(design, slots))
    grams = jnp.zeros((slots, wide, wide), design.z.dtype)
    grams = _by_chunk(firsts(open_), open_.sum(), chunk, grams, own_gram)

    def attempt(carry: tuple[Array, Chosen]) -> tuple[Array, Chosen]:
        r, chosen = carry
        open_ = pending(r, chosen)
        which = lax.dynamic_slice_in_dim(rank, r, width, axis=1)
        wave = _wave(design, growth, tries, which, open_)

        def some(chosen: Chosen, slot: Array, there: Array) -> Chosen:
            stands, sides = _attempt(design, growth, limits, plan, slot, grams[slot], wave)
            first, each = lax.argmax(stands, 1, jnp.int32), jnp.arange(slot.shape[0])
            feature = which[slot, first]
            cut, above = tries.cut[slot, feature], tries.above[slot, feature]
            made = Chosen(feature, cut, above, Quality(*(a[each, first] for a in sides)))
            return put(chosen, made, slot, stands.any(1) & there)

        return r + width, _by_chunk(firsts(open_), open_.sum(), chunk, chosen, some)

    start = (start, _nothing(design, slots))
    return lax.while_loop(lambda c: pending(*c).any(), attempt, start)[1]


def _nothing(design: Design, slots: int) -> Chosen:
    """No split of any slot."""
    none = jnp.full(slots, -1, jnp.int32)
    two = jnp.zeros((slots, 2), design.z.dtype)
    return Chosen(none, none, none, Quality(jnp.zeros((slots, 2), jnp.int32), two, two))
