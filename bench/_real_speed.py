"""Seconds of whole processes: commands on real files, and the same twice in Python."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench import _m5_cdc, _real_data
from bench._real_peers import featured
from bench._speed import quadratic

GLANCE = 0.02  # seconds between two looks at a process's memory
MANY, TREATED, WIDE = 1_000_000, 100_000, 20
SETS, UNITS = 200, 300


class Run(NamedTuple):
    """A command's seconds and peak memory, and its last words when it failed."""

    seconds: float
    memory: float
    words: str


def run_apart(words: list[str], cache: Path, limit: float) -> Run:
    """One process, its compiled programs in `cache`; ended at the limit."""
    kept = {"XDG_CACHE_HOME": str(cache), "MPLBACKEND": "Agg"}
    besides = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    with tempfile.TemporaryFile("w+") as said:
        began, memory = time.perf_counter(), 0.0
        process = subprocess.Popen(words, env=besides | kept, stdout=said, stderr=said)
        while process.poll() is None:
            memory = max(memory, _peak(process.pid))
            if time.perf_counter() - began > limit:
                process.kill()
                process.wait()
                return Run(limit, memory, f"no answer in {limit:,.0f} s")
            time.sleep(GLANCE)
        seconds = time.perf_counter() - began
        said.seek(0)
        last = said.read().strip().splitlines()[-1:] if process.returncode else []
    return Run(seconds, memory, " ".join(last))


def _peak(pid: int) -> float:
    """The most memory that a process held so far, GB; 0 when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) / 1e6 if found else 0.0


def _demo(folder: Path) -> list[str]:
    return ["demo", "--out", str(folder / "out")]


def _estimate(table: Callable[[], _real_data.Table]) -> Callable[[Path], list[str]]:
    def words(folder: Path) -> list[str]:
        found, file = table(), folder / "data.csv"
        found.frame.to_csv(file, index=False)
        return ["estimate", *found.words(file), "--out", str(folder / "out")]

    return words


COMMANDS = {
    "command: demo (LaLonde, PSID)": _demo,
    "command: NHEFS": _estimate(_real_data.nhefs),
    "command: RHC": _estimate(_real_data.rhc),
}


def analysis(sample: jc.Sample, method: Any) -> Callable[[], Any]:
    """From the sample to the interval."""

    def run() -> float:
        effects = jc.estimate(sample, method, key=0)
        return float(jc.interval(effects, jc.AbadieImbens()).std_error)

    return run


def _effects(sample: jc.Sample, method: Any) -> Callable[[], Any]:
    """From the sample to the average, without an interval."""
    return lambda: float(jc.estimate(sample, method, key=0).att)


def _many() -> jc.Sample:
    """A million units of 20 covariates, a tenth of them treated."""
    sample = quadratic(MANY, WIDE, 1)
    order = np.random.default_rng(0).permutation(MANY)
    return jc.Sample(np.asarray(sample.x), order < TREATED, np.asarray(sample.y))


def _sets() -> tuple[jax.Array, jax.Array, jax.Array]:
    draws = [quadratic(UNITS, 5, k) for k in range(SETS)]
    return tuple(jax.device_put(np.stack([getattr(d, a) for d in draws])) for a in "xty")


def _att(x: jax.Array, t: jax.Array, y: jax.Array) -> jax.Array:
    sample, method = jc.Sample(x, t, y), jc.AHB(outcome=jc.Ridge())
    return jc.estimate(sample, method, key=0, throw=False).att


def _together() -> Callable[[], Any]:
    sets, mapped = _sets(), jax.jit(jax.vmap(_att))
    return lambda: jax.block_until_ready(mapped(*sets))


def _one_by_one() -> Callable[[], Any]:
    sets = [np.asarray(a) for a in _sets()]
    return lambda: [_att(*row) for row in zip(*sets)]


def _peer(sample: Callable[[], jc.Sample]) -> Callable[[], Any]:
    """Pairs of pymatchit-causal at its defaults, and its regression with errors by pair.

    Nearest neighbours on the logistic propensity score without replacement; covariates as numbers.
    """
    import statsmodels.formula.api as formulas  # it needs it
    from pymatchit import MatchIt

    given = featured(sample())
    names = [f"x{j}" for j in range(given.p)]
    frame = pd.DataFrame(given.points, columns=names)
    frame = frame.assign(t=np.asarray(given.t, int), y=np.asarray(given.y, np.float64))

    def run() -> float:
        pairs = MatchIt(frame, method="nearest").fit("t ~ " + " + ".join(names)).matched_data
        model = formulas.wls("y ~ t", data=pairs, weights=pairs["weights"])
        return model.fit(cov_type="cluster", cov_kwds={"groups": pairs["subclass"]}).bse["t"]

    return run


RIDGE = jc.AHB(outcome=jc.Ridge())
PYTHON: dict[str, Callable[[], Callable[[], Any]]] = {
    "LaLonde (PSID), AHB with Ridge": lambda: analysis(jc.datasets.lalonde("psid"), RIDGE),
    "LaLonde (PSID), AHB": lambda: analysis(jc.datasets.lalonde("psid"), jc.AHB()),
    "NHEFS, AHB": lambda: analysis(_real_data.nhefs().sample(), jc.AHB()),
    "RHC, AHB": lambda: analysis(_real_data.rhc().sample(), jc.AHB()),
    "peer: LaLonde (PSID), pymatchit-causal": lambda: _peer(lambda: jc.datasets.lalonde("psid")),
    "peer: NHEFS, pymatchit-causal": lambda: _peer(lambda: _real_data.nhefs().sample()),
    "peer: RHC, pymatchit-causal": lambda: _peer(lambda: _real_data.rhc().sample()),
    "200 sets of 300 x 5, AHB with Ridge, vmapped": _together,
    "200 sets of 300 x 5, AHB with Ridge, a loop": _one_by_one,
    "CDC, 500 of 241,599 x 27, AHB, effects alone": lambda: _effects(
        _m5_cdc.draw(_m5_cdc.read(), 0), jc.AHB()
    ),
    "100,000 of 1,000,000 x 20, M5Model, effects alone": lambda: _effects(_many(), jc.M5Model()),
}
WORKS = (*COMMANDS, *PYTHON)
QUICK = ("command: demo (LaLonde, PSID)", "LaLonde (PSID), AHB with Ridge")


def timed(works: tuple[str, ...], limit: float) -> Iterator[pd.DataFrame]:
    """One line a work so far."""
    lines: list[dict[str, Any]] = []
    for work in works:
        try:
            one = timed_command(work, limit) if work in COMMANDS else timed_python(work, limit)
        except _real_data.Absent as reason:
            print(f"  {work}: skipped, {reason}", flush=True)
            continue
        lines.append(dict(work=work) | one)
        print(f"  {lines[-1]}", flush=True)
        yield pd.DataFrame(lines)


def timed_command(work: str, limit: float) -> dict[str, Any]:
    """The first run and the next one; a command that failed is not run again."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        words = [sys.executable, "-m", "jcausal.cli", *COMMANDS[work](place)]
        cold = run_apart(words, place / "cache", limit)
        warm = cold if cold.words else run_apart(words, place / "cache", limit)
    return {
        "first, s": cold.seconds,
        "next, s": warm.seconds if warm is not cold else float("nan"),
        "peak memory, GB": max(cold.memory, warm.memory),
        "failed": warm.words,
    }


def timed_python(work: str, limit: float) -> dict[str, Any]:
    """The same work twice in a process of its own."""
    if work.startswith("peer") and find_spec("pymatchit") is None:
        raise _real_data.Absent("pymatchit-causal is not installed: pip install 'jcausal[peers]'")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        told = place / "seconds.json"
        words = [sys.executable, "-m", "bench._real_speed", work, str(told)]
        one = run_apart(words, place / "cache", limit)
        seconds = json.loads(told.read_text()) if told.exists() else [float("nan")] * 2
    return {
        "first, s": seconds[0],
        "next, s": seconds[1],
        "peak memory, GB": one.memory,
        "failed": one.words,
    }


def main(work: str, told: str) -> None:
    """Prepare, do it twice, and write both seconds."""
    run, seconds = PYTHON[work](), []
    for _ in range(2):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    Path(told).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
