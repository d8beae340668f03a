"""Boxes of many units: seconds and peak memory, each case in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._speed import SURFACES, quadratic

POOL, COVARIATES, LEVELS = 100_000, 10, 64
MODELS = SURFACES | {"BoostedTrees": jc.BoostedTrees()}
MANY, WIDE = 1_000_000, 20


class Case(NamedTuple):
    """A method with a surface, queries, and what they are matched in."""

    method: str
    surface: str
    queries: int
    pool: int = POOL
    p: int = COVARIATES


CASES = (
    Case("AHB", "MLP", 20_000),
    Case("AHB", "BoostedTrees", 20_000),
    Case("AHB", "Ridge", 100_000, MANY, WIDE),
    Case("Fast AHB", "Ridge", 1_000),
    Case("Fast AHB", "MLP", 1_000),
    Case("Fast AHB", "MLP", 20_000),
    Case("Fast AHB", "Ridge", 20_000),
    Case("Fast AHB", "Ridge", 100_000),
)
FEW = (Case("AHB", "Ridge", 200, 20_000), Case("Fast AHB", "Ridge", 200, 20_000))


def collect(cases: tuple[Case, ...]) -> Iterator[pd.DataFrame]:
    """One line a case, so far."""
    lines = []
    for case in cases:
        command = [sys.executable, "-m", "bench._large", *map(str, case)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        words = f"{case.method}, {case.queries:,} queries, {case.surface}"
        print(f"  {words}: {lines[-1]['boxes, s']:.0f} s", flush=True)
        yield pd.DataFrame(lines)


def measure(case: Case) -> dict[str, float | int | str]:
    """Fit on other rows, then match and estimate once, compile time included."""
    train, test = quadratic(2_000, case.p, 0), quadratic(case.pool, case.p, 1)
    surface = jc.fit(train, MODELS[case.surface], key=0)
    method = jc.AHB() if case.method == "AHB" else jc.FastAHB(levels=LEVELS)
    treated, controls = np.flatnonzero(test.t), np.flatnonzero(~np.asarray(test.t))
    rows = np.concatenate([treated, controls])[: case.queries]
    began = time.perf_counter()
    boxes = jc.match(test, method, surface=surface, query=rows, throw=False)
    jax.block_until_ready(boxes.status)
    grown = time.perf_counter()
    effects = jc.estimate(test, boxes)
    jax.block_until_ready(effects.ite)
    ended = time.perf_counter()
    return {
        "method": case.method,
        "surface": case.surface,
        "queries": case.queries,
        "pool": case.pool,
        "p": case.p,
        "boxes, s": grown - began,
        "effects, s": ended - grown,
        "median group": float(np.median(np.asarray(effects.sizes).sum(1))),
        "matched": int(np.asarray(boxes.matched).sum()),
        "peak memory, GB": peak(),
    }


def peak() -> float:
    """The most memory that this process held; `ru_maxrss` would count its parent's before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e6
    raise OSError("/proc/self/status does not tell VmHWM: measure on Linux.")


if __name__ == "__main__":
    method, name, *numbers = sys.argv[1:]
    print(json.dumps(measure(Case(method, name, *map(int, numbers)))))
