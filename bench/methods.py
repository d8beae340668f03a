"""Every method beside the others: errors, coverage, who is left out, seconds, memory."""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from bench import _methods_sizes as sizes
from bench._keep import keep, markdown
from bench._methods_ask import ask
from bench._methods_roster import ROSTER
from bench._methods_suites import answers, quick_cases, suites
from bench._methods_tables import (
    beside_the_paper,
    by_row,
    losses,
    ranked,
    real_answers,
    undercovering,
    wide,
)
from bench._real_data import Absent

ACCURACY = ("ahb", "m5", "ihdp", "acic", "coverage", "real")
PARTS = (*ACCURACY, "sizes", "grf", "summary")
LIMIT, MOST = 600.0, 16.0  # seconds and GB of a process
HEADS = (
    "Every method at its defaults, asked for the effect on the treated. Errors over |ATT|: of the "
    "ATT of all treated (and of those that a method matched), of single effects of all treated (a "
    "treated unit without an effect is given the mean of the others), of those matched, and of the "
    "units to whom every method gives an effect that gives one to half of them. Coverage: of the "
    "ATT of the treated that were matched, by the method's own 95% interval (matchings: "
    "Abadie-Imbens). Boxes give single effects as the difference of their two arms, the others "
    "as the unit's outcome less its group's, or as the model's. The best counterfactual knows "
    "both outcomes of every unit: nobody can use it."
)
REAL = (
    "Every method at its defaults: medians over the partitions, the spread of the estimate over "
    "partitions (5% to 95%; methods that draw nothing are asked once), medians of the "
    "bounds of the 95% interval. Estimand ato: of those alike in both arms."
)
SIZES = (
    "y = max(x1, 0) w + x2 + min(x3, 0) + e, x and e N(0, 1), w a coin. Each method at its "
    "defaults in a process of its own: seconds of the first call (with compilation) and of the "
    "next, from the sample to the interval; peak memory of the process."
)


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    names = tuple(options.methods or ROSTER)
    if options.quick:
        _quick(options, names)
        return
    for part in options.parts:
        if part in ACCURACY:
            _accuracy(options, part, names)
        elif part == "summary":
            _summary(options)
        else:
            _sizes(options, part, tuple(options.methods or ()))


def _quick(options: argparse.Namespace, names: tuple[str, ...]) -> None:
    records: list[dict[str, Any]] = []
    for case in quick_cases():
        records += ask(case, names, lambda name: print(f"  {name}", flush=True))
    frame = pd.DataFrame(records)
    table = by_row(frame)
    text = f"# Every method on one small data set\n\n{HEADS}\n\n{markdown(ranked(table))}"
    silent = frame[frame["note"] != ""][["method", "note"]]
    if len(silent):
        text += f"\n\nNo answer:\n\n{markdown(silent)}"
    command = "python -m bench methods --quick"
    print(keep(options.out, "methods-quick", command, text, dict(records=records)), flush=True)


def _accuracy(options: argparse.Namespace, part: str, names: tuple[str, ...]) -> None:
    suite = suites()[part]
    runs = options.runs or suite.runs
    rows = tuple(options.rows or suite.rows)
    jobs = [(part, row, seed, names) for seed in range(runs) for row in rows]
    known = _known(options.out / f"methods-{part}.json") if options.resume else []
    done = {(r["row"], r["seed"], r["method"]) for r in known}
    records, began, page = list(known), time.perf_counter(), ""
    for found in _asked(_left(jobs, done, suite.again), options.workers):
        records += found
        if found:
            told = f"{found[0]['row']}, seed {found[0]['seed']}"
            print(f"  {told}: {time.perf_counter() - began:.0f} s so far", flush=True)
        page = _page(options, part, records)
    print(page or _page(options, part, records), flush=True)


def _known(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text())["records"] if file.exists() else []


Job = tuple[str, str, int, tuple[str, ...]]


def _left(jobs: list[Job], done: set[tuple[str, int, str]], again: bool) -> list[Job]:
    """What is not asked yet; on the same data methods that draw nothing are asked once."""
    left = []
    for part, row, seed, names in jobs:
        mine = [n for n in names if (row, seed, n) not in done]
        if not again and seed:
            mine = [name for name in mine if ROSTER[name].draws]
        if mine:
            left.append((part, row, seed, tuple(mine)))
    return left


def _asked(jobs: list[Job], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers == 1:
        yield from map(_answer, jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=40) as pool:
        yield from pool.map(_answer, jobs)


def _answer(job: Job) -> list[dict[str, Any]]:
    part, row, seed, names = job
    try:
        case = suites()[part].draw(row, seed)
    except Absent as reason:
        print(f"  {row}: skipped, {reason}", flush=True)
        return []
    found = ask(case, names)
    if seed % 10 == 9:
        jax.clear_caches()
    return found


def _page(options: argparse.Namespace, part: str, records: list[dict[str, Any]]) -> str:
    suite, frame = suites()[part], pd.DataFrame(records)
    if frame.empty:
        return ""
    runs = int(frame.groupby(["row", "method"]).size().max())
    most = f" --runs {runs}" if runs != suite.runs else ""
    command = f"python -m bench methods --parts {part}{most}"
    short = f" {suite.runs} were asked for." if runs < suite.runs else ""
    head = f"# Every method: {part}\n\n{suite.said}; up to {runs} runs a row.{short}"
    if suite.truth:
        text = f"{head}\n\n{HEADS}\n\n{_with_truth(part, by_row(frame))}"
    else:
        truths = "\n".join(f"- {row}: {answers(row)}" for row in frame["row"].unique())
        text = f"{head}\n\n{REAL}\n\n{truths}\n\n{markdown(real_answers(frame))}"
    absent = frame[frame["note"] != ""].drop_duplicates(["row", "method"])
    if suite.truth and len(absent):
        text += f"\n\nNo answer:\n\n{markdown(absent[['row', 'method', 'note']])}"
    return keep(options.out, f"methods-{part}", command, text, dict(records=records))


def _with_truth(part: str, table: pd.DataFrame) -> str:
    if part == "coverage":
        return markdown(undercovering(table.dropna(subset=["coverage"])))
    parts = [markdown(ranked(table)), losses(table)]
    if part == "ahb":
        parts += ["## The paper's figure / ours", markdown(beside_the_paper(table))]
    for name, words in (("rmse", "RMSE of the ATT"), ("unit_error_all", "Error of single effects")):
        parts += [f"## {words}, by row", markdown(wide(table, name))]
    parts += ["## Coverage, by row", markdown(wide(table, "coverage"))]
    return "\n\n".join(parts)


def _sizes(options: argparse.Namespace, part: str, names: tuple[str, ...]) -> None:
    asked = sizes.GRF if part == "grf" else sizes.SIZES
    names = names or (sizes.GRF_METHODS if part == "grf" else tuple(ROSTER))
    page = ""
    for found in sizes.measured(names, asked, options.limit, MOST):
        text = f"# Every method: {part}\n\n{SIZES}\n\n{markdown(found)}"
        command = f"python -m bench methods --parts {part}"
        data = dict(rows=found.to_dict("records"))
        page = keep(options.out, f"methods-{part}", command, text, data)
    print(page, flush=True)


def _summary(options: argparse.Namespace) -> None:
    """README's table: ranks over the suites that were run, coverage, seconds and memory."""
    parts, said = [], []
    for part in ("ahb", "m5", "ihdp", "acic"):
        records = _known(options.out / f"methods-{part}.json")
        if records:
            parts.append(by_row(pd.DataFrame(records)).assign(suite=part))
            said.append(f"{part} ({len(parts[-1]['row'].unique())} rows)")
    table = pd.concat(parts)
    short = ranked(table)[["method", "rows", "ATT rank", "unit rank", "coverage", "unmatched"]]
    file = options.out / "methods-sizes.json"
    if file.exists():
        short = short.merge(_seconds(json.loads(file.read_text())["rows"]), how="left")
    text = (
        f"# Every method, over {', '.join(said)}\n\nMean place among the methods of a row by the "
        "error of the ATT and of single effects of all treated, 1 the best; coverage of 95% "
        "intervals of the ATT of those matched; seconds and peak memory of the next call on "
        f"20,000 x 20 and 1,000,000 x 25.\n\n{markdown(short.fillna(''))}"
    )
    command = "python -m bench methods --parts summary"
    print(keep(options.out, "methods-summary", command, text, dict(rows=short.to_dict("records"))))


def _seconds(rows: list[dict[str, Any]]) -> pd.DataFrame:
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault(row["method"], dict(method=row["method"]))
        size = "20k" if row["rows"] < 1_000_000 else "1M"
        next_, first = row.get("next, s"), row.get("first, s")
        taken = next_ if next_ is not None and next_ == next_ else first
        if taken is not None and taken == taken:
            line |= {f"{size}, s": taken, f"{size}, GB": row["peak memory, GB"]}
    return pd.DataFrame(list(lines.values()))
