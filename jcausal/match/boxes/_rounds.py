"""Driving the core from the host: batches, short rounds, finished boxes taken out."""

import time
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jcausal.data import is_traced
from jcausal.match._results import RESULTS, code
from jcausal.match.boxes._grow import ALL_RUNGS, Grid, Problem, State, advance, start
from jcausal.match.boxes._space import Layout, Queries

Progress = Callable[[int, int], None]
BATCH = 2048  # queries a batch: bounds the memory of one step
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
    """Grow every box to its end: rounds on the host, or one loop under tracing."""
    if is_traced(problem, queries, asked):
        state = start(problem.space, queries, asked)
        return advance(problem, queries, state, jnp.asarray(ALL_RUNGS), plan, grid, points)
    count, total = queries.x.shape[0], int(np.asarray(asked).sum())
    later, parts = total, []
    for first in range(0, count, BATCH):
        rows = np.arange(first, min(first + BATCH, count))
        mine = np.asarray(asked)[rows]
        later -= int(mine.sum())

        def report(growing: int, later: int = later) -> None:
            if progress is not None:
                progress(total - later - growing, total)

        batch = pick(queries, rows)
        grown = [np.array(field) for field in start(problem.space, batch, jnp.asarray(mine))]
        _grow_batch(problem, batch, grown, plan, grid, points, report)
        parts.append(grown)
    return State(*(jnp.asarray(np.concatenate(field)) for field in zip(*parts)))


def _grow_batch(
    problem: Problem,
    queries: Queries,
    grown: list[np.ndarray],
    plan: Layout,
    grid: Grid,
    points: int,
    report: Callable[[int], None],
) -> None:
    """Grow one batch in place: when two thirds of it are finished the others go on alone."""
    size = grown[0].shape[0]
    alive = np.flatnonzero(grown[-1] == int(code(RESULTS.growing)))  # the status
    steps = 4
    while alive.size:
        size = min(size, _fewer(alive.size))
        rows = np.pad(alive, (0, size - alive.size), mode="edge")
        part, state = pick(queries, rows), State(*(jnp.asarray(a[rows]) for a in grown))
        while True:
            began = time.perf_counter()
            state = advance(problem, part, state, jnp.asarray(steps), plan, grid, points)
            growing = np.asarray(state.status)[: alive.size] == int(code(RESULTS.growing))
            took = time.perf_counter() - began
            steps = int(np.clip(steps * ROUND / max(took, 1e-3), steps / 2, steps * 2)) + 1
            report(int(growing.sum()))
            if not growing.any() or _fewer(int(growing.sum())) * 3 <= size:
                break
        for field, values in zip(grown, state):
            field[alive] = np.asarray(values)[: alive.size]
        alive = alive[growing]


def _fewer(count: int) -> int:
    """The size of a reduced batch: few sizes, since each is a compilation."""
    return max(32, 1 << (int(count) - 1).bit_length())


def pick(queries: Queries, rows: np.ndarray) -> Queries:
    """Some of the queries."""
    return Queries(
        queries.x[rows],
        queries.place[:, rows],
        queries.lower[rows],
        queries.upper[rows],
        queries.open[rows],
    )
