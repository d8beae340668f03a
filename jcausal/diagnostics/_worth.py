"""What a difference that is left in a covariate is worth to the outcome model."""

import numpy as np
from jaxtyping import Float

from jcausal.effects import Effects
from jcausal.surfaces import ResponseSurface, predicted

MOST = 1000  # queries that are looked at


def worth(effects: Effects, after: Float[np.ndarray, " n"]) -> Float[np.ndarray, " p"]:
    """By covariate: how predictions of the queries move when it is drawn from their partners.

    mean over queries i of f(x_i with x_ij replaced) - f(x_i), f of the arm that they are compared
    with, in outcome units: values of the matched partners, by weight, take the place of the
    queries' own, the lowest of the lowest. Of an average over both arms, controls' values for the
    treated and f0. NaN without surfaces. `after` (n,) are the matched data's weights.
    """
    sample, p = effects.sample, effects.sample.p
    matched = np.asarray(effects.matched)
    arm = effects.estimand != "atc"  # of the queries
    query = np.asarray(effects.matching.query)
    rows = query[matched & (query >= 0)]
    rows = np.sort(rows[np.asarray(sample.t)[rows] == arm])
    if not effects.surfaces or not rows.size:
        return np.full(p, np.nan)
    rows = rows[np.linspace(0, rows.size - 1, min(rows.size, MOST)).astype(int)]
    x, fold = np.asarray(sample.x), np.asarray(effects.matching.fold)
    partner = (np.asarray(sample.t) != arm) & (after > 0)
    points = np.repeat(x[rows][None], p + 1, axis=0)
    for j in range(p):
        points[j + 1, :, j] = _drawn(x[rows, j], x[partner, j], after[partner])
    total = np.zeros(p + 1)
    for k, surface in enumerate(effects.surfaces):
        total += _sums(surface, points[:, fold[rows] == k], 0 if arm else 1)
    return (total[1:] - total[0]) / rows.size


def _drawn(
    own: Float[np.ndarray, " q"], values: Float[np.ndarray, " m"], weight: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " q"]:
    """Quantiles of weighted values in the order of one's own."""
    order = np.argsort(values, kind="stable")
    reach = np.cumsum(weight[order])
    wanted = (np.arange(own.size) + 0.5) / own.size * reach[-1]
    place = np.minimum(np.searchsorted(reach, wanted), order.size - 1)
    out = np.empty_like(own)
    out[np.argsort(own, kind="stable")] = values[order][place]
    return out


def _sums(
    surface: ResponseSurface, points: Float[np.ndarray, "k q p"], arm: int
) -> Float[np.ndarray, " k"]:
    """The sum of one arm's predictions over q points, for each of k versions of them."""
    k, q, p = points.shape
    found = predicted(surface.lean(), points.reshape(-1, p)).astype(np.float64)
    return found[:, arm].reshape(k, q).sum(1)
