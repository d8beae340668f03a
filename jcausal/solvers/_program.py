"""An integer program as plain arrays, and what came of it."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Ended = Literal["optimal", "infeasible", "node limit", "time limit", "stopped"]
INFINITE = dict(cost=1e20, value=1e15, incumbent=1e20)  # what HiGHS no longer takes for a number


class IntegerProgram(NamedTuple):
    """Minimise cost x + offset over lower <= x <= upper, row_lower <= A x <= row_upper.

    c columns, r rows, k entries of A by rows: row i holds `value[start[i] : start[i + 1]]` in the
    columns `column[start[i] : start[i + 1]]`. Columns with `integer` take whole numbers. Bounds may
    be infinite. `incumbent` (c,) is a known solution to start from.
    """

    cost: Float[np.ndarray, " c"]
    lower: Float[np.ndarray, " c"]
    upper: Float[np.ndarray, " c"]
    integer: Bool[np.ndarray, " c"]
    start: Int[np.ndarray, " r_and_1"]
    column: Int[np.ndarray, " k"]
    value: Float[np.ndarray, " k"]
    row_lower: Float[np.ndarray, " r"]
    row_upper: Float[np.ndarray, " r"]
    offset: float = 0.0
    incumbent: Float[np.ndarray, " c"] | None = None


class SolverLimits(NamedTuple):
    """When a program may end: after `time_limit` seconds, after `node_limit` nodes (None: never).

    A solution within `gap` of the bound is called optimal.
    """

    time_limit: float | None
    node_limit: int | None
    gap: float


class Solution(NamedTuple):
    """How a program ended.

    `objective` and `values` belong to the best solution found (NaN and None without one), `bound`
    is what no solution can fall below, `nodes` and `seconds` what it took. "stopped" programs were
    at work upon Ctrl-C.
    """

    ended: Ended
    objective: float
    bound: float
    values: Float[np.ndarray, " c"] | None
    nodes: int
    seconds: float


class SolverError(RuntimeError):
    """The solver refused a program, or ended in a way that is no answer."""


def check(program: IntegerProgram) -> None:
    """Refuse what a solver would take for a number.

    **Raises:** ValueError naming the array, how many entries are wrong, and the first.
    """
    _check_shapes(program)
    for name, limit in INFINITE.items():
        values = getattr(program, name)
        if values is not None:
            _refuse(name, f"not finite (below {limit:g})", ~(np.abs(values) < limit))
    if not abs(program.offset) < INFINITE["cost"]:
        raise ValueError(f"offset is {program.offset}: it must be finite.")
    for low, high in (("lower", "upper"), ("row_lower", "row_upper")):
        below, above = getattr(program, low), getattr(program, high)
        _refuse(low, "NaN", np.isnan(below))
        _refuse(high, "NaN", np.isnan(above))
        _refuse(low, f"above {high}", below > above)
        _refuse(low, "infinity", below >= INFINITE["cost"])
        _refuse(high, "minus infinity", above <= -INFINITE["cost"])
    _check_matrix(program)


def _check_shapes(program: IntegerProgram) -> None:
    same = dict.fromkeys(("lower", "upper", "integer", "incumbent"), "cost")
    for name, other in {**same, "value": "column", "row_upper": "row_lower"}.items():
        ours, theirs = getattr(program, name), getattr(program, other).shape
        if ours is not None and (ours.shape != theirs or len(theirs) != 1):
            raise ValueError(f"{name} is {ours.shape}, {other} {theirs}: they must be as long.")


def _check_matrix(program: IntegerProgram) -> None:
    start, column = program.start, program.column
    columns, rows, entries = program.cost.size, program.row_lower.size, column.size
    if start.shape != (rows + 1,) or start[0] != 0 or start[-1] != entries:
        raise ValueError(
            f"start must hold {rows + 1} places from 0 to the number of entries, {entries}."
        )
    _refuse("start", "above the next", start[:-1] > start[1:])
    _refuse("column", "no column of the program", (column < 0) | (column >= columns))
    place = np.repeat(np.arange(rows), np.diff(start)) * columns + column
    order = np.argsort(place, kind="stable")
    twice = np.zeros(entries, bool)
    twice[order[1:]] = place[order[1:]] == place[order[:-1]]
    _refuse("column", "in its row for a second time", twice)


def _refuse(name: str, what: str, bad: np.ndarray) -> None:
    places = np.flatnonzero(bad)
    if places.size:
        raise ValueError(
            f"{name} is {what} at {places.size} of {bad.size} places (the first is {places[0]})."
        )
