"""One integer program by HiGHS, on an object that a thread keeps. Imported when it is needed."""

import math
import threading
import time

import highspy
import numpy as np

from jcausal.solve._program import Ended, IntegerProgram, Solution, SolverError, check

_HERE = threading.local()
_RUNNING: dict[int, highspy.Highs] = {}  # by thread: what `cancel` may stop
_OPTIONS = dict(output_flag=False, threads=1, parallel="off", mip_rel_gap=0.0)
_ENDED: dict[highspy.HighsModelStatus, Ended] = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kSolutionLimit: "node limit",
    highspy.HighsModelStatus.kTimeLimit: "time limit",
    highspy.HighsModelStatus.kInterrupt: "stopped",
    highspy.HighsModelStatus.kObjectiveTarget: "stopped",
}


def solve_one(
    program: IntegerProgram, time_limit: float | None, node_limit: int | None, gap: float
) -> Solution:
    """Solve one program in this thread.

    **Raises:** ValueError for numbers that are none, `SolverError`.
    """
    check(program)
    if not program.cost.size:
        return _without_columns(program)
    solver = _solver()
    _must(solver.clearModel(), "forget the last program")
    _must(solver.passModel(_model(program)), "take the program")
    _option(solver, "time_limit", math.inf if time_limit is None else time_limit)
    _option(solver, "mip_max_nodes", 2**31 - 1 if node_limit is None else node_limit)
    _option(solver, "mip_abs_gap", max(gap, 1e-9))
    if program.incumbent is not None:
        start = highspy.HighsSolution()
        start.col_value = program.incumbent.tolist()
        _must(solver.setSolution(start), "take the incumbent")
    began = time.perf_counter()
    _RUNNING[threading.get_ident()] = solver
    try:
        _must(solver.run(), "run")
    finally:
        del _RUNNING[threading.get_ident()]
    return _solution(solver, time.perf_counter() - began)


def cancel() -> None:
    """Stop what runs in the threads of this process."""
    for solver in list(_RUNNING.values()):
        solver.cancelSolve()


def _solver() -> highspy.Highs:
    """The HiGHS of this thread."""
    if not hasattr(_HERE, "solver"):
        solver = highspy.Highs()
        for name, value in _OPTIONS.items():
            _option(solver, name, value)
        solver.HandleUserInterrupt = True
        _HERE.solver = solver
    return _HERE.solver


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


def _solution(solver: highspy.Highs, seconds: float) -> Solution:
    status, info = solver.getModelStatus(), solver.getInfo()
    if status not in _ENDED:
        raise SolverError(f"HiGHS ended with {solver.modelStatusToString(status)!r}.")
    found = info.primal_solution_status == 2 and status != highspy.HighsModelStatus.kInfeasible
    return Solution(
        ended=_ENDED[status],
        objective=info.objective_function_value if found else math.nan,
        bound=math.inf if _ENDED[status] == "infeasible" else info.mip_dual_bound,
        values=np.array(solver.getSolution().col_value) if found else None,
        nodes=int(info.mip_node_count),
        seconds=seconds,
    )


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
