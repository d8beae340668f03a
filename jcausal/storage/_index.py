"""Labels of pandas in parts that a file can hold."""

from typing import Any

import numpy as np
import pandas as pd

PLAIN = "biufmM"  # kinds of dtype that NumPy has itself


def index_parts(index: pd.Index) -> dict[str, Any]:
    """An index as a dict: its values, its dtype and its names.

    **Raises:** ValueError for labels of a kind that would not be the same again.
    """
    parts = _parts(index)
    again = index_of(**parts)
    if not again.equals(index) or again.dtype != index.dtype:
        raise ValueError(
            f"labels of the kind {index.dtype} cannot be kept in a file: make them text first."
        )
    return parts


def _parts(index: pd.Index) -> dict[str, Any]:
    if isinstance(index, pd.MultiIndex):
        return dict(values=index.tolist(), dtype="multi", names=list(index.names))
    if isinstance(index, pd.DatetimeIndex) and index.tz is not None:
        values: Any = index.tz_convert("UTC").tz_localize(None).to_numpy()
    else:
        values = index.to_numpy()
    words = values.dtype.kind not in PLAIN
    return dict(
        values=values.tolist() if words else values, dtype=str(index.dtype), names=[index.name]
    )


def index_of(values: Any, dtype: str, names: list[Any]) -> pd.Index:
    """The index of such parts."""
    if dtype == "multi":
        return pd.MultiIndex.from_tuples(values, names=names)
    if dtype.startswith("datetime64[") and "," in dtype:
        zone = dtype.rpartition(",")[2].strip(" ]")
        return pd.DatetimeIndex(values, name=names[0]).tz_localize("UTC").tz_convert(zone)
    held = values if isinstance(values, np.ndarray) else np.array(values, object)
    return pd.Index(held, dtype=dtype, name=names[0])
