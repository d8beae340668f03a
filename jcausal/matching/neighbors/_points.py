"""The points of a sample whose distances are those of a metric, in an order that rows do not set."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import Sample
from jcausal.matching._order import value_order
from jcausal.matching.neighbors._space import columns_of, whitened, within_arms_covariance
from jcausal.surfaces import Propensity, propensity_scores

NamedMetric = Literal[
    "propensity", "mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean"
]


def units_in_order(sample: Sample) -> Int[np.ndarray, " m"]:
    """The valid rows by arm, covariates, then id: sums in this order are the same to the bit."""
    rows = np.flatnonzero(np.asarray(sample.valid))
    return rows[value_order(sample, rows, np.asarray(sample.t)[rows].astype(np.int64))]


def metric_points(
    sample: Sample, metric: NamedMetric, propensity: Propensity, key: Any = None
) -> Float[np.ndarray, "n d"]:
    """Points (n, d) of every row, NaN for padding: their Euclidean distance is that of the metric.

    "propensity": the chance of treatment, d = 1. "mahalanobis": by the pooled covariance within the
    arms; "robust_mahalanobis": the same of ranks, whose spread is made that of untied ranks;
    "scaled_euclidean": columns over their sd within the arms; "euclidean": columns as they are.
    What is computed does not depend on the order of the rows, not in the last bit.

    **Source:** Rosenbaum (2010), Design of Observational Studies, ch. 8.
    """
    order = units_in_order(sample)
    found = _points(sample.take(order), metric, propensity, key)
    points = np.full((sample.n, found.shape[1]), np.nan)
    points[order] = found
    return points


def _points(
    sample: Sample, metric: NamedMetric, propensity: Propensity, key: Any
) -> Float[np.ndarray, "m d"]:
    if metric == "propensity":
        return propensity_scores(sample, propensity, key)[:, None]
    columns = columns_of(sample)
    treated, weight = np.asarray(sample.t), np.asarray(sample.weight, np.float64)
    weight = np.where(columns.inside, weight, 0)
    if metric == "euclidean":
        return columns.values
    if metric == "robust_mahalanobis":
        return _of_ranks(columns.values, columns.inside)
    covariance = within_arms_covariance(columns.values, treated, weight)
    if metric == "scaled_euclidean":
        return whitened(columns.values, np.diag(np.diag(covariance)))
    return whitened(columns.values, covariance)


def _of_ranks(values: Float[np.ndarray, "m f"], inside: np.ndarray) -> Float[np.ndarray, "m r"]:
    """Ranks, ties at their mean, whitened by their correlation times the variance without ties."""
    ranks = np.stack([_ranks(column) for column in values.T], axis=1)
    covariance = np.atleast_2d(np.cov(ranks[inside], rowvar=False))
    sd = np.sqrt(np.diag(covariance))
    untied = np.std(np.arange(int(inside.sum())), ddof=1)
    scale = np.where(sd > 0, untied / np.where(sd > 0, sd, 1), 0)
    return whitened(ranks, covariance * np.outer(scale, scale))


def _ranks(column: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Places from 1 in rising order; equal values share the mean of theirs."""
    _, place, count = np.unique(column, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]
