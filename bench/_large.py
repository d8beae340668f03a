"""Fast AHB on many units: seconds and peak memory, each case in a process of its own."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._speed import SURFACES, quadratic

POOL, COVARIATES, LEVELS = 100_000, 10, 64
CASES = (("Ridge", 1_000), ("MLP", 1_000), ("MLP", 20_000), ("Ridge", 20_000), ("Ridge", 100_000))
FEW = (("Ridge", 200),)


def collect(cases: tuple[tuple[str, int], ...]) -> Iterator[pd.DataFrame]:
    """One line a case, so far."""
    lines = []
    for name, queries in cases:
        command = [sys.executable, "-m", "bench._large", name, str(queries)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"  {queries:,} queries, {name}: {lines[-1]['boxes, s']:.0f} s", flush=True)
        yield pd.DataFrame(lines)


def measure(name: str, queries: int) -> dict[str, float | int | str]:
    """Fit on other rows, then match once, compile time included."""
    train, test = quadratic(2_000, COVARIATES, 0), quadratic(POOL, COVARIATES, 1)
    surface = jc.fit(train, SURFACES[name], key=0)
    method = jc.FastAHB(levels=LEVELS)
    treated, controls = np.flatnonzero(test.t), np.flatnonzero(~np.asarray(test.t))
    rows = np.concatenate([treated, controls])[:queries]
    began = time.perf_counter()
    boxes = jc.match(test, method, surface=surface, query=rows, throw=False)
    jax.block_until_ready(boxes.status)
    grown = time.perf_counter()
    sizes = np.asarray(boxes.sizes)
    ended = time.perf_counter()
    return {
        "queries": queries,
        "pool": POOL,
        "p": COVARIATES,
        "levels": LEVELS,
        "surface": name,
        "boxes, s": grown - began,
        "counts, s": ended - grown,
        "median group": float(np.median(sizes.sum(1))),
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
    parser = argparse.ArgumentParser()
    parser.add_argument("surface")
    parser.add_argument("queries", type=int)
    asked = parser.parse_args()
    print(json.dumps(measure(asked.surface, asked.queries)))
