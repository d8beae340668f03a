"""Completions as tables: cell by cell, unit by unit, by time since treatment, by cohort."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from jcausal.data import like
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Completed
from jcausal.panels._panel import Panel


def cell_frame(panel: Panel, done: Completed, effect: Float[Array, "n m"]) -> Any:
    """One row a cell."""
    n, m = panel.n, panel.m
    seen = np.asarray(panel.mask).ravel()
    columns = {
        "unit": np.repeat(panel.unit, m),
        "time": np.tile(panel.time, n),
        "observed": seen,
        "treated": np.asarray(panel.d).ravel(),
        "outcome": np.where(seen, np.asarray(panel.y).ravel(), np.nan),
        "y0": np.asarray(done.y0).ravel(),
        "y1": np.asarray(done.y1).ravel(),
        "effect": np.asarray(effect).ravel(),
    }
    return like(panel.home, pd.DataFrame(columns))


def unit_frame(
    panel: Panel, unit_effect: Float[Array, " n"], identified: Bool[Array, " n"]
) -> pd.DataFrame:
    """One row a unit."""
    columns = {
        "unit": panel.unit,
        "treated": np.asarray(panel.treated).sum(1),
        "control": np.asarray(panel.control).sum(1),
        "effect": np.asarray(unit_effect),
        "identified": np.asarray(identified),
    }
    return pd.DataFrame(columns)


def event_frame(panel: Panel, gap: Float[Array, "n m"]) -> Any:
    """Mean gap by times since the treatment began, over units that are treated at some time."""
    start = _absorbing(panel, "event-time averages").start
    values = np.asarray(gap, float)
    event = np.arange(panel.m) - start[:, None]
    use = np.isfinite(values) & (start < panel.m)[:, None]
    rows = []
    for value in np.unique(event[use]):
        here = use & (event == value)
        rows.append((int(value), values[here].mean(), int(here.sum())))
    return like(panel.home, pd.DataFrame(rows, columns=["event", "effect", "cells"]))


def cohort_frame(panel: Panel, gap: Float[Array, "n m"]) -> Any:
    """Mean effect on the treated cells by the time at which the treatment began."""
    start = _absorbing(panel, "cohort averages").start
    values = np.asarray(gap, float)
    use = np.isfinite(values) & np.asarray(panel.treated)
    rows = []
    for value in np.unique(start[start < panel.m]):
        here = use & (start == value)[:, None]
        effect = values[here].mean() if here.any() else np.nan
        units = int((start == value).sum())
        rows.append((panel.time[value], effect, units, int(here.sum())))
    return like(panel.home, pd.DataFrame(rows, columns=["cohort", "effect", "units", "cells"]))


def _absorbing(panel: Panel, what: str) -> Assignment:
    assignment = panel.assignment
    if not assignment.absorbing:
        raise ValueError(
            f"{what} need a treatment that, once begun, stays; here it is {assignment.words}."
        )
    return assignment
