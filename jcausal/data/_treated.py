"""Treatments of any two values: which of them means treated."""

import decimal
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from jcausal.data._errors import DataError
from jcausal.data._labels import check_labels, missing_labels
from jcausal.data._numbers import as_array
from jcausal.data._words import label_word

TRUE = dict(true="1", false="0")  # how 1 and 0 of a column of truth values may be called
Say = Callable[[Any], str]


def say_treated(value: object) -> str:
    """What to add to a call: treated='yes'."""
    return f"treated={_plain(value)!r}"


def arms(
    name: str, values: np.ndarray, treated: object = None, say: Say = say_treated
) -> Float[np.ndarray, "..."]:
    """1 for treated, 0 for the other value, NaN where it is missing.

    **Arguments:** `treated` the value that means treated, None where 0 and 1 say it; `say` what a
    user must add for a value to mean treated.

    **Raises:** `DataError` for more or fewer than two values if one is named, and for two that are
    not 0 and 1 if none is. More than two numbers pass: they are told with their rows.
    """
    check_labels(name, values)
    missing = missing_labels(values)
    place, found = pd.factorize(values[~missing])
    found = found.tolist()
    words = [str(int(v)) if isinstance(v, bool | np.bool_) else label_word(v) for v in found]
    distinct = sorted(set(words))
    out = np.full(values.shape, np.nan)
    if treated is not None:
        wanted = _word(name, treated, distinct, say)
        out[~missing] = np.array([word == wanted for word in words])[place]
        return out
    if any(isinstance(v, str | bytes) for v in found):
        raise DataError(_text(name, place.size, distinct, say))
    odd = [v for v in found if not isinstance(v, numbers.Real | np.bool_ | decimal.Decimal)]
    if odd:
        raise DataError(
            f"{name} holds {odd[0]!r}, a {type(odd[0]).__name__}: code treated 1, controls 0."
        )
    if len(found) == 2 and not set(found) <= {0, 1}:
        one, other = sorted(found, reverse=True)
        raise DataError(
            f"{name} has other values than 0 and 1 (its values are {label_word(other)}, "
            f"{label_word(one)}): {_which(one, other, say)}."
        )
    out[~missing] = np.array([float(v) for v in found])[place]
    return out


def arms_of_array(name: str, values: Any) -> np.ndarray:
    """A treatment (n,) or (n, m) as an array, which may hold more than two numbers.

    **Raises:** `DataError` as `arms`, with the comparison to pass instead.
    """
    array = as_array(name, values)
    if array.dtype.kind in "OUS" and any(isinstance(v, str | bytes) for v in array.ravel()):
        flat = arms(name, array.ravel(), say=lambda v: f"np.asarray({name}) == {_plain(v)!r}")
        return flat.reshape(array.shape)
    return array


def which_treated(name: str, seen: Sequence[float]) -> str:
    """What to do about numbers that are not 0 and 1."""
    if len(seen) != 2:
        return "code treated 1, controls 0"
    one, other = f"np.asarray({name}) == {max(seen):g}", f"np.asarray({name}) == {min(seen):g}"
    return f"say {one} if that means treated, else {other}"


def _which(one: object, other: object, say: Say) -> str:
    return f"say {say(one)} if that means treated, else {say(other)}"


def _text(name: str, count: int, distinct: list[str], say: Say) -> str:
    """Text where 0 and 1 belong."""
    told = f"{name} holds text in {count} places, "
    if len(distinct) == 2:
        one, other = sorted(distinct, key=_sounds_treated, reverse=True)
        return f"{told}{other!r} and {one!r}: {_which(one, other, say)}."
    listed = ", ".join(map(repr, distinct[:5])) + (" ..." if len(distinct) > 5 else "")
    return f"{told}its {len(distinct)} values are {listed}: a treatment has two."


def _sounds_treated(word: str) -> tuple[bool, str]:
    """So that the likelier of two words is told first."""
    return word.casefold() in ("yes", "y", "true", "t", "1", "treated", "treatment"), word


def _word(name: str, treated: object, distinct: list[str], say: Say) -> str:
    word = label_word(treated)
    if word not in distinct and set(distinct) <= {"0", "1"}:
        word = TRUE.get(word.casefold(), word)
    if word not in distinct or len(distinct) != 2:
        listed = ", ".join(distinct[:5]) + (" ..." if len(distinct) > 5 else "")
        raise DataError(
            f"{say(treated)}: {name} must hold it and one other value, its {len(distinct)} values "
            f"are {listed}."
        )
    return word


def _plain(value: Any) -> Any:
    """NumPy's numbers and words as Python's; 1 for 1.0."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
