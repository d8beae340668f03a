"""Boxes on their way: where each side stands, what could come next, which of it is best."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._space import Layout, Queries, Space
from jcausal.surfaces import ResponseSurface
from jcausal_kernels import CodedBoxes

Grid = Literal["line", "lattice"]
TIE = 1e-6  # steps and scores closer than this share of their scale are equal


class Rules(NamedTuple):
    """The numbers of `FastAHB` as arrays."""

    gamma: Float[Array, " 2"]
    c: Float[Array, ""]
    slack: Float[Array, ""]
    reach: Float[Array, ""]
    minimum: Int[Array, " 2"]
    levels: Int[Array, ""] | None


class State(NamedTuple):
    """Boxes on their way: how many stops each side has taken, open levels, the last score."""

    down: Int[Array, "q o"]
    up: Int[Array, "q o"]
    open: Bool[Array, "q c l"]
    score: Float[Array, " q"]
    enough: Bool[Array, "q 2"]
    status: Int[Array, " q"]


class Problem(NamedTuple):
    """Everything that stays the same while boxes grow.

    `scale` is the variance of the surfaces over the members, `spread` that plus the noise around
    them: the variance of the outcome. Both weighted by gamma.
    """

    space: Space
    surface: ResponseSurface
    rules: Rules
    scale: Float[Array, ""]
    spread: Float[Array, ""]

    def ask(self, x: Float[Array, "m p"], plan: Layout) -> Float[Array, "m 2"]:
        """The surface at some points, with the fill wherever a number is missing."""
        return self.surface(plan.filled(x, self.space.fill))


def start(space: Space, queries: Queries, asked: Bool[Array, " q"]) -> State:
    """Boxes that hold their own point (and its exact twins) only."""
    still = jnp.zeros(queries.lower.shape, jnp.int32)
    q = queries.x.shape[0]
    first = jnp.where(space.sound, code(RESULTS.growing), code(RESULTS.bad_input))
    first = jnp.where(asked, first, code(RESULTS.not_asked))
    return State(
        down=still,
        up=still,
        open=queries.open,
        score=jnp.full(q, jnp.inf, queries.x.dtype),
        enough=jnp.zeros((q, 2), bool),
        status=first,
    )


def scale_of(space: Space, surface: ResponseSurface, rules: Rules) -> Float[Array, ""]:
    """gamma0 var f0 + gamma1 var f1 over the members, weighted: the unit of the slack."""
    share = space.weight / space.weight.sum()
    values = surface(space.x)
    centred = values - _dot(share, values)
    spread = _dot(share, jnp.square(centred))
    return weighted(spread, rules)


def _dot(share: Array, values: Array) -> Array:
    """Weighted column means in which a row of weight zero counts nothing, NaN or not."""
    return jnp.where(share[:, None] > 0, share[:, None] * values, 0).sum(0)


def rungs_of(
    space: Space, queries: Queries, state: State, levels: Array | None
) -> tuple[Array, Array]:
    """The lowest and highest code that each box takes in: (q, o) each."""
    lower = queries.lower - _stop(state.down, queries.lower, levels)
    above = space.heights - 1 - queries.upper
    return lower, queries.upper + _stop(state.up, above, levels)


def _stop(taken: Array, reach: Array, levels: Array | None) -> Array:
    """How many values the first `taken` stops pass, with at most `levels` stops on a side."""
    if levels is None:
        return taken
    spread = jnp.minimum(levels, jnp.maximum(reach, 1))
    even = reach // spread * taken + (reach % spread * taken + spread - 1) // spread
    return jnp.where(reach <= levels, taken, even)


def coded_boxes(lower: Array, upper: Array, opened: Array, gate: Array) -> CodedBoxes:
    """Boxes for the kernels, with the gate that lets members of one fold through."""
    return CodedBoxes(
        jnp.concatenate([lower, gate[:, None]], axis=1),
        jnp.concatenate([upper, gate[:, None]], axis=1),
        opened,
    )


class Side(NamedTuple):
    """One side of every box, now and after its next stop."""

    left: Bool[Array, "q o"]
    value: Float[Array, "q o"]
    target: Float[Array, "q o"]
    size: Float[Array, "q o"]


class Steps(NamedTuple):
    """All expansions within reach: k = o + e proposals a query."""

    allowed: Bool[Array, "q k"]
    size: Float[Array, "q k"]
    upward: Bool[Array, "q o"]
    start: Float[Array, "q o"]
    stop: Float[Array, "q o"]


def side(
    space: Space, queries: Queries, plan: Layout, taken: Array, levels: Array | None, sign: int
) -> Side:
    """Where one side stands (at the query itself until it moves) and where it would go."""
    first = queries.upper if sign > 0 else queries.lower
    reach = space.heights - 1 - first if sign > 0 else first
    now = first + sign * _stop(taken, reach, levels)
    after = first + sign * _stop(taken + 1, reach, levels)
    top, rows = space.ladder.shape[1] - 1, jnp.arange(space.ladder.shape[0])
    left = taken < (reach if levels is None else jnp.minimum(reach, levels))
    here, there = jnp.clip(now, 0, top), jnp.clip(after, 0, top)
    place = jnp.where(taken > 0, space.place[:, rows, here], queries.place)
    moved = space.place[:, rows, there] - place
    value = jnp.where(taken > 0, space.ladder[rows, here], queries.x[:, plan.ordered])
    return Side(
        left=left,
        value=value,
        target=jnp.where(left, space.ladder[rows, there], value),
        size=jnp.abs(moved[0] + moved[1]) / jnp.where(space.span > 0, space.span, 1),
    )


def proposals(down: Side, up: Side, opened: Array, space: Space, plan: Layout) -> Steps:
    """The nearer side of every ladder (a tie goes up), and every level not yet open."""
    nearer = up.size <= down.size * (1 + TIE) + TIE**2
    upward = up.left & (nearer | ~down.left)
    slot, level = plan.entries[:, 0], plan.entries[:, 1]
    opening = jnp.broadcast_to(1 + space.entry_rank, (opened.shape[0], len(slot)))
    size = jnp.where(upward, up.size, down.size)
    return Steps(
        allowed=jnp.concatenate([up.left | down.left, ~opened[:, slot, level]], axis=1),
        size=jnp.concatenate([size, opening.astype(size.dtype)], axis=1),
        upward=upward,
        start=jnp.where(upward, up.value, down.value),
        stop=jnp.where(upward, up.target, down.target),
    )


def options(
    problem: Problem, queries: Queries, state: State, plan: Layout
) -> tuple[Side, Side, Steps]:
    """Both sides of every box and what it could take in next."""
    space, levels = problem.space, problem.rules.levels
    down = side(space, queries, plan, state.down, levels, -1)
    up = side(space, queries, plan, state.up, levels, 1)
    return down, up, proposals(down, up, state.open, space, plan)


def weighted(parts: Float[Array, "*r 2"], rules: Rules) -> Float[Array, "*r"]:
    """gamma0 times the first plus gamma1 times the second; an arm with gamma 0 is not looked at."""
    return jnp.where(rules.gamma > 0, rules.gamma * parts, 0).sum(-1)


class Choice(NamedTuple):
    """The proposal of each query, its score, and whether there is one."""

    pick: Int[Array, " q"]
    score: Float[Array, " q"]
    exists: Bool[Array, " q"]


def smallest(value: Array, score: Array, allowed: Array, size: Array, scale: Array) -> Choice:
    """The allowed proposal of smallest value; within `TIE` of the scale the shorter step."""
    value = jnp.where(allowed & ~jnp.isnan(value), value, jnp.inf)
    tied = value <= value.min(1, keepdims=True) + TIE * scale
    pick = jnp.argmin(jnp.where(tied & allowed, size, jnp.inf), axis=1)
    own = jnp.take_along_axis(score, pick[:, None], axis=1)[:, 0]
    return Choice(pick, own, allowed.any(1))


@eqx.filter_jit
def pose(space: Space, surface: ResponseSurface, rules: Rules) -> Problem:
    """Measure the scales that slack and reach refer to."""
    scale = scale_of(space, surface, rules)
    noise = weighted(jnp.asarray(surface.noise, scale.dtype), rules)
    return Problem(space, surface, rules, scale, scale + noise)
