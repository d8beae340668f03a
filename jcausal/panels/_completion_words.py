"""Completions in words: whose effects are known, who weighs how much, what to beware of."""

from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.data import label_in_words, number_in_words
from jcausal.panels._completer import Completed, Completer
from jcausal.panels._panel import Panel

WEIGHTS = ("weights", "donor weights", "time weights")  # of synthetic controls, by their names
ROWS = 3  # treated units or starts whose weights are told
MOST = 6  # donors or times that are named
LEAST = 5e-4  # a weight below is none to a reader


def rank_words(done: Completed) -> list[str]:
    """One line on the rank of each arm that has factors; [] if none has."""
    ranks = np.asarray(done.rank)
    said = [f"{word} {r}" for word, r in zip(("control", "treated"), ranks) if r >= 0]
    return [f"rank: {', '.join(said)}"] if said else []


def detail_words(panel: Panel, done: Completed) -> list[str]:
    """What the method chose, one line a number or a row of weights."""
    lines = []
    for name, value in done.details.items():
        numbers = np.asarray(value)
        told = _weights(panel, name, numbers) if name in WEIGHTS else []
        lines += told or [f"{name}: {_value(numbers)}"]
    return lines


def _weights(panel: Panel, name: str, value: Float[np.ndarray, "k c"]) -> list[str]:
    """Whose weights these are, the largest first by their labels.

    One line a treated unit, or a start of the treatment where units are taken together. Under jit
    and vmap all units and starts have a row and a column: those without weights are not told.
    """
    start = panel.assignment.start
    never = start == panel.m
    by_unit = name == "weights"
    if by_unit:
        rows = panel.unit if len(value) == panel.n else panel.unit[~never]
    else:
        rows = panel.time if len(value) == panel.m else panel.time[np.unique(start[~never])]
    if name == "time weights":
        columns = panel.time
    else:
        columns = panel.unit if value.shape[1] == panel.n else panel.unit[never]
    known = np.flatnonzero(np.isfinite(value).all(1))
    lines = []
    for k in known[:ROWS]:
        row = label_in_words(rows[k])
        of = row if by_unit else f"those treated from {row} on"
        lines.append(f"{name} of {of}: {_largest(columns, value[k])}")
    if known.size > ROWS:
        what = "treated units" if by_unit else "starts"
        lines.append(f"{name} of {known.size - ROWS:,} more {what}: completed.details[{name!r}]")
    return lines


def _largest(labels: np.ndarray, weights: Float[np.ndarray, " c"]) -> str:
    """Labels with weight, the largest first; weights are shares of 1."""
    order = np.argsort(-weights, kind="stable")
    held = [j for j in order if weights[j] >= LEAST]
    said = [
        f"{label_in_words(labels[j])} {number_in_words(float(weights[j]))}" for j in held[:MOST]
    ]
    left = len(held) - MOST
    more = f" and {left:,} more with {weights[held[MOST:]].sum():.2g} in all" if left > 0 else ""
    return ", ".join(said) + more


def _value(value: Any) -> str:
    flat = np.asarray(value).ravel()
    return ", ".join(number_in_words(float(v)) for v in flat[:6]) + (", ..." * (flat.size > 6))


def unidentified_words(panel: Panel, identified: Bool[Array, " n"]) -> str:
    """How many units have an effect, and why the others have none."""
    known = np.asarray(identified)
    treated, control = (np.asarray(a).any(1) for a in (panel.treated, panel.control))
    text = f"{known.sum():,} of {known.size:,} units identified"
    why = {
        "without a treated cell": ~known & ~treated,
        "without an untreated cell": ~known & treated & ~control,
        "whose cells the method could not complete": ~known & treated & control,
    }
    said = [f"{where.sum():,} {word}" for word, where in why.items() if where.any()]
    return f"{text}; {', '.join(said)}" if said else text


def lost_words(panel: Panel, effect: Float[Array, "n m"]) -> list[str]:
    """One line on treated cells without an effect; [] where all have one."""
    treated = np.asarray(panel.treated)
    lost = treated & ~np.isfinite(np.asarray(effect))
    if not lost.any():
        return []
    return [f"{lost.sum():,} of {treated.sum():,} treated cells have no effect (NaN)"]


def short_words(panel: Panel, completer: Completer, done: Completed) -> list[str]:
    """One sentence on treated units with fewer times before their treatment than the fit needs."""
    need, assignment = completer.times_before, panel.assignment
    start = assignment.start
    few = (start < need) & (start < assignment.m)
    if not few.any():
        return []
    lost = few & ~np.isfinite(np.asarray(done.y0)).any(1)
    parts = []
    for rows, word in ((lost, "without an effect (NaN)"), (few & ~lost, "fitted to too little")):
        places = np.flatnonzero(rows)
        if places.size:
            listed = ", ".join(label_in_words(panel.unit[i]) for i in places[:5])
            more = f" and {places.size - 5} more" if places.size > 5 else ""
            parts.append(f"{places.size} of {assignment.ever} ({listed}{more}) {word}")
    return [
        f"{completer.words} asks for {need} times before a unit's treatment, and fewer leave "
        f"{'; '.join(parts)}: give more times, or leave these units out by panel.take"
    ]


def flat_words(panel: Panel) -> list[str]:
    """One sentence where the outcome is the same in all cells that were observed."""
    y = np.asarray(panel.y)[np.asarray(panel.mask)]
    if y.min() < y.max():
        return []
    return [
        f"{panel.outcome} is {number_in_words(float(y[0]))} in all {y.size:,} observed cells, so "
        "that an effect of 0 tells nothing of the treatment: name an outcome that varies"
    ]
