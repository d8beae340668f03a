"""The M5 methods: the paper's case study, simulated data, parts taken away, time, speed."""

import argparse
import warnings
from typing import Any

import pandas as pd

import jcausal as jc
from bench import _m5_cdc, _m5_methods, _m5_simulated, _m5_speed, _m5_time
from bench._keep import keep, markdown
from jcausal.matching.trees import TreeWarning

PARTS = ("cdc", "defaults", "simulated", "ablations", "time", "speed")
RUNS = {"cdc": 30, "defaults": 20, "simulated": 30, "ablations": 30}
QUICK_CONTROLS = 4000
PROCESSES = tuple(row.process for row in _m5_simulated.ROWS)


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    warnings.simplefilter("ignore", jc.FitWarning)
    warnings.simplefilter("ignore", TreeWarning)  # the tables tell how many leaves there are
    run = dict(
        cdc=_cdc_part,
        defaults=_defaults_part,
        simulated=_simulated_part,
        ablations=_ablations_part,
        time=_time_part,
        speed=_speed_part,
    )
    for part in PARTS:
        if part in options.parts:
            run[part](options)


def _runs(options: argparse.Namespace, part: str) -> int:
    return 2 if options.quick else options.runs or RUNS[part]


def _keep(options: argparse.Namespace, part: str, text: str, data: dict[str, Any]) -> str:
    """Write a part's page, with the command that makes it again."""
    words = ["python -m bench m5 --parts", part]
    if options.quick:
        words.append("--quick")
    elif part in RUNS and options.runs:
        words.append(f"--runs {options.runs}")
    some = list(options.rows) if part == "defaults" and options.rows else []
    words += ["--rows", *some] if some else []
    name = "-".join(["m5", part, *(row.replace("/", "-") for row in some)])
    name += "-quick" if options.quick else ""
    return keep(options.out, name, " ".join(words), text, data)


def _rows(options: argparse.Namespace) -> tuple[_m5_simulated.Row, ...]:
    """The processes that are asked for; without --rows all, or a few."""
    every = _m5_simulated.FEW if options.quick else _m5_simulated.ROWS
    return tuple(row for row in every if not options.rows or row.process in options.rows)


def _cdc_part(options: argparse.Namespace) -> None:
    controls, page = QUICK_CONTROLS if options.quick else None, ""
    for records, compiled in _m5_cdc.collect(_runs(options, "cdc"), controls):
        some = "all 241,599" if controls is None else f"{controls:,}"
        text = (
            f"# Health indicators of 2015: draws of {_m5_cdc.TREATED} treated with {some} controls"
            f"\n\n**{_m5_cdc.NO_EFFECT}**\n\n"
            "Treated: poor health (GenHlth 5). Outcome: diabetes, 0 or 1. 20 covariates, 27 "
            "features (see `jc.datasets.diabetes`). Seconds are from the sample to the ATT: the "
            "tree is grown anew for each draw; compile time apart (the first call beyond the "
            "second). The paper's seconds are of a quad-core i5 and Gurobi.\n\n"
            f"{markdown(_m5_cdc.summary(records, compiled))}\n\n"
            "## Balance after matching, means over the draws\n\n"
            "|SMD| and VR over the matched data as the paper defines them: (9), (10).\n\n"
            f"{markdown(_m5_cdc.balance_table(records))}\n\n"
            f"## ATT and 95% interval of each draw\n\n{_m5_cdc.NO_EFFECT}\n\n"
            f"{markdown(_m5_cdc.draws_table(records))}"
        )
        kept = dict(note=_m5_cdc.NO_EFFECT, compile=compiled, rows=records.to_dict("records"))
        page = _keep(options, "cdc", text, kept)
    print(page, flush=True)


def _defaults_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "defaults"), ""
    rows = _rows(options)
    job = _m5_simulated.compare_defaults
    for records in _m5_simulated.collect(job, rows, runs, options.workers):
        found = _m5_simulated.table(records, dict(seconds="s, median"))
        text = (
            f"# The library's defaults on the M5 processes, {runs} runs\n\n"
            "Errors of the ATT (in brackets: the standard error of the mean), and coverage of 95% "
            "Abadie-Imbens intervals (AIPW: its own). The processes are `jc.simulate.m5`. AHB: "
            "level boxes with BoostedTrees; effects are adjusted by the surface, those of M5Match "
            "by its leaf's regression, unless it says plain means.\n\n"
            f"{markdown(found)}"
        )
        page = _keep(options, "defaults", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _simulated_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "simulated"), ""
    rows = _m5_simulated.FEW if options.quick else _m5_simulated.ROWS
    for records in _m5_simulated.collect(_m5_simulated.compare, rows, runs, options.workers):
        found = _m5_simulated.table(records, dict(seconds="s, median"))
        text = (
            f"# M5Match, M5Model and others on simulated data, {runs} runs\n\n"
            "Errors of the ATT (in brackets: the standard error of the mean), and coverage of 95% "
            "intervals. The processes are `jc.simulate.m5`, ours: the paper's are not public. "
            "M5Match has k = 10, the tree of first_passing and the weighted metric if not told "
            "otherwise. Only AHB and M5Match by those names alone are adjusted. "
            f"Fast AHB has gamma1 = 0 and levels = {_m5_methods.LEVELS}; IPTW and "
            "1-NN are a few lines of the bench with scikit-learn's logistic regression, linear "
            "in the covariates. Seconds: medians over the runs.\n\n"
            f"{markdown(found)}"
        )
        page = _keep(options, "simulated", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _ablations_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "ablations"), ""
    rows = _m5_simulated.FEW if options.quick else _m5_simulated.TAKEN
    measures = dict(smd="largest SMD", ok="share of covariates balanced", leaves="leaves")
    for records in _m5_simulated.collect(_m5_simulated.take_away, rows, runs, options.workers):
        found = _m5_simulated.table(records, measures)
        text = (
            f"# M5Match with parts taken away, {runs} runs\n\n"
            "No tree: everything is one leaf. No subset search: all of the k = 10 nearest. "
            "Full-sample tree: grown on treated and controls alike. Regressions of the leaves: "
            "M5Model, of the controls in the leaves of either tree. s1/conf and s3 have "
            "covariate shift, s1/rand has none. Balanced: |SMD| below .1 and variance ratio within "
            ".5 to 2 (see `jc.balance`); largest SMD, this share and leaves: medians over the runs."
            f"\n\n{markdown(found)}"
        )
        page = _keep(options, "ablations", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _time_part(options: argparse.Namespace) -> None:
    sizes, page = _m5_time.FEW if options.quick else _m5_time.SIZES, ""
    for found in _m5_time.collect(sizes):
        text = (
            "# Seconds of the M5 methods by units and covariates\n\n"
            f"Five covariates with distinct values, the others coins; {_m5_time.TREATED} treated. "
            "Each from the sample to the ATT, the tree included; medians of later calls, the first "
            f"call's excess is compile time.\n\n{markdown(found)}"
        )
        page = _keep(options, "time", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _speed_part(options: argparse.Namespace) -> None:
    quick, page = options.quick, ""
    titles: dict[str, pd.DataFrame] = {}
    controls = QUICK_CONTROLS if quick else None
    queries, few = (200, 3) if quick else (10_000, 30)
    for title, make in (
        (
            "One draw of the case study: the tree, M5Model and M5Match (each with its tree)",
            lambda: _on_its_side(_m5_speed.one_draw(controls)),
        ),
        ("Subset search", lambda: _m5_speed.subsets(queries, 12)),
        (
            "Subset search beside the same programs by HiGHS on one thread",
            lambda: _m5_speed.against_programs(queries, few),
        ),
        ("Trees of many data sets", lambda: _m5_speed.many_trees(4 if quick else 100)),
        (f"Doubling the units, at most {_m5_speed.DOUBLE:g} times", lambda: _doubled(quick)),
    ):
        titles[title] = make()
        body = "\n\n".join(f"## {name}\n\n{markdown(found)}" for name, found in titles.items())
        text = (
            "# Speed of the M5 methods\n\nCompile time apart: the first call beyond the median of "
            f"the next ones. Memory: the most that the process held.\n\n{body}"
        )
        kept = {name: found.to_dict("records") for name, found in titles.items()}
        page = _keep(options, "speed", text, kept)
    print(page, flush=True)


def _on_its_side(found: pd.DataFrame) -> pd.DataFrame:
    """A wide table on its side: one line a measure."""
    turned = found.set_index("split_search").T.reset_index(names="measure")
    return turned.astype(object)


def _doubled(quick: bool) -> pd.DataFrame:
    parts = _m5_speed.doubling(quick)
    return pd.concat([found.assign(data=name) for name, found in parts.items()], ignore_index=True)
