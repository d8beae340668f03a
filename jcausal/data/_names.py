"""What the rows of a sample are called: kept on the host, told apart by a mark in its arrays."""

import hashlib
import weakref
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Array, Shaped, UInt32

from jcausal.data._row_labels import RowLabels
from jcausal.data._shapes import is_traced
from jcausal.data._warn import warn_user


class _Held:
    """Ids and labels that all samples of the same names share."""

    def __init__(self, ids: Shaped[np.ndarray, " n"] | None, labels: RowLabels | None) -> None:
        self.ids, self.labels = ids, labels


_HELD: weakref.WeakValueDictionary[bytes, _Held] = weakref.WeakValueDictionary()


class RowNames:
    """The ids of rows, and their labels in pandas, where they have any.

    All are equal, so that they never enter a trace's key and samples can be stacked. A compiled
    function therefore gives every result the names that it was traced with: `mark`, which goes
    through it as an array, finds those of the sample that came in.
    """

    made_of: ClassVar = ("ids", "labels")

    def __init__(
        self, ids: Shaped[np.ndarray, " n"] | None = None, labels: RowLabels | None = None
    ) -> None:
        self.mark = _mark(ids, labels)
        self._held = _HELD.setdefault(self.mark.tobytes(), _Held(ids, labels))

    @property
    def ids(self) -> Shaped[np.ndarray, " n"] | None:
        """The ids, the user's own or a frame's."""
        return self._held.ids

    @property
    def labels(self) -> RowLabels | None:
        """The labels in pandas."""
        return self._held.labels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowNames)

    def __hash__(self) -> int:
        return hash(RowNames)

    def __reduce__(self) -> tuple:
        return RowNames, (self.ids, self.labels)

    def take(self, rows: np.ndarray, n: int) -> "RowNames":
        """The names of some of n rows."""
        ids = None if self.ids is None else self.ids[rows]
        return RowNames(ids, None if self.labels is None else self.labels.take(rows, n))


def marked(names: RowNames, mark: UInt32[Array, "*b 2"] | UInt32[np.ndarray, "*b 2"]) -> RowNames:
    """The names that a mark is of, which a compiled function may have put others beside.

    Under tracing, those at hand; of several samples in one, theirs if all have the same.
    """
    if is_traced(mark):
        return names
    words = np.unique(np.asarray(mark).reshape(-1, 2), axis=0)
    if len(words) > 1:
        return NAMELESS
    if np.array_equal(words[0], names.mark):
        return names
    held = _HELD.get(words[0].tobytes())
    if held is None:
        warn_user(
            "the sample that named these rows is gone, and a compiled function does not keep "
            "names: rows are told by their places (keep the sample to have its ids)."
        )
        return NAMELESS
    return RowNames(held.ids, held.labels)


def _mark(ids: np.ndarray | None, labels: RowLabels | None) -> UInt32[np.ndarray, " 2"]:
    """64 bits of names, the same in every process; zeros without any."""
    if ids is None and labels is None:
        return np.zeros(2, np.uint32)
    made = hashlib.blake2b(digest_size=8)
    for part in (ids, None if labels is None else labels.index):
        made.update(b"none;" if part is None else _bytes(part))
    made.update(b"labelled" if labels is not None else b"")
    return np.frombuffer(made.digest(), np.uint32)


def _bytes(values: np.ndarray | pd.Index) -> bytes:
    """What names hold, whatever their type."""
    array = np.asarray(values)
    held = repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()
    return f"{values.dtype} {array.dtype.str} {array.shape};".encode() + held


NAMELESS = RowNames()
