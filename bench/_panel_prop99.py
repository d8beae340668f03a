"""Proposition 99 by every method that fits its pattern, beside published figures.

PUBLISHED: average gap 1989 to 2000 in packs per head. Arkhangelsky, Athey, Hirshberg, Imbens and
Wager (2021), American Economic Review 111(12), table 1 (standard errors by placebos; its synthetic
control is outcomes alone as here, by iterations that end before the least is reached). For the
synthetic control of Abadie, Diamond and Hainmueller (2010), with covariates, the paper's abstract
says about 26 packs fewer by the year 2000.
"""

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

import jcausal as jc
from bench._panel_methods import ABSORBING

PUBLISHED = {
    "TwoWayFixedEffects": "-27.3 (17.7)",
    "SyntheticControl": "-19.6 (9.9)",
    "SyntheticDiD": "-15.6 (8.4)",
    "MCNNM": "-20.2 (11.5)",
}
YEARS = (1989, 1993, 1997, 2000)


def collect(few: bool) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The averages and the gaps by year; so far, method by method."""
    panel = jc.datasets.prop99()
    lines, years = [], {}
    for name, method in ABSORBING.items():
        if few and name == "MCNNM":
            continue
        began = time.perf_counter()
        found = jc.complete(panel, method.completer, key=0)
        seconds = time.perf_counter() - began
        placebos = jc.placebo(found, key=0)
        exact = jc.placebo(found, pool="all", key=0)
        gap = np.asarray(placebos.own_gap)
        at = {f"{y}": float(gap[panel.time.tolist().index(y)]) for y in YEARS}
        lines.append(
            {
                "method": name,
                "average gap 1989-2000": float(found.att),
                "placebo error": placebos.std_error,
                "published": PUBLISHED.get(name, ""),
                **at,
                "p, effect": exact.p_value(),
                "p, ratio": exact.p_value("ratio"),
                "seconds, first": seconds,
            }
        )
        years[name] = gap[panel.time >= 1989]
        print(f"  {name}: {placebos}", flush=True)
        by_year = pd.DataFrame(years, index=panel.time[panel.time >= 1989])
        yield pd.DataFrame(lines), by_year.reset_index(names="year")
