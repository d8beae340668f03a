"""Table 2 of the paper: errors of the treated's effects, beside the paper's and its code's."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import CODE, PAPER
from jcausal.simulate import Simulated

READINGS = ("paper", "scripts")
MODEL = jc.BART(chains=1, burn=200, draws=100, thin=1)  # 200 trees and 100 draws, as the sources
METHODS = {
    "Fast AHB": jc.FastAHB(),
    "Fast AHB, no caliper": jc.FastAHB(tolerance=0.03, caliper=None),
}
OURS = (*METHODS, "BART")
COARSE = {"quad/const+4": 20}  # levels, where a box takes up to 1,200 steps


class Run(NamedTuple):
    """One simulated data set, halved, with a surface."""

    test: jc.Sample
    ite: np.ndarray
    surface: jc.surfaces.ResponseSurface


def prepare(row: str, reading: Any, seed: int) -> Run:
    """600 units, 400 of them for the surface; the true effects of the treated that are left."""
    return divide(jc.simulate.ahb_table2(row, key=seed, reading=reading), seed)


def divide(
    data: Simulated,
    seed: int,
    share: float = 2 / 3,
    everyone: bool = False,
    model: jc.surfaces.OutcomeModel = MODEL,
) -> Run:
    """A share of the units for the surface; the true effects of the treated (or all) others."""
    train, test = jc.split(data.sample, train_size=share, key=seed)
    asked = np.asarray(test.t) | everyone
    place = np.asarray(test.row[:, 1])[asked]
    return Run(test, np.asarray(data.ite)[place], jc.fit(train, model, key=seed))


def errors(ite: np.ndarray, hat: np.ndarray, matched: np.ndarray) -> dict[str, float]:
    """Errors over |ATT|: of single effects and of the average, matched treated and all treated.

    An unmatched unit is given the mean effect of the matched.
    """
    full = np.where(matched, hat, hat[matched].mean())
    att = ite.mean()
    size = np.abs(att)
    return dict(
        matched=float(matched.mean()),
        error=float(np.abs(hat - ite)[matched].mean() / size),
        error_all=float(np.abs(full - ite).mean() / size),
        att=float((hat[matched].mean() - ite[matched].mean()) / size),
        att_all=float((hat[matched].mean() - att) / size),
    )


def row_of_runs(
    row: str, reading: Any, runs: int, methods: Mapping[str, jc.matching.Matcher]
) -> list[dict[str, Any]]:
    """All runs of one row: BART's own effects, and those of every method on that surface."""
    records = []
    for seed in range(runs):
        run = prepare(row, reading, seed)
        treated = np.asarray(run.test.t)
        both = np.asarray(run.surface(run.test.x))[treated]
        found = errors(run.ite, both[:, 1] - both[:, 0], np.ones(treated.sum(), bool))
        about = dict(reading=reading, row=row, seed=seed)
        records.append(dict(about, method="BART", **found))
        for name, method in methods.items():
            if isinstance(method, jc.FastAHB):
                method = dataclasses.replace(method, levels=COARSE.get(row, method.levels))
            boxes = jc.match(run.test, method, surface=run.surface, throw=False)
            effects = jc.estimate(run.test, boxes, effect="group", adjust=None)
            found = errors(run.ite, np.asarray(effects.ite), np.asarray(effects.matched))
            size = float(np.median(np.asarray(effects.n_control)))
            records.append(dict(about, method=name, size=size, **found))
    jax.clear_caches()  # a process can hold the compiled code of some thousand shapes only
    return records


def collect(
    jobs: list[tuple[str, str]], runs: int, methods: Mapping[str, jc.matching.Matcher], workers: int
) -> Iterator[pd.DataFrame]:
    """All records so far, after each row under a reading."""
    return over_rows(row_of_runs, jobs, runs, workers, methods)


def over_rows(
    records_of: Callable[..., list[dict[str, Any]]],
    jobs: list[tuple[str, str]],
    runs: int,
    workers: int,
    *more: object,
) -> Iterator[pd.DataFrame]:
    """`records_of(row, reading, runs, *more)` of each job, all so far after each; by processes."""
    columns = ([row for row, _ in jobs], [reading for _, reading in jobs])
    args = (records_of, *columns, repeat(runs), *(repeat(each) for each in more))
    with ExitStack() as stack:
        if workers == 1:
            parts = map(*args)
        else:
            context = get_context("spawn")
            parts = stack.enter_context(ProcessPoolExecutor(workers, context)).map(*args)
        records: list[dict[str, Any]] = []
        for (row, reading), part in zip(jobs, parts):
            records += part
            print(f"  {reading:8} {row:16} {runs} runs", flush=True)
            yield pd.DataFrame(records)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a row: the paper, its public code, and ours in both readings."""
    lines = []
    for row in _rows(records):
        paper = PAPER[row]
        line: dict[str, Any] = {
            "g/h": row,
            "paper: MIP": paper.mip,
            "paper: Fast": paper.fast,
            "code: Fast": CODE[row].fast_scripts if row in CODE else np.nan,
            **both_readings(records, row, "Fast AHB"),
            "is": verdict(records, row, "Fast AHB", paper.fast),
            "paper: BART": paper.bart,
            **both_readings(records, row, "BART"),
            "best other": paper.best_other,
        }
        lines.append(line)
    return pd.DataFrame(lines)


def both_readings(records: pd.DataFrame, row: str, method: str) -> dict[str, str]:
    """Mean error and spread, one column a reading."""
    found = {}
    for reading in READINGS:
        seen = of(records, row, reading, method)["error"]
        found[f"{method}, {reading}"] = f"{seen.mean():.3f} ({_spread(seen):.3f})"
    return found


def details(records: pd.DataFrame) -> pd.DataFrame:
    """Matched and all treated, single effects and the average, group sizes."""
    lines = []
    for row in _rows(records):
        for reading in READINGS:
            for method in OURS:
                seen = of(records, row, reading, method)
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


def verdict(records: pd.DataFrame, row: str, method: str, paper: float) -> str:
    """Better, as good (within 2.6 sd of a 10-run mean), or worse, under the better reading."""
    found = []
    for reading in READINGS:
        seen = of(records, row, reading, method)["error"]
        gap, spread = float(seen.mean()) - paper, _spread(seen)
        away = gap / spread if spread > 0 else np.sign(gap) * np.inf
        found.append((away, gap))
    away, gap = min(found)
    if abs(away) <= 2.6 or gap == 0:
        return "as good"
    return "better" if gap < 0 else f"worse by {gap:.3f}"


def summary(records: pd.DataFrame) -> dict[str, Any]:
    """Runs, mean and standard deviation of every measure, for JSON."""
    groups = records.drop(columns="seed").groupby(["reading", "row", "method"], sort=False)
    found = groups.agg(["mean", "std"])
    found.columns = [f"{measure} {what}" for measure, what in found.columns]
    found.insert(0, "runs", groups.size())
    return dict(rows=json.loads(found.reset_index().to_json(orient="records", double_precision=5)))


def _rows(records: pd.DataFrame) -> list[str]:
    """The rows that were run under every reading, in the paper's order."""
    seen = records.groupby("row")["reading"].nunique()
    return [row for row in PAPER if seen.get(row, 0) == len(READINGS)]


def of(records: pd.DataFrame, row: str, reading: str, method: str) -> pd.DataFrame:
    """The runs of one method on a row under a reading."""
    same = (records["row"] == row) & (records["reading"] == reading)
    return records[same & (records["method"] == method)]


def _spread(errors: pd.Series) -> float:
    """Standard deviation of a mean over 10 runs."""
    return float(errors.std()) / np.sqrt(10)
