"""Covariates as columns that can be averaged: numbers as they are, one 0/1 column a level."""

import numpy as np
from jaxtyping import Bool, Float

from jcausal.data._sample import Sample


def readable_columns(
    sample: Sample,
) -> tuple[list[str], Float[np.ndarray, "n r"], Bool[np.ndarray, " r"]]:
    """Labels, values, and which are shares (binaries and levels)."""
    schema, points = sample.schema, sample.points
    labels, columns, shares = [], [], []
    for j, (name, kind) in enumerate(zip(schema.names, schema.kinds)):
        if kind == "category":
            for level, label in enumerate(schema.levels[j]):
                labels.append(f"{name}: {label}")
                columns.append((points[:, j] == level).astype(float))
                shares.append(True)
        else:
            labels.append(name)
            columns.append(points[:, j])
            shares.append(kind == "binary")
    return labels, np.stack(columns, axis=1), np.array(shares)
