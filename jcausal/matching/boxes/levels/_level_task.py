"""What AHB works on: a task with its steps, its cells and what the surfaces count."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, bucket, is_traced, on_host, pad_rows, to_device
from jcausal.matching._matcher import Task
from jcausal.matching._prognosis import Prognosis
from jcausal.matching.boxes._columns import Columns, columns_of
from jcausal.matching.boxes._task import queries_of
from jcausal.matching.boxes.levels._level_boxes import Batch, SampleArrays, SampleCells, lay_out

BYTES = 2**27  # of the points of a batch's lines, were they evaluated one by one


class LevelTask(NamedTuple):
    """A task, and what is the same for all of its folds.

    `prognosis` by the surfaces; `uses` (q, 2): what the error of each counts for each query;
    `minimum` (2,): units that a box needs of either arm; `cells` of the sample; `at_once`: queries
    of a batch, within the bytes that the points of their lines take.
    """

    task: Task
    prognosis: Prognosis
    uses: Float[Array, "q 2"]
    minimum: Int[Array, " 2"]
    columns: Columns
    cells: SampleCells
    at_once: int

    def every(self) -> Batch:
        """All queries."""
        task = self.task
        return Batch(queries_of(task), self.prognosis.queries, self.uses, task.asked)


def level_task(
    task: Task,
    prognosis: Prognosis,
    uses: Float[Array, "q 2"],
    minimum: Int[Array, " 2"],
    bins: int,
) -> LevelTask:
    """Lay out a task with at most `bins` steps on a ladder."""
    sample = task.sample.plain()
    columns = columns_of(sample)
    arrays = _arrays(sample, columns, is_traced(task, prognosis, uses))
    cells = lay_out(arrays, columns, bins)
    wide = len(columns.ordered) * bins * sample.p * 4
    at_once = int(np.clip(BYTES // max(wide, 1), 32, 4096))
    return LevelTask(task, prognosis, uses, minimum, columns, cells, at_once)


def _arrays(sample: Sample, columns: Columns, traced: bool) -> SampleArrays:
    """The arrays of a sample; on the host in a bucketed number of rows."""
    x, codes, weight, valid = sample.x, sample.codes, sample.weight, sample.valid
    ladder, heights = sample.ladder[columns.ordered], sample.heights
    if not traced:
        size = bucket(sample.n)
        x, codes, weight, valid = (pad_rows(np.asarray(a), size) for a in (x, codes, weight, valid))
        ladder, heights = np.asarray(ladder).astype(sample.x.dtype), np.asarray(heights)
    steps = to_device(ladder), to_device(heights[columns.ordered])
    return SampleArrays(x, codes, weight, valid, *steps, sample.fill)


@on_host
def counts_of(lib: Any, controls: Any, treated: Any) -> Int[Array, " 2"]:
    """Counts of both arms as an array."""
    return lib.stack([lib.asarray(controls, np.int32), lib.asarray(treated, np.int32)])


def uses_of(task: Task, gammas: tuple[Any, Any]) -> Float[Array, "q 2"]:
    """What the error of each surface counts for each query."""
    sample = task.sample
    return _uses(sample.t, task.query, gammas, task.effect == "group", sample.x.dtype)


@on_host
def _uses(
    lib: Any,
    t: Bool[Array, " n"],
    query: Int[Array, " q"],
    gammas: tuple[Any, Any],
    both: bool,
    dtype: np.dtype,
) -> Float[Array, "q 2"]:
    """The gammas; where one is None, 1 for the surface of a query's partners and else 0."""
    every, treated = (query < 0) | both, t[query]
    columns = [
        (every | wanted).astype(dtype) if gamma is None else lib.full(query.shape, gamma, dtype)
        for gamma, wanted in zip(gammas, (treated, ~treated))
    ]
    return lib.stack(columns, axis=1)
