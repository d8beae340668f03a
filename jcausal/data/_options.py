"""Hyperparameters of every method, checked in one place by what their annotations say."""

import dataclasses
import functools
import numbers
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

import jax
import numpy as np
from jaxtyping import AbstractArray

from jcausal.data._shapes import is_traced


class Options:
    """A base of every class that holds hyperparameters only.

    Before the checks of a class itself each field is checked by its annotation: numbers are numbers
    and finite, whole ones whole, switches True or False, words among those known. Those of the
    fields named in `endless` may be infinite.
    """

    endless: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("__check_init__")

        def check(self: Any) -> None:
            if type(self) is cls:
                check_options(self)
            if own is not None:
                own(self)

        type.__setattr__(cls, "__check_init__", check)


class May(NamedTuple):
    """What a field may hold, as its annotation says."""

    words: tuple[Any, ...]
    switch: bool
    whole: bool
    real: bool
    column: bool
    none: bool
    text: bool
    names: bool
    other: bool


def check_options(method: Any) -> None:
    """Refuse hyperparameters of the wrong kind, NaN and infinities.

    **Raises:** ValueError that names the option.
    """
    for name, may in options_of(type(method)).items():
        value = getattr(method, name)
        if not (name in method.endless and isinstance(value, float) and value == np.inf):
            _check(name, value, may)


@functools.cache
def options_of(cls: type) -> dict[str, May]:
    """What each option of a class may be, by its name."""
    return {one.name: _read(one.type) for one in dataclasses.fields(cls) if one.init}


def _read(annotation: Any) -> May:
    parts = list(_parts(annotation))
    arrays = [one for one in parts if _is_array(one)]
    plain = [one for one in parts if not _is_array(one) and get_origin(one) is not Literal]
    real = float in plain or any(not _holds_whole(one) for one in arrays)
    return May(
        words=tuple(w for one in parts if get_origin(one) is Literal for w in get_args(one)),
        switch=bool in plain,
        whole=int in plain or bool(arrays),
        real=real,
        column=any(one is not jax.Array and one.dims for one in arrays),
        none=type(None) in plain,
        text=str in plain,
        names=Sequence[str] in plain,
        other=any(one not in (bool, int, float, type(None)) for one in plain),
    )


def _parts(annotation: Any) -> Iterable[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _parts(one)
    else:
        yield annotation


def _is_array(annotation: Any) -> bool:
    return annotation is jax.Array or (
        isinstance(annotation, type) and issubclass(annotation, AbstractArray)
    )


def _holds_whole(annotation: Any) -> bool:
    """Whether an annotation of arrays is one of whole numbers alone."""
    if annotation is jax.Array or not isinstance(annotation.dtypes, list | tuple):
        return False  # of any dtype
    return all("int" in one for one in annotation.dtypes)


def _check(name: str, value: Any, may: May) -> None:
    if is_traced(value) or (value is None and (may.none or may.other)):
        return
    if may.column and isinstance(value, jax.Array | np.ndarray):
        return  # one number a unit or group: the class itself names those that are wrong
    if isinstance(value, str) and may.words:
        if value not in may.words and not may.other:
            raise ValueError(f"{name} is {value!r}: use {_listed(may)}.")
        return
    of_numbers = may.whole or may.real
    if of_numbers and not may.text and isinstance(value, str | bool) and not may.switch:
        _check_number(name, value, may)
    elif may.other:
        _check_no_nan(name, value)
    elif may.switch:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} is {value!r}: use True or False.")
    elif of_numbers:
        _check_number(name, value, may)
    else:
        raise ValueError(f"{name} is {value!r}: use {_listed(may)}.")


def _check_number(name: str, value: Any, may: May) -> None:
    fits, shown = _fits(value, may), repr(value)
    if isinstance(value, jax.Array | np.ndarray):
        shown = value.tolist()
    if not fits or not np.isfinite(np.asarray(value, np.float64)).all():
        kind = "finite" if may.real else "whole"
        instead = _listed(may._replace(whole=False, real=False)) if may.words or may.none else ""
        instead = f", or {instead}" if instead else ""
        raise ValueError(f"{name} is {shown}: it must be a {kind} number{instead}.")


def _fits(value: Any, may: May) -> bool:
    """Whether it is one number of the kind that a field takes."""
    if isinstance(value, jax.Array | np.ndarray):
        kinds = "iuf" if may.real else "iu"
        return value.ndim == 0 and value.dtype.kind in kinds
    kind = numbers.Real if may.real else numbers.Integral
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_no_nan(name: str, value: Any) -> None:
    """NaN is nowhere a number to work with, nor in what holds numbers."""
    single = isinstance(value, numbers.Real) or getattr(value, "ndim", None) == 0
    if single and isinstance(value, numbers.Real | jax.Array | np.ndarray):
        if not np.isfinite(np.asarray(value, np.float64)):
            raise ValueError(f"{name} is {value}: it must be a finite number.")
        return
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, jax.Array | np.ndarray):
        broken = value.dtype.kind == "f" and bool(np.isnan(np.asarray(value)).any())
    else:
        held = value if isinstance(value, tuple | list) else ()
        broken = any(isinstance(one, float | np.floating) and np.isnan(one) for one in held)
    if broken:
        raise ValueError(f"{name} holds NaN: give numbers.")


def _listed(may: May) -> str:
    words = [repr(word) for word in may.words]
    words += ["a number"] if may.real else ["an int"] if may.whole else []
    words += ["None"] if may.none else []
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
