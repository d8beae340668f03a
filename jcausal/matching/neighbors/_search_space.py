"""Where partners are looked for: points, blocks that partners share, calipers; twins as one."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import Sample
from jcausal.matching._matcher import Task
from jcausal.matching._order import packed_codes, value_order

ROUNDED = 1 + 1e-9  # a difference that equals a caliper is allowed, however it was rounded


class SearchSpace(NamedTuple):
    """The sample's n rows as a search for partners sees them, on the host.

    - `points` (n, r): squared Euclidean distances between them are those of the metric.
    - `block` (n,): partners are of one block: a fold, and what is matched exactly; -1 for padding.
    - `able` (n,): who may be a partner.
    - `order` (n,): places of the rows in the order that breaks ties.
    - `reach`: the largest distance allowed; infinite for any.
    - `columns` (n, g) and `widths` (g,): columns in which partners differ by so much at most; NaN
      is as near as nothing but NaN.
    - `pull` (n,): how likely treated, by which queries are put in order; None for no such thing.
    """

    points: Float[np.ndarray, "n r"]
    block: Int[np.ndarray, " n"]
    able: Bool[np.ndarray, " n"]
    order: Int[np.ndarray, " n"]
    reach: float
    columns: Float[np.ndarray, "n g"]
    widths: Float[np.ndarray, " g"]
    pull: Float[np.ndarray, " n"] | None


class Cells(NamedTuple):
    """Rows in the order that breaks ties, twins in all that is looked at taken together.

    - `rows` (m,): what is in the cells, such as rows of the sample.
    - `first`, `size` (c,): cell j holds rows[first[j] : first[j] + size[j]].
    - `points` (c, r), `columns` (c, g): as of the rows.
    """

    rows: Int[np.ndarray, " m"]
    first: Int[np.ndarray, " c"]
    size: Int[np.ndarray, " c"]
    points: Float[np.ndarray, "c r"]
    columns: Float[np.ndarray, "c g"]


class SearchBlock(NamedTuple):
    """Queries, by their place in the task, and the units of the other arm that they may have."""

    queries: Cells
    units: Cells


def blocks_of(space: SearchSpace, task: Task, treated: bool) -> Iterator[SearchBlock]:
    """The queries of an arm, block by block, with the units of the other arm, if there are any."""
    t, query = np.asarray(task.sample.t), np.asarray(task.query)
    place_of = np.empty(space.order.size, int)
    place_of[space.order] = np.arange(space.order.size)
    able = space.order[space.able[space.order] & (space.block[space.order] >= 0)]
    asked = np.flatnonzero(np.asarray(task.asked) & (space.block[query] >= 0))
    asked = asked[np.argsort(place_of[query[asked]], kind="stable")]
    mine, theirs = asked[t[query[asked]] == treated], able[t[able] != treated]
    for queries, units in _shared(space.block[query[mine]], space.block[theirs]):
        places = mine[queries]
        yield SearchBlock(_cells(space, places, query[places]), _cells(space, theirs[units]))


def _shared(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of equal labels in two arrays, label by label, each in its own order."""
    labels = np.intersect1d(one, other)
    turns = [np.argsort(labels_, kind="stable") for labels_ in (one, other)]
    ends = [
        (np.searchsorted(array[turn], labels), np.searchsorted(array[turn], labels, "right"))
        for array, turn in zip((one, other), turns)
    ]
    for j in range(labels.size):
        yield tuple(turn[first[j] : last[j]] for turn, (first, last) in zip(turns, ends))  # type: ignore[misc]


def _cells(
    space: SearchSpace, names: Int[np.ndarray, " m"], rows: Int[np.ndarray, " m"] | None = None
) -> Cells:
    """Twins among rows in the order that breaks ties stand beside each other."""
    rows = names if rows is None else rows
    points, columns = space.points[rows], space.columns[rows]
    both = np.concatenate([points, columns], axis=1)
    new = np.ones(rows.size, bool)
    new[1:] = ((both[1:] != both[:-1]) & ~(np.isnan(both[1:]) & np.isnan(both[:-1]))).any(1)
    first = np.flatnonzero(new)
    size = np.diff(np.append(first, rows.size))
    return Cells(names, first, size, points[first], columns[first])


def admissible(
    space: SearchSpace,
    one: Float[np.ndarray, "q g"],
    other: Float[np.ndarray, "q m g"],
    square: Float[np.ndarray, "q m"],
) -> Bool[np.ndarray, "q m"]:
    """Which candidates of queries keep the calipers; those at an infinite distance do not."""
    keeps = (square <= space.reach**2 * ROUNDED) & (square < np.inf)
    if not space.widths.size:
        return keeps
    gap = np.abs(other - one[:, None])
    none = np.isnan(other) & np.isnan(one)[:, None]
    return keeps & ((gap <= space.widths * ROUNDED) | none).all(2)


def with_equal_twins(sample: Sample, space: SearchSpace) -> SearchSpace:
    """The points of twins of a block made equal to the last digit, whatever a matmul made of them.

    Twins agree in every covariate.
    """
    order = space.order[np.argsort(space.block[space.order], kind="stable")]
    new = np.zeros(order.size, bool)
    for word in (space.block[order], *packed_codes(sample, order)):
        new[1:] |= word[1:] != word[:-1]
    first = np.maximum.accumulate(np.where(new, np.arange(order.size), 0))
    points = np.empty_like(space.points)
    points[order] = space.points[order[first]]
    return space._replace(points=points)


def row_order(sample: Sample) -> Int[np.ndarray, " n"]:
    """Places of all rows in the order that breaks ties."""
    return value_order(sample, np.arange(sample.n))
