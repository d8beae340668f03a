"""Learned matchings: seconds and memory of GeneticMatching beside R's GenMatch, MALTS and BOSS."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench._large import peak
from bench._speed import timed

GOLDEN = Path(__file__).parents[1] / "tests" / "goldens" / "matching" / "genmatch.json"
DATA = Path(__file__).parents[2] / "shared" / "data" / "lalonde_matchit.csv"


def run(quick: bool) -> pd.DataFrame:
    """GenMatch's own budget on its own data; the others on LaLonde's experiment and on draws."""
    lines = [genetic(replace) for replace in (True, False)]
    for n in (2_000,) if quick else (2_000, 20_000, 200_000):
        sample = normal_sample(n)
        lines.append(measured("MALTS", sample, jc.MALTS()))
        lines.append(measured("BOSS", sample, jc.BOSS()))
    if not quick:
        method = jc.GeneticMatching(population=100, generations=2)
        lines.append(measured("GeneticMatching, 2 generations", normal_sample(20_000), method))
    return pd.DataFrame(lines)


def lalonde(covariates: list[str]) -> jc.Sample:
    """The 614 units of MatchIt with R's columns."""
    frame = pd.read_csv(DATA)
    for race in ("black", "hispan"):
        frame[race] = (frame["race"] == race).astype(int)
    return jc.Sample(frame[covariates], frame["treat"], frame["re78"])


def genetic(replace: bool) -> dict[str, Any]:
    """R's population and generations; what is the same is the data and the number of metrics."""
    golden = json.loads(GOLDEN.read_text())
    theirs = golden["runs"]["with_replacement" if replace else "without_replacement"]
    budget = dict(population=golden["pop.size"], generations=golden["max.generations"])
    method = jc.GeneticMatching(**budget, wait=golden["wait.generations"], replace=replace)
    line = measured("GeneticMatching", lalonde(golden["covariates"]), method)
    told = re.search(r"p-values is ([\d.e-]+)", line.pop("told"))
    assert told is not None
    return line | {
        "method": f"GeneticMatching, replace={replace}",
        "peer, s": theirs["seconds"],
        "smallest p": float(told[1]),
        "peer's smallest p": theirs["smallest_p"],
        "what is the same": "data, population, generations at most",
    }


def normal_sample(n: int) -> jc.Sample:
    """Ten normal numbers, of which three matter; about 15% are treated."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10))
    t = rng.random(n) < 0.3 / (1 + np.exp(-x[:, 0]))
    y = x[:, 0] + x[:, 1] ** 2 + t * (1 + x[:, 2]) + 0.5 * rng.normal(size=n)
    return jc.Sample(x, t, y)


def measured(name: str, sample: jc.Sample, method: Any) -> dict[str, Any]:
    """Seconds of the first and of the next call, and the memory that it took."""
    kept: list[jc.effects.Effects] = []

    def ask() -> float:
        kept[:] = [jc.estimate(sample, method, key=0)]
        return float(kept[0].att)

    first, later = timed(ask, 2)
    return {
        "method": name,
        "size": f"{sample.n:,} x {sample.p}",
        "first, s": first,
        "next, s": later,
        "peak, MB": 1000 * peak(),
        "told": " ".join(kept[0].matching.notes()),
    }
