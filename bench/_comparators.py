"""The comparators of the paper on its processes (tables 2, 5, 6, 7) and on LaLonde (table 3)."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench import _lalonde
from bench._published import COMPARED, LALONDE
from bench._table2 import MODEL, READINGS, Run, divide, errors, over_rows
from bench._tables import ROWS
from jcausal.simulate import Simulated

PARTNERS = (1, 3, 5, 7, 10)  # the paper takes the best of these
GENETIC = dict(population=50, generations=10)  # one search for each of the partners


def methods(data: Simulated) -> dict[str, list[jc.matching.Matcher]]:
    """The settings of each comparator, of which the best counts; all match the whole sample."""
    truth = np.stack([np.asarray(data.y0), np.asarray(data.y1)], axis=1)
    return {
        "best CF": [jc.simulate.BestCounterfactual(truth, ratio=k) for k in PARTNERS],
        "CEM": [jc.CEM()],
        "full": [jc.FullMatching()],
        "genetic": [jc.GeneticMatching(ratio=k, **GENETIC) for k in PARTNERS],
        "Mahalanobis": [jc.NearestNeighbors(ratio=k) for k in PARTNERS],
        "propensity": [jc.NearestNeighbors(metric="propensity", ratio=k) for k in PARTNERS],
        "prognostic": [jc.PrognosticNeighbors(outcome=MODEL, ratio=k) for k in PARTNERS],
    }


def row_of_runs(name: str, reading: Any, runs: int) -> list[dict[str, Any]]:
    """All runs of one row: the errors of every setting of every comparator."""
    records = []
    for seed in range(runs):
        data = ROWS[name].draw(key=seed, reading=reading)
        about = dict(reading=reading, row=name, seed=seed)
        halves = None if name.startswith("5:") else divide(data, seed)
        for method, settings in methods(data).items():
            if name.startswith("5:") and method != "CEM":
                continue  # the paper's table 5 has CEM alone
            for place, one in enumerate(settings):
                records.append(
                    dict(about, method=method, setting=place, **asked(data, one, seed, halves))
                )
    jax.clear_caches()
    return records


def asked(
    data: Simulated, method: jc.matching.Matcher, seed: int, halves: Run | None = None
) -> dict[str, float]:
    """The errors of the treated's effects over |ATT|; NaN where nobody is matched."""
    sample = data.sample
    ite = np.asarray(data.ite)[np.asarray(sample.t)]
    plain: dict[str, Any] = dict(effect="group", adjust=None, throw=False)
    if isinstance(method, jc.PrognosticNeighbors):
        run = halves or divide(data, seed)  # 400 units for the surface, as in the paper
        ite = run.ite
        matching = jc.match(run.test, method, surface=run.surface, throw=False)
        effects = jc.estimate(run.test, matching, **plain)
    else:
        effects = jc.estimate(sample, method, key=seed, **plain)
    matched = np.asarray(effects.matched)
    if not matched.any():
        return dict(matched=0.0, error=np.nan)
    return errors(ite, np.asarray(effects.ite), matched)


def collect(names: tuple[str, ...], runs: int, workers: int) -> Iterator[pd.DataFrame]:
    """All records so far, after each row under a reading."""
    return over_rows(row_of_runs, [(n, r) for n in names for r in READINGS], runs, workers)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a row and reading: the paper's error and ours of every comparator.

    Of several settings the one with the least mean error counts, as in the paper.
    """
    lines = []
    for name in records["row"].unique():
        for reading in READINGS:
            here = records[(records["row"] == name) & (records["reading"] == reading)]
            if here.empty:
                continue
            line: dict[str, Any] = {"table: g/h": name, "reading": reading}
            for method, paper in COMPARED[name].items():
                own = here[here["method"] == method]
                if own.empty:
                    continue
                line[f"paper: {method}"] = paper
                line[method] = _best(own)
            lines.append(line)
    return pd.DataFrame(lines)


def _best(records: pd.DataFrame) -> str:
    """Mean error of the best setting, its spread, and the share matched where it is not all."""
    every = records.groupby("setting")["error"]
    mean = every.mean()
    if mean.isna().all():
        return "NA"
    best = mean.idxmin()
    share = records.loc[records["setting"] == best, "matched"].mean()
    spread = every.std()[best] / np.sqrt(10)
    tail = "" if share > 0.999 else f", {share:.0%} matched"
    return f"{mean[best]:.3f} ({spread:.3f}{tail})"


def on_lalonde(controls: tuple[str, ...]) -> pd.DataFrame:
    """The ATT of each method at its defaults against the paper's, plain and adjusted by Ridge."""
    own = {
        "full": jc.FullMatching(),
        "prognostic": jc.PrognosticNeighbors(),
        "CEM": jc.CEM(),
        "Mahalanobis": jc.NearestNeighbors(),
        "propensity": jc.NearestNeighbors(metric="propensity"),
        "genetic": jc.GeneticMatching(),
        "subclassification": jc.Subclassification(),
        "optimal": jc.OptimalMatching(),
    }
    lines = []
    for name in controls:
        question = next(iter(_lalonde.questions(name)))
        for method, one in own.items():
            effects = jc.estimate(question.sample, one, key=0, adjust=None, throw=False)
            bounds = jc.interval(effects, jc.AbadieImbens())
            adjusted = jc.estimate(question.sample, one, key=0, adjust=jc.Ridge(), throw=False)
            paper = LALONDE.get(method, (np.nan, np.nan))[("cps", "psid").index(name)]
            lines.append(
                {
                    "controls": name.upper(),
                    "method": method,
                    "paper": paper,
                    "plain means": float(effects.att),
                    "interval": f"{float(bounds.lower):,.0f} to {float(bounds.upper):,.0f}",
                    "adjusted by Ridge": float(adjusted.att),
                    "share matched": effects.share_matched,
                }
            )
    return pd.DataFrame(lines)
