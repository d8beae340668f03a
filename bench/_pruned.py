"""Table 4 of the paper: errors and seconds of Exact AHB by which units are looked at."""

import dataclasses
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import PRUNED
from bench._table2 import READINGS, Run, divide

UNITS = 600  # half of them are matched
ENGINES = ("device", "auto")
APART, NEAR = 0.4, 0.5  # the paper's limits: of predictions, and of every covariate
NAMES = {
    "everybody": "none",
    "nearest": "50 + 50 nearest",
    "alike": f"L at most {APART:g}",
    "alike, weighted": f"weighted L at most {APART:g}",
    "near": f"covariates at most {NEAR:g} apart",
}


def methods(run: Run) -> dict[str, jc.ExactAHB]:
    """The paper's ways to look at fewer units.

    Its L is in units of the outcome, our distance has the weights gamma over scale: the limit is
    multiplied by the weight at the surfaces' mean variance (they have the same where the effect is
    constant).
    """
    exact = jc.ExactAHB()
    values = np.asarray(run.surface(run.test.x), np.float64)
    scale = np.sqrt(values.var(0, ddof=1).mean())
    limits: dict[str, dict[str, Any]] = {
        "everybody": {},
        "nearest": dict(candidates=50),
        "alike": dict(max_distance=APART * exact.gamma0 / float(scale)),
        "alike, weighted": dict(max_distance=APART),
        "near": dict(max_distance={name: NEAR for name in run.test.schema.names}),
    }
    return {name: dataclasses.replace(exact, **limit) for name, limit in limits.items()}


def row_of_runs(row: str, reading: Any, runs: int) -> list[dict[str, Any]]:
    """All runs of one process: error, seconds, share proven and units left, all units matched."""
    records = []
    for seed in range(runs):
        data = jc.simulate.ahb_table2(row, key=seed, n=UNITS, reading=reading)
        run = divide(data, seed, share=0.5, everyone=True)
        for name, method in methods(run).items():
            about = dict(row=row, reading=reading, seed=seed, looked=name)
            records += [dict(about, engine=e, **_timed(run, method, e)) for e in ENGINES]
    return records


def _timed(run: Run, method: jc.ExactAHB, engine: Any) -> dict[str, float]:
    """The second of two equal calls: the first compiles."""
    method = dataclasses.replace(method, engine=engine)

    def once() -> jc.matching.Matching:
        return jc.match(run.test, method, surface=run.surface, estimand="ate", throw=False)

    once()
    began = time.perf_counter()
    boxes = once()
    seconds = time.perf_counter() - began
    assert isinstance(boxes, jc.matching.Boxes) and boxes.proof is not None
    hat = np.asarray(jc.estimate(run.test, boxes, effect="group").ite)
    matched = np.asarray(boxes.matched)
    return dict(
        units=float(matched.size),
        seconds=seconds,
        error=float(np.abs(hat - run.ite)[matched].mean()),
        effect=float(run.ite.mean()),
        matched=float(matched.mean()),
        proven=float(boxes.proven[matched].mean()),
        seen=float(np.median(run.test.n - boxes.proof.left_out)),
    )


def collect(rows: tuple[str, ...], runs: int) -> Iterator[pd.DataFrame]:
    """All records so far, after each process under a reading."""
    records: list[dict[str, Any]] = []
    for row, reading in product(rows, READINGS):
        records += row_of_runs(row, reading, runs)
        print(f"  {row} {reading}: {runs} runs", flush=True)
        yield pd.DataFrame(records)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a process, reading and way to look at fewer units."""
    lines = []
    keys = ["row", "reading", "looked"]
    for (row, reading, looked), seen in records.groupby(keys, sort=False):
        paper = PRUNED[row]._asdict().get(looked, (np.nan, np.nan))
        device, auto = (seen[seen["engine"] == engine] for engine in ENGINES)
        lines.append(
            {
                "process": row,
                "reading": reading,
                "preprocessing": NAMES[looked],
                "units looked at": device["seen"].mean(),
                "paper: error": paper[0],
                "error": device["error"].mean(),
                "sd over runs": device["error"].std(),
                "error over the mean effect": (device["error"] / device["effect"]).mean(),
                "paper: s": paper[1],
                "s, device": device["seconds"].mean(),
                "s, auto": auto["seconds"].mean(),
                "share proven, device": device["proven"].mean(),
                "share proven, auto": auto["proven"].mean(),
                "share matched": device["matched"].mean(),
            }
        )
    return pd.DataFrame(lines)
