"""An integer program as plain arrays, and what came of it."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Ended = Literal["optimal", "infeasible", "node limit", "time limit", "stopped"]


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


class Solution(NamedTuple):
    """How a program ended.

    `objective` and `values` belong to the best solution found (NaN and None without one), `bound`
    is what no solution can fall below, `nodes` and `seconds` what it took.
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
    finite = ("cost", "value") if program.incumbent is None else ("cost", "value", "incumbent")
    for name in finite:
        _refuse(name, "not finite", ~np.isfinite(getattr(program, name)))
    if not np.isfinite(program.offset):
        raise ValueError(f"offset is {program.offset}: it must be finite.")
    for low, high in (("lower", "upper"), ("row_lower", "row_upper")):
        below, above = getattr(program, low), getattr(program, high)
        _refuse(low, f"NaN or above {high}", ~(below <= above))
    columns, rows = program.cost.shape[0], program.row_lower.shape[0]
    if program.start.shape != (rows + 1,) or program.start[-1] != program.column.shape[0]:
        raise ValueError(f"start must hold {rows + 1} places, the last one the number of entries.")
    _refuse(
        "column", "no column of the program", (program.column < 0) | (program.column >= columns)
    )


def _refuse(name: str, what: str, bad: np.ndarray) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        raise ValueError(f"{name} is {what} in {rows.size} places (the first is {rows[0]}).")
