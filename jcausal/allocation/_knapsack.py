"""Groups of unequal cost, with floors and caps by category."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from jcausal.allocation._knapsack_programs import Room, Ways, fractional, greedy, solve
from jcausal.allocation._top_k import Best, Budget, Marks, Rows
from jcausal.data import DataError, as_numbers, beside, labels_of, listed, rows_in_words
from jcausal.solvers import SolverPool


def _costs(cost: Any) -> Float[np.ndarray, " k"] | pd.Series | None:
    """Numbers, with their labels where they have some."""
    if cost is None:
        return None
    found = as_numbers("cost", cost)
    return pd.Series(found, cost.index) if isinstance(cost, pd.Series) else found


def _categories(category: Any) -> tuple | pd.Series | None:
    if category is None or isinstance(category, pd.Series):
        return category
    return listed("category", category)


class Knapsack(Budget):
    """The groups whose estimates sum to the most among the sets that the budget pays for.

    max sum of value over chosen groups, sum of cost <= budget, and the number of chosen groups of
    each category between its floor and its cap. A group is treated fully or not at all. The
    guarantee compares with the best set under the same budget, floors and caps.

    **Arguments:**

    - `budget`: in the unit of the costs.
    - `cost`: (k,) what treating each group costs, above 0; default 1 each. A pandas Series is taken
      by its labels where the estimates' groups have names, as `category` is.
    - `category`: (k,) a label for each group; `floor`, `cap`: from labels to the least and the most
      groups of that category to be treated.
    - `only_positive`: only groups whose lower estimate is above 0 are treated.
    - `robust`: sum the lower estimates (value - rho) instead: of all sets the one whose value is
      the largest in the worst case.
    - `exact`: by HiGHS, to proven optimality. False takes groups in the order of value for cost,
      and the fractional bound (Dantzig) for what is lost; without floors and caps only.
    - `time_limit`, `node_limit`: seconds (not reproducible) and nodes for each program; a limit
      leaves the best set that was found, and the guarantee allows for what it may lack.
    - `pool`: a `jc.solvers.SolverPool` for the programs; None makes one for the call.

    Sets of equal value are not told apart by a rule: which one HiGHS gives is its own choice.

    **Example:**

        >>> import jcausal as jc
        >>> knapsack = jc.Knapsack(10.0, cost=[6.0, 5.0, 5.0])
        >>> found = jc.allocate([7.0, 4.5, 4.0], knapsack, rho=0.1)
        >>> found.chosen.tolist(), found.spend
        ([False, True, True], 10.0)
    """

    budget: float
    cost: Float[np.ndarray, " k"] | pd.Series | None = eqx.field(default=None, converter=_costs)
    category: Sequence | pd.Series | None = eqx.field(default=None, converter=_categories)
    floor: Mapping[Any, int] = eqx.field(default_factory=dict)
    cap: Mapping[Any, int] = eqx.field(default_factory=dict)
    only_positive: bool = eqx.field(static=True, default=True)
    robust: bool = eqx.field(static=True, default=False)
    exact: bool = eqx.field(static=True, default=True)
    time_limit: float | None = None
    node_limit: int | None = None
    pool: SolverPool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if not 0 < self.budget < np.inf:
            raise ValueError(f"budget is {self.budget}: it must be finite and above 0.")
        if (self.floor or self.cap) and self.category is None:
            raise ValueError("floor and cap count groups by category: give category=.")
        if self.category is not None and not (self.floor or self.cap):
            raise ValueError("category is for floor= and cap=: give one of them.")
        if (self.floor or self.cap) and not self.exact:
            raise ValueError("floors and caps take exact=True.")
        if not self.exact and (self.time_limit, self.node_limit, self.pool) != (None, None, None):
            raise ValueError("time_limit, node_limit and pool are for exact=True.")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit is {self.time_limit}: it must be above 0, or None.")
        if self.node_limit is not None and self.node_limit < 1:
            raise ValueError(f"node_limit is {self.node_limit}: it must be at least 1, or None.")
        if self.cost is not None:
            _check_costs(np.asarray(self.cost))
        _check_counts(self._categories(), self.floor, self.cap)

    def _categories(self) -> tuple:
        """The category of each group; none if there are none."""
        return () if self.category is None else listed("category", self.category)

    @property
    def needs_positive(self) -> bool:
        """As `only_positive`."""
        return self.only_positive

    @property
    def traceable(self) -> bool:
        """Never: programs are solved on the host."""
        return False

    @property
    def words(self) -> str:
        """As "cost 10, 2 floors"."""
        parts = [f"cost {self.budget:g}"]
        parts += [f"{len(self.floor)} floors"] if self.floor else []
        parts += [f"{len(self.cap)} caps"] if self.cap else []
        return ", ".join(parts)

    def in_order(self, labels: pd.Index | None) -> "Knapsack":
        """Costs and categories of pandas by label: by those of the groups, else by one another's.

        **Raises:** `DataError` for labels that are not those of the groups.
        """
        of, whose = labels, "the estimates"
        if of is None and labels_of(self.cost) is not None:
            beside("cost", self.cost, None, whose)
            of, whose = labels_of(self.cost), "cost"
        cost = beside("cost", self.cost, of, whose)
        category = beside("category", self.category, of, whose)
        category = None if category is None else listed("category", category)
        return replace(self, cost=None if cost is None else np.asarray(cost), category=category)

    def check(self, groups: int) -> None:
        """**Raises:** `DataError` for costs or categories of another number of groups."""
        for name, found in (("cost", self.cost), ("category", self.category)):
            if found is not None and len(found) != groups:
                raise DataError(f"{name} has {len(found)} entries for {groups} groups.")
        room = self.room(groups)
        if room.cost.min() > room.spare:
            raise DataError(
                f"every group costs more than the budget of {self.budget:g}: the cheapest costs "
                f"{room.cost.min():g}."
            )

    def room(self, groups: int) -> Room:
        """Costs, budget and counts as arrays."""
        cost = np.ones(groups) if self.cost is None else np.asarray(self.cost)
        category = self._categories() or (None,) * groups
        labels = tuple(dict.fromkeys(category))
        place = {label: c for c, label in enumerate(labels)}
        code = np.array([place[label] for label in category])
        floor = np.array([float(self.floor.get(label, 0)) for label in labels])
        cap = np.array([float(self.cap.get(label, np.inf)) for label in labels])
        return Room(cost, float(self.budget), code, floor, cap)

    def best(self, values: Rows, allowed: Marks) -> Best:
        """By HiGHS, or by value for cost beside the fractional bound."""
        values, allowed = np.asarray(values, np.float64), np.asarray(allowed)
        room = self.room(values.shape[1])
        if self.exact:
            ways = Ways(self.time_limit, self.node_limit, self.pool)
            chosen, bound = solve(room, values, allowed, ways)
        else:
            values = np.where(allowed, values, 0.0)
            chosen = np.stack([greedy(room, row) for row in values])
            bound = np.array([fractional(room, row) for row in values])
        found = np.where(chosen, values, 0.0).sum(1)
        return Best(chosen, np.maximum(bound - found, 0.0))

    def fractional(self, values: Float[np.ndarray, " k"] | pd.Series) -> float:
        """The best sum of values (k,) if groups could be treated in part: above any whole set's.

        **Source:** Dantzig (1957), Operations Research 5(2); with floors and caps by HiGHS.
        """
        ordered = self.in_order(labels_of(values))
        values = as_numbers("values", values)
        ordered.check(values.size)
        room = ordered.room(values.size)
        if not (self.floor or self.cap):
            return fractional(room, values)
        ways = Ways(self.time_limit, None, self.pool)
        _, bound = solve(room, values[None], np.ones((1, values.size), bool), ways, whole=False)
        return float(bound[0])

    def spend(
        self, chosen: Bool[Array, " k"] | Bool[np.ndarray, " k"]
    ) -> Array | np.ndarray | float:
        """What the chosen groups cost together."""
        return float(self.room(chosen.shape[0]).cost[np.asarray(chosen)].sum())


def _check_costs(cost: Float[np.ndarray, " k"]) -> None:
    if cost.ndim != 1 or not cost.size:
        raise DataError(f"cost has shape {cost.shape}: one number a group is needed.")
    bad = np.flatnonzero(~((cost > 0) & np.isfinite(cost)))
    if bad.size:
        raise DataError(
            f"cost is {cost[bad[0]]:g} at {bad.size} of {cost.size} groups ({rows_in_words(bad)}): "
            "costs must be finite and above 0; leave out what is not on offer."
        )


def _check_counts(category: Sequence, floor: Mapping[Any, int], cap: Mapping[Any, int]) -> None:
    """Floors and caps of categories that exist, each possible by itself."""
    for name, counts in (("floor", floor), ("cap", cap)):
        for label, count in counts.items():
            if label not in category:
                known = ", ".join(repr(one) for one in list(dict.fromkeys(category))[:5])
                raise DataError(f"{name} has {label!r}, which is no category: they are {known}.")
            if not (count >= 0 and count == int(count)):
                raise DataError(f"{name} of {label!r} is {count}: it must be a whole number.")
    for label, count in floor.items():
        held = list(category).count(label)
        if count > held:
            raise DataError(f"floor of {label!r} is {count}, and it has {held} groups.")
        if count > cap.get(label, np.inf):
            raise DataError(f"floor of {label!r} is {count}, above its cap of {cap[label]}.")
