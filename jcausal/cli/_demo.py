"""`jcausal demo`: the main job on LaLonde's data."""

import time
from pathlib import Path

import jcausal as jc
from jcausal.cli._files import check_folder, write_whole
from jcausal.cli._report import files, measure, report, versions
from jcausal.cli._terminal import Bar

EXPERIMENT = (1794.34, 671.0)  # difference of means and its standard error, $


def demo(controls: str, seed: int, out: Path, quiet: bool) -> None:
    """Estimate, print the summary and write figures and tables into `out`."""
    check_folder(out)
    bar, began = Bar(quiet), time.perf_counter()
    sample = jc.datasets.lalonde("cps" if controls == "cps" else "psid")
    effects = jc.estimate(sample, jc.AHB(), key=seed, progress=bar)
    bar("intervals, balance and figures", 0, 1)
    results = measure(effects, 0.95, seed)
    truth, error = EXPERIMENT
    experiment = (
        f"the experiment: {truth:,.0f} (standard error {error:,.0f}, 95% "
        f"{truth - 1.96 * error:,.0f} to {truth + 1.96 * error:,.0f})"
    )
    treated, others = int(sample.t.sum()), int((~sample.t).sum())
    text = (
        "What did job training do to income in 1978 ($)?\n"
        f"AHB: {treated} treated men of LaLonde's data, {others:,} {controls.upper()} men\n\n"
        f"{report(results, [experiment])}\n\n{versions(sample, seed)}"
    )
    pair = ["age", "income 1975"]
    write_whole(out, files(results, text, parquet=False, unit="$", pair=pair))
    bar.close()
    if not quiet:
        print(text)
        print(f"\nfigures and tables: {out}; {time.perf_counter() - began:.0f} s")
