"""Linear response surfaces with a small penalty, one per arm."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    Trained,
    bucket,
    in_dtype,
    is_traced,
    pad_rows,
    trained_on,
)
from jcausal.surfaces._arrays import product
from jcausal.surfaces._by_evaluation import all_levels_row_by_row
from jcausal.surfaces._encoding import Encoding, where_known
from jcausal.surfaces._surface import (
    Arms,
    Noise,
    OutcomeModel,
    ResponseSurface,
    of_arms,
    without_training,
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
        """Both linear predictions; NaN for an arm that was not fitted, and without a gradient."""
        features, slope = self.encoding(x), jnp.where(jnp.isnan(self.intercept), 0, self.slope)
        if features.shape[1] > FEW:
            return self.intercept + product(features, slope)
        return self.intercept + (features[:, :, None] * slope).sum(1)

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

    def level_changes(
        self,
        centre: Float[Array, "m p"],
        column: Int[Array, " m"],
        level: Int[Array, "m k"],
        wanted: Bool[Array, "m k"],
    ) -> Float[Array, "m k 2"]:
        """Differences of the levels' slopes."""
        feature = self.encoding.features_of(column, level, centre)
        value = where_known(feature, self.slope[feature]).astype(centre.dtype)
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
        """Any covariate may matter."""
        return jnp.ones(p, bool)

    def lean(self) -> "RidgeSurface":
        """Without the training rows."""
        return without_training(self)


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
        encoding, use = Encoding(sample.schema), of_arms(sample.t, sample.valid, arms)
        rows = RidgeRows(sample.x, sample.y, sample.t, sample.weight, use)
        kept = trained_on(sample, None)
        if not is_traced(rows):
            used = np.asarray(use)
            _check_rows(np.asarray(sample.t), used, arms)
            kept = trained_on(sample, np.flatnonzero(used))
            rows = RidgeRows(*(pad_rows(np.asarray(a), bucket(sample.n)) for a in rows))
        penalty = in_dtype(self.penalty, sample.x.dtype)
        intercept, slope, noise = _core(encoding, rows, penalty, arms)
        return RidgeSurface(
            intercept=intercept, slope=slope, noise=noise, encoding=encoding, trained=kept
        )


def _check_rows(t: np.ndarray, rows: np.ndarray, arms: Arms) -> None:
    for arm in ("control", "treated"):
        if arms in ("both", arm) and not (rows & (t == (arm == "treated"))).any():
            raise DataError(f"there is no {arm} row to fit a surface on.")


class RidgeRows(NamedTuple):
    """The rows to fit on.

    - `x` (n, p): covariates.
    - `y` (n,), `t` (n,), `weight` (n,): outcome, treatment and sampling weight.
    - `use` (n,): False in padding and for arms that are not fitted.
    """

    x: Float[Array, "n p"]
    y: Float[Array, " n"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    use: Bool[Array, " n"]


@eqx.filter_jit
def _core(
    encoding: Encoding, rows: RidgeRows, penalty: Float[Array, ""], arms: Arms
) -> tuple[Float[Array, " 2"], Float[Array, "f 2"], Float[Array, " 2"]]:
    """Intercepts, slopes and noise of both arms; NaN for one that is not wanted."""
    features, y = encoding(rows.x), rows.y

    def one(arm: Array) -> tuple[Array, Array]:
        w = jnp.where(rows.use & (rows.t == arm), rows.weight, 0)
        solved = _solve(features, y, w, penalty)
        residual = y - solved[0] - product(features, solved[1:])
        return solved, product(w, jnp.square(residual)) / jnp.where(w.sum() > 0, w.sum(), 1)

    solved, noise = lax.map(one, jnp.asarray([False, True]))
    wanted = jnp.asarray([arms != "treated", arms != "control"])
    solved, noise = jnp.where(wanted[:, None], solved, jnp.nan), jnp.where(wanted, noise, jnp.nan)
    return solved[:, 0], solved[:, 1:].T, noise


def _solve(
    features: Float[Array, "n f"], y: Float[Array, " n"], w: Float[Array, " n"], penalty: Array
) -> Float[Array, " g"]:
    """Intercept and slopes of one weighted ridge regression, centred and scaled."""
    total = jnp.where(w.sum() > 0, w.sum(), 1)
    share = w / total
    centre = product(share, features)
    z = features - centre
    variance = product(share, jnp.square(z))
    spread = jnp.sqrt(jnp.where(variance > 0, variance, 1))  # a root of 0 has no gradient
    scale = jnp.where(variance > 0, spread, 0)
    largest = jnp.max(jnp.where(w[:, None] > 0, jnp.abs(features), 0), axis=0)
    varies = scale > 16 * jnp.finfo(z.dtype).eps * largest
    scale = jnp.where(varies, scale, 1)
    z, level = jnp.where(varies, z / scale, 0), product(share, y)
    gram = product((z * share[:, None]).T, z) + penalty * jnp.eye(z.shape[1], dtype=z.dtype)
    slope = jnp.linalg.solve(gram, product((z * share[:, None]).T, y - level)) / scale
    slope = jnp.where(varies, slope, 0)
    return jnp.concatenate([(level - product(centre, slope))[None], slope])
