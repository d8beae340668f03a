"""Boxes in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool

from jcausal.data import ids_of, number_in_words
from jcausal.solvers import Ended

if TYPE_CHECKING:
    from jcausal.matching.boxes._boxes import Boxes


ENDED = get_args(Ended)  # what `Proof.ended` counts


def box(boxes: Boxes, i: int) -> str:
    """What a box asks of each covariate that it does not leave free."""
    schema = boxes.sample.schema
    parts, flags = [], schema.flag_of
    for slot, j in enumerate(schema.ordered):
        words = _interval(boxes, i, slot, j)
        parts.append((j, _with_missing(boxes, i, j, words) if j in flags else words))
    for slot, j in enumerate(schema.categories):
        if j not in flags.values():
            parts.append((j, _levels(boxes, i, slot, j)))
    said = [words for _, words in sorted(parts) if words]
    return ", ".join(said) if said else "everybody"


def _with_missing(boxes: Boxes, i: int, j: int, words: str) -> str:
    """What is asked of a number with gaps: its interval, and whether it may be missing."""
    observed, missing = _flag_levels(boxes, j)[i].tolist()
    name = boxes.sample.schema.names[j]
    if not observed:
        return f"{name} missing"
    if not missing:
        return words or f"{name} known"
    return words and f"{words} or missing"


def _flag_levels(boxes: Boxes, j: int) -> Bool[np.ndarray, "q 2"]:
    """Whether each box takes in observed and missing values of a number with gaps."""
    schema = boxes.sample.schema
    slot = schema.categories.tolist().index(schema.flag_of[j])
    return np.asarray(boxes.open)[:, slot, :2]


def _interval(boxes: Boxes, i: int, slot: int, j: int) -> str:
    schema, sample = boxes.sample.schema, boxes.sample
    name, unit = schema.names[j], schema.units[j]
    low_code, high_code = (
        int(np.asarray(code)[i, slot]) for code in (boxes.lower_code, boxes.upper_code)
    )
    top = int(np.asarray(sample.heights)[j]) - 1
    ladder, point = np.asarray(sample.ladder[j]), float(boxes.point[i, j])
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


def _levels(boxes: Boxes, i: int, slot: int, j: int) -> str:
    schema = boxes.sample.schema
    labels = schema.levels[j]
    opened = np.asarray(boxes.open)[i, slot]
    held = [label for k, label in enumerate(labels) if opened[k]]
    if len(held) == len(labels):
        return ""
    listed = held[0] if len(held) == 1 else f"{', '.join(held[:-1])} or {held[-1]}"
    return f"{schema.names[j]} {listed}"


def boxes_frame(boxes: Boxes) -> pd.DataFrame:
    """One row a box."""
    sample, schema = boxes.sample, boxes.sample.schema
    query, sizes = np.asarray(boxes.query), np.asarray(boxes.sizes)
    columns: dict[str, object] = dict(
        id=ids_of(sample, query),
        treated=np.asarray(boxes.query_treated),
        matched=np.asarray(boxes.matched),
        status=np.asarray(boxes.status),
        controls_in_box=sizes[:, 0],
        treated_in_box=sizes[:, 1],
    )
    if boxes.proof is not None:
        columns |= dict(
            search=[ENDED[k] for k in boxes.proof.ended],
            objective=boxes.objective,
            gap=boxes.gap,
            left_out=boxes.proof.left_out,
        )
    lower, upper = np.asarray(boxes.lower), np.asarray(boxes.upper)
    opened = np.asarray(boxes.open)
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
            columns[f"{name} missing allowed"] = _flag_levels(boxes, j)[:, 1]
    return pd.DataFrame(columns)
