"""Arrays in: numbers, masks, kinds and levels of covariates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jcausal.data._check import check_finite
from jcausal.data._errors import DataError
from jcausal.data._identity import read_clusters, read_ids
from jcausal.data._names import RowNames
from jcausal.data._numbers import as_array, as_numbers, only_0_and_1
from jcausal.data._outcome import read_outcome
from jcausal.data._reading import Reading, working_dtype
from jcausal.data._row_labels import RowLabels
from jcausal.data._schema import Schema, make_schema
from jcausal.data._treated import arms_of_array
from jcausal.data._words import level_label, rows_in_words


class Words(NamedTuple):
    """What the user says about the columns."""

    names: Sequence[str] | None
    kinds: Sequence[str] | None
    units: Sequence[str] | None
    levels: Mapping[str, Sequence[str]] | None
    flags: Mapping[str, str] | None


class Handed(NamedTuple):
    """The arguments of `Sample` that have one value a row, beside `x`."""

    t: Any
    y: Any
    weight: Any
    id: Any
    cluster: Any
    valid: Any


def read_arrays(x: Any, handed: Handed, words: Words, labels: RowLabels | None) -> Reading:
    """The arguments of a concrete `Sample` as numbers and labels; `labels` are those of pandas."""
    dtype, matrix = working_dtype(x), _matrix(x)
    n = matrix.shape[0]
    valid = np.ones(n, bool) if handed.valid is None else _mask(handed.valid, n)
    schema = _coded(matrix, valid, words)
    id = None if handed.id is None else read_ids(handed.id, n)
    weight = np.ones(n) if handed.weight is None else as_numbers("weight", handed.weight, n)
    return Reading(
        x=matrix,
        t=as_numbers("t", arms_of_array("t", handed.t), n),
        y=None if handed.y is None else read_outcome(handed.y, n),
        weight=weight,
        valid=valid,
        id=id,
        cluster=None if handed.cluster is None else read_clusters(handed.cluster, n),
        schema=schema,
        called=RowNames(id, labels),
        dtype=dtype,
    )


def _matrix(x: Any) -> Float[np.ndarray, "n p"]:
    """The covariates, each beside itself in memory, since they are looked at one by one."""
    array = as_numbers("x", x)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"x has shape {array.shape}: it must be (n, p) with at least one row and one column."
        )
    return np.asfortranarray(array)


def _mask(valid: Any, n: int) -> Bool[np.ndarray, " n"]:
    """True or False a row; nothing may be missing."""
    array = as_array("valid", valid)
    if array.dtype.kind != "b":
        numbers = as_numbers("valid", array)
        other = np.flatnonzero((numbers != 0) & (numbers != 1))
        if other.size:
            raise DataError(
                f"valid is neither True nor False in {other.size} of {numbers.size} rows "
                f"({rows_in_words(other)}): False marks padding."
            )
        array = numbers == 1
    if array.shape != (n,):
        raise DataError(f"valid has shape {array.shape} but x has {n} rows: one value a row.")
    return array.copy()


def _coded(x: Float[np.ndarray, "n p"], valid: Bool[np.ndarray, " n"], words: Words) -> Schema:
    """The words on the columns, kinds found; levels in `x` become their numbers 0, 1, ..."""
    p, given = x.shape[1], words.levels or {}
    kinds = words.kinds or _kinds(x, valid)
    none = [()] * p
    first = make_schema(p, words.names, kinds, words.units, none, words.flags)
    flagged = {flag: j for j, flag in first.flag_of.items()}
    levels: list[tuple[str, ...]] = [()] * p
    for j, (name, kind) in enumerate(zip(first.names, kinds)):
        if kind not in ("number", "binary", "category"):
            raise DataError(f"{name!r} is of kind {kind!r}: use 'number', 'binary' or 'category'.")
        if kind != "category":
            continue
        check_finite(f"covariate {name!r}", x[:, j], valid)
        if j in flagged:
            _check_flag(name, first.names[flagged[j]], x[valid, j])
        if name in given:
            levels[j] = tuple(given[name])
            _check_levels(name, levels[j], x[:, j], valid)
        else:
            values, codes = np.unique(x[valid, j], return_inverse=True)
            x[valid, j], levels[j] = codes, tuple(level_label(v) for v in values)
    return make_schema(p, first.names, kinds, words.units, levels, words.flags)


def _check_flag(flag: str, name: str, column: Float[np.ndarray, " n"]) -> None:
    """The numbers of a flag, and some row with a value."""
    if not only_0_and_1(column):
        raise DataError(
            f"the flag {flag!r} must hold 0 where {name!r} is observed and 1 where it is missing."
        )
    if (column == 1).all():
        raise DataError(f"covariate {name!r} is missing in every row: leave it out.")


def _kinds(x: Float[np.ndarray, "n p"], valid: Bool[np.ndarray, " n"]) -> list[str]:
    """Binary for columns that hold only 0 and 1, else number."""
    return ["binary" if only_0_and_1(column[valid]) else "number" for column in x.T]


def _check_levels(
    name: str, labels: tuple[str, ...], column: np.ndarray, valid: Bool[np.ndarray, " n"]
) -> None:
    """Each label once, and numbers that name one."""
    if len(set(labels)) < len(labels):
        raise DataError(f"category {name!r} has a level label twice: {list(labels)}.")
    bad = np.flatnonzero(valid & ~np.isin(column, np.arange(len(labels))))
    if bad.size:
        raise DataError(
            f"category {name!r} has {bad.size} values outside its {len(labels)} levels "
            f"({rows_in_words(bad)}): use the numbers 0 to {len(labels) - 1}."
        )
