"""Seconds of Fast AHB's parts, compile time apart."""

import time
from collections.abc import Callable

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._table2 import COARSE, MODEL

ROWS = ("quad/const", "binary/binary+6", "quad/const+4")


def collect(repeats: int) -> pd.DataFrame:
    """The surface and the boxes of three rows of Table 2: first call, then the median."""
    lines = []
    for row in ROWS:
        data = jc.simulate.ahb_table2(row, key=0, reading="scripts")
        train, test = jc.split(data.sample, share=2 / 3, key=0)
        surface = jc.fit(train, MODEL, key=0)
        fitted = _seconds(lambda: jc.fit(train, MODEL, key=0), repeats)  # noqa: B023
        method = jc.FastAHB(levels=COARSE.get(row))
        matched = _seconds(lambda: _match(test, method, surface), repeats)  # noqa: B023
        queries = int(test.t.sum())
        lines.append(
            {
                "g/h": row,
                "p": test.p,
                "units": test.n,
                "queries": queries,
                "levels": str(COARSE.get(row, "all")),
                "surface, s": fitted[1],
                "compile, s": matched[0] - matched[1],
                "boxes, s": matched[1],
                "boxes, ms a query": 1000 * matched[1] / queries,
            }
        )
    return pd.DataFrame(lines)


def _match(test: jc.Sample, method: jc.FastAHB, surface: jc.ResponseSurface) -> None:
    boxes = jc.match(test, method, surface=surface, throw=False)
    jax.block_until_ready(boxes.status)


def _seconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The first call, and the median of the next."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken[0], float(np.median(taken[1:]))
