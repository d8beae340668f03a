"""All boxes of a batch grow together, one expansion a step."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes.fast._box_state import BoxState
from jcausal.matching.boxes.fast._problem import GrowthProblem, origins
from jcausal.matching.boxes.fast._step import GrowingBoxes, begin, step


@eqx.filter_jit
def advance(
    problem: GrowthProblem, queries: Queries, state: BoxState, limit: Int[Array, ""]
) -> tuple[BoxState, Int[Array, ""]]:
    """Up to `limit` steps, or until no box grows; and how many steps it took."""
    starts = origins(problem, queries)

    def going(carry: tuple[GrowingBoxes, Array]) -> Array:
        return carry[0].state.growing.any() & (carry[1] < limit)

    def next_step(carry: tuple[GrowingBoxes, Array]) -> tuple[GrowingBoxes, Array]:
        return step(problem, starts, carry[0])[0], carry[1] + 1

    first = (begin(problem, starts, state), jnp.zeros((), jnp.int32))
    boxes, made = lax.while_loop(going, next_step, first)
    return boxes.state, made
