"""The largest subsets of two arms whose means agree, as an integer program."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.solvers import IntegerProgram, SolverError, SolverPool


class Balanced(NamedTuple):
    """Units of both arms, and how far their means may be apart.

    - `values` (m, f): columns in sd, centred; `tolerance` (f,) in sd.
    - `queried` (m,): whose number is to be largest; `ratio`: others for each of them.
    """

    values: Float[np.ndarray, "m f"]
    queried: Bool[np.ndarray, " m"]
    tolerance: Float[np.ndarray, " f"]
    ratio: int


def largest_subset(task: Balanced, time_limit: float) -> tuple[Bool[np.ndarray, " m"], int]:
    """The largest balanced subset found, and how many queries none exceeds.

    Over the number z_g that is taken of each group g of twins,

        max sum_{queries} z   where   sum_{others} z = ratio sum_{queries} z   and, for every f,
        |sum_{others} z x_f - ratio sum_{queries} z x_f| <= tolerance_f ratio sum_{queries} z

    Of twins the first are taken. A bound that is less than one above what was found is a proof.

    **Raises:** `SolverError`.
    """
    group, first, size = _twins(task)
    program = _program(task._replace(values=task.values[first], queried=task.queried[first]), size)
    with SolverPool(workers=1) as pool:
        [found] = pool.solve([program], time_limit=time_limit, gap=1 - 1e-6)
    if found.ended not in ("optimal", "time limit"):
        raise SolverError(f"the program of cardinality matching ended with {found.ended!r}.")
    taken = np.zeros(size.size) if found.values is None else np.rint(found.values)
    rank = np.empty(group.size, np.int64)
    order = np.argsort(group, kind="stable")
    rank[order] = np.arange(group.size) - np.searchsorted(group[order], group[order])
    most = min(int(task.queried.sum()), int((~task.queried).sum()) // task.ratio)
    bound = most if np.isinf(found.bound) else min(most, int(np.floor(-found.bound + 1e-6)))
    chosen = rank < taken[group]
    if found.ended == "optimal":
        bound = int((chosen & task.queried).sum())
    return chosen, bound


def _twins(
    task: Balanced,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " g"], Int[np.ndarray, " g"]]:
    """The group of each unit, alike in arm and all columns; a first member and the size of each."""
    every = np.column_stack([task.queried, task.values])
    _, first, group, size = np.unique(
        every, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)  # in the order of the units
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    return place[group.ravel()], first[order], size[order]


def _program(task: Balanced, size: Int[np.ndarray, " g"]) -> IntegerProgram:
    """One column a group of twins, one row for the ratio, two for each column of covariates."""
    sign = np.where(task.queried, -float(task.ratio), 1.0)
    slack = np.where(task.queried, float(task.ratio), 0.0)[:, None] * task.tolerance
    sums = sign[:, None] * task.values
    rows = np.concatenate([sign[:, None], sums - slack, -sums - slack], axis=1).T
    place, column = np.nonzero(rows)
    count = rows.shape[0]
    return IntegerProgram(
        cost=np.where(task.queried, -1.0, 0.0),
        lower=np.zeros(size.size),
        upper=size.astype(float),
        integer=np.ones(size.size, bool),
        start=np.searchsorted(place, np.arange(count + 1)),
        column=column,
        value=rows[place, column],
        row_lower=np.concatenate([[0.0], np.full(count - 1, -np.inf)]),
        row_upper=np.zeros(count),
        incumbent=np.zeros(size.size),
    )
