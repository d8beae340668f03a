"""What the surface says of opening each level of a category, or a number that was missing."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.matching.boxes.fast._centres import BoxCentres
from jcausal.matching.boxes.fast._problem import GrowthProblem
from jcausal.matching.boxes.fast._slab_points import lattice_variance, points_on_line
from jcausal_kernels import Slabs

ROW = 4  # levels that a point more is worth, where levels are asked by the row


def look_at_levels(
    problem: GrowthProblem, centres: BoxCentres, wanted: Bool[Array, "q e"]
) -> tuple[Float[Array, "q e 2"], Float[Array, "q e 2"]]:
    """Variance over the points that each level adds, and shift to it.

    On a line the points are the query's own level and, from the middle on, the other one. The
    level "observed" of a flag is the number's whole ladder.
    """
    change = _changes(problem, centres, wanted)
    if problem.grid == "line":
        near = problem.points // 2 / problem.points
        var = near * (1 - near) * jnp.square(change)
    else:
        var = _lattice_of_levels(problem, centres)
    shift = change + centres.change[:, None]
    if not problem.columns.flags:
        return var, shift
    entry = problem.columns.observed[:, 3]
    whole = _look_along_whole_ladders(problem, centres, change[:, entry], wanted[:, entry])
    return var.at[:, entry].set(whole[0]), shift.at[:, entry].set(whole[1])


def _changes(
    problem: GrowthProblem, centres: BoxCentres, wanted: Bool[Array, "q e"]
) -> Float[Array, "q e 2"]:
    """How f changes from the centre to each level, which may call a number missing."""
    columns, fill = problem.columns, problem.fold.fill
    slot, level, entry, place = _rows_of_levels(columns.heights)
    (q, p), r = centres.own.shape, len(slot)
    column = columns.categories[slot]
    base = jnp.repeat(centres.centre[:, None], r, axis=1)
    for number, flag in columns.flags:
        base = base.at[:, column == flag, number].set(fill[number])
    change = problem.surface.level_changes(
        base.reshape(-1, p),
        jnp.tile(jnp.asarray(column), q),
        jnp.tile(jnp.asarray(level), (q, 1)),
        wanted[:, entry].reshape(q * r, -1),
    )
    change = change.reshape(q, -1, 2)[:, place]
    if not columns.flags:
        return change
    number, missing = columns.observed[:, 0], columns.observed[:, 3] + 1
    at = jnp.broadcast_to(fill[number][:, None], (q, len(number), 1))
    asked = wanted[:, missing]
    filled = problem.surface.along(centres.centre, jnp.asarray(number)[None], at, asked)
    return change.at[:, missing].add(jnp.where(asked[..., None], filled[:, :, 0], 0))


def _rows_of_levels(heights: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """All levels as rows of one category each: its slot (r,), levels and entries (r, w).

    And where each entry stands among the r w levels, of which the last of a category may repeat.
    """
    tallest = max(heights)
    wide = min(
        range(1, tallest + 1), key=lambda w: sum(-(-h // w) for h in heights) * (w + 1 + ROW)
    )
    rows = [(c, level) for c, h in enumerate(heights) for level in range(0, h, wide)]
    slot, first = np.array(rows, np.int32).T
    level = np.minimum(first[:, None] + np.arange(wide), np.array(heights)[slot][:, None] - 1)
    entry = np.cumsum([0, *heights])[slot][:, None] + level
    place = np.unique(entry, return_index=True)[1]
    return slot, level.astype(np.int32), entry, place


def _lattice_of_levels(problem: GrowthProblem, centres: BoxCentres) -> Float[Array, "q e 2"]:
    """Variance over a lattice in the box, half of it at the new level."""
    slot, level = problem.columns.entries.T
    columns = problem.columns.categories[slot]
    q, e = centres.own.shape[0], len(level)
    low, high = (jnp.repeat(corner, e, axis=0) for corner in (centres.low, centres.high))
    start, stop = centres.own[:, columns].ravel(), jnp.tile(jnp.asarray(level, low.dtype), q)
    slabs = Slabs(low, high, jnp.tile(jnp.asarray(columns), q), start, stop)
    return lattice_variance(problem, slabs).reshape(q, e, 2)


def _look_along_whole_ladders(
    problem: GrowthProblem,
    centres: BoxCentres,
    first: Float[Array, "q s 2"],
    wanted: Bool[Array, "q s"],
) -> tuple[Float[Array, "q s 2"], Float[Array, "q s 2"]]:
    """The same of opening "observed" to a query whose value is missing: the whole ladder at once.

    The variance is over the query itself and points along the ladder, the shift in each surface
    the larger one of the ladder's two ends. `first` leads to the fill, observed.
    """
    ladder, (number, slot, flag, _) = problem.fold.ladder, problem.columns.observed.T
    (q, p), count, each = centres.own.shape, len(number), np.arange(len(number))
    base = jnp.repeat(centres.centre[:, None], count, axis=1).at[:, each, flag].set(0)
    foot, top = ladder[slot, 0], ladder[slot, -1]
    at = jnp.tile(points_on_line(foot, top, problem.points_of_line), (q, 1))[:, None]
    moving, asked = jnp.tile(jnp.asarray(number), q)[:, None], wanted.reshape(-1, 1)
    line = problem.surface.along(base.reshape(-1, p), moving, at, asked)
    change = first[:, :, None] + line.reshape(q, count, -1, 2)
    ends = jnp.abs(change[:, :, jnp.array([0, -1])] + centres.change[:, None, None])
    if problem.grid == "line":
        own = jnp.zeros_like(change[:, :, :1])
        return jnp.concatenate([own, change], axis=2).var(2), ends.max(2)
    low, high = (
        jnp.repeat(corner[:, None], count, axis=1).at[:, each, number].set(end).reshape(-1, p)
        for corner, end in ((centres.low, foot), (centres.high, top))
    )
    start = centres.own[:, flag].ravel()
    slabs = Slabs(low, high, jnp.tile(jnp.asarray(flag), q), start, jnp.zeros_like(start))
    return lattice_variance(problem, slabs).reshape(q, count, 2), ends.max(2)
