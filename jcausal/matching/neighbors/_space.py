"""Metrics: covariates as points whose squared Euclidean distance is that of a metric."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from jcausal.data import Sample, readable_columns

Metric = (
    Literal[
        "mahalanobis",
        "robust_mahalanobis",
        "scaled_euclidean",
        "euclidean",
        "propensity",
        "prognostic",
    ]
    | Float[np.ndarray, "f f"]
    | Float[Array, "f f"]
    | Callable
)
TINY = 1e-10  # of the largest eigenvalue of a correlation matrix: a direction without variance


class MetricColumns(NamedTuple):
    """Covariates as numbers for a metric, on the host.

    - `labels` [f]: what each column is.
    - `values` (n, f) float64: numbers, and one 0/1 column a level; a missing number stands at the
      weighted mean of the known, beside the 0/1 column that says so.
    - `inside` (n,): rows that count in means and covariances (valid, of weight above 0).
    - `filled`: how many values stand at a mean.
    """

    labels: list[str]
    values: Float[np.ndarray, "n f"]
    inside: np.ndarray
    filled: int


def columns_of(sample: Sample) -> MetricColumns:
    """The columns of a sample."""
    labels, values, _ = readable_columns(sample)
    valid, weight = np.asarray(sample.valid), np.asarray(sample.weight, np.float64)
    gaps = np.isnan(values) & valid[:, None]
    known = np.where(np.isnan(values), 0, values)
    share = np.where(np.isnan(values) | ~valid[:, None], 0, weight[:, None])
    total = share.sum(0)
    mean = (share * known).sum(0) / np.where(total > 0, total, 1)
    values = np.where(np.isnan(values), mean, values)
    return MetricColumns(labels, values, valid & (weight > 0), int(gaps.sum()))


def within_arms_covariance(
    values: Float[np.ndarray, "n f"], treated: np.ndarray, weight: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "f f"]:
    """Weighted covariance around the mean of each arm, over sum of weights - 1.

    Weights add up to the number of rows, so that equal ones count units. What the treatment moves
    is not held against it: the pooled covariance of a discriminant analysis.
    """
    weight = weight / weight.mean()
    centred = np.array(values)
    for arm in (False, True):
        mine = treated == arm
        if weight[mine].sum() > 0:
            centred[mine] -= np.average(values[mine], axis=0, weights=weight[mine])
    return (centred * weight[:, None]).T @ centred / max(weight.sum() - 1, 1)


def whitened(
    values: Float[np.ndarray, "n f"], covariance: Float[np.ndarray, "f f"]
) -> Float[np.ndarray, "n r"]:
    """Points whose squared Euclidean distance is d' C^+ d; r is the rank of C.

    Directions without variance, such as that of a constant column or of all levels' sum, add
    nothing: C^+ is the generalised inverse, taken of the correlation matrix, so that no unit of
    measurement decides what counts as 0.
    """
    scale = np.sqrt(np.diag(covariance))
    varies = scale > 0
    scale = np.where(varies, scale, 1)
    correlation = covariance / np.outer(scale, scale)
    root, direction = np.linalg.eigh(correlation)
    kept = root > TINY * max(root.max(initial=0), 1e-300)
    centred = (values - values.mean(0)) / scale * varies
    return centred @ (direction[:, kept] / np.sqrt(root[kept]))
