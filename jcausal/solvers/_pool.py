"""A pool of solvers: many integer programs, on threads or on any executor."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from typing import Any

from jcausal.solvers._program import IntegerProgram, Solution, SolverError, SolverLimits

ROUND = 0.5  # seconds between two looks, so that Ctrl-C works
AHEAD = 4  # programs a worker that are laid out before they are wanted
LOST = (BrokenExecutor, CancelledError, OSError)  # what a dead worker leaves behind
LOST_BY_NAME = ("KilledWorker",)  # dask's, which is not imported here
TRIES = 3  # how often a program is given to workers that die
STOPPING = 2.0  # seconds that what runs is given to stop


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what was finished: `found` holds the results so far."""

    def __init__(self, found: Any) -> None:
        super().__init__("stopped by the user; what is finished is in .found")
        self.found = found


class SolverPool:
    """Solve integer programs by HiGHS, each on one thread, several at a time.

    Every worker keeps one solver object. `executor` takes any `concurrent.futures.Executor`: a
    process pool, `dask.distributed.Client(...).get_executor()`, `mpi4py.futures.MPIPoolExecutor`,
    Ray's. A program whose worker dies is given to another worker, at most three times; when the
    whole executor breaks (as a process pool does), the rest needs a new one: pass a function that
    makes executors instead of an executor, and the pool calls it again.

    Upon Ctrl-C or an error, programs in threads of this process stop. In other processes only an
    executor that the pool made can be stopped: programs on one of yours go on to their end.

    **Arguments:**

    - `workers`: threads of this process, or, with `executor`, how many workers that one has (some
      programs more than these are handed out at a time); default: the processors of this machine.
    - `executor`: an executor, which stays yours to shut down, or a function that makes one, whose
      executors the pool shuts down.

    **Example:**

        >>> import jcausal as jc
        >>> import numpy as np
        >>> none, two = np.zeros(0, int), np.zeros(2)
        >>> program = jc.solvers.IntegerProgram(
        ...     cost=np.array([-1.0, 2.0]), lower=two, upper=two + 3, integer=two == 0,
        ...     start=np.zeros(1, int), column=none, value=none * 1.0,
        ...     row_lower=none * 1.0, row_upper=none * 1.0,
        ... )
        >>> with jc.solvers.SolverPool(workers=1) as pool:
        ...     [solution] = pool.solve([program])
        >>> solution.ended, solution.objective
        ('optimal', -3.0)
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        executor: Executor | Callable[[], Executor] | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: it must be at least 1.")
        if not (executor is None or isinstance(executor, Executor) or callable(executor)):
            raise ValueError(f"executor is {executor!r}: use an executor or a function making one.")
        self._workers = workers or _processors()
        self._make = executor if not isinstance(executor, Executor) else None
        if executor is None:
            self._make = lambda: ThreadPoolExecutor(self._workers, "jcausal-solver")
        self._executor = executor if isinstance(executor, Executor) else None

    def __enter__(self) -> "SolverPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Shut down the workers that the pool made."""
        if self._make is not None and self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def solve(
        self,
        programs: Iterable[IntegerProgram],
        *,
        time_limit: float | None = None,
        node_limit: int | None = None,
        gap: float = 0.0,
        progress: Callable[[int], None] | None = None,
    ) -> list[Solution]:
        """Solve programs, and give their solutions in the order asked.

        **Arguments:**

        - `programs`: any number; an iterator is asked for a few at a time.
        - `time_limit`: seconds for each (not reproducible); `node_limit`: nodes for each.
        - `gap`: a solution within this distance of the bound is called optimal.
        - `progress`: called with the number of programs that are done.

        **Raises:** ValueError for a program that holds NaN or crossed bounds; `SolverError`;
        `Interrupted` upon Ctrl-C, with the solutions so far (None for the others) in `found`.
        """
        total = len(programs) if isinstance(programs, Sized) else 0
        limits = SolverLimits(time_limit, node_limit, gap)
        _check_limits(limits)
        work = _Work(iter(enumerate(programs)), limits)
        try:
            self._finish(work, progress)
        except KeyboardInterrupt:
            try:
                self._give_up(work)
            finally:  # upon another Ctrl-C, too
                raise Interrupted(work.so_far(total)) from None
        except BaseException:
            self._give_up(work)
            raise
        return [work.found[i] for i in range(len(work.found))]

    def _finish(self, work: "_Work", progress: Callable[[int], None] | None) -> None:
        while work.fill(self._current(), AHEAD * self._workers):
            done, _ = wait(work.running, ROUND, FIRST_COMPLETED)
            broken = [error for future in done if (error := work.take(future))]
            if broken:
                for future in wait(work.running).done:
                    work.take(future)
                self._replace(broken[0])
            if done and progress is not None:
                progress(len(work.found))

    def _give_up(self, work: "_Work") -> None:
        """Stop what runs as far as it can be reached, and leave an own executor that goes on."""
        from jcausal.solvers._highs import forget, stop

        running = [future for future in work.running if not future.cancel()]
        stop(work.call)
        if not wait(running, STOPPING).not_done:
            forget(work.call)
        elif self._make is not None and self._executor is not None:
            executor, self._executor = self._executor, None
            processes = executor._processes if isinstance(executor, ProcessPoolExecutor) else {}
            for process in list(processes.values()):
                process.terminate()
            executor.shutdown(wait=False)

    def _current(self) -> Executor:
        if self._executor is None:
            assert self._make is not None
            self._executor = self._make()
        return self._executor

    def _replace(self, error: BaseException) -> None:
        """A new executor in place of a broken one."""
        if self._make is None:
            raise RuntimeError(
                "the executor broke (a worker died): pass a function that makes executors, such as "
                "executor=lambda: ProcessPoolExecutor(2), so that the pool can make another."
            ) from error
        assert self._executor is not None
        self._executor.shutdown(wait=False)
        self._executor = None


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_limits(limits: SolverLimits) -> None:
    for name, limit in limits._asdict().items():
        if limit is not None and not limit >= 0:
            raise ValueError(f"{name} is {limit}: it must be at least 0.")


def _solve(program: IntegerProgram, limits: SolverLimits, call: str) -> Solution:
    """One program, on the worker."""
    from jcausal.solvers._highs import solve_one

    return solve_one(program, limits, call)


def _named(error: BaseException, i: int) -> BaseException:
    """An error that says which program it is about."""
    for kind in (ValueError, SolverError):
        if isinstance(error, kind):
            return kind(f"program {i}: {error}")
    error.add_note(f"in program {i}")
    return error


class _Work:
    """Programs that wait, that run, and that are done."""

    def __init__(self, waiting: Iterator[tuple[int, IntegerProgram]], limits: SolverLimits) -> None:
        self.waiting, self.limits = waiting, limits
        self.call, self.asked = uuid.uuid4().hex, 0
        self.again: list[tuple[int, IntegerProgram]] = []
        self.lost: dict[int, int] = {}
        self.running: dict[Future, tuple[int, IntegerProgram]] = {}
        self.found: dict[int, Solution] = {}

    def fill(self, executor: Executor, ahead: int) -> bool:
        """Hand out programs until enough run; whether any does."""
        while len(self.running) < ahead:
            each = self.again.pop() if self.again else next(self.waiting, None)
            if each is None:
                break
            self.asked = max(self.asked, each[0] + 1)
            try:
                self.running[executor.submit(_solve, each[1], self.limits, self.call)] = each
            except BrokenExecutor as error:
                broken: Future = Future()
                broken.set_exception(error)
                self.running[broken] = each
                break
        return bool(self.running)

    def take(self, future: Future) -> BrokenExecutor | None:
        """Keep a solution, or note that its worker died; what broke, if the executor did."""
        i, program = self.running[future]
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self.found[i] = future.result()
        elif isinstance(error, LOST) or type(error).__name__ in LOST_BY_NAME:
            self.lost[i] = self.lost.get(i, 0) + 1
            if self.lost[i] >= TRIES:
                raise RuntimeError(
                    f"program {i} was lost {TRIES} times with its worker."
                ) from error
            self.again.append((i, program))
        else:
            raise _named(error, i) from error.__cause__
        del self.running[future]
        return error if isinstance(error, BrokenExecutor) else None

    def so_far(self, total: int) -> list[Solution | None]:
        """The solutions that there are, in the order asked."""
        for future, (i, _) in self.running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self.found[i] = future.result()
        return [self.found.get(i) for i in range(max(self.asked, total))]
