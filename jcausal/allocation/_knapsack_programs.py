"""A knapsack with floors and caps by category, as integer programs and in closed form."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import DataError
from jcausal.solvers import IntegerProgram, Solution, SolverError, SolverPool

TRIES = 8  # how often a set is refused that costs more than the budget by less than HiGHS sees
SLACK = 1e-12  # of the budget, for the rounding of sums of costs


class Room(NamedTuple):
    """Costs (k,) and the budget; the category (k,) of each group, how many of each are wanted."""

    cost: Float[np.ndarray, " k"]
    budget: float
    category: Int[np.ndarray, " k"]
    floor: Float[np.ndarray, " c"]
    cap: Float[np.ndarray, " c"]

    @property
    def spare(self) -> float:
        """What sums of costs may come to: the budget, and the rounding of these sums."""
        return self.budget * (1 + SLACK)

    def pays(self, chosen: Bool[np.ndarray, " k"]) -> bool:
        """Whether the budget pays for these groups."""
        return bool(self.cost[chosen].sum() <= self.spare)


class Ways(NamedTuple):
    """How long programs may take, and who solves them."""

    time_limit: float | None
    node_limit: int | None
    pool: SolverPool | None


def fractional(room: Room, values: Float[np.ndarray, " k"]) -> float:
    """The best value if groups could be treated in part: the most valuable for their cost first.

    **Source:** Dantzig (1957), Operations Research 5(2).
    """
    order = _by_density(room, values)
    cost, worth = room.cost[order], values[order]
    spent = np.cumsum(cost)
    whole = int(np.searchsorted(spent, room.spare, side="right"))
    total = float(worth[:whole].sum())
    if whole < order.size:
        before = spent[whole - 1] if whole else 0.0
        total += float(worth[whole] * max(room.spare - before, 0.0) / cost[whole])
    return total


def greedy(room: Room, values: Float[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
    """Groups in the order of value for cost, each that can still be paid; or the best single one.

    At least half of the best value.
    """
    left, order = room.spare, _by_density(room, values)
    chosen = np.zeros(values.size, bool)
    while order.size:
        spent = np.cumsum(room.cost[order])
        whole = int(np.searchsorted(spent, left, side="right"))
        chosen[order[:whole]] = True
        left -= spent[whole - 1] if whole else 0.0
        order = order[whole + 1 :]
        order = order[room.cost[order] <= left]
    able = room.cost <= room.spare
    single = int(np.argmax(np.where(able, values, -np.inf)))
    if able.any() and values[single] > values[chosen].sum():
        chosen = np.arange(values.size) == single
    return chosen


def _by_density(room: Room, values: Float[np.ndarray, " k"]) -> Int[np.ndarray, " p"]:
    """Groups of positive value that can be paid, the most valuable for their cost first."""
    use = np.flatnonzero((values > 0) & (room.cost <= room.spare))
    return use[np.argsort(-values[use] / room.cost[use], kind="stable")]


def solve(
    room: Room,
    values: Float[np.ndarray, "b k"],
    allowed: Bool[np.ndarray, "b k"],
    ways: Ways,
    whole: bool = True,
) -> tuple[Bool[np.ndarray, "b k"], Float[np.ndarray, " b"]]:
    """The best sets for b rows of values, and bounds (b,) that no set's value is above.

    With `whole` False groups may be treated in part; the sets are then those treated fully.

    **Raises:** `DataError` when no set meets the floors; `SolverError` when none was found in time.
    """
    programs = [_program(room, v, a, whole) for v, a in zip(values, allowed)]
    own = ways.pool is None
    pool = SolverPool(min(2, len(programs))) if ways.pool is None else ways.pool
    try:
        return _solved(room, values, programs, pool, ways, whole)
    finally:
        if own:
            pool.close()


def _solved(
    room: Room,
    values: Float[np.ndarray, "b k"],
    programs: list[IntegerProgram],
    pool: SolverPool,
    ways: Ways,
    whole: bool,
) -> tuple[Bool[np.ndarray, "b k"], Float[np.ndarray, " b"]]:
    """Solve, and solve again what HiGHS' tolerance let cost too much."""
    chosen, bound = np.zeros(values.shape, bool), np.full(len(values), np.inf)
    open_rows = list(range(len(programs)))
    for _ in range(TRIES):
        found = pool.solve(
            [programs[r] for r in open_rows],
            time_limit=ways.time_limit,
            node_limit=ways.node_limit,
        )
        again = []
        for r, one in zip(open_rows, found):
            chosen[r] = _taken(one)
            bound[r] = min(bound[r], -one.bound * _unit(values[r]))
            if whole and not room.pays(chosen[r]):
                programs[r] = _without(programs[r], chosen[r])
                again.append(r)
        open_rows = again
        if not open_rows:
            return chosen, bound
    raise SolverError(
        f"{TRIES} sets in a row cost more than the budget by less than HiGHS can see."
    )


def _taken(one: Solution) -> Bool[np.ndarray, " k"]:
    if one.ended == "infeasible":
        raise DataError(
            "no choice of groups meets the floors within the budget and the caps: lower a floor, "
            "raise the budget, or set only_positive=False so that every group may be treated."
        )
    if one.values is None:
        raise SolverError(f"HiGHS found no choice of groups ({one.ended}): give it more time.")
    return one.values > 0.5 if one.values.size else np.zeros(0, bool)


def _unit(values: Float[np.ndarray, " k"]) -> float:
    """A power of two that brings the largest value to between 1 and 2."""
    most = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return 2.0 ** np.floor(np.log2(most)) if most > 0 else 1.0


def _program(
    room: Room, values: Float[np.ndarray, " k"], allowed: Bool[np.ndarray, " k"], whole: bool
) -> IntegerProgram:
    """Maximise values x: costs within the budget, and each category between floor and cap."""
    k, groups = values.size, np.arange(values.size)
    wanted = np.flatnonzero((room.floor > 0) | np.isfinite(room.cap))
    members = [np.flatnonzero(room.category == c) for c in wanted]
    scale = 2.0 ** (9 - np.floor(np.log2(room.cost.max())))  # HiGHS sees 1e-6 of about 1,000
    columns = [groups, *members]
    able = allowed & (room.cost <= room.spare)
    if not (room.floor > 0).any():
        able &= values > 0
    start = np.cumsum([0, *(part.size for part in columns)])
    return IntegerProgram(
        cost=np.where(able, -values / _unit(values), 0.0),
        lower=np.zeros(k),
        upper=able.astype(float),
        integer=np.full(k, whole),
        start=start.astype(np.int32),
        column=np.concatenate(columns).astype(np.int32),
        value=np.concatenate([room.cost * scale, *(np.ones(part.size) for part in members)]),
        row_lower=np.concatenate([[-np.inf], room.floor[wanted]]),
        row_upper=np.concatenate([[room.budget * scale], room.cap[wanted]]),
    )


def _without(program: IntegerProgram, chosen: Bool[np.ndarray, " k"]) -> IntegerProgram:
    """The program without the sets that hold all of these groups, which cost too much."""
    columns = np.flatnonzero(chosen)
    return program._replace(
        start=np.append(program.start, program.start[-1] + columns.size).astype(np.int32),
        column=np.concatenate([program.column, columns]).astype(np.int32),
        value=np.concatenate([program.value, np.ones(columns.size)]),
        row_lower=np.append(program.row_lower, -np.inf),
        row_upper=np.append(program.row_upper, columns.size - 1.0),
    )
