"""The nearest units of every query, each for itself: with replacement, ties kept or broken."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jcausal.matching.neighbors._caliper_windows import CaliperWindows
from jcausal.matching.neighbors._nearest_lists import TIED, Lists, NearestLists
from jcausal.matching.neighbors._search_space import ROUNDED, SearchBlock, SearchSpace, admissible

Ties = Literal["all", "first"]
Order = Literal["largest", "closest", "data"]


class NearestRule(NamedTuple):
    """How partners are chosen: the options of `jc.NearestNeighbors` of these names."""

    ratio: int
    replace: bool
    ties: Ties
    order: Order
    max_bytes: int


class Chosen(NamedTuple):
    """Of e pairs of a cell of queries and a cell of units: they have its first `take` units."""

    query: Int[np.ndarray, " e"]
    cell: Int[np.ndarray, " e"]
    take: Int[np.ndarray, " e"]


class Partners(NamedTuple):
    """Partners, one an entry, those of a query nearest first.

    `query` (e,): the query's place in the task; `row` (e,): the partner's row of the sample.
    """

    query: Int[np.ndarray, " e"]
    row: Int[np.ndarray, " e"]


def with_replacement(space: SearchSpace, block: SearchBlock, rule: NearestRule) -> Partners:
    """The `ratio` nearest admissible units of every query, and those that tie.

    **Raises:** ValueError where ties take more than the memory.
    """
    chosen = _nearest(space, block, rule)
    queries, units = block
    each = queries.size[chosen.query]
    _check_memory(chosen, each, rule)
    query = _spread(queries.first[chosen.query], each)
    entry = np.repeat(np.arange(each.size), each)
    row = _spread(units.first[chosen.cell[entry]], chosen.take[entry])
    query = np.repeat(query, chosen.take[entry])
    return Partners(queries.rows[query], units.rows[row])


def _spread(first: Int[np.ndarray, " e"], count: Int[np.ndarray, " e"]) -> Int[np.ndarray, " m"]:
    """first[j], first[j] + 1, ..., count[j] of them, one entry after another."""
    start = np.cumsum(count) - count
    return np.repeat(first - start, count) + np.arange(count.sum())


def _check_memory(chosen: Chosen, each: Int[np.ndarray, " e"], rule: NearestRule) -> None:
    """Refuse more partners than the memory holds: 12 bytes each, the widest query for all."""
    if not chosen.query.size:
        return
    wide = np.bincount(chosen.query, weights=chosen.take)
    many = np.zeros(wide.size, int)
    many[chosen.query] = each
    total = 12 * int(wide.max()) * int(many.sum())
    if total > rule.max_bytes:
        raise ValueError(
            f"a query has {int(wide.max()):,} partners that are as near as its {rule.ratio}-th, "
            f"and {int(many.sum()):,} queries of so many take {total:,} bytes: use ties='first', "
            "or a larger max_bytes."
        )


def _nearest(space: SearchSpace, block: SearchBlock, rule: NearestRule) -> Chosen:
    """Cells of units for every cell of queries."""
    queries, units = block
    lists = NearestLists(units.points, rule.max_bytes)
    left, m, parts = np.ones(queries.first.size, bool), rule.ratio + 1, []
    windows = CaliperWindows(space, units.columns)
    for some, found in windows.lists(lists, queries.points, queries.columns):
        left[some] = False
        parts.append(_settle(space, block, found, some, rule)[1])
    while left.any():
        m = min(m, lists.size)
        step, waiting = lists.rows_at_once(m), np.flatnonzero(left)
        for i in range(0, waiting.size, step):
            some = waiting[i : i + step]
            found = lists.ask(queries.points[some], m)
            done, chosen = _settle(space, block, found, some, rule)
            parts.append(chosen)
            left[some[done]] = False
        m *= 4
    if not parts:
        return Chosen(*(np.zeros(0, int) for _ in Chosen._fields))
    return Chosen(*(np.concatenate(each) for each in zip(*parts)))


def _settle(
    space: SearchSpace,
    block: SearchBlock,
    found: Lists,
    some: Int[np.ndarray, " q"],
    rule: NearestRule,
) -> tuple[Bool[np.ndarray, " q"], Chosen]:
    """The partners of those of some queries that need no longer list than was found."""
    rows, square = found.rows, found.square
    keeps = admissible(space, block.queries.columns[some], block.units.columns[rows], square)
    count = np.where(keeps, block.units.size[rows], 0)
    enough = np.cumsum(count, axis=1) >= rule.ratio
    last = np.where(enough.any(1), enough.argmax(1), rows.shape[1] - 1)
    far = np.take_along_axis(square, last[:, None], 1)[:, 0]
    far = np.where(enough.any(1), far, np.inf)  # the distance of the last partner
    wanted = np.minimum(far * (1 + TIED), space.reach**2 * ROUNDED)
    done = (found.beyond > wanted) | (found.beyond == np.inf)
    near = square < far[:, None] * (1 - TIED)
    tied = keeps & ~near & (square <= far[:, None] * (1 + TIED))
    take = _taken(rows, np.where(keeps, near, False), tied, count, rule)
    take[~done] = 0
    i, j = np.nonzero(take)
    return done, Chosen(some[i], rows[i, j], take[i, j])


def _taken(
    rows: Int[np.ndarray, "q m"],
    near: Bool[np.ndarray, "q m"],
    tied: Bool[np.ndarray, "q m"],
    count: Int[np.ndarray, "q m"],
    rule: NearestRule,
) -> Int[np.ndarray, "q m"]:
    """How many units of each candidate: all, or of those that tie the first up to `ratio`."""
    if rule.ties == "all":
        return np.where(near | tied, count, 0)
    label = np.where(near, -1, np.where(tied, rows, np.iinfo(np.int64).max))
    turn = np.argsort(label, axis=1, kind="stable")
    in_turn = np.take_along_axis(np.where(near | tied, count, 0), turn, 1)
    before = np.cumsum(in_turn, axis=1) - in_turn
    take = np.zeros_like(count)
    np.put_along_axis(take, turn, np.clip(rule.ratio - before, 0, in_turn), 1)
    return take
