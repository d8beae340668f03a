"""What a frame holds, before anything is estimated."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jcausal.data import (
    Column,
    DataError,
    arms,
    as_numbers,
    check_finite,
    check_treatment,
    check_weight,
    label_words,
    like,
    open_frame,
    read_column,
    without_row_names,
)
from jcausal.diagnostics._overlap import common_area


def describe(
    frame: Any,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    covariates: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    weight: str | None = None,
    treated: object = None,
) -> Any:
    """Kinds, missing values and, with a treatment, how far the arms overlap; column by column.

    **Arguments:** column names and `treated` as in `Sample.from_frame`; `covariates` default to all
    other columns, but for row names without a header.

    **Returns:** a frame of the kind that came in, one row a column: `role`, `kind` (number, binary,
    category, text, time, mixed), `distinct` values, `missing` rows, `mean`, `sd`; with a treatment
    also `mean_treated`, `mean_control`, `smd` (over the treated's sd; shares raw, of a category its
    largest),
    `overlap` (area that the two weighted densities share: 1 = equal, 0 = apart) and `outside`
    (treated units below or above all controls, or in a level without one). Each column counts the
    rows in which it, the treatment and the weight are known. `attrs`, which pandas alone has,
    hold `rows`, `complete` (rows without a missing value), `treated` and `control`.

    **Raises:** `DataError` for an unknown column, a treatment that is not 0 and 1, infinite values,
    negative weights.

    **Example:**

        >>> import pandas as pd, jcausal as jc
        >>> f = pd.DataFrame({"treat": [0, 1, 0, 1], "age": [30.0, 40.0, None, 35.0]})
        >>> jc.describe(f, treatment="treat")["missing"].tolist()
        [0, 1]
    """
    table, home = open_frame(frame)
    roles = {treatment: "treatment", outcome: "outcome", weight: "weight"}
    free = without_row_names(table.columns, roles) if covariates is None else covariates
    names = list(free)
    shown = [c for c in (treatment, outcome, weight) if c is not None] + names
    for name in [*shown, *categorical]:
        if name not in table.columns:
            raise DataError(f"there is no column {name!r}: they are {', '.join(table.columns)}.")
    columns = {name: read_column(table[name]) for name in shown}
    arm = None
    if treatment is not None:
        arm = _arm(columns[treatment], treatment, treated)
        columns[treatment] = Column(arm, np.isnan(arm), "numbers")
    mass = np.ones(len(table)) if weight is None else _weights(columns[weight], weight)
    rows = []
    for name, column in columns.items():
        kind = _kind(column, name in categorical)
        if kind in ("number", "binary"):
            check_finite(f"column {name!r}", column.values, ~column.missing)
        row = dict(column=name, role=roles.get(name, "covariate"), kind=kind)
        row |= _alone(column, kind)
        if arm is not None and name not in (treatment, weight):
            row |= _by_arm(column, kind, arm, mass)
        rows.append(row)
    out = pd.DataFrame(rows).set_index("column")
    whole = ~np.any([column.missing for column in columns.values()], axis=0)
    out.attrs.update(rows=len(table), complete=int(whole.sum()))
    if arm is not None:
        out.attrs.update(treated=int((arm == 1).sum()), control=int((arm == 0).sum()))
    return like(home, out)


def _arm(column: Column, name: str, treated: object) -> np.ndarray:
    """The treatment as 0, 1 and NaN."""
    arm = arms(f"treatment {name!r}", column.values, treated)
    check_treatment(arm, ~column.missing, repr(name))
    return arm


def _weights(column: Column, name: str) -> np.ndarray:
    """The weights, 0 where one is missing."""
    mass = np.zeros(len(column.missing))
    mass[~column.missing] = as_numbers(f"weight {name!r}", column.values[~column.missing])
    check_weight(mass, ~column.missing, np.dtype(float))
    return mass


def _kind(column: Column, declared: bool) -> str:
    if declared or column.holds == "category":
        return "category"
    if column.holds != "numbers":
        return {"times": "time"}.get(column.holds, column.holds)
    known = column.values[~column.missing]
    return "binary" if known.size and np.isin(known, (0.0, 1.0)).all() else "number"


def _alone(column: Column, kind: str) -> dict[str, float]:
    """Distinct and missing values, mean and sd of numbers."""
    known = column.values[~column.missing]
    written = known if column.exact is None else column.exact[~column.missing]
    numeric = kind in ("number", "binary") and known.size > 0
    return dict(
        distinct=len(np.unique(known if written.dtype.kind == "f" else label_words(written))),
        missing=int(column.missing.sum()),
        mean=float(np.mean(known)) if numeric else np.nan,
        sd=float(np.std(known, ddof=1)) if numeric and known.size > 1 else np.nan,
    )


def _by_arm(column: Column, kind: str, arm: np.ndarray, mass: np.ndarray) -> dict[str, float]:
    """Means by arm, their standardised difference, overlap, and who is outside."""
    known = ~column.missing & ~np.isnan(arm) & (mass > 0)
    treated, w = arm[known] == 1, mass[known]
    if not treated.any() or treated.all():
        return dict.fromkeys(("mean_treated", "mean_control", "smd", "overlap"), np.nan) | dict(
            outside=int(treated.sum())
        )
    if kind not in ("number", "binary"):
        written = column.values if column.exact is None else column.exact
        codes = np.unique(label_words(written[known]), return_inverse=True)[1]
        shares = [np.bincount(codes, w * (treated == a), codes.max() + 1) for a in (False, True)]
        gap = shares[1] / shares[1].sum() - shares[0] / shares[0].sum()
        outside = int((treated & (shares[0][codes] == 0)).sum())
        means = (np.nan, np.nan, float(gap[np.abs(gap).argmax()]))
        area = float(np.minimum(*(s / s.sum() for s in shares)).sum())
    else:
        values = column.values[known]
        means = _means(values, treated, w, kind == "binary")
        low, high = values[~treated].min(), values[~treated].max()
        outside = int((treated & ((values < low) | (values > high))).sum())
        area = common_area(values, treated, w)
    return dict(zip(("mean_treated", "mean_control", "smd"), means)) | dict(
        overlap=area, outside=outside
    )


def _means(
    values: np.ndarray, treated: np.ndarray, weight: np.ndarray, share: bool
) -> tuple[float, float, float]:
    """Weighted means by arm, and their difference over the treated's sd (1 for shares)."""
    one, zero = (
        float(np.average(values[treated == a], weights=weight[treated == a])) for a in (1, 0)
    )
    spread = np.sqrt(np.average((values[treated] - one) ** 2, weights=weight[treated]))
    scale = 1.0 if share else float(spread)
    return one, zero, (one - zero) / scale if scale > 0 else float("nan")
