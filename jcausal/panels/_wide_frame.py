"""Wide pandas frames: outcomes with the units as rows and the times as columns."""

from typing import Any

import numpy as np
import pandas as pd

from jcausal.data import DataError
from jcausal.panels._checked_arrays import PanelArrays
from jcausal.panels._time_order import check_in_order


def wide_labels(given: PanelArrays, time: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Units and times of a wide pandas frame of outcomes; None where they are only positions.

    **Raises:** `DataError` when a frame beside it has others, or these in another order; for
    columns that are times out of order, unless `time` is given.
    """
    y = given.y
    if not isinstance(y, pd.DataFrame):
        return None, None
    for name in ("d", "mask", "covariates"):
        other = getattr(given, name)
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
