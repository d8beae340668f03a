"""Candidates: the nearest controls in each query's leaf, and how they deviate from it."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, bucket, pad_rows, to_device
from jcausal.matching._order import value_order
from jcausal.matching.trees._tree import Tree
from jcausal_kernels import nearest_in_groups

Metric = Literal["weighted", "euclidean"]
Weights = Literal["leaf", "global"] | Float[np.ndarray, " p"] | Float[Array, " p"]


class LeafSpace(NamedTuple):
    """Where the sample's n rows lie in the L leaves of one fold's tree.

    `features` (n, f) scaled to [0, 1] over the units that the tree was given; `leaf` (n,);
    `importance` (L, f) weights of the features.
    """

    features: Float[np.ndarray, "n f"]
    leaf: Int[np.ndarray, " n"]
    importance: Float[np.ndarray, "l f"]


class Candidates(NamedTuple):
    """Of some queries of one fold the controls that they may be matched to.

    `queries` (q,) by row, `rows` (q, k) of the candidates, -1 for none, and their `weight` (q, k),
    which adds up to their number.
    """

    space: LeafSpace
    queries: Int[np.ndarray, " q"]
    rows: Int[np.ndarray, "q k"]
    weight: Float[np.ndarray, "q k"]


def leaf_space(tree: Tree, sample: Sample, weights: Weights) -> LeafSpace:
    """Scale the features and settle their weights.

    **Raises:** ValueError for weights of a wrong length, or not finite.
    """
    low, high = (np.asarray(a, np.float64) for a in tree.scale)
    span = np.where(high > low, high - low, 1)
    features = (np.asarray(tree.features(sample.x), np.float64) - low) / span
    importance = np.asarray(tree.importance, np.float64)
    if isinstance(weights, str):
        if weights == "global":
            size = np.asarray(tree.controls, np.float64)
            importance = np.broadcast_to(size @ importance / size.sum(), importance.shape)
    else:
        own = np.asarray(weights, np.float64)
        if own.shape != (sample.p,):
            raise ValueError(
                f"weights has shape {own.shape}: it must hold one for each of the sample's "
                f"{sample.p} covariates."
            )
        importance = np.broadcast_to(own[np.asarray(tree.encoding.column)], importance.shape)
    if not np.isfinite(importance).all():
        raise ValueError("the tree has slopes that are not finite: check its outcomes.")
    return LeafSpace(features, np.asarray(tree.leaf(sample.x)), importance)


def nearest(
    space: LeafSpace,
    sample: Sample,
    queries: Int[np.ndarray, " q"],
    able: Bool[np.ndarray, " n"],
    k: int,
    metric: Metric,
) -> Int[np.ndarray, "q k"]:
    """The k nearest able rows in the leaf of each query, nearest first; -1 where there are fewer.

    Of rows that are as near, those with the lower covariates come first, column by column, then
    those of the lower id (or position).
    """
    place = space.leaf[queries]
    wanted = np.zeros(len(space.importance), bool)
    wanted[place] = True
    rows = np.flatnonzero(able & wanted[space.leaf])
    rows = rows[value_order(sample, rows, space.leaf[rows])]
    values, at = space.features[rows], space.features[queries]
    if metric == "weighted":
        values, at = values * space.importance[space.leaf[rows]], at * space.importance[place]
    turn = np.argsort(place, kind="stable")
    edges = np.searchsorted(space.leaf[rows], np.stack([place, place + 1])[:, turn])
    wide, dtype = bucket(turn.size), sample.x.dtype
    first, last = (to_device(pad_rows(each.astype(np.int32), wide)) for each in edges)
    columns = to_device(pad_rows(values.astype(dtype), bucket(rows.size)))
    points = to_device(pad_rows(at[turn].astype(dtype), wide))
    found = np.asarray(nearest_in_groups(columns, first, last, points, k)[0])[: turn.size]
    out = np.empty_like(found)
    out[turn] = found
    return np.where(out < rows.size, np.append(rows, -1)[np.minimum(out, rows.size)], -1)


def deviations(
    space: LeafSpace, queries: Int[np.ndarray, " q"], rows: Int[np.ndarray, "q k"]
) -> Float[np.ndarray, "q k f"]:
    """Weighted signed deviations of the candidates from their query; 0 where there is none."""
    gap = space.features[rows] - space.features[queries][:, None]
    gap *= space.importance[space.leaf[queries]][:, None]
    return np.where((rows >= 0)[..., None], gap, 0)
