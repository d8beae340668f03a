"""Data frames in: roles, missing values, covariates as numbers and level codes."""

import numbers
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from jcausal.data import _check
from jcausal.data._align import RowLabels, labels_of
from jcausal.data._assemble import level_label, working_dtype
from jcausal.data._errors import DataError
from jcausal.data._given import WHOLE, as_labels, check_labels, label_word, numbered
from jcausal.data._kinds import check_name, check_names, named
from jcausal.data._like import FrameKind
from jcausal.data._read import Column, open_frame, read_column, read_labels
from jcausal.data._rows import row_names, without_row_names
from jcausal.data._schema import Kind
from jcausal.data._treated import arms
from jcausal.data._words import label_in_words, rows_in_words

Missing = Literal["error", "drop", "indicator"]
ROLES = dict(t="treatment", y="outcome", weight="weight", id="id", cluster="cluster")


class Laid(NamedTuple):
    """One covariate column of a sample; `flag` names the column that tells where it is missing."""

    name: str
    x: np.ndarray
    kind: Kind
    levels: tuple[str, ...] = ()
    flag: str | None = None


class Read(NamedTuple):
    """The arguments of `Sample`, the kind of frame, names of its rows, and their labels."""

    arguments: dict[str, Any]
    home: FrameKind
    rows: np.ndarray | None
    labels: RowLabels | None


def read_frame(
    frame: Any,
    roles: Mapping[str, str | None],
    covariates: Sequence[str] | None,
    categorical: Sequence[str],
    missing: Missing,
    units: Mapping[str, str],
    treated: object = None,
) -> Read:
    """A frame's columns, its kind, and what its rows are called."""
    if missing not in ("error", "drop", "indicator"):
        raise ValueError(f"missing is {missing!r}: use 'error', 'drop' or 'indicator'.")
    roles = _named_roles(roles)
    categorical = check_names("categorical", categorical)
    if not isinstance(units, Mapping):
        raise DataError(f"units is {named(units)}: write units={{'NAME': 'years'}}.")
    table, home = open_frame(frame)
    taken = {column: role for role, column in roles.items() if column is not None}
    if covariates is None:
        names = without_row_names(table.columns, taken)
    else:
        names = check_names("covariates", covariates)
    for name in [*names, *taken, *categorical, *units]:
        _check_known(name, table.columns)
    _check_roles(roles, names, categorical)
    labels = {roles["id"], roles["cluster"]}
    columns = {
        name: read_labels(table[name]) if name in labels else read_column(table[name])
        for name in [*names, *sorted(taken)]
    }
    keep = _kept(columns, taken, missing)
    columns = {name: column.take(keep) for name, column in columns.items()}
    index = labels_of(frame)
    laid = [part for n in names for part in _lay(n, columns[n], n in categorical)]
    arguments = dict(
        {role: _role(role, columns, name, treated) for role, name in roles.items()},
        x=np.stack([part.x for part in laid], axis=1),
        names=[part.name for part in laid],
        kinds=[part.kind for part in laid],
        units=[units.get(part.name, "") for part in laid],
        levels={part.name: part.levels for part in laid if part.kind == "category"},
        flags={part.name: part.flag for part in laid if part.flag is not None},
    )
    _check_clusters(roles["cluster"], arguments)
    rows = row_names(table.to_native(), keep) if roles["id"] is None else None
    return Read(arguments, home, rows, None if index is None else RowLabels(index[keep]))


def _named_roles(roles: Mapping[str, Any]) -> dict[str, str | None]:
    """The columns' names, as text."""
    if roles["t"] is None:
        raise DataError("treatment is None: write the name of its column, treatment='NAME'.")
    return {
        role: None if name is None else check_name(ROLES[role], name)
        for role, name in roles.items()
    }


def _check_known(name: str, columns: Sequence[str]) -> None:
    if name not in columns:
        near = get_close_matches(name, columns, n=1)
        hint = (
            f"; did you mean {near[0]!r}?" if near else f": the columns are {', '.join(columns)}."
        )
        raise DataError(f"there is no column {name!r}{hint}")


def _check_roles(
    roles: Mapping[str, str | None], names: Sequence[str], categorical: Sequence[str]
) -> None:
    """One role a column, and covariates to match on."""
    if not names:
        raise DataError("there is no covariate column left: name some with covariates=[...].")
    used = [*names, *(c for c in roles.values() if c is not None)]
    for name in used:
        if used.count(name) > 1:
            raise DataError(f"column {name!r} has two roles: a column is used once.")
    for name in categorical:
        if name not in names:
            raise DataError(f"categorical names {name!r}, which is not among the covariates.")


def _kept(columns: Mapping[str, Column], taken: Mapping[str, str], missing: Missing) -> np.ndarray:
    """Which rows to use; refuses or warns of missing values, column by column."""
    holes = {name: column.missing for name, column in columns.items() if column.missing.any()}
    n = len(next(iter(columns.values())).missing)
    keep = np.ones(n, bool)
    if not holes:
        return keep
    if missing == "error":
        first, others = next(iter(holes)), ""
        if len(holes) > 1:
            others = f" (and {len(holes) - 1} more columns have gaps)"
        indicator = "" if first in taken else ", or match it as it is with missing='indicator'"
        raise DataError(
            f"column {_holed(first, holes[first])}{others}: fill them, or drop the rows with "
            f"missing='drop'{indicator}."
        )
    drops = {c: hole for c, hole in holes.items() if missing == "drop" or c in taken}
    for hole in drops.values():
        keep &= ~hole
    if not keep.any():
        raise DataError(f"each of the {n} rows has a missing value: nothing is left to match.")
    for name, hole in holes.items():
        if name not in drops and hole[keep].all():
            raise DataError(
                f"covariate {name!r} is missing in all {keep.sum()} rows: leave it out."
            )
    if not drops:
        return keep
    listed = ", ".join(f"{name} {int(hole.sum())}" for name, hole in drops.items())
    warnings.warn(
        f"dropped {int((~keep).sum())} of {n} rows with missing values ({listed}; "
        f"{rows_in_words(np.flatnonzero(~keep))}).",
        stacklevel=4,
    )
    return keep


def _holed(name: str, hole: np.ndarray) -> str:
    rows = np.flatnonzero(hole)
    return (
        f"{name!r} is missing (null or NaN) in {rows.size} of {hole.size} rows "
        f"({rows_in_words(rows)})"
    )


def _lay(name: str, column: Column, declared: bool) -> list[Laid]:
    """A covariate as columns of the sample: itself, and a flag for a number with gaps."""
    _check_no_times(f"covariate {name!r}", column)
    if declared or column.holds == "category":
        return [_category(name, column)]
    whole = column.values if column.exact is None else column.exact
    x = _check.as_numbers(f"covariate {name!r}", whole)
    binary = bool(np.isin(x[~column.missing], (0, 1)).all())
    if not column.missing.any():
        return [Laid(name, x, "binary" if binary else "number")]
    if binary:
        return [_category(name, column)]
    flag = f"{name} missing"
    said = Laid(flag, column.missing.astype(float), "category", ("observed", "missing"))
    return [Laid(name, x, "number", flag=flag), said]


def _category(name: str, column: Column) -> Laid:
    """The levels that occur or were declared, in sorted order, then "missing" if there are gaps."""
    missing = column.missing
    known = (column.values if column.exact is None else column.exact)[~missing]
    levels, found = _levels(f"category {name!r}", _beside(known, column.levels))
    codes = np.full(len(missing), len(levels), float)
    codes[~missing] = found[: len(known)]
    if not missing.any():
        return Laid(name, codes, "category", levels)
    if "missing" in levels:
        raise DataError(
            f"category {name!r} has {int(missing.sum())} gaps and a level called 'missing' "
            "already: rename that level, or fill the gaps with it."
        )
    return Laid(name, codes, "category", (*levels, "missing"), flag=name)


def _beside(known: np.ndarray, declared: np.ndarray | None) -> np.ndarray:
    """The labels of rows, then the levels that were declared: numbers if all are numbers."""
    if declared is None:
        return known
    exact = not all(
        isinstance(v, numbers.Real) and abs(float(v)) < WHOLE for v in declared.tolist()
    )
    if known.dtype.kind == "O" or exact:
        return np.concatenate([known.astype(object), declared])
    return np.concatenate([known, declared.astype(known.dtype)])


def _levels(name: str, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The levels that occur, in sorted order, and each row's number among them."""
    check_labels(name, values)
    codes, found = numbered(name, values)
    label = level_label if values.dtype.kind in "biuf" else label_word
    return tuple(label(v) for v in found), codes


def _role(
    role: str, columns: Mapping[str, Column], name: str | None, treated: object
) -> np.ndarray | None:
    if name is None:
        return None
    if role in ("id", "cluster"):
        labels = as_labels(f"{role} {name!r}", columns[name].values)
        if role == "id" and pd.unique(labels).size < labels.size:
            _check.check_ids(labels, labels.size, f"id {name!r}")
        return labels
    _check_no_times(f"{ROLES[role]} {name!r}", columns[name])
    if role == "t":
        arm = arms(f"treatment {name!r}", columns[name].values, treated)
        _check.check_treatment(arm, np.ones(arm.size, bool), repr(name))
        return arm
    said = f"{ROLES[role]} {name!r}"
    values = _check.as_numbers(said, columns[name].values)
    check = _check.check_outcome if role == "y" else _check.check_weight
    check(values, np.ones(values.size, bool), working_dtype(values), said)
    return values


def _check_clusters(name: str | None, arguments: Mapping[str, Any]) -> None:
    """Refuse clusters of which none can stand apart with both arms: one in all, or one an arm."""
    if name is None:
        return
    code, t = pd.factorize(arguments["cluster"])[0], np.asarray(arguments["t"], int)
    parts = np.unique(2 * code + t)  # a cluster in an arm
    label, rows = arguments["cluster"][0], code.size
    if code.max() == 0:
        what = f"is {label_in_words(label)!r} in all {rows} rows"
    elif parts.size == 2:
        what = f"is one label for all treated and one for all controls of {rows} rows"
    else:
        return
    raise DataError(
        f"cluster {name!r} {what}: a cluster is never divided, so that no key deals both arms to "
        "two folds; give smaller clusters, or leave it out."
    )


def _check_no_times(name: str, column: Column) -> None:
    if column.holds == "times":
        raise DataError(
            f"{name} holds dates or times: make it a number, such as the days since a fixed day, "
            "or text if it is a category."
        )
