"""Real data beside other estimators, surfaces, seconds of the command."""

import argparse
from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench import _real_data, _real_peers, _real_speed
from bench._keep import keep, markdown

PARTS = ("estimates", "surfaces", "speed")
SETS = tuple(_real_data.ASK)
METHODS = tuple(_real_peers.methods())
LIMIT = 300.0  # seconds of a slow method's run; the command has twice that


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    run = dict(estimates=_estimates, surfaces=_surfaces, speed=_speed)
    for part in options.parts:
        run[part](options)


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
