"""The nearest units of many queries: candidates by the quickest way, distances by differences."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import KDTree

from jcausal.data import bucket, pad_rows, to_device
from jcausal_kernels import nearest_points

TIED = 1e-9  # of a squared distance: two that differ by less are the same number, rounded
FEW_FEATURES = 6  # up to so many a tree looks at fewer units than there are
FEW_PAIRS = 2**24  # of a query and a unit: up to so many no program is worth its compilation
BLURRED = 0.5  # of the last distance: if less is proven, float32 does not tell units apart
SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # unit roundoffs


class Lists(NamedTuple):
    """Candidates (q, m) of queries, nearest first; of equally near ones the first.

    - `rows` (q, m): places among the units, -1 where there are fewer.
    - `square` (q, m): squared distances, infinite there.
    - `beyond` (q,): no unit that is not listed is nearer (squared); infinite where all are listed.
    """

    rows: Int[np.ndarray, "q m"]
    square: Float[np.ndarray, "q m"]
    beyond: Float[np.ndarray, " q"]


class NearestLists:
    """Units as points (n, r) on the host, of which the m nearest to each query can be asked for.

    One feature: the units are sorted, and the window around a query looked at. Up to six: a tree
    (scipy's KDTree). More: every unit by a matmul, on the host where pairs are few, else by the
    kernel `nearest_points` in float32. Each way lists one unit more than is asked for, and how much
    its arithmetic can be off, so that `beyond` is proven; the distances are direct differences in
    float64. All within `max_bytes`.
    """

    def __init__(self, points: Float[np.ndarray, "n r"], max_bytes: int) -> None:
        if not points.shape[1]:
            points = np.zeros((points.shape[0], 1))  # nothing varies: all are as near
        self.points, self.max_bytes = points, max_bytes
        self.size, self.features = points.shape

    def ask(self, at: Float[np.ndarray, "q r"], m: int) -> Lists:
        """The m nearest units to each query, at least; fewer where there are not so many."""
        at = self._seen(at)
        m = min(m, self.size)
        if self.features == 1:
            rows, beyond = self._in_windows(at[:, 0], m)
        elif m == self.size:
            rows = np.broadcast_to(np.arange(m), (at.shape[0], m))
            beyond = np.full(at.shape[0], np.inf)
        elif self.features <= FEW_FEATURES:
            rows, beyond = self._in_tree(at, m)
        else:
            return self._by_matmul(at, m)
        return self._in_order(at, rows)._replace(beyond=beyond)

    def among(self, at: Float[np.ndarray, "q r"], rows: Int[np.ndarray, "q m"]) -> Lists:
        """Lists of given units (-1 for none), taken to be all that count."""
        return self._in_order(self._seen(at), rows)

    def _seen(self, at: Float[np.ndarray, "q r"]) -> Float[np.ndarray, "q r"]:
        """Points of as many features as the units have here."""
        return at if at.shape[1] == self.features else np.zeros((at.shape[0], self.features))

    def rows_at_once(self, m: int) -> int:
        """Queries whose lists of m fit into a part of the memory."""
        width = m * (2 if self.features == 1 else 1)
        return max(1, self.max_bytes // (8 * width * (2 * self.features + 8)))

    def _in_order(self, at: Float[np.ndarray, "q r"], rows: Int[np.ndarray, "q m"]) -> Lists:
        """The candidates by their distance; those that are as near by their place."""
        rows = np.sort(rows, axis=1)
        square = ((self.points[rows] - at[:, None]) ** 2).sum(2)
        square[rows < 0] = np.inf
        turn = np.argsort(square, axis=1, kind="stable")
        rows, square = (np.take_along_axis(a, turn, 1) for a in (rows, square))
        with np.errstate(invalid="ignore"):
            new = square[:, 1:] > square[:, :-1] * (1 + TIED)
        level = np.cumsum(np.pad(new, [(0, 0), (1, 0)]), axis=1)
        turn = np.argsort(rows, axis=1, kind="stable")
        turn = np.take_along_axis(
            turn, np.argsort(np.take_along_axis(level, turn, 1), 1, "stable"), 1
        )
        rows, square = (np.take_along_axis(a, turn, 1) for a in (rows, square))
        return Lists(rows, square, np.full(at.shape[0], np.inf))

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.points[:, 0], kind="stable")
        return order, np.concatenate([[-np.inf], self.points[order, 0], [np.inf]])

    def _in_windows(self, at: Float[np.ndarray, " q"], m: int) -> tuple[np.ndarray, np.ndarray]:
        """The m on either side, and how far those next to them are."""
        order, value = self._sorted
        place = np.searchsorted(value[1:-1], at)[:, None]
        window = place + np.arange(-m, m)
        there = (window >= 0) & (window < self.size)
        rows = np.where(there, order[np.clip(window, 0, self.size - 1)], -1)
        ends = np.clip(place[:, 0] + np.array([[-m], [m + 1]]), 0, self.size + 1)
        return rows, np.abs(value[ends] - at).min(0) ** 2

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points, leafsize=32)

    def _in_tree(self, at: Float[np.ndarray, "q r"], m: int) -> tuple[np.ndarray, np.ndarray]:
        distance, rows = map(np.asarray, self._tree.query(at, k=m + 1, workers=-1))
        return rows, distance[:, -1] ** 2 * (1 - 16 * self.features * DOUBLE)

    @cached_property
    def _centred(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean, and the points around it: rounding grows with their size."""
        mean = self.points.mean(0)
        return mean, self.points - mean

    def _by_matmul(self, at: Float[np.ndarray, "q r"], m: int) -> Lists:
        """By the kernel where pairs are many, in float64 where float32 cannot tell them apart."""
        centred = at - self._centred[0]
        if at.shape[0] * self.size <= FEW_PAIRS:
            return self._proven(at, self._on_host(centred, m + 1), DOUBLE)
        found = self._proven(at, self._by_kernel(centred, m + 1), SINGLE)
        blurred = found.beyond < BLURRED * found.square.max(1, initial=0)
        if blurred.any():
            again = self._proven(at[blurred], self._on_host(centred[blurred], m + 1), DOUBLE)
            for old, new in zip(found, again):
                old[blurred] = new
        return found

    def _proven(
        self, at: Float[np.ndarray, "q r"], rows: Int[np.ndarray, "q m"], roundoff: float
    ) -> Lists:
        """In order, with what is sure of the others: four times a number's error off the last.

        The error is that of `nearest_points`.
        """
        found = self._in_order(at, rows)
        size = np.sqrt(((at - self._centred[0]) ** 2).sum(1))
        last = found.square.max(1, initial=0)
        error = 3 * (2 * self.features + 6) * roundoff * (size + np.sqrt(last)) ** 2
        return found._replace(beyond=np.maximum(last - 4 * error, 0))

    def _on_host(self, at: Float[np.ndarray, "q r"], m: int) -> Int[np.ndarray, "q m"]:
        _, units = self._centred
        square, some = (units**2).sum(1), max(1, self.max_bytes // (32 * self.size))
        found = [
            np.argpartition(square - 2 * at[i : i + some] @ units.T, m - 1, axis=1)[:, :m]
            for i in range(0, at.shape[0], some)
        ]
        return np.concatenate(found)

    @cached_property
    def _on_device(self) -> tuple[float, Array, Array]:
        """A power of 2 that keeps squares in range, the scaled units, and which are no padding."""
        _, units = self._centred
        scale = 2.0 ** -np.ceil(np.log2(max(np.abs(units).max(), 1e-300)))
        wide = bucket(self.size)
        values = pad_rows((units * scale).astype(np.float32), wide)
        return scale, to_device(values), to_device(np.arange(wide) < self.size)

    def _by_kernel(self, at: Float[np.ndarray, "q r"], m: int) -> Int[np.ndarray, "q m"]:
        scale, values, able = self._on_device
        points = pad_rows((at * scale).astype(np.float32), bucket(at.shape[0]))
        room = min(self.max_bytes, 2**28)
        found = nearest_points(values, able, to_device(points), bucket(m), max_bytes=room)[0]
        rows = np.asarray(found)[: at.shape[0], :m]
        return np.where(rows < self.size, rows, -1)
