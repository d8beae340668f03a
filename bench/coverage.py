"""Coverage of intervals: of single units as the AHB paper draws it, and of averages."""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jcausal as jc
from bench import _coverage, _coverage_units, _m5_simulated
from bench._keep import keep, markdown
from bench._published import PAPER

SIMULATED = {
    "ridge-300": ("AHB", "Ridge", 300),
    "ridge-1000": ("AHB", "Ridge", 1000),
    "trees-300": ("AHB", "BoostedTrees", 300),
    "trees-1000": ("AHB", "BoostedTrees", 1000),
    "fast-ridge-300": ("Fast AHB", "Ridge", 300),
    "fast-ridge-1000": ("Fast AHB", "Ridge", 1000),
    "fast-trees-300": ("Fast AHB", "BoostedTrees", 300),
    "fast-trees-1000": ("Fast AHB", "BoostedTrees", 1000),
}
READINGS = {"table2-paper": "paper", "table2-scripts": "scripts"}
ROWS = {f"m5-{row.process.split('/')[-1]}": row.process for row in _m5_simulated.ROWS}
AVERAGES = (*SIMULATED, *READINGS, *ROWS)
PARTS = ("figure9", *AVERAGES)
QUICK = ("figure9", "ridge-300", "table2-scripts")
WORDS = (*PARTS, "table2", "m5")  # every part that begins so
RUNS = {"figure9": 50, "table2": 100, "m5": 30}


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    warnings.simplefilter("ignore", jc.FitWarning)  # such data sets are among the simulated ones
    warnings.simplefilter("ignore", jc.TreeWarning)
    for part in chosen(options.parts, options.quick):
        if part == "figure9":
            _figure9(options)
        else:
            _averages(part, options)


def chosen(words: list[str] | None, quick: bool) -> list[str]:
    """The parts that words name or begin; without words all, or quick ones."""
    if words is None:
        return list(QUICK if quick else PARTS)
    return [p for p in PARTS if any(p == word or p.startswith(f"{word}-") for word in words)]


def command(options: argparse.Namespace, part: str) -> str:
    """What makes a page again."""
    words = ["python -m bench coverage --parts", part]
    if options.quick:
        words.append("--quick")
    elif options.runs:
        words.append(f"--runs {options.runs}")
    return " ".join(words)


def _keep(options: argparse.Namespace, part: str, text: str, data: dict[str, Any]) -> str:
    name = f"coverage-{part}" + ("-quick" if options.quick else "")
    return keep(options.out, name, command(options, part), text, data)


FIGURE9 = (
    "Intervals of tau(x) of the treated, by the six constructions of the AHB paper (section 6.8), "
    "over AHB's boxes at its defaults (difference of the arms' means, adjusted by the surface) "
    "with surfaces of BART: 600 units, 400 of them for the surface. Confounding and effect are of "
    "one kind: linear (three times the sum of x), quad (of x^2), box (of 1{x > 1/2}), x uniform. "
    "Error: over runs, whose units go together. Share: of the units, those that have the interval "
    "(an arm with too few units has no bootstrap and no subsamples). Bias: of the estimate, over "
    "the true standard deviation of the noise."
)


def _figure9(options: argparse.Namespace) -> None:
    runs = 2 if options.quick else options.runs or RUNS["figure9"]
    picture = Path(options.out) / (
        "coverage-figure9" + ("-quick" if options.quick else "") + ".png"
    )
    page = ""
    for records in _coverage_units.collect(runs, options.workers, options.quick):
        found = _coverage_units.table(records)
        places = _coverage_units.by_place(records)
        text = f"# Coverage of 95% intervals of single units, {runs} runs\n\n{FIGURE9}\n\n"
        text += f"![coverage]({picture.name})\n\n{markdown(found)}\n\n"
        text += f"## By place, noise of variance {_coverage_units.MIDDLE}\n\n{markdown(places)}"
        page = _keep(options, "figure9", text, dict(rows=found.to_dict("records")))
        _coverage_units.draw(found, places, picture)
    print(page, flush=True)


COVERED = (
    "In brackets: Monte-Carlo errors. 93% to 97%: whether the coverage agrees with that range "
    f"(Holm over the rows, {_coverage.ERROR:.0%} in all). Mean error / sd: stated over true "
    "standard error. Plain means: the matched groups without adjustment by the surface."
)


def _averages(part: str, options: argparse.Namespace) -> None:
    head, job, columns = _jobs(part, options)
    records = _coverage.collect(job, columns, options.workers)
    text = f"# Coverage of 95% intervals of the ATT: {head}\n\n{COVERED}"
    page = ""
    for found in map(_coverage.table, records):
        rows = dict(rows=found.to_dict("records"))
        page = _keep(options, part, f"{text}\n\n{markdown(found)}", rows)
    print(page, flush=True)


def _jobs(part: str, options: argparse.Namespace) -> tuple[str, Callable, list[list[Any]]]:
    """What a part is about, its job, and the columns of the job's arguments."""
    quick = options.quick
    if part in SIMULATED:
        method, surface, n = SIMULATED[part]
        names = list(_coverage.PROCESSES)[: 2 if quick else None]
        sets = 20 if quick else options.runs or _coverage.SETS
        head = f"{method} with {surface}, two folds, at the defaults, {n:,} units"
        columns = _coverage.grid(names, [n], [method], [surface], [sets])
        return head, _coverage.of_process, columns
    if part in READINGS:
        runs, rows = 3 if quick else options.runs or RUNS["table2"], list(PAPER)
        reading = READINGS[part]
        head = f'Table 2 of the AHB paper, reading "{reading}", AHB at its defaults, 600 units'
        columns = _coverage.grid(rows[: 2 if quick else None], [reading], [runs])
        return head, _coverage.of_table2, columns
    runs, row = 1 if quick else options.runs or RUNS["m5"], ROWS[part]
    head = f"`jc.simulate.m5`, {row}, AHB at its defaults, 200 of 20,000 treated"
    return head, _coverage.of_m5, _coverage.grid([row], [runs])
