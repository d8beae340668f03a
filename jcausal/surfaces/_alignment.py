"""A fitted surface meets a sample: the same columns by name, and the same levels by label."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jcausal.data import DataError, Sample, Schema, is_traced, rows_in_words
from jcausal.surfaces._encoding import NOWHERE, Encoding


def places(own: Sequence[str], theirs: Sequence[str]) -> Int[np.ndarray, " p"]:
    """Where each covariate of a surface stands among those of a sample.

    Names that only count columns (x0, x1, ...) say nothing, on either side: columns are then taken
    in order, unless a name of both stands in another place.

    **Raises:** `DataError` that names what is missing and what is too much.
    """
    counted = _only_counted(own) or _only_counted(theirs)
    if counted and len(own) == len(theirs) and _in_place(own, theirs):
        return np.arange(len(own))
    if set(own) != set(theirs):
        missing = [name for name in own if name not in theirs]
        more = [name for name in theirs if name not in own]
        parts = [f"without {', '.join(missing)}"] if missing else []
        parts += [f"with {', '.join(more)}, which it does not know"] if more else []
        raise DataError(
            f"the surface is one of the covariates {', '.join(own)}, and the sample comes "
            f"{' and '.join(parts)}: give both the same columns with covariates=[...]."
        )
    return np.array([list(theirs).index(name) for name in own])


def encoding_in(sample: Sample, encoding: Encoding, own: Schema) -> Encoding:
    """The features of a surface that knows the schema `own`, found in a sample."""
    place, level = places(own.names, sample.schema.names), encoding.level.copy()
    for j, here in enumerate(place.tolist()):
        codes = _level_codes(own, j, sample, here)
        if own.kinds[j] == "category":
            level[encoding.column == j] = codes
    return encoding.moved(place[encoding.column].astype(np.int32), level, sample.schema)


def _level_codes(own: Schema, j: int, sample: Sample, place: int) -> Int[np.ndarray, " l"]:
    """The sample's code of each level that a surface knows of its category j.

    **Raises:** `DataError` for a covariate that is a category to one of both only, and for rows of
    a level that the surface has not seen.
    """
    theirs = sample.schema
    mine, known = own.levels[j], theirs.levels[place]
    if (own.kinds[j] == "category") != (theirs.kinds[place] == "category"):
        raise DataError(
            f"the surface knows {own.names[j]!r} as {_as_kind(mine)}, the sample as "
            f"{_as_kind(known)}: make both of one frame, or declare the column in both with "
            "categorical=[...]."
        )
    for code, label in enumerate(known):
        if label not in mine:
            _check_absent(sample, place, code, own.names[j], mine)
    return np.array([known.index(label) if label in known else NOWHERE for label in mine], np.int32)


def _check_absent(sample: Sample, place: int, code: int, name: str, mine: tuple[str, ...]) -> None:
    """Refuse rows of a level that is new to the surface; which there are is unknown when traced."""
    label = sample.schema.levels[place][code]
    if is_traced(sample.codes, sample.valid):
        where = "perhaps in some rows"
    else:
        there = (np.asarray(sample.codes)[:, place] == code) & np.asarray(sample.valid)
        rows = np.flatnonzero(there)
        if not rows.size:
            return
        where = f"in {rows.size} of {int(np.asarray(sample.valid).sum())} rows"
        where += f" ({rows_in_words(rows)})"
    raise DataError(
        f"category {name!r} is {label!r} {where}, and the surface knows it as {_as_kind(mine)}: "
        "train on rows of that level too, or merge it with another in both frames."
    )


def _only_counted(names: Sequence[str]) -> bool:
    return all(name == f"x{j}" for j, name in enumerate(names))


def _in_place(own: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether each name of both sides stands in the same place on both."""
    return all(one == other or one not in theirs for one, other in zip(own, theirs))


def _as_kind(levels: tuple[str, ...]) -> str:
    return f"a category of {', '.join(levels)}" if levels else "a number"
