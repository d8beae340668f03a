"""Integer programs beside every vector there is, and the pool under what can go wrong."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from oracles.programs import (
    ENDLESS,
    FEW,
    MIXED,
    SMALL,
    TOUGH,
    WORK,
    alone,
    assert_same,
    hard,
    plain,
    program_of,
    random_dense,
)

import jcausal as jc
from jcausal.solvers import _highs, _pool

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def mixed():
    return alone(MIXED, **FEW)


@pytest.fixture(scope="module")
def work():
    return alone(WORK, **FEW)


def own_threads():
    return [t for t in threading.enumerate() if t.name.startswith("jcausal-solver")]


def test_solutions_are_the_best_of_all_vectors():
    dense = [random_dense(seed) for seed in range(40)]
    programs = [program_of(*each, offset=float(k)) for k, each in enumerate(dense)]
    with jc.solvers.SolverPool(1) as pool:
        solutions = pool.solve(programs)
    ended = [each.ended for each in solutions]
    assert ended.count("infeasible") >= 5
    assert ended.count("optimal") >= 20
    for k, ((cost, rows, low, high), found) in enumerate(zip(dense, solutions)):
        every = np.array(list(itertools.product([0.0, 1.0], repeat=cost.size)))
        held = ((every @ rows.T >= low) & (every @ rows.T <= high)).all(1)
        if not held.any():
            assert found.ended == "infeasible"
            assert np.isnan(found.objective) and found.bound == np.inf and found.values is None
            continue
        assert found.ended == "optimal"
        assert found.objective == pytest.approx((every @ cost)[held].min() + k, abs=1e-9)
        assert found.bound == pytest.approx(found.objective, abs=1e-8)
        assert (every[held] == found.values).all(1).any()
        assert cost @ found.values + k == pytest.approx(found.objective, abs=1e-9)


def test_a_program_without_whole_columns_has_its_bound():
    program = program_of([-1, -2], [[1, 1]], [-np.inf], [1.5], integer=False)
    [found] = alone([program])
    assert plain([found]) == [("optimal", -2.5, -2.5, 0, (0.5, 1.0))]


@pytest.mark.parametrize("low", [0.0, 1.0])
def test_a_program_without_columns_holds_or_not(low):
    [found] = alone([program_of([], [], [low], [2.0], offset=7.0)])
    assert found.ended == ("infeasible" if low else "optimal")
    assert low or (found.objective, found.bound, found.values.size) == (7.0, 7.0, 0)


def test_an_unbounded_program_is_an_error_that_names_it():
    unbounded = program_of([-1], upper=np.inf)
    with (
        jc.solvers.SolverPool(2) as pool,
        pytest.raises(jc.SolverError, match=r"^program 1: HiGHS ended with '.*[Uu]nbounded'\.$"),
    ):
        pool.solve([SMALL, unbounded, SMALL])


def test_an_infeasible_program_that_would_be_unbounded_is_infeasible():
    """HiGHS says that it is one of the two."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 100, (3, 12)).astype(float)
    half = rows.sum(1) // 2
    program = program_of([0.0] * 12 + [-1], np.c_[rows, np.zeros(3)], half, half)
    program.upper[-1] = np.inf
    found, after = alone([program, SMALL])
    assert (found.ended, after.objective) == ("infeasible", -3.0)


def test_what_runs_after_another_program_is_not_touched_by_it():
    """Costs, limits and incumbents of the last program are forgotten."""
    with jc.solvers.SolverPool(1) as pool:
        ends = [pool.solve([TOUGH], node_limit=n)[0].ended for n in (5, None, 5)]
        assert ends == ["node limit", "optimal", "node limit"]
        first = pool.solve([hard(2)], **FEW)
        pool.solve([ENDLESS], time_limit=0.05)
        assert_same(pool.solve([hard(2)], **FEW), first)


def test_limits_and_gap():
    with jc.solvers.SolverPool(1) as pool:
        began = time.perf_counter()
        slow = pool.solve([ENDLESS] * 3, time_limit=0.2)
        assert time.perf_counter() - began < 5
        [few] = pool.solve([ENDLESS], node_limit=10)
        [near] = pool.solve([TOUGH], gap=3.0)
        [exact] = pool.solve([TOUGH], node_limit=10**12)
    assert [each.ended for each in slow] == ["time limit"] * 3
    assert min(each.seconds for each in slow) > 0.15
    assert few.ended == "node limit" and few.nodes <= 10
    assert near.ended == exact.ended == "optimal"
    assert near.bound <= exact.objective <= near.objective <= near.bound + 3
    assert near.nodes < exact.nodes


def test_the_incumbent_is_the_start():
    [best] = alone([TOUGH])
    known = TOUGH._replace(incumbent=best.values)
    wrong = TOUGH._replace(incumbent=best.values + 0.3)
    with jc.solvers.SolverPool(1) as pool:
        without, at_once = pool.solve([TOUGH, known], node_limit=1)
        [other] = pool.solve([wrong])
    assert at_once.objective == pytest.approx(best.objective, abs=1e-9)
    assert without.objective > best.objective + 0.5
    assert other.objective == pytest.approx(best.objective, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            dict(cost=[1, np.nan, np.inf]),
            "cost is not finite .* at 2 of 3 places .the first is 1",
        ),
        (dict(cost=[1, 1, -1e20]), "cost is not finite .* at 1 of 3 places .the first is 2"),
        (dict(value=[1, np.nan, 1]), "value is not finite .* at 1 of 3 places .the first is 1"),
        (dict(incumbent=[1, 0, np.nan]), "incumbent is not finite .* at 1 of 3 places"),
        (dict(offset=np.nan), "offset is nan: it must be finite"),
        (dict(offset=-np.inf), "offset is -inf: it must be finite"),
        (dict(lower=[0, np.nan, 0]), "lower is NaN at 1 of 3 places .the first is 1"),
        (dict(upper=[np.nan, np.nan, 1]), "upper is NaN at 2 of 3 places .the first is 0"),
        (dict(lower=[0, 2, 2]), "lower is above upper at 2 of 3 places .the first is 1"),
        (dict(lower=[np.inf, 0, 0], upper=[np.inf, 1, 1]), "lower is infinity at 1 of 3"),
        (dict(lower=[-np.inf] * 3, upper=[1, 1, -np.inf]), "upper is minus infinity at 1 of 3"),
        (dict(row_lower=[0, np.nan]), "row_lower is NaN at 1 of 2 places .the first is 1"),
        (dict(row_upper=[0, np.nan]), "row_upper is NaN at 1 of 2 places .the first is 1"),
        (dict(row_lower=[3, 0]), "row_lower is above row_upper at 1 of 2 places .the first is 0"),
        (dict(column=[0, 3, -1]), "column is no column of the program at 2 of 3 places .the first"),
        (dict(column=[1, 1, 1]), "column is in its row for a second time at 1 of 3 places"),
        (dict(start=[0, 3]), "start must hold 3 places from 0 to the number of entries, 3"),
        (dict(start=[1, 2, 3]), "start must hold 3 places from 0"),
        (dict(start=[0, 2, 2]), "start must hold 3 places from 0"),
        (dict(start=[0, 4, 3]), "start is above the next at 1 of 2 places .the first is 1"),
        (dict(value=[1, 1]), r"value is \(2,\), column \(3,\): they must be as long"),
        (dict(upper=[1, 1]), r"upper is \(2,\), cost \(3,\): they must be as long"),
        (dict(incumbent=[1, 1]), r"incumbent is \(2,\), cost \(3,\): they must be as long"),
        (dict(row_upper=[1]), r"row_upper is \(1,\), row_lower \(2,\): they must be as long"),
    ],
)
def test_wrong_programs_are_refused_before_the_solver_sees_them(change, words, monkeypatch):
    program = program_of([1, 1, 1], [[1, 1, 0], [0, 0, 1]], [0, 0], [2, 2])
    bad, kinds = program, dict(start=int, column=int)
    for name, wrong in change.items():
        array = wrong if name == "offset" else np.array(wrong, kinds.get(name, float))
        bad = bad._replace(**{name: array})
    seen, run = [], _highs._take
    monkeypatch.setattr(_highs, "_take", lambda *args: seen.append(1) or run(*args))
    with jc.solvers.SolverPool(1) as pool, pytest.raises(ValueError, match=f"^program 1: {words}"):
        pool.solve([program, bad])
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("options", "limits", "words"),
    [
        (dict(workers=0), {}, "workers is 0: it must be at least 1"),
        (dict(executor="threads"), {}, "executor is 'threads': use an executor or a function"),
        ({}, dict(time_limit=np.nan), "time_limit is nan: it must be at least 0"),
        ({}, dict(node_limit=-1), "node_limit is -1: it must be at least 0"),
        ({}, dict(gap=-1.0), "gap is -1.0: it must be at least 0"),
        ({}, dict(gap=np.nan), "gap is nan: it must be at least 0"),
    ],
)
def test_wrong_options_are_refused(options, limits, words, unchecked):
    with pytest.raises(ValueError, match=words):
        jc.solvers.SolverPool(**options).solve([SMALL], **limits)


def test_no_programs_two_closes_and_work_after_a_close():
    pool = jc.solvers.SolverPool(2)
    assert pool.solve([]) == []
    assert pool.solve([SMALL])[0].objective == -3.0
    assert own_threads()
    pool.close()
    pool.close()
    assert not own_threads()
    with pool:
        assert pool.solve(iter([SMALL] * 3))[2].objective == -3.0
    assert not own_threads()


def test_two_workers_and_any_threads_give_the_same_in_the_order_asked(mixed):
    """The hard ones are asked first and done last."""
    done = []
    with jc.solvers.SolverPool(2) as pool:
        backwards = pool.solve(MIXED[::-1], progress=done.append, **FEW)
    assert_same(backwards[::-1], mixed)
    assert done == sorted(done) and done[-1] == len(MIXED)
    with ThreadPoolExecutor(2) as executor:
        with jc.solvers.SolverPool(executor=executor) as pool:
            assert_same(pool.solve(MIXED, **FEW), mixed)
        assert executor.submit(int, "7").result() == 7


def test_an_iterator_is_asked_for_a_few_at_a_time():
    asked, ahead = [], []

    def programs():
        for k in range(60):
            asked.append(k)
            yield SMALL

    def progress(done):
        ahead.append(len(asked) - done)

    with jc.solvers.SolverPool(2) as pool:
        assert len(pool.solve(programs(), progress=progress)) == 60
    assert max(ahead) <= 2 * _pool.AHEAD
    assert len(asked) == 60


def test_each_thread_keeps_one_solver(monkeypatch):
    made, real = [], _highs.Quiet
    monkeypatch.setattr(_highs, "Quiet", lambda: made.append(real()) or made[-1])
    with jc.solvers.SolverPool(1) as pool:
        pool.solve([SMALL] * 20)
        pool.solve([SMALL] * 20)
    assert len(made) == 1
    for name, value in (("threads", 1), ("output_flag", False), ("mip_rel_gap", 0.0)):
        assert made[0].getOptionValue(name)[1] == value


def test_the_solver_says_nothing(repository_on_path):
    """Not even its header, which it may print as it is made: stdout is the user's."""
    script = (
        "from oracles.programs import SMALL; import jcausal as jc; "
        "print(jc.solvers.SolverPool(1).solve([SMALL])[0].ended)"
    )
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "optimal\n"), done.stderr


def test_a_program_that_fails_stops_the_others_and_the_pool_goes_on():
    wrong = SMALL._replace(offset=np.nan)
    with jc.solvers.SolverPool(2) as pool:
        began = time.perf_counter()
        with pytest.raises(ValueError, match="^program 2: offset is nan"):
            pool.solve([SMALL, SMALL, wrong, *[ENDLESS] * 7])
        assert time.perf_counter() - began < 5
        assert [each.ended for each in pool.solve([SMALL] * 5)] == ["optimal"] * 5
    assert not own_threads()


def test_programs_that_cannot_be_made_stop_the_others_too():
    def programs():
        yield ENDLESS
        raise LookupError("no more")

    with jc.solvers.SolverPool(1) as pool:
        with pytest.raises(LookupError, match="no more"):
            pool.solve(programs())
        assert pool.solve([SMALL])[0].objective == -3.0


def test_an_unforeseen_error_says_which_program(monkeypatch):
    monkeypatch.setattr(_highs, "check", lambda program: 1 / program.offset)
    with jc.solvers.SolverPool(1) as pool, pytest.raises(ZeroDivisionError) as failed:
        pool.solve([SMALL._replace(offset=1.0), SMALL])
    assert failed.value.__notes__ == ["in program 1"]


def interrupt(_=None):
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("own", [True, False])
def test_ctrl_c_stops_soon_and_keeps_what_is_finished(own):
    """Two are done, the third runs, the others wait."""
    executor = None if own else ThreadPoolExecutor(1)
    pool = jc.solvers.SolverPool(1, executor=executor)
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt) as stopped:
        pool.solve([SMALL, SMALL, *[ENDLESS] * 30], progress=lambda n: n == 2 and interrupt())
    assert time.perf_counter() - began < 5
    assert isinstance(stopped.value, jc.Interrupted)
    found = stopped.value.found
    assert len(found) == 32
    assert [each.objective for each in found[:2]] == [-3.0, -3.0]
    assert found[2] is None or found[2].ended == "stopped"
    assert found[3:] == [None] * 29
    assert not _highs._STOPPED
    again = pool.solve([SMALL, TOUGH], **FEW)
    assert [each.ended for each in again] == ["optimal", "node limit"]
    pool.close()
    if executor is not None:
        executor.shutdown()


def test_ctrl_c_while_it_waits_and_a_second_one_while_it_stops(monkeypatch):
    real = _pool.wait

    def slow(futures, *rest):
        if rest == (_pool.STOPPING,):
            interrupt()
        return real(futures, *rest)

    monkeypatch.setattr(_pool, "wait", slow)
    with jc.solvers.SolverPool(1) as pool:
        alarm = threading.Timer(0.3, interrupt)
        alarm.start()
        with pytest.raises(jc.Interrupted) as stopped:
            pool.solve([SMALL, ENDLESS, SMALL])
        alarm.join()
    first, *others = stopped.value.found
    assert first.objective == -3.0
    assert len(others) == 2
    assert others[1] is None


def test_one_call_that_stops_leaves_others_alone():
    found = []
    with jc.solvers.SolverPool(1) as calm, jc.solvers.SolverPool(1) as other:
        beside = threading.Thread(target=lambda: found.extend(calm.solve([ENDLESS], time_limit=1)))
        beside.start()
        with pytest.raises(ValueError, match="program 1"):
            other.solve([TOUGH, SMALL._replace(offset=np.nan), ENDLESS])
        beside.join()
    assert [each.ended for each in found] == ["time limit"]


def fail():
    raise OSError("no licence")


def test_an_executor_that_breaks_is_made_again_and_given_up_at_last(mixed):
    """Threads that cannot begin break their executor at once."""
    made = []

    def make():
        made.append(ThreadPoolExecutor(1, initializer=fail if len(made) < 2 else None))
        return made[-1]

    with jc.solvers.SolverPool(executor=make) as pool:
        assert_same(pool.solve(MIXED, **FEW), mixed)
    assert len(made) == 3
    always = jc.solvers.SolverPool(executor=lambda: ThreadPoolExecutor(1, initializer=fail))
    with always, pytest.raises(RuntimeError, match="was lost 3 times with its worker"):
        always.solve(MIXED)


class KilledWorker(Exception):
    """As dask's is called."""


class Forgetful(Executor):
    """Runs at once; loses three tasks, as a cluster whose workers die."""

    def __init__(self):
        self.tasks, self.shut = 0, False

    def submit(self, function, /, *args):
        future = Future()
        self.tasks += 1
        if self.tasks in (3, 6):
            future.cancel()
            future.set_running_or_notify_cancel()
        elif self.tasks == 5:
            future.set_exception(KilledWorker())
        else:
            future.set_result(function(*args))
        return future

    def shutdown(self, wait=True):
        self.shut = True


def test_forgotten_tasks_are_given_again_and_executors_that_are_made_are_shut(mixed):
    made = []
    with jc.solvers.SolverPool(2, executor=lambda: made.append(Forgetful()) or made[-1]) as pool:
        assert_same(pool.solve(MIXED, **FEW), mixed)
    [executor] = made
    assert executor.tasks == len(MIXED) + 3
    assert executor.shut


def killing(pids, when):
    """A progress that kills one of these processes when so many programs are done, and the time."""
    killed = []

    def progress(done):
        if done >= when and not killed:
            killed.append(done)
            os.kill(next(iter(pids())), signal.SIGKILL)

    return progress, killed


@pytest.mark.extended
def test_processes_and_one_that_is_killed_half_way(work, repository_on_path):
    made = []

    def make():
        made.append(ProcessPoolExecutor(2, mp_context=SPAWN))
        return made[-1]

    with jc.solvers.SolverPool(2, executor=make) as pool:
        assert_same(pool.solve(WORK, **FEW), work)
        progress, killed = killing(lambda: made[0]._processes, 4)
        assert_same(pool.solve(WORK, progress=progress, **FEW), work)
    assert killed[0] < len(WORK) and len(made) == 2


def test_a_process_pool_of_the_user(repository_on_path):
    """It serves, names a failing program, and when it breaks, the error says what to do."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as executor:
        pool = jc.solvers.SolverPool(1, executor=executor)
        with pytest.raises(ValueError, match="^program 2: offset is nan"):
            pool.solve([SMALL, SMALL, SMALL._replace(offset=np.nan), *[SMALL] * 7])
        with pytest.raises(jc.SolverError, match="^program 0: HiGHS ended with"):
            pool.solve([program_of([-1], upper=np.inf)])
        assert pool.solve([SMALL])[0].objective == -3.0
        progress, killed = killing(lambda: executor._processes, 2)
        with pytest.raises(RuntimeError, match="pass a function that makes executors"):
            pool.solve(WORK, progress=progress, **FEW)
        assert killed[0] < len(WORK)
        with pytest.raises(RuntimeError, match="pass a function that makes executors"):
            pool.solve([SMALL])


@pytest.mark.extended
def test_ctrl_c_does_not_wait_for_processes(repository_on_path):
    def progress(done):
        if done == 2:
            interrupt()

    with jc.solvers.SolverPool(
        1, executor=lambda: ProcessPoolExecutor(1, mp_context=SPAWN)
    ) as pool:
        pool.solve([SMALL])
        began = time.perf_counter()
        with pytest.raises(jc.Interrupted) as stopped:
            pool.solve([SMALL, SMALL, *[ENDLESS] * 6], progress=progress)
    assert time.perf_counter() - began < 20
    assert [each and each.objective for each in stopped.value.found] == [-3.0, -3.0, *[None] * 6]


@pytest.mark.extended
def test_a_cluster_and_one_worker_that_is_killed_half_way(work, repository_on_path):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        with jc.solvers.SolverPool(2, executor=client.get_executor()) as pool:
            assert_same(pool.solve(WORK, **FEW), work)
            pids = client.run(os.getpid).values()
            progress, killed = killing(lambda: pids, 4)
            assert_same(pool.solve(WORK, progress=progress, **FEW), work)
            assert killed[0] < len(WORK)
        with jc.solvers.SolverPool(2, executor=client.get_executor) as pool:
            with pytest.raises(ValueError, match="^program 1: offset is nan"):
                pool.solve([SMALL, SMALL._replace(offset=np.nan)])
            assert pool.solve([SMALL])[0].objective == -3.0
