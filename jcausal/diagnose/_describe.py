"""What a frame holds, before anything is estimated."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from jcausal.data import DataError
from jcausal.data._check import as_numbers, check_treatment
from jcausal.diagnose._overlap import common_area


def describe(
    frame: Any,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    covariates: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    weight: str | None = None,
) -> pd.DataFrame:
    """Kinds, missing values and, with a treatment, how far the arms overlap; column by column.

    **Arguments:** column names as in `Sample.from_frame`; `covariates` default to all other
    columns.

    **Returns:** a frame, one row a column: `role`, `kind` (number, binary, category, text),
    `distinct` values, `missing` rows, `mean`, `sd`; with a treatment also `mean_treated`,
    `mean_control`, `smd` (over the treated's sd; shares raw, of a category its largest),
    `overlap` (area that the two weighted densities share: 1 = equal, 0 = apart) and `outside`
    (treated units below or above all controls, or in a level without one). Each column counts the
    rows in which it, the treatment and the weight are known. `attrs` hold `rows`, `complete`
    (rows without a missing value), `treated` and `control`.

    **Raises:** `DataError` for an unknown column or a treatment that is not 0 and 1.

    **Example:**

        >>> import pandas as pd, jcausal as jc
        >>> f = pd.DataFrame({"treat": [0, 1, 0, 1], "age": [30.0, 40.0, None, 35.0]})
        >>> jc.describe(f, treatment="treat")["missing"].tolist()
        [0, 1]
    """
    table = _pandas(frame)
    roles = {treatment: "treatment", outcome: "outcome", weight: "weight"}
    names = [c for c in table.columns if c not in roles] if covariates is None else list(covariates)
    shown = [c for c in (treatment, outcome, weight) if c is not None] + names
    for name in [*shown, *categorical]:
        if name not in table.columns:
            raise DataError(f"there is no column {name!r}: they are {', '.join(table.columns)}.")
    columns = {name: pd.Series(table[name]) for name in shown}
    arm = None if treatment is None else _arm(columns[treatment], treatment)
    mass = (
        np.ones(len(table)) if weight is None else as_numbers(f"weight {weight!r}", table[weight])
    )
    rows = []
    for name in shown:
        kind = _kind(columns[name], name in categorical)
        row = dict(column=name, role=roles.get(name, "covariate"), kind=kind)
        row |= _alone(columns[name], kind)
        if arm is not None and name not in (treatment, weight):
            row |= _by_arm(columns[name], kind, arm, mass)
        rows.append(row)
    out = pd.DataFrame(rows).set_index("column")
    out.attrs.update(
        rows=len(table), complete=int(np.all([c.notna() for c in columns.values()], axis=0).sum())
    )
    if arm is not None:
        out.attrs.update(treated=int((arm == 1).sum()), control=int((arm == 0).sum()))
    return out


def _pandas(frame: Any) -> pd.DataFrame:
    """Any frame that can be read as pandas, its columns named by strings."""
    if isinstance(frame, np.ndarray):
        frame = pd.DataFrame(frame)
    if not isinstance(frame, pd.DataFrame):
        try:
            read = nw.from_native(frame)
        except TypeError as error:
            raise DataError(f"{type(frame).__name__} is no data frame that can be read.") from error
        frame = (read.collect() if isinstance(read, nw.LazyFrame) else read).to_pandas()
    if frame.empty:
        raise DataError("the frame has no rows.")
    return frame.set_axis([str(c) for c in frame.columns], axis=1)


def _arm(column: pd.Series, name: str) -> np.ndarray:
    """The treatment as 0, 1 and NaN."""
    arm = as_numbers(f"treatment {name!r}", column)
    check_treatment(arm, ~np.isnan(arm), repr(name))
    return arm


def _kind(column: pd.Series, declared: bool) -> str:
    known = column.dropna()
    if declared or isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_bool_dtype(known) or pd.api.types.is_numeric_dtype(known):
        return "binary" if known.astype(float).isin((0.0, 1.0)).all() else "number"
    return "text"


def _alone(column: pd.Series, kind: str) -> dict[str, float]:
    """Distinct and missing values, mean and sd of numbers."""
    numbers = np.asarray(column.dropna(), float) if kind in ("number", "binary") else None
    return dict(
        distinct=int(column.nunique()),
        missing=int(column.isna().sum()),
        mean=np.nan if numbers is None else float(np.mean(numbers)),
        sd=np.nan if numbers is None or len(numbers) < 2 else float(np.std(numbers, ddof=1)),
    )


def _by_arm(column: pd.Series, kind: str, arm: np.ndarray, mass: np.ndarray) -> dict[str, float]:
    """Means by arm, their standardised difference, overlap, and who is outside."""
    known = column.notna().to_numpy() & ~np.isnan(arm) & (mass > 0)
    treated, w = arm[known] == 1, mass[known]
    if not treated.any() or treated.all():
        return dict.fromkeys(("mean_treated", "mean_control", "smd", "overlap"), np.nan) | dict(
            outside=int(treated.sum())
        )
    if kind in ("category", "text"):
        codes, _ = pd.factorize(column[known])
        shares = [np.bincount(codes, w * (treated == a), codes.max() + 1) for a in (False, True)]
        gap = shares[1] / shares[1].sum() - shares[0] / shares[0].sum()
        outside = int((treated & (shares[0][codes] == 0)).sum())
        means = (np.nan, np.nan, float(gap[np.abs(gap).argmax()]))
        values = codes.astype(float)
        area = float(np.minimum(*(s / s.sum() for s in shares)).sum())
    else:
        values = np.asarray(column[known], float)
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
