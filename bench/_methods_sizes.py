"""Seconds, memory and errors of every method on many rows, each in a process of its own."""

import dataclasses
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import jcausal as jc
from bench._methods_ask import Case, asked
from bench._methods_roster import Method, method_of
from bench._real_data import Absent
from bench._real_speed import run_apart
from jcausal.simulate import Simulated

LEARNERS = {"X-learner": jc.XLearner, "DR-learner": jc.DRLearner}
MODELS = {"MLP": jc.MLP(), "Ridge": jc.Ridge()}


class Size(NamedTuple):
    """Rows and covariates."""

    n: int
    p: int


SIZES = (Size(20_000, 20), Size(1_000_000, 25))
GRF = (Size(20_000, 25), Size(100_000, 25), Size(1_000_000, 25))
NAMED = ("AHB", "M5Model", "T-learner", "X-learner", "DR-learner", "causal forest")
GRF_METHODS = (*NAMED, *(f"{name}, {model}" for name in LEARNERS for model in MODELS), "Fast AHB")
QUICK = (Size(2_000, 20),)


def bent(size: Size, seed: int) -> Simulated:
    """Effects max(x1, 0): y = max(x1, 0) w + x2 + min(x3, 0) + e, x and e N(0, 1), w a coin.

    The process by which grf's maintainers tell seconds (grf-labs/grf, experiments).
    """
    keys = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(keys[0], (size.n, size.p))
    t = jax.random.bernoulli(keys[1], 0.5, (size.n,))
    y0 = x[:, 1] + jnp.minimum(x[:, 2], 0) + jax.random.normal(keys[2], (size.n,))
    ite = jnp.maximum(x[:, 0], 0)
    return Simulated(jc.Sample(x, t, jnp.where(t, y0 + ite, y0)), ite, y0, y0 + ite)


def _named(name: str, data: Simulated, size: Size) -> Method:
    """A method of the roster, or a learner with another outcome model after a comma."""
    base, _, model = name.partition(", ")
    if not model:
        return method_of(base, data, *size)
    made = LEARNERS[base](outcome=MODELS[model])
    return dataclasses.replace(made, effect=MODELS[model])


def measured(
    names: tuple[str, ...], sizes: tuple[Size, ...], limit: float, most: float
) -> Iterator[pd.DataFrame]:
    """One line a method and size so far; ended at `limit` seconds and `most` GB."""
    lines: list[dict[str, Any]] = []
    for size in sizes:
        for name in names:
            line = dict(rows=size.n, covariates=size.p, method=name)
            lines.append(line | _apart(name, size, limit, most))
            print(f"  {lines[-1]}", flush=True)
            yield pd.DataFrame(lines).fillna({"note": ""})


def _apart(name: str, size: Size, limit: float, most: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        words = [sys.executable, "-m", "bench._methods_sizes", name, *map(str, size), str(told)]
        one = run_apart([*words, str(most)], Path(folder) / "cache", limit)
        found = json.loads(told.read_text()) if told.exists() else {}
    if "note" not in found and one.words:
        found["note"] = one.words[:160]
    return found | {"peak memory, GB": one.memory}


def main(name: str, n: str, p: str, told: str, most: str) -> None:
    """Draw, ask twice (once where that took minutes), and write what was found."""
    room = int(float(most) * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    size = Size(int(n), int(p))
    data = bent(size, 0)
    case = Case("sizes", str(size), 0, data.sample, data)
    try:
        method = _named(name, data, size)
        one, first, _ = _timed(case, method)
        again = first < 60
        one, following, busy = _timed(case, method) if again else (one, np.nan, np.nan)
        row: dict[str, Any] = dict(one)
        row |= {"first, s": first, "next, s": following, "next, CPU s": busy}
    except (Absent, ValueError, jc.MatchError, MemoryError) as reason:
        row = dict(note=str(reason).splitlines()[0][:160])
    Path(told).write_text(json.dumps(row))


def _timed(case: Case, method: Method) -> tuple[dict[str, Any], float, float]:
    began, busy = time.perf_counter(), time.process_time()
    row = asked(case, method).row
    kept = ("estimate", "lower", "upper", "bias", "unit_error_all", "covers_all", "matched")
    found = {name: row[name] for name in kept if name in row}
    return found, time.perf_counter() - began, time.process_time() - busy


if __name__ == "__main__":
    main(*sys.argv[1:])
