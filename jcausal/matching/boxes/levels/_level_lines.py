"""Level tables: how far predictions go when one covariate alone moves away from a query."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal.matching.boxes._columns import Columns
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes.levels._bins import Bins
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


class StepsHeld(NamedTuple):
    """The first and last step (q, o) that hold a query; last < first for a point between two."""

    low: Int[Array, "q o"]
    high: Int[Array, "q o"]


def steps_held(bins: Bins, queries: Queries, heights: Int[Array, " o"]) -> StepsHeld:
    """The steps that hold the codes where each query's box starts."""
    column, top = jnp.arange(heights.shape[0]), bins.of_code.shape[1] - 1

    def step(code: Array) -> Array:
        inside = bins.of_code[column, jnp.clip(code, 0, top)]
        return jnp.where(code < 0, -1, jnp.where(code >= heights, bins.steps, inside))

    return StepsHeld(step(queries.lower), step(queries.upper))


class LineSource(NamedTuple):
    """What lines are made of.

    `home` (q, 2): the surface at the queries; `bins`: steps of the ladders; `fill` (p,) stands in x
    where a number is missing; `factor` (q, 2): what a change of each surface is multiplied by, 0
    leaves it out.
    """

    surface: ResponseSurface
    queries: Queries
    home: Float[Array, "q 2"]
    bins: Bins
    fill: Float[Array, " p"]
    factor: Float[Array, "q 2"]

    def size(self, change: Float[Array, "q *k 2"]) -> Float[Array, "q *k"]:
        """The larger change of the surfaces that count for each query."""
        factor = self.factor.reshape(-1, *[1] * (change.ndim - 2), 2)
        return jnp.where(factor > 0, factor * jnp.abs(change), 0).max(-1)


def make_lines(source: LineSource, heights: Int[Array, " o"], columns: Columns) -> Lines:
    """The lines through every query."""
    held = steps_held(source.bins, source.queries, heights)
    return Lines(_ladders(source, held, columns), _categories(source, columns))


def _ladders(source: LineSource, held: StepsHeld, columns: Columns) -> Float[Array, "q o b"]:
    """Running maxima upwards and downwards from each query."""
    bins, x = source.bins, source.queries.x
    wide = bins.first.shape[1]
    if not len(columns.ordered):
        return jnp.zeros((x.shape[0], 0, wide), x.dtype)
    step = jnp.arange(wide)
    above, below = step > held.high[..., None], step < held.low[..., None]
    at = jnp.where(below, bins.bottom, x[:, columns.ordered][..., None])
    at = jnp.where(above, bins.top, at)
    change = source.size(source.surface.along(x, jnp.asarray(columns.ordered)[None], at))
    up = lax.cummax(jnp.where(above, change, 0), axis=2)
    down = lax.cummax(jnp.where(below, change, 0), axis=2, reverse=True)
    level = jnp.where(above, up, jnp.where(below, down, 0))
    there = step < bins.steps[:, None]
    spoiled = (jnp.isnan(change) & (above | below) & there).any(2, keepdims=True)
    return jnp.where(there, jnp.where(spoiled, jnp.nan, level), jnp.inf)


def _categories(source: LineSource, columns: Columns) -> Float[Array, "q c l"]:
    """Each level of a category by itself; a flag's "observed" opens the whole ladder."""
    queries = source.queries
    x, heights = queries.x, np.array(columns.heights)
    if not columns.heights:
        return jnp.zeros((len(x), 0, columns.tallest), x.dtype)
    change = source.surface.all_level_changes(x, columns.categories, heights)
    for number, _, flag, _ in columns.observed:
        gone = x.at[:, flag].set(1).at[:, number].set(source.fill[number])
        place = columns.categories.tolist().index(flag)
        change = change.at[:, place, 1].set(source.surface(gone) - source.home)
    found = source.size(change)
    for number, slot, flag, _ in columns.observed:
        whole = source.size(_observed(source, number, slot, flag))
        place = columns.categories.tolist().index(flag)
        known = jnp.where(x[:, flag] == 1, whole.max(1), found[:, place, 0])
        found = found.at[:, place, 0].set(known)
    there = np.arange(columns.tallest) < heights[:, None]
    return jnp.where(queries.open, 0, jnp.where(there, found, jnp.inf))


def _observed(source: LineSource, number: int, slot: int, flag: int) -> Float[Array, "q b 2"]:
    """How the predictions change when a missing number becomes known, at every step's top."""
    known = source.queries.x.at[:, flag].set(0).at[:, number].set(source.fill[number])
    at = jnp.broadcast_to(source.bins.top[slot], (known.shape[0], 1, source.bins.top.shape[1]))
    change = source.surface.along(known, jnp.asarray([[number]]), at)[:, 0]
    return change + (source.surface(known) - source.home)[:, None]


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
