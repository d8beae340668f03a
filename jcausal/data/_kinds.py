"""Arguments of the wrong kind: one sentence in place of an attribute that is missing."""

import numbers
import sys
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcausal.data._errors import DataError
from jcausal.data._shapes import is_traced

KEYS = 2**32  # whole numbers from here on, and below 0, would be the keys of others

FROM_FRAME = "make one with jc.Sample.from_frame(frame, treatment=..., outcome=...)"


def check_kind(value: object, kind: type, verb: str, instead: str) -> None:
    """Refuse a value of another class.

    **Raises:** ValueError that names both classes and says what to do.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{verb} takes a {public_name(kind)}, not {named(value)}: {instead}.")


def check_object(value: object) -> None:
    """Refuse a class where an object of it belongs.

    **Raises:** ValueError.
    """
    if isinstance(value, type):
        raise ValueError(f"{value.__name__} is a class: write {public_name(value)}().")


def public_name(kind: type) -> str:
    """How a user writes a class: jc.AHB, jc.matching.Boxes; one of theirs by its bare name."""
    package, *rooms = kind.__module__.split(".")
    if package != "jcausal":
        return kind.__name__
    at_the_top = getattr(sys.modules[package], kind.__name__, None) is kind
    return f"jc.{kind.__name__}" if at_the_top else f"jc.{rooms[0]}.{kind.__name__}"


def check_place(i: Any, count: int, what: str) -> int:
    """A position from 0, also where it was counted from the end; one that is not there is refused.

    **Raises:** ValueError for what is no whole number; IndexError beyond those that there are.
    """
    there = f"there are {count}, counted from 0 (or from the end: -1)"
    place = whole(i)
    if type(place) is not int:
        raise ValueError(f"{i!r} is no number of a {what}: {there}; ids stand in to_frame().")
    if not -count <= place < count:
        raise IndexError(f"there is no {what} {place}: {there}.")
    return place % count


def whole(value: Any) -> Any:
    """NumPy's integers as Python's; anything else as it is."""
    return int(value) if isinstance(value, numbers.Integral) and type(value) is not bool else value


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least so many, as one of Python's.

    **Raises:** ValueError that names the option and says what to write.
    """
    if isinstance(value, str) and value.strip().isdecimal():
        raise ValueError(f"{name} is the text {value!r}: write {name}={int(value)}.")
    count = whole(value)
    if type(count) is not int:
        raise ValueError(
            f"{name} is {value!r}: it must be a whole number, such as {name}={max(least, 2)}."
        )
    if count < least:
        raise ValueError(f"{name} is {value}: it must be at least {least}.")
    return count


def check_number(name: str, value: Any) -> float:
    """One real number, as one of Python's; NaN and infinities are for the caller to refuse.

    **Raises:** ValueError that names the option and says what to write.
    """
    if isinstance(value, str):
        raise ValueError(f"{name} is the text {value!r}: write a number, without quotes.")
    one = value.item() if isinstance(value, jax.Array | np.ndarray) and not value.ndim else value
    if not isinstance(one, numbers.Real) or isinstance(one, bool):
        raise ValueError(f"{name} is {value!r}: it must be a number.")
    return float(one)


def check_share(name: str, value: Any) -> float:
    """A number in (0, 1), as one of Python's.

    **Raises:** ValueError that names the option.
    """
    number = check_number(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name} is {value}: it must lie between 0 and 1.")
    return number


def check_name(option: str, value: Any) -> str:
    """The name of one column; a whole number names a column that is called so.

    **Raises:** `DataError` that says what to write.
    """
    if isinstance(value, str):
        return value
    if type(whole(value)) is int:
        return str(value)
    if isinstance(value, list | tuple) and len(value) == 1:
        own = value[0]
    else:
        own = getattr(value, "name", None)
    example = own if isinstance(own, str) else "NAME"
    raise DataError(
        f"{option} is {named(value)}: write the name of its column, {option}={example!r}."
    )


def check_names(option: str, value: Any) -> list[str]:
    """The names of some columns.

    **Raises:** `DataError` for one text, for what holds no names, and for anything else.
    """
    if isinstance(value, str):
        raise DataError(f"{option} is the text {value!r}: write {option}=[{value!r}].")
    if not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise DataError(f"{option} is {named(value)}: write a list of names, {option}=['NAME'].")
    found = [str(one) if isinstance(one, str) else whole(one) for one in value]
    for one in found:
        if not isinstance(one, str) and type(one) is not int:
            raise DataError(
                f"{option} holds {one!r}, which names no column: write a list of names, "
                f"{option}=['NAME']."
            )
    return [str(one) for one in found]


def check_key(key: Any) -> None:
    """Refuse what is no JAX key, and whole numbers that would be the key of another.

    **Raises:** ValueError that says what to write.
    """
    if is_traced(key):
        return
    if isinstance(key, np.random.Generator | np.random.RandomState):
        draw = "integers" if isinstance(key, np.random.Generator) else "randint"
        raise ValueError(
            f"key is a NumPy {type(key).__name__}: draw a number from it, such as "
            f"key=int(rng.{draw}(2**31))."
        )
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.ndim:
            raise ValueError(f"key holds {key.size} keys: give one of them, such as key[0].")
        return
    if isinstance(key, jax.Array | np.ndarray) and key.ndim:
        if key.dtype != np.uint32 or key.shape not in ((2,), (4,)):
            raise ValueError(
                f"key is an array of shape {key.shape} and {key.dtype}: give a whole number such "
                "as key=0, or jax.random.key(0)."
            )
        return
    number = key.item() if isinstance(key, jax.Array | np.ndarray) else whole(key)
    if type(number) is not int:
        raise ValueError(
            f"key is {key!r}: give a whole number such as key=0, or jax.random.key(0)."
        )
    if not 0 <= number < KEYS:
        raise ValueError(
            f"key is {number}: give a whole number from 0 to {KEYS - 1}; beyond, it would be that "
            f"of {number % KEYS}."
        )


def named(value: object) -> str:
    """The class of an object, or that it is a class; text and None as they are."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, str):
        return "None" if value is None else f"the text {value!r}"
    name = type(value).__name__
    return f"a{'n' if name[0] in 'AEIOUaeiou' else ''} {name}"
