"""Settings of a box method, read from a grid of hyperparameters."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from jcausal.data import is_traced
from jcausal.matching.boxes.exact import ExactAHB
from jcausal.matching.boxes.fast import FastAHB

BoxMethod = FastAHB | ExactAHB
Setting = dict[str, Any]


def settings_of(matcher: BoxMethod, grid: Mapping | Sequence) -> list[Setting]:
    """Every setting, each with all fields that the grid names in the order of first mention.

    A field that a setting of a list leaves out has the matcher's own value.

    **Raises:** ValueError naming the field or the setting.
    """
    if is_traced(grid):
        raise ValueError("the grid holds traced values: tune outside jit, vmap and grad.")
    listed = _every(grid) if isinstance(grid, Mapping) else _listed(grid)
    fields = list(dict.fromkeys(name for one in listed for name in one))
    _check_fields(matcher, fields)
    own = {name: _plain(getattr(matcher, name)) for name in fields}
    settings = [own | {name: _plain(value) for name, value in one.items()} for one in listed]
    for s, one in enumerate(settings):
        for name, value in one.items():
            if _holds_nan(value):
                raise ValueError(f"setting {s + 1} ({in_words(one)}) holds NaN for {name!r}.")
    return settings


def with_settings(matcher: BoxMethod, settings: Sequence[Setting]) -> list[BoxMethod]:
    """The matcher with each setting.

    **Raises:** ValueError naming the setting that the method refuses.
    """
    found = []
    for s, one in enumerate(settings):
        try:
            found.append(dataclasses.replace(matcher, **one))
        except (TypeError, ValueError) as error:
            name = type(matcher).__name__
            raise ValueError(
                f"setting {s + 1} ({in_words(one)}) is none for {name}: {error}"
            ) from error
    return found


def in_words(setting: Mapping[str, Any]) -> str:
    """Fields and values: "c = 1.1, levels = 8"."""
    if not setting:
        return "the method as it is"
    return ", ".join(f"{name} = {_plain(value)!r}" for name, value in setting.items())


def _every(grid: Mapping) -> list[Setting]:
    """The full product; the last field varies fastest."""
    if not grid:
        raise ValueError("the grid is empty: give at least one field with a list of values.")
    for name, values in grid.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ValueError(f"the grid's {name!r} is {values!r}: give a list of values.")
    lists = [list(values) for values in grid.values()]
    empty = [name for name, values in zip(grid, lists) if not values]
    if empty:
        raise ValueError(f"the grid's {empty[0]!r} is an empty list: give at least one value.")
    return [dict(zip(grid, values)) for values in product(*lists)]


def _listed(grid: Sequence) -> list[Setting]:
    if isinstance(grid, str | bytes) or not isinstance(grid, Sequence):
        raise ValueError(
            f"the grid is of type {type(grid).__name__}: give a mapping of fields to lists of "
            "values, or a list of such mappings with one value a field."
        )
    if not grid:
        raise ValueError("the grid is empty: give at least one setting.")
    for s, one in enumerate(grid):
        if not isinstance(one, Mapping):
            raise ValueError(f"setting {s + 1} is {one!r}: give a mapping of fields to values.")
    return [dict(one) for one in grid]


def _check_fields(matcher: BoxMethod, names: list[str]) -> None:
    known = [field.name for field in dataclasses.fields(matcher) if field.name != "outcome"]
    for name in names:
        if name == "outcome":
            raise ValueError(
                "the grid names 'outcome', and surfaces are fitted once for all settings: tune "
                "the method with each outcome model by itself."
            )
        if name not in known:
            raise ValueError(
                f"the grid names {name!r}, which is no field of {type(matcher).__name__}: they "
                f"are {', '.join(known)}."
            )


def _plain(value: Any) -> Any:
    """A number of NumPy or JAX as Python's."""
    return value.item() if getattr(value, "shape", None) == () else value


def _holds_nan(value: Any) -> bool:
    values = value.values() if isinstance(value, Mapping) else [value]
    return any(isinstance(v, float | np.floating) and v != v for v in values)
