"""The panel: outcomes and treatment of n units at m times."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, ArrayLike, Bool, Float

from jcausal.data import (
    DataError,
    FrameKind,
    Shown,
    Values,
    in_dtype,
    is_traced,
    label_in_words,
    like,
    on_host,
    rows_of,
)
from jcausal.panels._assignment import Assignment, assignment_of
from jcausal.panels._checked_arrays import (
    PanelArrays,
    check_assignment,
    checked_arrays,
    checked_labels,
)
from jcausal.panels._long_frame import Missing, PanelColumns, read_panel
from jcausal.panels._requirements import fitting, pattern_summary
from jcausal.panels._wide_frame import beside_labels, wide_labels

SHOWN = 100  # labels that are printed


class Labels:
    """Names of units or times, compared by identity so that they never enter a trace's key."""

    made_of: ClassVar = ("values",)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __repr__(self) -> str:
        """The labels in order; of very many the first and how many there are."""
        words = ", ".join(label_in_words(label) for label in self.values[:SHOWN])
        more = f", ... ({len(self.values):,} in all)" if len(self.values) > SHOWN else ""
        return f"Labels({words}{more})"


class Panel(Shown, eqx.Module):
    """Outcomes of n units at m times, with a binary treatment that may come and go.

    A pytree. On concrete input every fault raises `DataError`; under tracing nothing can be
    checked, and a NaN outcome makes the results NaN.

    **Arguments:**

    - `y`: (n, m) outcomes in their own units.
    - `d`: (n, m) treatment, 0 or 1.
    - `mask`: (n, m) bool, True where the cell was observed; default all. What stands in `y` and
      `d` elsewhere is never looked at (kept as 0).
    - `covariates`: (n, m, k) numbers that may move with time, or (n, k); where `y` was not observed
      they may be NaN.
    - `unit`, `time`: n and m labels, each once; times stand in their order. Default: those of a
      pandas frame of outcomes (frames beside it must then have the same, and columns that are
      dates or numbers must stand in their order), else positions.
    - `outcome`: a word for the outcome, for pictures and summaries.

    **Raises:** `DataError`.

    **Example:**

        >>> import jcausal as jc
        >>> panel = jc.Panel([[1.0, 2.0], [3.0, 5.0]], [[0, 0], [0, 1]], unit=["a", "b"])
        >>> panel.assignment.pattern
        'block'
    """

    y: Float[Array, "n m"]
    d: Bool[Array, "n m"]
    mask: Bool[Array, "n m"]
    covariates: Float[Array, "n m k"] | None
    units: Labels | None = eqx.field(static=True)
    times: Labels | None = eqx.field(static=True)
    outcome: str = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True)

    def __init__(
        self,
        y: ArrayLike | Sequence | pd.DataFrame,
        d: ArrayLike | Sequence | pd.DataFrame,
        *,
        mask: ArrayLike | Sequence | pd.DataFrame | None = None,
        covariates: ArrayLike | Sequence | pd.DataFrame | None = None,
        unit: Sequence | np.ndarray | None = None,
        time: Sequence | np.ndarray | None = None,
        outcome: str = "outcome",
    ) -> None:
        given = PanelArrays(y, d, mask, covariates)
        if is_traced(y, d, mask, covariates):
            arrays = _traced_arrays(given)
        else:
            rows, columns = wide_labels(given, time)
            unit, time = rows if unit is None else unit, columns if time is None else time
            arrays = checked_arrays(given, unit, time)
        dtype = jnp.result_type(float)
        self.mask, self.y, self.d = _cells(arrays.mask, arrays.y, arrays.d, dtype)
        cube = arrays.covariates
        self.covariates = None if cube is None else in_dtype(cube, dtype)
        n, m = self.y.shape
        self.units = None if unit is None else Labels(checked_labels("unit", unit, n))
        self.times = None if time is None else Labels(checked_labels("time", time, m))
        self.outcome, self.home = outcome, "pandas"

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        unit: str,
        time: str,
        outcome: str,
        treatment: str,
        covariates: Sequence[str] = (),
        missing: Missing = "error",
        treated: object = None,
    ) -> "Panel":
        """A panel from a long frame: one row a unit and time, in any order.

        pandas, polars, pyarrow, DuckDB. A pair of unit and time without a row was not observed.
        Units are sorted: words that are all numbers as numbers, other words by their letters.

        Times are sorted as times: ordered categories and enums by their own order; words as the
        dates that they are ("2019-1", "Aug 2019", "2019Q3", "01feb2020"), as numbers, or by the
        numbers in them ("t9" before "t10"). Where two orders are possible ("01/02/2020"; words
        without a number whose rows do not follow their letters) the panel is refused. A time with
        a zone is that of the clock there.

        **Arguments:** column names. `missing`: "error" refuses a missing outcome, treatment or
        covariate; "drop" counts such rows as not observed and warns with their number. `treated`:
        the value of the treatment that means treated, where its two values are not 0 and 1.

        **Raises:** `DataError` for a pair of unit and time that stands in two rows, missing
        labels, a treatment other than 0 and 1, and the like: the message names column, count, rows.

        **Example:**

            >>> import pandas as pd, jcausal as jc
            >>> f = pd.DataFrame({"state": ["a", "a", "b", "b"], "year": [1, 2, 1, 2]})
            >>> f = f.assign(packs=[5.0, 4.0, 6.0, 3.0], law=[0, 0, 0, 1])
            >>> words = dict(unit="state", time="year", outcome="packs", treatment="law")
            >>> jc.Panel.from_frame(f, **words).y.shape
            (2, 2)
        """
        columns = PanelColumns(unit, time, outcome, treatment, covariates)
        arguments, home = read_panel(frame, columns, missing, treated)
        return replace(cls(**arguments), home=home)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.y.shape[0]

    @property
    def m(self) -> int:
        """Number of times."""
        return self.y.shape[1]

    @property
    def unit(self) -> np.ndarray:
        """The units' labels (n,), or positions."""
        return np.arange(self.n) if self.units is None else self.units.values

    @property
    def time(self) -> np.ndarray:
        """The times' labels (m,), or positions."""
        return np.arange(self.m) if self.times is None else self.times.values

    @property
    def treated(self) -> Bool[Array, "n m"]:
        """Observed cells with treatment."""
        return _both(self.d, self.mask)

    @property
    def control(self) -> Bool[Array, "n m"]:
        """Observed cells without treatment."""
        return _only(self.mask, self.d)

    @property
    def assignment(self) -> Assignment:
        """Who was treated when, in numbers (concrete panels only)."""
        if not np.asarray(self.treated).any():
            seen = np.asarray(self.mask).sum()
            raise DataError(
                f"none of the {seen} observed cells is treated: there is nothing to compare."
            )
        words = [label_in_words(v) for v in self.time]
        return assignment_of(np.asarray(self.d), np.asarray(self.mask), words)

    def completers(self) -> list[str]:
        """Names of the methods that fit the assignment pattern (concrete panels only)."""
        return fitting(self.assignment)

    def summary(self) -> str:
        """Sizes, the assignment pattern, and which methods fit it or why they do not, in words."""
        return pattern_summary(self.assignment)

    def take(self, rows: Any) -> "Panel":
        """Some units, by positions (k,), which may repeat (labels are left out then), or a mask."""
        rows = _positions(rows)
        kept = replace(
            self,
            y=rows_of(self.y, rows),
            d=rows_of(self.d, rows),
            mask=rows_of(self.mask, rows),
            covariates=None if self.covariates is None else rows_of(self.covariates, rows),
            units=None,
        )
        if is_traced(rows) or np.unique(np.asarray(rows)).size < kept.n:
            return kept
        return replace(kept, units=Labels(self.unit[np.asarray(rows)]))

    def take_times(self, columns: Any) -> "Panel":
        """Some times, by positions (k,), which may repeat (labels are left out then), or a mask."""
        columns = _positions(columns)
        cube = self.covariates
        kept = replace(
            self,
            y=_columns_of(self.y, columns),
            d=_columns_of(self.d, columns),
            mask=_columns_of(self.mask, columns),
            covariates=None if cube is None else _columns_of(cube, columns),
            times=None,
        )
        if is_traced(columns) or np.unique(np.asarray(columns)).size < kept.m:
            return kept
        return replace(kept, times=Labels(self.time[np.asarray(columns)]))

    def with_treatment(self, d: Bool[Array, "n m"] | np.ndarray | pd.DataFrame) -> "Panel":
        """The same outcomes under another assignment, as placebos need.

        **Raises:** `DataError` for values other than 0 and 1, where one of them is missing, and for
        a pandas frame whose labels are not the panel's, in their order.
        """
        if not is_traced(d, self):
            beside_labels(d, self.unit, self.time)
            d = check_assignment(d, np.asarray(self.mask), self.unit, self.time)
        return replace(self, d=_both(d, self.mask))

    def without_covariates(self) -> "Panel":
        """The panel for methods that use no covariates."""
        return replace(self, covariates=None)

    def plain(self) -> "Panel":
        """The arrays without the words: what a traced core may see."""
        return replace(self, units=None, times=None, outcome="outcome", home="pandas")

    def to_frame(self) -> Any:
        """One row an observed cell: unit, time, outcome, treated; of the kind that came in."""
        return like(self.home, self._shown())

    @property
    def _single(self) -> bool:
        return self.y.ndim == 2

    def _said(self) -> str:
        return self.summary()

    def _shown(self) -> pd.DataFrame:
        i, j = np.nonzero(np.asarray(self.mask))
        columns = {
            "unit": self.unit[i],
            "time": self.time[j],
            "outcome": np.asarray(self.y)[i, j],
            "treated": np.asarray(self.d)[i, j],
        }
        return pd.DataFrame(columns)


def replace(panel: Panel, **changes: Any) -> Panel:
    """A copy with some fields changed, built as a pytree is: without the checks of `__init__`."""
    new = object.__new__(Panel)
    for field in dataclasses.fields(Panel):
        object.__setattr__(new, field.name, changes.get(field.name, getattr(panel, field.name)))
    return new


@on_host
def _cells(
    lib: Any, mask: Values, y: Values, d: Values, dtype: np.dtype
) -> tuple[Bool[Array, "n m"], Float[Array, "n m"], Bool[Array, "n m"]]:
    """Which cells were observed, their outcomes and who was treated; 0 and False elsewhere."""
    seen = lib.asarray(mask, bool)
    return (
        seen,
        lib.where(seen, lib.asarray(y, dtype), 0).astype(dtype),
        lib.asarray(d, bool) & seen,
    )


@on_host
def _both(lib: Any, one: Values, other: Values) -> Bool[Array, "n m"]:
    return lib.asarray(one, bool) & other


@on_host
def _only(lib: Any, one: Array, other: Array) -> Bool[Array, "n m"]:
    return one & ~other


@on_host
def _columns_of(lib: Any, array: Array, columns: Any) -> Array:
    return array[:, columns]


def _positions(chosen: Any) -> Any:
    """A mask as positions; positions as they are."""
    if is_traced(chosen):
        return chosen
    values = np.asarray(chosen)
    return np.flatnonzero(values) if values.dtype == bool else values


def _traced_arrays(given: PanelArrays) -> PanelArrays:
    """The arrays as they are, in their full shapes."""
    y, cube = jnp.asarray(given.y), given.covariates
    mask = jnp.ones(y.shape, bool) if given.mask is None else jnp.asarray(given.mask)
    if cube is not None:
        cube = jnp.asarray(cube)
        cube = cube[:, None] if cube.ndim == 2 else cube
        cube = jnp.broadcast_to(cube, (*y.shape, cube.shape[-1]))
    return PanelArrays(y, jnp.asarray(given.d), mask, cube)
