"""The case study of the M5 paper: 500 treated at a time against all controls."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench._m5_methods import BEST, PASSING, found
from bench._published import CDC_BALANCE, CDC_SECONDS

FILE = Path(__file__).parents[2] / "shared" / "data" / "diabetes_brfss2015.csv.gz"
TREATED = 500
TREES = {"first_passing": PASSING, "best": BEST}
METHODS: dict[tuple[str, str], jc.matching.Matcher] = {
    (name, search): kind(tree=tree)
    for search, tree in TREES.items()
    for name, kind in (("M5Match", jc.M5Match), ("M5Model", jc.M5Model))
}
NO_EFFECT = "A speed and balance study, not an effect: poor health may be the result of diabetes."


def read() -> jc.Sample:
    """The whole file."""
    if not FILE.exists():
        raise FileNotFoundError(f"{FILE.name} is not in ../shared/data, where the bench reads it.")
    return jc.datasets.diabetes(FILE)


def draw(sample: jc.Sample, seed: int, controls: int | None = None) -> jc.Sample:
    """Some of the treated at random, with all controls, or some of them."""
    rng = np.random.default_rng(seed)
    t = np.asarray(sample.t)
    treated = rng.choice(np.flatnonzero(t), TREATED, replace=False)
    others = np.flatnonzero(~t)
    if controls is not None:
        others = rng.choice(others, controls, replace=False)
    return sample.take(np.sort(np.concatenate([treated, others])))


def balance_as_printed(
    sample: jc.Sample, matching: jc.matching.Matching, name: str
) -> tuple[float, float]:
    """|SMD| and variance ratio (9), (10) of one covariate over the matched data.

    By weighted means and population variances of both matched arms.
    """
    x, t = sample.points[:, sample.schema.names.index(name)], np.asarray(sample.t)
    weight = np.asarray(matching.matched_weights(), np.float64)
    means, variances = np.zeros(2), np.zeros(2)
    for arm in (0, 1):
        share = np.where(t == arm, weight, 0)
        share /= share.sum()
        means[arm] = share @ x
        variances[arm] = share @ (x - means[arm]) ** 2
    spread = np.sqrt(variances.mean())
    return abs(means[1] - means[0]) / spread, variances[1] / variances[0]


def collect(draws: int, controls: int | None) -> Iterator[tuple[pd.DataFrame, dict[str, float]]]:
    """All records so far, after each draw; and by method what its first call took more."""
    sample = read()
    records: list[dict[str, Any]] = []
    compiled: dict[str, float] = {}
    for seed in range(draws):
        one = draw(sample, seed, controls)
        for (name, search), method in METHODS.items():
            label = f"{name}, {search}"
            first = _study(one, seed, name, search, method)
            if label not in compiled:
                again = _study(one, seed, name, search, method)
                compiled[label] = first["seconds"] - again["seconds"]
                first = again
            records.append(first)
        spent = sum(r["seconds"] for r in records if r["seed"] == seed)
        print(f"  draw {seed + 1} of {draws}: {spent:.1f} s", flush=True)
        yield pd.DataFrame(records), compiled


def _study(
    sample: jc.Sample, seed: int, name: str, search: str, method: jc.matching.Matcher
) -> dict[str, Any]:
    """One method on one draw; seconds without the interval and the balance."""
    began, busy = time.perf_counter(), time.process_time()
    effects = jc.estimate(sample, method, key=0, adjust=None)
    att = float(effects.att)
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    bounds = found(effects)
    around = time.perf_counter() - began - seconds
    line = dict(seed=seed, method=name, tree=search, seconds=seconds, cpu=cpu, interval=around)
    line |= dict(att=att, lower=bounds.lower, upper=bounds.upper)
    line |= dict(matched=effects.share_matched)
    if name == "M5Match":
        for covariate in CDC_BALANCE:
            smd, ratio = balance_as_printed(sample, effects.matching, covariate)
            line |= {f"SMD {covariate}": smd, f"VR {covariate}": ratio}
    return line


def summary(records: pd.DataFrame, compiled: dict[str, float]) -> pd.DataFrame:
    """One line a method and tree: ATT over the draws, share above 0, seconds beside the paper's."""
    lines = []
    for (name, search), seen in records.groupby(["method", "tree"], sort=False):
        lines.append(
            {
                "method": name,
                "split_search": search,
                "draws": len(seen),
                "ATT, mean": seen["att"].mean(),
                "ATT, smallest": seen["att"].min(),
                "ATT, largest": seen["att"].max(),
                "interval, mean width": (seen["upper"] - seen["lower"]).mean(),
                "intervals above 0": f"{int((seen['lower'] > 0).sum())} of {len(seen)}",
                "share matched": seen["matched"].mean(),
                "s, mean": seen["seconds"].mean(),
                "s, median": seen["seconds"].median(),
                "CPU s, mean": seen["cpu"].mean(),
                "paper, CPU s": CDC_SECONDS[str(name)],
                "interval, s, median": seen["interval"].median(),
                "compile, s": compiled[f"{name}, {search}"],
            }
        )
    return pd.DataFrame(lines)


def balance_table(records: pd.DataFrame) -> pd.DataFrame:
    """Mean |SMD| and variance ratio after M5Match, beside the paper's."""
    lines = []
    for name, (smd, ratio) in CDC_BALANCE.items():
        line: dict[str, Any] = {"covariate": name, "paper: SMD": f"{smd:.4f}"}
        for what in ("SMD", "VR"):
            if what == "VR":
                line["paper: VR"] = f"{ratio:.3f}"
            for search in TREES:
                seen = records[(records["method"] == "M5Match") & (records["tree"] == search)]
                digits = 4 if what == "SMD" else 3
                line[f"{what}, {search}"] = f"{seen[f'{what} {name}'].mean():.{digits}f}"
        lines.append(line)
    return pd.DataFrame(lines)


def draws_table(records: pd.DataFrame) -> pd.DataFrame:
    """ATT and interval of each draw, one column a method and tree."""
    lines: dict[int, dict[str, Any]] = {}
    for one in records.itertuples(index=False):
        line = lines.setdefault(one.seed, {"draw": one.seed + 1})
        words = f"{one.att:.3f} ({one.lower:.3f} to {one.upper:.3f})"
        line[f"{one.method}, {one.tree}"] = words
    return pd.DataFrame(list(lines.values()))
