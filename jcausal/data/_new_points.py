"""Points outside a sample, read as the sample's covariates are."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jcausal.data._errors import DataError
from jcausal.data._numbers import as_numbers
from jcausal.data._read import Column, column_names, open_frame, read_column
from jcausal.data._sample import Sample
from jcausal.data._words import label_word, level_label, rows_in_words


def new_points(sample: Sample, points: Any) -> Float[np.ndarray, "m p"]:
    """Points as numbers in the order of a sample's covariates (concrete samples only).

    A frame is read by names, and may hold more columns: levels by their labels, a value that is
    missing as in the sample, which must know gaps in that covariate. An array holds one row a point
    as `sample.x` does.

    **Returns:** (m, p) in float64, without NaN.

    **Raises:** `DataError` for columns that are not there, levels that the sample does not have,
    and numbers that are missing or infinite.
    """
    if column_names(points) is None:
        return _of_array(sample, points)
    table, _ = open_frame(points)
    schema = sample.schema
    flags = {flag: j for j, flag in schema.flag_of.items()}
    wanted = [name for j, name in enumerate(schema.names) if j not in flags]
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        raise DataError(
            f"the points have no column {', '.join(map(repr, absent))}: give the covariates "
            f"{', '.join(wanted)}."
        )
    columns = {name: read_column(table[name]) for name in wanted}
    out = np.empty((table.shape[0], sample.p))
    for j, name in enumerate(schema.names):
        if j in flags:
            out[:, j] = columns[schema.names[flags[j]]].missing
        elif schema.kinds[j] == "category":
            out[:, j] = _codes(sample, j, columns[name])
        else:
            out[:, j] = _numbers(sample, j, columns[name])
    return out


def _of_array(sample: Sample, points: Any) -> Float[np.ndarray, "m p"]:
    found = as_numbers("points", points)
    if found.ndim != 2 or found.shape[1] != sample.p:
        raise DataError(
            f"points has shape {found.shape}: give (m, {sample.p}), one row a point and the "
            f"covariates {', '.join(sample.schema.names)}."
        )
    whole = np.asarray(np.isfinite(found).all(1))
    _check_known(~whole, "points", "are no finite numbers")
    for j in sample.schema.categories:
        codes, height = found[:, j], len(sample.schema.levels[j])
        _check_known(
            ~np.isin(codes, np.arange(height)),
            f"category {sample.schema.names[j]!r}",
            f"are no code from 0 to {height - 1}",
        )
    return found


def _codes(sample: Sample, j: int, column: Column) -> Float[np.ndarray, " m"]:
    """The sample's code of each label."""
    name, levels = sample.schema.names[j], sample.schema.levels[j]
    numeric = column.values.dtype.kind in "biuf"
    found = np.full(len(column.missing), -1.0)
    for i, (value, gap) in enumerate(zip(column.values.tolist(), column.missing)):
        if gap:
            found[i] = len(levels) - 1 if (j, j) in sample.schema.flags else -1
            continue
        label = level_label(value) if numeric else label_word(value)
        found[i] = levels.index(label) if label in levels else -1
    _check_known(
        found < 0, f"category {name!r}", f"hold a level that is not of {', '.join(levels)}"
    )
    return found


def _numbers(sample: Sample, j: int, column: Column) -> Float[np.ndarray, " m"]:
    """The values, and the sample's fill where one is missing and the sample knows gaps."""
    name = f"covariate {sample.schema.names[j]!r}"
    found = as_numbers(name, column.values)
    if j in sample.schema.flag_of:
        found = np.where(column.missing, float(np.asarray(sample.fill)[j]), found)
    _check_known(~np.isfinite(found), name, "are no finite number")
    return found


def _check_known(bad: np.ndarray, what: str, fault: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        raise DataError(
            f"{what}: {rows.size} of {bad.size} points ({rows_in_words(rows)}) {fault}: correct or "
            "leave them out."
        )
