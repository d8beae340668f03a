"""One integer program by HiGHS, on an object that a thread keeps. Imported when it is needed."""

import math
import threading
import time
from typing import Any

import highspy
import numpy as np

from jcausal.solvers._program import (
    Ended,
    IntegerProgram,
    Solution,
    SolverError,
    SolverLimits,
    check,
)

_HERE = threading.local()  # the solver of a thread, and the call that it works for
_STOPPED: set[str] = set()  # calls whose programs need not go on
_OPTIONS = dict(output_flag=False, threads=1, parallel="off", mip_rel_gap=0.0)
_MOST_NODES = 2**31 - 1
_ENDED: dict[highspy.HighsModelStatus, Ended] = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kSolutionLimit: "node limit",
    highspy.HighsModelStatus.kTimeLimit: "time limit",
    highspy.HighsModelStatus.kInterrupt: "stopped",
}


def solve_one(program: IntegerProgram, limits: SolverLimits, call: str) -> Solution:
    """Solve one program in this thread, unless or until its call is stopped.

    **Raises:** ValueError for numbers that are none, `SolverError`.
    """
    check(program)
    if call in _STOPPED:
        return Solution("stopped", math.nan, -math.inf, None, 0, 0.0)
    if not program.cost.size:
        return _without_columns(program)
    try:
        solver = _solver()
        _HERE.call = call
        _take(solver, program)
        seconds, nodes = limits.time_limit, limits.node_limit
        _option(solver, "time_limit", math.inf if seconds is None else seconds)
        _option(solver, "mip_max_nodes", _MOST_NODES if nodes is None else min(nodes, _MOST_NODES))
        _option(solver, "mip_abs_gap", max(limits.gap, 1e-9))
        began = time.perf_counter()
        _must(solver.run(), "run")
        found = _solution(solver, program, time.perf_counter() - began)
    except BaseException:
        _HERE.__dict__.pop("solver", None)
        raise
    if call in _STOPPED:  # HiGHS remembers that it was to stop, even if it ended before
        _HERE.__dict__.pop("solver", None)
    return found


def stop(call: str) -> None:
    """Stop the programs of a call in the threads of this process."""
    _STOPPED.add(call)


def forget(call: str) -> None:
    """No program of a stopped call runs any more."""
    _STOPPED.discard(call)


class Quiet(highspy.Highs):
    """HiGHS without a word: from 1.16 on the callbacks, enabled as it is made, print its header."""

    def enableCallbacks(self) -> None:
        """As HiGHS has it, once it is quiet."""
        _option(self, "output_flag", False)
        super().enableCallbacks()


def _solver() -> highspy.Highs:
    """The HiGHS of this thread."""
    if not hasattr(_HERE, "solver"):
        solver = Quiet()
        for name, value in _OPTIONS.items():
            _option(solver, name, value)
        for event in (solver.cbSimplexInterrupt, solver.cbIpmInterrupt, solver.cbMipInterrupt):
            event.subscribe(_interrupt)
        _HERE.solver = solver
    return _HERE.solver


def _interrupt(event: Any) -> None:
    """HiGHS asks, in the thread that it runs on, whether to go on."""
    if _HERE.call in _STOPPED:
        event.interrupt()


def _take(solver: highspy.Highs, program: IntegerProgram) -> None:
    _must(solver.clearModel(), "forget the last program")
    _must(solver.passModel(_model(program)), "take the program")
    if program.incumbent is not None:
        start = highspy.HighsSolution()
        start.col_value = program.incumbent.tolist()
        _must(solver.setSolution(start), "take the incumbent")


def _model(program: IntegerProgram) -> highspy.HighsLp:
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = program.cost.shape[0], program.row_lower.shape[0]
    model.col_cost_, model.offset_ = program.cost, program.offset
    model.col_lower_, model.col_upper_ = program.lower, program.upper
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_ = program.start, program.column
    model.a_matrix_.value_ = program.value
    whole, free = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    model.integrality_ = [whole if each else free for each in program.integer.tolist()]
    return model


def _solution(solver: highspy.Highs, program: IntegerProgram, seconds: float) -> Solution:
    status, info = solver.getModelStatus(), solver.getInfo()
    word, nodes = solver.modelStatusToString(status), max(info.mip_node_count, 0)
    kinds = highspy.HighsModelStatus
    if status == kinds.kInfeasible or (
        status == kinds.kUnboundedOrInfeasible and _infeasible(solver, program)
    ):
        return Solution("infeasible", math.nan, math.inf, None, nodes, seconds)
    if status not in _ENDED:
        raise SolverError(f"HiGHS ended with {word!r}.")
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    bound = info.mip_dual_bound
    if not program.integer.any():
        optimal = status == kinds.kOptimal
        bound = info.objective_function_value if optimal else -math.inf
    values = np.array(solver.getSolution().col_value)
    return Solution(
        ended=_ENDED[status],
        objective=info.objective_function_value if found else math.nan,
        bound=bound,
        values=np.where(program.integer, np.rint(values), values) + 0.0 if found else None,
        nodes=nodes,
        seconds=seconds,
    )


def _infeasible(solver: highspy.Highs, program: IntegerProgram) -> bool:
    """Whether it is infeasible without its costs, where HiGHS left this open."""
    columns = np.arange(program.cost.size, dtype=np.int32)
    _must(solver.changeColsCost(columns.size, columns, np.zeros(columns.size)), "drop the costs")
    _must(solver.run(), "run")
    return solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible


def _without_columns(program: IntegerProgram) -> Solution:
    """Nothing to choose: the rows hold, or they do not (HiGHS has no answer to this)."""
    if ((program.row_lower <= 0) & (program.row_upper >= 0)).all():
        return Solution("optimal", program.offset, program.offset, np.zeros(0), 0, 0.0)
    return Solution("infeasible", math.nan, math.inf, None, 0, 0.0)


def _option(solver: highspy.Highs, name: str, value: bool | int | float | str) -> None:
    _must(solver.setOptionValue(name, value), f"set {name} to {value}")


def _must(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise SolverError(f"HiGHS could not {what}.")
