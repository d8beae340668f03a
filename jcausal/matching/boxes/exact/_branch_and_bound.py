"""Driving the device search: problems of one size together, in rounds of at most a second."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jcausal.matching.boxes.exact._integer_programs import PlacesAround, Reach, objective
from jcausal.solvers import Ended
from jcausal_kernels import BoxNodes, Search, box_problems, box_search, start_search

TOGETHER = (16, 64, 256)  # problems that are searched together
CELLS = 2**23  # times columns: what problems together may hold, in each of five arrays
WAITING = 2**17  # nodes that can wait on the device
LANES = 16  # of 16 nodes: what a step takes
STEP = 16 * LANES
LONGEST = 2**16  # steps a round
ROUND = 0.5  # seconds a round should take, so that Ctrl-C and progress work


class BestBox(NamedTuple):
    """The best box that is known of one query, and what no box can fall below."""

    reach: Reach
    objective: float
    bound: float
    ended: Ended
    nodes: int


class SearchLimits(NamedTuple):
    """When a search stops: nodes and seconds a query, and the gap that counts as closed."""

    nodes: int
    seconds: float | None
    gap: float


def whole(places: PlacesAround) -> BestBox:
    """The box that holds every place: what is known before any search."""
    reach = Reach(-places.away.min(0, initial=0), places.away.max(0, initial=0))
    least = float(np.minimum(places.cost, 0).sum())
    return BestBox(reach, objective(places, reach), least, "stopped", 0)


def search(every: list[PlacesAround], limits: SearchLimits) -> Iterator[tuple[int, BestBox]]:
    """Search for the best box of every query, those of one size together.

    Yields (place in the list, what was found) as problems end.
    """
    sizes = np.array([_size(each.cost.size) for each in every], int)
    for size in np.unique(sizes)[::-1]:
        rows = np.flatnonzero(sizes == size)
        wide = _wide(rows.size, int(size) * max(1, every[rows[0]].away.shape[1]))
        for part in np.split(rows, np.arange(wide, rows.size, wide)):
            batch = _SearchBatch([every[i] for i in part], int(size), limits)
            stopped = batch.run()
            yield from zip(part.tolist(), batch.results())
            if stopped:
                raise KeyboardInterrupt


def _wide(problems: int, cells: int) -> int:
    """How many problems of so many cells are laid out together: few numbers, as of sizes."""
    fits = [wide for wide in TOGETHER if wide * cells <= CELLS]
    return TOGETHER[0] if problems <= TOGETHER[0] or not fits else fits[-1]


def _size(n: int) -> int:
    """How many cells a problem of n places is padded to: few sizes, since each is compiled."""
    power = max(64, 1 << (n - 1).bit_length())
    return power * 3 // 4 if power > 256 and n <= power * 3 // 4 else power


_Fields = list[np.ndarray]  # of one problem's nodes, on the host


class _SearchBatch:
    """Problems that are searched together, and their nodes on the host when there are too many."""

    def __init__(self, every: list[PlacesAround], size: int, limits: SearchLimits) -> None:
        self.every, self.limits = every, limits
        c = max(1, every[0].away.shape[1])
        wide = _wide(len(every), size * c)
        integer = np.dtype(jnp.zeros(0, int).dtype)
        away, count = np.zeros((size, wide, c), np.int32), np.zeros((size, wide, 2), np.int32)
        cost, self.quantum = np.zeros((size, wide), integer), np.ones(wide)
        for k, each in enumerate(every):
            n = each.cost.size
            away[:n, k, : each.away.shape[1]], count[:n, k] = each.away, each.units
            total = np.abs(each.cost).sum()
            self.quantum[k] = max(total, 1e-30) / (np.iinfo(integer).max // 4 - n)
            cost[:n, k] = np.round(each.cost / self.quantum[k])
        self.problems = box_problems(*map(jnp.asarray, (away, cost, count, np.arange(wide))))
        self.minimum = jnp.asarray(every[0].minimum)
        self.state = start_search(self.problems, wide, max(WAITING // wide, 2 * STEP), LANES)
        self.state = self._none_of_padding(self.state)
        self.tolerance = int(limits.gap / self.quantum[: len(every)].max())
        self.aside: dict[int, list[_Fields]] = {}
        self.stopped = False
        self._whole_first()

    def _none_of_padding(self, state: Search) -> Search:
        """Nothing is searched for where there is no problem."""
        there = np.arange(state.size.shape[0]) < len(self.every)
        return state._replace(size=jnp.where(there, state.size, 0))

    def _whole_first(self) -> None:
        """The boxes that hold everything are known from the start."""
        costs, counts = np.asarray(self.problems.cost), np.asarray(self.problems.units)
        enough = (counts.sum(0) >= np.asarray(self.minimum)).all(-1)
        best = np.where(enough, costs.sum(0), np.asarray(self.state.best))
        self.state = self.state._replace(best=jnp.asarray(best), reach=self.state.nodes.outer[:, 0])

    def run(self) -> bool:
        """Search until every problem is closed or beyond its limit; whether Ctrl-C ended it."""
        steps, began = 8, time.perf_counter()
        seconds = self.limits.seconds
        try:
            while np.asarray(self.state.size).any() or self.aside:
                self._balance()
                start = time.perf_counter()
                self.state = self._go_on(steps)
                now = time.perf_counter()
                pace = steps * ROUND / max(now - start, 1e-3)
                steps = int(np.clip(pace, 1, min(2 * steps, LONGEST)))
                if seconds is not None and now - began > seconds * len(self.every):
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
            tolerance=self.tolerance,
        )
        state.size.block_until_ready()
        return state

    def _balance(self) -> None:
        """Take half of a problem's nodes to the host where there are too many, or bring some back.

        Those that came first go. Whenever this is stopped, no node is missing from both places.
        """
        size = np.asarray(self.state.size)
        full = np.flatnonzero(size > self.state.nodes.bound.shape[1] - STEP)
        for k in full.tolist():
            nodes = [field[k, : size[k] // 2] for field in map(np.asarray, self.state.nodes)]
            self.aside.setdefault(k, []).append([field.copy() for field in nodes])
        if full.size:
            nodes = [np.asarray(field) for field in self.state.nodes]
            self._lay({k: [f[k, size[k] // 2 : size[k]] for f in nodes] for k in full.tolist()})
        idle = [k for k in self.aside if not size[k]]
        if idle:
            self._lay({k: self.aside[k][-1] for k in idle})
        for k in idle:
            self.aside[k].pop()
            if not self.aside[k]:
                del self.aside[k]

    def _lay(self, found: dict[int, _Fields]) -> None:
        """Make these the nodes of some problems, the most promising last."""
        nodes, size = [np.array(field) for field in self.state.nodes], np.array(self.state.size)
        for k, part in found.items():
            order = np.argsort(-np.asarray(part[-1]), kind="stable")
            size[k] = order.size
            for field, new in zip(nodes, part):
                field[k, : size[k]] = np.asarray(new)[order]
        fields = BoxNodes(*map(jnp.asarray, nodes))
        self.state = self.state._replace(nodes=fields, size=jnp.asarray(size))

    def _least_waiting(self) -> np.ndarray:
        """The least bound of the nodes of each problem that wait; the largest integer for none."""
        bound, size = np.asarray(self.state.nodes.bound), np.asarray(self.state.size)
        waits = np.arange(bound.shape[1]) < size[:, None]
        least = np.where(waits, bound, np.iinfo(bound.dtype).max).min(1)
        for k, parts in self.aside.items():
            least[k] = min([least[k], *(part[-1].min() for part in parts)])
        return least

    def results(self) -> Iterator[BestBox]:
        """What was found, with objectives in float64 and bounds that allow for the rounding."""
        state: Search = self.state
        best, lost = np.asarray(state.best), np.asarray(state.lost)
        reach, visited = np.asarray(state.reach), np.asarray(state.visited)
        closed = best - self.tolerance  # no node of this bound or more was looked into
        limited = lost < closed
        lost = np.minimum(lost, self._least_waiting())
        for k, each in enumerate(self.every):
            down, up = reach[k, :, : each.away.shape[1]].astype(int)
            box = Reach(down, up)
            total = objective(each, box)
            known = min(closed[k], lost[k]) * self.quantum[k] - self._rounding(k)
            ended: Ended = "optimal"
            if lost[k] < closed[k]:
                late: Ended = "stopped" if self.stopped else "time limit"
                ended = "node limit" if limited[k] else late
            yield BestBox(box, total, min(known, total), ended, int(visited[k]))

    def _rounding(self, k: int) -> float:
        """What whole numbers, and the way to them in float64, can hide of a problem's objective."""
        cost = self.every[k].cost
        return cost.size * self.quantum[k] / 2 + 2 * np.finfo(float).eps * float(np.abs(cost).sum())
