"""Linear response surfaces with a small penalty, one per arm."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import DataError, Sample, is_traced
from jcausal.outcome._function import without_training
from jcausal.outcome._surface import (
    Arms,
    Encoding,
    Noise,
    OutcomeModel,
    ResponseSurface,
    Trained,
    trained_on,
)

FEW = 16  # features: up to here products one by one are quicker than a matrix product


class RidgeSurface(ResponseSurface):
    """f_a(x) = intercept_a + features(x) @ slope_a. Made by `jc.fit(sample, jc.Ridge())`.

    `noise` (2,) is the mean squared residual of each arm.
    """

    intercept: Float[Array, " 2"]
    slope: Float[Array, "f 2"]
    noise: Noise
    encoding: Encoding
    trained: Trained | None

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both linear predictions."""
        features = self.encoding(x)
        if features.shape[1] > FEW:
            return self.intercept + product(features, self.slope)
        return self.intercept + (features[:, :, None] * self.slope).sum(1)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """The slope times the way."""
        slope = self.slope[jnp.asarray(self.encoding.feature)[j]]
        here = centre[jnp.arange(len(centre))[:, None], j]
        return (at - here[:, :, None])[..., None] * slope[:, :, None]

    def lean(self) -> "RidgeSurface":
        """Without the training rows."""
        return without_training(self)  # type: ignore[return-value]


class Ridge(OutcomeModel):
    """Linear surfaces: minimise the weighted mean squared error + penalty |slope|^2, per arm.

    Features are standardised within the arm before the penalty; a category has one feature per
    level. Traceable: may run under jit, vmap and grad.

    **Arguments:** `penalty` > 0, default 1e-4 (nearly least squares, yet unique when features
    are collinear).

    **Source:** Hoerl and Kennard (1970), Technometrics 12(1).
    """

    penalty: float | int | Array = 1e-4
    traceable: bool = eqx.field(static=True, init=False, default=True)
    needs_key: bool = eqx.field(static=True, init=False, default=False)

    def __check_init__(self) -> None:
        if not is_traced(self.penalty) and not self.penalty > 0:
            raise ValueError(f"penalty is {self.penalty}: it must be positive.")

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> RidgeSurface:
        """Solve the normal equations of each arm."""
        assert sample.y is not None
        encoding = Encoding(sample.schema)
        features = encoding(sample.x)
        columns, noise, rows = [], [], sample.valid & _of_arms(sample.t, arms)
        for arm in (False, True):
            use = rows & (sample.t == arm)
            _check_rows(use, arm, arms)
            w = jnp.where(use, sample.weight, 0)
            solved = _solve(features, sample.y, w, jnp.asarray(self.penalty, features.dtype))
            missing = arms == ("control" if arm else "treated")
            columns.append(jnp.where(missing, jnp.nan, solved))
            residual = sample.y - solved[0] - product(features, solved[1:])
            spread = product(w, jnp.square(residual)) / jnp.where(w.sum() > 0, w.sum(), 1)
            noise.append(jnp.where(missing, jnp.nan, spread))
        both = jnp.stack(columns, axis=1)
        kept = None if is_traced(rows) else trained_on(sample, np.flatnonzero(np.asarray(rows)))
        return RidgeSurface(
            intercept=both[0],
            slope=both[1:],
            noise=jnp.stack(noise),
            encoding=encoding,
            trained=kept,
        )


def _of_arms(t: Array, arms: Arms) -> Array:
    return jnp.ones_like(t) if arms == "both" else t == (arms == "treated")


def _check_rows(use: Array, arm: bool, arms: Arms) -> None:
    wanted = arms in ("both", "treated" if arm else "control")
    if wanted and not is_traced(use) and not bool(use.any()):
        raise DataError(f"there is no {'treated' if arm else 'control'} row to fit a surface on.")


@jax.jit
def _solve(
    features: Float[Array, "n f"], y: Float[Array, " n"], w: Float[Array, " n"], penalty: Array
) -> Float[Array, " g"]:
    """Intercept and slopes of one weighted ridge regression, centred and scaled."""
    total = jnp.where(w.sum() > 0, w.sum(), 1)
    share = w / total
    centre = product(share, features)
    z = features - centre
    scale = jnp.sqrt(product(share, jnp.square(z)))
    largest = jnp.max(jnp.where(w[:, None] > 0, jnp.abs(features), 0), axis=0)
    varies = scale > 16 * jnp.finfo(z.dtype).eps * largest
    scale = jnp.where(varies, scale, 1)
    z, level = jnp.where(varies, z / scale, 0), product(share, y)
    gram = product((z * share[:, None]).T, z) + penalty * jnp.eye(z.shape[1], dtype=z.dtype)
    slope = jnp.linalg.solve(gram, product((z * share[:, None]).T, y - level)) / scale
    slope = jnp.where(varies, slope, 0)
    return jnp.concatenate([(level - product(centre, slope))[None], slope])


def product(a: Array, b: Array) -> Array:
    """A matrix product in full precision, also where a GPU would round."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
