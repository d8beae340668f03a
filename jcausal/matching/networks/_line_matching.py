"""As many pairs as can be, of the least total distance, on a line: no two pairs need cross."""

import numpy as np
from jaxtyping import Int

from jcausal.matching.networks._finders import OnLine

LARGEST = 2.0**62  # int64 adds whole numbers up to here


def least_total_on_line(line: OnLine, ratio: int, most: int) -> Int[np.ndarray, "m r"]:
    """Up to `ratio` partners of each query, by place, nearest first; -1 where there is none.

    As many pairs as can be, among those with as many queries matched as can be, and among those
    with the least total distance, as in `least_total`. Two pairs that cross can be uncrossed: the
    total does not rise and neither does the longer of the two. So queries and partners are taken
    in rising order, and with B_i(j) the best of the first i queries on the first j partners

        B_i(j) = max { B_{i-1}(j), B_i(j-1), B_{i-1}(j-1) + gain - d(i, j) }

    where a pair gains more than all distances together, and a query's first pair twice that. Each
    query looks at its window alone: the partners within the caliper, `most` of them at most.

    **Cost:** time and memory are those of all windows; distances are whole numbers, off by half a
    unit: for two thousand queries under 2^-36 of the largest, for a million under 2^-20.
    """
    order = np.argsort(line.queries, kind="stable")
    turn = np.argsort(line.partners, kind="stable")
    table = _Table(line._replace(queries=line.queries[order], partners=line.partners[turn]), ratio)
    first, last = table.line.windows(table.line.partners, most)
    for i in range(order.size):
        for copy in range(ratio):
            table.add(i, copy, int(first[i]), int(last[i]))
    place = np.full((order.size, ratio), -1)
    for i, partners in enumerate(table.traced_back()):
        apart = np.abs(table.line.partners[partners] - table.line.queries[i])
        nearest = np.asarray(partners, int)[np.argsort(apart, kind="stable")]
        place[order[i], : len(partners)] = turn[nearest]
    return place


class _Table:
    """B of the queries so far, and for each of them whom it takes, by how many partners there are.

    `best[j]`: B on the first j partners, which never falls with j. `steps`: for each query's
    copy its window, whom it takes inside of it, and up to which j it is matched beyond it.
    """

    def __init__(self, line: OnLine, ratio: int) -> None:
        self.line, self.ratio = line, ratio
        ends = np.abs(line.queries[:, None] - line.partners[[0, -1]])
        across = max(min(float(ends.max()), float(np.max(line.width))), 1e-300)
        pairs = line.queries.size * ratio
        self.scale = np.floor(min(LARGEST / (8.0 * pairs**2), 2.0**40)) / across
        self.gain = int(np.ceil(across * self.scale) + 1) * pairs
        self.best = np.zeros(line.partners.size + 1, np.int64)
        self.steps: list[tuple[int, int, np.ndarray, int]] = []

    def add(self, i: int, copy: int, first: int, last: int) -> None:
        """The next copy of the query i, whose partners are `first` to `last`."""
        if first >= last:
            self.steps.append((first, last, np.zeros(0, np.int32), last))
            return
        apart = np.abs(self.line.partners[first:last] - self.line.queries[i])
        apart = np.rint(apart * self.scale)
        gain = self.gain * (2 if copy == 0 else 1)
        reached = self.best[first:last] + (gain - apart.astype(np.int64))
        top = np.maximum.accumulate(reached)
        rises = np.append(True, reached[1:] > top[:-1])
        taken = np.maximum.accumulate(np.where(rises, np.arange(first, last, dtype=np.int32), 0))
        held = self.best[first + 1 : last + 1]
        taken = np.where(top > held, taken, -1).astype(np.int32)
        np.maximum(held, top, out=held)
        beyond = last + 1 + int(np.searchsorted(self.best[last + 1 :], top[-1]))
        self.best[last + 1 : beyond] = top[-1]
        self.steps.append((first, last, taken, beyond))

    def traced_back(self) -> list[list[int]]:
        """The partners of each query, in rising order."""
        found: list[list[int]] = [[] for _ in range(self.line.queries.size)]
        left = self.line.partners.size
        for step in reversed(range(len(self.steps))):
            first, last, taken, beyond = self.steps[step]
            if first < left < beyond:
                partner = int(taken[min(left, last) - 1 - first])
                if partner >= 0:
                    found[step // self.ratio].insert(0, partner)
                    left = partner
        return found
