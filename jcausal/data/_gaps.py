"""Missing values of a frame: refused, their rows left out, or kept for an indicator."""

from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool

from jcausal.data._errors import DataError
from jcausal.data._read import Column
from jcausal.data._roles import Missing
from jcausal.data._warn import warn_user
from jcausal.data._words import rows_in_words


def rows_kept(
    columns: Mapping[str, Column], taken: Collection[str], missing: Missing
) -> Bool[np.ndarray, " n"]:
    """Which rows to use; missing values are refused, or rows dropped with a warning.

    `taken` are the columns that are no covariates.
    """
    holes = {name: column.missing for name, column in columns.items() if column.missing.any()}
    n = len(next(iter(columns.values())).missing)
    keep = np.ones(n, bool)
    if not holes:
        return keep
    if missing == "error":
        first, others = next(iter(holes)), ""
        if len(holes) > 1:
            others = f" (and {len(holes) - 1} more columns have gaps)"
        indicator = "" if first in taken else ", or match it as it is with missing='indicator'"
        raise DataError(
            f"column {_holed(first, holes[first])}{others}: fill them, or drop the rows with "
            f"missing='drop'{indicator}."
        )
    drops = {c: hole for c, hole in holes.items() if missing == "drop" or c in taken}
    for hole in drops.values():
        keep &= ~hole
    if not keep.any():
        raise DataError(f"each of the {n} rows has a missing value: nothing is left to match.")
    for name, hole in holes.items():
        if name not in drops and hole[keep].all():
            raise DataError(
                f"covariate {name!r} is missing in all {keep.sum()} rows: leave it out."
            )
    if not drops:
        return keep
    listed = ", ".join(f"{name} {int(hole.sum())}" for name, hole in drops.items())
    warn_user(
        f"dropped {int((~keep).sum())} of {n} rows with missing values ({listed}; "
        f"{rows_in_words(np.flatnonzero(~keep))})."
    )
    return keep


def _holed(name: str, hole: np.ndarray) -> str:
    rows = np.flatnonzero(hole)
    return (
        f"{name!r} is missing (null or NaN) in {rows.size} of {hole.size} rows "
        f"({rows_in_words(rows)})"
    )
