"""Errors of unit trajectories and unit effects against the size of a panel."""

import time
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import jcausal as jc
from bench._panel_methods import SWITCHING, Method
from jcausal.simulate import SimulatedPanel

SQUARES = (100, 200, 400, 800, 1600)
SIZES = (*((n, n) for n in SQUARES), (100, 1600), (1600, 100), (400, 1600))
FEW = ((40, 40), (60, 60))
STRAY = 0.3  # nu of the second process


def collect(sizes: tuple[tuple[int, int], ...], runs: int) -> Iterator[pd.DataFrame]:
    """All records so far, after each size and process."""
    records: list[dict[str, Any]] = []
    for nu in (0.0, STRAY):
        for n, m in sizes:
            began = time.perf_counter()
            for seed in range(runs):
                data = jc.simulate.low_rank_panel(key=seed, n=n, m=m, nu=nu)
                for name, method in SWITCHING.items():
                    if method.cells is None or n * m <= method.cells:
                        told = dict(nu=nu, n=n, m=m, seed=seed, method=name)
                        records.append(told | errors(data, method, seed))
            seconds = time.perf_counter() - began
            print(f"  nu {nu:g}, {n} x {m}, {runs} runs, {seconds:.0f} s", flush=True)
            yield pd.DataFrame(records)


def errors(data: SimulatedPanel, method: Method, seed: int) -> dict[str, Any]:
    """Largest and root mean square row error |row|_2 / sqrt(m), and of unit effects."""
    panel = data.panel
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jc.CompletionWarning)  # ranks of 0 stand in the table
        found = jc.complete(panel, method.completer, key=seed)
        effect = np.asarray(found.effect)
        if method.by_arm:
            swapped = jc.complete(panel.with_treatment(~panel.d), method.completer, key=seed)
            effect = _arm(swapped, panel.y) - _arm(found, panel.y)
    known = np.isfinite(effect).any(1)
    gap = (effect - np.asarray(data.effect, float))[known]
    rows = np.sqrt(np.nanmean(gap**2, axis=1))
    units = np.nanmean(gap, axis=1)
    return dict(
        worst=rows.max(),
        rows=np.sqrt((rows**2).mean()),
        units=np.sqrt((units**2).mean()),
        rank0=int(found.rank[0]),
        rank1=int(found.rank[1]),
        identified=known.mean(),
    )


def _arm(found: jc.panels.Completion, y: jax.Array) -> np.ndarray:
    """The fit; the outcome in an untreated cell that has none."""
    own = found.panel.control & jnp.isnan(found.y0)
    return np.asarray(jnp.where(own, y, found.y0))


def rate(n: int, m: int) -> float:
    """The theorem's rate without constants and logarithms: sqrt(1/n + n/m^2)."""
    return float(np.sqrt(1 / n + n / m**2))


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a process, size and method; in brackets the standard error of the mean."""
    lines = []
    for (nu, n, m, method), seen in records.groupby(["nu", "n", "m", "method"], sort=False):
        error = seen["worst"].std() / np.sqrt(len(seen)) if len(seen) > 1 else np.nan
        lines.append(
            {
                "nu": nu,
                "n": n,
                "m": m,
                "method": method,
                "largest row error": f"{seen['worst'].mean():.3f} ({error:.3f})",
                "over sqrt(1/n + n/m^2)": seen["worst"].mean() / rate(n, m),
                "rms row error": seen["rows"].mean(),
                "RMSE of unit effects": seen["units"].mean(),
                "ranks": f"{seen['rank0'].median():g}, {seen['rank1'].median():g}",
            }
        )
    return pd.DataFrame(lines)


def slopes(records: pd.DataFrame) -> pd.DataFrame:
    """Slope of the log mean error on log n over the square sizes, beside the theorem's -1/2."""
    square = records[records["n"] == records["m"]]
    lines = []
    for (nu, method), seen in square.groupby(["nu", "method"], sort=False):
        mean = seen.groupby("n")[["worst", "units"]].mean()
        if len(mean) > 1:
            fit = {k: np.polyfit(np.log(mean.index), np.log(mean[k]), 1)[0] for k in mean}
            line = {"nu": nu, "method": method, "sizes": ", ".join(map(str, mean.index))}
            line |= {"slope, largest row error": fit["worst"], "theorem": -0.5}
            lines.append(line | {"slope, unit effects": fit["units"]})
    return pd.DataFrame(lines)
