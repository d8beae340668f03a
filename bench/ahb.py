"""Fast AHB beside its paper: Table 2, the settings, LaLonde, seconds."""

import argparse
import warnings
from typing import Any

import jcausal as jc
from bench import _lalonde, _speed, _table2
from bench._keep import keep, markdown

PARTS = ("table2", "lalonde", "speed")
STUDIED = 50  # runs of Table 2 in which every setting is tried


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    warnings.simplefilter("ignore", jc.FitWarning)  # None/Const has a surface that explains nothing
    quick = options.quick
    if "speed" in options.parts:
        _speed_part(3 if quick else 9, options)
    if "table2" in options.parts:
        _table2_part(2 if quick else options.runs, 0 if quick else STUDIED, options)
    if "lalonde" in options.parts:
        _lalonde_part(2 if quick else options.partitions, options)


def _command(options: argparse.Namespace, part: str) -> str:
    words = ["python -m bench ahb --parts", part]
    if options.quick:
        words.append("--quick")
    elif part == "table2" and options.runs != 100:
        words.append(f"--runs {options.runs}")
    elif part == "lalonde" and options.partitions != 20:
        words.append(f"--partitions {options.partitions}")
    return " ".join(words)


def _keep(options: argparse.Namespace, part: str, text: str, data: dict[str, Any]) -> None:
    name = f"ahb-{part}" + ("-quick" if options.quick else "")
    keep(options.out, name, _command(options, part), text, data)


def _table2_part(runs: int, settings: int, options: argparse.Namespace) -> None:
    records = _table2.collect(runs, min(settings, runs), options.workers)
    text = (
        f"# Table 2 of the AHB paper, {runs} runs\n\n"
        "Mean absolute error of the treated's effects over ATT (in brackets: the standard "
        "deviation of a 10-run mean). Readings: see `jc.simulate`. Surfaces: BART of 200 trees and "
        "100 draws on 400 units; the other 200 are matched, effects by tau a. The last columns "
        "compare with the paper under the better reading: as good is within 2.6 standard "
        "deviations of a 10-run mean. quad/const+4 has levels=10 and at most 10 runs.\n\n"
        f"{markdown(_table2.table(records))}\n\n"
        f"## Matched and all treated\n\n{markdown(_table2.details(records))}"
    )
    own = records[records["method"].isin(_table2.OURS)]
    _keep(options, "table2", text, _table2.summary(own))
    if settings:
        tried = _table2.studied(records)
        text = (
            f"# Settings of Fast AHB on Table 2, {tried['seed'].nunique()} runs\n\n"
            f'Mean absolute error of the treated\'s effects over ATT, reading "{_table2.STUDIED}". '
            "Each setting changes what it names in the defaults.\n\n"
            f"{markdown(_table2.settings_table(tried))}"
        )
        _keep(options, "settings", text, _table2.summary(tried))


def _lalonde_part(partitions: int, options: argparse.Namespace) -> None:
    controls = ("psid",) if options.quick else ("psid", "cps")
    method = jc.FastAHB(gamma1=0.0, reach=0.01, levels=20, outcome=_lalonde.MODEL)
    found = _lalonde.collect(controls, method, partitions)
    text = (
        f"# LaLonde, {partitions} random partitions\n\n"
        "ATT in dollars by Fast AHB (gamma1 0, reach 0.01, levels 20): 185 treated men, 260 in the "
        "first placebo; a quarter as many partitions in the placebos. The experiment's own "
        "estimate has a standard error of 671: anything from 900 to 2,700 agrees with it, and the "
        "distance to it ranks nothing.\n\n"
        f"{markdown(found.drop(columns='every'))}"
    )
    _keep(options, "lalonde", text, dict(rows=found.to_dict(orient="records")))


def _speed_part(repeats: int, options: argparse.Namespace) -> None:
    found = _speed.collect(repeats)
    text = (
        f"# Seconds of Fast AHB, median of {repeats} calls, compile time apart\n\n"
        "Surface: BART of 200 trees and 100 draws, both arms. Boxes: all treated of 200 units.\n\n"
        f"{markdown(found)}"
    )
    _keep(options, "speed", text, dict(rows=found.to_dict(orient="records")))
