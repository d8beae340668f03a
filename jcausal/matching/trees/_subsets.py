"""The best subsets of many queries: on the device, or as integer programs in the solver pool."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import bucket, pad_rows, to_device
from jcausal.matching.trees._candidates import Candidates, deviations
from jcausal.matching.trees._subset_program import SubsetObjective, problem, solve_subsets
from jcausal.solvers import SolverPool
from jcausal_kernels import subset_search

Engine = Literal["auto", "device", "highs"]
ENUMERATED = 16  # candidates up to which "auto" looks at every subset
CHUNK = 2**14  # queries that are looked at together, at most
PROGRAMS = 64  # queries whose programs are solved together
BYTES = 2**27  # of deviations that are laid out together


def choose(
    candidates: Candidates, aim: SubsetObjective, engine: Engine, pool: SolverPool | None
) -> Iterator[tuple[Int[np.ndarray, " m"], Bool[np.ndarray, "m k"]]]:
    """The best subset of every query that has a candidate, some queries at a time.

    Yields (places of the queries, who is chosen). "auto" enumerates for up to 16 candidates.

    **Raises:** KeyboardInterrupt upon Ctrl-C; `SolverError`.
    """
    count = (candidates.rows >= 0).sum(1)
    limit = dict(auto=ENUMERATED, device=candidates.rows.shape[1], highs=0)[engine]
    few, many = np.flatnonzero((count > 0) & (count <= limit)), np.flatnonzero(count > limit)
    width = candidates.rows.shape[1] * candidates.space.features.shape[1] * 8
    step = int(np.clip(BYTES // width, 1, CHUNK))
    for first in range(0, few.size, step):
        some = few[first : first + step]
        yield some, _enumerated(candidates, some, aim)
    with ExitStack() as stack:
        if many.size and pool is None:
            pool = stack.enter_context(SolverPool())
        for first in range(0, many.size, PROGRAMS):
            assert pool is not None
            some = many[first : first + PROGRAMS]
            yield some, _solved(candidates, some, aim, pool)


def _enumerated(
    candidates: Candidates, some: Int[np.ndarray, " m"], aim: SubsetObjective
) -> Bool[np.ndarray, "m k"]:
    """Every subset, in float64: the order of sets must not hang on rounding."""
    k = max(int((candidates.rows[some] >= 0).sum(1).max()), 1)
    rows, weight = candidates.rows[some, :k], candidates.weight[some, :k]
    wide = bucket(some.size)
    with jax.enable_x64(True):
        gap = to_device(
            pad_rows(deviations(candidates.space, candidates.queries[some], rows), wide)
        )
        found = subset_search(
            gap,
            to_device(pad_rows(rows >= 0, wide)),
            weight=to_device(pad_rows(weight, wide)),
            alpha=aim.alpha,
            balance=aim.balance,
            tolerance=aim.tolerance,
        )
        chosen = np.asarray(found.chosen)[: some.size]
    return np.pad(chosen, [(0, 0), (0, candidates.rows.shape[1] - k)])


def _solved(
    candidates: Candidates, some: Int[np.ndarray, " m"], aim: SubsetObjective, pool: SolverPool
) -> Bool[np.ndarray, "m k"]:
    """The same by integer programs."""
    rows, gap = (
        candidates.rows[some],
        deviations(candidates.space, candidates.queries[some], candidates.rows[some]),
    )
    held = rows >= 0
    problems = [
        problem(d[h], w[h], aim.balance) for d, w, h in zip(gap, candidates.weight[some], held)
    ]
    chosen = np.zeros(rows.shape, bool)
    for i, best in enumerate(solve_subsets(problems, aim, pool)):
        chosen[i, : best.size] = best
    return chosen
