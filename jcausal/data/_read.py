"""Frames of every kind, read column by column: values, what is missing, what the column holds."""

import datetime
import decimal
import numbers
from typing import Any, Literal, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from jaxtyping import Bool

from jcausal.data._errors import DataError
from jcausal.data._like import FrameKind

Holds = Literal["numbers", "text", "category", "times", "mixed"]
TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


class Column(NamedTuple):
    """One column: numbers as float64 (NaN where missing), anything else as objects."""

    values: np.ndarray
    missing: Bool[np.ndarray, " n"]
    holds: Holds

    def take(self, keep: Bool[np.ndarray, " n"]) -> "Column":
        """Some of the rows."""
        return Column(self.values[keep], self.missing[keep], self.holds)


def open_frame(frame: Any) -> tuple[nw.DataFrame, FrameKind]:
    """The frame behind one interface, and which kind it is; lazy ones are collected."""
    if isinstance(frame, np.ndarray):
        frame = pd.DataFrame(frame)
    if isinstance(frame, pd.DataFrame):
        frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
        duplicated = frame.columns[frame.columns.duplicated()]
        if len(duplicated):
            raise DataError(f"the column name {duplicated[0]!r} stands twice: rename one.")
    try:
        table = nw.from_native(frame)
    except TypeError as error:
        raise DataError(f"{type(frame).__name__} is no data frame that can be read.") from error
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


def as_pandas(frame: Any) -> pd.DataFrame:
    """A frame of any kind as a pandas one; a pandas frame is passed on as it is.

    **Raises:** `DataError` for what is no frame.
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    table, _ = open_frame(frame)
    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})


def read_column(series: nw.Series) -> Column:
    """A column's values, with null, None and NaN all counted as missing."""
    missing = np.array(series.is_null().to_numpy(), bool)
    dtype = series.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        values = np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)
        return Column(values, missing | np.isnan(values), "numbers")
    values = np.asarray(series.to_numpy(), object)
    missing |= np.asarray(pd.isna(values), bool)
    if dtype.is_temporal():
        return Column(values, missing, "times")
    if dtype in (nw.Categorical, nw.Enum):
        return Column(_floats(values, missing), missing, "category")
    holds = "text" if dtype == nw.String else _holds(values[~missing])
    return Column(_floats(values, missing) if holds == "numbers" else values, missing, holds)


def read_labels(series: nw.Series) -> Column:
    """A column of row names or clusters, as it is."""
    missing = np.array(series.is_null().to_numpy(), bool)
    if not missing.any():
        return Column(series.to_numpy(), missing, "mixed")
    values = np.empty(len(missing), object)
    values[:] = series.to_list()
    return Column(values, missing, "mixed")


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
