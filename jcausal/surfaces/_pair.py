"""Surfaces that are two sums of trees."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.surfaces._forest import Forest
from jcausal.surfaces._surface import Encoding, ResponseSurface


class ForestSurface(ResponseSurface):
    """f0 and f1 as sums of trees over the features of an encoding; None for an arm not fitted."""

    control: eqx.AbstractVar[Forest | None]
    treated: eqx.AbstractVar[Forest | None]
    encoding: eqx.AbstractVar[Encoding]

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both sums; NaN in the column of an arm that was not fitted."""
        features = self.encoding(x)
        missing = jnp.full(x.shape[0], jnp.nan, x.dtype)
        forests = (self.control, self.treated)
        columns = [missing if f is None else f(features).astype(x.dtype) for f in forests]
        return jnp.stack(columns, axis=1)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """From the tables and trees that hold covariate j."""
        features, feature = self.encoding(centre), jnp.asarray(self.encoding.feature)[j]
        missing = jnp.full(at.shape, jnp.nan, at.dtype)
        forests = (self.control, self.treated)
        columns = [
            missing if f is None else f.lines(features, feature, at).astype(at.dtype)
            for f in forests
        ]
        return jnp.stack(columns, axis=3)
