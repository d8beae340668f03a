"""Driving the core from the host: batches, short rounds, finished boxes taken out."""

import time
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jcausal.data import is_traced
from jcausal.match._results import RESULTS, code
from jcausal.match.boxes._advance import advance, drain
from jcausal.match.boxes._grow import Grid, Problem, State, start
from jcausal.match.boxes._space import Layout, Queries, pick

Progress = Callable[[int, int], None]
BATCH = 2048  # boxes that grow together: bounds the memory of one step
SMALLEST = 32
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

    On the host a batch is filled up when a quarter of it is finished, and in the end, above 95
    boxes, made smaller when two thirds or more are. When that is does not depend on the clock, so
    neither does what is compiled.
    """
    if is_traced(problem, queries, asked):
        return drain(problem, queries, asked, plan, grid, points)
    grown = [np.array(field) for field in start(problem.space, queries, asked)]
    waiting = np.flatnonzero(grown[-1] == int(code(RESULTS.growing)))  # the status
    size, total = min(BATCH, asked.shape[0]), waiting.size
    alive, steps = waiting[:0], 4
    while waiting.size or alive.size:
        alive, waiting = np.split(np.concatenate([alive, waiting]), [size])
        size = size if waiting.size else min(size, _fewer(alive.size))
        few = size * 3 // 4 if waiting.size else _few(size)
        part, state = _batch(queries, grown, alive, size)
        growing = np.ones(alive.size, bool)
        while growing.sum() > few:
            began = time.perf_counter()
            limits = jnp.asarray(steps), jnp.asarray(few)
            state, made = advance(problem, part, state, *limits, plan, grid, points)
            growing = np.asarray(state.status)[: alive.size] == int(code(RESULTS.growing))
            took = time.perf_counter() - began
            pace = int(made) * ROUND / max(took, 1e-3)
            steps = int(np.clip(pace, steps / 2, min(steps * 2, LONGEST))) + 1
            if progress is not None:
                progress(total - waiting.size - int(growing.sum()), total)
        for field, values in zip(grown, state):
            field[alive] = np.asarray(values)[: alive.size]
        alive = alive[growing]
    return State(*map(jnp.asarray, grown))


def _batch(
    queries: Queries, grown: list[np.ndarray], alive: np.ndarray, size: int
) -> tuple[Queries, State]:
    """Some of the boxes, and copies of the last that do not grow up to `size`."""
    rows = np.pad(alive, (0, size - alive.size), mode="edge")
    fields = [field[rows] for field in grown]
    fields[-1][alive.size :] = int(code(RESULTS.not_asked))
    return pick(queries, rows), State(*map(jnp.asarray, fields))


def _fewer(count: int) -> int:
    """The size of a reduced batch: few sizes, since each is a compilation."""
    return max(SMALLEST, 1 << (int(count) - 1).bit_length())


def _few(size: int) -> int:
    """How many boxes go on in a batch of at most a third of the size."""
    third = size // 3
    return 0 if third < SMALLEST else 1 << (third.bit_length() - 1)
