"""From an object to text and arrays."""

import datetime
import enum
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jcausal.data import is_traced
from jcausal.storage._classes import is_ours, part_names
from jcausal.storage._index import index_parts

HINT = "give it in parts={name: it} to save and to load, or save its to_frame() as a table"


class Written:
    """What is written: `objects` and `arrays` once each, however often they are referred to.

    `parts` are values that the caller holds and gives again, by name.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = {id(value): name for name, value in parts.items()}
        self.objects: list[dict[str, Any]] = []
        self.arrays: list[np.ndarray] = []
        self.on_device: list[bool] = []
        self._places: dict[int, dict[str, Any]] = {}
        self._alive: list[Any] = []  # else another object may get the identity of one that is gone

    def of(self, value: Any, path: str) -> Any:
        """A value as JSON has it; `path` is its place, for sentences.

        **Raises:** ValueError naming what no file can hold.
        """
        if id(value) in self.parts:
            return dict(part=self.parts[id(value)])
        if value is None or isinstance(value, bool) or type(value) in (int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else dict(float=repr(value))
        if id(value) not in self._places:
            self._alive.append(value)
            self._places[id(value)] = self._first(value, path)
        return self._places[id(value)]

    def _first(self, value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            return self._array(value, path)
        if is_ours(type(value)):
            return self._object(value, path)
        if type(value) in (tuple, list):
            return {type(value).__name__: [self.of(v, f"{path}[{i}]") for i, v in enumerate(value)]}
        if isinstance(value, dict):
            each = value.items()
            return dict(dict=[[self.of(k, path), self.of(v, f"{path}[{k!r}]")] for k, v in each])
        if isinstance(value, pd.Index):
            return dict(index=self.of(index_parts(value), path))
        if isinstance(value, pd.Series):
            held = (index_parts(pd.Index(value)), index_parts(value.index))
            return dict(series=[self.of(one, path) for one in held])
        if isinstance(value, jax.tree_util.Partial):
            held = (value.func, value.args, value.keywords)
            return dict(partial=[self.of(v, path) for v in held])
        if isinstance(value, datetime.date | datetime.timedelta):
            return _time(value)
        raise ValueError(f"{path} is {_named(value)}, which a file cannot hold: {HINT}.")

    def _object(self, value: Any, path: str) -> dict[str, Any]:
        kind = type(value)
        if isinstance(value, enum.Enum):
            return dict(enum=[kind.__name__, value.name])
        parts = {name: self.of(getattr(value, name), f"{path}.{name}") for name in part_names(kind)}
        self.objects.append({"class": kind.__name__, "parts": parts})
        return dict(object=len(self.objects) - 1)

    def _array(self, value: Any, path: str) -> dict[str, Any]:
        if is_traced(value):
            raise ValueError(f"{path} is traced: save outside of jit, vmap and grad.")
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            impl = str(jax.random.key_impl(value))
            return dict(key=[impl, self._array(jax.random.key_data(value), path)])
        array = np.asarray(value)
        if array.dtype.kind == "O":
            listed = [self.of(v, f"{path}[{i}]") for i, v in enumerate(array.ravel().tolist())]
            return dict(items=[listed, list(array.shape)])
        if array.dtype.kind in "VT" or array.dtype.hasobject:
            raise ValueError(f"{path} is an array of {array.dtype}, which a file cannot hold.")
        self.arrays.append(array)
        self.on_device.append(isinstance(value, jax.Array))
        place = len(self.arrays) - 1
        return dict(scalar=place) if isinstance(value, np.generic) else dict(array=place)


def _time(value: datetime.date | datetime.timedelta) -> dict[str, Any]:
    """A date, a time or a span; of pandas to the nanosecond."""
    if isinstance(value, pd.Timedelta):
        return dict(timedelta=value.isoformat())
    if isinstance(value, pd.Timestamp):
        zone = None if value.tz is None else str(value.tz)
        return dict(timestamp=[value.isoformat(), zone])
    if isinstance(value, datetime.timedelta):
        return dict(span=[value.days, value.seconds, value.microseconds])
    kind = "datetime" if isinstance(value, datetime.datetime) else "date"
    return {kind: value.isoformat()}


def _named(value: Any) -> str:
    """What a value is, in words."""
    if callable(value) and hasattr(value, "__qualname__"):
        return f"the function {value.__qualname__}"
    kind = type(value)
    return f"of the class {kind.__module__}.{kind.__qualname__}"
