"""From text and arrays to an object of the library's own classes."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from jcausal.data import to_device
from jcausal.storage._classes import known_classes, made_again, part_names
from jcausal.storage._index import index_of


class FileContent:
    """What a file holds, put together again.

    `arrays` as they were, `objects` in an order in which each needs those before it alone; `parts`
    are the caller's own values by name.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        on_device: Sequence[bool],
        parts: Mapping[str, Any],
    ) -> None:
        both = zip(arrays, on_device, strict=True)
        self.arrays = [to_device(a) if device else a for a, device in both]
        self.parts, self.classes = parts, known_classes()
        self.objects: list[Any] = []

    def put_together(self, objects: Sequence[dict[str, Any]]) -> None:
        """Make every object.

        **Raises:** ValueError for classes that are not the library's, and for others' fields.
        """
        for one in objects:
            kind = self._class(one["class"])
            names, given = part_names(kind), one["parts"]
            if set(names) != set(given):
                lost = ", ".join(sorted(set(names) ^ set(given)))
                raise ValueError(f"its {kind.__name__} differs from that of this version in {lost}")
            self.objects.append(made_again(kind, {name: self.of(given[name]) for name in names}))

    def _class(self, name: str) -> type:
        if name not in self.classes:
            raise ValueError(f"it holds {name!r}, which is no class of this version of jcausal")
        return self.classes[name]

    def of(self, told: Any) -> Any:
        """A value of what JSON has of it."""
        if not isinstance(told, dict):
            return told
        ((word, held),) = told.items()
        return getattr(self, f"_{word}")(held) if word in WORDS else self._plain(word, held)

    def _plain(self, word: str, held: Any) -> Any:
        if word == "timestamp":
            made, zone = pd.Timestamp(held[0]), held[1]
            return made if zone is None else made.tz_convert(zone)
        if word == "span":
            return datetime.timedelta(*held)
        if word not in SIMPLE:
            raise ValueError(f"it holds a {word!r}, which this version does not know")
        return SIMPLE[word](held)

    def _part(self, name: str) -> Any:
        if name not in self.parts:
            raise ValueError(
                f"it was saved without its part {name!r}: give load parts={{{name!r}: it}}"
            )
        return self.parts[name]

    def _object(self, place: int) -> Any:
        return self.objects[place]

    def _array(self, place: int) -> Any:
        return self.arrays[place]

    def _scalar(self, place: int) -> Any:
        return self.arrays[place][()]

    def _items(self, held: list[Any]) -> np.ndarray:
        made = np.empty(len(held[0]), object)
        for place, one in enumerate(held[0]):
            made[place] = self.of(one)
        return made.reshape(held[1])

    def _key(self, held: list[Any]) -> Any:
        return jax.random.wrap_key_data(self.of(held[1]), impl=held[0])

    def _enum(self, held: list[str]) -> Any:
        kind: Any = self._class(held[0])
        return kind[held[1]]

    def _tuple(self, held: list[Any]) -> tuple:
        return tuple(map(self.of, held))

    def _list(self, held: list[Any]) -> list:
        return list(map(self.of, held))

    def _dict(self, held: list[Any]) -> dict:
        return {self.of(key): self.of(value) for key, value in held}

    def _index(self, held: dict[str, Any]) -> pd.Index:
        return index_of(**self.of(held))

    def _series(self, held: list[Any]) -> pd.Series:
        values, index = (index_of(**self.of(one)) for one in held)
        return pd.Series(values.array, index, name=values.name)

    def _partial(self, held: list[Any]) -> Any:
        function, args, keywords = map(self.of, held)
        return jax.tree_util.Partial(function, *args, **keywords)


WORDS = {"part", "object", "array", "scalar", "enum", "tuple", "list", "dict", "index"}
WORDS |= {"items", "series", "partial", "key"}
SIMPLE = dict(
    float=float,
    timedelta=pd.Timedelta,
    date=datetime.date.fromisoformat,
    datetime=datetime.datetime.fromisoformat,
)
