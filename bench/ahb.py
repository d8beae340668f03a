"""Fast AHB beside its paper: Table 2, the settings, LaLonde, seconds."""

import argparse
import warnings
from typing import Any

import pandas as pd

import jcausal as jc
from bench import _comparators, _lalonde, _large, _levels, _settings, _speed, _table2
from bench._keep import keep, markdown
from bench._published import COMPARED, EXPERIMENT, PAPER

SECONDS = ("speed", "sets", "large")
TABLES = ("table2", "table5", "table6", "table7")  # table2 is also Fast AHB's own
PARTS = (*SECONDS, "levels", *TABLES, "lalonde", "settings")
QUICK = (*SECONDS, "levels", *TABLES, "lalonde")
FEWER = 10  # runs of the comparators at most: the paper's number


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    warnings.simplefilter("ignore", jc.FitWarning)  # None/Const has a surface that explains nothing
    quick = options.quick
    if "speed" in options.parts:
        _speed_part(options)
    if "sets" in options.parts:
        _sets_part(options)
    if "large" in options.parts:
        _large_part(options)
    if "levels" in options.parts:
        _levels_part(2 if quick else options.runs, options)
    if "table2" in options.parts:
        _table2_part(2 if quick else options.runs, options)
    for part in TABLES:
        if part in options.parts:
            _comparators_part(part, 2 if quick else min(options.runs, FEWER), options)
    if "lalonde" in options.parts:
        _lalonde_part(2 if quick else options.partitions, options)
    if "settings" in options.parts:
        _settings_part(2 if quick else min(options.runs, 50), options)


def _command(options: argparse.Namespace, part: str) -> str:
    words = ["python -m bench ahb --parts", part]
    if options.quick:
        words.append("--quick")
    elif part in ("levels", *TABLES, "settings") and options.runs != 100:
        words.append(f"--runs {options.runs}")
    elif part == "lalonde" and options.partitions != 20:
        words.append(f"--partitions {options.partitions}")
    return " ".join(words)


def _keep(
    options: argparse.Namespace, page: str, text: str, data: dict[str, Any], part: str = ""
) -> str:
    """Write a page; `part` makes it, where that is another word than the page's."""
    name = f"ahb-{page}" + ("-quick" if options.quick else "")
    return keep(options.out, name, _command(options, part or page), text, data)


def _levels_part(runs: int, options: argparse.Namespace) -> None:
    rows = tuple(PAPER)[:2] if options.quick else tuple(PAPER)
    page = ""
    for records in _levels.collect(runs, options.workers, rows):
        parts = []
        for reading in records["reading"].unique():
            parts.append(
                f"## Reading: {reading}\n\n{markdown(_levels.table(records, reading))}\n\n"
                f"### Averages, {reading}\n\n{markdown(_levels.averages(records, reading))}"
            )
        text = (
            f"# AHB at its defaults on Table 2 of the AHB paper, {runs} runs\n\n"
            "Mean absolute error of the treated's effects over |ATT| (in brackets: the standard "
            "deviation of a 10-run mean). tau_a: mean of the treated less mean of the controls in "
            "the box (the paper's); tau_b: the unit's own outcome less the mean of the controls, "
            "what `jc.estimate` gives, which has the noise of one outcome in it. Adjusted by the "
            "surface unless it says plain means. 600 units, 400 for the surface (BoostedTrees), "
            "the other 200 matched. Beside them what `--parts table2` and `bench exact --parts "
            "table2` kept of Fast and Exact AHB: tau_a, plain means, surfaces of BART. "
            "Coverage: of the ATT of the run's treated by 95% Abadie-Imbens intervals for the "
            "sample.\n\n" + "\n\n".join(parts)
        )
        page = _keep(options, "levels", text, _table2.summary(records))
    print(page, flush=True)


def _table2_part(runs: int, options: argparse.Namespace) -> None:
    order = sorted(PAPER, key=lambda row: row in _table2.COARSE)
    order = order[:4] if options.quick else order  # four rows of two covariates
    jobs = [(row, reading) for row in order for reading in _table2.READINGS]
    page = ""
    for records in _table2.collect(jobs, runs, _table2.METHODS, options.workers):
        if not len(_table2.table(records)):
            continue
        text = (
            f"# Table 2 of the AHB paper, {runs} runs\n\n"
            "Mean absolute error of the treated's effects over ATT (in brackets: the standard "
            "deviation of a 10-run mean). Readings, paper or scripts: see `jc.simulate`. Surfaces: "
            "BART of 200 trees and 100 draws on 400 units; the other 200 are matched, effects by "
            "tau a. `is` compares Fast AHB with the paper's under the better reading: as good is "
            "within 2.6 standard deviations of a 10-run mean. Best other: of the paper's other "
            "matching methods. quad/const+4 has levels=20.\n\n"
            f"{markdown(_table2.table(records))}\n\n"
            f"## Matched and all treated\n\n{markdown(_table2.details(records))}"
        )
        page = _keep(options, "table2", text, _table2.summary(records))
    print(page, flush=True)


def _comparators_part(part: str, runs: int, options: argparse.Namespace) -> None:
    names = tuple(name for name in COMPARED if name.startswith(part[-1]))
    page = ""
    for records in _comparators.collect(
        names[:1] if options.quick else names, runs, options.workers
    ):
        text = (
            f"# Table {part[-1]} of the AHB paper: its comparators, {runs} runs\n\n"
            "Mean absolute error of the treated's effects over |ATT| (in brackets: the standard "
            "deviation of a 10-run mean, and the share matched where it is not all), by means "
            "over the groups. All 600 units are matched; of prognostic matching 200, by a BART of "
            "the other 400. Of 1, 3, 5, 7 and 10 partners the best, as in the paper; genetic: "
            f"{_comparators.GENETIC}.\n\n{markdown(_comparators.table(records))}"
        )
        page = _keep(options, f"{part}-comparators", text, _table2.summary(records), part)
    print(page, flush=True)


def _settings_part(runs: int, options: argparse.Namespace) -> None:
    jobs = [(row, _settings.READING) for row in _settings.ROWS]
    page = ""
    for records in _table2.collect(jobs, runs, _settings.SETTINGS, options.workers):
        page = _settings_page(records, runs, options)
    print(page, flush=True)


def _settings_page(records: pd.DataFrame, runs: int, options: argparse.Namespace) -> str:
    text = (
        f"# Settings of Fast AHB on Table 2, {runs} runs\n\n"
        "Mean absolute error of the treated's effects over ATT, tau a, reading "
        f'"{_settings.READING}".\n\n'
        f"{markdown(_settings.table(records))}"
    )
    return _keep(options, "settings", text, _table2.summary(records))


def _lalonde_part(partitions: int, options: argparse.Namespace) -> None:
    controls = ("psid",) if options.quick else ("psid", "cps")
    method = jc.FastAHB(gamma1=0.0, caliper=0.1, levels=20, outcome=_lalonde.MODEL)
    page = ""
    for found in _lalonde.collect(controls, method, partitions):
        text = (
            f"# LaLonde, {partitions} random partitions\n\n"
            "ATT in dollars by Fast AHB (gamma1 0, caliper 0.1, levels 20): 185 treated men, 260 "
            "in the first placebo. The experiment's own estimate has a standard error of 671: "
            "anything from 900 to 2,700 agrees with it, and the distance to it ranks nothing.\n\n"
            f"{markdown(found.drop(columns='every'))}"
        )
        page = _keep(options, "lalonde", text, dict(rows=found.to_dict(orient="records")))
    print(page, flush=True)
    others = _comparators.on_lalonde(controls)
    text = (
        "# LaLonde, the paper's comparators\n\nThe ATT in dollars of each method at its defaults, "
        "by plain means with its Abadie-Imbens interval, and adjusted by Ridge; the paper's "
        "(its table 3) matched fewer covariates. The experiment says "
        f"{EXPERIMENT[0]:,.0f} (standard error {EXPERIMENT[1]:,.0f}).\n\n{markdown(others)}"
    )
    rows = dict(rows=others.to_dict(orient="records"))
    print(_keep(options, "lalonde-comparators", text, rows, "lalonde"), flush=True)


def _speed_part(options: argparse.Namespace) -> None:
    posterior, page = _speed.posterior_means(), ""
    for found in _speed.collect(_speed.cases(options.quick), 3):
        text = (
            "# Seconds of Fast AHB, median of 3 calls, compile time apart\n\n"
            "Table 2's quad/const with irrelevant covariates up to p; surfaces of both arms on "
            f"{_speed.TRAINING} units (BART: 200 trees, 100 draws; Trees: forests of 100 trees of "
            "at most 32 leaves), boxes of all treated, the defaults but for levels. A unit's time "
            f"has its share of the tables, by {_speed.SHARED}. The scripts: the authors' Fast with "
            "BART, CPU seconds on one thread of such a machine. Calls of more than "
            f"{_speed.LONG:.0f} s are measured once.\n\n{markdown(found)}\n\n"
            "## A posterior mean, by bartz and by tables\n\nThe controls' surface at 1,000 "
            f"points.\n\n{markdown(posterior)}"
        )
        kept = {"rows": found.to_dict("records"), "posterior": posterior.to_dict("records")}
        page = _keep(options, "speed", text, kept)
    print(page, flush=True)


def _sets_part(options: argparse.Namespace) -> None:
    found = _speed.many_sets(20 if options.quick else 200)
    text = (
        "# Many data sets in one call\n\nEffects by `jc.estimate` with Ridge, two covariates, two "
        f"folds: one vmapped call, and a loop of calls.\n\n{markdown(found)}"
    )
    print(_keep(options, "sets", text, {"rows": found.to_dict("records")}), flush=True)


def _large_part(options: argparse.Namespace) -> None:
    page = ""
    for found in _large.collect(_large.FEW if options.quick else _large.CASES):
        text = (
            "# Many units\n\nQuad/const with eight irrelevant covariates; surfaces on 2,000 other "
            "units (AHB with Ridge: eighteen). Seconds of one call, compile time included; peak "
            "memory of its process."
            f"\n\n{markdown(found)}"
        )
        page = _keep(options, "large", text, {"rows": found.to_dict("records")})
    print(page, flush=True)
