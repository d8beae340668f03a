"""Table 2 of the paper: errors of the treated's effects, beside the paper's and its code's."""

import dataclasses
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import CODE, PAPER

READINGS = ("paper", "scripts")
MODEL = jc.BART(chains=1, burn=200, draws=100, thin=1)  # 200 trees and 100 draws, as the sources
METHODS = {"Fast AHB": jc.FastAHB(), "Fast AHB, no reach": jc.FastAHB(reach=None)}
OURS = (*METHODS, "BART")
COARSE = {"quad/const+4": 10}  # levels, where steps are slow and up to 1,200
FEWER = {"quad/const+4": 10}  # runs, for the same reason
STUDIED = "scripts"  # the reading on which the settings are settled
SETTINGS = {
    "paper's rule: slack 0, no reach": jc.FastAHB(slack=0.0, reach=None),
    **{
        f"slack {slack:g}, no reach": jc.FastAHB(slack=slack, reach=None)
        for slack in (0.001, 0.01, 0.03)
    },
    **{f"reach {reach:g}": jc.FastAHB(reach=reach) for reach in (0.01, 0.03, 0.3)},
    "5 points": jc.FastAHB(points=5),
    "lattice of 16 points": jc.FastAHB(grid="lattice"),
}


class Run(NamedTuple):
    """One simulated data set, halved, with a surface."""

    test: jc.Sample
    ite: np.ndarray
    surface: jc.ResponseSurface


def prepare(row: str, reading: Any, seed: int) -> Run:
    """600 units, 400 of them for the surface; the true effects of the treated that are left."""
    data = jc.simulate.ahb_table2(row, key=seed, reading=reading)
    train, test = jc.split(data.sample, share=2 / 3, key=seed)
    place = np.asarray(test.row[:, 1])[np.asarray(test.t)]
    return Run(test, np.asarray(data.ite)[place], jc.fit(train, MODEL, key=seed))


def errors(run: Run, hat: np.ndarray, matched: np.ndarray) -> dict[str, float]:
    """Errors over ATT: of single effects and of the average, matched treated and all treated.

    An unmatched unit is given the mean effect of the matched.
    """
    full = np.where(matched, hat, hat[matched].mean())
    att = run.ite.mean()
    return dict(
        matched=float(matched.mean()),
        error=float(np.abs(hat - run.ite)[matched].mean() / att),
        error_all=float(np.abs(full - run.ite).mean() / att),
        att=float((hat[matched].mean() - run.ite[matched].mean()) / att),
        att_all=float((hat[matched].mean() - att) / att),
    )


def row_of_runs(row: str, reading: str, runs: int, settings: int) -> list[dict[str, Any]]:
    """All runs of one row: BART, the methods, and in the first runs all settings."""
    records, runs = [], min(runs, FEWER.get(row, runs))
    for seed in range(runs):
        run = prepare(row, reading, seed)
        treated = np.asarray(run.test.t)
        both = np.asarray(run.surface(run.test.x))[treated]
        found = errors(run, both[:, 1] - both[:, 0], np.ones(treated.sum(), bool))
        about = dict(reading=reading, row=row, seed=seed)
        records.append(dict(about, method="BART", **found))
        tried = seed < settings and reading == STUDIED and row not in COARSE
        for name, method in (METHODS | (SETTINGS if tried else {})).items():
            method = dataclasses.replace(method, levels=COARSE.get(row))
            boxes = jc.match(run.test, method, surface=run.surface, throw=False)
            effects = jc.estimate(run.test, boxes, tau="a")
            found = errors(run, np.asarray(effects.ite), np.asarray(effects.matched))
            size = float(np.median(np.asarray(effects.n_control)))
            records.append(dict(about, method=name, size=size, **found))
    print(f"  {reading:8} {row:16} {runs} runs", flush=True)
    return records


def collect(runs: int, settings: int, workers: int) -> pd.DataFrame:
    """Every row and reading."""
    order = sorted(PAPER, key=lambda row: row in COARSE)
    jobs = [(row, reading) for row in order for reading in READINGS]
    columns = ([row for row, _ in jobs], [reading for _, reading in jobs])
    if workers == 1:
        parts = map(row_of_runs, *columns, repeat(runs), repeat(settings))
    else:
        pool = ProcessPoolExecutor(workers, get_context("spawn"))
        parts = pool.map(row_of_runs, *columns, repeat(runs), repeat(settings))
    return pd.DataFrame([record for part in parts for record in part])


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a row: the paper, the public code, and both readings of ours."""
    lines = []
    for row, paper in PAPER.items():
        line: dict[str, Any] = {
            "g/h": row,
            "paper: MIP": paper.mip,
            "Fast": paper.fast,
            "BART": paper.bart,
            "best other": paper.best_other,
            "code: Fast": CODE[row].fast_scripts if row in CODE else np.nan,
            "code: package": CODE[row].fast_package if row in CODE else np.nan,
        }
        for reading in READINGS:
            for method in OURS:
                seen = _of(records, row, reading, method)["error"]
                line[f"{reading}: {method}"] = f"{seen.mean():.3f} ({_spread(seen):.3f})"
        for method in OURS:
            target = paper.bart if method == "BART" else paper.fast
            line[f"{method} is"] = verdict(records, row, method, target)
        lines.append(line)
    return pd.DataFrame(lines)


def details(records: pd.DataFrame) -> pd.DataFrame:
    """Matched and all treated, single effects and the average, group sizes."""
    lines = []
    for row in PAPER:
        for reading in READINGS:
            for method in OURS:
                seen = _of(records, row, reading, method)
                lines.append(
                    {
                        "g/h": row,
                        "reading": reading,
                        "method": method,
                        "share matched": seen["matched"].mean(),
                        "error, matched": seen["error"].mean(),
                        "error, all treated": seen["error_all"].mean(),
                        "ATT bias": seen["att"].mean(),
                        "ATT rmse, matched": float(np.sqrt((seen["att"] ** 2).mean())),
                        "ATT rmse, all treated": float(np.sqrt((seen["att_all"] ** 2).mean())),
                        "median controls in a group": seen["size"].median(),
                    }
                )
    return pd.DataFrame(lines)


def settings_table(records: pd.DataFrame) -> pd.DataFrame:
    """Mean error by setting and row, ordered by the mean over rows."""
    lines = []
    for name in (*METHODS, *SETTINGS):
        seen = records[records["method"] == name]
        by_row = seen.groupby("row")["error"].mean()
        said = {"Fast AHB": "the defaults: slack 0.1, reach 0.1, line of 3 points"}
        line = {"setting": said.get(name, name.replace("Fast AHB, ", ""))}
        line |= {row: by_row[row] for row in PAPER if row not in COARSE}
        lines.append(line | {"mean": by_row.mean(), "median group": seen["size"].median()})
    return pd.DataFrame(lines).sort_values("mean", ignore_index=True)


def verdict(records: pd.DataFrame, row: str, method: str, paper: float) -> str:
    """Better, as good (within 2.6 sd of a 10-run mean), or worse, under the better reading."""
    words = []
    for reading in READINGS:
        seen = _of(records, row, reading, method)["error"]
        gap = float(seen.mean()) - paper
        if gap <= 0:
            return "better" if gap < -2.6 * _spread(seen) else "as good"
        away = gap / _spread(seen) if _spread(seen) > 0 else np.inf
        words.append((away, f"worse by {gap:.3f}"))
    away, word = min(words)
    return "as good" if away <= 2.6 else word


def summary(records: pd.DataFrame) -> dict[str, Any]:
    """The records for JSON."""
    return dict(records=json.loads(records.to_json(orient="records", double_precision=5)))


def _of(records: pd.DataFrame, row: str, reading: str, method: str) -> pd.DataFrame:
    same = (records["row"] == row) & (records["reading"] == reading)
    return records[same & (records["method"] == method)]


def _spread(errors: pd.Series) -> float:
    """Standard deviation of a mean over 10 runs."""
    return float(errors.std()) / np.sqrt(10)


def studied(records: pd.DataFrame) -> pd.DataFrame:
    """The records of the runs in which every setting was tried."""
    tried = records[records["method"].isin(list(SETTINGS))]
    same = (records["reading"] == STUDIED) & ~records["row"].isin(list(COARSE))
    return records[same & (records["seed"] <= tried["seed"].max())]
