"""Which columns of a sample are ladders, which categories, and which flags."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jcausal.data import Sample


class Columns(NamedTuple):
    """What the p columns hold: static, hashable, free of names.

    `kinds` of the columns; `heights`: levels of each category; `flags`: (number, flag) columns, at
    level 1 of the flag the number is missing.
    """

    kinds: tuple[str, ...]
    heights: tuple[int, ...]
    flags: tuple[tuple[int, int], ...] = ()

    @property
    def ordered(self) -> Int[np.ndarray, " o"]:
        """The columns that are ladders."""
        return np.flatnonzero([kind != "category" for kind in self.kinds])

    @property
    def categories(self) -> Int[np.ndarray, " c"]:
        """The columns that hold levels."""
        return np.flatnonzero([kind == "category" for kind in self.kinds])

    @property
    def entries(self) -> np.ndarray:
        """(slot, level) of every level of every category."""
        pairs = [(c, level) for c, height in enumerate(self.heights) for level in range(height)]
        return np.array(pairs, np.int32).reshape(-1, 2)

    @property
    def observed(self) -> np.ndarray:
        """(number, its ladder, flag, entry of the flag's level "observed") of each flag."""
        first = np.cumsum([0, *self.heights])
        ordered, categories = self.ordered.tolist(), self.categories.tolist()
        rows = [(j, ordered.index(j), f, first[categories.index(f)]) for j, f in self.flags]
        return np.array(rows, np.int32).reshape(-1, 4)

    @property
    def tallest(self) -> int:
        """The largest number of levels."""
        return max(self.heights, default=1)

    def filled(self, x: Float[Array, "m p"], fill: Float[Array, " p"]) -> Float[Array, "m p"]:
        """The points with the fill in every number that their flag calls missing."""
        for j, flag in self.flags:
            x = x.at[:, j].set(jnp.where(x[:, flag] == 1, fill[j], x[:, j]))
        return x


def columns_of(sample: Sample) -> Columns:
    """The columns of a sample."""
    schema = sample.schema
    heights = tuple(len(schema.levels[j]) for j in schema.categories)
    return Columns(schema.kinds, heights, tuple(schema.flag_of.items()))
