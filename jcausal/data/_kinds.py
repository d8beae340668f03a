"""Arguments of the wrong kind: one sentence in place of an attribute that is missing."""

import numbers
from typing import Any

FROM_FRAME = "make one with jc.Sample.from_frame(frame, treatment=..., outcome=...)"


def check_kind(value: object, kind: type, verb: str, instead: str) -> None:
    """Refuse a value of another class.

    **Raises:** ValueError that names both classes and says what to do.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{verb} takes a jc.{kind.__name__}, not {_named(value)}: {instead}.")


def check_object(value: object) -> None:
    """Refuse a class where an object of it belongs.

    **Raises:** ValueError.
    """
    if isinstance(value, type):
        raise ValueError(f"{value.__name__} is a class: write jc.{value.__name__}().")


def check_place(i: int, count: int, what: str) -> None:
    """Refuse a position that is not there, where JAX would take the nearest.

    **Raises:** IndexError.
    """
    if not -count <= i < count:
        raise IndexError(f"there is no {what} {i}: there are {count}, counted from 0.")


def whole(value: Any) -> Any:
    """NumPy's integers as Python's; anything else as it is."""
    return int(value) if isinstance(value, numbers.Integral) and type(value) is not bool else value


def check_whole(name: str, value: object) -> None:
    """Refuse what is no whole number.

    **Raises:** ValueError.
    """
    if type(value) is not int:
        raise ValueError(f"{name} is {value!r}: it must be a whole number.")


def _named(value: object) -> str:
    """The class of an object, or that it is a class."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"a{'n' if name[0] in 'AEIOU' else ''} {name}"
