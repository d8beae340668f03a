"""Covariates as features: ordered columns as they are, categories as one 0/1 feature a level."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Schema, on_host

NOWHERE = np.iinfo(np.int32).max  # the code of a level that a sample does not have


class Encoding(eqx.Module):
    """Covariates to features: ordered columns as they are, one 0/1 feature for each level.

    All levels get a feature, none is a base, so that renaming or reordering levels changes
    nothing.

    - `column` (f,): the covariate that each feature is made of.
    - `level` (f,): the code of its level, -1 for an ordered covariate.
    - `feature` (p,): the feature of each ordered covariate, -1 for a category.
    - `of_level` (p, l): the feature of each level of a category, -1 where there is none.
    """

    column: Int[np.ndarray, " f"]
    level: Int[np.ndarray, " f"]
    feature: Int[np.ndarray, " p"]
    of_level: Int[np.ndarray, "p l"]

    def __init__(self, schema: Schema) -> None:
        rows = [(j, -1) for j in schema.ordered]
        rows += [(j, level) for j in schema.categories for level in range(len(schema.levels[j]))]
        table = np.array(rows, np.int32).reshape(-1, 2)
        self.column, self.level = table[:, 0], table[:, 1]
        self.feature, self.of_level = _looked_up(self.column, self.level, schema)

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m f"]:
        """Features of each point.

        **Raises:** ValueError for other numbers of columns than were trained on.
        """
        p = self.feature.shape[0]
        if len(x.shape) != 2 or x.shape[1] != p:
            raise ValueError(
                f"x has shape {tuple(x.shape)}: a surface takes (m, {p}), one row a point and the "
                f"{p} covariates of its training in their order."
            )
        return _encoded(x, self.column, self.level)

    def moved(
        self, column: Int[np.ndarray, " f"], level: Int[np.ndarray, " f"], schema: Schema
    ) -> "Encoding":
        """The same features of a sample in which covariates and levels stand elsewhere."""
        parts = column, level, *_looked_up(column, level, schema)
        return eqx.tree_at(lambda e: (e.column, e.level, e.feature, e.of_level), self, parts)

    def features_of(
        self, column: Int[Array, " m"], level: Int[Array, "m k"], centre: Float[Array, "m p"]
    ) -> Int[Array, "m h"]:
        """The features of k levels of a category and, behind them, of the centre's own level.

        -1 for a level that the surface does not know; h = k + 1.
        """
        own = jnp.take_along_axis(centre, column[:, None], axis=1).astype(level.dtype)
        every = jnp.concatenate([level, own], axis=1)
        return jnp.asarray(self.of_level)[column[:, None], every]

    def covariates_of(self, seen: Bool[Array, " f"]) -> Bool[Array, " p"]:
        """Which ordered covariates stand behind some features; True for every category."""
        feature = jnp.asarray(self.feature)
        return jnp.where(feature < 0, True, seen[feature])


def where_known(feature: Int[Array, "*k"], value: Float[Array, "*m 2"]) -> Float[Array, "*m 2"]:
    """0 for a level that the surface does not know, which has no feature."""
    return jnp.where((feature < 0)[..., None], 0, value)


@on_host
def _encoded(
    lib: Any,
    x: Float[Array, "m p"],
    column: Int[np.ndarray, " f"] | Int[Array, " f"],
    level: Int[np.ndarray, " f"] | Int[Array, " f"],
) -> Float[Array, "m f"]:
    values = x[:, column]
    return lib.where(level < 0, values, (values == level).astype(x.dtype))


def _looked_up(
    column: Int[np.ndarray, " f"], level: Int[np.ndarray, " f"], schema: Schema
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, "p l"]]:
    """The feature of each ordered covariate, and of each level of a category."""
    p = len(schema.names)
    feature, tallest = np.full(p, -1, np.int32), max(1, *map(len, schema.levels))
    of_level = np.full((p, tallest), -1, np.int32)
    for f, (j, code) in enumerate(zip(column.tolist(), level.tolist())):
        if code < 0:
            feature[j] = f
        elif code != NOWHERE:
            of_level[j, code] = f
    return feature, of_level
