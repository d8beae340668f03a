"""Picture: averages of groups with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jcausal.data import check_kind, label_word, number_in_words
from jcausal.inference import Interval
from jcausal.plot._plots import BLUE, ORANGE, _axes, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 80  # groups: more are no picture


def forest(
    found: Interval,
    *,
    average: Interval | None = None,
    unit: str = "",
    of: str = "",
    ax: Axes | None = None,
) -> Axes:
    """A line a group: its average with its interval, larger dots for more matched queries.

    Groups without an estimate are named without a line. Of more than 80 groups the first are drawn,
    and the title says so.

    **Arguments:** `found` of groups, as `jc.interval(effects, method, by=...)` gives it; `average`:
    the interval of the average, drawn behind; `unit` of the outcome; `of`: what the groups are of,
    for the title; `ax`.

    **Returns:** the axes. ValueError for an interval without groups.

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("experiment"), jc.NearestNeighbors())
        >>> table = jc.interval(effects, jc.AbadieImbens(), by="married")
        >>> jc.plot.forest(table, unit="$").get_xlabel()
        'average effect ($)'
    """
    check_kind(found, Interval, "plot.forest", "pass jc.interval(effects, method, by=...)")
    if found.groups is None:
        raise ValueError("plot.forest draws groups: pass jc.interval(effects, method, by=...).")
    labels, matched = found.groups.label[:ROWS], np.asarray(found.groups.matched)[:ROWS]
    middle, low, high = (
        np.asarray(a, float)[:ROWS] for a in (found.estimate, found.lower, found.upper)
    )
    place = np.arange(len(labels))[::-1]
    names = [
        f"{plain(label_word(label), 32)} ({m:,})" for label, m in zip(labels, matched.tolist())
    ]
    wide = max(map(len, names), default=0)
    ax = _axes(ax, (7 + 0.06 * max(wide - 14, 0), 1.4 + 0.34 * len(names)))
    percent = f"{100 * found.level:g}% interval"
    ax.hlines(place, low, high, color=BLUE, lw=2, label=percent)
    size = 25 + 75 * matched / max(matched.max(initial=1), 1)
    ax.scatter(middle, place, s=size, color=BLUE, zorder=3)
    ax.axvline(0, color="black", lw=0.8)
    if average is not None:
        value = float(average.estimate)
        ax.axvline(value, color=ORANGE, ls="--", lw=1.4, label=f"average {number_in_words(value)}")
        ax.axvspan(float(average.lower), float(average.upper), color=ORANGE, alpha=0.12, lw=0)
    ax.set_yticks(place, names)
    ax.set_ylim(-0.7, len(names) - 0.3)
    ax.xaxis.set_major_formatter("{x:,.10g}")
    whole, word = len(found.groups.label), f" by {of}" if of else " by group"
    few = f" ({ROWS} of {whole:,} groups)" if whole > ROWS else ""
    ax.set(
        xlabel=plain(f"average effect ({unit})" if unit else "average effect"),
        ylabel="group (matched)",
        title=plain(f"Average effects{word}{few}"),
    )
    legend(ax, beside=False)
    return ax
