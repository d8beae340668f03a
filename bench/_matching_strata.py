"""Seconds and peak memory of matching by strata, each case in a process of its own."""

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._large import peak
from bench._speed import timed

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
PEER = "dame_flame"  # the Python package of FLAME's authors, where it is installed
CASES = {  # units, and what is compared
    "CEM": (5_000_000, ""),
    "Subclassification": (1_000_000, ""),
    "FLAME": (20_000, "groups of all units, holdout the units themselves"),
    "FLAME, once": (20_000, "groups of all units, holdout the units themselves"),
    "DAME": (20_000, ""),
}
QUICK = {"CEM": 50_000, "Subclassification": 20_000}


def run(quick: bool) -> pd.DataFrame:
    """One row a method: seconds of the first and of the next run, memory, the peer's seconds."""
    lines = []
    for name, (n, _) in CASES.items():
        size = QUICK.get(name, 1_000) if quick else n
        command = [sys.executable, "-m", "bench._matching_strata", name, str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"  {name}, {size:,} units: {lines[-1]['next run, s']:.2f} s", flush=True)
    return pd.DataFrame(lines)


def measure(name: str, n: int) -> dict[str, Any]:
    """One case in this process, the making of its sample left out."""
    frame = None if name == "CEM" else units(n)
    sample = many(n) if frame is None else sample_of(frame)
    methods = {
        "CEM": jc.CEM(),
        "Subclassification": jc.Subclassification(),
        "FLAME": jc.FLAME(bins="exact", balance=0),
        "FLAME, once": jc.FLAME(bins="exact", balance=0, repeats=False),
        "DAME": jc.DAME(bins="exact"),
    }
    method, line = methods[name], {"method": name, "size": f"{n:,} x {sample.p}"}
    if "FLAME" not in name:
        first, later = timed(lambda: float(jc.estimate(sample, method, key=0).average), 2)
        theirs, same = np.nan, ""
    else:
        surface = jc.fit(sample, jc.Ridge(penalty=1e-9))

        def match() -> jc.matching.Matching:
            found = jc.match(sample, method, surface=surface, honest=False, estimand="ate")
            jax.block_until_ready(found.status)
            return found

        first, later = timed(match, 3)
        theirs, same = compared(match(), frame, name)
    return line | {
        "first run, s": first,
        "next run, s": later,
        "peak memory, MB": 1000 * peak(),
        "peer, s": theirs,
        "the same": same,
    }


def many(n: int) -> jc.Sample:
    """Four numbers and four categories of four levels, a tenth treated."""
    rng = np.random.default_rng(0)
    x = np.empty((n, 8), np.float32)
    for j in range(8):
        x[:, j] = rng.normal(size=n).round(3) if j < 4 else rng.integers(0, 4, n)
    t = rng.random(n) < 0.1
    return jc.Sample(x, t, x[:, 0] + t, kinds=["number"] * 4 + ["category"] * 4)


def units(n: int) -> pd.DataFrame:
    """Twelve covariates of three levels that matter less and less, a fifth treated."""
    i = np.arange(1, n + 1)

    def draw(prime: int) -> np.ndarray:
        return (i * np.sqrt(prime)) % 1

    x = np.stack([(draw(prime) * 3).astype(int) for prime in PRIMES], axis=1)
    t = (draw(41) + 0.05 * x[:, 0] > 0.85).astype(int)
    y = x @ (8 / 1.7 ** np.arange(len(PRIMES))) + t * (1 + x[:, 1]) + 2 * draw(43)
    frame = pd.DataFrame(x, columns=[f"c{j}" for j in range(len(PRIMES))])
    return frame.assign(treated=t, outcome=y)


def sample_of(frame: pd.DataFrame) -> jc.Sample:
    """The units as a sample."""
    return jc.Sample.from_frame(frame, treatment="treated", outcome="outcome")


def compared(found: jc.matching.Matching, frame: Any, name: str) -> tuple[float, str]:
    """The peer's seconds, and how many units have the same first group with it."""
    if importlib.util.find_spec(PEER) is None:
        return np.nan, f"{PEER} is not installed"
    method = importlib.import_module(f"{PEER}.matching").FLAME
    model = method(alpha=0.1, verbose=0, early_stop_pe=False, repeats=name == "FLAME")
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(holdout_data=frame.copy())
        began = time.perf_counter()
        model.predict(frame.copy(), C=0.0)
        seconds = time.perf_counter() - began
    theirs: dict[int, frozenset] = {}
    for group in model.units_per_group:
        for row in group:
            theirs.setdefault(int(row), frozenset(map(int, group)))
    held, nobody = np.asarray(found.matched), frozenset()
    same = sum(
        (frozenset(found.group(i)[0].tolist()) if held[i] else nobody) == theirs.get(row, nobody)
        for i, row in enumerate(np.asarray(found.query).tolist())
    )
    return seconds, f"{CASES[name][1]}: {same:,} of {len(frame):,}"


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
