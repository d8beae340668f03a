"""Data frames in: the columns of a frame as numbers and labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jcausal.data._covariates import check_no_times, lay
from jcausal.data._gaps import rows_kept
from jcausal.data._labels import as_labels
from jcausal.data._names import RowNames
from jcausal.data._numbers import as_numbers
from jcausal.data._read import Column, open_frame, read_columns
from jcausal.data._reading import Reading, Said, working_dtype
from jcausal.data._roles import Roles, Told, roles_of
from jcausal.data._row_labels import RowLabels, labels_of
from jcausal.data._rows import row_names
from jcausal.data._schema import make_schema
from jcausal.data._treated import arms


def read_frame(frame: Any, told: Told) -> Reading:
    """A frame's rows as numbers and labels, and what they are called.

    **Raises:** `DataError` for what cannot be read; `checked` refuses values.
    """
    table, home = open_frame(frame)
    roles = roles_of(told, table.columns)
    labels = [name for name in (roles.id, roles.cluster) if name is not None]
    columns = read_columns(table, [*roles.covariates, *roles.taken], labels)
    keep = rows_kept(columns, roles.taken, told.missing)
    index = labels_of(frame)
    names = row_names(table.to_native(), keep)
    if not keep.all():
        columns = {name: column.take(keep) for name, column in columns.items()}
        index = None if index is None else index[keep]
    reading = _reading(columns, roles, told.treated)
    ids = names if roles.id is None else reading.id
    called = RowNames(ids, None if index is None else RowLabels(index))
    return reading._replace(called=called, home=home)


def _reading(columns: Mapping[str, Column], roles: Roles, treated: object) -> Reading:
    """The columns in their roles."""
    laid = [part for n in roles.covariates for part in lay(n, columns[n], n in roles.categorical)]
    schema = make_schema(
        len(laid),
        [part.name for part in laid],
        [part.kind for part in laid],
        [roles.units.get(part.name, "") for part in laid],
        [part.levels for part in laid],
        {part.name: part.flag for part in laid if part.flag is not None},
    )
    n = len(laid[0].x)
    t = f"treatment {roles.treatment!r}"
    check_no_times(t, columns[roles.treatment])
    weight = _numbers("weight", roles.weight, columns)
    return Reading(
        x=np.stack([part.x for part in laid]).T,
        t=arms(t, columns[roles.treatment].values, treated),
        y=_numbers("outcome", roles.outcome, columns),
        weight=np.ones(n) if weight is None else weight,
        valid=np.ones(n, bool),
        id=_labels("id", roles.id, columns),
        cluster=_labels("cluster", roles.cluster, columns),
        schema=schema,
        called=RowNames(),
        dtype=working_dtype(None),
        said=Said(
            t=repr(roles.treatment),
            y=f"outcome {roles.outcome!r}",
            weight=f"weight {roles.weight!r}",
            id=f"id {roles.id!r}",
            cluster=roles.cluster,
        ),
    )


def _numbers(
    role: str, name: str | None, columns: Mapping[str, Column]
) -> Float[np.ndarray, " n"] | None:
    if name is None:
        return None
    check_no_times(f"{role} {name!r}", columns[name])
    return as_numbers(f"{role} {name!r}", columns[name].values)


def _labels(role: str, name: str | None, columns: Mapping[str, Column]) -> np.ndarray | None:
    return None if name is None else as_labels(f"{role} {name!r}", columns[name].values)
