"""The partners near each query: on a line, in a tree, in windows of a column, or by blocks."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

FEW = 10  # dimensions up to which a tree passes over most pairs
BLOCK = 2**21  # distances that are looked at together
ROUNDING = 1e-13  # of the squared norms: how far a square by products may be off
UNSURE = 1e-5  # of the squared norms: smaller squares are worked out by differences
ROUNDED = 1 + 1e-9  # a difference that equals a caliper is allowed, however it was rounded


class FoundPairs(NamedTuple):
    """Near pairs of a block of units, by rising query.

    - `query` (e,), `partner` (e,): places among the queries and among the partners.
    - `distance` (e,): theirs.
    """

    query: Int[np.ndarray, " e"]
    partner: Int[np.ndarray, " e"]
    distance: Float[np.ndarray, " e"]


class SideOfPairs(NamedTuple):
    """Units of one side: `points` (m, d), and the `columns` (m, g) that have calipers."""

    points: Float[np.ndarray, "m d"]
    columns: Float[np.ndarray, "m g"]


class PairReach(NamedTuple):
    """The largest distance of partners, inf for any, and their largest gaps (g,) by column.

    The distance is one for all, or one for each query (m,).
    """

    distance: float | Float[np.ndarray, " m"]
    gaps: Float[np.ndarray, " g"]


@runtime_checkable
class PairFinder(Protocol):
    """Which of k partners are near each of m queries."""

    def counts(self) -> Int[np.ndarray, " m"]:
        """How many partners each query has; nothing is laid out."""
        ...

    def pairs(self, most: int) -> FoundPairs:
        """Those pairs, of each query no more than its `most` nearest."""
        ...


def finder(queries: SideOfPairs, partners: SideOfPairs, reach: PairReach) -> PairFinder:
    """The one that is quickest for such points and calipers."""
    if reach.gaps.size:
        return InWindows(queries, partners, reach)
    points, width = (queries.points, partners.points), reach.distance * ROUNDED
    if points[0].shape[1] == 1:
        return OnLine(points[0][:, 0], points[1][:, 0], width)
    return InTree(*points, width) if points[0].shape[1] <= FEW else InBlocks(*points, width)


class OnLine(NamedTuple):
    """Points on a line: the partners near a query are a window of the sorted ones."""

    queries: Float[np.ndarray, " m"]
    partners: Float[np.ndarray, " k"]
    width: float | Float[np.ndarray, " m"]

    def counts(self) -> Int[np.ndarray, " m"]:
        """See `PairFinder`."""
        first, last = self._window(np.sort(self.partners))
        return last - first

    def pairs(self, most: int) -> FoundPairs:
        """See `PairFinder`."""
        order = np.argsort(self.partners, kind="stable")
        partners = self.partners[order]
        query, place = _laid_out(*self.windows(partners, most))
        return FoundPairs(query, order[place], np.abs(self.queries[query] - partners[place]))

    def windows(self, partners: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each query's `most` nearest of the sorted partners begin, and where they end."""
        first, last = self._window(partners)
        first = self._nearest(partners, first, last, most)
        return first, np.minimum(last, first + most)

    def _window(self, partners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first partner within the width, and the first beyond it."""
        first = np.searchsorted(partners, self.queries - self.width, "left")
        return first, np.searchsorted(partners, self.queries + self.width, "right")

    def _nearest(
        self, partners: np.ndarray, first: np.ndarray, last: np.ndarray, most: int
    ) -> np.ndarray:
        """Where the `most` nearest of each window begin, by bisection."""
        low, high = first, np.maximum(last - most, first)
        while (low < high).any():
            middle = (low + high) // 2
            beyond = np.minimum(middle + most, partners.size - 1)
            behind = partners[np.minimum(middle, partners.size - 1)]
            right = (low < high) & (self.queries - behind > partners[beyond] - self.queries)
            low, high = np.where(right, middle + 1, low), np.where(right, high, middle)
        return low


class InTree(NamedTuple):
    """Points in few dimensions: a k-d tree of the partners."""

    queries: Float[np.ndarray, "m d"]
    partners: Float[np.ndarray, "k d"]
    width: float | Float[np.ndarray, " m"]

    def counts(self) -> Int[np.ndarray, " m"]:
        """See `PairFinder`."""
        if np.isinf(self.width).all():
            return np.full(len(self.queries), len(self.partners))
        tree = KDTree(self.partners)
        found = tree.query_ball_point(self.queries, self.width, return_length=True)
        return np.asarray(found, np.int64)

    def pairs(self, most: int) -> FoundPairs:
        """See `PairFinder`."""
        tree, parts = KDTree(self.partners), [_NONE]
        counts = np.minimum(self.counts(), most)
        width = np.broadcast_to(self.width, counts.shape)
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] > 0]
        while order.size:
            each = int(counts[order[0]])
            here, order = order[: max(1, BLOCK // each)], order[max(1, BLOCK // each) :]
            bound = float(np.nextafter(width[here].max(), np.inf))
            distance, partner = tree.query(self.queries[here], each, distance_upper_bound=bound)
            distance, partner = np.reshape(distance, (-1, each)), np.reshape(partner, (-1, each))
            near = np.isfinite(distance) & (distance <= width[here][:, None])
            query, place = np.nonzero(near)
            parts.append(FoundPairs(here[query], partner[query, place], distance[query, place]))
        found = _joined(parts)
        turn = np.argsort(found.query, kind="stable")
        return FoundPairs(*(each[turn] for each in found))


class InBlocks(NamedTuple):
    """Points in many dimensions: all distances, so many queries at a time.

    A pair is near within the query's width and what the partner adds to it (0 or (k,)).
    """

    queries: Float[np.ndarray, "m d"]
    partners: Float[np.ndarray, "k d"]
    width: float | Float[np.ndarray, " m"]
    more: float | Float[np.ndarray, " k"] = 0.0

    def counts(self) -> Int[np.ndarray, " m"]:
        """See `PairFinder`."""
        if np.isinf(self.width).all():
            return np.full(len(self.queries), len(self.partners))
        return _counted(self.parts(len(self.partners)), len(self.queries))

    def pairs(self, most: int) -> FoundPairs:
        """See `PairFinder`."""
        return _joined([_NONE, *self.parts(most)])

    def parts(self, most: int) -> Iterator[FoundPairs]:
        """Distances by products; by differences where those are too rounded to tell."""
        norms = (self.partners**2).sum(1)
        widths = np.broadcast_to(self.width, len(self.queries))
        step = max(1, BLOCK // max(len(self.partners), 1))
        for first in range(0, len(self.queries), step):
            here = self.queries[first : first + step]
            size = (here**2).sum(1)[:, None] + norms
            square = np.maximum(size - 2 * (here @ self.partners.T), 0)
            width = widths[first : first + step, None] + self.more
            near = square <= width**2 + ROUNDING * size
            if most < len(self.partners):
                among = np.argpartition(square, most - 1, axis=1)[:, :most]
                nearest = np.zeros_like(near)
                np.put_along_axis(nearest, among, True, axis=1)
                near &= nearest
            query, partner = np.nonzero(near)
            square, size = square[near], size[near]
            width = np.broadcast_to(width, near.shape)[near]
            distance = np.sqrt(square)
            rounded = square < UNSURE * size
            rounded |= np.abs(square - width**2) <= ROUNDING * size
            redo = query[rounded], partner[rounded]
            distance[rounded] = _distances(here, self.partners, *redo)
            kept = distance <= width
            yield FoundPairs(query[kept] + first, partner[kept], distance[kept])


class InWindows(NamedTuple):
    """Calipers by column: the pairs within the narrowest of them, looked at one by one."""

    queries: SideOfPairs
    partners: SideOfPairs
    reach: PairReach

    def counts(self) -> Int[np.ndarray, " m"]:
        """See `PairFinder`."""
        _, _, first, last = self._narrowest()
        if self.reach.gaps.size == 1 and np.isinf(self.reach.distance).all():
            return last - first
        return _counted(self._near(len(self.partners.points)), len(self.queries.points))

    def pairs(self, most: int) -> FoundPairs:
        """See `PairFinder`."""
        return _joined([_NONE, *self._near(most)])

    def _narrowest(self) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """The column with the fewest pairs: itself, its order of partners, each query's window."""
        best: tuple | None = None
        for j, gap in enumerate(self.reach.gaps * ROUNDED):
            own, other = _gaps_apart(self.queries.columns[:, j], self.partners.columns[:, j], gap)
            order = np.argsort(other, kind="stable")
            first = np.searchsorted(other[order], own - gap, "left")
            last = np.searchsorted(other[order], own + gap, "right")
            if best is None or (last - first).sum() < (best[3] - best[2]).sum():
                best = (j, order, first, last)
        assert best is not None
        return best

    def _near(self, most: int) -> Iterator[FoundPairs]:
        j, order, first, last = self._narrowest()
        edges = np.concatenate([[0], np.cumsum(last - first)])
        start = 0
        while start < first.size:
            stop = int(np.searchsorted(edges, edges[start] + BLOCK, "right")) - 1
            stop = min(max(stop, start + 1), first.size)
            query, place = _laid_out(first[start:stop], last[start:stop])
            query, partner = query + start, order[place]
            kept = self._within(query, partner, j)
            query, partner = query[kept], partner[kept]
            distance = _distances(self.queries.points, self.partners.points, query, partner)
            width = np.broadcast_to(self.reach.distance, first.size)[query] * ROUNDED
            kept = distance <= width
            kept[kept] = _among_nearest(query[kept], distance[kept], most)
            yield FoundPairs(query[kept], partner[kept], distance[kept])
            start = stop

    def _within(self, query: np.ndarray, partner: np.ndarray, done: int) -> np.ndarray:
        """Which pairs keep the calipers of all columns but one."""
        kept = np.ones(query.size, bool)
        for j, gap in enumerate(self.reach.gaps * ROUNDED):
            if j != done:
                one, other = self.queries.columns[query, j], self.partners.columns[partner, j]
                kept &= (np.abs(one - other) <= gap) | (np.isnan(one) & np.isnan(other))
        return kept


_NONE = FoundPairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _laid_out(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows as pairs of their number and a place."""
    count = last - first
    number = np.repeat(np.arange(count.size), count)
    return number, np.arange(number.size) + np.repeat(first - (np.cumsum(count) - count), count)


def _gaps_apart(one: np.ndarray, other: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Two columns with missing values beyond all others: near to each other only."""
    known = np.concatenate([one, other])
    far = np.nanmax(np.abs(known), initial=0) * 2 + 4 * gap + 1
    return np.where(np.isnan(one), far, one), np.where(np.isnan(other), far, other)


def _counted(parts: Iterator[FoundPairs], queries: int) -> Int[np.ndarray, " m"]:
    counts = np.zeros(queries, np.int64)
    for part in parts:
        counts += np.bincount(part.query, minlength=queries)
    return counts


def _distances(
    queries: np.ndarray, partners: np.ndarray, query: np.ndarray, partner: np.ndarray
) -> np.ndarray:
    """The distance of each of some pairs."""
    total = np.zeros(query.size)
    for j in range(queries.shape[1]):
        total += (queries[query, j] - partners[partner, j]) ** 2
    return np.sqrt(total)


def _among_nearest(query: np.ndarray, distance: np.ndarray, most: int) -> np.ndarray:
    """Which pairs (by rising query) are among the `most` nearest of their query."""
    order = np.lexsort((distance, query))
    place = np.arange(query.size) - np.searchsorted(query, query)
    kept = np.empty(query.size, bool)
    kept[order] = place < most
    return kept


def _joined(parts: list[FoundPairs]) -> FoundPairs:
    return FoundPairs(*(np.concatenate(each) for each in zip(*parts)))
