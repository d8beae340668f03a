"""The rows of a sample as numbers and labels: read from arrays or a frame, before any check."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from jcausal.data._like import FrameKind
from jcausal.data._names import RowNames
from jcausal.data._schema import Schema


class Said(NamedTuple):
    """What the parts of a sample are called in a sentence: of a frame, by their columns.

    `cluster` is the name of a frame's column of clusters.
    """

    t: str = "t"
    y: str = "y"
    weight: str = "weight"
    id: str = "id"
    cluster: str | None = None


class Reading(NamedTuple):
    """What was handed over for n rows and p covariates, read once.

    `x` (n, p) the covariates in float64, a category's levels as their numbers in `schema`; `t` (n,)
    1 for treated, 0 for controls; `y` (n,) outcomes; `weight` (n,); `valid` (n,) False for padding;
    `id` and `cluster` (n,) labels. `called` are the names of the rows in frames made later, `dtype`
    is what is computed in, `home` the kind of frame that came in, `said` the words of sentences.
    The outcome and the clusters may be traced, all else is concrete.
    """

    x: Float[np.ndarray, "n p"]
    t: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"] | Array | None
    weight: Float[np.ndarray, " n"]
    valid: Bool[np.ndarray, " n"]
    id: Shaped[np.ndarray, " n"] | None
    cluster: Shaped[np.ndarray, " n"] | Array | None
    schema: Schema
    called: RowNames
    dtype: np.dtype
    home: FrameKind = "pandas"
    said: Said = Said()

    @property
    def whole(self) -> bool:
        """Whether every row counts and none has a gap in a number."""
        return bool(self.valid.all()) and not self.schema.flag_of

    def present(self, j: int) -> Bool[np.ndarray, " n"]:
        """The valid rows that have a value of covariate j, as its flag column says."""
        flag = self.schema.flag_of.get(j)
        return self.valid if flag is None else self.valid & (self.x[:, flag] != 1)


def working_dtype(x: Any) -> np.dtype:
    """float32 for data in float32, else JAX's default float: half precision is never kept."""
    if getattr(x, "dtype", None) == np.float32:
        return np.dtype(np.float32)
    return np.dtype(jnp.result_type(float))
