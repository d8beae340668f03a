"""Long frames in: one row a unit and time."""

import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from jaxtyping import Float

from jcausal.data import (
    DataError,
    FrameKind,
    arms,
    as_labels,
    as_numbers,
    check_finite,
    check_name,
    check_names,
    check_one_way,
    label_in_words,
    open_frame,
    read_column,
    read_labels,
    rows_in_words,
)
from jcausal.panels._checked_arrays import check_arms, check_covariate, check_size, values_in_words
from jcausal.panels._time_order import numbers_of, time_order

Missing = Literal["error", "drop"]


class PanelColumns(NamedTuple):
    """The names of the columns that a panel is made from, by what they hold."""

    unit: str
    time: str
    outcome: str
    treatment: str
    covariates: Sequence[str]


def read_panel(
    frame: Any, columns: PanelColumns, missing: Missing, treated: object = None
) -> tuple[dict[str, Any], FrameKind]:
    """The arguments of `Panel` from the columns of a long frame, and the kind of frame."""
    if missing not in ("error", "drop"):
        raise ValueError(f"missing is {missing!r}: use 'error' or 'drop'.")
    columns = _checked_names(columns)
    table, home = open_frame(frame)
    _check_columns([*columns[:4], *columns.covariates], list(table.columns))
    units, row = _labels(table, "unit", columns.unit)
    times, column = _labels(table, "time", columns.time)
    values = _values(table, columns, treated)
    keep = _kept(values, missing)
    row, column = row[keep], column[keep]
    _check_pairs(row, column, np.flatnonzero(keep), (units, times))
    _check_values(values, keep, columns)
    kept_units, row = np.unique(row, return_inverse=True)  # some may have lost every row
    kept_times, column = np.unique(column, return_inverse=True)
    _warn_lost("unit", units, kept_units)
    _warn_lost("time", times, kept_times)

    def wide(flat: np.ndarray, fill: float = 0) -> Float[np.ndarray, "n m"]:
        matrix = np.full((kept_units.size, kept_times.size), float(fill))
        matrix[row, column] = flat
        return matrix

    cube = [wide(values[name][keep], np.nan) for name in columns.covariates]
    arguments = dict(
        y=wide(values[columns.outcome][keep]),
        d=wide(values[columns.treatment][keep]),
        mask=wide(np.ones(row.size)),
        covariates=np.stack(cube, axis=2) if cube else None,
        unit=units[kept_units],
        time=times[kept_times],
        outcome=columns.outcome,
    )
    return arguments, home


def _checked_names(columns: PanelColumns) -> PanelColumns:
    roles = {word: check_name(word, getattr(columns, word)) for word in columns._fields[:4]}
    return PanelColumns(**roles, covariates=check_names("covariates", columns.covariates))


def _values(table: Any, columns: PanelColumns, treated: object) -> dict[str, np.ndarray]:
    """Outcome, treatment and covariates as numbers, NaN where they are missing."""
    values = {columns.outcome: _numbers(table, columns.outcome, "outcome")}
    values[columns.treatment] = _arms(table, columns.treatment, treated)
    return values | {name: _numbers(table, name, "covariate") for name in columns.covariates}


def _check_values(values: dict[str, np.ndarray], keep: np.ndarray, columns: PanelColumns) -> None:
    _check_binary(values[columns.treatment], keep, columns.treatment)
    check_size(f"outcome {columns.outcome!r}", values[columns.outcome][keep])
    for name in columns.covariates:
        check_covariate(repr(name), values[name][keep])


def _check_columns(names: list[str], columns: list[str]) -> None:
    for name in names:
        if name not in columns:
            near = get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(columns)}."
            raise DataError(f"there is no column {name!r}: {hint}")
        if names.count(name) > 1:
            raise DataError(f"column {name!r} has two roles: a column is used once.")


def _labels(table: Any, what: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The labels in order, and each row's place among them."""
    column = read_labels(table[name])
    if column.missing.any():
        rows = np.flatnonzero(column.missing)
        raise DataError(
            f"{what} {name!r} is missing in {rows.size} of {column.missing.size} rows "
            f"({rows_in_words(rows)}): every row needs its {what}."
        )
    values = as_labels(f"{what} {name!r}", column.values)
    order = _order(table[name])
    if order is not None:
        known = {label: place for place, label in enumerate(order)}
        place = np.array([known[v] for v in values.tolist()])
        kept, place = np.unique(place, return_inverse=True)
        return np.asarray(order)[kept], place
    if values.dtype.kind == "O" and all(isinstance(v, str) for v in values):
        values = values.astype(str)
    if values.dtype.kind == "O":
        places, distinct = pd.factorize(values)
        check_one_way(f"{what} {name!r}", values, places, distinct.tolist())
    try:
        labels, first, place = np.unique(values, return_index=True, return_inverse=True)
    except TypeError as error:
        raise DataError(f"{what} {name!r} holds labels that have no order ({error}).") from None
    if labels.dtype.kind == "U":
        places = _order_of_words(what, name, labels, first)
        labels, place = labels[places], np.argsort(places)[place]
    return labels, place.ravel()


def _order_of_words(what: str, name: str, labels: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Times as they follow each other; units as numbers if they are, else by their letters."""
    if what == "time":
        return time_order(name, labels.tolist(), first)
    numbers = numbers_of(labels.tolist())
    return np.argsort(labels if numbers is None else numbers, kind="stable")


def _order(series: nw.Series) -> list | None:
    """The categories of a column that brings their order along."""
    dtype = series.dtype
    return list(dtype.categories) if isinstance(dtype, nw.Enum) else None


def _arms(table: Any, name: str, treated: object) -> np.ndarray:
    """The treatment as 1, 0 and NaN."""
    column = read_column(table[name])
    if column.holds == "times":
        raise DataError(f"treatment {name!r} holds dates or times: code treated 1, others 0.")
    return arms(f"treatment {name!r}", column.values, treated)


def _numbers(table: Any, name: str, word: str) -> np.ndarray:
    column = read_column(table[name])
    if column.holds == "times":
        raise DataError(f"{word} {name!r} holds dates or times: make it a number.")
    whole = column.values if column.exact is None else column.exact
    return as_numbers(f"{word} {name!r}", whole)


def _kept(values: dict[str, np.ndarray], missing: Missing) -> np.ndarray:
    """Which rows are observed; refuses or warns of missing values."""
    keep = np.ones(next(iter(values.values())).size, bool)
    for name, column in values.items():
        hole = np.isnan(column)
        check_finite(f"column {name!r}", np.where(hole, 0, column), ~hole)
        if hole.any() and missing == "error":
            rows = np.flatnonzero(hole)
            raise DataError(
                f"column {name!r} is missing (null or NaN) in {rows.size} of {hole.size} rows "
                f"({rows_in_words(rows)}): fill them, or count these rows as not observed with "
                "missing='drop'."
            )
        keep &= ~hole
    if not keep.any():
        raise DataError(f"each of the {keep.size} rows has a missing value: nothing is left.")
    if not keep.all():
        rows = np.flatnonzero(~keep)
        warnings.warn(
            f"{rows.size} of {keep.size} rows have missing values ({rows_in_words(rows)}): they "
            "count as not observed.",
            stacklevel=4,
        )
    return keep


def _warn_lost(what: str, labels: np.ndarray, kept: np.ndarray) -> None:
    """Name units or times that lost every row."""
    lost = np.delete(labels, kept)
    if lost.size:
        listed = ", ".join(map(label_in_words, lost[:5])) + (" ..." if lost.size > 5 else "")
        warnings.warn(
            f"{lost.size} of {labels.size} {what}s have no row left and are not in the panel "
            f"({listed}).",
            stacklevel=4,
        )


def _check_pairs(
    row: np.ndarray, column: np.ndarray, place: np.ndarray, labels: tuple[np.ndarray, np.ndarray]
) -> None:
    """A unit has one row a time."""
    code = row.astype(np.int64) * labels[1].size + column
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    twice = counts > 1
    if twice.any():
        at = first[twice].min()
        rows = place[np.flatnonzero(code == code[at])]
        raise DataError(
            f"{int(twice.sum())} pairs of unit and time stand in more than one row, first unit "
            f"{label_in_words(labels[0][row[at]])} at {label_in_words(labels[1][column[at]])} "
            f"({rows_in_words(rows)}): keep one row a unit and time."
        )


def _check_binary(d: np.ndarray, keep: np.ndarray, name: str) -> None:
    other = np.flatnonzero(keep & (d != 0) & (d != 1))
    if other.size:
        seen = sorted(set(d[keep].tolist()))
        raise DataError(
            f"treatment {name!r} is neither 0 nor 1 in {other.size} of {keep.sum()} rows "
            f"({rows_in_words(other)}; its values are {values_in_words(seen)}): code treated 1, "
            "others 0."
        )
    check_arms(repr(name), d[keep])
