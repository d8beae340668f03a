"""Greedy matching without replacement: query by query, or the closest pair of all first."""

import heapq
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.matching._matcher import Task
from jcausal.matching.neighbors._caliper_windows import CaliperWindows
from jcausal.matching.neighbors._nearest_lists import TIED, Lists, NearestLists
from jcausal.matching.neighbors._search_space import ROUNDED, SearchBlock, SearchSpace, admissible
from jcausal.matching.neighbors._with_replacement import NearestRule, Partners

LISTED, AGAIN = 24, 96  # candidates of a query, at first and where others have taken them
SOON = 1024  # queries that ask anew beside the one whose list has ended, at most
NOBODY = -1


class _Wishes:
    """Of each query of a block the nearest units that were free when it asked, nearest first.

    `rows` and `square` (q, m) hold cells and squared distances, -1 where the list ends; `whole`
    (q,) tells whose list is all that there was. Cells have so many units `free` (c,).
    """

    def __init__(self, space: SearchSpace, block: SearchBlock, rule: NearestRule) -> None:
        queries = block.queries
        cell = np.repeat(np.arange(queries.first.size), queries.size)
        self.space, self.units, self.rule = space, block.units, rule
        self.points, self.columns = queries.points[cell], queries.columns[cell]
        self.free: list[int] = block.units.size.tolist()
        q = self.points.shape[0]
        self.rows: list[list[int]] = [[]] * q
        self.square: list[list[float]] = [[]] * q
        self.next = [0] * q
        self.whole, self.asked = np.zeros(q, bool), False
        self.ask(np.arange(q))
        self.hopeless = np.array([not one for one in self.rows]) & self.whole

    def first_free(self, i: int) -> int:
        """The nearest free cell on the list of a query; -1 at its end."""
        rows, place, free = self.rows[i], self.next[i], self.free
        while place < len(rows) and not free[rows[place]]:
            place += 1
        self.next[i] = place
        return rows[place] if place < len(rows) else NOBODY

    def best(self, i: int, waiting: Callable[[], Iterable[int]]) -> int:
        """The nearest free cell of all; where the list has ended, those who wait ask anew too."""
        found = self.first_free(i)
        while found == NOBODY and not self.whole[i]:
            self.ask(np.unique([i, *(j for j in waiting() if self._runs_out(j))]))
            found = self.first_free(i)
        return found

    def _runs_out(self, i: int) -> bool:
        """Whether a list has come to its last quarter."""
        if self.whole[i]:
            return False
        self.first_free(i)
        return 4 * (len(self.rows[i]) - self.next[i]) <= len(self.rows[i])

    def take(self, cell: int) -> int:
        """A free unit of a cell, by its row of the sample."""
        taken = int(self.units.size[cell]) - self.free[cell]
        self.free[cell] -= 1
        return int(self.units.rows[self.units.first[cell] + taken])

    def ask(self, those: Int[np.ndarray, " a"]) -> None:
        """New lists of the units that are free now, as long as it takes to name one."""
        cells = np.flatnonzero(self.free)
        self.whole[those] = cells.size == 0
        if not cells.size:
            return
        points, columns = self.points[those], self.columns[those]
        lists = NearestLists(self.units.points[cells], self.rule.max_bytes)
        left, m = np.ones(those.size, bool), AGAIN if self.asked else LISTED
        self.asked = True
        windows = CaliperWindows(self.space, self.units.columns[cells])
        for some, found in windows.lists(lists, points, columns):
            left[some] = False
            self._settle(those[some], found, cells)
        while left.any():
            waiting, step = np.flatnonzero(left), lists.rows_at_once(m)
            for i in range(0, waiting.size, step):
                some = waiting[i : i + step]
                done = self._settle(those[some], lists.ask(points[some], m), cells)
                left[some[done]] = False
            m *= 4

    def _settle(
        self, some: Int[np.ndarray, " a"], found: Lists, cells: Int[np.ndarray, " f"]
    ) -> Bool[np.ndarray, " a"]:
        """Write down the lists that name a unit or are all that there is, and tell which."""
        rows = np.where(found.rows >= 0, cells[found.rows], NOBODY)
        keeps = admissible(self.space, self.columns[some], self.units.columns[rows], found.square)
        keeps &= found.square * (1 + TIED) < found.beyond[:, None]
        whole = (found.beyond > self.space.reach**2 * ROUNDED) | (found.beyond == np.inf)
        done = keeps.any(1) | whole
        self._write(some[done], np.where(keeps, rows, NOBODY)[done], found.square[done])
        self.whole[some[done]] = whole[done]
        return done

    def _write(
        self,
        some: Int[np.ndarray, " a"],
        rows: Int[np.ndarray, "a m"],
        square: Float[np.ndarray, "a m"],
    ) -> None:
        for i, one, far in zip(some.tolist(), rows, square):
            held = one >= 0
            self.rows[i], self.square[i], self.next[i] = one[held].tolist(), far[held].tolist(), 0


def without_replacement(
    space: SearchSpace, block: SearchBlock, rule: NearestRule, task: Task
) -> tuple[Partners, Bool[np.ndarray, " q"]]:
    """Partners of the block's queries, and which of them never had a candidate.

    In rounds: each query takes its nearest free unit, in the order asked for, and then each its
    second.
    """
    wishes, places = _Wishes(space, block, rule), block.queries.rows
    still = np.ones(places.size, bool)
    query, row = [], []
    for _ in range(rule.ratio):
        if rule.order == "closest":
            pairs = _closest_first(wishes, np.flatnonzero(still))
        else:
            turn = _turn(space, places, rule, task)
            pairs = _in_turn(wishes, turn[still[turn]])
        for i, cell in pairs:
            if cell == NOBODY:
                still[i] = False
            else:
                query.append(places[i])
                row.append(wishes.take(cell))
    found = Partners(np.array(query, int), np.array(row, int))
    return found, wishes.hopeless


def _turn(
    space: SearchSpace, places: Int[np.ndarray, " q"], rule: NearestRule, task: Task
) -> Int[np.ndarray, " q"]:
    """The order in which queries at these places of the task take a partner."""
    if rule.order == "data":
        return np.argsort(places, kind="stable")
    if space.pull is None:
        return np.arange(places.size)
    rows = np.asarray(task.query)[places]
    pull, treated = space.pull[rows], bool(np.asarray(task.sample.t)[rows[0]])
    return np.argsort(-pull if treated else pull, kind="stable")


def _in_turn(wishes: _Wishes, turn: Int[np.ndarray, " q"]) -> Iterator[tuple[int, int]]:
    """Each query in turn and the cell that it takes a unit of, -1 for none."""
    order = turn.tolist()
    for k, i in enumerate(order):
        yield i, wishes.best(i, lambda: order[k + 1 : k + 1 + SOON])  # noqa: B023


def _closest_first(wishes: _Wishes, queries: Int[np.ndarray, " q"]) -> Iterator[tuple[int, int]]:
    """The closest pair of all that are free, then the closest of the others."""
    heap: list[tuple[float, int, int]] = []

    def waiting() -> list[int]:
        return [i for _, i, _ in heap[:SOON]]  # the closest, about

    def enter(i: int) -> bool:
        cell = wishes.best(i, waiting)
        if cell == NOBODY:
            return False
        heapq.heappush(heap, (_rounded(wishes.square[i][wishes.next[i]]), i, cell))
        return True

    for i in queries.tolist():
        if not enter(i):
            yield i, NOBODY
    while heap:
        _, i, cell = heapq.heappop(heap)
        if wishes.free[cell]:
            yield i, cell
        elif not enter(i):
            yield i, NOBODY


def _rounded(square: float) -> float:
    """To the digits beyond which two distances are the same number."""
    return float(f"{square:.9e}")
