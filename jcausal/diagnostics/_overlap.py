"""Overlap of the two arms in one covariate."""

import numpy as np
from jaxtyping import Bool, Float

GRID = 512
DISCRETE = 30  # at most so many distinct values are compared value by value


def common_area(
    values: Float[np.ndarray, " n"],
    treated: Bool[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
) -> float:
    """The area that the arms' weighted densities share: 1 = equal, 0 = apart; NaN without an arm.

    Up to 30 distinct values are compared value by value; more by Gaussian kernels on a grid with
    Silverman's bandwidth of each arm. The grid spans the middle 99% of each arm, widened by three
    bandwidths; what lies further out is kept apart as two values, so that an outlier cannot
    coarsen the grid.
    """
    order = np.argsort(values, kind="stable")
    return sorted_area(values[order], treated[order], weight[order])


def sorted_area(
    values: Float[np.ndarray, " n"],
    treated: Bool[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
) -> float:
    """`common_area` of values in rising order."""
    arms = [(values[treated == arm], weight[treated == arm]) for arm in (False, True)]
    if any(w.sum() <= 0 for _, w in arms):
        return float("nan")
    step = np.diff(values) > 0
    if step.sum() < DISCRETE:
        first = np.flatnonzero(np.append(True, step))
        both = [np.add.reduceat(np.where(treated == arm, weight, 0), first) for arm in (0, 1)]
        return float(np.minimum(*(mass / mass.sum() for mass in both)).sum())
    widths = [silverman_bandwidth(v, w) for v, w in arms]
    ends = np.array([_quantiles(v, w, [0.005, 0.995]) for v, w in arms])
    low, high = ends[:, 0].min() - 3 * max(widths), ends[:, 1].max() + 3 * max(widths)
    smooth = [_density(v, w, h, low, high) for (v, w), h in zip(arms, widths)]
    return float(np.minimum(*smooth).sum())


def silverman_bandwidth(values: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"]) -> float:
    """0.9 min(sd, IQR / 1.34) m^(-1/5), m the effective number of units; values in rising order.

    0 for values that do not vary.
    """
    mean = np.average(values, weights=weight)
    sd = float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))
    low, high = _quantiles(values, weight, [0.25, 0.75])
    spread = min(s for s in (sd, (high - low) / 1.34, np.inf) if s > 0)
    size = weight.sum() ** 2 / (weight**2).sum()
    return 0.0 if np.isinf(spread) else 0.9 * spread * float(size) ** -0.2


def weighted_quantiles(
    values: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"], at: list[float]
) -> Float[np.ndarray, " k"]:
    """The least values that so large shares of the weight do not exceed."""
    order = np.argsort(values)
    return _quantiles(values[order], weight[order], at)


def _quantiles(values: np.ndarray, weight: np.ndarray, at: list[float]) -> np.ndarray:
    """The same of values in rising order."""
    share = np.cumsum(weight) / weight.sum()
    return values[np.minimum(np.searchsorted(share, at), len(values) - 1)]


def _density(
    values: np.ndarray, weight: np.ndarray, width: float, low: float, high: float
) -> Float[np.ndarray, " g"]:
    """Shares by cell of a grid, smoothed by a normal kernel, then below and above the grid."""
    mass, edges = np.histogram(values, GRID, (low, high), weights=weight)
    step = edges[1] - edges[0]
    away = np.arange(-GRID, GRID + 1) * step
    kernel = np.exp(-0.5 * (away / max(width, step / 2)) ** 2)
    smooth = np.convolve(mass, kernel, mode="full")[GRID : 2 * GRID]
    inside = smooth * mass.sum() / smooth.sum() if mass.sum() > 0 else smooth
    beyond = weight[values < low].sum(), weight[values > high].sum()
    return np.concatenate([inside, beyond]) / weight.sum()
