"""Driving the core from the host: batches, short rounds."""

import time
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jcausal.data import is_traced
from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._advance import advance, drain
from jcausal.matching.boxes._grow import Grid, Problem, State, start
from jcausal.matching.boxes._space import Layout, Queries, pick

Progress = Callable[[int, int], None]
BATCH = 2048  # boxes that grow together: bounds the memory of one step
LONGEST = 2**16  # steps a round
ROUND = 0.5  # seconds a round should take, so that Ctrl-C and progress work


def grow_all(
    problem: Problem,
    queries: Queries,
    asked: Bool[Array, " q"],
    plan: Layout,
    grid: Grid,
    points: int,
    progress: Progress | None,
) -> State:
    """Grow every box to its end: rounds on the host, or one loop under tracing.

    All batches have one size, and a step costs what the boxes whose centre has moved do.
    """
    if is_traced(problem, queries, asked):
        return drain(problem, queries, asked, plan, grid, points)
    first = start(problem.space, queries, asked)
    grown = [np.array(field) for field in first]
    waiting = np.flatnonzero(grown[-1] == int(code(RESULTS.growing)))  # the status
    size, total = min(BATCH, asked.shape[0]), waiting.size
    steps = 4
    for begin in range(0, total, size):
        rows = waiting[begin : begin + size]
        part, state = _batch(queries, grown, rows, size)
        growing = rows.size
        while growing:
            began = time.perf_counter()
            state, made = advance(problem, part, state, jnp.asarray(steps), plan, grid, points)
            growing = int((np.asarray(state.status) == int(code(RESULTS.growing))).sum())
            took = time.perf_counter() - began
            pace = int(made) * ROUND / max(took, 1e-3)
            steps = int(np.clip(pace, steps / 2, min(steps * 2, LONGEST))) + 1
            if progress is not None:
                progress(begin + rows.size - growing, total)
        for field, values in zip(grown, state):
            field[rows] = np.asarray(values)[: rows.size]
    return State(*map(jnp.asarray, grown))


def _batch(
    queries: Queries, grown: list[np.ndarray], rows: np.ndarray, size: int
) -> tuple[Queries, State]:
    """Some of the boxes, and copies of the last that do not grow up to `size`."""
    wide = np.pad(rows, (0, size - rows.size), mode="edge")
    fields = [field[wide] for field in grown]
    fields[-1][rows.size :] = int(code(RESULTS.not_asked))
    return pick(queries, wide), State(*map(jnp.asarray, fields))
