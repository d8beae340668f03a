"""The partners near each query: on a line by a sort, in few dimensions by a tree, else by blocks."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

FEW = 10  # dimensions up to which a tree passes over most pairs
BLOCK = 2**21  # distances that are looked at together
ROUNDING = 1e-9  # of the squared norms: how far a screened distance may be off


class Found(NamedTuple):
    """Near pairs of a block of units, by rising query.

    - `query` (m,), `partner` (m,): places among the queries and among the partners.
    - `distance` (m,): theirs.
    """

    query: Int[np.ndarray, " m"]
    partner: Int[np.ndarray, " m"]
    distance: Float[np.ndarray, " m"]


@runtime_checkable
class Finder(Protocol):
    """Which of k partners are near each of m queries."""

    def counts(self, width: float) -> Int[np.ndarray, " m"]:
        """How many partners are at most so far from each query; nothing is laid out."""
        ...

    def pairs(self, width: float, most: int) -> Found:
        """Those pairs, of each query no more than its `most` nearest."""
        ...


def finder(queries: Float[np.ndarray, "m d"], partners: Float[np.ndarray, "k d"]) -> Finder:
    """The one that is quickest for points of so many dimensions."""
    if queries.shape[1] == 1:
        return OnLine(queries[:, 0], partners[:, 0])
    if queries.shape[1] <= FEW:
        return InTree(queries, partners)
    return InBlocks(queries, partners)


class OnLine(NamedTuple):
    """Points on a line: the partners near a query are a window of the sorted ones."""

    queries: Float[np.ndarray, " m"]
    partners: Float[np.ndarray, " k"]

    def counts(self, width: float) -> Int[np.ndarray, " m"]:
        """See `Finder`."""
        first, last = self._window(np.sort(self.partners), width)
        return last - first

    def pairs(self, width: float, most: int) -> Found:
        """See `Finder`."""
        order = np.argsort(self.partners, kind="stable")
        partners = self.partners[order]
        first, last = self._window(partners, width)
        first = self._nearest(partners, first, last, most)
        count = np.minimum(last - first, most)
        query = np.repeat(np.arange(count.size), count)
        place = np.arange(query.size) + np.repeat(first - (np.cumsum(count) - count), count)
        return Found(query, order[place], np.abs(self.queries[query] - partners[place]))

    def _window(self, partners: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """The first partner within `width`, and the first beyond it."""
        first = np.searchsorted(partners, self.queries - width, "left")
        return first, np.searchsorted(partners, self.queries + width, "right")

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

    def counts(self, width: float) -> Int[np.ndarray, " m"]:
        """See `Finder`."""
        if np.isinf(width):
            return np.full(len(self.queries), len(self.partners))
        found = cKDTree(self.partners).query_ball_point(self.queries, width, return_length=True)
        return np.asarray(found, np.int64)

    def pairs(self, width: float, most: int) -> Found:
        """See `Finder`."""
        tree, parts = cKDTree(self.partners), [_NONE]
        most = min(most, int(self.counts(width).max(initial=0)))
        for first in range(0, len(self.queries) if most else 0, max(1, BLOCK // max(most, 1))):
            here = self.queries[first : first + max(1, BLOCK // most)]
            distance, partner = tree.query(
                here, most, distance_upper_bound=np.nextafter(width, np.inf)
            )
            distance, partner = distance.reshape(-1, most), partner.reshape(-1, most)
            query, place = np.nonzero(np.isfinite(distance))
            parts.append(Found(query + first, partner[query, place], distance[query, place]))
        return _joined(parts)


class InBlocks(NamedTuple):
    """Points in many dimensions: all distances, so many queries at a time."""

    queries: Float[np.ndarray, "m d"]
    partners: Float[np.ndarray, "k d"]

    def counts(self, width: float) -> Int[np.ndarray, " m"]:
        """See `Finder`."""
        if np.isinf(width):
            return np.full(len(self.queries), len(self.partners))
        counts = np.zeros(len(self.queries), np.int64)
        for part in self._near(width, len(self.partners)):
            counts += np.bincount(part.query, minlength=counts.size)
        return counts

    def pairs(self, width: float, most: int) -> Found:
        """See `Finder`."""
        return _joined([_NONE, *self._near(width, most)])

    def _near(self, width: float, most: int) -> Iterator[Found]:
        """Distances by products screen the pairs; those kept are worked out by differences."""
        norms = (self.partners**2).sum(1)
        step = max(1, BLOCK // max(len(self.partners), 1))
        for first in range(0, len(self.queries), step):
            here = self.queries[first : first + step]
            own = (here**2).sum(1)[:, None]
            square = own + norms - 2 * (here @ self.partners.T)
            near = square <= width**2 + ROUNDING * (own + norms)
            if most < len(self.partners):
                edge = np.partition(square, most - 1, axis=1)[:, most - 1 : most]
                near &= square <= edge + ROUNDING * (own + norms)
            query, partner = np.nonzero(near)
            distance = _distances(here, self.partners, query, partner)
            kept = (distance <= width) & _among_nearest(query, distance, most)
            yield Found(query[kept] + first, partner[kept], distance[kept])


_NONE = Found(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


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


def _joined(parts: list[Found]) -> Found:
    return Found(*(np.concatenate(each) for each in zip(*parts)))
