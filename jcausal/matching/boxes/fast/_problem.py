"""What stays the same while boxes grow: one fold, its surface and the rules."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, bucket, is_traced, pad_rows
from jcausal.matching.boxes._columns import Columns, columns_of
from jcausal.matching.boxes._queries import Queries, places
from jcausal.surfaces import ResponseSurface
from jcausal_kernels import Units

Grid = Literal["line", "lattice"]


class FoldArrays(NamedTuple):
    """A sample of which one fold can be matched. o ladders, c categories, e levels in all.

    `units.codes` has one column more than o: 0 for members, -1 for everybody else. `weight` (n,) is
    0 for those; `sound`: whether all numbers can be used. `place` is how far each code stands above
    the ladder's foot, as a sum of two numbers so that neighbours on a long ladder stay apart in
    float32; `span` is the ladder's length, `heights` counts its values. `fill` is what stands in x
    where a number is missing. `entry_rank`: each level's place in [0, 1), popular ones first.
    """

    units: Units
    x: Float[Array, "n p"]
    weight: Float[Array, " n"]
    sound: Bool[Array, ""]
    ladder: Float[Array, "o l"]
    place: Float[Array, "o l 2"]
    span: Float[Array, " o"]
    heights: Int[Array, " o"]
    fill: Float[Array, " p"]
    entry_rank: Float[Array, " e"]


class Rules(NamedTuple):
    """The numbers of `FastAHB` as arrays.

    `gamma` (2,) weighs the surfaces; a score may be `c` times the one before, or `tolerance` of
    the surfaces' variance; `caliper` is squared, a share of the outcome's variance, and infinite
    for None; `minimum` (2,) units of either arm; at most `levels` stops on a side of a query.
    """

    gamma: Float[Array, " 2"]
    c: Float[Array, ""]
    tolerance: Float[Array, ""]
    caliper: Float[Array, ""]
    minimum: Int[Array, " 2"]
    levels: Int[Array, ""] | None

    def weighted(self, parts: Float[Array, "*r 2"]) -> Float[Array, "*r"]:
        """gamma0 times the first plus gamma1 times the second; an arm of gamma 0 is not seen."""
        return jnp.where(self.gamma > 0, self.gamma * parts, 0).sum(-1)


class GrowthScales(NamedTuple):
    """What scores and distances are measured by, weighted by gamma.

    `surfaces`: their variance over the members; `outcome`: that plus the noise around them.
    """

    surfaces: Float[Array, ""]
    outcome: Float[Array, ""]


class GrowthProblem(eqx.Module):
    """Everything that stays the same while boxes grow.

    The surface is asked at `points` points of every proposal, on a line or a lattice (`grid`).
    """

    fold: FoldArrays
    surface: ResponseSurface
    rules: Rules
    scales: GrowthScales
    columns: Columns = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    points: int = eqx.field(static=True)

    def ask(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """The surface at some points, with the fill wherever a number is missing."""
        return self.surface(self.columns.filled(x, self.fold.fill))

    @property
    def points_of_line(self) -> int:
        """Points that are asked on the way to a proposal's end; of a lattice the ends alone."""
        return self.points if self.grid == "line" else 2


class Origins(NamedTuple):
    """Where boxes start: the queries, and the surface's predictions `home` (q, 2) there."""

    queries: Queries
    home: Float[Array, "q 2"]


def origins(problem: GrowthProblem, queries: Queries) -> Origins:
    """Ask the surface at the queries."""
    return Origins(queries, problem.surface(queries.x))


@eqx.filter_jit
def scales_of(fold: FoldArrays, surface: ResponseSurface, rules: Rules) -> GrowthScales:
    """Measure what tolerance and caliper refer to."""
    share = fold.weight / fold.weight.sum()
    values = surface(fold.x)
    centred = values - _dot(share, values)
    variance = rules.weighted(_dot(share, jnp.square(centred)))
    noise = rules.weighted(jnp.asarray(surface.noise, variance.dtype))
    return GrowthScales(variance, variance + noise)


def _dot(share: Array, values: Array) -> Array:
    """Weighted column means in which a row of weight zero counts nothing, NaN or not."""
    return jnp.where(share[:, None] > 0, share[:, None] * values, 0).sum(0)


def fold_arrays(sample: Sample, members: Bool[Array, " n"]) -> FoldArrays:
    """Lay out a sample: only `members` can be matched, all valid rows define the ladders.

    Concrete samples are padded to bucketed shapes, so that near sizes share one trace.
    """
    columns = columns_of(sample)
    rows = sample.n if is_traced(sample, members) else bucket(sample.n)

    def padded(array: Array, fill: float | int | bool) -> Array:
        if rows == array.shape[0]:
            return array
        return jnp.asarray(pad_rows(np.asarray(array), rows, fill))

    weight = jnp.where(members, sample.weight, 0)
    gate = jnp.where(members, 0, -1)[:, None].astype(jnp.int32)
    codes = jnp.concatenate([sample.codes[:, columns.ordered], gate], axis=1)
    levels, ladder = sample.codes[:, columns.categories], sample.ladder[columns.ordered]
    return FoldArrays(
        units=Units(padded(codes, -1), padded(levels, 0), padded(sample.t, False)),
        x=padded(sample.x, 0),
        weight=padded(weight, 0),
        sound=_sound(sample, columns),
        ladder=jnp.asarray(ladder, sample.x.dtype),
        place=jnp.swapaxes(places(ladder, ladder.T, sample.x.dtype), 0, 1),
        span=jnp.asarray(ladder[:, -1] - ladder[:, 0], sample.x.dtype),
        heights=sample.heights[columns.ordered],
        fill=sample.fill,
        entry_rank=_popularity(sample, weight, columns),
    )


def _sound(sample: Sample, columns: Columns) -> Bool[Array, ""]:
    """Whether the numbers of all valid rows are finite and their levels known."""
    sound = jnp.isfinite(sample.x).all(1) & jnp.isfinite(sample.weight)
    for j, height in zip(columns.categories, columns.heights):
        sound &= (sample.codes[:, j] >= 0) & (sample.codes[:, j] < height)
    return (sound | ~sample.valid).all()


def _popularity(sample: Sample, weight: Float[Array, " n"], columns: Columns) -> Float[Array, " e"]:
    """Each level's place in [0, 1) by falling weight of its members: breaks ties of scores."""
    parts = [jnp.zeros(0, weight.dtype)]
    for j, height in zip(columns.categories, columns.heights):
        parts.append(jnp.zeros(height, weight.dtype).at[sample.codes[:, j]].add(weight))
    order = jnp.argsort(-jnp.concatenate(parts), stable=True)
    count = order.shape[0]
    return jnp.zeros(count).at[order].set(jnp.arange(count) / max(count, 1)).astype(weight.dtype)
