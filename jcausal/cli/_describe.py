"""`jcausal describe FILE`: what a file holds, before anything is estimated."""

import argparse

import numpy as np
import pandas as pd

from jcausal.cli._estimate import read_columns
from jcausal.cli._terminal import Bar, tell
from jcausal.data import number_in_words
from jcausal.diagnostics import describe as described

THIN = 0.5  # overlap below this is worth a line


def describe(options: argparse.Namespace, bar: Bar) -> None:
    """Print kinds, missing values, arms and overlap."""
    bar("reading", 0, 1)
    frame = read_columns(options)
    apart = [name for name in (options.id, options.cluster) if name is not None]
    frame = frame.drop(columns=[name for name in apart if name not in (options.covariates or ())])
    bar("arms and overlap", 0, 1)
    table = described(
        frame,
        treatment=options.treatment,
        outcome=options.outcome,
        covariates=options.covariates,
        categorical=options.categorical,
        weight=options.weight,
    )
    bar.close()
    whole = f"{table.attrs['complete']:,} without a missing value"
    lines = [f"{options.file}: {len(frame):,} rows, {whole}"]
    if options.treatment is not None:
        known = table.attrs["treated"] + table.attrs["control"]
        lines.append(
            f"arms: {table.attrs['treated']:,} treated, {table.attrs['control']:,} controls"
            + (f", {len(frame) - known:,} unknown" if known < len(frame) else "")
        )
    tell("\n".join([*lines, "", _printed(table), *_warnings(table, frame)]))


def _printed(table: pd.DataFrame) -> str:
    shown = table.copy()
    for column in shown.columns.intersection(["mean", "sd", "mean_treated", "mean_control"]):
        shown[column] = [_short(v) for v in shown[column]]
    for column in shown.columns.intersection(["smd", "overlap"]):
        shown[column] = ["" if np.isnan(v) else f"{v:.2f}" for v in shown[column]]
    if "outside" in shown:
        shown["outside"] = ["" if np.isnan(v) else f"{v:.0f}" for v in shown["outside"]]
    return shown.rename_axis(None).to_string()


def _short(value: float) -> str:
    return "" if np.isnan(value) else number_in_words(value)


def _warnings(table: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    """What would stop an estimate, or weaken it."""
    rows = len(frame)
    seen = [dict(row, name=name) for name, row in table.to_dict(orient="index").items()]
    covariates, lines = [row for row in seen if row["role"] == "covariate"], []

    def listed(rows: list[dict]) -> str:
        return ", ".join(str(row["name"]) for row in rows)

    every = [r for r in covariates if r["distinct"] == rows and not _measured(r, frame)]
    if every:
        lines.append(f"one value a row: {listed(every)}; an id is no covariate (--id).")
    times = [r for r in covariates if r["kind"] in ("time", "mixed")]
    if times:
        lines.append(f"neither numbers nor text: {listed(times)}; convert it, or leave it out.")
    text = [r for r in covariates if r["kind"] == "text" and r not in every]
    if text:
        lines.append(f"text: name {listed(text)} under --categorical, or leave it out.")
    constant = [r for r in covariates if r["distinct"] <= 1]
    if constant:
        lines.append(f"constant: {listed(constant)}; leave it out of --covariates.")
    gaps = [r for r in seen if r["missing"] > 0]
    if gaps:
        lines.append(f"missing values: {listed(gaps)}; see --missing drop or indicator.")
    thin = [r for r in covariates if r.get("overlap", 1) < THIN]
    if thin:
        lines.append(f"thin overlap (below {THIN}): {listed(thin)}.")
    lines += [
        f"{r['outside']:,.0f} treated beyond all controls, or in a level without one: {r['name']}."
        for r in covariates
        if r.get("outside", 0) > 0
    ]
    return ["", *lines] if lines else []


def _measured(row: dict, frame: pd.DataFrame) -> bool:
    """Whether a column holds measurements rather than a number for each row."""
    if row["kind"] != "number":
        return False
    values = np.asarray(frame[row["name"]], float)
    return bool((values != np.round(values)).any())
