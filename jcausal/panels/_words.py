"""Panels and completions in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jcausal.data import label_in_words, like, number_in_words
from jcausal.panels._assignment import Assignment

WEIGHTS = ("weights", "donor weights", "time weights")  # of synthetic controls, by their names
ROWS = 3  # treated units or starts whose weights are told
MOST = 6  # donors or times that are named
LEAST = 5e-4  # a weight below is none to a reader

if TYPE_CHECKING:
    from jcausal.panels._completion import Completion
    from jcausal.panels._panel import Panel


def reasons(found: Assignment) -> dict[str, str | None]:
    """For each method with its default options the reason why it does not fit, or None."""
    from jcausal.panels._methods import METHODS

    made = [method() for method in METHODS]
    return {type(completer).__name__: completer.refuse(found) for completer in made}


def fitting(found: Assignment) -> list[str]:
    """Names of the methods that fit."""
    return [name for name, reason in reasons(found).items() if reason is None]


def panel_summary(panel: Panel) -> str:
    """Sizes, the pattern, and who fits."""
    found = panel.assignment
    share = found.treated / found.observed
    lines = [
        f"{found.n:,} units x {found.m:,} times, {found.observed:,} of {found.n * found.m:,} cells "
        f"observed, {found.treated:,} of them treated ({100 * share:.3g}%)",
        f"assignment {found.words}",
    ]
    if found.pattern == "switching":
        lines.append(
            f"units seen in both arms change arm {found.changes:.3g} times on average "
            f"({found.expected_changes:.3g} if every cell were drawn alone); the treated share's "
            f"drift with time is {found.drift:.2g}"
        )
    by_reason: dict[str, list[str]] = {}
    names = fitting(found)
    for name, reason in reasons(found).items():
        if reason is not None:
            by_reason.setdefault(reason, []).append(name)
    lines.append(f"methods that fit: {', '.join(names) or 'none'}")
    lines += [f"not {', '.join(held)}: {reason}" for reason, held in by_reason.items()]
    return "\n".join(lines)


def panel_frame(panel: Panel) -> pd.DataFrame:
    """One row an observed cell."""
    i, j = np.nonzero(np.asarray(panel.mask))
    columns = {
        "unit": panel.unit[i],
        "time": panel.time[j],
        "outcome": np.asarray(panel.y)[i, j],
        "treated": np.asarray(panel.d)[i, j],
    }
    return pd.DataFrame(columns)


def completion_summary(found: Completion) -> str:
    """The effect on the treated, who is identified, the ranks."""
    panel, done = found.panel, found.completed
    lines = [
        f"{found.completer.words} on {panel.n:,} units x {panel.m:,} times",
        f"mean effect on the treated cells {number_in_words(float(found.att))}",
    ]
    if found.completer.cells == "all":
        lines.append(f"mean effect over all identified cells {number_in_words(float(found.ate))}")
    ranks = np.asarray(done.rank)
    if (ranks >= 0).any():
        said = [f"{word} {r}" for word, r in zip(("control", "treated"), ranks) if r >= 0]
        lines.append(f"rank: {', '.join(said)}")
    lines.append(found.unidentified_words)
    treated = np.asarray(found.panel.treated)
    lost = treated & ~np.isfinite(np.asarray(found.effect))
    if lost.any():
        lines.append(f"{lost.sum():,} of {treated.sum():,} treated cells have no effect (NaN)")
    lines += short_words(found)
    for name, value in done.details.items():
        lines += _weights(found, name, np.asarray(value)) or [f"{name}: {_value(value)}"]
    lines += [f"beware: {words}" for words in flat_words(panel)]
    if not bool(done.converged):
        lines.append("the iterations did not converge")
    return "\n".join(lines)


def _weights(found: Completion, name: str, value: np.ndarray) -> list[str]:
    """Whose weights these are, the largest first by their labels; [] for other numbers.

    One line a treated unit, or a start of the treatment where units are taken together. Under jit
    and vmap all units and starts have a row and a column: those without weights are not told.
    """
    if name not in WEIGHTS:
        return []
    panel, start = found.panel, found.panel.assignment.start
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


def _largest(labels: np.ndarray, weights: np.ndarray) -> str:
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


def unidentified(found: Completion) -> str:
    """How many units have an effect, and why the others have none."""
    known = np.asarray(found.identified)
    treated, control = (np.asarray(a).any(1) for a in (found.panel.treated, found.panel.control))
    text = f"{known.sum():,} of {known.size:,} units identified"
    why = {
        "without a treated cell": ~known & ~treated,
        "without an untreated cell": ~known & treated & ~control,
        "whose cells the method could not complete": ~known & treated & control,
    }
    said = [f"{where.sum():,} {word}" for word, where in why.items() if where.any()]
    return f"{text}; {', '.join(said)}" if said else text


def short_words(found: Completion) -> list[str]:
    """One sentence on treated units with fewer times before their treatment than the fit needs."""
    need, assignment = found.completer.times_before, found.panel.assignment
    start = assignment.start
    few = (start < need) & (start < assignment.m)
    if not few.any():
        return []
    lost = few & ~np.isfinite(np.asarray(found.y0)).any(1)
    parts = []
    for rows, word in ((lost, "without an effect (NaN)"), (few & ~lost, "fitted to too little")):
        places = np.flatnonzero(rows)
        if places.size:
            listed = ", ".join(label_in_words(found.panel.unit[i]) for i in places[:5])
            more = f" and {places.size - 5} more" if places.size > 5 else ""
            parts.append(f"{places.size} of {assignment.ever} ({listed}{more}) {word}")
    return [
        f"{found.completer.words} asks for {need} times before a unit's treatment, and fewer leave "
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


def completion_frame(found: Completion) -> Any:
    """One row a cell."""
    panel = found.panel
    n, m = panel.n, panel.m
    seen = np.asarray(panel.mask).ravel()
    columns = {
        "unit": np.repeat(panel.unit, m),
        "time": np.tile(panel.time, n),
        "observed": seen,
        "treated": np.asarray(panel.d).ravel(),
        "outcome": np.where(seen, np.asarray(panel.y).ravel(), np.nan),
        "y0": np.asarray(found.y0).ravel(),
        "y1": np.asarray(found.y1).ravel(),
        "effect": np.asarray(found.effect).ravel(),
    }
    return like(panel.home, pd.DataFrame(columns))


def unit_frame(found: Completion) -> pd.DataFrame:
    """One row a unit."""
    panel = found.panel
    columns = {
        "unit": panel.unit,
        "treated": np.asarray(panel.treated).sum(1),
        "control": np.asarray(panel.control).sum(1),
        "effect": np.asarray(found.unit_effect),
        "identified": np.asarray(found.identified),
    }
    return pd.DataFrame(columns)


def _absorbing(found: Completion, what: str) -> Assignment:
    assignment = found.panel.assignment
    if not assignment.absorbing:
        raise ValueError(
            f"{what} need a treatment that, once begun, stays; here it is {assignment.words}."
        )
    return assignment


def event_frame(found: Completion) -> Any:
    """Mean gap by times since the treatment began, over units that are treated at some time."""
    start = _absorbing(found, "event-time averages").start
    gap, m = np.asarray(found.gap, float), found.panel.m
    event = np.arange(m) - start[:, None]
    use = np.isfinite(gap) & (start < m)[:, None]
    rows = []
    for value in np.unique(event[use]):
        here = use & (event == value)
        rows.append((int(value), gap[here].mean(), int(here.sum())))
    return like(found.panel.home, pd.DataFrame(rows, columns=["event", "effect", "cells"]))


def cohort_frame(found: Completion) -> Any:
    """Mean effect on the treated cells by the time at which the treatment began."""
    start = _absorbing(found, "cohort averages").start
    gap, time = np.asarray(found.gap, float), found.panel.time
    use = np.isfinite(gap) & np.asarray(found.panel.treated)
    rows = []
    for value in np.unique(start[start < found.panel.m]):
        here = use & (start == value)[:, None]
        effect = gap[here].mean() if here.any() else np.nan
        units = int((start == value).sum())
        rows.append((time[value], effect, units, int(here.sum())))
    return like(
        found.panel.home, pd.DataFrame(rows, columns=["cohort", "effect", "units", "cells"])
    )
