"""Checks of concrete input: every mistake becomes one sentence with column, count and rows."""

import decimal
import numbers
import re
import warnings
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from jcausal.data._errors import DataError
from jcausal.data._given import as_array, label_words, merged, missing_labels
from jcausal.data._schema import Kind
from jcausal.data._treated import which_treated
from jcausal.data._words import label_in_words, rows_in_words

THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(,\d{3})+(\.\d*)?\s*")
TOO_LARGE = (
    "holds whole numbers beyond 2**53, some of which fall together as float64: take a constant "
    "off, or declare a category with Sample.from_frame(categorical=...)"
)


def as_numbers(name: str, values: object, n: int | None = None) -> Float[np.ndarray, "..."]:
    """A float64 array, or a DataError for text, complex numbers or a wrong length."""
    array = as_array(name, values)
    if array.dtype.kind in "OUS":
        array = _parse_objects(name, array)
    if array.dtype.kind == "V" and jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(np.float32)  # bfloat16 and its kind
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}: numbers are needed.")
    if n is not None and array.shape != (n,):
        raise DataError(f"{name} has shape {array.shape} but x has {n} rows: one value a row.")
    found = array.astype(np.float64)
    if array.dtype.kind in "iu" and merged(found, array):
        raise DataError(f"{name} {TOO_LARGE}.")
    return found


def _parse_objects(name: str, array: np.ndarray) -> np.ndarray:
    """Numbers kept in an object array; text is refused and named."""
    flat = array.ravel()
    width = array[0].size if array.ndim > 1 else 1
    _refuse_text(name, flat, width)
    odd = [i for i, v in enumerate(flat) if not (_is_number(v) or v is None or v is pd.NA)]
    if odd:
        rows = rows_in_words(np.array(odd) // width)
        several = isinstance(flat[odd[0]], list | dict | np.ndarray)
        raise DataError(
            f"{name} holds a {type(flat[odd[0]]).__name__} in {len(odd)} places, first "
            f"{flat[odd[0]]!r} ({rows}): "
            f"{'make each part a column of its own' if several else _instead(name)}."
        )
    gap = np.array([v is None or v is pd.NA for v in flat], bool)
    found = np.array([np.nan if hole else float(v) for v, hole in zip(flat, gap)])
    if merged(found[~gap], flat[~gap]):
        raise DataError(f"{name} {TOO_LARGE}.")
    return found.reshape(array.shape)


def _refuse_text(name: str, flat: np.ndarray, width: int) -> None:
    """Name the first text that is no number; text that could be read as numbers where all is so."""
    texts = [i for i, v in enumerate(flat) if isinstance(v, str | bytes)]
    if not texts:
        return
    odd = [i for i in texts if not _reads_as_number(flat[i])]
    bad, first = odd or texts, str(flat[(odd or texts)[0]])
    what, fix = "text", _instead(name)
    if not odd:
        what, fix = "numbers as text", "turn them into numbers, as astype(float) does"
    elif all(THOUSANDS.fullmatch(str(flat[i])) for i in odd):
        fix = "write numbers without marks between their thousands"
    elif len(odd) < flat.size - np.sum(missing_labels(flat)):
        fix += ", or leave empty what is missing"
    raise DataError(
        f"{name} holds {what} in {len(bad)} places, first {first!r} "
        f"({rows_in_words(np.array(bad) // width)}): {fix}."
    )


def _reads_as_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real | np.bool_ | decimal.Decimal)


def _instead(name: str) -> str:
    """What to do about text where numbers belong."""
    if name in ("t", "d") or name.startswith("treatment"):
        return "code treated 1, controls 0"
    if name.startswith("covariate"):
        own = name.removeprefix("covariate ")
        return f"make them numbers, or declare the column a category with categorical=[{own}]"
    return "make them numbers"


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
        warnings.warn(
            f"{words} Boxes tell its values apart; surfaces, trees and distances do not.",
            stacklevel=6,
        )


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


def check_covariates(
    names: Sequence[str],
    x: Float[np.ndarray, "n p"],
    present: Bool[np.ndarray, "n p"],
    dtype: np.dtype,
    levels: Mapping[str, Sequence[str]],
) -> None:
    """Finite, not constant, and told apart by the dtype, wherever there is a value.

    `levels` has the labels of those columns that hold their numbers, 0, 1, ...
    """
    for j, name in enumerate(names):
        check_finite(f"covariate {name!r}", x[:, j], present[:, j])
        seen = x[present[:, j], j]
        if seen.size > 1 and (seen == seen[0]).all():
            value = _value(seen[0], levels.get(name))
            raise DataError(
                f"covariate {name!r} is {value} in all {seen.size} rows: "
                "a constant column matches everybody, leave it out."
            )
        check_digits(f"covariate {name!r}", seen, dtype, warn=True)
        if seen.size:
            check_scale(f"covariate {name!r} less its mean", seen - seen.mean(), dtype)


def check_outcome(
    y: np.ndarray, valid: Bool[np.ndarray, " n"], dtype: np.dtype, name: str = "y"
) -> None:
    """Finite, and of digits and a size to compute with; `name` is the column's in a sentence."""
    check_finite(name, y, valid)
    check_digits(name, y[valid], dtype)
    check_scale(name, y[valid], dtype)


def _value(value: float, labels: Sequence[str] | None) -> str:
    """A covariate's value in words: of a category its label."""
    there = labels is not None and value in range(len(labels))
    return repr(labels[int(value)]) if labels is not None and there else f"{value:g}"


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


def check_ids(ids: np.ndarray, n: int, name: str = "id") -> None:
    """One id a row, none twice; `name` is the column's in a sentence."""
    if ids.shape != (n,):
        raise DataError(f"{name} has shape {ids.shape} but x has {n} rows: one id a row.")
    missing = np.flatnonzero(missing_labels(ids))
    if missing.size:
        raise DataError(
            f"{name} is missing in {missing.size} of {n} rows ({rows_in_words(missing)}): give "
            "each row an id, or none at all."
        )
    words = label_words(ids)
    _, first, counts = np.unique(words, return_index=True, return_counts=True)
    if (counts > 1).any():
        place = first[counts > 1].min()
        rows = np.flatnonzero(words == words[place])
        raise DataError(
            f"{name} holds {(counts > 1).sum()} labels in more than one row, first "
            f"{label_in_words(ids[place])} ({rows_in_words(rows)}): an id names one unit."
        )


def detect_kinds(x: Float[np.ndarray, "n p"], valid: Bool[np.ndarray, " n"]) -> list[Kind]:
    """Binary for columns that hold only 0 and 1, else number."""
    binary = [np.isin(x[valid, j], (0.0, 1.0)).all() for j in range(x.shape[1])]
    return ["binary" if b else "number" for b in binary]
