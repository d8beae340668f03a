"""Boxes on their way: where each side stands, and how each query ended."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes.fast._problem import FoldArrays, GrowthProblem


class BoxState(NamedTuple):
    """Boxes on their way.

    `down`, `up` (q, o): how many stops each side has taken; `open` levels (q, c, l); `score` (q,)
    of the last expansion; `enough` (q, 2): which arms are known to have enough units; `status` (q,)
    a code of `jc.RESULTS`.
    """

    down: Int[Array, "q o"]
    up: Int[Array, "q o"]
    open: Bool[Array, "q c l"]
    score: Float[Array, " q"]
    enough: Bool[Array, "q 2"]
    status: Int[Array, " q"]

    @property
    def growing(self) -> Bool[Array, " q"]:
        """Which boxes still grow."""
        return self.status == code(RESULTS.growing)


def start(fold: FoldArrays, queries: Queries, asked: Bool[Array, " q"]) -> BoxState:
    """Boxes that hold their own point (and its exact twins) only."""
    still = jnp.zeros(queries.lower.shape, jnp.int32)
    q = queries.x.shape[0]
    first = jnp.where(fold.sound, code(RESULTS.growing), code(RESULTS.bad_input))
    return BoxState(
        down=still,
        up=still,
        open=queries.open,
        score=jnp.full(q, jnp.inf, queries.x.dtype),
        enough=jnp.zeros((q, 2), bool),
        status=jnp.where(asked, first, code(RESULTS.not_asked)),
    )


def edges_of(problem: GrowthProblem, queries: Queries, state: BoxState) -> Edges:
    """The lowest and highest code that each box takes in, and its levels."""
    levels = problem.rules.levels
    lower = queries.lower - values_passed(state.down, queries.lower, levels)
    above = problem.fold.heights - 1 - queries.upper
    return Edges(lower, queries.upper + values_passed(state.up, above, levels), state.open)


def values_passed(
    stops: Int[Array, "q o"], there: Int[Array, "q o"], levels: Int[Array, ""] | None
) -> Int[Array, "q o"]:
    """How many of the values that are `there` on a side the first so many stops pass.

    Every value is a stop; with `levels`, at most so many of them are.
    """
    if levels is None:
        return stops
    spread = jnp.minimum(levels, jnp.maximum(there, 1))
    even = there // spread * stops + (there % spread * stops + spread - 1) // spread
    return jnp.where(there <= levels, stops, even)


def stops_of(there: Int[Array, "q o"], levels: Int[Array, ""] | None) -> Int[Array, "q o"]:
    """How many stops there are on a side of so many values."""
    return there if levels is None else jnp.minimum(there, levels)
