"""Exact AHB beside its paper: its engines, Tables 2 and 4 to 7, its floor, LaLonde."""

import argparse
import warnings
from functools import partial
from typing import Any

import pandas as pd

import jcausal as jc
from bench import _engines, _floor, _lalonde_exact, _pruned, _stacks, _table2, _tables
from bench._keep import keep, markdown
from bench._published import PRUNED

TABLES = ("table2", "table5", "table6", "table7")
PARTS = ("engines", "pruned", *TABLES, "floor", "lalonde")
RUNS = {"pruned": 5, **dict.fromkeys(TABLES, 10), "floor": 20}


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    warnings.simplefilter("ignore", jc.FitWarning)  # None/Const has a surface that explains nothing
    run = dict(
        engines=_engines_part,
        pruned=_pruned_part,
        **{part: partial(_table_part, part) for part in TABLES},
        floor=_floor_part,
        lalonde=_lalonde_part,
    )
    for part in PARTS:
        if part in options.parts:
            run[part](options)


def _runs(options: argparse.Namespace, part: str) -> int:
    return 2 if options.quick else options.runs or RUNS[part]


def _keep(options: argparse.Namespace, part: str, text: str, data: dict[str, Any]) -> str:
    """Write a part's page, with the command that makes it again."""
    words = ["python -m bench exact --parts", part]
    if options.quick:
        words.append("--quick")
    elif part in RUNS and options.runs:
        words.append(f"--runs {options.runs}")
    elif part == "lalonde" and options.partitions != 20:
        words.append(f"--partitions {options.partitions}")
    if part == "engines" and (options.units, options.limit) != (24, 60.0):
        words.append(f"--units {options.units} --limit {options.limit:g}")
    name = f"exact-{part}" + ("-quick" if options.quick else "")
    return keep(options.out, name, " ".join(words), text, data)


def _engines_part(options: argparse.Namespace) -> None:
    sizes = _engines.FEW if options.quick else _engines.SIZES
    page = ""
    for found in _engines.collect(sizes, options.units, options.limit):
        text = (
            "# Exact AHB by its engines\n\nUniform covariates; surfaces that are the process in "
            "all covariates, or in two; the first treated units. Seconds a unit, compile time "
            "apart: of the search all together; of the programs "
            f"(up to {_engines.FEW_UNITS} units) one by one on one thread, building them included, "
            f"at most {options.limit:g} s each, and no further than the first unit that is not "
            "proven. No units: proved nothing at a smaller size, and was not run. Where the search "
            "left nothing, auto is the search. The ladder's objective: of its unit that is most "
            "above auto's."
            f"\n\n{markdown(_engines.table(found))}\n\n## Every engine\n\n"
            f"{markdown(found.drop(columns='objectives'))}"
        )
        page = _keep(options, "engines", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _pruned_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "pruned"), ""
    rows = tuple(PRUNED)[:1] if options.quick else tuple(PRUNED)
    for records in _pruned.collect(rows, runs):
        found = _pruned.table(records)
        text = (
            f"# Table 4 of the AHB paper, {runs} runs\n\n"
            "Mean absolute error of the effects of all 300 units that are matched, in the "
            "outcome's units, and seconds to match them all, compile time and surfaces apart "
            "(the second of two equal calls). The paper names neither the number of covariates nor "
            "the effect nor the scale: taken are Table 2's processes with two covariates and a "
            f"constant effect, in both readings (see `jc.simulate`), {_pruned.UNITS} units, half "
            "of them for the surfaces (BART, 200 trees, 100 draws), and effects by tau a. L is the "
            f"sum of both predictions' distances in the outcome's units; {_pruned.APART:g} of the "
            "weighted distance, in which the search works, is the line below it. The paper's "
            "seconds are those of CPLEX on a laptop.\n\n"
            f"{markdown(found)}"
        )
        page = _keep(options, "pruned", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _table_part(part: str, options: argparse.Namespace) -> None:
    runs, page = _runs(options, part), ""
    number = part.removeprefix("table")
    names = tuple(name for name in _tables.ROWS if name.startswith(f"{number}:"))
    for records in _tables.collect(names[:1] if options.quick else names, runs, options.workers):
        page = _table_page(part, records, runs, options)
    print(page, flush=True)


def _table_page(part: str, records: pd.DataFrame, runs: int, options: argparse.Namespace) -> str:
    text = (
        f"# Table {part.removeprefix('table')} of the AHB paper, {runs} runs\n\n"
        "Mean absolute error of the treated's effects over ATT (in brackets: the standard "
        "deviation of a 10-run mean). Readings, paper or scripts: see `jc.simulate`. Surfaces: "
        "BART of 200 trees and 100 draws on 400 units; the other 200 are matched, effects by tau "
        "a, all methods on the same surface. `is` compares Exact AHB with the paper's MIP under "
        "the better reading: as good is within 2.6 standard deviations of a 10-run mean. Best "
        f"other: of the paper's other matching methods. {_tables.SAID[part]}\n\n"
        f"{markdown(_tables.table(records))}\n\n"
        "## Proofs, groups, and Fast AHB's groups beside the exact ones\n\nGroups: units, the "
        "treated unit included, median over units, then over runs. Mutual membership is the "
        "paper's (the larger of the shares of either group in the other; about .8 there, 1 on "
        "discrete data), and is 1 where a group holds the other: hence the Jaccard index. Medians "
        f"over units, means over runs.\n\n{markdown(_tables.details(records))}"
    )
    return _keep(options, part, text, _table2.summary(records))


def _floor_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "floor"), ""
    rows = _floor.ROWS[:2] if options.quick else _floor.ROWS
    jobs = [(row, _floor.READING) for row in rows]
    for records in _table2.collect(jobs, runs, _floor.SETTINGS, options.workers):
        text = (
            f"# The floor of Exact AHB on Table 2, {runs} runs\n\n"
            "Mean absolute error of the treated's effects over ATT, tau a, reading "
            f'"{_floor.READING}".\n\n{markdown(_floor.table(records, "error"))}\n\n'
            "## Controls in a group\n\nMedian over units, mean over runs.\n\n"
            f"{markdown(_floor.table(records, 'size'))}"
        )
        page = _keep(options, "floor", text, _table2.summary(records))
    print(page, flush=True)


def _lalonde_part(options: argparse.Namespace) -> None:
    partitions = 2 if options.quick else options.partitions
    controls = ("psid",) if options.quick else ("psid", "cps")
    asked = stacked = pd.DataFrame()
    page = ""
    for asked in _lalonde_exact.collect(controls, partitions):
        page = _lalonde_page(asked, stacked, partitions, options)
    lacking = _stacks.missing()
    if lacking:
        print(f"  three files as one: left out, {', '.join(lacking)} not found in ../shared/data")
    else:
        for stacked in _stacks.collect(controls, partitions):
            page = _lalonde_page(asked, stacked, partitions, options)
    print(page, flush=True)


def _lalonde_page(
    asked: pd.DataFrame, stacked: pd.DataFrame, partitions: int, options: argparse.Namespace
) -> str:
    parts = [
        f"# LaLonde by Exact AHB, {partitions} random partitions",
        f"ATT in dollars (gamma0 7.5, gamma1 0; looking at the {_lalonde_exact.NEAREST} nearest of "
        f"either arm, or at everybody, {_lalonde_exact.NODES:,} nodes a unit): 185 treated men. "
        "A box that is the best for the nearest may hold many others, "
        "which it was not charged for: see the median number of controls. The experiment's own "
        "estimate has a standard error of 671: anything from 900 to 2,700 agrees with it, and the "
        "distance to it ranks nothing.",
        markdown(asked.drop(columns="every")),
    ]
    if len(stacked):
        parts += [
            "## Three files of controls as one",
            "What the paper's 1,720 (CPS) and 1,762 (PSID) are: CPS-1, 2 and 3 as one table, and "
            "PSID-1 twice with PSID-3, four fifths of the controls for the surface. Ours: all "
            "treated in one call, as above. As the scripts: every treated unit alone with its "
            f"{_lalonde_exact.NEAREST} nearest controls, their predictions' standard deviation as "
            "the scale. Without the best: without those whose objective, which the scripts "
            "maximise, is at or above its 95th percentile, as the scripts do.",
            markdown(stacked.drop(columns="every")),
        ]
    kept = dict(rows=asked.to_dict("records"), stacked=stacked.to_dict("records"))
    return _keep(options, "lalonde", "\n\n".join(parts), kept)
