"""Partners of points outside the sample: of either arm."""

from collections.abc import Callable

import numpy as np

from jcausal.data import to_device
from jcausal.matching._matcher import Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching._rows_of_points import (
    prognosis_of_points,
    rows_of_points,
    status_of_both,
)
from jcausal.matching.neighbors._pairs import Pairs


def pairs_at_points(task: Task, run: Callable[[Task], Pairs]) -> Pairs:
    """The controls and the treated that `run` finds for each point of a task."""
    found = run(rows_of_points(task))
    status, n = status_of_both(np.asarray(found.status)), task.sample.n
    rows, weights = (
        np.concatenate(np.split(np.asarray(a), 2), axis=1) for a in (found.rows, found.weights)
    )
    weights = np.where((status == int(code(RESULTS.matched)))[:, None], weights, 0)
    return Pairs(
        sample=task.sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        rows=to_device(rows),
        weights=to_device(weights),
        status=to_device(status),
        estimand=task.estimand,
        caution=found.caution,
        prognosis=prognosis_of_points(found.prognosis, n),
    )
