"""Picture: the estimates of several methods with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jcausal.data import DataError, as_pandas
from jcausal.plot._plots import BLUE, ORANGE, _axes
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHOLE = 0.995  # share of the queries that is all of them, rounded
NEEDED = ("method", "estimate", "lower", "upper")


def compare(
    table: Any, *, truth: float | None = None, unit: str = "", ax: Axes | None = None
) -> Axes:
    """One line a method, in the table's order: its estimate and its interval.

    **Arguments:** `table` as `jc.compare` gives it; methods that refused are named without a line,
    those that average a part of the queries with that share; `truth` draws a line (default: the
    table's own, where it has one); `unit` of the outcome; `ax`.

    **Returns:** the axes. `DataError` for a table without the columns of `jc.compare`.
    """
    frame = as_pandas(table)
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise DataError(
            f"the table has no column {', '.join(missing)}: pass what jc.compare returns."
        )
    place = np.arange(len(frame))[::-1]
    ax = _axes(ax, (7, 0.8 + 0.38 * len(frame)))
    low, middle, high = (frame[name].to_numpy(float) for name in ("lower", "estimate", "upper"))
    ax.hlines(place, low, high, color=BLUE, lw=2)
    ax.plot(middle, place, "o", color=BLUE)
    if truth is None and "truth" in frame:
        known = frame["truth"].to_numpy(float)
        truth = float(known[~np.isnan(known)][0]) if (~np.isnan(known)).any() else None
    ax.axvline(0, color="black", lw=0.6)
    if truth is not None:
        ax.axvline(truth, color=ORANGE, lw=1.2, ls="--", label="truth")
        ax.legend(loc="best", fontsize="small")
    shares = frame["matched"].to_numpy(float) if "matched" in frame else np.ones(len(frame))
    words = [
        plain(f"{name}{_aside(value, share)}", 50)
        for name, value, share in zip(frame["method"], middle, shares)
    ]
    ax.set_yticks(place, words)
    ax.xaxis.set_major_formatter("{x:,.10g}")
    ax.set(
        xlabel=plain(f"effect{f', {unit}' if unit else ''}"),
        title="The same question by each method",
    )
    return ax


def _aside(estimate: float, share: float) -> str:
    """What a reader must know of a method before its line."""
    if not np.isfinite(estimate):
        return " (none)"
    return f" ({100 * share:.0f}% matched)" if share < WHOLE else ""
