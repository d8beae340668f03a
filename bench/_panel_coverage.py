"""Coverage of the intervals of panels."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jcausal as jc
from jcausal.simulate import SimulatedPanel

N, M, EFFECT = 60, 60, 1.0
TREATED, BEFORE, PLACEBOS = 3, 50, 50  # of the panels for placebos


class Question(NamedTuple):
    """A method with an interval of its average or of its units, and what is to be covered."""

    completer: jc.panels.Completer
    interval: jc.inference.PanelMethod | None  # None: by placebos
    by: str | None
    target: str
    few: bool = False  # TREATED units treated from BEFORE on


SPECTRAL = jc.RowScaledSpectral(rank=3, refine=10)
LATENT = jc.CrossFittedDR(rank=3, propensity_rank=1)
QUESTIONS = {
    "UnitMeans, own errors, units": Question(jc.UnitMeans(), jc.OwnErrors(), "unit", "these times"),
    "UnitMeans, jackknife over times, units": Question(
        jc.UnitMeans(), jc.PanelJackknife(over="times"), "unit", "population of times"
    ),
    "spectral, jackknife over times, units": Question(
        SPECTRAL, jc.PanelJackknife(over="times"), "unit", "population of times"
    ),
    "UnitMeans, jackknife over units, average": Question(
        jc.UnitMeans(), jc.PanelJackknife(blocks=20), None, "population of units"
    ),
    "spectral, jackknife over units, average": Question(
        SPECTRAL, jc.PanelJackknife(blocks=20), None, "population of units"
    ),
    "UnitMeans, bootstrap over units, average": Question(
        jc.UnitMeans(), jc.PanelBootstrap(draws=100), None, "population of units"
    ),
    "CrossFittedDR, own errors, units": Question(LATENT, jc.OwnErrors(), "unit", "these times"),
    "CrossFittedDR, own errors, times": Question(LATENT, jc.OwnErrors(), "time", "these units"),
    "CrossFittedDR, own errors, average": Question(LATENT, jc.OwnErrors(), None, "these cells"),
    "SyntheticDiD, placebos over units, treated cells": Question(
        jc.SyntheticDiD(), None, None, "these cells", few=True
    ),
}


def collect(runs: int) -> Iterator[pd.DataFrame]:
    """Share covered and mean error over true deviation in every run; so far, every tenth of them.

    Factors have mean 0, so the effect of a unit over the population of times, and the average over
    that of units, is the constant between the arms.
    """
    records: list[dict[str, Any]] = []
    began = time.perf_counter()
    for seed in range(runs):
        coins = jc.simulate.low_rank_panel(key=seed, n=N, m=M, effect=EFFECT)
        block = _block(coins, seed)
        for name, asked in QUESTIONS.items():
            data = block if asked.few else coins
            found = jc.complete(data.panel, asked.completer, key=seed)
            if asked.interval is None:
                bounds = jc.placebo(found, draws=PLACEBOS, key=seed).interval()
            else:
                bounds = jc.interval(found, asked.interval, by=asked.by, key=seed)
            truth = _truth(data, asked)
            low, high = np.asarray(bounds.lower), np.asarray(bounds.upper)
            gap = np.asarray(bounds.estimate) - truth
            records.append(
                dict(
                    question=name,
                    target=asked.target,
                    covered=float(((low <= truth) & (truth <= high)).mean()),
                    square=float((gap**2).mean()),
                    error=float((np.asarray(bounds.std_error) ** 2).mean()),
                )
            )
        if (seed + 1) % max(1, runs // 10) == 0:
            print(f"  run {seed + 1} of {runs}, {time.perf_counter() - began:.0f} s", flush=True)
            yield pd.DataFrame(records)


def _block(data: SimulatedPanel, seed: int) -> SimulatedPanel:
    """The same outcomes without noise, new noise, and a few units treated late."""
    d = np.zeros((N, M), bool)
    d[:TREATED, BEFORE:] = True
    noise = np.random.default_rng(seed).uniform(-(0.75**0.5), 0.75**0.5, (N, M))
    y = np.where(d, data.signal1, data.signal0) + noise
    return SimulatedPanel(jc.Panel(y, d), data.signal0, data.signal1, data.probability)


def _truth(data: SimulatedPanel, asked: Question) -> np.ndarray | float:
    """The mean effect over the panel's own cells, or the constant between the arms."""
    if asked.few:
        return float(np.asarray(data.effect)[np.asarray(data.panel.d)].mean())
    if asked.target.startswith("population"):
        return EFFECT
    return np.asarray(data.effect).mean({"unit": 1, "time": 0, None: None}[asked.by])


def table(records: pd.DataFrame) -> pd.DataFrame:
    """Coverage with its standard error over runs, and stated over true error."""
    lines = []
    for (name, target), seen in records.groupby(["question", "target"], sort=False):
        covered = seen["covered"]
        error = covered.std() / np.sqrt(len(covered)) if len(covered) > 1 else np.nan
        lines.append(
            {
                "interval": name,
                "target": target,
                "coverage of 95%": f"{covered.mean():.3f} ({error:.3f})",
                "stated / true error": np.sqrt(seen["error"].mean() / seen["square"].mean()),
            }
        )
    return pd.DataFrame(lines)
