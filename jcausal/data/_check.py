"""Checks of concrete input: every mistake becomes one sentence with column, count and rows."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from jcausal.data._errors import DataError
from jcausal.data._labels import missing_labels
from jcausal.data._reading import Reading
from jcausal.data._schema import Schema
from jcausal.data._shapes import is_traced
from jcausal.data._treated import which_treated
from jcausal.data._warn import warn_user
from jcausal.data._words import label_in_words, label_words, rows_in_words


def checked(reading: Reading) -> Reading:
    """The same, if nothing is wrong with it.

    **Raises:** `DataError`.
    """
    said, valid, dtype = reading.said, reading.valid, reading.dtype
    check_treatment(reading.t, valid, said.t)
    if reading.y is not None and not is_traced(reading.y):
        check_outcome(np.asarray(reading.y), valid, dtype, said.y)
    check_weight(reading.weight, valid, dtype, said.weight)
    if reading.id is not None:
        check_ids(reading.id, said.id)
    if reading.cluster is not None and not is_traced(reading.cluster):
        check_clusters(np.asarray(reading.cluster))
        if said.cluster is not None:
            _check_parts(said.cluster, np.asarray(reading.cluster), reading.t)
    check_flag_levels(reading.schema)
    for j in range(reading.x.shape[1]):
        _check_covariate(reading, j)
    return reading


def check_finite(name: str, values: np.ndarray, valid: Bool[np.ndarray, " n"]) -> None:
    """Refuse NaN and infinities in valid rows."""
    for what, found in (("NaN", np.isnan(values)), ("infinite", np.isinf(values))):
        rows = np.flatnonzero(found & valid)
        if rows.size:
            fix = "fill or drop them" if what == "NaN" else "replace or drop them"
            raise DataError(
                f"{name} is {what} in {rows.size} of {valid.sum()} rows "
                f"({rows_in_words(rows)}): {fix}."
            )


def check_digits(
    name: str, values: Float[np.ndarray, " n"], dtype: np.dtype, warn: bool = False
) -> None:
    """Refuse numbers that the dtype to compute in cannot hold, or (`warn`: tell of it) keep apart.

    A level far above the spread costs digits: up to a hundredth of the spread may be lost.
    """
    if not values.size:
        return
    with np.errstate(over="ignore"):
        lost = np.abs(values.astype(dtype).astype(np.float64) - values).max()
        spread = float(values.std())
    if not np.isfinite(lost):
        raise DataError(
            f"{name} reaches {np.abs(values).max():.3g}, more than {dtype} can hold: state it in "
            "other units."
        )
    if spread > 0 and lost > 0.01 * spread:
        words = (
            f"{name} varies by {spread:.3g} (standard deviation) around {values.mean():.6g}, where "
            f"{dtype} is off by up to {lost:.3g}: take a constant off first, or compute in float64 "
            "(jax.config.update('jax_enable_x64', True))."
        )
        if not warn:
            raise DataError(words)
        warn_user(f"{words} Boxes tell its values apart; surfaces, trees and distances do not.")


def check_scale(name: str, values: Float[np.ndarray, " n"], dtype: np.dtype) -> None:
    """Refuse numbers whose squares, or sums of squares, the dtype to compute in cannot hold.

    **Raises:** `DataError` with the largest number and the limits.
    """
    limits = np.finfo(dtype)
    largest = float(np.abs(values).max(initial=0))
    high, low = float(limits.max / max(values.size, 1)) ** 0.5, 1e4 * float(limits.tiny) ** 0.5
    if largest > high or 0 < largest < low:
        ways = "divide it by a constant" if name.startswith("weight") else "state it in other units"
        raise DataError(
            f"the largest number of {name} is {largest:.3g}, and {dtype} can compute with the "
            f"squares of numbers between {low:.1g} and {high:.1g}: {ways}."
        )


def check_treatment(t: np.ndarray, valid: Bool[np.ndarray, " n"], name: str = "t") -> None:
    """Two values, 0 and 1, both present."""
    check_finite(name, t, valid)
    other = np.flatnonzero(valid & (t != 0) & (t != 1))
    if other.size:
        seen = sorted(set(t[valid].tolist()))
        listed = ", ".join(f"{v:g}" for v in seen[:5]) + (" ..." if len(seen) > 5 else "")
        raise DataError(
            f"the treatment {name} has {other.size} values other than 0 and 1 "
            f"({rows_in_words(other)}; its values are {listed}): {which_treated(name, seen)}."
        )
    for arm, value in (("treated", 1), ("control", 0)):
        if not (valid & (t == value)).any():
            raise DataError(
                f"the treatment {name} is {1 - value} in all {valid.sum()} rows: "
                f"there is no {arm} unit to compare with."
            )


def check_flag_levels(schema: Schema) -> None:
    """A flag is a category of two levels."""
    for flag in schema.flag_of.values():
        if len(schema.levels[flag]) != 2:
            raise DataError(
                f"the flag {schema.names[flag]!r} has {len(schema.levels[flag])} levels: name two "
                "with levels={...}, first for observed, then for missing."
            )


def _check_covariate(reading: Reading, j: int) -> None:
    """Finite, not constant, and told apart by the dtype, wherever there is a value."""
    name, labels = f"covariate {reading.schema.names[j]!r}", reading.schema.levels[j]
    column, present = reading.x[:, j], reading.present(j)
    check_finite(name, column, present)
    seen = column if present.all() else column[present]
    if seen.size > 1 and (seen == seen[0]).all():
        value = repr(labels[int(seen[0])]) if labels else f"{seen[0]:g}"
        raise DataError(
            f"{name} is {value} in all {seen.size} rows: "
            "a constant column matches everybody, leave it out."
        )
    check_digits(name, seen, reading.dtype, warn=True)
    if seen.size:
        check_scale(f"{name} less its mean", seen - seen.mean(), reading.dtype)


def check_outcome(
    y: np.ndarray, valid: Bool[np.ndarray, " n"], dtype: np.dtype, name: str = "y"
) -> None:
    """Finite, and of digits and a size to compute with; `name` is the column's in a sentence."""
    check_finite(name, y, valid)
    check_digits(name, y[valid], dtype)
    check_scale(name, y[valid], dtype)


def check_weight(
    weight: np.ndarray, valid: Bool[np.ndarray, " n"], dtype: np.dtype, name: str = "weight"
) -> None:
    """Finite, not negative, not all zero, and of a size to compute with."""
    check_finite(name, weight, valid)
    negative = np.flatnonzero(valid & (weight < 0))
    if negative.size:
        raise DataError(
            f"{name} is negative in {negative.size} of {valid.sum()} rows "
            f"({rows_in_words(negative)}): sampling weights are zero or more."
        )
    if not (valid & (weight > 0)).any():
        raise DataError(f"{name} is 0 in every row: at least one row must count.")
    check_scale(name, weight[valid], dtype)


def check_ids(ids: np.ndarray, name: str = "id") -> None:
    """An id for each row, none twice; `name` is the column's in a sentence."""
    missing = np.flatnonzero(missing_labels(ids))
    if missing.size:
        raise DataError(
            f"{name} is missing in {missing.size} of {ids.size} rows ({rows_in_words(missing)}): "
            "give each row an id, or none at all."
        )
    if ids.dtype.kind != "O" and pd.Index(ids).is_unique:
        return  # values that differ read otherwise, but for objects such as 1 and "1"
    words = label_words(ids)
    twice = pd.Series(words).duplicated(keep=False).to_numpy()
    if twice.any():
        place = int(twice.argmax())
        rows = np.flatnonzero(words == words[place])
        raise DataError(
            f"{name} holds {np.unique(words[twice]).size} labels in more than one row, first "
            f"{label_in_words(ids[place])} ({rows_in_words(rows)}): an id names one unit."
        )


def check_clusters(labels: np.ndarray) -> None:
    """A cluster for each row."""
    missing = np.flatnonzero(missing_labels(labels))
    if missing.size:
        raise DataError(
            f"cluster is missing in {missing.size} of {labels.size} rows "
            f"({rows_in_words(missing)}): give each row a cluster, a label of its own if need be."
        )


def _check_parts(name: str, labels: np.ndarray, t: Float[np.ndarray, " n"]) -> None:
    """Refuse clusters of which none can stand apart with both arms: one in all, or one an arm."""
    code = pd.factorize(labels)[0]
    parts = np.unique(2 * code + t.astype(int))  # a cluster in an arm
    label, rows = labels[0], code.size
    if code.max() == 0:
        what = f"is {label_in_words(label)!r} in all {rows} rows"
    elif parts.size == 2:
        what = f"is one label for all treated and one for all controls of {rows} rows"
    else:
        return
    raise DataError(
        f"cluster {name!r} {what}: a cluster is never divided, so that no key deals both arms to "
        "two folds; give smaller clusters, or leave it out."
    )
