"""Pictures: effects in order; what all pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jcausal.data import Schema, check_kind, number_in_words
from jcausal.effects import Effects
from jcausal.inference import Interval
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8c8c8c"
DRAWN = 20_000  # points of an arm: more are one blot, and slow


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def label_of(schema: Schema, j: int) -> str:
    unit = schema.units[j]
    return plain(f"{schema.names[j]} ({unit})" if unit else schema.names[j])


def whole(axis: Axis) -> None:
    """Ticks at whole numbers only, for what is counted."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def legend(ax: Axes, *, beside: bool) -> None:
    """A small legend: beside axes of our own, so that it hides nothing; inside those of a user."""
    place: dict[str, Any] = dict(loc="best")
    if beside:
        place = dict(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    ax.legend(fontsize="small", **place)


def effects(
    found: Effects,
    *,
    interval: Interval | None = None,
    average: Interval | None = None,
    unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Effects of the matched queries in order, with intervals, and their average.

    **Arguments:** `interval` of the queries and `average` of the average, as `jc.interval` gives
    them; `unit` of the outcome for the label; `ax`.

    **Returns:** the axes. ValueError when `interval` is not of these queries.
    """
    check_kind(found, Effects, "plot.effects", "pass what jc.estimate returns")
    ax = _axes(ax, (7, 4.5))
    ite, keep = np.asarray(found.ite), np.asarray(found.matched)
    if interval is not None and interval.estimate.shape != ite.shape:
        raise ValueError("interval is not of these queries: pass jc.interval(effects, method).")
    order = np.flatnonzero(keep)[np.argsort(ite[keep], kind="stable")]
    place = np.arange(len(order))
    if interval is not None:
        low, high = np.asarray(interval.lower)[order], np.asarray(interval.upper)[order]
        percent = f"{100 * interval.level:g}% interval"
        ax.vlines(place, low, high, color=BLUE, alpha=0.25, lw=1.2, label=percent)
    ax.scatter(place, ite[order], s=10, c=BLUE, lw=0, label="effect of a unit", zorder=3)
    ax.axhline(0, color="black", lw=0.8)
    name = found.estimand.upper()
    value = float(found.average)
    ax.axhline(value, color=ORANGE, lw=1.6, label=f"{name} {number_in_words(value)}")
    if average is not None:
        ax.axhspan(float(average.lower), float(average.upper), color=ORANGE, alpha=0.15, lw=0)
    ax.yaxis.set_major_formatter("{x:,.10g}")
    whole(ax.xaxis)
    matched = f"matched {keep.sum()} of {int(found.matching.asked.sum())}"
    ax.set(
        xlabel=f"queries in the order of their effect ({matched})",
        ylabel=plain(f"effect ({unit})" if unit else "effect"),
        title=f"Effects of single units and the {name}",
    )
    ax.legend(loc="best", fontsize="small")
    return ax
