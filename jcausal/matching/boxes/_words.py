"""Boxes in words and as columns of a frame, from their codes and the sample's words."""

import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.data import Sample, Schema, number_in_words
from jcausal.matching.boxes._edges import Edges

Opened = Bool[Array, "*q c l"] | Bool[np.ndarray, "*q c l"]


def box_in_words(sample: Sample, box: Edges, point: Float[np.ndarray, " p"]) -> str:
    """What one box (codes (o,), levels (c, l)) asks of each covariate that it does not leave free.

    `point` (p,) is where it grew from.
    """
    schema = sample.schema
    parts, flags = [], schema.flag_of
    for slot, j in enumerate(schema.ordered):
        words = _interval(sample, j, (int(box.lower[slot]), int(box.upper[slot])), float(point[j]))
        parts.append((j, _with_missing(schema, j, box, words) if j in flags else words))
    for slot, j in enumerate(schema.categories):
        if j not in flags.values():
            parts.append((j, _levels(schema, j, np.asarray(box.open[slot]))))
    said = [words for _, words in sorted(parts) if words]
    return ", ".join(said) if said else "everybody"


def _with_missing(schema: Schema, j: int, box: Edges, words: str) -> str:
    """What is asked of a number with gaps: its interval, and whether it may be missing."""
    observed, missing = _flag_levels(schema, j, box.open).tolist()
    name = schema.names[j]
    if not observed:
        return f"{name} missing"
    if not missing:
        return words or f"{name} known"
    return words and f"{words} or missing"


def _flag_levels(schema: Schema, j: int, opened: Opened) -> np.ndarray:
    """Whether boxes take in observed and missing values of a number with gaps: (*q, 2)."""
    slot = schema.categories.tolist().index(schema.flag_of[j])
    return np.asarray(opened)[..., slot, :2]


def _interval(sample: Sample, j: int, codes: tuple[int, int], point: float) -> str:
    """The edges of one ladder; nothing where they leave it free."""
    schema, (low_code, high_code) = sample.schema, codes
    name, unit = schema.names[j], schema.units[j]
    top, ladder = int(np.asarray(sample.heights)[j]) - 1, np.asarray(sample.ladder[j])
    low = float(np.fmin(ladder[min(low_code, top)], point))
    high = float(np.fmax(ladder[max(high_code, 0)], point))
    if low_code <= 0 and high_code >= top:
        return ""
    if schema.kinds[j] == "binary" and low == high:
        return name if low == 1 else f"not {name}"
    tail = f" {unit}" if unit else ""
    if low == high:
        return f"{name} {number_in_words(low)}{tail}"
    if low_code <= 0:
        return f"{name} at most {number_in_words(high)}{tail}"
    if high_code >= top:
        return f"{name} at least {number_in_words(low)}{tail}"
    words = number_in_words(low), number_in_words(high)
    if words[0] == words[1]:
        words = f"{low:,}", f"{high:,}"
    return f"{name} {words[0]} to {words[1]}{tail}"


def _levels(schema: Schema, j: int, opened: Bool[np.ndarray, " l"]) -> str:
    """The levels of one category; nothing where all are open."""
    labels = schema.levels[j]
    held = [label for label, there in zip(labels, opened) if there]
    if len(held) == len(labels):
        return ""
    listed = held[0] if len(held) == 1 else f"{', '.join(held[:-1])} or {held[-1]}"
    return f"{schema.names[j]} {listed}"


def edge_columns(
    schema: Schema,
    lower: Float[np.ndarray, "q p"],
    upper: Float[np.ndarray, "q p"],
    opened: Bool[np.ndarray, "q c l"],
) -> dict[str, object]:
    """The two edges, or the open levels, of each covariate, one row a box."""
    columns: dict[str, object] = {}
    for j, name in enumerate(schema.names):
        if j in schema.flag_of.values():
            continue
        if schema.kinds[j] == "category":
            held = opened[:, schema.categories.tolist().index(j), : len(schema.levels[j])]
            labels = np.array(schema.levels[j], object)
            columns[f"{name} levels"] = [" | ".join(labels[row]) for row in held]
        else:
            columns[f"{name} lower"], columns[f"{name} upper"] = lower[:, j], upper[:, j]
        if j in schema.flag_of:
            columns[f"{name} missing allowed"] = _flag_levels(schema, j, opened)[:, 1]
    return columns
