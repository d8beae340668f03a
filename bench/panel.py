"""Completed panels: errors against size, coverage, Proposition 99, shares treated, time."""

import argparse
from typing import Any

from bench import (
    _panel_coverage,
    _panel_errors,
    _panel_prop99,
    _panel_shares,
    _panel_time,
)
from bench._keep import keep, markdown

PARTS = ("errors", "coverage", "prop99", "shares", "time")
RUNS = {"errors": 10, "coverage": 200, "shares": 10}


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    run = dict(
        errors=_errors_part,
        coverage=_coverage_part,
        prop99=_prop99_part,
        shares=_shares_part,
        time=_time_part,
    )
    for part in PARTS:
        if part in options.parts:
            run[part](options)


def _runs(options: argparse.Namespace, part: str) -> int:
    return 2 if options.quick else options.runs or RUNS[part]


def _keep(options: argparse.Namespace, part: str, text: str, data: dict[str, Any]) -> str:
    """Write a part's page, with the command that makes it again."""
    words = ["python -m bench panel --parts", part]
    if options.quick:
        words.append("--quick")
    elif part in RUNS and options.runs:
        words.append(f"--runs {options.runs}")
    name = f"panel-{part}" + ("-quick" if options.quick else "")
    return keep(options.out, name, " ".join(words), text, data)


def _errors_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "errors"), ""
    sizes = _panel_errors.FEW if options.quick else _panel_errors.SIZES
    for records in _panel_errors.collect(sizes, runs):
        found, slopes = _panel_errors.table(records), _panel_errors.slopes(records)
        text = (
            f"# Errors of unit trajectories and unit effects, {runs} runs\n\n"
            "`jc.simulate.low_rank_panel`: rank 3 and a constant in each arm, bounded noise of "
            "standard deviation 0.5, units treated with probabilities of their own from .3 to .7; "
            f"with nu = {_panel_errors.STRAY:g} they stray within a unit. A row's error is "
            "|effect - truth|_2 / sqrt(m); the theorem's rate, without constants and logs, is "
            "sqrt(1/n + n/m^2). Means over runs; in brackets the standard error. Methods that are "
            "not in a line were not given panels of that size. USVT's threshold is for outcomes "
            "that fill their range: a rank of 0 completes them by one number.\n\n"
            f"{markdown(found)}\n\n## Slopes over the square sizes\n\n{markdown(slopes)}"
        )
        kept = {"rows": found.to_dict("records"), "slopes": slopes.to_dict("records")}
        page = _keep(options, "errors", text, kept)
    print(page, flush=True)


def _coverage_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "coverage"), ""
    for records in _panel_coverage.collect(runs):
        found = _panel_coverage.table(records)
        done = len(records) // len(_panel_coverage.QUESTIONS)
        text = (
            f"# Coverage of 95% intervals of panels, {done} runs of {_panel_coverage.N} x "
            f"{_panel_coverage.M}\n\n"
            "`jc.simulate.low_rank_panel`. In brackets the standard error over runs (units of one "
            'are dependent). "These times", units, cells: the mean effect over the panel\'s own; '
            '"population": the constant between the arms, which is the mean over new times or '
            f"units.\n\n{markdown(found)}"
        )
        page = _keep(options, "coverage", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _prop99_part(options: argparse.Namespace) -> None:
    page = ""
    for found, years in _panel_prop99.collect(options.quick):
        text = (
            "# Proposition 99: California's cigarette sales against no law, packs per head\n\n"
            "Published: Arkhangelsky et al. (2021), table 1, with standard errors by placebos. "
            "Abadie, Diamond and Hainmueller (2010), with covariates: some 26 packs fewer by 2000. "
            "p: the share of 38 placebo states and California with an effect, or a ratio of root "
            "mean squared gaps after and before, as large, with California in the pool as if "
            "without the law; 1/39 = .0256 is the least. The error is without it. Seconds of "
            f"the first call, compilation included.\n\n{markdown(found)}\n\n## Gaps by year\n\n"
            f"{markdown(years)}"
        )
        kept = {"rows": found.to_dict("records"), "years": years.to_dict("records")}
        page = _keep(options, "prop99", text, kept)
    print(page, flush=True)


def _shares_part(options: argparse.Namespace) -> None:
    runs, page = _runs(options, "shares"), ""
    for records in _panel_shares.collect(runs, options.quick):
        found = _panel_shares.table(records)
        size = "40 x 40" if options.quick else f"{_panel_shares.N} x {_panel_shares.M}"
        text = (
            f"# Units likelier to be treated the higher their outcomes, {runs} runs of {size}\n\n"
            "Outcomes as in `jc.simulate.low_rank_panel`; a unit's probability of treatment is a "
            "logistic function of its mean outcome without treatment. Errors are against the "
            f"noiseless effect of every cell.\n\n{markdown(found)}"
        )
        page = _keep(options, "shares", text, {"rows": found.to_dict("records")})
    print(page, flush=True)


def _time_part(options: argparse.Namespace) -> None:
    quick, page = options.quick, ""
    for found in _panel_time.spectral(_panel_time.FEW if quick else _panel_time.LARGE):
        body = markdown(found)
        page = _time_page(options, body, found.to_dict("records"))
    size, count = (40, 4) if quick else (500, 200)
    path = _panel_time.path(size, 5 if quick else 30)
    body += f"\n\n## MCNNM's path without cross-validation\n\n{markdown(path)}"
    page = _time_page(options, body, found.to_dict("records"))
    many = _panel_time.many(count, 30 if quick else 100)
    body += f"\n\n## Many panels: RowScaledSpectral(rank=3)\n\n{markdown(many)}"
    page = _time_page(options, body, found.to_dict("records"))
    print(page, flush=True)


def _time_page(options: argparse.Namespace, body: str, rows: list[dict[str, Any]]) -> str:
    text = (
        "# Time and memory of completed panels\n\nCompile time apart: the first call beyond the "
        "median of the next ones. A machine with a GPU adds 100,000 x 1,000.\n\n"
        f"## RowScaledSpectral(rank=10)\n\n{body}"
    )
    return _keep(options, "time", text, {"rows": rows})
