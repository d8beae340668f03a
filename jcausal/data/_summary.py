"""A sample in words."""

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data._schema import Schema
from jcausal.data._words import number_in_words

LISTED = 20  # covariates that are named


def units_in_words(t: Bool[Array, " n"], valid: Bool[Array, " n"]) -> str:
    """How many units, by arm."""
    arm = np.asarray(t)[np.asarray(valid)]
    return f"{arm.size:,} units: {arm.sum():,} treated, {(~arm).sum():,} controls"


def outcome_in_words(y: Float[Array, " n"] | None, valid: Bool[Array, " n"]) -> str:
    """Mean and range of the outcome."""
    if y is None:
        return "no outcome yet"
    known = np.asarray(y, np.float64)[np.asarray(valid)]
    low, mean, high = (number_in_words(float(v)) for v in (known.min(), known.mean(), known.max()))
    return f"outcome: mean {mean}, from {low} to {high}"


def more_in_words(
    weight: Float[Array, " n"], cluster: Int[Array, " n"] | None, valid: Bool[Array, " n"]
) -> list[str]:
    """Sampling weights, clusters, rows that do not count."""
    counts = np.asarray(valid)
    lines, some = [], np.asarray(weight)[counts]
    if some.size and (some != some[0]).any():
        low, high = (number_in_words(float(v)) for v in (some.min(), some.max()))
        lines.append(f"sampling weights from {low} to {high}")
    if cluster is not None:
        lines.append(f"{np.unique(np.asarray(cluster)[counts]).size:,} clusters")
    if not counts.all():
        lines.append(f"{int((~counts).sum()):,} rows of padding")
    return lines


def covariates_in_words(schema: Schema) -> str:
    """The names of the covariates, with their units or how many levels they have."""
    words = []
    for name, kind, unit, levels in zip(*(schema.names, schema.kinds, schema.units, schema.levels)):
        of = f"{len(levels)} levels" if kind == "category" else unit
        words.append(f"{name} ({of})" if of else name)
    more = f" and {len(words) - LISTED:,} more" if len(words) > LISTED else ""
    count = f"{len(words):,} covariate{'s' * (len(words) != 1)}"
    return f"{count}: {', '.join(words[:LISTED])}{more}"
