"""One step: the best expansion of every box that still grows."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes.fast._box_state import BoxState
from jcausal.matching.boxes.fast._counts import count_some
from jcausal.matching.boxes.fast._looks import Looks, look, nothing_seen
from jcausal.matching.boxes.fast._problem import GrowthProblem, Origins
from jcausal.matching.boxes.fast._proposals import (
    Choice,
    Proposals,
    proposals,
    smallest,
    take_in,
)


class GrowingBoxes(NamedTuple):
    """Boxes, what the surface says of their next expansions, and for which it holds no more."""

    state: BoxState
    looks: Looks
    stale: Bool[Array, " q"]


class Prospects(NamedTuple):
    """What each box could do next.

    `best`: the proposal of smallest score within the caliper; `nearest`: that of the nearest
    prediction, wherever it is; `calm`: whether the best one's score is low enough; `spoiled`:
    whether the surface gave NaN.
    """

    best: Choice
    nearest: Choice
    calm: Bool[Array, " q"]
    spoiled: Bool[Array, " q"]


def begin(problem: GrowthProblem, origins: Origins, state: BoxState) -> GrowingBoxes:
    """Boxes for which the surface has not been asked."""
    stale = jnp.ones(len(origins.home), bool)
    return GrowingBoxes(state, nothing_seen(problem, origins.home), stale)


def step(
    problem: GrowthProblem,
    origins: Origins,
    boxes: GrowingBoxes,
    known: Bool[Array, " q"] | None = None,
) -> tuple[GrowingBoxes, Bool[Array, " q"]]:
    """Test the best expansion of every box that still grows, make it, and tell which moved.

    The best is the one of smallest score within the caliper; beyond it, only while units are
    missing, the nearest. Units are counted only when the decision hangs on them: here, or, where
    `known` tells whose count is known, elsewhere, and other boxes that ask stand still.

    The surface is asked where a box's centre has moved. A level that opens leaves it where it is;
    for the surface, so does a covariate that it does not see.
    """
    state, growing = boxes.state, boxes.state.growing
    looks = look(problem, origins, state, growing & boxes.stale, boxes.looks)
    steps = proposals(problem, origins.queries, state)
    prospects = _prospects(problem, state, steps, looks)
    calm, spoiled = prospects.calm, prospects.spoiled
    asks = growing & ~spoiled & ~calm & ~state.enough.all(1)
    enough, counted = state.enough, known
    if counted is None:
        enough, counted = lax.cond(
            asks.any(),
            lambda: count_some(problem, origins.queries, state, asks),
            lambda: (state.enough, jnp.zeros_like(asks)),
        )
    growing &= ~asks | counted
    short = ~calm & ~enough.all(1)
    choice = _chosen(prospects, short)
    moves = growing & ~spoiled & choice.exists & (calm | short)
    made = moves[:, None] & (jnp.arange(steps.allowed.shape[1]) == choice.pick[:, None])
    moved = take_in(problem, state, steps, made)._replace(
        score=jnp.where(moves, choice.score, state.score),
        enough=enough,
        status=jnp.where(growing & ~moves, _ending(enough, spoiled), state.status),
    )
    return GrowingBoxes(moved, looks, _centre_moved(problem, made)), moves


def _prospects(
    problem: GrowthProblem, state: BoxState, steps: Proposals, looks: Looks
) -> Prospects:
    """Score every proposal, and hold the best one's score against the one before."""
    rules, scales = problem.rules, problem.scales
    score, distance = rules.weighted(looks.variance), rules.weighted(looks.shift**2)
    spoiled = (jnp.isnan(score + distance) & steps.allowed).any(1) | jnp.isnan(scales.outcome)
    within = jnp.isinf(rules.caliper) | (distance <= rules.caliper * scales.outcome)
    best = smallest(score, score, steps.allowed & within, steps.size, scales.surfaces)
    nearest = smallest(distance, score, steps.allowed, steps.size, scales.surfaces)
    limit = rules.c * jnp.maximum(state.score, rules.tolerance * scales.surfaces)
    lower = best.score < rules.c * state.score  # the paper's rule
    calm = jnp.where(rules.tolerance > 0, best.score <= limit, lower) & best.exists
    return Prospects(best, nearest, calm, spoiled)


def _chosen(prospects: Prospects, short: Bool[Array, " q"]) -> Choice:
    """The best proposal, or the nearest where units are missing and none is within the caliper."""
    beyond = short & ~prospects.best.exists
    pairs = zip(prospects.best, prospects.nearest)
    return Choice(*(jnp.where(beyond, nearest, best) for best, nearest in pairs))


def _ending(enough: Bool[Array, "q 2"], spoiled: Bool[Array, " q"]) -> Int[Array, " q"]:
    """How a box ends that does not grow any more."""
    lacking = jnp.where(enough[:, 0], code(RESULTS.no_treated), code(RESULTS.no_control))
    ended = jnp.where(enough.all(1), code(RESULTS.matched), lacking)
    return jnp.where(spoiled, code(RESULTS.surface_nan), ended)


def _centre_moved(problem: GrowthProblem, made: Bool[Array, "q k"]) -> Bool[Array, " q"]:
    """Which boxes moved along a ladder that the surface sees."""
    columns = problem.columns
    seen = problem.surface.sees(len(columns.kinds))[columns.ordered]
    return (made[:, : len(seen)] & seen).any(1)
