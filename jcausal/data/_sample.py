"""The sample: covariates, treatment and outcome of n units, with ladders and codes."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, ArrayLike, Bool, Float, Int, UInt32

from jcausal.data._arrays import Handed, Words, read_arrays
from jcausal.data._assemble import Fields, assemble, laid_out
from jcausal.data._check import checked
from jcausal.data._frame import read_frame
from jcausal.data._host import on_host, to_device
from jcausal.data._like import FrameKind, beside_covariates, like
from jcausal.data._names import NAMELESS, RowNames, marked
from jcausal.data._outcome import attached_outcome
from jcausal.data._points import kept_points, read_off
from jcausal.data._read import column_names
from jcausal.data._roles import Missing, Told
from jcausal.data._row_labels import beside, by_id, by_place, in_one_order, labels_of
from jcausal.data._schema import Schema, plain_schema
from jcausal.data._shapes import is_traced
from jcausal.data._show import ROWS, Shown
from jcausal.data._summary import (
    covariates_in_words,
    more_in_words,
    outcome_in_words,
    units_in_words,
)
from jcausal.data._traced import traced_fields


class Sample(Shown, eqx.Module):
    """Units with covariates, a binary treatment and (perhaps later) an outcome.

    A pytree. On concrete input every fault raises `DataError`; under tracing a row that is not
    finite becomes the code `RESULTS.bad_input` of the queries. pandas objects are laid beside each
    other by their labels, anything else by position; what is masked in a NumPy masked array is
    missing. `called` keeps the labels of the rows, for labels and outcomes that come later.

    **Arguments:**

    - `x`: (n, p) covariates in their own units. A category column holds numbers that name levels.
    - `t`: (n,) treatment, 0 or 1.
    - `y`: (n,) outcome, or None for a design made before the outcomes are seen.
    - `weight`: (n,) sampling weight, default 1. Means and fits use it; counts do not.
    - `id`: (n,) row names, unique; splits and draws then follow the id, not the position.
    - `cluster`: (n,) labels; a cluster is never divided between folds.
    - `names`, `units`: one word a column; `names` default to those of a frame `x`, else to x0, x1,
      ...; `units` (such as "$" or "years") are for `describe`.
    - `kinds`: "number", "binary" or "category" a column; default: binary if only 0 and 1 occur.
    - `levels`: {name: labels} for category columns whose values are 0, 1, ...
    - `flags`: {number: category} for numbers with missing values: a row is missing where the
      category, of two levels, holds the second. {category: itself}: its last level is "missing".
    - `valid`: (n,) bool; an invalid row is padding and enters nothing.

    A missing value has no code: a box takes it in when it holds the level "missing", whatever its
    interval. `fill` (p,), the weighted mean of the observed, stands in `x` for response surfaces
    only; divide one sample with `jc.split` rather than reading two, so that both parts have one
    fill. Flags work under tracing too.

    **Raises:** `DataError`.

    **Example:**

        >>> import jcausal as jc
        >>> s = jc.Sample([[1.0], [2.0], [2.0]], [0, 1, 0], [5.0, 6.0, 4.0], names=["age"])
        >>> s.codes[:, 0].tolist()
        [0, 1, 1]
    """

    x: Float[Array, "n p"]
    t: Bool[Array, " n"]
    y: Float[Array, " n"] | None
    weight: Float[Array, " n"]
    valid: Bool[Array, " n"]
    codes: Int[Array, "n p"]
    ladder: Float[np.ndarray, "p l"] | Float[Array, "p l"]
    heights: Int[Array, " p"]
    fill: Float[Array, " p"]
    row: UInt32[Array, "n 2"]
    content: UInt32[Array, "n 2"]
    origin: UInt32[Array, " 2"]
    cluster: Int[Array, " n"] | None
    mark: UInt32[Array, " 2"]
    schema: Schema = eqx.field(static=True)
    called: RowNames = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True)

    def __init__(
        self,
        x: ArrayLike | Sequence | pd.DataFrame,
        t: ArrayLike | Sequence | pd.Series,
        y: ArrayLike | Sequence | pd.Series | None = None,
        *,
        weight: ArrayLike | Sequence | pd.Series | None = None,
        id: ArrayLike | Sequence | pd.Series | pd.Index | None = None,
        cluster: ArrayLike | Sequence | pd.Series | None = None,
        names: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
        levels: Mapping[str, Sequence[str]] | None = None,
        flags: Mapping[str, str] | None = None,
        valid: ArrayLike | Sequence | pd.Series | None = None,
    ) -> None:
        names = column_names(x) if names is None else names
        given = dict(x=x, t=t, y=y, weight=weight, id=id, cluster=cluster, valid=valid)
        laid, labels = in_one_order(given)
        x, handed = laid.pop("x"), Handed(**laid)
        words = Words(names, kinds, units, levels, flags)
        if is_traced(x, handed.t, handed.weight, handed.valid):
            fields = traced_fields(x, handed, words, labels)
        else:
            fields = assemble(checked(read_arrays(x, handed, words, labels)))
        for name, value in fields._asdict().items():
            setattr(self, name, value)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        treatment: str,
        outcome: str | None = None,
        covariates: Sequence[str] | None = None,
        categorical: Sequence[str] = (),
        missing: Missing = "error",
        weight: str | None = None,
        id: str | None = None,
        cluster: str | None = None,
        units: Mapping[str, str] | None = None,
        treated: object = None,
    ) -> "Sample":
        """A sample from a pandas or polars frame, a pyarrow Table, a DuckDB relation or an array.

        A DuckDB relation and a polars LazyFrame are collected; a dict of columns is read too.
        Frames made of the sample later (matched data, effects) are of the kind that came in; those
        of an array or a dict are pandas'. Without an `id` a pandas index names the rows where it is
        unique, else their places in the frame do: they stand in every frame made later, and no draw
        follows them.

        **Arguments:** column names; `covariates` default to every column with no other role, but
        for the first without a name, in which `to_csv` writes an index;
        `categorical` columns become one dimension each, text or not (a frame's own categories,
        enums and dictionaries do so unasked); `units` maps column names to words such as "$".
        `treated`: the value of the treatment that means treated, where its two values are not 0
        and 1.
        `missing` (null, None and NaN alike):

        - "error" refuses it.
        - "drop" leaves out rows with a missing value and warns with their count.
        - "indicator" keeps it, in covariates: missing matches missing only, until a box opens
          to it, and no number is put in its place. A number gets a partner, the category "NAME
          missing" with the levels "observed" and "missing"; a category, and a column of 0 and 1
          (which becomes one), the level "missing". Rows without a treatment, outcome, weight,
          id or cluster are left out, with a warning as of "drop".

        **Raises:** `DataError` naming the column, the count and the rows.

        **Example:**

            >>> import pandas as pd, jcausal as jc
            >>> f = pd.DataFrame({"treat": [0, 1, 0], "y": [1.0, 2.0, 0.0], "sex": ["f", "m", "m"]})
            >>> s = jc.Sample.from_frame(f, treatment="treat", outcome="y", categorical=["sex"])
            >>> s.schema.levels[0]
            ('f', 'm')
        """
        told = Told(
            treatment=treatment,
            outcome=outcome,
            covariates=covariates,
            categorical=categorical,
            missing=missing,
            weight=weight,
            id=id,
            cluster=cluster,
            units=units,
            treated=treated,
        )
        return _made(assemble(checked(read_frame(frame, told))))

    @property
    def n(self) -> int:
        """Number of rows, padding included."""
        return self.x.shape[0]

    @property
    def p(self) -> int:
        """Number of covariates."""
        return self.x.shape[1]

    @property
    def id(self) -> np.ndarray:
        """The user's row names, or positions: of a part, those in the sample that it is of."""
        ids = marked(self.called, self.mark).ids
        if ids is not None:
            return ids
        return np.arange(self.n) if is_traced(self.row) else np.asarray(self.row)[:, 1].astype(int)

    @property
    def points(self) -> Float[np.ndarray, "n p"]:
        """The covariates as float64, read off the ladders (concrete samples only); NaN: missing.

        They are read once and kept on the host: not to be written to.
        """
        return kept_points(self.codes, self.ladder)

    def to_frame(self) -> Any:
        """The valid rows as a frame of the kind that came in (concrete samples only).

        **Returns:** columns `id` (where given, or other than the place) and `weight` where given,
        `treated`, `outcome` when there is one, and the covariates under their own names, levels by
        their labels.
        """
        return like(self.home, self._frame(np.flatnonzero(np.asarray(self.valid))))

    def _frame(self, rows: Int[np.ndarray, " m"]) -> pd.DataFrame:
        """Some rows of it in pandas."""
        ids = self.id
        own = marked(self.called, self.mark).ids is None
        in_place = own and (ids == np.arange(self.n)).all()
        columns: dict[str, Any] = {} if in_place else dict(id=ids[rows])
        columns["treated"] = np.asarray(self.t)[rows].astype(int)
        if self.y is not None:
            columns["outcome"] = np.asarray(self.y)[rows]
        weight = np.asarray(self.weight)
        even = (weight[np.asarray(self.valid)] == 1).all()
        columns |= {} if even else dict(weight=weight[rows])
        points = read_off(np.asarray(self.codes)[rows], self.ladder)
        return beside_covariates(columns, self.schema, points)

    @property
    def _single(self) -> bool:
        return self.x.ndim == 2

    def _said(self) -> str:
        lines = [
            units_in_words(self.t, self.valid),
            outcome_in_words(self.y, self.valid),
            *more_in_words(self.weight, self.cluster, self.valid),
            covariates_in_words(self.schema),
        ]
        return "\n".join(lines)

    def _shown(self) -> pd.DataFrame:
        return self._frame(np.flatnonzero(np.asarray(self.valid))[:ROWS])

    def with_outcome(self, y: ArrayLike | Sequence | pd.Series) -> "Sample":
        """The same units with the outcomes `y` (n,) attached: of pandas by label, else by position.

        **Raises:** `DataError` for a wrong length, NaN, text, or labels that are not the sample's.
        """
        y = self.beside("y", y)
        return replace(self, y=attached_outcome(y, self.valid, np.dtype(self.x.dtype)))

    def beside(self, name: str, values: Any) -> Any:
        """Values of the units in their order: by the labels of the rows or by `id`, if in pandas.

        Row numbers are labels in a part of an array: those of the array.

        **Raises:** `DataError` for a pandas object that lacks some of the labels, and for row
        numbers in another order where the sample has no labels.
        """
        labels = labels_of(values)
        own = None if labels is None else self._labels(name, labels)
        return beside(name, values, own, "the sample", more=True)

    def _labels(self, name: str, given: pd.Index) -> pd.Index | None:
        """The rows' labels, or their ids where these are what is given; None without either."""
        names, ids = marked(self.called, self.mark), pd.Index(self.id)
        index = None if names.labels is None else names.labels.of(self.n)
        if names.ids is not None:
            return ids if by_id(given, ids, index) else index
        if index is None and not ids.equals(pd.RangeIndex(self.n)):
            return ids if by_place(name, given, ids) else None
        return index

    def with_valid(self, valid: Bool[Array, " n"]) -> "Sample":
        """The same arrays with only the rows `valid` (n,) counting, for use under tracing."""
        return replace(self, valid=_both(self.valid, valid))

    def take(self, rows: Int[np.ndarray, " m"]) -> "Sample":
        """Some of the rows as a sample, on ladders of their own values (concrete samples only)."""
        valid, fill = np.asarray(self.valid)[rows], np.asarray(self.fill, np.float64)
        points = read_off(np.asarray(self.codes)[rows], self.ladder)
        codes, ladder, heights = laid_out(self.schema, points, valid, fill)
        by_row = ("x", "t", "y", "weight", "valid", "row", "content", "cluster")
        picked = {name: getattr(self, name) for name in by_row}
        picked = {
            name: None if a is None else to_device(np.asarray(a)[rows])
            for name, a in picked.items()
        }
        laid = dict(codes=to_device(codes), ladder=ladder, heights=to_device(heights))
        names = marked(self.called, self.mark).take(np.asarray(rows), self.n)
        return renamed(replace(self, **picked, **laid), names)

    def plain(self) -> "Sample":
        """The arrays without the words: what a traced core may see."""
        schema = plain_schema(self.schema)
        return renamed(replace(self, schema=schema, home="pandas"), NAMELESS)


def ids_of(sample: Sample, rows: Int[np.ndarray, " q"]) -> list:
    """The names of some rows; None for -1, a point outside of the sample."""
    ids = sample.id
    return [ids[k] if k >= 0 else None for k in rows]


@on_host
def _both(lib: Any, valid: Bool[Array, " n"], also: Bool[Array, " n"]) -> Bool[Array, " n"]:
    return valid & also


def renamed(sample: Sample, names: RowNames) -> Sample:
    """The same rows under other names."""
    return replace(sample, called=names, mark=to_device(names.mark))


def replace(sample: Sample, **changes: Any) -> Sample:
    """A copy with some fields changed."""
    fields = {field: getattr(sample, field) for field in Fields._fields}
    return _made(Fields(**(fields | changes)))


def _made(fields: Fields) -> Sample:
    """A sample of its fields, built as a pytree is: without the checks of `__init__`."""
    new = object.__new__(Sample)
    for name, value in fields._asdict().items():
        object.__setattr__(new, name, value)
    return new
