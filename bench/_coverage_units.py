"""Coverage of the intervals of single units: what the AHB paper's Figure 9 shows."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import product, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

import jcausal as jc
from bench._table2 import MODEL

SETTINGS = ("linear", "quad", "box")
NOISE = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # variances; the paper prints none
MIDDLE = 0.1
PLACES = np.linspace(0, 1, 5)  # edges of the bins of a covariate
UNITS, TRAIN = 600, 2 / 3
DRAWS = 1000
MOST = 2.576  # standard errors, of 99%


def column(kind: str, x: Float[Array, "n 2"]) -> Float[Array, " n"]:
    """Table 1 of the paper: the sum over both covariates, three times as in the scripts."""
    values = dict(linear=x, quad=x**2, box=(x > 0.5).astype(x.dtype))[kind]
    return 3 * values.sum(1)


def simulated(kind: str, noise: float, key: Array) -> tuple[jc.Sample, np.ndarray]:
    """600 units with g and h of one kind and noise of a variance; and the true effects."""
    where, arm, around, slope = jax.random.split(key, 4)
    x = jax.random.uniform(where, (UNITS, 2))
    logit = x @ (0.3 * jax.random.uniform(slope, (2,), minval=-1, maxval=1))
    t = jax.random.uniform(arm, (UNITS,)) < jax.nn.sigmoid(logit)
    effect = column(kind, x)
    rest = jnp.sqrt(noise) * jax.random.normal(around, (UNITS,))
    y = column(kind, x) + jnp.where(t, effect, 0) + rest
    return jc.Sample(x, t, y, kinds=["number"] * 2), np.asarray(effect, np.float64)


def constructions(noise: float, surface: Any = None) -> dict[str, Any]:
    """The six intervals of section 6.8, by its names."""
    around = 1.0 if surface is None else float(np.mean(np.asarray(surface.noise)))
    return {
        "normal, BART variance": jc.NoiseNormal(variance=around),
        "normal, true variance": jc.NoiseNormal(variance=noise),
        "normal, conservative": jc.ConservativeNormal(),
        "bootstrap": jc.GroupBootstrap(draws=DRAWS),
        "subsampling": jc.Subsampling(draws=DRAWS),
        "BART credible": jc.PosteriorQuantiles(surface=surface),
    }


def run(kind: str, noise: float, seed: int) -> list[dict[str, Any]]:
    """One record a treated unit and construction."""
    key = jax.random.fold_in(jax.random.key(SETTINGS.index(kind)), seed)
    sample, truth = simulated(kind, noise, key)
    train, test = jc.split(sample, train_size=TRAIN, key=seed)
    surface = jc.fit(train, MODEL, key=seed)
    matching = jc.match(test, jc.AHB(), surface=surface, throw=False)
    effects = jc.estimate(test, matching, effect="group")
    rows = np.asarray(test.row[:, 1])[np.asarray(matching.query)]
    x, records = np.asarray(sample.x)[rows], []
    for name, method in constructions(noise, surface).items():
        try:
            one = jc.interval(effects, method, key=seed)
        except ValueError:
            if name not in ("bootstrap", "subsampling"):
                raise
            lower = upper = estimate = np.full(len(rows), np.nan)  # no group is large enough
        else:
            bounds = (one.lower, one.upper, one.estimate)
            lower, upper, estimate = (np.asarray(v, np.float64) for v in bounds)
        has = np.isfinite(lower)
        covered = np.where(has, (lower <= truth[rows]) & (truth[rows] <= upper), np.nan)
        for k in range(len(rows)):
            about = dict(setting=kind, noise=noise, seed=seed, interval=name)
            about |= dict(x1=float(x[k, 0]), x2=float(x[k, 1]), covered=float(covered[k]))
            gap = float(estimate[k] - truth[rows][k])
            records.append(about | dict(length=float(upper[k] - lower[k]), gap=gap))
    return records


def of_case(kind: str, noise: float, runs: int) -> list[dict[str, Any]]:
    """All runs of a setting and a variance."""
    found = [record for seed in range(runs) for record in run(kind, noise, seed)]
    jax.clear_caches()
    return found


def collect(runs: int, workers: int, quick: bool) -> Iterator[pd.DataFrame]:
    """All records so far, after each setting and variance."""
    jobs = list(product(SETTINGS, (MIDDLE,) if quick else NOISE))
    columns = [list(values) for values in zip(*jobs)]
    with ExitStack() as stack:
        if workers == 1:
            parts = map(of_case, *columns, repeat(runs))
        else:
            pool = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn")))
            parts = pool.map(of_case, *columns, repeat(runs))
        records: list[dict[str, Any]] = []
        began = time.perf_counter()
        for job, part in zip(jobs, parts):
            records += part
            print(f"  {job}: {time.perf_counter() - began:.0f} s", flush=True)
            yield pd.DataFrame(records)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """Coverage with its error over runs, length, and the share of units that have the interval."""
    lines = []
    for (kind, noise, name), seen in records.groupby(["setting", "noise", "interval"], sort=False):
        coverage, error = clustered(seen)
        lines.append(
            {
                "setting": kind,
                "noise": noise,
                "interval": name,
                "coverage": coverage,
                "error": error,
                "mean length": seen["length"].mean(),
                "share": seen["covered"].notna().mean(),
                "bias": seen["gap"].mean() / np.sqrt(noise),
                "95% held": "" if coverage + MOST * error >= 0.95 else "no",
            }
        )
    return pd.DataFrame(lines)


def clustered(seen: pd.DataFrame) -> tuple[float, float]:
    """Mean coverage of the units, and its standard error where units of a run go together."""
    known = seen.dropna(subset=["covered"])
    if known.empty:
        return np.nan, np.nan
    mean = float(known["covered"].mean())
    sums = (known["covered"] - mean).groupby(known["seed"]).sum()
    count = len(sums)
    correction = count / (count - 1) if count > 1 else np.nan
    return mean, float(np.sqrt(correction * (sums**2).sum()) / len(known))


def by_place(records: pd.DataFrame) -> pd.DataFrame:
    """Coverage by quarter of each covariate, at the middle noise."""
    here, lines = records[records["noise"] == MIDDLE], []
    for name in ("x1", "x2"):
        bins = np.digitize(here[name], PLACES[1:-1])
        for (kind, interval, k), seen in here.groupby(["setting", "interval", bins], sort=False):
            middle = float((PLACES[k] + PLACES[k + 1]) / 2)
            line = dict(setting=kind, interval=interval, covariate=name, middle=middle)
            lines.append(line | dict(coverage=clustered(seen)[0], length=seen["length"].mean()))
    order = ["setting", "interval", "covariate", "middle"]
    return pd.DataFrame(lines).sort_values(order, kind="stable").reset_index(drop=True)


MARKS = dict(zip(constructions(1.0), "os^Dvx"))
GREYS = dict(zip(MARKS, ("0.6", "0.45", "0", "0.3", "0", "0.15")))


def draw(found: pd.DataFrame, places: pd.DataFrame, path: Path) -> None:
    """A row a setting: coverage against noise, against x1 and x2, and length against noise."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 4, figsize=(13, 9), sharex="col", layout="constrained")
    for row, kind in zip(axes, SETTINGS):
        here = found[found["setting"] == kind]
        near = places[places["setting"] == kind] if len(places) else places
        for name, mark in MARKS.items():
            style = dict(marker=mark, color=GREYS[name], label=name, markersize=4, linewidth=1)
            one = here[here["interval"] == name]
            row[0].plot(one["noise"], one["coverage"], **style)
            row[3].plot(one["noise"], one["mean length"], **style)
            for axis, covariate in zip(row[1:3], ("x1", "x2")):
                few = near[(near["interval"] == name) & (near["covariate"] == covariate)]
                axis.plot(few["middle"], few["coverage"], **style)
        for axis in row[:3]:
            axis.axhline(0.95, color="0.5", linewidth=0.8, linestyle="--")
            axis.set_ylim(0, 1.02)
        row[0].set_ylabel(f"{kind}: coverage of tau(x)")
        row[3].set_ylabel("mean length")
        row[0].set_xscale("log")
        row[3].set_xscale("log")
        row[3].set_yscale("log")
    words = ("variance of the noise", f"x1 (noise {MIDDLE})", f"x2 (noise {MIDDLE})")
    for axis, word in zip(axes[-1], (*words, "variance of the noise")):
        axis.set_xlabel(word)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
