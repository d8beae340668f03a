"""A sample in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jcausal.data._words import number_in_words

if TYPE_CHECKING:
    from jcausal.data._sample import Sample

LISTED = 20  # covariates that are named


def sample_words(sample: Sample) -> str:
    """Who is in it, the outcome, weights, clusters and padding, and the covariates."""
    valid, t = np.asarray(sample.valid), np.asarray(sample.t)
    treated, units = int((valid & t).sum()), int(valid.sum())
    lines = [
        f"{units:,} units: {treated:,} treated, {units - treated:,} controls",
        _outcome(sample, valid),
        *_beside(sample, valid),
        _covariates(sample),
    ]
    return "\n".join(lines)


def _outcome(sample: Sample, valid: np.ndarray) -> str:
    if sample.y is None:
        return "no outcome yet"
    y = np.asarray(sample.y, np.float64)[valid]
    low, mean, high = (number_in_words(float(v)) for v in (y.min(), y.mean(), y.max()))
    return f"outcome: mean {mean}, from {low} to {high}"


def _beside(sample: Sample, valid: np.ndarray) -> list[str]:
    """Sampling weights, clusters, rows that do not count."""
    lines, weight = [], np.asarray(sample.weight)[valid]
    if weight.size and (weight != weight[0]).any():
        low, high = (number_in_words(float(v)) for v in (weight.min(), weight.max()))
        lines.append(f"sampling weights from {low} to {high}")
    if sample.cluster is not None:
        lines.append(f"{np.unique(np.asarray(sample.cluster)[valid]).size:,} clusters")
    if not valid.all():
        lines.append(f"{int((~valid).sum()):,} rows of padding")
    return lines


def _covariates(sample: Sample) -> str:
    schema = sample.schema
    words = []
    for name, kind, unit, levels in zip(*(schema.names, schema.kinds, schema.units, schema.levels)):
        of = f"{len(levels)} levels" if kind == "category" else unit
        words.append(f"{name} ({of})" if of else name)
    more = f" and {len(words) - LISTED:,} more" if len(words) > LISTED else ""
    count = f"{len(words):,} covariate{'s' * (len(words) != 1)}"
    return f"{count}: {', '.join(words[:LISTED])}{more}"
