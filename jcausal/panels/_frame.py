"""Long frames in: one row a unit and time."""

import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd

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
from jcausal.panels._check import check_arms, check_covariate, check_size
from jcausal.panels._order import check_in_order, time_order

Missing = Literal["error", "drop"]


def read_panel(
    frame: Any,
    roles: tuple[str, str, str, str],
    covariates: Sequence[str],
    missing: Missing,
    treated: object = None,
) -> tuple[dict[str, Any], FrameKind]:
    """The arguments of `Panel` from the columns of a long frame, and the kind of frame."""
    if missing not in ("error", "drop"):
        raise ValueError(f"missing is {missing!r}: use 'error' or 'drop'.")
    words = ("unit", "time", "outcome", "treatment")
    unit, time, outcome, treatment = (check_name(word, name) for word, name in zip(words, roles))
    covariates = check_names("covariates", covariates)
    table, home = open_frame(frame)
    _check_columns([unit, time, outcome, treatment, *covariates], list(table.columns))
    units, row = _labels(table, "unit", unit)
    times, column = _labels(table, "time", time)
    values = {outcome: _numbers(table, outcome, "outcome")}
    values[treatment] = _arms(table, treatment, treated)
    values |= {name: _numbers(table, name, "covariate") for name in covariates}
    keep = _kept(values, missing)
    _check_pairs(row[keep], column[keep], np.flatnonzero(keep), (units, times))
    _check_binary(values[treatment], keep, treatment)
    check_size(f"outcome {outcome!r}", values[outcome][keep])
    for name in covariates:
        check_covariate(repr(name), values[name][keep])
    kept_units, row = np.unique(row[keep], return_inverse=True)  # some may have lost every row
    kept_times, column = np.unique(column[keep], return_inverse=True)
    _warn_lost("unit", units, kept_units)
    _warn_lost("time", times, kept_times)
    shape = (kept_units.size, kept_times.size)

    def wide(flat: np.ndarray, fill: float = 0) -> np.ndarray:
        matrix = np.full(shape, float(fill))
        matrix[row, column] = flat
        return matrix

    cube = [wide(values[name][keep], np.nan) for name in covariates]
    arguments = dict(
        y=wide(values[outcome][keep]),
        d=wide(values[treatment][keep]),
        mask=wide(np.ones(row.size)),
        covariates=np.stack(cube, axis=2) if cube else None,
        unit=units[kept_units],
        time=times[kept_times],
        outcome=outcome,
    )
    return arguments, home


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
    return np.argsort(labels.astype(float) if _all_numbers(labels) else labels, kind="stable")


def _order(series: nw.Series) -> list | None:
    """The categories of a column that brings their order along."""
    dtype = series.dtype
    return list(dtype.categories) if isinstance(dtype, nw.Enum) else None


def _all_numbers(labels: np.ndarray) -> bool:
    """Whether words are numbers, such as "9" and "10", and not "1_9", which Python reads as 19."""
    if any("_" in label for label in labels.tolist()):
        return False
    try:
        return bool(np.isfinite(labels.astype(float)).all())
    except ValueError:
        return False


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


def wide_labels(
    y: Any, d: Any, mask: Any, covariates: Any, time: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Units and times of a wide pandas frame of outcomes; None where they are only positions.

    **Raises:** `DataError` when a frame beside it has others, or these in another order; for
    columns that are times out of order, unless `time` is given.
    """
    if not isinstance(y, pd.DataFrame):
        return None, None
    for name, other in (("d", d), ("mask", mask), ("covariates", covariates)):
        if not isinstance(other, pd.DataFrame):
            continue
        pairs = [("rows", y.index, other.index), ("columns", y.columns, other.columns)]
        for what, own, theirs in pairs[:1] if name == "covariates" else pairs:
            if not own.equals(theirs):
                put = "reindex(y.index)" if name == "covariates" else "reindex_like(y)"
                raise DataError(
                    f"the {what} of {name} are labelled otherwise than those of y: pass "
                    f"{name}.{put}, so that each value stands beside its own."
                )
    ordered = isinstance(y.columns.dtype, pd.CategoricalDtype) and y.columns.dtype.ordered
    if time is None and not ordered:
        check_in_order(y.columns.to_numpy())
    names = (y.index, y.columns)
    found = [None if own.equals(pd.RangeIndex(len(own))) else own.to_numpy() for own in names]
    return found[0], found[1]


def beside_labels(d: Any, unit: np.ndarray, time: np.ndarray) -> None:
    """Refuse a pandas frame whose units or times are not those of a panel, in their order.

    **Raises:** `DataError`.
    """
    if not isinstance(d, pd.DataFrame):
        return
    for what, own, theirs in (("rows", unit, d.index), ("columns", time, d.columns)):
        if len(own) == len(theirs) and not pd.Index(own, tupleize_cols=False).equals(theirs):
            raise DataError(
                f"the {what} of d are labelled otherwise than the panel's "
                f"{'units' if what == 'rows' else 'times'}: pass "
                "d.reindex(index=panel.unit, columns=panel.time), so that each value stands beside "
                "its own, or d.to_numpy() to take it by position."
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
        listed = ", ".join(f"{v:g}" for v in seen[:5]) + (" ..." if len(seen) > 5 else "")
        raise DataError(
            f"treatment {name!r} is neither 0 nor 1 in {other.size} of {keep.sum()} rows "
            f"({rows_in_words(other)}; its values are {listed}): code treated 1, others 0."
        )
    check_arms(repr(name), d[keep])
