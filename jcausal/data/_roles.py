"""Which column of a frame is what."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from jcausal.data._errors import DataError
from jcausal.data._kinds import check_name, check_names, named
from jcausal.data._rows import without_row_names

Missing = Literal["error", "drop", "indicator"]


class Told(NamedTuple):
    """What the user says of a frame: the arguments of `Sample.from_frame`, which explains them."""

    treatment: Any
    outcome: Any
    covariates: Any
    categorical: Any
    missing: Missing
    weight: Any
    id: Any
    cluster: Any
    units: Any
    treated: object


class Roles(NamedTuple):
    """The names of columns by their role, all of them in the frame.

    `categorical` are among the `covariates`; `units` maps some of the frame's columns to words.
    """

    treatment: str
    outcome: str | None
    weight: str | None
    id: str | None
    cluster: str | None
    covariates: list[str]
    categorical: list[str]
    units: Mapping[str, str]

    @property
    def taken(self) -> list[str]:
        """The columns that are no covariates, in alphabetical order."""
        single = (self.treatment, self.outcome, self.weight, self.id, self.cluster)
        return sorted(name for name in single if name is not None)


def roles_of(told: Told, columns: Sequence[str]) -> Roles:
    """The columns by their role.

    **Raises:** `DataError` for a name that no column has, and for two roles of one column; the
    ValueError of an unknown way with missing values.
    """
    if told.missing not in ("error", "drop", "indicator"):
        raise ValueError(f"missing is {told.missing!r}: use 'error', 'drop' or 'indicator'.")
    if told.treatment is None:
        raise DataError("treatment is None: write the name of its column, treatment='NAME'.")
    single = dict(
        treatment=told.treatment,
        outcome=told.outcome,
        weight=told.weight,
        id=told.id,
        cluster=told.cluster,
    )
    single = {k: None if name is None else check_name(k, name) for k, name in single.items()}
    categorical = check_names("categorical", told.categorical)
    units = {} if told.units is None else told.units
    if not isinstance(units, Mapping):
        raise DataError(f"units is {named(units)}: write units={{'NAME': 'years'}}.")
    taken = [name for name in single.values() if name is not None]
    if told.covariates is None:
        names = without_row_names(columns, taken)
    else:
        names = check_names("covariates", told.covariates)
    for name in [*names, *taken, *categorical, *units]:
        _check_known(name, columns)
    _check_used_once([*names, *taken], names, categorical)
    return Roles(**single, covariates=names, categorical=categorical, units=units)  # type: ignore[arg-type]


def _check_known(name: str, columns: Sequence[str]) -> None:
    if name not in columns:
        near = get_close_matches(name, columns, n=1)
        hint = (
            f"; did you mean {near[0]!r}?" if near else f": the columns are {', '.join(columns)}."
        )
        raise DataError(f"there is no column {name!r}{hint}")


def _check_used_once(used: Sequence[str], names: Sequence[str], categorical: Sequence[str]) -> None:
    """One role a column, and covariates to match on."""
    if not names:
        raise DataError("there is no covariate column left: name some with covariates=[...].")
    for name in used:
        if used.count(name) > 1:
            raise DataError(f"column {name!r} has two roles: a column is used once.")
    for name in categorical:
        if name not in names:
            raise DataError(f"categorical names {name!r}, which is not among the covariates.")
