"""Points of a sample's rows whose squared Euclidean distances are those of a metric."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jcausal.data import Sample, covariate_of_columns
from jcausal.matching.neighbors._space import (
    MetricColumns,
    columns_of,
    whitened,
    within_arms_covariance,
)


class MetricPoints(NamedTuple):
    """`points` (n, r) of the rows; `filled`: how many missing values stand at a mean."""

    points: Float[np.ndarray, "n r"]
    filled: int


def metric_points(sample: Sample, metric: Any) -> MetricPoints:
    """The points of a metric of covariates: all of `Metric` but "propensity" and "prognostic".

    **Raises:** ValueError for a matrix of another shape, not symmetric or with a negative
    eigenvalue, and for a function whose points are not finite or not one a row.
    """
    columns = columns_of(sample)
    values = columns.values
    if isinstance(metric, str):
        points = _NAMED[metric](sample, columns)
    elif callable(metric):
        points = _of_function(metric, values, columns.inside)
    else:
        points = values @ _root(np.asarray(metric, np.float64), columns.labels)
    return MetricPoints(points, columns.filled)


def _mahalanobis(sample: Sample, columns: MetricColumns) -> Float[np.ndarray, "n r"]:
    return whitened(columns.values, _covariance(sample, columns))


def _covariance(sample: Sample, columns: MetricColumns) -> Float[np.ndarray, "f f"]:
    """Within the arms, over the rows that count."""
    inside = columns.inside
    weight = np.asarray(sample.weight, np.float64)[inside]
    return within_arms_covariance(columns.values[inside], np.asarray(sample.t)[inside], weight)


def _robust(sample: Sample, columns: MetricColumns) -> Float[np.ndarray, "n r"]:
    """Ranks, ties averaged, with the variance of ranks without ties.

    Rosenbaum (2010), Design of Observational Studies, section 8.3.
    """
    inside = columns.inside
    ranks = np.stack([_ranks(one, one[inside]) for one in columns.values.T], axis=1)
    spread = ranks[inside].std(0)
    varies = spread > 0
    scaled = (ranks - ranks[inside].mean(0)) / np.where(varies, spread, 1)
    correlation = scaled[inside].T @ scaled[inside] / max(inside.sum(), 1)
    untied = np.var(np.arange(inside.sum()), ddof=1) if inside.sum() > 1 else 1.0
    return whitened(ranks, correlation * untied)


def _ranks(values: Float[np.ndarray, " n"], among: Float[np.ndarray, " m"]) -> np.ndarray:
    """The rank of each value among some, from 1; the mean of those that are equal."""
    order = np.sort(among)
    below, upto = (np.searchsorted(order, values, side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def _scaled(sample: Sample, columns: MetricColumns) -> Float[np.ndarray, "n r"]:
    sd = np.sqrt(np.diag(_covariance(sample, columns)))
    return (columns.values - columns.values.mean(0)) / np.where(sd > 0, sd, np.inf)


def _euclidean(sample: Sample, columns: MetricColumns) -> Float[np.ndarray, "n r"]:
    """Two levels of a category are 1 apart, though they differ in two columns."""
    kind = np.asarray(sample.schema.kinds)[covariate_of_columns(sample.schema)]
    label, count = np.unique(covariate_of_columns(sample.schema), return_counts=True)
    several = np.isin(covariate_of_columns(sample.schema), label[count > 1])
    return columns.values * np.where((kind == "category") & several, np.sqrt(0.5), 1)


_NAMED = dict(
    mahalanobis=_mahalanobis,
    robust_mahalanobis=_robust,
    scaled_euclidean=_scaled,
    euclidean=_euclidean,
)


def _of_function(
    metric: Callable, values: Float[np.ndarray, "n f"], inside: np.ndarray
) -> Float[np.ndarray, "n r"]:
    points = np.asarray(metric(values), np.float64)
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[0] != values.shape[0]:
        raise ValueError(
            f"metric gave points of shape {points.shape} for columns of shape {values.shape}: it "
            "must give one point (a row of numbers) for each row."
        )
    if not np.isfinite(points[inside]).all():
        raise ValueError("metric gave points that are not finite: check it at these covariates.")
    return np.where(inside[:, None], points, 0)


def _root(matrix: Float[np.ndarray, "f f"], labels: list[str]) -> Float[np.ndarray, "f r"]:
    """A root L of a matrix: d' matrix d = |L' d|^2."""
    size = len(labels)
    if matrix.shape != (size, size):
        raise ValueError(
            f"metric has shape {matrix.shape}: it must be ({size}, {size}), a row and a column for "
            f"each of {', '.join(labels)}."
        )
    if not np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-8 * np.abs(matrix).max()):
        raise ValueError("metric is a matrix that is not symmetric: use (matrix + matrix.T) / 2.")
    root, direction = np.linalg.eigh((matrix + matrix.T) / 2)
    if root.min() < -1e-6 * max(np.abs(root).max(), 1e-300):
        raise ValueError(
            f"metric is a matrix with the eigenvalue {root.min():g}: distances would be negative; "
            "use one without negative eigenvalues."
        )
    kept = root > 1e-12 * max(root.max(), 1e-300)
    return direction[:, kept] * np.sqrt(root[kept])
