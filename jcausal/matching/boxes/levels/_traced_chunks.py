"""Level boxes under tracing: chunk by chunk in every fold, as many as its queries need."""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._rows import put, take
from jcausal.matching.boxes._task import still
from jcausal.matching.boxes.levels._level_boxes import Batch, Crowd, LevelBoxes, level_boxes
from jcausal.matching.boxes.levels._level_task import LevelTask
from jcausal.surfaces import ResponseSurface


def grow_traced(work: LevelTask, surfaces: Sequence[ResponseSurface]) -> LevelBoxes:
    """Every query's box.

    How many units of a fold can be matched is not known, only how many there are at most.
    """
    work = still(work)
    every = work.every()
    found = _around_queries_alone(every)
    for k, surface in enumerate(surfaces):
        lean, crowd = still(surface.lean()), _crowd(work, k)
        solve = partial(_boxes, work, lean, crowd)
        mine = work.task.asked & (work.task.query_fold == k)
        found = _chunk_by_chunk(solve, every, mine, found, work.at_once)
    return found


def _boxes(work: LevelTask, surface: ResponseSurface, crowd: Crowd, batch: Batch) -> LevelBoxes:
    return level_boxes(surface, work.cells, crowd, batch, work.minimum, work.columns)


def _around_queries_alone(every: Batch) -> LevelBoxes:
    """Boxes that hold their query alone, and are not asked for."""
    queries = every.queries
    lower, upper = (codes.astype(jnp.int32) for codes in (queries.lower, queries.upper))
    status = jnp.full(every.asked.shape, code(RESULTS.not_asked))
    return LevelBoxes(Edges(lower, upper, queries.open), status)


def _crowd(work: LevelTask, k: int) -> Crowd:
    """The units of a fold in front, and units of weight 0 behind them."""
    task, sample = work.task, work.task.sample
    member = (task.fold == k) & (sample.weight > 0) & sample.valid
    rows = jnp.nonzero(member, size=task.most or sample.n, fill_value=sample.n)[0]
    arms = jnp.stack([~sample.t, sample.t], axis=1) & member[:, None]

    def of_rows(array: Array) -> Array:
        return array.at[rows].get(mode="fill", fill_value=0)

    return Crowd(
        cells=of_rows(work.cells.cells),
        arm=of_rows(sample.t),
        weight=of_rows(sample.weight),
        values=of_rows(work.prognosis.units),
        share=jnp.ones(2, sample.x.dtype),
        there=arms.sum(0),
    )


def _chunk_by_chunk(
    solve: Callable[[Batch], LevelBoxes],
    every: Batch,
    mine: Bool[Array, " q"],
    found: LevelBoxes,
    most: int,
) -> LevelBoxes:
    """Put the boxes of some queries in their place; time follows how many there are."""
    total = mine.shape[0]
    size = min(most, max(32, -(-total // 8)))
    order = jnp.nonzero(mine, size=-(-total // size) * size, fill_value=total)[0]

    def step(state: tuple[Array, LevelBoxes]) -> tuple[Array, LevelBoxes]:
        start, found = state
        rows = lax.dynamic_slice_in_dim(order, start, size)
        boxes = solve(take(every, jnp.minimum(rows, total - 1)))
        return start + size, put(found, rows, boxes)

    count = mine.sum(dtype=jnp.int32)
    return lax.while_loop(lambda state: state[0] < count, step, (jnp.int32(0), found))[1]
