"""What a frame calls its rows: an index, the columns in which one was written, positions."""

import re
from collections.abc import Container, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from jcausal.data._warn import warn_user

UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)*)?$")  # "" in polars and Arrow
STORED = re.compile(r"__index_level_\d+__$")  # in Parquet, of an index without a name
DUCKDB = re.compile(r"column0+$")


def without_row_names(columns: Sequence[str], taken: Container[str | None]) -> list[str]:
    """The columns without a role, but for those in which pandas writes an index; warns of them."""
    first = [*takewhile(UNNAMED.match, columns)]
    if not first and [bool(DUCKDB.match(name)) for name in columns] == [
        place == 0 for place in range(len(columns))
    ]:
        first = [columns[0]]
    free = [name for name in columns if name not in taken]
    left = [name for name in free if name in first or STORED.match(name)]
    if left:
        warn_user(
            f"the column {', '.join(map(repr, left))} has no name of its own, as the row names "
            "that a frame's to_csv writes: it is no covariate (to make it one, name it as one)."
        )
    return [name for name in free if name not in left]


def row_names(native: Any, keep: Bool[np.ndarray, " n"]) -> Shaped[np.ndarray, " k"] | None:
    """Names of the rows kept: a unique index, else their positions; None where all stand in place.

    They name rows in what is written, by tuples where the index has several levels, and shape no
    draw.
    """
    index = native.index if isinstance(native, pd.DataFrame) else None
    named = index is not None and index.is_unique and not _gaps(index)
    if index is not None and named and not index.equals(pd.RangeIndex(len(keep))):
        return index.to_numpy()[keep]
    return None if keep.all() else np.flatnonzero(keep)


def _gaps(index: pd.Index) -> bool:
    """Whether a label, or one level of it, is missing."""
    if isinstance(index, pd.MultiIndex):
        return any(bool((np.asarray(codes) < 0).any()) for codes in index.codes)
    return bool(index.hasnans)
