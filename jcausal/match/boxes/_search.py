"""Driving the device search: problems of one size together, in rounds of at most a second."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jcausal.match.boxes._programs import Around, Reach, objective
from jcausal.solve import Ended
from jcausal_kernels import Nodes, Search, box_problems, box_search, start_search

TOGETHER = 256  # problems that are searched together
WAITING = 2**16  # nodes that can wait on the device
LONGEST = 2**16  # steps a round
ROUND = 0.5  # seconds a round should take, so that Ctrl-C and progress work


class Found(NamedTuple):
    """The best box that is known of one query, and what no box can fall below."""

    reach: Reach
    objective: float
    bound: float
    ended: Ended
    nodes: int


class Limits(NamedTuple):
    """When a search stops: nodes and seconds a query, and the gap that counts as closed."""

    nodes: int
    seconds: float | None
    gap: float


def whole(around: Around) -> Found:
    """The box that holds every place: what is known before any search."""
    reach = Reach(-around.away.min(0, initial=0), around.away.max(0, initial=0))
    least = float(np.minimum(around.cost, 0).sum())
    return Found(reach, objective(around, reach), least, "stopped", 0)


def search(arounds: list[Around], limits: Limits) -> Iterator[tuple[int, Found]]:
    """Search for the best box of every query, those of one size together.

    Yields (place in the list, what was found) as problems end.
    """
    sizes = np.array([_size(each.cost.size) for each in arounds], int)
    for size in np.unique(sizes)[::-1]:
        rows = np.flatnonzero(sizes == size)
        for part in np.split(rows, np.arange(TOGETHER, rows.size, TOGETHER)):
            batch = _Batch([arounds[i] for i in part], int(size), limits)
            stopped = batch.run()
            yield from zip(part.tolist(), batch.results())
            if stopped:
                raise KeyboardInterrupt


def _size(n: int) -> int:
    """How many cells a problem of n places is padded to: few sizes, since each is compiled."""
    power = max(64, 1 << (n - 1).bit_length())
    return power * 3 // 4 if power > 256 and n <= power * 3 // 4 else power


_Fields = list[np.ndarray]  # of nodes, on the host


class _Batch:
    """Problems that are searched together, and their nodes on the host when there are too many."""

    def __init__(self, arounds: list[Around], size: int, limits: Limits) -> None:
        self.arounds, self.limits = arounds, limits
        wide, c = 16 if len(arounds) <= 16 else TOGETHER, arounds[0].away.shape[1]
        integer = np.dtype(jnp.zeros(0, int).dtype)
        away, count = np.zeros((size, wide, c), np.int32), np.zeros((size, wide, 2), np.int32)
        cost, self.quantum = np.zeros((size, wide), integer), np.ones(wide)
        for k, each in enumerate(arounds):
            n = each.cost.size
            away[:n, k], count[:n, k] = each.away, each.units
            total = np.abs(each.cost).sum()
            self.quantum[k] = max(total, 1e-30) / (np.iinfo(integer).max // 4 - n)
            cost[:n, k] = np.round(each.cost / self.quantum[k])
        self.problems = box_problems(*map(jnp.asarray, (away, cost, count, np.arange(wide))))
        self.minimum = jnp.asarray(arounds[0].minimum)
        self.batch = int(np.clip(2 ** int(np.log2(2**19 / (size * c))), 32, 256))
        self.state = start_search(self.problems, wide, WAITING)
        self.slack = int(limits.gap / self.quantum[: len(arounds)].max())
        self.aside: list[_Fields] = []
        self.stopped = False
        self._whole_first()

    def _whole_first(self) -> None:
        """The boxes that hold everything are known from the start."""
        costs, counts = np.asarray(self.problems.cost), np.asarray(self.problems.units)
        enough = (counts.sum(0) >= np.asarray(self.minimum)).all(-1)
        best = np.where(enough, costs.sum(0), np.asarray(self.state.best))
        reach = self.state.nodes.outer[: best.size]
        self.state = self.state._replace(best=jnp.asarray(best), reach=reach)

    def run(self) -> bool:
        """Search until every problem is closed or beyond its limit; whether Ctrl-C ended it."""
        steps, began = 8, time.perf_counter()
        seconds = self.limits.seconds
        try:
            while int(self.state.size) or self.aside:
                self._balance()
                start = time.perf_counter()
                self.state = self._go_on(steps)
                now = time.perf_counter()
                pace = steps * ROUND / max(now - start, 1e-3)
                steps = int(np.clip(pace, 1, min(2 * steps, LONGEST)))
                if seconds is not None and now - began > seconds * len(self.arounds):
                    break
        except KeyboardInterrupt:
            self.stopped = True
        return self.stopped

    def _go_on(self, steps: int) -> Search:
        """One round."""
        state = box_search(
            self.problems,
            self.state,
            self.minimum,
            steps=steps,
            limit=self.limits.nodes,
            slack=self.slack,
            batch=self.batch,
        )
        return state._replace(size=jnp.asarray(int(state.size)))  # waits

    def _balance(self) -> None:
        """Take the half of the nodes that come last to the host, or bring some back."""
        size = int(self.state.size)
        if size == 0:
            self._put(self.aside.pop())
        elif size > WAITING - 2 * self.batch:
            half = size // 2
            nodes = self._waiting()
            self.aside.append([field[:half] for field in nodes])
            self._put([field[half:] for field in nodes])

    def _waiting(self) -> _Fields:
        return [np.asarray(field)[: int(self.state.size)] for field in self.state.nodes]

    def _put(self, nodes: _Fields) -> None:
        """Make these the nodes that wait, the most promising of each problem last."""
        problem, _, _, bound = nodes
        size, order, fields = bound.shape[0], np.lexsort([-bound, problem]), []
        for field, old in zip(nodes, self.state.nodes):
            new = np.zeros(old.shape, old.dtype)
            new[:size] = field[order]
            fields.append(jnp.asarray(new))
        self.state = self.state._replace(nodes=Nodes(*fields), size=jnp.asarray(size))

    def results(self) -> Iterator[Found]:
        """What was found, with objectives in float64 and bounds that allow for the rounding."""
        state: Search = self.state
        best, lost = np.asarray(state.best), np.asarray(state.lost).copy()
        reach, visited = np.asarray(state.reach), np.asarray(state.visited)
        closed = best - self.slack  # no node of this bound or more was looked into
        limited = lost < closed
        for problem, _, _, bound in [self._waiting(), *self.aside]:
            np.minimum.at(lost, problem, bound)
        for k, each in enumerate(self.arounds):
            box = Reach(reach[k, 0].astype(int), reach[k, 1].astype(int))
            total = objective(each, box)
            known = min(closed[k], lost[k]) * self.quantum[k] - self._rounding(k)
            ended: Ended = "optimal"
            if lost[k] < closed[k]:
                late: Ended = "stopped" if self.stopped else "time limit"
                ended = "node limit" if limited[k] else late
            yield Found(box, total, min(known, total), ended, int(visited[k]))

    def _rounding(self, k: int) -> float:
        """What whole numbers, and the way to them in float64, can hide of a problem's objective."""
        cost = self.arounds[k].cost
        return cost.size * self.quantum[k] / 2 + 2 * np.finfo(float).eps * float(np.abs(cost).sum())
