"""Points outside a sample as rows of it: for methods whose search is one among rows."""

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import new_points, to_device, with_points
from jcausal.matching._matcher import Task
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import RESULTS, code


def rows_of_points(task: Task) -> Task:
    """The same task with each of m points as two rows of weight 0, which are nobody's partner.

    The first m are controls, the second m treated: of the one the partners are treated, of the
    other controls. All 2 m are queried.
    """
    at = _checked(task)
    n, m = task.sample.n, len(at)
    treated = np.arange(2 * m) >= m
    sample = with_points(task.sample, np.concatenate([at, at]), treated)
    query_fold = np.concatenate([np.asarray(task.query_fold)] * 2)
    fold = np.concatenate([np.asarray(task.fold), query_fold]).astype(np.int32)
    return task._replace(
        sample=sample,
        fold=to_device(fold),
        query=to_device(np.arange(n, n + 2 * m, dtype=np.int32)),
        query_fold=to_device(query_fold),
        asked=to_device(np.ones(2 * m, bool)),
        at=None,
        estimand="ate",
    )


def _checked(task: Task) -> Float[np.ndarray, "m p"]:
    """The points as numbers; where a flag says that one is missing, it may be anything.

    **Raises:** `DataError`.
    """
    sample, at = task.sample, np.array(task.at, np.float64)
    if at.ndim == 2 and at.shape[1] == sample.p:
        for j, flag in sample.schema.flag_of.items():
            at[at[:, flag] == 1, j] = np.asarray(sample.fill)[j]
    return new_points(sample, at)


def status_of_both(status: Int[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
    """How points end of which both rows were queried: matched if both were."""
    first, second = np.split(np.asarray(status), 2)
    return np.where(first == int(code(RESULTS.matched)), second, first).astype(np.int32)


def prognosis_of_points(found: Prognosis | None, n: int) -> Prognosis | None:
    """What is foretold of n units and of the points, from that of a task of their rows."""
    if found is None:
        return None
    units, queries = np.asarray(found.units)[:n], np.asarray(found.queries)
    return Prognosis(to_device(units), to_device(queries[: len(queries) // 2]), found.adjusts)
