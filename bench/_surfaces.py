"""Response surfaces beside each other: how much they explain of controls they have not seen."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench import _m5_cdc
from bench._real_data import nhefs, rhc
from jcausal.surfaces import BoostedTrees

TABLE2 = ("none/const", "box/const", "linear/const", "quad/const", "quad/const+4", "mixed/const")
READINGS = ("paper", "scripts")
M5 = ("s1/conf", "s1/rand", "s2", "s3")
SEEDS = 3
BIG = 20_000  # training controls over which the slower surfaces are left out
SLOW = ("BART", "BART, 1 chain", "MLP", "GradientBoosting")


class Case(NamedTuple):
    """A training part, and a part of which the controls are foretold."""

    name: str
    train: jc.Sample
    test: jc.Sample


def models() -> dict[str, jc.surfaces.OutcomeModel]:
    """Every surface that is compared."""
    from lightgbm import LGBMRegressor
    from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

    plain = GradientBoostingRegressor(
        n_estimators=200, max_depth=3, learning_rate=0.05, subsample=0.7
    )
    histograms = HistGradientBoostingRegressor(learning_rate=0.05, max_leaf_nodes=15)
    light = LGBMRegressor(num_leaves=15, learning_rate=0.05, n_estimators=200, verbose=-1, n_jobs=2)
    return {
        "BoostedTrees": BoostedTrees(),
        "BART": jc.BART(),
        "BART, 1 chain": jc.BART(chains=1, burn=200, draws=100, thin=1),
        "MLP": jc.MLP(),
        "Ridge": jc.Ridge(),
        "GradientBoosting": jc.Trees(plain),
        "HistGradientBoosting": jc.Trees(histograms),
        "LightGBM": jc.Trees(light),
    }


def _table2(row: str, reading: Any) -> Callable[[int], Case]:
    """400 units to train on, 3,000 of another draw to foretell."""

    def case(seed: int) -> Case:
        train = jc.simulate.ahb_table2(row, key=2 * seed, n=400, reading=reading).sample
        test = jc.simulate.ahb_table2(row, key=2 * seed + 1, n=3000, reading=reading).sample
        return Case(f"Table 2 {row}, {reading}", train, test)

    return case


def _halves(name: str, sample: Callable[[int], jc.Sample]) -> Callable[[int], Case]:
    """Half of the sample to train on, the other half to foretell."""

    def case(seed: int) -> Case:
        return Case(name, *jc.split(sample(seed), key=seed))

    return case


def cases() -> dict[str, Callable[[int], Case]]:
    """All data sets, the smaller ones first."""
    found = {
        f"Table 2 {row}, {reading}": _table2(row, reading) for reading in READINGS for row in TABLE2
    }
    real: Mapping[str, Callable[[int], jc.Sample]] = {
        "LaLonde PSID": lambda _: jc.datasets.lalonde("psid"),
        "NHEFS": lambda _: nhefs().sample(),
        "RHC": lambda _: rhc().sample(),
        "LaLonde CPS": lambda _: jc.datasets.lalonde("cps"),
    }
    found |= {name: _halves(name, sample) for name, sample in real.items()}
    for row in M5:
        name = f"m5 {row}"
        found[name] = _halves(name, lambda seed, row=row: jc.simulate.m5(row, key=seed).sample)
    return found | {"CDC": _halves("CDC", lambda _: _m5_cdc.read())}


def measure(model: jc.surfaces.OutcomeModel, case: Case, seed: int) -> tuple[float, float]:
    """R2 of the test part's controls, and the seconds of the fit."""
    start = time.perf_counter()
    surface = jc.fit(case.train, model, arms="control", key=seed)
    jax.block_until_ready(surface.noise)
    seconds = time.perf_counter() - start
    return float(np.asarray(surface.r2(case.test))[0]), seconds


def collect(quick: bool) -> Iterator[pd.DataFrame]:
    """One line for each data set and surface so far: mean R2, seconds of a first and a later fit.

    Sets of many controls are drawn once; there the later fit is the same fit again, and the slower
    surfaces are left out of the largest.
    """
    lines: list[dict[str, Any]] = []
    for name, draw in cases().items():
        if quick and name not in ("Table 2 quad/const, paper", "LaLonde PSID"):
            continue
        several = [draw(seed) for seed in range(1 if name == "CDC" else 2 if quick else SEEDS)]
        controls = int((~np.asarray(several[0].train.t)).sum())
        if controls > 5_000:
            several = several[:1]
        for word, model in models().items():
            if controls > BIG and word in SLOW:
                continue
            found = [measure(model, case, seed) for seed, case in enumerate(several)]
            again = [found[-1] if len(found) > 1 else measure(model, several[0], 0)]
            lines.append(
                dict(
                    data=name,
                    controls=controls,
                    surface=word,
                    r2=float(np.mean([r2 for r2, _ in found])),
                    cold=found[0][1],
                    warm=again[0][1],
                )
            )
        jax.clear_caches()  # a process can hold the compiled code of some thousand shapes only
        yield pd.DataFrame(lines)
