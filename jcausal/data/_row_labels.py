"""Rows in one order: pandas objects are laid beside each other by their labels."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool

from jcausal.data._errors import DataError


class RowLabels:
    """Labels of rows in pandas.

    `index` None stands for the numbers of the rows, 0, 1, ..., which are all alike.
    """

    made_of: ClassVar = ("index",)

    def __init__(self, index: pd.Index | None) -> None:
        counted = index is None or index.equals(pd.RangeIndex(len(index)))
        self.index = None if counted else index

    def of(self, rows: int) -> pd.Index:
        """The labels of so many rows."""
        return pd.RangeIndex(rows) if self.index is None else self.index

    def take(self, rows: np.ndarray, n: int) -> "RowLabels":
        """The labels of some of n rows."""
        return RowLabels(self.of(n).take(rows))


def labels_of(values: Any) -> pd.Index | None:
    """The row labels of a pandas object; None for anything else."""
    return values.index if isinstance(values, pd.Series | pd.DataFrame) else None


def beside(name: str, values: Any, own: pd.Index | None, whose: str, *, more: bool = False) -> Any:
    """`values` in the order of the labels `own` where both are labelled, else by position.

    **Arguments:** `own` the labels of what it stands beside, None where that has none; `whose`
    that in words; `more` allows labels that are not among `own`.

    **Raises:** `DataError` for labels that are not those of `own`, and for row numbers in another
    order beside something without labels.
    """
    labels = labels_of(values)
    if labels is None:
        return values
    if own is None:
        _check_positions(name, labels, whose)
        return values
    if labels.equals(own) or not (more or len(labels) == len(own)):
        return values  # another length is told as such
    if not (labels.is_unique and own.is_unique):
        twice = (labels if not labels.is_unique else own).duplicated()
        first = (labels if not labels.is_unique else own)[twice].tolist()[0]
        raise DataError(
            f"{name} is labelled otherwise than {whose}, and the label {first!r} stands twice: "
            f"bring {name} into the order of {whose}, then pass it with .to_numpy()."
        )
    place = labels.get_indexer(own)
    lost = np.flatnonzero(place < 0)
    if lost.size:
        first = own[lost].tolist()[0]
        raise DataError(
            f"{name} is labelled otherwise than {whose}: {lost.size} of the {len(own)} labels of "
            f"{whose} are not in it (first {first!r}); give it the same labels, or pass it "
            "with .to_numpy() to take it by position."
        )
    return values.iloc[place]


def _among(some: pd.Index, labels: pd.Index) -> Bool[np.ndarray, " n"]:
    """Which labels are among others; none where one are tuples and the others are not."""
    alike = some.nlevels == labels.nlevels
    return some.isin(labels) if alike else np.zeros(len(some), bool)


def by_id(labels: pd.Index, ids: pd.Index, index: pd.Index | None) -> bool:
    """Whether labels are meant as ids of rows: all of either are among the other, or some are.

    The labels `index` of the rows come first. Fresh row numbers, 0, 1, ... in order, are no ids
    unless all of them are.
    """
    held = _among(labels, ids)
    if index is not None and _among(labels, index).all():
        return False
    if index is not None and not held.all() and _among(index, labels).all():
        return False
    if held.all() or _among(ids, labels).all():
        return True
    return bool(held.any()) and not _fresh(labels)


def by_place(name: str, labels: pd.Index, places: pd.Index) -> bool:
    """Whether labels are meant as the row numbers of the array that a part was taken from.

    Fresh row numbers, one a row of the part, number the part itself.

    **Raises:** `DataError` for these where the part is the whole array in another order.
    """
    if not pd.api.types.is_integer_dtype(labels.dtype):
        return False
    if len(labels) != len(places):  # another length than the whole is told as such
        return np.array_equal(np.sort(labels.to_numpy()), np.arange(len(labels)))
    if _fresh(labels) and labels.isin(places).all():
        first = ", ".join(str(v) for v in places[:4])
        raise DataError(
            f"{name} is numbered 0, 1, ... and the sample has the rows of an array in another "
            f"order ({first}, ...): pass {name} as {name}.loc[sample.id] to take it by row, or "
            "with .to_numpy() to take it by position."
        )
    return not _fresh(labels)


def _fresh(labels: pd.Index) -> bool:
    """Whether labels only count the rows."""
    return labels.equals(pd.RangeIndex(len(labels)))


def _check_positions(name: str, labels: pd.Index, whose: str) -> None:
    """Refuse the numbers of the rows in another order, where nothing says which order is meant."""
    if not pd.api.types.is_integer_dtype(labels.dtype) or _fresh(labels):
        return
    if np.array_equal(np.sort(labels.to_numpy()), np.arange(len(labels))):
        first = ", ".join(str(v) for v in labels[:4])
        raise DataError(
            f"{name} has its rows in another order ({first}, ...) and {whose} has no labels to "
            f"compare: pass {name} with .sort_index(), or with .to_numpy() to take it by position."
        )


def in_one_order(parts: dict[str, Any]) -> tuple[dict[str, Any], RowLabels | None]:
    """Everything in the order of the first that is labelled, and these labels.

    **Raises:** `DataError` as `beside`.
    """
    names = [name for name, values in parts.items() if labels_of(values) is not None]
    if not names:
        return parts, None
    first = next(iter(parts))
    if names[0] != first:
        _check_positions(names[0], parts[names[0]].index, first)
    own = parts[names[0]].index
    laid = {name: beside(name, values, own, names[0]) for name, values in parts.items()}
    return laid, RowLabels(own)
