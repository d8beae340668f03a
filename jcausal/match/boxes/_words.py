"""Boxes in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jcausal.data import number_in_words

if TYPE_CHECKING:
    from jcausal.match.boxes._boxes import Boxes


def counts(controls: int, treated: int) -> str:
    """Group sizes in words: "14 controls, 2 treated"."""
    return f"{controls:,} control{'' if controls == 1 else 's'}, {treated:,} treated"


def box(boxes: Boxes, i: int) -> str:
    """What a box asks of each covariate that it does not leave free."""
    schema = boxes.sample.schema
    parts = []
    for slot, j in enumerate(schema.ordered):
        parts.append((j, _interval(boxes, i, slot, j)))
    for slot, j in enumerate(schema.categories):
        parts.append((j, _levels(boxes, i, slot, j)))
    said = [words for _, words in sorted(parts) if words]
    return ", ".join(said) if said else "everybody"


def _interval(boxes: Boxes, i: int, slot: int, j: int) -> str:
    schema, sample = boxes.sample.schema, boxes.sample
    name, unit = schema.names[j], schema.units[j]
    low_rung, high_rung = int(boxes.lower_rung[i, slot]), int(boxes.upper_rung[i, slot])
    top = int(sample.rungs[j]) - 1
    ladder, point = np.asarray(sample.ladder[j]), float(boxes.point[i, j])
    low = min(float(ladder[min(low_rung, top)]), point)
    high = max(float(ladder[max(high_rung, 0)]), point)
    if low_rung <= 0 and high_rung >= top:
        return ""
    if schema.kinds[j] == "binary" and low == high:
        return name if low == 1 else f"not {name}"
    tail = f" {unit}" if unit else ""
    if low == high:
        return f"{name} {number_in_words(low)}{tail}"
    if low_rung <= 0:
        return f"{name} at most {number_in_words(high)}{tail}"
    if high_rung >= top:
        return f"{name} at least {number_in_words(low)}{tail}"
    words = number_in_words(low), number_in_words(high)
    if words[0] == words[1]:
        words = f"{low:,}", f"{high:,}"
    return f"{name} {words[0]} to {words[1]}{tail}"


def _levels(boxes: Boxes, i: int, slot: int, j: int) -> str:
    schema = boxes.sample.schema
    labels = schema.levels[j]
    held = [label for k, label in enumerate(labels) if bool(boxes.open[i, slot, k])]
    if len(held) == len(labels):
        return ""
    listed = held[0] if len(held) == 1 else f"{', '.join(held[:-1])} or {held[-1]}"
    return f"{schema.names[j]} {listed}"


def boxes_frame(boxes: Boxes) -> pd.DataFrame:
    """One row a box."""
    sample, schema = boxes.sample, boxes.sample.schema
    query, sizes = np.asarray(boxes.query), np.asarray(boxes.sizes)
    columns: dict[str, object] = dict(
        id=[sample.id[k] if k >= 0 else None for k in query],
        treated=np.asarray(boxes.query_treated),
        matched=np.asarray(boxes.matched),
        status=np.asarray(boxes.status),
        controls_in_box=sizes[:, 0],
        treated_in_box=sizes[:, 1],
    )
    lower, upper = np.asarray(boxes.lower), np.asarray(boxes.upper)
    opened = np.asarray(boxes.open)
    for j, name in enumerate(schema.names):
        if schema.kinds[j] == "category":
            held = opened[:, schema.categories.tolist().index(j), : len(schema.levels[j])]
            labels = np.array(schema.levels[j], object)
            columns[f"{name} levels"] = [" | ".join(labels[row]) for row in held]
        else:
            columns[f"{name} lower"], columns[f"{name} upper"] = lower[:, j], upper[:, j]
    return pd.DataFrame(columns)


def units_frame(boxes: Boxes) -> pd.DataFrame:
    """The matched data with weights."""
    sample, schema = boxes.sample, boxes.sample.schema
    weight = np.asarray(boxes.matched_weights())
    rows = np.flatnonzero(weight > 0)
    columns: dict[str, object] = dict(
        id=sample.id[rows], treated=np.asarray(sample.t)[rows].astype(int)
    )
    if sample.y is not None:
        columns["outcome"] = np.asarray(sample.y)[rows]
    columns |= dict(fold=np.asarray(boxes.fold)[rows], weight=weight[rows])
    points = sample.points[rows]
    for j, name in enumerate(schema.names):
        labels = np.array(schema.levels[j], object)
        is_category = schema.kinds[j] == "category"
        columns[name] = labels[points[:, j].astype(int)] if is_category else points[:, j]
    return pd.DataFrame(columns)
