"""A frame's covariates as columns of numbers: levels numbered, gaps flagged."""

import numbers
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jcausal.data._errors import DataError
from jcausal.data._labels import check_labels, numbered
from jcausal.data._numbers import WHOLE, as_numbers, only_0_and_1
from jcausal.data._read import Column
from jcausal.data._schema import Kind
from jcausal.data._words import label_word, level_label


class Laid(NamedTuple):
    """One covariate (n,) of a sample; `flag` names the column that tells where it is missing."""

    name: str
    x: Float[np.ndarray, " n"]
    kind: Kind
    levels: tuple[str, ...] = ()
    flag: str | None = None


def lay(name: str, column: Column, declared: bool) -> list[Laid]:
    """A covariate as columns of the sample: itself, and a flag for a number with gaps."""
    check_no_times(f"covariate {name!r}", column)
    if declared or column.holds == "category":
        return [_category(name, column)]
    x = column.values
    if x.dtype.kind != "f" or column.exact is not None:
        x = as_numbers(f"covariate {name!r}", x if column.exact is None else column.exact)
    gaps = bool(column.missing.any())
    binary = only_0_and_1(x[~column.missing] if gaps else x)
    if not gaps:
        return [Laid(name, x, "binary" if binary else "number")]
    if binary:
        return [_category(name, column)]
    flag = f"{name} missing"
    said = Laid(flag, column.missing.astype(float), "category", ("observed", "missing"))
    return [Laid(name, x, "number", flag=flag), said]


def _category(name: str, column: Column) -> Laid:
    """The levels that occur or were declared, in sorted order, then "missing" if there are gaps."""
    missing = column.missing
    known = (column.values if column.exact is None else column.exact)[~missing]
    levels, found = _levels(f"category {name!r}", _beside(known, column.levels))
    codes = np.full(len(missing), len(levels), float)
    codes[~missing] = found[: len(known)]
    if not missing.any():
        return Laid(name, codes, "category", levels)
    if "missing" in levels:
        raise DataError(
            f"category {name!r} has {int(missing.sum())} gaps and a level called 'missing' "
            "already: rename that level, or fill the gaps with it."
        )
    return Laid(name, codes, "category", (*levels, "missing"), flag=name)


def _beside(known: np.ndarray, declared: np.ndarray | None) -> np.ndarray:
    """The labels of rows, then the levels that were declared: numbers if all are numbers."""
    if declared is None:
        return known
    exact = not all(
        isinstance(v, numbers.Real) and abs(float(v)) < WHOLE for v in declared.tolist()
    )
    if known.dtype.kind == "O" or exact:
        return np.concatenate([known.astype(object), declared])
    return np.concatenate([known, declared.astype(known.dtype)])


def _levels(name: str, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The levels that occur, in sorted order, and each row's number among them."""
    check_labels(name, values)
    codes, found = numbered(name, values)
    label = level_label if values.dtype.kind in "biuf" else label_word
    return tuple(label(v) for v in found), codes


def check_no_times(name: str, column: Column) -> None:
    """Refuse dates and times where numbers belong."""
    if column.holds == "times":
        raise DataError(
            f"{name} holds dates or times: make it a number, such as the days since a fixed day, "
            "or text if it is a category."
        )
