"""Level tables: how far predictions go when one covariate alone moves away from a query."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching.boxes._bins import Bins
from jcausal.matching.boxes._space import Layout, Queries
from jcausal.surfaces import ResponseSurface


class Lines(NamedTuple):
    """The level at which each query's box takes in each step, and each level of a category.

    `steps` (q, o, b): running maxima outwards of |f(x with that step's far end) - f(x)|, infinite
    where there is no such step; `levels` (q, c, l) the same of each level by itself.
    """

    steps: Float[Array, "q o b"]
    levels: Float[Array, "q c l"]

    def table(self) -> Float[Array, "q s"]:
        """All cells side by side: behind the steps of each ladder one for a missing value, at 0."""
        q = self.steps.shape[0]
        ladders = jnp.pad(self.steps, [(0, 0), (0, 0), (0, 1)])
        return jnp.concatenate([ladders.reshape(q, -1), self.levels.reshape(q, -1)], axis=1)


def cells_of(bins: Bins, levels: Int[Array, "n c"], tallest: int) -> Int[Array, "n d"]:
    """Where each unit stands in `Lines.table`, one cell a covariate."""
    o, wide = bins.first.shape
    ordered = bins.of_unit + (wide + 1) * jnp.arange(o)
    categories = o * (wide + 1) + levels + tallest * jnp.arange(levels.shape[1])
    return jnp.concatenate([ordered, categories], axis=1).astype(jnp.int32)


class Place(NamedTuple):
    """The first and last step (q, o) that hold a query; last < first for a point between two."""

    low: Int[Array, "q o"]
    high: Int[Array, "q o"]


def place_of(bins: Bins, queries: Queries, heights: Int[Array, " o"]) -> Place:
    """The steps that hold the codes where each query's box starts."""
    column, top = jnp.arange(heights.shape[0]), bins.of_code.shape[1] - 1

    def step(code: Array) -> Array:
        inside = bins.of_code[column, jnp.clip(code, 0, top)]
        return jnp.where(code < 0, -1, jnp.where(code >= heights, bins.steps, inside))

    return Place(step(queries.lower), step(queries.upper))


class Walk(NamedTuple):
    """What lines are made of: a surface, queries and f at them, steps, fills, and weights.

    `weigh` (q, 2): what a change of each surface is multiplied by; 0 leaves it out.
    """

    surface: ResponseSurface
    queries: Queries
    home: Float[Array, "q 2"]
    bins: Bins
    fill: Float[Array, " p"]
    weigh: Float[Array, "q 2"]

    def size(self, change: Float[Array, "q *k 2"]) -> Float[Array, "q *k"]:
        """The larger change of the surfaces that count for each query."""
        factor = self.weigh.reshape(-1, *[1] * (change.ndim - 2), 2)
        return jnp.where(factor > 0, factor * jnp.abs(change), 0).max(-1)


def make_lines(walk: Walk, heights: Int[Array, " o"], plan: Layout) -> Lines:
    """The lines through every query."""
    place = place_of(walk.bins, walk.queries, heights)
    return Lines(_ladders(walk, place, plan), _categories(walk, plan))


def _ladders(walk: Walk, place: Place, plan: Layout) -> Float[Array, "q o b"]:
    """Running maxima upwards and downwards from each query."""
    bins, x = walk.bins, walk.queries.x
    wide = bins.first.shape[1]
    if not len(plan.ordered):
        return jnp.zeros((x.shape[0], 0, wide), x.dtype)
    step = jnp.arange(wide)
    above, below = step > place.high[..., None], step < place.low[..., None]
    at = jnp.where(below, bins.bottom, x[:, plan.ordered][..., None])
    at = jnp.where(above, bins.top, at)
    change = walk.size(walk.surface.along(x, jnp.asarray(plan.ordered)[None], at))
    up = lax.cummax(jnp.where(above, change, 0), axis=2)
    down = lax.cummax(jnp.where(below, change, 0), axis=2, reverse=True)
    level = jnp.where(above, up, jnp.where(below, down, 0))
    there = step < bins.steps[:, None]
    spoiled = (jnp.isnan(change) & (above | below) & there).any(2, keepdims=True)
    return jnp.where(there, jnp.where(spoiled, jnp.nan, level), jnp.inf)


def _categories(walk: Walk, plan: Layout) -> Float[Array, "q c l"]:
    """Each level of a category by itself; a flag's "observed" opens the whole ladder."""
    queries = walk.queries
    x, heights = queries.x, np.array(plan.heights)
    if not plan.heights:
        return jnp.zeros((len(x), 0, plan.tallest), x.dtype)
    change = walk.surface.all_level_changes(x, plan.categories, heights)
    for number, _, flag, _ in plan.observed:
        gone = x.at[:, flag].set(1).at[:, number].set(walk.fill[number])
        place = plan.categories.tolist().index(flag)
        change = change.at[:, place, 1].set(walk.surface(gone) - walk.home)
    found = walk.size(change)
    for number, slot, flag, _ in plan.observed:
        whole = walk.size(_observed(walk, number, slot, flag))
        place = plan.categories.tolist().index(flag)
        known = jnp.where(x[:, flag] == 1, whole.max(1), found[:, place, 0])
        found = found.at[:, place, 0].set(known)
    there = np.arange(plan.tallest) < heights[:, None]
    return jnp.where(queries.open, 0, jnp.where(there, found, jnp.inf))


def _observed(walk: Walk, number: int, slot: int, flag: int) -> Float[Array, "q b 2"]:
    """How the predictions change when a missing number becomes known, at every step's top."""
    known = walk.queries.x.at[:, flag].set(0).at[:, number].set(walk.fill[number])
    at = jnp.broadcast_to(walk.bins.top[slot], (known.shape[0], 1, walk.bins.top.shape[1]))
    change = walk.surface.along(known, jnp.asarray([[number]]), at)[:, 0]
    return change + (walk.surface(known) - walk.home)[:, None]


class Edges(NamedTuple):
    """Boxes: inclusive codes of the ladders, and open levels."""

    lower: Int[Array, "q o"]
    upper: Int[Array, "q o"]
    open: Bool[Array, "q c l"]


def edges_at(lines: Lines, level: Float[Array, " q"], queries: Queries, bins: Bins) -> Edges:
    """The boxes that hold what opens at or below each query's level; NaN opens nothing."""
    inside = lines.steps <= level[:, None, None]
    low = jnp.where(inside, bins.first, bins.of_code.shape[1]).min(2, initial=bins.of_code.shape[1])
    high = jnp.where(inside, bins.last, -1).max(2, initial=-1)
    held = ~jnp.isnan(level)[:, None]
    return Edges(
        jnp.where(held, jnp.minimum(queries.lower, low), queries.lower).astype(jnp.int32),
        jnp.where(held, jnp.maximum(queries.upper, high), queries.upper).astype(jnp.int32),
        queries.open | (lines.levels <= level[:, None, None]),
    )
