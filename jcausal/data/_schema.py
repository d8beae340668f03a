"""What the columns are called and what they hold: kept beside the arrays, never traced."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

from jcausal.data._errors import DataError

Kind = Literal["number", "binary", "category"]


@dataclasses.dataclass(frozen=True)
class Schema:
    """Names, kinds, units of measurement, the labels of levels, and flags of missing values.

    `flags` pairs every column that has gaps with the category whose last level says "missing":
    for a number its flag column, for a category the column itself.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    units: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    flags: tuple[tuple[int, int], ...] = ()

    @property
    def flag_of(self) -> dict[int, int]:
        """The flag column of each number that has gaps."""
        return {j: flag for j, flag in self.flags if j != flag}

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
    flags: Mapping[str, str] | None = None,
) -> Schema:
    """Check the words against the number of columns and freeze them."""
    for word, one in (("names", names), ("kinds", kinds), ("units", units)):
        if isinstance(one, str):
            raise DataError(f"{word} is the text {one!r}: write one word a column, [{one!r}, ...].")
    names = tuple(f"x{j}" for j in range(p)) if names is None else tuple(map(str, names))
    units = ("",) * p if units is None else tuple(u or "" for u in units)
    for word, given in (("names", names), ("kinds", kinds), ("units", units)):
        if len(given) != p:
            raise DataError(f"{word} has {len(given)} entries but x has {p} columns.")
    for name in names:
        if names.count(name) > 1:
            columns = [j for j, other in enumerate(names) if other == name]
            raise DataError(f"the name {name!r} is given to columns {columns}: rename one.")
    pairs = tuple(_flag_pair(names, kinds, *pair) for pair in (flags or {}).items())
    return Schema(names, tuple(kinds), units, tuple(tuple(map(str, v)) for v in levels), pairs)


def _flag_pair(names: Sequence[str], kinds: Sequence[str], name: str, flag: str) -> tuple[int, int]:
    """A column and its flag by number."""
    for one in (name, flag):
        if one not in names:
            raise DataError(f"flags names {one!r}, which is no column: {', '.join(names)}.")
    j, place = names.index(name), names.index(flag)
    if kinds[place] != "category" or kinds[j] == "binary" or (kinds[j] == "number") == (j == place):
        raise DataError(
            f"flags pairs {name!r} ({kinds[j]}) with {flag!r} ({kinds[place]}): a number's flag is "
            "another column of kind 'category', a category is its own flag, and a binary with "
            "gaps must be a category."
        )
    return j, place


def plain_schema(schema: Schema) -> Schema:
    """The same columns with the words taken off, so that names never cause a second trace."""
    p = len(schema.names)
    levels = tuple(tuple(str(i) for i in range(len(v))) for v in schema.levels)
    kinds = tuple("category" if kind == "category" else "number" for kind in schema.kinds)
    flags = tuple(schema.flag_of.items())
    return Schema(tuple(f"x{j}" for j in range(p)), kinds, ("",) * p, levels, flags)
