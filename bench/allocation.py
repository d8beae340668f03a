"""Allocations from coarse estimates: Figures 2 and 3 of the paper, and seconds."""

import argparse
from typing import Any

import pandas as pd

from bench import _allocation_data as data
from bench import _allocation_figures as figures
from bench import _allocation_runs as runs
from bench._keep import keep, markdown

PARTS = ("figure2", "figure3", "speed")
REPEATS = 50


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    run = dict(figure2=_figure2_part, figure3=_figure3_part, speed=_speed_part)
    for part in PARTS:
        if part in options.parts:
            run[part](options)


def _keep(options: argparse.Namespace, part: str, text: str, kept: dict[str, Any]) -> None:
    """Write a part's page, with the command that makes it again, and print it."""
    words = ["python -m bench allocation --parts", part]
    if options.quick:
        words.append("--quick")
    elif options.runs:
        words.append(f"--runs {options.runs}")
    name = f"allocation-{part}" + ("-quick" if options.quick else "")
    print(keep(options.out, name, " ".join(words), text, kept), flush=True)


def _repeats(options: argparse.Namespace) -> int:
    return 5 if options.quick else options.runs or REPEATS


def _divisions(options: argparse.Namespace, main: bool) -> list[data.Divided]:
    """The divisions, or those of the main text; a trial whose file is absent is told and left."""
    trees = data.QUICK_TREES if options.quick else data.TREES
    found = []
    for trial, division in data.chosen(options.quick):
        if main and not options.quick and data.MAIN.get(trial) != division.name:
            continue
        try:
            found.append(data.divided(trial, division, trees))
        except FileNotFoundError as error:
            print(f"left out, {trial}: {error}", flush=True)
    return found


STANDS_IN = (
    "The Pakistan graduation trial stands in for TUP, whose baselines are not public; its public "
    "part is grouped by an outcome after 18 months. Effects are differences of means of small "
    "groups, rescaled to [0, 1] and then taken as the truth: reliability is the share of their "
    "variance that is no sampling error. Forests have at most 32 leaves a tree."
)


def _figure2_part(options: argparse.Namespace) -> None:
    repeats, some = _repeats(options), _divisions(options, main=True)
    if not some:
        return
    curves = pd.concat([runs.curves(of, repeats, options.quick) for of in some], ignore_index=True)
    file = options.out / ("allocation-figure2" + ("-quick" if options.quick else "") + ".png")
    figures.figure2(curves, runs.MAIN_SHARE, file)
    shown = curves[curves["share"] == runs.MAIN_SHARE].drop(columns="share")
    text = (
        f"# Figure 2: value of the chosen groups by number of samples, {repeats} trials\n\n"
        f"{STANDS_IN}\n\nBudget: 30% of the groups. `coarse` and `full` are the paper's curves, "
        "1 - M ln(2M/delta)/N and 1 - sqrt(M ln(2M/delta)/N), delta = .05, not below 0.\n\n"
        f"{markdown(shown)}"
    )
    _keep(options, "figure2", text, dict(rows=curves.to_dict("records")))


def _figure3_part(options: argparse.Namespace) -> None:
    repeats, some = _repeats(options), _divisions(options, main=False)
    if not some:
        return
    parts = [frame for of in some for frame in runs.failures(of, repeats, options.quick)]
    records = pd.concat(parts, ignore_index=True)
    axes = {(of.trial, of.division.name): of.division.axis or 0.0 for of in some}
    body = []
    for i, reading in enumerate(runs.readings(options.quick)):
        end = f"-{i + 1}" + ("-quick" if options.quick else "") + ".png"
        figures.figure3(records, reading, options.out / f"allocation-figure3{end}")
        body.append(f"## {reading}\n\n{markdown(runs.table(records, reading, axes))}")
    text = (
        f"# Figure 3: budgets K whose value is below (1 - eps) V*, in %, {repeats} trials\n\n"
        f"{STANDS_IN}\n\n{markdown(runs.overview(some))}\n\ngamma = .5, delta = .05. Algorithm 1 "
        "asks for twice the samples that the text names; the scripts do not divide delta by M, and "
        "leave out K = M. The paper's axis is the top of its plot, error bars included; of its "
        "stand-ins it is TUP's. K' any, K' < K and extra are means over failed budgets: how far "
        "the nearest budget that does not fail is, and how many groups more are enough.\n\n"
        + "\n\n".join(body)
    )
    _keep(options, "figure3", text, dict(rows=records.to_dict("records")))


def _speed_part(options: argparse.Namespace) -> None:
    found = runs.seconds(repeats=_repeats(options))
    large = runs.allocations((10_000,) if options.quick else (10_000, 1_000_000))
    text = (
        "# Seconds of Figure 3 for one division\n\n8 eps, 78 groups, every K; from the effects to "
        f"the table of failures. Medians of later calls.\n\n{markdown(found)}\n\n"
        "# Seconds of an allocation with its certificate\n\nA tenth of the groups by `jc.TopK`, "
        f"rho from the errors. Medians of later calls.\n\n{markdown(large)}"
    )
    _keep(
        options, "speed", text, dict(rows=found.to_dict("records"), large=large.to_dict("records"))
    )
