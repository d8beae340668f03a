"""Growing every box to its end: batches and short rounds on the host, one loop under tracing."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jcausal.data import is_traced
from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._queries import Queries
from jcausal.matching.boxes._rows import take
from jcausal.matching.boxes.fast._batch_loop import advance
from jcausal.matching.boxes.fast._box_state import BoxState, start
from jcausal.matching.boxes.fast._lane_loop import drain
from jcausal.matching.boxes.fast._problem import GrowthProblem

Report = Callable[[int, int], None]
BATCH = 2048  # boxes that grow together: bounds the memory of one step
LONGEST = 2**16  # steps a round
ROUND = 0.5  # seconds a round should take, so that Ctrl-C and progress work


def grow_all(
    problem: GrowthProblem, queries: Queries, asked: Bool[Array, " q"], report: Report | None
) -> BoxState:
    """Grow every box to its end; on the host `report` is told (done, total) after each round.

    All batches have one size, and a step costs what the boxes whose centre has moved do.
    """
    if is_traced(problem, queries, asked):
        return drain(problem, queries, asked)
    first = start(problem.fold, queries, asked)
    waiting, grown = np.flatnonzero(first.growing), jax.tree.map(np.array, first)
    size, total = min(BATCH, asked.shape[0]), waiting.size
    steps = 4
    for begin in range(0, total, size):
        rows = waiting[begin : begin + size]
        part, state = _batch(queries, grown, rows, size)
        growing = rows.size
        while growing:
            began = time.perf_counter()
            state, made = advance(problem, part, state, jnp.asarray(steps))
            growing = int(np.asarray(state.growing).sum())
            steps = _next_round(steps, int(made), time.perf_counter() - began)
            if report is not None:
                report(begin + rows.size - growing, total)
        for field, values in zip(grown, state):
            field[rows] = np.asarray(values)[: rows.size]
    return jax.tree.map(jnp.asarray, grown)


def _next_round(steps: int, made: int, took: float) -> int:
    """Steps of the next round, by the pace of the last."""
    pace = made * ROUND / max(took, 1e-3)
    return int(np.clip(pace, steps / 2, min(steps * 2, LONGEST))) + 1


def _batch(
    queries: Queries, grown: BoxState, rows: Int[np.ndarray, " r"], size: int
) -> tuple[Queries, BoxState]:
    """Some of the boxes, and copies of the last that do not grow up to `size`."""
    wide = np.pad(rows, (0, size - rows.size), mode="edge")
    state = take(grown, wide)
    state.status[rows.size :] = int(code(RESULTS.not_asked))
    return take(queries, wide), jax.tree.map(jnp.asarray, state)
