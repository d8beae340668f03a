"""The strata of points outside the sample."""

from collections.abc import Callable

import numpy as np

from jcausal.data import to_device
from jcausal.matching._matcher import Task
from jcausal.matching._rows_of_points import rows_of_points, status_of_both
from jcausal.matching.strata._strata import Strata


def strata_at_points(task: Task, run: Callable[[Task], Strata]) -> Strata:
    """The stratum of each point of a task, without the points themselves."""
    found = run(rows_of_points(task))
    rows, stratum = np.asarray(found.rows), np.asarray(found.stratum)
    units = rows < task.sample.n
    return Strata(
        sample=task.sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        status=to_device(status_of_both(np.asarray(found.status))),
        rows=to_device(rows[units]),
        stratum=to_device(stratum[units]),
        place=to_device(np.split(np.asarray(found.place), 2)[0]),
        count=found.count,
        estimand=task.estimand,
        guide=found.guide,
    )
