"""Covers by stars within limits on a line: no two edges need cross, so a table finds the best."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.matching._matching import MatchError
from jcausal.matching.networks._edge_cover import StarEdges
from jcausal.matching.networks._finders import OnLine
from jcausal.matching.networks._limits_of_strata import Degrees

STEP_BYTES = 12  # what the table keeps of each pair in reach
NEVER = np.int64(2**62)  # costs more than anything


class _Step(NamedTuple):
    """How the states of a treated unit are reached: the first `j` controls, `first` <= j <= `last`.

    `how` (w,): the star's size: s > 0 for the treated unit with its last s controls, s < 0 for the
    last control with its last -s treated, 0 where the last control is in no stratum, `NONE` where
    the treated unit is in none.
    """

    first: int
    last: int
    how: Int[np.ndarray, " w"]


NONE = np.int32(2**31 - 1)


def line_cover(line: OnLine, degrees: Degrees, max_bytes: int) -> StarEdges:
    """The edges of least total distance within the limits, that touch as many units as can be.

    `line` holds the treated as queries and the controls as partners. Crossing edges can be
    uncrossed and the units of a star can be made to stand side by side; neither makes an edge
    longer than the longest was. So with B(i, j) the least cost of the first i treated and the first
    j controls, a unit in no stratum costing more than all distances together,

        B(i, j) = min { B(i-1, j) + P_i, B(i, j-1) + P_j,
                        min_s B(i-1, j-s) + d(i, j-s+1) + ... + d(i, j),
                        min_s B(i-s, j-1) + d(i-s+1, j) + ... + d(i, j) }

    **Cost:** time and memory of all pairs in reach, times the most treated a control may have where
    that is limited. Distances are whole numbers.

    **Raises:** `MatchError` when the pairs in reach take more than `max_bytes`.
    """
    pairs = int(line.counts().sum())
    if pairs * STEP_BYTES > max_bytes:
        raise MatchError(
            f"{pairs:,} pairs are in reach, {pairs * STEP_BYTES:,} bytes, and max_bytes is "
            f"{max_bytes:,}: set a narrower caliper, or raise max_bytes."
        )
    order, turn = (np.argsort(a, kind="stable") for a in (line.queries, line.partners))
    table = _StarTable(line.queries[order], line.partners[turn], degrees)
    first, last = line._replace(queries=table.treated).windows(table.controls, turn.size)
    for i in range(order.size):
        table.add(i, int(first[i]), int(last[i]))
    treated, control = table.traced_back()
    distance = np.abs(table.treated[treated] - table.controls[control])
    return StarEdges(order[treated], turn[control], distance)


class _StarTable:
    """B of the treated so far, and how each of its values was reached.

    `best[j]`: B on the first j controls, right up to j = `reached`. `ends[j]`: the least cost of
    the first j controls where the last of them is the middle of a star that may still grow; where
    the star's size is limited, of each size (u, k + 1).
    """

    def __init__(
        self, treated: Float[np.ndarray, " m"], controls: Float[np.ndarray, " k"], degrees: Degrees
    ) -> None:
        self.treated, self.controls = treated, controls
        units = treated.size + controls.size
        across = max(float(np.ptp(np.concatenate([treated, controls]))), 1e-300)
        self.scale = np.floor(min(2.0**59 / units**2, 2.0**36)) / across
        lack = np.int64(np.ceil(across * self.scale) + 1) * units
        self.lack_treated, self.lack_control = lack * degrees.weights[0], lack * degrees.weights[1]
        self.degrees = degrees
        self.best = np.arange(controls.size + 1) * self.lack_control
        most = degrees.controls[1]
        self.sizes = int(degrees.controls[0] if np.isinf(most) else most)
        self.ends = np.full((self.sizes, controls.size + 1), NEVER)
        self.grown = np.zeros(controls.size + 1, np.int32)
        self.reached = controls.size
        self.steps: list[_Step] = []

    def add(self, i: int, first: int, last: int) -> None:
        """The next treated unit, whose controls are `first` to `last`."""
        for j in (slice(self.reached + 1, last + 1),):
            gap = np.arange(j.start, j.stop) - self.reached
            self.best[j] = self.best[self.reached] + gap * self.lack_control
        self.reached = last
        here = slice(first, last + 1)
        apart = np.abs(self.controls[first:last] - self.treated[i])
        cost = np.rint(apart * self.scale).astype(np.int64)
        before = self.best[here]
        best, how = before + self.lack_treated, np.full(before.size, NONE)
        if last > first:
            stars = []
            if self.degrees.controls[0] == 1:
                stars.append(self._of_treated(before, cost))
            if self.degrees.treated[0] == 1:
                stars.append(self._of_controls(here, cost))
            for found, size in stars:
                better = found < best[1:]
                best[1:] = np.where(better, found, best[1:])
                how[1:] = np.where(better, size, how[1:])
            rising = best - np.arange(best.size) * self.lack_control
            least = np.minimum.accumulate(rising)
            skips = rising > least
            best = least + np.arange(best.size) * self.lack_control
            how = np.where(skips, 0, how).astype(np.int32)
        self.best[here] = best
        self.steps.append(_Step(first, last, how))

    def _of_treated(self, before: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The treated unit with its last controls: least cost and how many, for each last one."""
        least, most = self.degrees.treated
        sums = np.concatenate([[0], np.cumsum(cost)])
        start = before - sums
        width = int(min(most, cost.size)) - least + 1
        if width < 1:
            return np.full(cost.size, NEVER), np.zeros(cost.size, np.int64)
        low, at = _sliding_least(start[: start.size - least], width)
        found, size = np.full(cost.size, NEVER), np.zeros(cost.size, np.int64)
        found[least - 1 :] = low + sums[least:]
        size[least - 1 :] = np.arange(least, sums.size) - at
        return found, size

    def _of_controls(self, here: slice, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last control with its last treated: least cost and how many (negative)."""
        least, most = self.degrees.controls
        ends = self.ends[:, here.start + 1 : here.stop]
        alone = self.best[here][:-1] + cost
        entry = alone if least == 1 else _added(ends[least - 2], cost)
        further = _added(ends[-1], cost)
        ends[1:] = _added(ends[:-1], cost)
        ends[0] = alone
        grown = self.grown[here.start + 1 : here.stop]
        if np.isinf(most):
            longer = further < entry
            grown[:] = np.where(longer, grown + 1, least)
            ends[-1] = np.where(longer, further, entry)
        self._close(here)
        if np.isinf(most):
            return ends[-1].copy(), -grown.astype(np.int64)
        size = np.argmin(ends[least - 1 :], axis=0) + least
        return ends[size - 1, np.arange(cost.size)], -size

    def _close(self, here: slice) -> None:
        """Controls out of reach of this treated unit can be the middle of no star that goes on."""
        self.ends[:, : here.start + 1] = NEVER
        self.ends[:, here.stop :] = NEVER

    def traced_back(self) -> tuple[np.ndarray, np.ndarray]:
        """The edges, by place in rising order."""
        treated, control = [], []
        i, j = len(self.steps), self.controls.size
        while i > 0 and j > 0:
            step = self.steps[i - 1]
            j = min(j, step.last)
            if j < step.first:
                i -= 1
                continue
            size = int(step.how[j - step.first])
            if size == NONE:
                i -= 1
            elif size == 0:
                j -= 1
            elif size > 0:
                treated += [i - 1] * size
                control += range(j - size, j)
                i, j = i - 1, j - size
            else:
                treated += range(i + size, i)
                control += [j - 1] * -size
                i, j = i + size, j - 1
        return np.array(treated, np.int64), np.array(control, np.int64)


def _added(costs: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Sums that stay at `NEVER` where they are there."""
    return np.where(costs < NEVER, costs + more, NEVER)


def _sliding_least(values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The least of each value and the `width` - 1 before it, and where it stands."""
    low, at, reach = values.copy(), np.arange(values.size), 1
    while reach < min(width, values.size):
        step = min(reach, min(width, values.size) - reach)
        better = low[:-step] < low[step:]
        low[step:], at[step:] = (
            np.where(better, low[:-step], low[step:]),
            np.where(better, at[:-step], at[step:]),
        )
        reach += step
    return low, at
