"""Data frames in: one column at a time to numbers, categories to level codes, missing values."""

import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from jcausal.data import _check
from jcausal.data._assemble import level_label
from jcausal.data._errors import DataError
from jcausal.data._words import rows_in_words

Missing = Literal["error", "drop"]


def read_frame(
    frame: Any,
    roles: Mapping[str, str | None],
    covariates: Sequence[str] | None,
    categorical: tuple[str, ...],
    missing: Missing,
    units: Mapping[str, str],
) -> dict[str, Any]:
    """The arguments of `Sample` from the columns of a frame."""
    if missing not in ("error", "drop"):
        raise ValueError(f"missing is {missing!r}: use 'error' or 'drop'.")
    table = _as_table(frame, {roles["id"], roles["cluster"]})
    taken = {column for column in roles.values() if column is not None}
    names = [c for c in table if c not in taken] if covariates is None else list(covariates)
    for name in [*names, *taken, *categorical, *units]:
        _check_known(name, table)
    _check_roles(roles, names, categorical)
    wanted = {name: table[name] for name in [*names, *sorted(taken)]}
    keep = _present(wanted, missing)
    columns = {name: column[keep] for name, column in wanted.items()}
    category = [n for n in names if n in categorical or isinstance(columns[n], pd.Categorical)]
    x, levels = _covariates(columns, names, category)
    arguments = {role: _role(role, columns, name) for role, name in roles.items()}
    kinds = ["category" if n in category else None for n in names]
    detected = _check.detect_kinds(x, np.ones(len(x), bool))
    return dict(
        arguments,
        x=x,
        names=names,
        kinds=[k or d for k, d in zip(kinds, detected)],
        units=[units.get(n, "") for n in names],
        levels=levels,
    )


def _as_table(frame: Any, raw: set[str | None]) -> dict[str, Any]:
    """Columns by name: numpy arrays, or pandas Categoricals where the frame declares levels."""
    if isinstance(frame, np.ndarray):
        frame = pd.DataFrame(frame)
    if isinstance(frame, pd.DataFrame):
        frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
        duplicated = frame.columns[frame.columns.duplicated()]
        if len(duplicated):
            raise DataError(f"the column name {duplicated[0]!r} stands twice: rename one.")
    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(f"{type(frame).__name__} is no data frame that can be read.") from error
    if table.shape[0] == 0:
        raise DataError("the frame has no rows.")
    return {
        str(name): table[name].to_numpy() if name in raw else _as_array(table[name])
        for name in table.columns
    }


def _as_array(series: Any) -> np.ndarray | pd.Categorical:
    if series.dtype in (nw.Categorical, nw.Enum):
        return pd.Categorical(series.to_pandas())
    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        numbers = series.cast(nw.Float64).to_numpy()
        return np.asarray(numbers, np.float64)
    return np.asarray(series.to_numpy(), object)


def _check_known(name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        near = get_close_matches(name, table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f": the columns are {', '.join(table)}."
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


def _present(columns: Mapping[str, Any], missing: Missing) -> np.ndarray:
    """Which rows have all values; refuses or warns of the others, column by column."""
    holes = {name: np.asarray(pd.isna(column)) for name, column in columns.items()}
    n = len(next(iter(holes.values())))
    counts = {name: int(hole.sum()) for name, hole in holes.items() if hole.any()}
    keep = ~np.any(list(holes.values()), axis=0)
    if not counts:
        return keep
    first = next(iter(counts))
    if missing == "error":
        others = "" if len(counts) == 1 else f" (and {len(counts) - 1} more columns have gaps)"
        raise DataError(
            f"column {first!r} is missing (NaN) in {counts[first]} of {n} rows "
            f"({rows_in_words(np.flatnonzero(holes[first]))}){others}: "
            "fill them, or drop the rows with missing='drop'."
        )
    if not keep.any():
        raise DataError(f"each of the {n} rows has a missing value: nothing is left to match.")
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    warnings.warn(
        f"dropped {int((~keep).sum())} of {n} rows with missing values ({listed}; "
        f"{rows_in_words(np.flatnonzero(~keep))}).",
        stacklevel=4,
    )
    return keep


def _covariates(
    columns: Mapping[str, Any], names: Sequence[str], category: Sequence[str]
) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """The covariate matrix with level codes, and the labels of the levels."""
    x = np.empty((len(columns[names[0]]), len(names)))
    levels: dict[str, tuple[str, ...]] = {}
    for j, name in enumerate(names):
        if name in category:
            labels, x[:, j] = _levels(columns[name])
            levels[name] = labels
        else:
            x[:, j] = _check.as_numbers(f"covariate {name!r}", columns[name])
    return x, levels


def _levels(column: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """The levels that occur, in sorted order, and each row's number among them."""
    values = np.asarray(column)
    numbers = values.dtype.kind in "biuf"
    words = values if numbers else values.astype(str)
    found, codes = np.unique(words, return_inverse=True)
    return tuple(level_label(v) if numbers else str(v) for v in found), codes


def _role(role: str, columns: Mapping[str, Any], name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    if role in ("id", "cluster"):
        return np.asarray(columns[name])
    kind = {"t": "treatment", "y": "outcome", "weight": "weight"}[role]
    return _check.as_numbers(f"{kind} {name!r}", columns[name])
