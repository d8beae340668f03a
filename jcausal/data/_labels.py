"""Labels of any kind, whole: ids, clusters, times and the levels of categories."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from jaxtyping import Array, Int, Shaped

from jcausal.data._errors import DataError
from jcausal.data._numbers import as_array
from jcausal.data._words import label_in_words, label_word, rows_in_words

By = str | Shaped[np.ndarray, " n"] | Shaped[Array, " n"] | pd.Series | Sequence


def as_labels(name: str, values: Any) -> np.ndarray:
    """Labels as they are: a tuple is one label, a number beside words stays a number.

    **Raises:** `DataError` for lists, dicts and the like, which can be no labels.
    """
    if isinstance(values, pd.MultiIndex):
        values = values.to_flat_index()
    if isinstance(values, list | tuple) and (
        any(isinstance(v, tuple) for v in values)
        or len({(isinstance(v, str | bytes), isinstance(v, bool | np.bool_)) for v in values}) > 1
    ):
        array = np.empty(len(values), object)
        array[:] = values
    else:
        array = as_array(name, _by_the_clock(values))
    check_labels(name, array)
    return array


def _by_the_clock(values: Any) -> Any:
    """A polars or Arrow column of times with a zone, which NumPy would tell in UTC, as they are."""
    series = nw.from_native(values, series_only=True, pass_through=True)
    if not isinstance(series, nw.Series) or isinstance(values, pd.Series):
        return values
    return local_times(series).to_numpy() if hasattr(series.dtype, "time_zone") else values


def local_times(series: nw.Series) -> nw.Series:
    """Times with a zone as the calendar and the clock there show them.

    **Raises:** `DataError` where that clock shows two of them alike.
    """
    zone = getattr(series.dtype, "time_zone", None)
    if zone is None:
        return series
    local = series.dt.replace_time_zone(None)
    if local.n_unique() < series.n_unique():
        frame = pd.DataFrame({"utc": series.to_numpy(), "local": local.to_numpy()})
        twice = frame.drop_duplicates().loc[lambda f: f["local"].duplicated(keep=False), "local"]
        raise DataError(
            f"column {series.name!r} has {twice.size} times that a clock in {zone} shows twice, "
            f"as it is set back, first {label_in_words(twice.to_numpy()[0])}: convert it to UTC."
        )
    return local


def check_labels(name: str, array: np.ndarray) -> None:
    """Refuse lists, dicts and the like.

    **Raises:** `DataError`.
    """
    if array.dtype.kind != "O":
        return
    flat = array.ravel().tolist()
    bad = [i for i, v in enumerate(flat) if not _hashable(v)]
    if bad:
        raise DataError(
            f"{name} holds a {type(flat[bad[0]]).__name__} in {len(bad)} of {len(flat)} places, "
            f"first {flat[bad[0]]!r} ({rows_in_words(bad)}): use numbers, words, times, or tuples "
            "of them."
        )


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def listed(name: str, values: Any) -> tuple:
    """Labels as Python's own objects; a word stands for its letters.

    **Raises:** `DataError` as `as_labels`.
    """
    values = list(values) if isinstance(values, str) else values
    return tuple(pd.Series(as_labels(name, values)).tolist())


def missing_labels(labels: np.ndarray) -> np.ndarray:
    """Which labels are None, NaN or NaT."""
    return np.asarray(pd.isna(labels), bool)


def numbered(name: str, labels: np.ndarray) -> tuple[Int[np.ndarray, " n"], list]:
    """Each label's place among the distinct ones, and these in their order; none is missing.

    **Raises:** `DataError` as `check_one_way`.
    """
    if labels.dtype.kind != "O":
        found, place = np.unique(labels, return_inverse=True)
        return place.ravel(), list(found)
    place, values = pd.factorize(labels)
    distinct = values.tolist()
    check_one_way(name, labels, place, distinct)
    try:
        order = sorted(range(len(distinct)), key=distinct.__getitem__)
    except TypeError:  # words among numbers: by kind, then by their letters
        order = sorted(
            range(len(distinct)), key=lambda i: (type(distinct[i]).__name__, str(distinct[i]))
        )
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    return rank[place], [distinct[i] for i in order]


def check_one_way(
    name: str, labels: np.ndarray, place: Int[np.ndarray, " n"], distinct: list
) -> None:
    """Refuse labels (n,), at these places (-1: missing) among the distinct, that may be one.

    **Raises:** `DataError` for True or False among other labels, since Python takes True and 1 for
    one, and for labels that differ and read alike, such as 1 and "1".
    """
    switch = np.array([isinstance(v, bool | np.bool_) for v in labels.tolist()], bool)
    if switch.any() and not switch[place >= 0].all():
        rows = np.flatnonzero(switch)
        raise DataError(
            f"{name} holds {labels[rows[0]]} among labels that are not True or False, in "
            f"{rows.size} of {switch.size} rows ({rows_in_words(rows)}): write them in one way."
        )
    first: dict[str, int] = {}
    for i, label in enumerate(distinct):
        other = first.setdefault(label_word(label), i)
        if other != i:
            rows = np.flatnonzero((place == other) | (place == i))
            raise DataError(
                f"{name} holds {distinct[other]!r} and {label!r}, which read alike "
                f"({rows_in_words(rows)}): write them in one way."
            )
