"""Frames out, of the kind that came in."""

import datetime
import numbers
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd
from jaxtyping import Float
from narwhals import selectors

from jcausal.data._schema import Schema

PLAIN = (str, bytes, numbers.Number, np.bool_, datetime.date, datetime.time, datetime.timedelta)
FrameKind = Literal["pandas", "polars", "pyarrow", "duckdb"]


def like(kind: FrameKind, frame: pd.DataFrame) -> Any:
    """A pandas frame as the user's own kind of frame.

    A named index becomes the first column, NaN and None become null. A pandas frame is passed on
    as it is, with its `attrs`.

    **Returns:** a pandas or polars DataFrame, a pyarrow Table or a DuckDB relation.
    """
    if kind == "pandas":
        return frame
    if frame.index.name is not None:
        frame = frame.reset_index()
    columns = {str(name): _values(series) for name, series in frame.items()}
    made = nw.from_dict(columns, backend="polars" if kind == "polars" else "pyarrow")
    made = made.with_columns(selectors.by_dtype(nw.Float32, nw.Float64).fill_nan(None)).to_native()
    if kind != "duckdb":
        return made
    import duckdb

    return duckdb.from_arrow(made)


def beside_covariates(
    own: dict[str, Any], schema: Schema, points: Float[np.ndarray, "n p"]
) -> pd.DataFrame:
    """Columns of our own, then the covariates: labels for levels, what is missing as missing.

    A covariate whose name is taken by one of our columns is called "NAME (covariate)", again and
    again until no other column is called so.
    """
    columns = dict(own)
    for j, name in enumerate(schema.names):
        if j in schema.flag_of.values():
            continue
        labels = np.array(schema.levels[j], object)
        if (j, j) in schema.flags:
            labels[-1] = None
        is_category = schema.kinds[j] == "category"
        shown = name
        while shown in own or (shown != name and shown in schema.names):
            shown = f"{shown} (covariate)"
        columns[shown] = labels[points[:, j].astype(int)] if is_category else points[:, j]
    return pd.DataFrame(columns)


def _values(series: pd.Series) -> np.ndarray | list:
    """Numbers and times as an array, anything else as a list with None for what is missing.

    pandas holds days as seconds: where all are whole days they become days again. Tuples, and words
    among numbers, become words, since a column of these frames is of one kind.
    """
    values = series.to_numpy()
    if values.dtype.kind == "M":
        return _days(values)
    if values.dtype.kind != "O":
        return values
    listed, gap = values.tolist(), np.asarray(pd.isna(values), bool)
    known = [v for v, hole in zip(listed, gap) if not hole]
    words = len({isinstance(v, str) for v in known}) > 1 or not all(
        isinstance(v, PLAIN) for v in known
    )
    return [None if hole else str(v) if words else v for v, hole in zip(listed, gap)]


def _days(values: np.ndarray) -> np.ndarray | list:
    """Times of whole seconds as days where they are such, else in milliseconds."""
    if np.datetime_data(values.dtype)[0] not in ("s", "D"):
        return values
    days = values.astype("datetime64[D]")
    if (days == values)[~np.isnat(values)].all():
        return days.tolist()
    return values.astype("datetime64[ms]")
