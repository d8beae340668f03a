"""Units inside narrow calipers: all of them are looked at, however far they are."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.matching.neighbors._nearest_lists import Lists, NearestLists
from jcausal.matching.neighbors._search_space import ROUNDED, SearchSpace

NARROW = 1024  # units: up to so many inside a query's narrowest caliper are all listed


class _Window(NamedTuple):
    """Of each query its narrowest caliper: which column, the first place in it, and how many."""

    column: Int[np.ndarray, " q"]
    first: Int[np.ndarray, " q"]
    size: Int[np.ndarray, " q"]


class CaliperWindows:
    """Units (c, g) sorted by each of the columns that have a caliper.

    The nearest units of all may lie outside a caliper, and a list of them grow long before it names
    one inside; where few are inside, these are listed instead.
    """

    def __init__(self, space: SearchSpace, columns: Float[np.ndarray, "c g"]) -> None:
        self.widths = space.widths * ROUNDED
        self.orders = [np.argsort(column, kind="stable") for column in columns.T]  # NaN last
        self.values = [column[order] for column, order in zip(columns.T, self.orders)]

    def lists(
        self, lists: NearestLists, at: Float[np.ndarray, "q r"], columns: Float[np.ndarray, "q g"]
    ) -> Iterator[tuple[Int[np.ndarray, " s"], Lists]]:
        """Some queries with all units inside their narrowest caliper, if these are few."""
        if not self.orders:
            return
        window = self._narrowest(columns)
        few = np.flatnonzero(window.size <= NARROW)
        few = few[np.argsort(window.size[few], kind="stable")]
        while few.size:
            step = lists.rows_at_once(max(int(window.size[few[-1]]), 1))
            some, few = few[-step:], few[:-step]
            yield some, lists.among(at[some], self._rows(_Window(*(a[some] for a in window))))

    def _narrowest(self, columns: Float[np.ndarray, "q g"]) -> _Window:
        places = []
        for value, column, width in zip(self.values, columns.T, self.widths):
            known = value.size - int(np.isnan(value).sum())
            first = np.searchsorted(value[:known], column - width)
            last = np.searchsorted(value[:known], column + width, side="right")
            none = np.isnan(column)
            places.append((np.where(none, known, first), np.where(none, value.size, last)))
        first, last = np.transpose(places, (1, 0, 2))
        column = np.argmin(last - first, axis=0)
        first, last = (np.take_along_axis(a, column[None], 0)[0] for a in (first, last))
        return _Window(column, first, last - first)

    def _rows(self, window: _Window) -> Int[np.ndarray, "s m"]:
        """The units inside, -1 behind them."""
        place = np.arange(max(int(window.size.max(initial=0)), 1))
        there = place < window.size[:, None]
        rows = np.full(there.shape, -1)
        for j, order in enumerate(self.orders):
            mine = window.column == j
            at = np.minimum(window.first[mine, None] + place, order.size - 1)
            rows[mine] = np.where(there[mine], order[at], -1)
        return rows
