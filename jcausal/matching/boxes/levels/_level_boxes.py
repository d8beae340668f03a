"""Level boxes of a batch of queries: one program from the surface to the edges."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._columns import Columns
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes.levels._bins import Bins, make_bins
from jcausal.matching.boxes.levels._level_lines import LineSource, cells_of, edges_at, make_lines
from jcausal.surfaces import ResponseSurface
from jcausal_kernels import LevelRule, LevelUnits, box_levels

FLOOR = 0.01  # the noise is at least this share of the variance of the predictions


class SampleArrays(NamedTuple):
    """What a sample's cells are made of: its rows, and the ladders of its ordered columns.

    `heights` (o,) values of each ladder; `fill` (p,) stands in x where a number is missing.
    """

    x: Float[Array, "n p"]
    codes: Int[Array, "n p"]
    weight: Float[Array, " n"]
    valid: Bool[Array, " n"]
    ladder: Float[Array, "o l"]
    heights: Int[Array, " o"]
    fill: Float[Array, " p"]


class SampleCells(NamedTuple):
    """What all queries of a task share.

    `bins`: steps of the ladders; `heights` (o,) and `fill` (p,) as in `SampleArrays`; `cells`
    (n, d): where every unit stands in a level table; `sound`: whether all numbers can be used.
    """

    bins: Bins
    heights: Int[Array, " o"]
    fill: Float[Array, " p"]
    cells: Int[Array, "n d"]
    sound: Bool[Array, ""]


class Crowd(NamedTuple):
    """The m units that may be matched in a fold: some of all, each standing for 1 / share.

    `cells` (m, d), `arm`, `weight` (m,), `values` (m, 2): predictions; `share` (2,) of each arm
    that is there, `there` (2,) counts all units of the fold by arm.
    """

    cells: Int[Array, "m d"]
    arm: Bool[Array, " m"]
    weight: Float[Array, " m"]
    values: Float[Array, "m 2"]
    share: Float[Array, " 2"]
    there: Int[Array, " 2"]


class Batch(NamedTuple):
    """Queries with their own predictions; what a surface's error counts for each (0: nothing)."""

    queries: Queries
    home: Float[Array, "q 2"]
    use: Float[Array, "q 2"]
    asked: Bool[Array, " q"]


class LevelBoxes(NamedTuple):
    """Boxes and how each query ended."""

    edges: Edges
    status: Int[Array, " q"]


@eqx.filter_jit
def lay_out(sample: SampleArrays, columns: Columns, most: int) -> SampleCells:
    """At most so many steps on each ladder, and where every unit stands."""
    codes, heights, valid = sample.codes, sample.heights, sample.valid
    levels = codes[:, columns.categories]
    bins = make_bins(codes[:, columns.ordered], valid, sample.ladder, heights, most)
    finite = jnp.isfinite(sample.x).all(1) & jnp.isfinite(sample.weight)
    known = ((levels >= 0) & (levels < jnp.asarray(columns.heights, jnp.int32))).all(1)
    clipped = jnp.clip(levels, 0, columns.tallest - 1)
    sound = ((finite & known) | ~valid).all()
    return SampleCells(bins, heights, sample.fill, cells_of(bins, clipped, columns.tallest), sound)


def noise_of(surface: ResponseSurface, crowd: Crowd) -> Float[Array, " 2"]:
    """Residual variance of each arm, and at least a share of its predictions' variance."""
    own = jnp.stack([~crowd.arm, crowd.arm], axis=1) & (crowd.weight > 0)[:, None]
    w = jnp.where(own, crowd.weight[:, None], 0)
    share = w / jnp.where(own.any(0), w.sum(0), 1)
    values = jnp.where(own, crowd.values, 0)
    spread = (share * jnp.square(values - (share * values).sum(0))).sum(0)
    return jnp.fmax(jnp.asarray(surface.noise, values.dtype), FLOOR * spread)


@eqx.filter_jit
def level_boxes(
    surface: ResponseSurface,
    sample: SampleCells,
    crowd: Crowd,
    batch: Batch,
    minimum: Int[Array, " 2"],
    columns: Columns,
) -> LevelBoxes:
    """Lines, levels, the best level of each query, and its box."""
    surface, sample, crowd, batch = jax.lax.stop_gradient((surface, sample, crowd, batch))
    queries, factor = batch.queries, jnp.sqrt(batch.use)
    source = LineSource(surface, queries, surface(queries.x), sample.bins, sample.fill, factor)
    lines = make_lines(source, sample.heights, columns)
    rule = LevelRule(
        home=batch.home,
        use=batch.use,
        noise=noise_of(surface, crowd),
        minimum=jnp.where(minimum > 1, minimum, 0),  # a query is there, and so is who is averaged
        share=crowd.share,
    )
    units = LevelUnits(crowd.cells, crowd.values, crowd.arm, crowd.weight)
    chosen = box_levels(lines.table(), units, rule)
    status = jnp.where(jnp.isnan(chosen.cost), code(RESULTS.surface_nan), _short(crowd, minimum))
    status = jnp.where(jnp.isfinite(chosen.cost), code(RESULTS.matched), status)
    status = jnp.where(sample.sound, status, code(RESULTS.bad_input))
    status = jnp.where(batch.asked, status, code(RESULTS.not_asked))
    return LevelBoxes(edges_at(lines, chosen.level, queries, sample.bins), status)


def _short(crowd: Crowd, minimum: Int[Array, " 2"]) -> Int[Array, ""]:
    """Which arm has too few units for any box."""
    few = crowd.there[0] < jnp.maximum(minimum[0], 1)
    return jnp.where(few, code(RESULTS.no_control), code(RESULTS.no_treated))
