"""What the columns are called and what they hold: kept beside the arrays, never traced."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

from jcausal.data._errors import DataError

Kind = Literal["number", "binary", "category"]


@dataclasses.dataclass(frozen=True)
class Schema:
    """Names, kinds, units of measurement and, for categories, the labels of the levels."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    units: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]

    @property
    def ordered(self) -> Int[np.ndarray, " o"]:
        """Columns that are ladders: numbers and binaries."""
        return np.flatnonzero([kind != "category" for kind in self.kinds])

    @property
    def categories(self) -> Int[np.ndarray, " c"]:
        """Columns that hold an unordered level."""
        return np.flatnonzero([kind == "category" for kind in self.kinds])


def make_schema(
    p: int,
    names: Sequence[str] | None,
    kinds: Sequence[str],
    units: Sequence[str] | None,
    levels: Sequence[Sequence[str]],
) -> Schema:
    """Check the words against the number of columns and freeze them."""
    names = tuple(f"x{j}" for j in range(p)) if names is None else tuple(map(str, names))
    units = ("",) * p if units is None else tuple(u or "" for u in units)
    for word, given in (("names", names), ("kinds", kinds), ("units", units)):
        if len(given) != p:
            raise DataError(f"{word} has {len(given)} entries but x has {p} columns.")
    for name in names:
        if names.count(name) > 1:
            columns = [j for j, other in enumerate(names) if other == name]
            raise DataError(f"the name {name!r} is given to columns {columns}: rename one.")
    return Schema(names, tuple(kinds), units, tuple(tuple(map(str, v)) for v in levels))


def plain_schema(schema: Schema) -> Schema:
    """The same columns with the words taken off, so that names never cause a second trace."""
    p = len(schema.names)
    levels = tuple(tuple(str(i) for i in range(len(v))) for v in schema.levels)
    kinds = tuple("category" if kind == "category" else "number" for kind in schema.kinds)
    return Schema(tuple(f"x{j}" for j in range(p)), kinds, ("",) * p, levels)
