"""Covariates as columns that can be averaged: numbers as they are, one 0/1 column a level."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data._sample import Sample
from jcausal.data._schema import Schema


def readable_columns(
    sample: Sample,
) -> tuple[list[str], Float[np.ndarray, "n r"], Bool[np.ndarray, " r"]]:
    """Labels, values, and which are shares (binaries, levels and "NAME missing").

    A number is NaN where it is missing: average over the others.
    """
    schema, points = sample.schema, sample.points
    flags = schema.flag_of.values()
    labels, columns, shares = [], [], []
    for j, (name, kind) in enumerate(zip(schema.names, schema.kinds)):
        if kind == "category":
            levels = {1: name} if j in flags else dict(enumerate(schema.levels[j]))
            for level, label in levels.items():
                labels.append(label if j in flags else f"{name}: {label}")
                columns.append((points[:, j] == level).astype(float))
                shares.append(True)
        else:
            labels.append(name)
            columns.append(points[:, j])
            shares.append(kind == "binary")
    return labels, np.stack(columns, axis=1), np.array(shares)


def covariate_of_columns(schema: Schema) -> Int[np.ndarray, " r"]:
    """Which covariate each of the readable columns is of."""
    flags = schema.flag_of.values()
    counts = [
        len(schema.levels[j]) if kind == "category" and j not in flags else 1
        for j, kind in enumerate(schema.kinds)
    ]
    return np.repeat(np.arange(len(counts)), counts)


def observed_means(
    columns: Float[np.ndarray, "n r"], weight: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " r"]:
    """Weighted mean of each column over its rows that are not NaN; NaN where none has weight."""
    known = ~np.isnan(columns)
    total = weight @ known
    sums = weight @ np.where(known, columns, 0)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)
