"""Real data beside other estimators, surfaces, seconds of the command, coverage of intervals."""

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

import jcausal as jc
from bench import _coverage, _m5_simulated, _real_data, _real_peers, _real_speed
from bench._keep import keep, markdown
from bench._published import PAPER

SIMULATED = {
    "coverage-ridge-300": ("AHB", "Ridge", 300),
    "coverage-ridge-1000": ("AHB", "Ridge", 1000),
    "coverage-trees-300": ("AHB", "BoostedTrees", 300),
    "coverage-trees-1000": ("AHB", "BoostedTrees", 1000),
    "coverage-fast-ridge-300": ("Fast AHB", "Ridge", 300),
    "coverage-fast-ridge-1000": ("Fast AHB", "Ridge", 1000),
    "coverage-fast-trees-300": ("Fast AHB", "BoostedTrees", 300),
    "coverage-fast-trees-1000": ("Fast AHB", "BoostedTrees", 1000),
}
READINGS = {"coverage-table2-paper": "paper", "coverage-table2-scripts": "scripts"}
ROWS = {f"coverage-m5-{row.process.split('/')[-1]}": row.process for row in _m5_simulated.ROWS}
PARTS = ("estimates", "surfaces", "speed", *SIMULATED, *READINGS, *ROWS)
QUICK = ("estimates", "surfaces", "speed", "coverage-ridge-300", "coverage-table2-scripts")
WORDS = (*PARTS, "coverage", "coverage-table2", "coverage-m5")  # every part that begins so
SETS = tuple(_real_data.ASK)
METHODS = tuple(_real_peers.methods())
RUNS = {"table2": 100, "m5": 30}
LIMIT = 300.0  # seconds of a slow method's run; the command has twice that


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    warnings.simplefilter("ignore", jc.FitWarning)  # such data sets are among the simulated ones
    warnings.simplefilter("ignore", jc.TreeWarning)
    for part in chosen(options.parts, options.quick):
        run = dict(estimates=_estimates, surfaces=_surfaces, speed=_speed)
        if part in run:
            run[part](options)
        else:
            _coverage_part(part, options)


def chosen(words: list[str] | None, quick: bool) -> list[str]:
    """The parts that words name or begin; without words all, or quick ones."""
    if words is None:
        return list(QUICK if quick else PARTS)
    return [p for p in PARTS if any(p == word or p.startswith(f"{word}-") for word in words)]


def command(options: argparse.Namespace, part: str) -> str:
    """What makes a page again."""
    words = ["python -m bench real --parts", part]
    if options.quick:
        words.append("--quick")
    if part == "estimates":
        if options.partitions != 20 and not options.quick:
            words.append(f"--partitions {options.partitions}")
        if options.sets != list(SETS):
            words.append(f"--sets {' '.join(options.sets)}")
        if options.methods != list(METHODS):
            words.append("--methods " + " ".join(map(repr, options.methods)))
    if part in ("estimates", "speed") and options.limit != LIMIT:
        words.append(f"--limit {options.limit:g}")
    if part.startswith("coverage") and options.runs and not options.quick:
        words.append(f"--runs {options.runs}")
    return " ".join(words)


def _keep(options: argparse.Namespace, part: str, text: str, data: dict[str, Any]) -> str:
    some = "-".join(["", *options.sets]) if options.sets != list(SETS) else ""
    name = f"real-{part}" + (some if part == "estimates" else "")
    name += "-quick" if options.quick else ""
    return keep(options.out, name, command(options, part), text, data)


def _shown(
    options: argparse.Namespace, part: str, head: str, tables: Iterator[pd.DataFrame]
) -> None:
    """Keep the page anew with every table, and print the last."""
    page = ""
    for found in tables:
        text = f"{head}\n\n{markdown(found)}"
        page = _keep(options, part, text, {"rows": found.to_dict("records")})
    print(page, flush=True)


ESTIMATES = (
    "# The ATT of real data\n\n"
    "Each method at its defaults, on the same rows. Methods that draw folds: the estimate is the "
    "median over the partitions (at most 3 for RHC, 5 for twins, 2 for CDC, and 3 for Fast AHB), "
    "the interval is that of the median one; mean error, drift and SMDs are means, seconds and "
    "second opinions (AIPW of the same folds and surfaces) medians. Plain means: the groups "
    "without adjustment by the surface. Drift: mean |drift| of the groups in sd of the outcome. "
    "Seconds: from the sample to the interval, compile time included in the first. Fast "
    "AHB runs in a process of its own, all compile time included, and is ended at the limit. The "
    "score: honest predictions of the outcome, SMD before and after; covariates: mean |SMD| before "
    "and after, levels one by one. Intervals: 95%, Abadie-Imbens after matching, the estimator's "
    "own else."
)


def _estimates(options: argparse.Namespace) -> None:
    """Every question to every method; the page is kept after each answer."""
    partitions = 2 if options.quick else options.partitions
    names = ["psid", "nhefs"] if options.quick else options.sets
    pages: dict[str, list[dict[str, Any]]] = {}
    kept: list[dict[str, Any]] = []
    page = ""
    for question in _real_data.questions(names):
        sample = question.sample
        treated = int(sample.t.sum())
        head = f"## {question.name}\n\n{treated:,} treated, {sample.n - treated:,} controls, "
        head += f"{sample.p} covariates. Answer: {question.truth}."
        for name in options.methods:
            found, note = _real_peers.answers(question, name, partitions, options.limit)
            row, whole = _real_peers.line(question, name, found, note)
            pages.setdefault(head, []).append(row)
            kept.append(whole)
            print(f"  {question.name}, {name}: {row.get('estimate', note)}", flush=True)
            body = [f"{one}\n\n{markdown(_filled(rows))}" for one, rows in pages.items()]
            page = _keep(options, "estimates", "\n\n".join([ESTIMATES, *body]), {"rows": kept})
    print(page, flush=True)


def _filled(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table of rows, blank where a method does not tell; columns that tell nothing left out."""
    found = pd.DataFrame(rows)
    found = found.loc[:, [bool(found[c].notna().any() and (found[c] != "").any()) for c in found]]
    return found.astype(object).where(found.notna(), "")


def _surfaces(options: argparse.Namespace) -> None:
    from bench import _surfaces as surfaces  # brings the models that only this part needs

    head = "# Response surfaces\n\nOut of sample, at their defaults."
    _shown(options, "surfaces", head, surfaces.collect(options.quick))


def _speed(options: argparse.Namespace) -> None:
    head = (
        "# Seconds to the first answer\n\n"
        "Each a process of its own, alone on the machine. Commands: from the file to the written "
        "report, at the defaults, the first run with an empty cache of compiled programs, the next "
        "with what it left there. Python: without a cache, the same work twice in one process, "
        "imports not counted. Memory: the most that a run held. A process is ended at the limit."
    )
    works = _real_speed.QUICK if options.quick else _real_speed.WORKS
    _shown(options, "speed", head, _real_speed.timed(works, 2 * options.limit))


COVERED = (
    "In brackets: Monte-Carlo errors. 93% to 97%: whether the coverage agrees with that range "
    f"(Holm over the rows, {_coverage.ERROR:.0%} in all). Mean error / sd: stated over true "
    "standard error. Plain means: the matched groups without adjustment by the surface."
)


def _coverage_part(part: str, options: argparse.Namespace) -> None:
    head, job, columns = _jobs(part, options)
    records = _coverage.collect(job, columns, options.workers)
    text = f"# Coverage of 95% intervals of the ATT: {head}\n\n{COVERED}"
    _shown(options, part, text, map(_coverage.table, records))


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
