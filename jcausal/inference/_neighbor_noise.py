"""The noise of every unit from its nearest neighbours of the same arm."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    Sample,
    Schema,
    bucket,
    is_traced,
    on_host,
    pad_rows,
    to_device,
    weighted_moments,
)

NeighborMetric = Literal["scaled_euclidean", "mahalanobis"]
Spread = Literal["unit", "set"]
ROWS = 1024  # units whose neighbours are looked for by one call


class Neighbors(NamedTuple):
    """Which units of the same arm tell the noise of one, and how; as in `AbadieImbens`."""

    number: int = 1
    metric: NeighborMetric = "scaled_euclidean"
    spread: Spread = "unit"


NEAREST = Neighbors()


def noise_variance(
    sample: Sample, y: Float[Array, " n"], how: Neighbors, wanted: Bool[Array, " n"]
) -> Float[Array, " n"]:
    """sigma^2 (n,) of the wanted units from their nearest neighbours of the same arm; 0 elsewhere.

    **Arguments:** `y` (n,) outcomes, or residuals where these are averaged.

    **Raises:** ValueError when an arm with wanted units has too few.
    """
    features = _features(sample, how.metric)
    units = _Neighborhood(features, sample.t, y, sample.valid)
    if is_traced(units, wanted):
        found = _residuals(units, jnp.arange(sample.n), how)
        return jnp.where(wanted, found, 0)
    _check_neighbors(sample, how.number, wanted)
    rows = np.flatnonzero(np.asarray(wanted))
    out = np.zeros(sample.n, features.dtype)
    wide = bucket(sample.n)
    units = _Neighborhood(*(to_device(pad_rows(np.asarray(a), wide)) for a in units))
    for first in range(0, rows.size, ROWS):
        some = rows[first : first + ROWS]
        asked = np.pad(some, (0, min(wide, ROWS) - some.size), mode="edge")
        out[some] = np.asarray(_residuals(units, asked, how))[: some.size]
    return to_device(out)


def _features(sample: Sample, metric: NeighborMetric) -> Float[Array, "n f"]:
    """Points whose squared distances are those of the metric."""
    scaled = _standardised(sample.x, sample.valid, sample.schema)
    if metric == "scaled_euclidean":
        return scaled
    return _whitened(scaled, sample.weight, sample.valid)


@on_host
def _whitened(
    lib: Any, features: Float[Array, "n f"], weight: Float[Array, " n"], valid: Bool[Array, " n"]
) -> Float[Array, "n f"]:
    """Features with the identity as covariance; directions in which nothing varies are left out."""
    w = lib.where(valid, weight, 0)[:, None]
    total = w.sum()
    centred = lib.where(valid[:, None], features - (w * features).sum(0) / total, 0)
    root, direction = lib.linalg.eigh((w * centred).T @ centred / total)
    known = root > 1e-5 * root[-1]
    return (centred @ direction) * lib.where(known, lib.where(known, root, 1) ** -0.5, 0)


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


@partial(jax.jit, static_argnames=("how", "max_bytes"))
def _residuals(
    units: _Neighborhood,
    rows: Int[Array, " r"],
    how: Neighbors,
    max_bytes: int = 2**26,
) -> Float[Array, " r"]:
    """J/(J+1) (y - mean of the neighbours)^2, J counting all that tie; in blocks of rows.

    By `spread` "set" the variance of unit and neighbours.
    """
    features, t, y, valid = units
    centre = y - jnp.where(valid, y, 0).sum() / valid.sum()
    n = y.shape[0]

    def one(row: Array) -> Array:
        able = valid & (t == t[row]) & (jnp.arange(n) != row)
        square = jnp.where(able, ((features - features[row]) ** 2).sum(1), jnp.inf)
        least, nearest = lax.top_k(-square, how.number)
        near = square <= -least[-1] * (1 + 1e-5) + 1e-12
        near = able & near.at[nearest].set(True)  # rounding under jit may part the two squares
        count = near.sum()
        mean = jnp.where(near, centre, 0).sum() / count
        square = count / (count + 1) * (centre[row] - mean) ** 2
        if how.spread == "unit":
            return square
        return (square + jnp.where(near, (centre - mean) ** 2, 0).sum()) / count

    block = max(1, max_bytes // (4 * n * (features.shape[1] + 4)))
    return lax.map(one, rows, batch_size=block)
