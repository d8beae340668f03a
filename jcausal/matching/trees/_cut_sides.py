"""The two sides of cuts of many nodes: their units, and the cross products of these.

Only the smaller side of a cut is summed; the larger one is what it leaves of the node.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching.trees._growth_state import TreeGrowth
from jcausal.matching.trees._least_squares import (
    Quality,
    Runs,
    about_another,
    cross_products,
    moments,
    precision_of,
)


class OpenNodes(NamedTuple):
    """What is known of the nodes of some slots.

    `start` and `units` (k,): so many units of the growth's order from there; `quality` (k,) of
    their regression; `gram` (k, h, h) their cross products about the first of them.
    """

    start: Int[Array, " k"]
    units: Int[Array, " k"]
    quality: Quality
    gram: Float[Array, "k h h"]


class CutsTried(NamedTuple):
    """Some cuts of each node, and where the units of their smaller sides are listed; (k, c) each.

    Left are the units of the node with a code of at most `cut` in `feature`, `left` of them.
    `left_is_smaller` tells which side is listed, from `start` on with `units` units (0: not tried).
    """

    feature: Int[Array, "k c"]
    cut: Int[Array, "k c"]
    left: Int[Array, "k c"]
    left_is_smaller: Bool[Array, "k c"]
    start: Int[Array, "k c"]
    units: Int[Array, "k c"]


def list_smaller_sides(
    growth: TreeGrowth,
    nodes: OpenNodes,
    feature: Int[Array, "s c"],
    cut: Int[Array, "s c"],
    tried: Bool[Array, "s c"],
) -> tuple[CutsTried, Int[Array, " m"]]:
    """Some cuts of every slot, and a list in which the units of their smaller sides follow."""
    (slots, cuts), n = feature.shape, growth.order.shape[0]
    unit, count = growth.order, nodes.units[:, None]
    own = jnp.minimum(growth.slot[unit], slots - 1)
    inside = tried[own] & (growth.slot[unit] < slots)[:, None]
    is_left = inside & (growth.sample.codes[unit[:, None], feature[own]] <= cut[own])
    upto = jnp.cumsum(is_left, axis=0, dtype=jnp.int32)
    before = upto - is_left
    first = before[jnp.minimum(nodes.start, n - 1)]
    left = upto[jnp.clip(nodes.start + nodes.units - 1, 0, n - 1)] - first

    smaller = 2 * left <= count
    units = jnp.where(tried, jnp.where(smaller, left, count - left), 0)
    start = (jnp.cumsum(units.ravel(), dtype=units.dtype) - units.ravel()).reshape(slots, cuts)
    rank = before - first[own]
    place = jnp.arange(n, dtype=jnp.int32)[:, None] - nodes.start[own][:, None]
    rank = jnp.where(smaller[own], rank, place - rank)
    room = cuts * (n // 2) + 1
    to = jnp.where(inside & (is_left == smaller[own]), start[own] + rank, room)
    listed = jnp.zeros(room, jnp.int32).at[to].set(unit[:, None], mode="drop")
    return CutsTried(feature, cut, left, smaller, start, units), listed


def products_of_sides(
    growth: TreeGrowth, nodes: OpenNodes, cuts: CutsTried, listed: Int[Array, " m"]
) -> Float[Array, "k c 2 h h"]:
    """Cross products of the left and the right side of each cut."""
    own = listed[jnp.minimum(cuts.start, listed.shape[0] - 1)]
    runs = Runs(listed, cuts.start.ravel(), cuts.units.ravel(), own.ravel())
    summed = cross_products(growth.sample, runs)
    summed = summed.reshape(*cuts.units.shape, *summed.shape[1:])
    z, first = growth.sample.z, growth.order[nodes.start]
    small = about_another(summed, z[own] - z[first][:, None])
    large = _larger_sides(growth, nodes, cuts, small)
    left = cuts.left_is_smaller[..., None, None]
    return jnp.stack([jnp.where(left, summed, large), jnp.where(left, large, summed)], axis=2)


def _larger_sides(
    growth: TreeGrowth, nodes: OpenNodes, cuts: CutsTried, small: Float[Array, "k c h h"]
) -> Float[Array, "k c h h"]:
    """Cross products of the larger sides: the node's less those of the smaller side.

    `small` is about the node's first unit. Where a column varies far less on the larger side than
    in the node, the difference has lost digits (more than the trifle that collinear columns bear),
    and the side is summed by itself.
    """
    large = nodes.gram[:, None] - small
    constant, lost = _digits(nodes.gram, large)
    lost &= cuts.units > 0
    summed = _sum_larger_sides(growth, nodes, cuts, lost, moments(large).mean)
    wide = large.shape[-1]
    kept = jnp.pad(constant, [(0, 0), (0, 0), (1, 0)])[..., None] & jnp.eye(wide, dtype=bool)
    return jnp.where(lost[..., None, None], summed, jnp.where(kept, 0, large))


def _digits(
    gram: Float[Array, "k h h"], large: Float[Array, "k c h h"]
) -> tuple[Bool[Array, "k c g"], Bool[Array, "k c"]]:
    """Columns that are constant on a larger side, and sides whose difference has lost digits.

    In float64 a column with less than 64 eps of the node's variance counts as constant, as all
    columns are that a cut makes constant; in float32 such a column may be a real one beside a few
    far values.
    """
    spread = jnp.diagonal(moments(large).product, axis1=-2, axis2=-1)
    node = jnp.diagonal(moments(gram).product, axis1=-2, axis2=-1)[:, None]
    eps = float(jnp.finfo(gram.dtype).eps)
    constant = (spread <= 64 * eps * node) & (gram.dtype == jnp.float64)
    enough = 4 * eps / precision_of(gram.dtype)[0]
    return constant, ((spread <= enough * node) & ~constant).any(2)


def _sum_larger_sides(
    growth: TreeGrowth,
    nodes: OpenNodes,
    cuts: CutsTried,
    wanted: Bool[Array, "k c"],
    mean: Float[Array, "k c g"],
) -> Float[Array, "k c h h"]:
    """Cross products of the wanted larger sides, unit by unit.

    About their mean (less the node's first unit), which is near enough: that unit may be far away.
    """
    feature, cut, smaller = (a.ravel() for a in (cuts.feature, cuts.cut, cuts.left_is_smaller))

    def on_larger_side(own: Int[Array, " b"], unit: Int[Array, "b r"]) -> Bool[Array, "b r"]:
        left = growth.sample.codes[unit, feature[own][:, None]] <= cut[own][:, None]
        return left != smaller[own][:, None]

    start = jnp.repeat(nodes.start, wanted.shape[1])
    units = jnp.where(wanted, nodes.units[:, None], 0).ravel()
    runs = Runs(growth.order, start, units, growth.order[start])
    shift = mean.reshape(-1, mean.shape[-1])
    summed = cross_products(growth.sample, runs, on_larger_side, shift)
    return summed.reshape(*wanted.shape, *summed.shape[1:])
