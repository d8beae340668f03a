"""The best subsets of many queries: on the device, or as integer programs in the solver pool."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import bucket, pad_rows, to_device
from jcausal.matching.trees._candidates import Ground, deviations
from jcausal.matching.trees._subset_program import Rule, problem, solve_subsets
from jcausal.solvers import SolverPool
from jcausal_kernels import subset_search

Engine = Literal["auto", "device", "highs"]
ENUMERATED = 16  # candidates up to which "auto" looks at every subset
CHUNK = 2**14  # queries that are looked at together, at most
PROGRAMS = 64  # queries whose programs are solved together
BYTES = 2**27  # of deviations that are laid out together


class Part(NamedTuple):
    """Some queries of one fold (q,), their candidates (q, k), -1 for none, and these's weights."""

    ground: Ground
    queries: Int[np.ndarray, " q"]
    rows: Int[np.ndarray, "q k"]
    weight: Float[np.ndarray, "q k"]


def choose(
    part: Part, rule: Rule, engine: Engine, pool: SolverPool | None
) -> Iterator[tuple[Int[np.ndarray, " m"], Bool[np.ndarray, "m k"]]]:
    """The best subset of every query that has a candidate, some queries at a time.

    Yields (places of the queries, who is chosen). "auto" enumerates for up to 16 candidates.

    **Raises:** KeyboardInterrupt upon Ctrl-C; `SolverError`.
    """
    count = (part.rows >= 0).sum(1)
    limit = dict(auto=ENUMERATED, device=part.rows.shape[1], highs=0)[engine]
    few, many = np.flatnonzero((count > 0) & (count <= limit)), np.flatnonzero(count > limit)
    width = part.rows.shape[1] * part.ground.features.shape[1] * 8
    step = int(np.clip(BYTES // width, 1, CHUNK))
    for first in range(0, few.size, step):
        some = few[first : first + step]
        yield some, _enumerated(part, some, rule)
    with ExitStack() as stack:
        if many.size and pool is None:
            pool = stack.enter_context(SolverPool())
        for first in range(0, many.size, PROGRAMS):
            assert pool is not None
            some = many[first : first + PROGRAMS]
            yield some, _solved(part, some, rule, pool)


def _enumerated(part: Part, some: Int[np.ndarray, " m"], rule: Rule) -> Bool[np.ndarray, "m k"]:
    """Every subset, in float64: the order of sets must not hang on rounding."""
    k = max(int((part.rows[some] >= 0).sum(1).max()), 1)
    rows, weight = part.rows[some, :k], part.weight[some, :k]
    wide = bucket(some.size)
    with jax.enable_x64(True):
        gap = to_device(pad_rows(deviations(part.ground, part.queries[some], rows), wide))
        found = subset_search(
            gap,
            to_device(pad_rows(rows >= 0, wide)),
            weight=to_device(pad_rows(weight, wide)),
            alpha=rule.alpha,
            balance=rule.balance,
            tolerance=rule.tolerance,
        )
        chosen = np.asarray(found.chosen)[: some.size]
    return np.pad(chosen, [(0, 0), (0, part.rows.shape[1] - k)])


def _solved(
    part: Part, some: Int[np.ndarray, " m"], rule: Rule, pool: SolverPool
) -> Bool[np.ndarray, "m k"]:
    """The same by integer programs."""
    rows, gap = part.rows[some], deviations(part.ground, part.queries[some], part.rows[some])
    held = rows >= 0
    problems = [problem(d[h], w[h], rule.balance) for d, w, h in zip(gap, part.weight[some], held)]
    chosen = np.zeros(rows.shape, bool)
    for i, best in enumerate(solve_subsets(problems, rule, pool)):
        chosen[i, : best.size] = best
    return chosen
