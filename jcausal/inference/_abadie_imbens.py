"""Intervals for averages: Abadie and Imbens' variance for matching with replacement."""

from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    Sample,
    Schema,
    added,
    bucket,
    is_traced,
    on_host,
    pad_rows,
    to_device,
    weighted_moments,
)
from jcausal.effects import Effects
from jcausal.inference._average import AverageMethod, Form, Variance

ROWS = 1024  # units whose neighbours are looked for by one call


class AbadieImbens(AverageMethod):
    """Normal interval for the average effect, with the variance that shared partners cause.

    With the average sum_k c_k y_k and the queries' shares v (1/n1 each without weights),
    population: V = sum_q v_q^2 (tau_q - average)^2 + sum_k (c_k^2 - sum_q c_kq^2) sigma_k^2,
    sample:     V = sum_k c_k^2 sigma_k^2, where c_kq is unit k's coefficient in query q's effect.
    sigma_k^2 = J/(J+1) (y_k - mean of its J nearest units of the same arm)^2, of residuals where
    effects are adjusted (the average is then linear in them, given the model); distances over
    standardised covariates, a category counting 1 when levels differ; all units tied at the J-th
    distance are taken, so that row order changes nothing. For `jc.M5Model` sigma_k^2 of a control
    is the residual variance of its leaf, so that V holds x' (X'X)^-1 x sigma^2, the error of the
    leaf's coefficients. ValueError for a sample with clusters, which V ignores.

    **Arguments:** `variance_neighbors` J; `target` "population" or "sample"; `level`.

    **Source:** Abadie and Imbens (2006), Econometrica 74(1), theorems 6 and 7.
    """

    variance_neighbors: int = eqx.field(static=True, default=1)
    target: Literal["population", "sample"] = eqx.field(static=True, default="population")
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        if self.variance_neighbors < 1:
            raise ValueError("variance_neighbors must be at least 1.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return "Abadie-Imbens"

    def variance(
        self, effects: Effects, share: Float[Array, " q"], key: PRNGKeyArray | None
    ) -> Variance:
        """sigma^2 of every unit that carries weight, once; then V of a form."""
        if effects.sample.cluster is not None:
            raise ValueError(
                "jc.AbadieImbens would ignore the sample's clusters: use jc.Bootstrap(), which "
                "draws them whole, or a sample without cluster=."
            )
        regressions = effects.matching.smoother() is not None
        c = effects.coefficients(share)
        wanted = _wanted(c, effects.sample.t if regressions else None, self.target)
        sigma = noise_variance(effects.sample, effects.residual, self.variance_neighbors, wanted)
        if regressions:
            sigma = added(sigma, _regression_noise(effects))

        def of_form(form: Form) -> tuple[Array, Array]:
            c, t = effects.coefficients(form.share), effects.sample.t
            if self.target == "sample":
                return _sample_variance(c, t, form.scale, sigma), to_device(np.zeros((), bool))
            single, gap = effects.coefficients(form.share, power=2), form.gap(effects)
            found = _population_variance(c, single, gap, t, form.scale, sigma)
            return found, to_device(np.zeros((), bool))

        return of_form


@on_host
def _wanted(
    lib: Any, c: Float[Array, " n"], t: Bool[Array, " n"] | None, target: str
) -> Bool[Array, " n"]:
    """Units whose sigma^2 is needed; of regressions only of the sample's treated."""
    return c != 0 if t is None else (c != 0) & t & (target == "sample")


@on_host
def _sample_variance(
    lib: Any,
    c: Float[Array, " n"],
    t: Bool[Array, " n"],
    scale: Float[Array, " 2"],
    sigma: Float[Array, " n"],
) -> Float[Array, ""]:
    return ((c * scale[t.astype(np.int32)]) ** 2 * sigma).sum()


@on_host
def _population_variance(
    lib: Any,
    c: Float[Array, " n"],
    single: Float[Array, " n"],
    gap: Float[Array, " q"],
    t: Bool[Array, " n"],
    scale: Float[Array, " 2"],
    sigma: Float[Array, " n"],
) -> Float[Array, ""]:
    shared = (c**2 - single) * scale[t.astype(np.int32)] ** 2
    return lib.maximum((gap**2).sum() + (shared * sigma).sum(), 0)


def _regression_noise(effects: Effects) -> Float[Array, " n"]:
    """The residual variance of each control's regression; 0 for others."""
    sample = effects.sample
    assert sample.y is not None
    found = effects.matching.unit_residuals(_centred(sample.y, effects.centre, sample.valid))
    assert found is not None
    return found.variance


@on_host
def _centred(
    lib: Any, y: Float[Array, " n"], centre: Float[Array, ""], valid: Bool[Array, " n"]
) -> Float[Array, " n"]:
    return lib.where(valid, y - centre, 0)


def noise_variance(
    sample: Sample, y: Float[Array, " n"], neighbors: int, wanted: Bool[Array, " n"]
) -> Float[Array, " n"]:
    """sigma^2 (n,) of the wanted units from their nearest neighbours of the same arm; 0 elsewhere.

    **Arguments:** `y` (n,) outcomes, or residuals where these are averaged.

    **Raises:** ValueError when an arm with wanted units has too few.
    """
    features = _standardised(sample.x, sample.valid, sample.schema)
    units = _Neighborhood(features, sample.t, y, sample.valid)
    if is_traced(units, wanted):
        found = _residuals(units, jnp.arange(sample.n), neighbors)
        return jnp.where(wanted, found, 0)
    _check_neighbors(sample, neighbors, wanted)
    rows = np.flatnonzero(np.asarray(wanted))
    out = np.zeros(sample.n, features.dtype)
    wide = bucket(sample.n)
    units = _Neighborhood(*(to_device(pad_rows(np.asarray(a), wide)) for a in units))
    for first in range(0, rows.size, ROWS):
        some = rows[first : first + ROWS]
        asked = np.pad(some, (0, min(wide, ROWS) - some.size), mode="edge")
        out[some] = np.asarray(_residuals(units, asked, neighbors))[: some.size]
    return to_device(out)


def _check_neighbors(sample: Sample, neighbors: int, wanted: Bool[Array, " n"]) -> None:
    t, valid, needed = (np.asarray(a) for a in (sample.t, sample.valid, wanted))
    for arm, word in ((True, "treated"), (False, "control")):
        count = int((valid & (t == arm)).sum())
        if (needed & (t == arm)).any() and count <= neighbors:
            units = f"is {count} {word} unit" if count == 1 else f"are {count} {word} units"
            fewer = ", or use fewer neighbours" if count > 1 else ""
            raise ValueError(
                f"there {units}, too few for a variance from the nearest {neighbors} of the same "
                f"arm: give more {word} units{fewer}."
            )


class _Neighborhood(NamedTuple):
    """Units among which neighbours are looked for: features, arm, outcome, validity."""

    features: Float[Array, "n f"]
    t: Bool[Array, " n"]
    y: Float[Array, " n"]
    valid: Bool[Array, " n"]


@on_host
def _standardised(
    lib: Any, x: Float[Array, "n p"], valid: Bool[Array, " n"], schema: Schema
) -> Float[Array, "n f"]:
    """Covariates over their standard deviation; levels as 0/1 over sqrt(2)."""
    use, numbers = valid[:, None], x[:, schema.ordered]
    middle, spread = weighted_moments(lib, numbers, use.astype(x.dtype))
    parts = [lib.where(use, numbers - middle, 0) / lib.where(spread > 0, spread, 1)]
    for j in schema.categories:
        level = x[:, j : j + 1] == np.arange(len(schema.levels[j]))
        parts.append(level.astype(x.dtype) / np.sqrt(2).astype(x.dtype))
    return lib.concatenate(parts, axis=1)


@partial(jax.jit, static_argnames=("neighbors", "max_bytes"))
def _residuals(
    units: _Neighborhood,
    rows: Int[Array, " r"],
    neighbors: int,
    max_bytes: int = 2**26,
) -> Float[Array, " r"]:
    """J/(J+1) (y - mean of the neighbours)^2, J counting all that tie; in blocks of rows."""
    features, t, y, valid = units
    centre = y - jnp.where(valid, y, 0).sum() / valid.sum()
    n = y.shape[0]

    def one(row: Array) -> Array:
        able = valid & (t == t[row]) & (jnp.arange(n) != row)
        square = jnp.where(able, ((features - features[row]) ** 2).sum(1), jnp.inf)
        least, nearest = lax.top_k(-square, neighbors)
        near = square <= -least[-1] * (1 + 1e-5) + 1e-12
        near = able & near.at[nearest].set(True)  # rounding under jit may part the two squares
        count = near.sum()
        mean = jnp.where(near, centre, 0).sum() / count
        return count / (count + 1) * (centre[row] - mean) ** 2

    block = max(1, max_bytes // (4 * n * (features.shape[1] + 4)))
    return lax.map(one, rows, batch_size=block)
