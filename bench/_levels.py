"""AHB at its defaults on Table 2 of its paper: single effects and averages, tau_a and tau_b."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench import _table2
from bench._published import PAPER

MODEL = jc.BoostedTrees()
SHOWN = ("AHB, tau_a", "AHB, tau_a, plain means", "AHB, tau_b", "AHB, tau_b, plain means")
NAMES = (*SHOWN, "f1 - f0 of the surface")


def row_of_runs(row: str, reading: Any, runs: int) -> list[dict[str, Any]]:
    """All runs of one row: every method on one surface of boosted trees a run."""
    records = []
    for seed in range(runs):
        data = jc.simulate.ahb_table2(row, key=seed, reading=reading)
        run = _table2.divide(data, seed, model=MODEL)
        about = dict(reading=reading, row=row, seed=seed)
        for name, effects in _effects(run):
            found = _table2.errors(run.ite, np.asarray(effects.ite), np.asarray(effects.matched))
            size = float(np.median(np.asarray(effects.n_control)))
            bounds = jc.interval(effects, jc.AbadieImbens(target="sample"))
            att = float(run.ite.mean())
            covered = float(bounds.lower <= att <= bounds.upper)
            records.append(dict(about, method=name, size=size, covered=covered, **found))
        both = np.asarray(run.surface(run.test.x))[np.asarray(run.test.t)]
        found = _table2.errors(run.ite, both[:, 1] - both[:, 0], np.ones(len(both), bool))
        records.append(dict(about, method=NAMES[-1], **found))
    return records


def _effects(run: _table2.Run) -> Iterator[tuple[str, jc.effects.Effects]]:
    """Effects formed both ways, adjusted and plain."""
    for tau, effect in (("a", "group"), ("b", "own")):
        effects = jc.estimate(run.test, jc.AHB(outcome=run.surface), folds=1, effect=effect)
        yield f"AHB, tau_{tau}", effects
        yield f"AHB, tau_{tau}, plain means", effects.unadjusted


def collect(runs: int, workers: int, rows: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """All records so far, after each row under a reading; the paper's own reading first."""
    jobs = [(row, reading) for reading in _table2.READINGS for row in rows]
    return _table2.over_rows(row_of_runs, jobs, runs, workers)


def table(records: pd.DataFrame, reading: str) -> pd.DataFrame:
    """Mean error of single effects over |ATT| (the sd of a 10-run mean), beside the kept pages."""
    lines = []
    mine = records[records["reading"] == reading]
    for row in mine["row"].unique():
        line: dict[str, Any] = {"g/h": row}
        for name in NAMES:
            seen = mine[(mine["row"] == row) & (mine["method"] == name)]["error"]
            spread = seen.std() / np.sqrt(10) if len(seen) > 1 else np.nan
            line[name] = f"{seen.mean():.3f} ({spread:.3f})"
        line |= _kept(row, reading)
        paper = PAPER[row]
        lines.append(line | {"paper: MIP": paper.mip, "paper: Fast": paper.fast})
    return pd.DataFrame(lines)


def _kept(row: str, reading: str) -> dict[str, str]:
    """Errors that other parts of the bench have kept, on surfaces of BART."""
    found = {}
    places = (("Fast AHB", "ahb-table2"), ("Exact AHB", "exact-table2"))
    for method, name in places:
        path = Path(__file__).parent / "results" / f"{name}.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        for one in rows:
            if (one["row"], one["reading"], one["method"]) == (row, reading, method):
                spread = one["error std"] / np.sqrt(10)
                found[f"{method}, BART, {name}"] = f"{one['error mean']:.3f} ({spread:.3f})"
    return found


def averages(records: pd.DataFrame, reading: str) -> pd.DataFrame:
    """Bias and RMSE of the ATT over |ATT|, coverage of its interval, group sizes."""
    lines = []
    mine = records[(records["reading"] == reading) & records["method"].isin(NAMES[:-1])]
    for (row, method), seen in mine.groupby(["row", "method"], sort=False):
        lines.append(
            {
                "g/h": row,
                "method": method,
                "runs": len(seen),
                "ATT bias": seen["att"].mean(),
                "ATT rmse": float(np.sqrt((seen["att"] ** 2).mean())),
                "coverage": seen["covered"].mean(),
                "median controls": seen["size"].median(),
            }
        )
    return pd.DataFrame(lines)
