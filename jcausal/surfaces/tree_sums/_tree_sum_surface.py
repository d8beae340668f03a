"""Surfaces that are two sums of trees."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.surfaces._by_evaluation import all_levels_row_by_row
from jcausal.surfaces._encoding import Encoding, where_known
from jcausal.surfaces._surface import ResponseSurface
from jcausal.surfaces.tree_sums._tree_sum import TreeSum


class TreeSumSurface(ResponseSurface):
    """f0 and f1 as sums of trees over the features of an encoding; None for an arm not fitted."""

    control: eqx.AbstractVar[TreeSum | None]
    treated: eqx.AbstractVar[TreeSum | None]
    encoding: eqx.AbstractVar[Encoding]

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both sums; NaN in the column of an arm that was not fitted."""
        features = self.encoding(x)
        missing = jnp.full(x.shape[0], jnp.nan, x.dtype)
        arms = (self.control, self.treated)
        columns = [missing if f is None else f(features).astype(x.dtype) for f in arms]
        return jnp.stack(columns, axis=1)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """From the tables and trees that hold covariate j."""
        feature = jnp.asarray(self.encoding.feature)[j]
        return self._lines(self.encoding(centre), feature, at)

    def level_changes(
        self,
        centre: Float[Array, "m p"],
        column: Int[Array, " m"],
        level: Int[Array, "m k"],
        wanted: Bool[Array, "m k"],
    ) -> Float[Array, "m k 2"]:
        """From the tables and trees that hold the levels: what each adds where there is none."""
        feature = self.encoding.features_of(column, level, centre)
        z = jnp.where(self.encoding.column == column[:, None], 0, self.encoding(centre))
        there = self._lines(z, feature, jnp.ones((*feature.shape, 1), z.dtype))[:, :, 0]
        value = where_known(feature, there).astype(centre.dtype)
        return value[:, :-1] - value[:, -1:]

    def all_level_changes(
        self,
        centre: Float[Array, "m p"],
        columns: Int[np.ndarray, " c"],
        heights: Int[np.ndarray, " c"],
    ) -> Float[Array, "m c l 2"]:
        """One category after the other."""
        return all_levels_row_by_row(self.level_changes, centre, columns, heights)

    def sees(self, p: int) -> Bool[Array, " p"]:
        """The covariates that any tree splits on."""
        held = jnp.stack([f.held for f in (self.control, self.treated) if f is not None])
        return self.encoding.covariates_of(held.any(0))

    def _lines(
        self, features: Float[Array, "m f"], j: Int[Array, "#m k"], at: Float[Array, "m k g"]
    ) -> Float[Array, "m k g 2"]:
        """How both sums change when feature j alone moves; NaN for an arm not fitted."""
        missing = jnp.full(at.shape, jnp.nan, at.dtype)
        columns = [
            missing if f is None else f.lines(features, j, at).astype(at.dtype)
            for f in (self.control, self.treated)
        ]
        return jnp.stack(columns, axis=3)
