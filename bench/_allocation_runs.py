"""Figures 2 and 3 of the paper on allocations: the numbers."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._allocation_data import Divided

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
MAIN_SHARE = 0.3
DELTA = 0.05


class Reading(NamedTuple):
    """One way to read the paper's number of samples; `whole` counts K = M among the budgets."""

    sampling: jc.simulate.EqualSamples
    whole: bool


def readings(quick: bool) -> dict[str, Reading]:
    """Algorithm 1, the number that the paper's text names (half of it), and the scripts' own."""
    some = dict(eps=(0.001, 0.01, 0.1)) if quick else {}
    make = jc.simulate.EqualSamples
    return {
        "Algorithm 1, delta/M": Reading(make(**some), True),
        "the text's M ln(2M/delta)/eps": Reading(make(**some, gamma=0.5**0.5), True),
        "the scripts' delta": Reading(make(**some, delta_split="none"), False),
    }


def failures(of: Divided, repeats: int, quick: bool) -> Iterator[pd.DataFrame]:
    """One row for each reading and eps: failures in % beside the paper's axis, and what mends."""
    for name, reading in readings(quick).items():
        found = jc.simulate.allocation_trials(of.tau, reading.sampling, repeats=repeats, key=0)
        frame = found.to_frame()
        if not reading.whole:
            rate = 100 * np.asarray(found.failed)[..., :-1].mean(2)
            frame["failure_rate"], frame["failure_sd"] = rate.mean(1), rate.std(1)
        most = np.asarray(found.extra).max((1, 2))
        yield frame.assign(
            trial=of.trial,
            division=of.division.name,
            reading=name,
            m=of.tau.size,
            most_extra=most,
        )


def overview(divisions: list[Divided]) -> pd.DataFrame:
    """M beside the paper's, groups left out by the filters, reliability, regularity."""
    lines = []
    for of in divisions:
        rho = jc.LEA(eps=0.1).rho
        lines.append(
            {
                "trial": of.trial,
                "division": of.division.name,
                "M": of.tau.size,
                "paper's M": of.division.groups or "",
                "left out": of.dropped,
                "reliability": of.reliability,
                "c at eps = .1": float(jc.allocation.regularity(of.tau, rho=rho)),
            }
        )
    return pd.DataFrame(lines)


def table(records: pd.DataFrame, reading: str, axes: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Failure rates by division and eps for one reading, beside the top of the paper's axis."""
    lines = []
    seen = records[records["reading"] == reading]
    for (trial, division), part in seen.groupby(["trial", "division"], sort=False):
        line = {"trial": trial, "division": division, "M": int(part["m"].iloc[0])}
        line |= {f"eps {e:.3g}": f for e, f in zip(part["eps"], part["failure_rate"])}
        line["paper's axis"] = axes.get((str(trial), str(division))) or ""
        failed = part["failure_rate"] > 0
        for name, column in (
            ("K' any", "shift"),
            ("K' < K", "shift_under"),
            ("extra", "extra_groups"),
        ):
            line[name] = float(np.nanmean(part[column])) if failed.any() else float("nan")
        line["most extra"] = int(part["most_extra"].max())
        lines.append(line)
    return pd.DataFrame(lines)


def curves(of: Divided, repeats: int, quick: bool) -> pd.DataFrame:
    """Value / V* by number of samples and budget, with the two promises of the paper."""
    totals = (100, 1000, 5000) if quick else jc.simulate.RandomSamples().totals
    sampling = jc.simulate.RandomSamples(totals=totals)
    ratio = np.asarray(
        jc.simulate.allocation_trials(of.tau, sampling, repeats=repeats, key=0).ratio
    )
    m, samples = of.tau.size, np.array(totals)
    scale = m * np.log(2 * m / DELTA) / samples
    frames = []
    for share in SHARES:
        k = max(1, int(share * m))
        frames.append(
            pd.DataFrame(
                dict(
                    trial=of.trial,
                    division=of.division.name,
                    share=share,
                    k=k,
                    samples=samples,
                    ratio=ratio[..., k - 1].mean(1),
                    sd=ratio[..., k - 1].std(1),
                    full=np.maximum(0, 1 - np.sqrt(scale)),
                    coarse=np.maximum(0, 1 - scale),
                )
            )
        )
    return pd.concat(frames, ignore_index=True)


def seconds(m: int = 78, repeats: int = 50) -> pd.DataFrame:
    """Seconds of Figure 3 for one division: 8 eps, every K, all repeats; compile time apart."""
    tau = np.linspace(0, 1, m) ** 1.5
    times = []
    for key in range(4):
        start = time.perf_counter()
        found = jc.simulate.allocation_trials(
            tau, jc.simulate.EqualSamples(), repeats=repeats, key=key
        )
        jax.block_until_ready(found.value)
        found.to_frame()
        times.append(time.perf_counter() - start)
    later = float(np.median(times[1:]))
    line = {"M": m, "repeats": repeats, "s": later, "compile, s": times[0] - later}
    return pd.DataFrame([line])


def allocations(sizes: tuple[int, ...]) -> pd.DataFrame:
    """Seconds to choose a tenth of the groups and to certify the choice."""
    lines = []
    for groups in sizes:
        rng = np.random.default_rng(0)
        estimates = jc.GroupEstimates(
            rng.normal(1, 1, groups), std_error=rng.uniform(0.1, 0.5, groups)
        )
        times = []
        for _ in range(4):
            start = time.perf_counter()
            sure = float(jc.allocate(estimates, jc.TopK(groups // 10)).guaranteed_ratio)
            times.append(time.perf_counter() - start)
        lines.append({"groups": groups, "guaranteed": sure, "s": float(np.median(times[1:]))})
    return pd.DataFrame(lines)
