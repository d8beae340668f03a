"""Response surfaces: what a unit's outcome would be without and with the treatment."""

from abc import abstractmethod
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from jcausal.data import Sample, Schema
from jcausal_kernels import Slabs, grid_variance

Arms = Literal["both", "control", "treated"]


class Trained(eqx.Module):
    """Which rows a surface has seen the outcomes of."""

    row: UInt32[Array, "r 2"]
    origin: UInt32[Array, ""]


class ResponseSurface(eqx.Module):
    """f0 and f1 as one callable: points (m, p) in the covariates' own units -> (m, 2).

    Column 0 is the outcome without, column 1 with the treatment; the column of an arm that was
    not fitted is NaN. `trained` names the rows it was trained on, or is None.
    """

    trained: eqx.AbstractVar[Trained | None]

    @abstractmethod
    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both outcomes at each point."""

    @abstractmethod
    def slab_variance(
        self,
        centre: Float[Array, "m p"],
        lo: Float[Array, " m"],
        hi: Float[Array, " m"],
        j: Int[Array, " m"],
        points: int,
    ) -> Float[Array, "m 2"]:
        """Variance of both outcomes over evenly spaced points of a line along one covariate.

        Row i runs from `lo[i]` to `hi[i]` in covariate `j[i]` (not a category), the other
        covariates standing at `centre[i]`. Population variance, in squared outcome units.
        """

    @abstractmethod
    def lean(self) -> "ResponseSurface":
        """The same function with only the arrays that its evaluation needs."""


class OutcomeModel(eqx.Module):
    """A way to make a response surface from a sample; holds hyperparameters only."""

    traceable: eqx.AbstractVar[bool]

    @abstractmethod
    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> ResponseSurface:
        """Train on the valid rows of a sample."""


def line_offsets(points: int, p: int) -> Float[Array, "g p"]:
    """Evenly spaced shares from 0 to 1, both ends included, the same in every column."""
    return jnp.tile(jnp.linspace(0.0, 1.0, points)[:, None], (1, p))


def line_variance(
    surface: ResponseSurface,
    centre: Float[Array, "m p"],
    lo: Float[Array, " m"],
    hi: Float[Array, " m"],
    j: Int[Array, " m"],
    points: int,
) -> Float[Array, "m 2"]:
    """`slab_variance` by evaluating the surface: right for every surface."""
    p = centre.shape[1]
    offsets = line_offsets(points, p).astype(centre.dtype)
    slabs = Slabs(centre, centre, j, lo, hi)
    return grid_variance(surface, slabs, offsets, jnp.zeros(p, bool))


def trained_on(sample: Sample, rows: Array | np.ndarray) -> Trained:
    """Remember the rows of a sample whose outcomes were used."""
    return Trained(sample.row[rows], sample.origin)


class Encoding(eqx.Module):
    """Covariates to features: ordered columns as they are, one 0/1 feature for each level.

    All levels get a feature, none is a base, so that renaming or reordering levels changes
    nothing.
    """

    column: Int[np.ndarray, " f"]
    level: Int[np.ndarray, " f"]
    feature: Int[np.ndarray, " p"]

    def __init__(self, schema: Schema) -> None:
        rows = [(j, -1) for j in schema.ordered]
        rows += [(j, level) for j in schema.categories for level in range(len(schema.levels[j]))]
        table = np.array(rows, np.int32).reshape(-1, 2)
        self.column, self.level = table[:, 0], table[:, 1]
        self.feature = np.full(len(schema.names), -1, np.int32)
        self.feature[schema.ordered] = np.arange(len(schema.ordered))

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m f"]:
        """Features of each point."""
        values = x[:, self.column]
        level = jnp.asarray(self.level)
        return jnp.where(level < 0, values, (values == level).astype(x.dtype))
