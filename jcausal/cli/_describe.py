"""`jcausal describe FILE`: what a file holds, before anything is estimated."""

import argparse

import numpy as np
import pandas as pd

import jcausal as jc
from jcausal.cli._estimate import read_columns

THIN = 0.5  # overlap below this is worth a line


def describe(options: argparse.Namespace) -> None:
    """Print kinds, missing values, arms and overlap."""
    frame = read_columns(options)
    table = jc.describe(
        frame,
        treatment=options.treatment,
        outcome=options.outcome,
        covariates=options.covariates,
        categorical=options.categorical,
        weight=options.weight,
    )
    print(
        f"{options.file}: {len(frame):,} rows, {table.attrs['complete']:,} without a missing value"
    )
    if options.treatment is not None:
        known = table.attrs["treated"] + table.attrs["control"]
        print(
            f"arms: {table.attrs['treated']:,} treated, {table.attrs['control']:,} controls"
            + (f", {len(frame) - known:,} unknown" if known < len(frame) else "")
        )
    print(f"\n{_printed(table)}")
    for line in _warnings(table, len(frame)):
        print(line)


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
    return "" if np.isnan(value) else jc.data.number_in_words(value)


def _warnings(table: pd.DataFrame, rows: int) -> list[str]:
    """What would stop an estimate, or weaken it."""
    covariates, lines = table[table["role"] == "covariate"], []
    text = covariates.index[covariates["kind"] == "text"]
    if len(text):
        lines.append(f"text: name {', '.join(text)} under --categorical, or leave it out.")
    every = covariates.index[(covariates["distinct"] == rows) & (covariates["kind"] != "number")]
    if len(every):
        lines.append(f"one value a row: {', '.join(every)}; an id is no covariate (--id).")
    constant = covariates.index[covariates["distinct"] <= 1]
    if len(constant):
        lines.append(f"constant: {', '.join(constant)}; leave it out of --covariates.")
    gaps = table.index[table["missing"] > 0]
    if len(gaps):
        lines.append(f"missing values: {', '.join(gaps)}; see --missing drop or indicator.")
    if "overlap" in table:
        thin = covariates[covariates["overlap"] < THIN].index
        if len(thin):
            lines.append(f"thin overlap (below {THIN}): {', '.join(thin)}.")
        alone = covariates[covariates["outside"] > 0]
        lines += [
            f"{int(count):,} treated have a {name} that no control has, or that lies beyond theirs."
            for name, count in alone["outside"].items()
        ]
    return ["", *lines] if lines else []
