"""Seconds of Fast AHB's parts, compile time apart, beside the paper's scripts."""

import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import SCRIPTS_SECONDS
from bench._table2 import MODEL

SIZES = tuple(SCRIPTS_SECONDS)
FEW = ((200, 2),)
SURFACES = {"BART": MODEL, "Ridge": jc.Ridge(), "MLP": jc.MLP()}
TRAINING = 400
SHARED = 100  # units that share out the time in which a surface's tables are built


def collect(sizes: tuple[tuple[int, int], ...], repeats: int) -> Iterator[pd.DataFrame]:
    """One line a size and surface: the fit, its tables, and the boxes of all treated; so far."""
    lines = []
    for n, p in sizes:
        train, test = quadratic(TRAINING, p, 0), quadratic(n, p, 1)
        for name, model in SURFACES.items():
            fitted = _seconds(lambda: jc.fit(train, model, key=0), repeats)  # noqa: B023
            surface = jc.fit(train, model, key=0)
            tables = _tables(surface, repeats)
            matched = _seconds(lambda: _match(test, surface), repeats)  # noqa: B023
            queries = int(test.t.sum())
            unit = matched[1] / queries + tables / SHARED
            theirs = SCRIPTS_SECONDS[n, p]
            lines.append(
                {
                    "units": n,
                    "p": p,
                    "surface": name,
                    "queries": queries,
                    "fit, s": fitted[1],
                    "tables, s": tables,
                    "compile, s": matched[0] - matched[1],
                    "boxes, s": matched[1],
                    "ms a unit": 1000 * unit,
                    "scripts, ms a unit": 1000 * theirs if name == "BART" else np.nan,
                    "times faster": theirs / unit if name == "BART" else np.nan,
                }
            )
            print(f"  {n} units, p {p}, {name}", flush=True)
            yield pd.DataFrame(lines)


def quadratic(n: int, p: int, key: int) -> jc.Sample:
    """Table 2's row quad/const, with irrelevant covariates of the same law up to p."""
    data = jc.simulate.ahb_table2("quad/const", key=key, n=n, reading="scripts").sample
    more = [
        jc.simulate.ahb_table2("quad/const", key=1000 * key + k, n=n, reading="scripts").sample
        for k in range(1, p // 2 + 1)
    ]
    x = np.concatenate([data.points, *(one.points for one in more)], axis=1)[:, :p]
    return jc.Sample(x, data.t, data.y)


def _tables(surface: jc.ResponseSurface, repeats: int) -> float:
    """Seconds to turn a posterior's trees into tables and masks, both arms."""
    if not isinstance(surface, jc.BARTSurface) or surface.posterior is None:
        return 0.0
    arms = [arm for arm in surface.posterior if arm is not None]
    return _seconds(lambda: [arm.mean() for arm in arms], repeats)[1]


def _match(test: jc.Sample, surface: jc.ResponseSurface) -> None:
    boxes = jc.match(test, jc.FastAHB(), surface=surface, throw=False)
    jax.block_until_ready(boxes.status)


def _seconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The first call, and the median of the next."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken[0], float(np.median(taken[1:]))
