"""The best subset of a query's candidates by integer programs, for more than can be enumerated."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jcausal.solvers import IntegerProgram, Solution, SolverError, SolverPool

Balance = Literal["mean", "sum"]
GROUP = 10  # candidates whose order one program settles: its costs stay below 2^11
SLIP = 2e-6  # how far HiGHS may overstep a row, a candidate


class SubsetObjective(NamedTuple):
    """What is minimised: A, then B (`alpha` None), or alpha A + B; see `kernels.subset_search`."""

    balance: Balance
    alpha: float | None
    tolerance: float


class SubsetProblem(NamedTuple):
    """One query's k candidates in the order that breaks ties.

    `d` (k, f): deviations over their largest absolute value; `s` (k,): weights, over the largest
    for the mean, which does not see their scale.
    """

    d: Float[np.ndarray, "k f"]
    s: Float[np.ndarray, " k"]

    @property
    def largest(self) -> Float[np.ndarray, " k"]:
        """The largest deviation of each candidate."""
        return np.abs(self.d).max(1, initial=0)


Set = Bool[np.ndarray, " k"]


class ObjectiveLimits(NamedTuple):
    """What A, B and alpha A + B may be."""

    a: float
    b: float
    both: float


def problem(
    deviations: Float[np.ndarray, "k f"], weight: Float[np.ndarray, " k"], balance: Balance
) -> SubsetProblem:
    """Scaled to numbers of size 1."""
    most = np.abs(deviations).max(initial=0)
    scale = weight.max() if balance == "mean" else 1.0
    return SubsetProblem(deviations / (most if most > 0 else 1), weight / scale)


def measure(one: SubsetProblem, chosen: Set, balance: Balance) -> tuple[float, float]:
    """A and B of a set."""
    s = np.where(chosen, one.s, 0)
    total = s.sum() if balance == "mean" else 1.0
    a = np.abs(s @ one.d).max(initial=0) / total
    return float(a), float(one.largest[chosen].max())


def solve_subsets(
    problems: list[SubsetProblem], aim: SubsetObjective, pool: SolverPool
) -> list[Set]:
    """The best set of each problem, by three programs and more a query.

    First the least A (or alpha A + B), with u_j = A z_j for the mean; then, where B comes second,
    the least B with A within the tolerance; then the largest set that is as good, and of these the
    one with the earlier candidates, ten candidates a program. The solver oversteps a row by up to
    1e-6: under a large alpha, sets that differ by less than alpha times that are alike to it, and
    only sets that are as good in both A and B count as equal.

    **Raises:** `SolverError` when a program does not end with an optimum; `Interrupted` upon
    Ctrl-C.
    """
    first = _round(problems, (_least(one, aim) for one in problems), pool)
    best = [_set(one, found) for one, found in zip(problems, first)]
    if aim.alpha is None:
        second = zip(problems, best)
        found = _round(problems, (_least_reach(p, z, aim) for p, z in second), pool)
        best = [_near(p, z, _set(p, x), aim) for p, z, x in zip(problems, best, found)]
    limits = [_limits_of(*pair, aim) for pair in zip(problems, best)]
    longest = max(one.s.size for one in problems)
    for start in range(0, longest, GROUP):
        open_ = [i for i, one in enumerate(problems) if start < one.s.size]
        programs = (_earliest(problems[i], best[i], limits[i], aim, start) for i in open_)
        for i, found in zip(open_, _round([problems[i] for i in open_], programs, pool)):
            best[i] = _tied(problems[i], best[i], _set(problems[i], found), limits[i], aim)
    return best


def _round(
    problems: list[SubsetProblem], programs: Iterable[IntegerProgram], pool: SolverPool
) -> list[Solution]:
    """One program a problem, each solved to the end."""
    found = pool.solve(programs)
    for i, each in enumerate(found):
        if each.ended != "optimal" or each.values is None:
            raise SolverError(
                f"the program of query {i + 1} of {len(problems)} ended with {each.ended!r}."
            )
    return found


def _set(one: SubsetProblem, found: Solution) -> Set:
    assert found.values is not None
    return found.values[: one.s.size] > 0.5


def _near(one: SubsetProblem, known: Set, found: Set, aim: SubsetObjective) -> Set:
    """The set found, if its A is what it was asked to be.

    **Raises:** `SolverError`.
    """
    least, a = measure(one, known, aim.balance)[0], measure(one, found, aim.balance)[0]
    if a > least + aim.tolerance + SLIP * (one.s.size + 1):
        raise SolverError(f"HiGHS gave a set with A = {a} where at most {least} was asked for.")
    return found


def _limits_of(one: SubsetProblem, best: Set, aim: SubsetObjective) -> ObjectiveLimits:
    """What A, B and alpha A + B of an equally good set may be."""
    a, b = measure(one, best, aim.balance)
    if aim.alpha is None:
        return ObjectiveLimits(a + aim.tolerance, b + aim.tolerance, np.inf)
    most = aim.alpha * a + b + aim.tolerance
    half = aim.tolerance / 2
    if half / max(aim.alpha, 1) > SLIP:
        return ObjectiveLimits(np.inf, np.inf, most)
    return ObjectiveLimits(a + half / max(aim.alpha, 1), b + half, most)


def _tied(
    one: SubsetProblem, known: Set, found: Set, limits: ObjectiveLimits, aim: SubsetObjective
) -> Set:
    """The set found where it is as good as the one known; else a row was overstepped."""
    a, b = measure(one, found, aim.balance)
    good = a <= limits.a + SLIP and b <= limits.b
    if aim.alpha is not None:
        good &= aim.alpha * a + b <= limits.both
    return found if good else known


def _sides(d: Float[np.ndarray, "k f"]) -> Float[np.ndarray, "two_f k"]:
    return np.concatenate([d.T, -d.T])


def _least(one: SubsetProblem, aim: SubsetObjective, most: float = np.inf) -> IntegerProgram:
    """The least A (or alpha A + B, at most `most`) over z, A, B and, for the mean, u_j = A z_j.

    u_j <= A and u_j <= z_j are all that is needed of u: nothing presses it below A z_j.
    """
    k, f = one.s.size, one.d.shape[1]
    mean, weighed = aim.balance == "mean", aim.alpha is not None
    width = 2 * k + 2 if mean else k + 2
    side = np.zeros((2 * f, width))
    side[:, :k] = _sides(one.d) * one.s
    eye, none = np.eye(k), np.zeros((k, k))
    at, reach = np.zeros((k, 2)), np.zeros((k, 2))
    at[:, 0], reach[:, 1] = -1, -1
    rows = [side]
    if mean:
        side[:, k + 2 :] = -one.s
        rows += [np.hstack([none, at, eye]), np.hstack([-eye, 0 * at, eye])]
    else:
        side[:, k] = -1
    if weighed:
        wide = [none] if mean else []
        rows.append(np.hstack([np.diag(one.largest), reach, *wide]))
    cost = np.zeros(width)
    scale = max(1.0, aim.alpha or 1.0)
    cost[k] = 1.0 if aim.alpha is None else aim.alpha / scale
    cost[k + 1] = 1 / scale if weighed else 0.0
    upper = np.ones(width)
    upper[k] = 1.0 if mean else float(one.s.sum())
    every = np.concatenate([*rows, cost[None]])
    limit = np.append(np.zeros(len(every) - 1), most / scale)
    return _program(cost, every, upper, k, limit)


def _limited(one: SubsetProblem, most: float, aim: SubsetObjective) -> Float[np.ndarray, "two_f k"]:
    """Rows that hold A at most at `most`, which is a number: then the mean is linear in z."""
    level = most if aim.balance == "mean" else 0.0
    return (_sides(one.d) - level) * one.s


def _least_reach(one: SubsetProblem, best: Set, aim: SubsetObjective) -> IntegerProgram:
    """The least B among the sets whose A is within the tolerance of the least."""
    k = one.s.size
    a, b = measure(one, best, aim.balance)
    rows = np.zeros((2 * one.d.shape[1] + k, k + 1))
    rows[:-k, :k] = _limited(one, a + aim.tolerance, aim)
    rows[-k:, :k], rows[-k:, k] = np.diag(one.largest), -1
    cost = np.where(np.arange(k + 1) == k, 1.0, 0.0)
    limit = np.zeros(len(rows))
    limit[:-k] = 0.0 if aim.balance == "mean" else a + aim.tolerance
    known = np.append(best, b).astype(float)
    return _program(cost, rows, np.ones(k + 1), k, limit)._replace(incumbent=known)


def _earliest(
    one: SubsetProblem, best: Set, limits: ObjectiveLimits, aim: SubsetObjective, start: int
) -> IntegerProgram:
    """The largest set within the limits, and the earliest in the candidates from `start` on.

    From the second program on the size and the earlier candidates are held.
    """
    k = one.s.size
    if np.isfinite(limits.a):
        limit = np.full(2 * one.d.shape[1], 0.0 if aim.balance == "mean" else limits.a)
        able = (one.largest <= limits.b).astype(float)
        program = _program(np.zeros(k), _limited(one, limits.a, aim), able, k, limit)
        program = program._replace(incumbent=best.astype(float))
    else:
        program = _least(one, aim, limits.both)
    place = np.arange(program.cost.size) - start
    here = (place >= 0) & (place < min(GROUP, k - start))
    cost = np.where(here, -(2.0 ** (GROUP - 1 - place.clip(0, GROUP - 1))), 0.0)
    if start == 0:
        cost[:k] -= 2.0**GROUP
    lower, upper, least = (a.copy() for a in (program.lower, program.upper, program.row_lower))
    lower[:start] = upper[:start] = best[:start]
    least[-1] = 1.0 if start == 0 else best.sum()
    return program._replace(cost=cost, lower=lower, upper=upper, row_lower=least)


def _program(
    cost: np.ndarray,
    rows: np.ndarray,
    upper: np.ndarray,
    k: int,
    limit: np.ndarray | None = None,
) -> IntegerProgram:
    """Rows at most at `limit`, and one that asks for a candidate; the first k columns are whole."""
    every = np.concatenate([rows, (np.arange(cost.size) < k)[None].astype(float)])
    row, column = np.nonzero(every)
    return IntegerProgram(
        cost=cost,
        lower=np.zeros(cost.size),
        upper=upper,
        integer=np.arange(cost.size) < k,
        start=np.searchsorted(row, np.arange(len(every) + 1)).astype(np.int32),
        column=column.astype(np.int32),
        value=every[row, column],
        row_lower=np.append(np.full(len(rows), -np.inf), 1.0),
        row_upper=np.append(np.zeros(len(rows)) if limit is None else limit, np.inf),
    )
