"""`jcausal demo`: the main job on LaLonde's data."""

import argparse
import time

import jcausal as jc
from jcausal.cli._report import measured, pictures, report, tables, versions
from jcausal.cli._terminal import Bar, tell, until_effects
from jcausal.cli._write import check_folder, write_whole

EXPERIMENT = (1794.34, 671.0)  # difference of means and its standard error, $


def demo(options: argparse.Namespace, bar: Bar) -> str | None:
    """Estimate, print the summary and write figures and tables into `--out`.

    **Returns:** a sentence on pictures that failed, or None.
    """
    controls, seed, out, began = options.controls, options.seed, options.out, time.perf_counter()
    check_folder(out)
    bar("reading", 0, 1)
    sample = jc.datasets.lalonde("cps" if controls == "cps" else "psid")
    effects = jc.estimate(sample, jc.AHB(), key=seed, progress=until_effects(bar))
    results = measured(effects, 0.95, seed, bar)
    truth, error = EXPERIMENT
    experiment = (
        f"the experiment: {truth:,.0f} (standard error {error:,.0f}, 95% "
        f"{truth - 1.96 * error:,.0f} to {truth + 1.96 * error:,.0f})"
    )
    treated, others = int(sample.t.sum()), int((~sample.t).sum())
    bar("second opinion and summary", 2, 4)
    text = (
        "What did job training do to income in 1978 ($)?\n"
        f"AHB: {treated} treated men of LaLonde's data, {others:,} {controls.upper()} men\n\n"
        f"{report(results, [experiment])}\n\n{versions(sample, seed)}"
    )
    bar("tables and figures", 3, 4)
    drawn = pictures(results, unit="$")
    failed = write_whole(out, tables(results, text, parquet=False), drawn)
    bar.close()
    if not options.quiet:
        tell(f"{text}\n\nfigures and tables: {out}; {time.perf_counter() - began:.0f} s")
    return failed
