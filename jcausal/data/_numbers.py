"""What a user hands over as NumPy arrays: what is masked is missing, numbers keep their digits."""

import decimal
import numbers
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float

from jcausal.data._errors import DataError
from jcausal.data._words import rows_in_words

WHOLE = 2**53  # float64 holds every whole number up to here
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
    elif len(odd) < flat.size - np.sum(pd.isna(flat)):
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


def as_array(name: str, values: Any) -> np.ndarray:
    """A NumPy array in which masked values are NaN or None.

    **Raises:** `DataError` for sparse matrices and for rows of different lengths.
    """
    dense = next((word for word in ("toarray", "todense") if hasattr(values, word)), None)
    if dense is not None:
        raise DataError(f"{name} is a sparse {type(values).__name__}: pass it as .{dense}().")
    if isinstance(values, list | tuple) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        values = np.ma.array(values)
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(values)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} is no array of numbers or labels ({error}).") from error


def _unmasked(values: np.ma.MaskedArray) -> np.ndarray:
    """The data with NaN, or None where there is no NaN, at what is masked."""
    hidden = np.ma.getmaskarray(values)
    if not hidden.any():
        return np.asarray(values.data)
    found = values.data.copy() if values.dtype.kind == "f" else values.data.astype(object)
    found[hidden] = np.nan if values.dtype.kind == "f" else None
    return found


def merged(floats: np.ndarray, exact: np.ndarray) -> bool:
    """Whether whole numbers beyond 2**53 fall together as float64."""
    if not floats.size or not np.abs(floats).max() >= WHOLE:
        return False
    return np.unique(floats).size < len(set(exact.ravel().tolist()))


def only_0_and_1(values: Float[np.ndarray, " n"]) -> bool:
    """Whether nothing else occurs."""
    return bool(((values == 0) | (values == 1)).all())
