"""What each box could take in next, and which of it is best."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes.fast._box_state import BoxState, stops_of, values_passed
from jcausal.matching.boxes.fast._problem import GrowthProblem

TIE = 1e-6  # steps and scores closer than this share of their scale are equal


class Side(NamedTuple):
    """One side of every box, now and after its next stop.

    `left`: whether there is a next stop; `value` now and `target` then, in the covariates' units;
    `size` of the step, as a share of the ladder's length.
    """

    left: Bool[Array, "q o"]
    value: Float[Array, "q o"]
    target: Float[Array, "q o"]
    size: Float[Array, "q o"]


class Proposals(NamedTuple):
    """All expansions that boxes could make: k = o + e a query, ladders first, then levels.

    `allowed`: whether there is one; `size` of it: a share of a ladder, 1 and more for a level;
    on ladders `upward`, from `start` to `stop`; the sides `down` and `up` as they are.
    """

    allowed: Bool[Array, "q k"]
    size: Float[Array, "q k"]
    upward: Bool[Array, "q o"]
    start: Float[Array, "q o"]
    stop: Float[Array, "q o"]
    down: Side
    up: Side


def proposals(problem: GrowthProblem, queries: Queries, state: BoxState) -> Proposals:
    """The nearer side of every ladder (a tie goes up), and every level not yet open."""
    down = _side(problem, queries, state.down, -1)
    up = _side(problem, queries, state.up, 1)
    nearer = up.size <= down.size * (1 + TIE) + TIE**2
    upward = up.left & (nearer | ~down.left)
    size = jnp.where(upward, up.size, down.size)
    slot, level = problem.columns.entries.T
    opening = jnp.broadcast_to(1 + problem.fold.entry_rank, (state.open.shape[0], len(slot)))
    return Proposals(
        allowed=jnp.concatenate([up.left | down.left, ~state.open[:, slot, level]], axis=1),
        size=jnp.concatenate([size, opening.astype(size.dtype)], axis=1),
        upward=upward,
        start=jnp.where(upward, up.value, down.value),
        stop=jnp.where(upward, up.target, down.target),
        down=down,
        up=up,
    )


def _side(problem: GrowthProblem, queries: Queries, stops: Int[Array, "q o"], sign: int) -> Side:
    """Where one side stands (at the query itself until it moves) and where it would go."""
    fold, levels = problem.fold, problem.rules.levels
    first = queries.upper if sign > 0 else queries.lower
    there = fold.heights - 1 - first if sign > 0 else first
    left = stops < stops_of(there, levels)
    ladders, top = jnp.arange(fold.ladder.shape[0]), fold.ladder.shape[1] - 1
    now = jnp.clip(first + sign * values_passed(stops, there, levels), 0, top)
    then = jnp.clip(first + sign * values_passed(stops + 1, there, levels), 0, top)
    moved = stops > 0
    value = jnp.where(moved, fold.ladder[ladders, now], queries.x[:, problem.columns.ordered])
    place = jnp.where(moved[..., None], fold.place[ladders, now], queries.place)
    length = fold.place[ladders, then] - place
    return Side(
        left=left,
        value=value,
        target=jnp.where(left, fold.ladder[ladders, then], value),
        size=jnp.abs(length[..., 0] + length[..., 1]) / jnp.where(fold.span > 0, fold.span, 1),
    )


def take_in(
    problem: GrowthProblem, state: BoxState, steps: Proposals, made: Bool[Array, "q k"]
) -> BoxState:
    """Make an expansion in the boxes that have one."""
    width = len(problem.columns.ordered)
    moved, opened = made[:, :width], made[:, width:]
    slot, level = problem.columns.entries.T
    return state._replace(
        up=state.up + (moved & steps.upward),
        down=state.down + (moved & ~steps.upward),
        open=state.open.at[:, slot, level].max(opened),
    )


class Choice(NamedTuple):
    """One proposal of each query: its number `pick`, its score, and whether there is one."""

    pick: Int[Array, " q"]
    score: Float[Array, " q"]
    exists: Bool[Array, " q"]


def smallest(
    value: Float[Array, "q k"],
    score: Float[Array, "q k"],
    allowed: Bool[Array, "q k"],
    size: Float[Array, "q k"],
    scale: Float[Array, ""],
) -> Choice:
    """The allowed proposal of smallest value; within `TIE` of the scale the shorter step."""
    value = jnp.where(allowed & ~jnp.isnan(value), value, jnp.inf)
    tied = value <= value.min(1, keepdims=True) + TIE * scale
    pick = jnp.argmin(jnp.where(tied & allowed, size, jnp.inf), axis=1)
    own = jnp.take_along_axis(score, pick[:, None], axis=1)[:, 0]
    return Choice(pick, own, allowed.any(1))
