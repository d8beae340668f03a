"""Tables 2, 5, 6 and 7 of the paper: Exact AHB, Fast AHB and BART on the same surfaces."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import BINARY, CORRELATED, MANY, PAPER, Paper
from bench._table2 import COARSE, READINGS, Run, both_readings, divide, errors, of, verdict
from jcausal.simulate import Simulated

LEVELS = 20  # of Fast AHB, from six continuous covariates on
LIMITED = jc.ExactAHB(engine="device", max_nodes=20_000)  # where many boxes would stay open


class Row(NamedTuple):
    """A row of one of the tables, and with what it is run."""

    paper: Paper
    draw: Callable[..., Simulated]  # of key and reading
    fast: jc.FastAHB = jc.FastAHB()
    exact: jc.ExactAHB = jc.ExactAHB()


def _drawn(process: Callable[..., Simulated], row: str | int) -> Callable[..., Simulated]:
    return lambda **asked: process(row, **asked)


COARSER = jc.FastAHB(levels=LEVELS)
_SIMULATE = jc.simulate
ROWS = {
    **{
        f"2: {name}": Row(
            paper,
            _drawn(_SIMULATE.ahb_table2, name),
            jc.FastAHB(levels=COARSE.get(name)),
        )
        for name, paper in PAPER.items()
    },
    **{f"5: p = {p}": Row(paper, _drawn(_SIMULATE.ahb_table5, p)) for p, paper in BINARY.items()},
    **{
        f"6: {name}": Row(paper, _drawn(_SIMULATE.ahb_table6, name), COARSER)
        for name, paper in CORRELATED.items()
    },
    **{
        f"7: {name}": Row(paper, _drawn(_SIMULATE.ahb_table7, name), COARSER, LIMITED)
        for name, paper in MANY.items()
    },
}
SAID = {  # of each table
    "table2": f"Fast AHB has levels={LEVELS} in quad/const+4.",
    "table5": "Here the best other is CEM.",
    "table6": f"Fast AHB has levels={LEVELS}. In linear/linear effects are as often below 0 as "
    "above it, and some runs' ATT is nearly 0: errors over |ATT| say little there.",
    "table7": f"Fast AHB has levels={LEVELS}; Exact AHB only searches, {LIMITED.max_nodes:,} nodes "
    "a unit.",
}


def overlap(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How alike two groups are, one pair a row: mutual membership and Jaccard index.

    Mutual membership is the paper's: the larger of the share of the one that is in the other, and
    of the other that is in the one. It is 1 when a group holds the other. NaN for an empty group.
    """
    both, union = (one & other).sum(1), (one | other).sum(1)
    smaller = np.minimum(one.sum(1), other.sum(1))
    filled = smaller > 0
    mutual = np.where(filled, both / np.maximum(smaller, 1), np.nan)
    return mutual, np.where(filled, both / np.maximum(union, 1), np.nan)


def _groups(boxes: jc.matching.Boxes) -> np.ndarray:
    """Whether each unit (n,) is in the group of each matched query (q,)."""
    matched = np.asarray(boxes.matched)
    inside = np.asarray(jc.kernels.membership(boxes.units, boxes.coded))[: matched.size]
    return inside & matched[:, None]


def row_of_runs(name: str, reading: str, runs: int) -> list[dict[str, Any]]:
    """All runs of one row: BART's own effects, and those of the boxes of both on its surface."""
    row, records = ROWS[name], []
    for seed in range(runs):
        run = divide(row.draw(key=seed, reading=reading), seed)
        for method, found in _methods(run, row):
            records.append(dict(reading=reading, row=name, seed=seed, method=method, **found))
    jax.clear_caches()  # a process can hold the compiled code of some thousand shapes only
    return records


def _methods(run: Run, row: Row) -> Iterator[tuple[str, dict[str, float]]]:
    treated = np.asarray(run.test.t)
    both = np.asarray(run.surface(run.test.x))[treated]
    yield "BART", errors(run.ite, both[:, 1] - both[:, 0], np.ones(treated.sum(), bool))
    fast, exact = _boxes(run, row.fast), _boxes(run, row.exact)
    yield "Fast AHB", _found(run, fast)
    mutual, jaccard = overlap(_groups(fast), _groups(exact))
    shared = dict(mutual=float(np.nanmedian(mutual)), jaccard=float(np.nanmedian(jaccard)))
    proven = float(exact.proven.mean())
    yield "Exact AHB", dict(proven=proven, **shared, **_found(run, exact))


def _boxes(run: Run, method: jc.matching.Matcher) -> jc.matching.Boxes:
    boxes = jc.match(run.test, method, surface=run.surface, throw=False)
    assert isinstance(boxes, jc.matching.Boxes)
    return boxes


def _found(run: Run, boxes: jc.matching.Boxes) -> dict[str, float]:
    """Errors, and the median number of units in a group."""
    effects = jc.estimate(run.test, boxes, effect="group", adjust=None)
    size = float(np.median(np.asarray(boxes.sizes).sum(1)))
    return dict(size=size, **errors(run.ite, np.asarray(effects.ite), np.asarray(effects.matched)))


def collect(names: tuple[str, ...], runs: int, workers: int) -> Iterator[pd.DataFrame]:
    """All records so far, after both readings of each row."""
    jobs = [(name, reading) for name in names for reading in READINGS]
    args = (row_of_runs, *zip(*jobs), repeat(runs))
    with ExitStack() as stack:
        if workers == 1:
            parts = map(*args)
        else:
            context = get_context("spawn")
            parts = stack.enter_context(ProcessPoolExecutor(workers, context)).map(*args)
        records: list[dict[str, Any]] = []
        began = time.perf_counter()
        for (name, reading), part in zip(jobs, parts):
            records += part
            spent = time.perf_counter() - began
            print(f"  {name:20} {reading:8} {runs} runs, {spent:.0f} s so far", flush=True)
            if reading == READINGS[-1]:
                yield pd.DataFrame(records)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a row: the paper's figures, and ours in both readings."""
    lines = []
    for name in records["row"].unique():
        paper = ROWS[name].paper
        lines.append(
            {
                "table: g/h": name,
                "paper: MIP": paper.mip,
                **both_readings(records, name, "Exact AHB"),
                "is": verdict(records, name, "Exact AHB", paper.mip),
                "paper: Fast": paper.fast,
                **both_readings(records, name, "Fast AHB"),
                "paper: BART": paper.bart,
                **both_readings(records, name, "BART"),
                "best other": paper.best_other,
            }
        )
    return pd.DataFrame(lines)


def details(records: pd.DataFrame) -> pd.DataFrame:
    """Shares proven and matched, group sizes, and how alike the groups are."""
    lines = []
    for name in records["row"].unique():
        for reading in READINGS:
            exact, fast = (of(records, name, reading, f"{m} AHB") for m in ("Exact", "Fast"))
            lines.append(
                {
                    "table: g/h": name,
                    "reading": reading,
                    "share proven": exact["proven"].mean(),
                    "share matched": exact["matched"].mean(),
                    "share matched, Fast": fast["matched"].mean(),
                    "median group": exact["size"].median(),
                    "median group, Fast": fast["size"].median(),
                    "mutual membership": exact["mutual"].mean(),
                    "Jaccard": exact["jaccard"].mean(),
                }
            )
    return pd.DataFrame(lines)
