"""Frames of every kind, read column by column: values, what is missing, what the column holds."""

import datetime
import decimal
import numbers
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from jaxtyping import Bool

from jcausal.data._errors import DataError
from jcausal.data._labels import local_times
from jcausal.data._like import FrameKind
from jcausal.data._numbers import WHOLE, merged

Holds = Literal["numbers", "text", "category", "times", "mixed"]
READERS = {".parquet": "read_parquet", ".pq": "read_parquet", ".xlsx": "read_excel"}
READERS |= {".dta": "read_stata", ".sav": "read_spss", ".feather": "read_feather"}
TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


class Column(NamedTuple):
    """One column: numbers as float64 (NaN where missing), anything else as objects.

    `exact` has whole numbers as they are where some would fall together as float64; `levels` are
    those that a category was declared with, also where no row has them.
    """

    values: np.ndarray
    missing: Bool[np.ndarray, " n"]
    holds: Holds
    exact: np.ndarray | None = None
    levels: np.ndarray | None = None

    def take(self, keep: Bool[np.ndarray, " n"]) -> "Column":
        """Some of the rows."""
        exact = None if self.exact is None else self.exact[keep]
        return Column(self.values[keep], self.missing[keep], self.holds, exact, self.levels)


def open_frame(frame: Any) -> tuple[nw.DataFrame, FrameKind]:
    """The frame behind one interface, and which kind it is; lazy ones are collected."""
    frame = _as_frame(frame)
    if isinstance(frame, pd.DataFrame):
        frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
        _check_once(list(frame.columns))
    try:
        table = nw.from_native(frame)
        _check_once(list(table.collect_schema()))
    except TypeError as error:
        raise DataError(
            f"{type(frame).__name__} is no data frame that can be read{_make_one(frame)}."
        ) from error
    except nw.exceptions.DuplicateError:
        _check_once(list(getattr(frame, "column_names", None) or frame.columns))
        raise
    where = table.implementation
    if isinstance(table, nw.LazyFrame):
        if not (where.is_duckdb() or where.is_polars()):
            raise DataError(f"the {where.value} frame is lazy: collect it first.")
        table = table.collect("pyarrow" if where.is_duckdb() else "polars")
    if table.shape[0] == 0:
        raise DataError("the frame has no rows.")
    if where.is_duckdb():
        return table, "duckdb"
    return table, "polars" if where.is_polars() else "pyarrow" if where.is_pyarrow() else "pandas"


def column_names(frame: Any) -> list[str] | None:
    """What a frame calls its columns; None for what is no frame, and where it only counts them."""
    if not isinstance(frame, pd.DataFrame):
        table = nw.from_native(frame, eager_only=True, pass_through=True)
        names = table.columns if isinstance(table, nw.DataFrame) else []
        counted = all(name == f"column_{j}" for j, name in enumerate(names))  # by polars
        return None if counted else names
    counted = frame.columns.equals(pd.RangeIndex(frame.shape[1]))
    return None if counted else [str(name) for name in frame.columns]


def _make_one(frame: Any) -> str:
    """How to make a data frame of what is none."""
    if isinstance(frame, str | os.PathLike):
        word = str(os.fspath(frame))
        read = READERS.get(os.path.splitext(word)[1].lower(), "read_csv")
        return f": read the file first, with pd.{read}({word!r})"
    if isinstance(frame, list | tuple):
        return ": make one of the rows first, with pd.DataFrame(rows)"
    if hasattr(frame, "to_frame"):
        return ": it is one column; put all into one frame, with pd.DataFrame({'NAME': ...})"
    return ": make one first, with pd.DataFrame(...)"


def as_pandas(frame: Any) -> pd.DataFrame:
    """A frame of any kind as a pandas one; a pandas frame is passed on as it is.

    **Raises:** `DataError` for what is no frame.
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    table, _ = open_frame(frame)
    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})


def _as_frame(frame: Any) -> Any:
    """Arrays, dicts of columns and record batches as a frame; anything else as it is."""
    if isinstance(frame, np.ndarray):
        if frame.ndim != 2 and frame.dtype.names is None:
            raise DataError(f"the array has shape {frame.shape}: rows and columns are needed.")
        return pd.DataFrame(frame)
    if isinstance(frame, dict):
        try:
            return pd.DataFrame(frame)
        except ValueError as error:
            raise DataError(f"the dict holds no columns of one length ({error}).") from error
    if type(frame).__name__ in ("RecordBatch", "RecordBatchReader") and hasattr(frame, "schema"):
        import pyarrow

        one = isinstance(frame, pyarrow.RecordBatch)
        return pyarrow.Table.from_batches([frame]) if one else frame.read_all()
    return frame


def _check_once(names: list) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"the column name {twice!r} stands twice: rename one.")


def read_columns(
    table: nw.DataFrame, names: Sequence[str], labels: Collection[str]
) -> dict[str, Column]:
    """Some columns by name; `labels` are those that are taken as they are."""
    return {
        name: read_labels(table[name]) if name in labels else read_column(table[name])
        for name in names
    }


def read_column(series: nw.Series) -> Column:
    """A column's values, with null, None and NaN all counted as missing."""
    missing = np.array(series.is_null().to_numpy(), bool)
    dtype = series.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        values = np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)
        missing |= np.isnan(values)
        exact = _exact(series.to_list, values, missing) if dtype.is_integer() else None
        return Column(values, missing, "numbers", exact)
    if dtype.is_nested():
        return Column(_objects(series), missing, "mixed")
    values = np.asarray(series.to_numpy(), object)
    missing |= np.asarray(pd.isna(values), bool)
    if dtype.is_temporal():
        return Column(values, missing, "times")
    floats = _floats(values, missing)
    exact = _exact(values.tolist, floats, missing) if floats.dtype.kind == "f" else None
    if len({isinstance(v, bool | np.bool_) for v in values[~missing]}) > 1:
        exact = values if exact is None else exact  # as a float True would be 1
    if dtype in (nw.Categorical, nw.Enum):
        return Column(floats, missing, "category", exact, _declared(series))
    holds = "text" if dtype == nw.String else _holds(values[~missing])
    return Column(floats if holds == "numbers" else values, missing, holds, exact)


def _exact(
    values: Callable[[], list], floats: np.ndarray, missing: np.ndarray
) -> np.ndarray | None:
    """Whole numbers as objects where some fall together as float64, else None."""
    if not np.abs(floats[~missing]).max(initial=0) >= WHOLE:
        return None
    exact = np.array([None if gap else v for v, gap in zip(values(), missing)], object)
    return exact if merged(floats[~missing], exact[~missing]) else None


def _declared(series: nw.Series) -> np.ndarray | None:
    """The levels of an enum, of a pandas category or of an Arrow dictionary.

    polars' own categories are not declared: they are those of all columns met before.
    """
    dtype, native = series.dtype, series.to_native()
    if isinstance(native, pd.Series) and isinstance(native.dtype, pd.CategoricalDtype):
        listed = native.dtype.categories.tolist()
    elif isinstance(dtype, nw.Enum):
        listed = list(dtype.categories)
    elif series.implementation.is_polars():
        return None
    else:
        arrow = series.to_arrow()
        listed = [v for one in getattr(arrow, "chunks", [arrow]) for v in _dictionary(one)]
    levels = np.empty(len(listed), object)
    levels[:] = listed
    return levels[~np.asarray(pd.isna(levels), bool)]


def _dictionary(array: Any) -> list:
    """The values of an Arrow dictionary; none where the array is none."""
    dictionary = getattr(array, "dictionary", None)
    return [] if dictionary is None else dictionary.to_pylist()


def read_labels(series: nw.Series) -> Column:
    """A column of row names, clusters or times, as it is; a time with a zone by the clock there.

    **Raises:** `DataError` where that clock shows two of the times alike.
    """
    series = local_times(series)
    missing = np.array(series.is_null().to_numpy(), bool)
    if not missing.any() and not series.dtype.is_nested():
        return Column(series.to_numpy(), missing, "mixed")
    return Column(_objects(series), missing, "mixed")


def _objects(series: nw.Series) -> np.ndarray:
    """The values as Python's objects, structs and lists too."""
    values = np.empty(len(series), object)
    for i, value in enumerate(series.to_list()):  # assigned at once lists would be taken apart
        values[i] = value
    return values


def _holds(values: np.ndarray) -> Holds:
    """What a column of objects holds, by its values."""
    if all(isinstance(v, str) for v in values):
        return "text"
    if all(isinstance(v, numbers.Real | np.bool_ | decimal.Decimal) for v in values):
        return "numbers"
    return "times" if all(isinstance(v, TIMES) for v in values) else "mixed"


def _floats(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Objects that are numbers as float64; other objects as they are."""
    if _holds(values[~missing]) != "numbers" or missing.all():
        return values
    out = np.full(len(values), np.nan)
    out[~missing] = [float(v) for v in values[~missing]]
    return out
