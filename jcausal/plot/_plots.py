"""Pictures: boxes over two covariates, effects in order, balance before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jcausal.data import DataError, Schema, as_pandas, check_kind, number_in_words
from jcausal.effects import Effects
from jcausal.inference import Interval
from jcausal.matching import Boxes, bounding
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8c8c8c"
DRAWN = 20_000  # points of an arm: more are one blot, and slow
ROWS = 120  # of a love plot: more are no picture, and matplotlib refuses thousands


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def _label(schema: Schema, j: int) -> str:
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


def _columns(
    matching: Boxes, which: Sequence[int], covariates: Sequence[str] | None
) -> tuple[int, int]:
    """Two ordered columns, by name or those that bound the boxes most; in the sample's order."""
    schema = matching.sample.schema
    if covariates is None:
        best = bounding(matching, which)[:2]
        if len(best) < 2:
            raise ValueError("a picture of boxes needs two covariates that are not categories.")
        return min(best), max(best)
    for name in covariates:
        if name not in schema.names or schema.kinds[schema.names.index(name)] == "category":
            raise ValueError(f"{name!r} is no covariate with an order: {', '.join(schema.names)}.")
    if len(covariates) != 2:
        raise ValueError(f"name two covariates, not {len(covariates)}.")
    return schema.names.index(covariates[0]), schema.names.index(covariates[1])


def _query_words(matching: Boxes, i: int) -> str:
    """A query as the tables name it: a unit of the sample by its id, a point by its place."""
    row = int(np.asarray(matching.query)[i])
    return plain(f"unit {matching.sample.id[row]}" if row >= 0 else f"query {i}", 24)


def boxes(
    matching: Boxes,
    *,
    which: Sequence[int] = (0, 1, 2),
    covariates: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Some boxes over a scatter of the sample in two covariates, zoomed to the boxes.

    Each box bears the id of the unit that it was made for.

    **Arguments:** `which` queries; `covariates` two names, default those that bound these boxes
    most (most edges inside the data, numbers first); `ax`, which then holds the legend too.

    **Returns:** the axes, labelled with names and units. ValueError for unknown names or queries.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> found = jc.match(test, jc.AHB(), surface=jc.fit(train, jc.Ridge()))
        >>> jc.plot.boxes(found, covariates=["age", "income 1975"]).get_xlabel()
        'age (years)'
    """
    from matplotlib.patches import Rectangle

    check_kind(matching, Boxes, "plot.boxes", "pass what jc.match(..., jc.AHB()) returns")
    schema = matching.sample.schema
    for i in which:
        if not 0 <= i < len(matching.query):
            raise ValueError(f"there is no query {i}: they are 0 to {len(matching.query) - 1}.")
    a, b = _columns(matching, which, covariates)
    own = ax is None
    ax = _axes(ax, (8.5, 5))
    points, treated = matching.sample.points, np.asarray(matching.sample.t)
    valid = np.asarray(matching.sample.valid)
    for arm, colour, word in ((False, GREY, "controls"), (True, ORANGE, "treated")):
        rows = np.flatnonzero(valid & (treated == arm))
        if len(rows) > DRAWN:
            word = f"{DRAWN:,} of {len(rows):,} {word}"
            rows = np.random.default_rng(0).choice(rows, DRAWN, replace=False)
        ax.scatter(points[rows, a], points[rows, b], s=9, c=colour, alpha=0.5, lw=0, label=word)
    lower, upper = np.asarray(matching.lower), np.asarray(matching.upper)
    span = np.nanmax(points[valid], axis=0) - np.nanmin(points[valid], axis=0)
    for i in which:
        if np.isnan(lower[i, [a, b]]).any():
            raise ValueError(
                f"box {i} holds only units whose {schema.names[a]!r} or {schema.names[b]!r} is "
                "missing: it has no place in this picture, choose others with which=[...]."
            )
    margins, chosen = {}, np.array(list(which))
    for j in (a, b):
        wide = float(upper[chosen, j].max() - lower[chosen, j].min())
        margins[j] = max(0.6 * wide, 0.02 * float(span[j]))
    least = [0.01 * margins[j] for j in (a, b)]  # so that a box without extent can be seen
    for k, i in enumerate(which):
        corner, size = lower[i, [a, b]], upper[i, [a, b]] - lower[i, [a, b]]
        grown = np.maximum(size, least)
        corner = corner - (grown - size) / 2
        frame = Rectangle(tuple(corner), *grown, fill=False, ec=f"C{k}", lw=1.8)
        frame.set_label(_query_words(matching, i))
        ax.add_patch(frame)
        ax.plot(*np.asarray(matching.point)[i, [a, b]], marker="+", c=f"C{k}", ms=11, mew=2)
    for j, limit in ((a, ax.set_xlim), (b, ax.set_ylim)):
        low, high, margin = lower[chosen, j].min(), upper[chosen, j].max(), margins[j]
        near, seen = 0.1 * margin, points[valid, j]
        limit(max(low - margin, np.nanmin(seen) - near), min(high + margin, np.nanmax(seen) + near))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:,.10g}")
    ax.set(xlabel=_label(schema, a), ylabel=_label(schema, b), title="Boxes and their queries (+)")
    legend(ax, beside=own)
    return ax


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


def love(table: Any, *, threshold: float = 0.1, ax: Axes | None = None) -> Axes:
    """Love plot: absolute standardised mean differences before and after matching.

    Of a table of more than 120 rows those that differ most are drawn, and the title says so.

    **Arguments:** `table` as `jc.balance` gives it, of any kind of frame; `threshold` to mark;
    `ax`.

    **Returns:** the axes. ValueError for another table.
    """
    held = _balance_table(table)
    worst = held[["smd_before", "smd_after"]].abs().max(axis=1).fillna(0).to_numpy()
    rows = held.iloc[np.sort(np.argsort(worst, kind="stable")[-ROWS:])]
    ordered = rows.assign(size=rows["smd_before"].abs()).sort_values("size")
    few = f" ({ROWS} of {len(held):,} rows)" if len(held) > ROWS else ""
    names = [plain(name, 40) for name in ordered.index]
    wide = max(map(len, names), default=0)
    ax = _axes(ax, (7 + 0.08 * max(wide - 22, 0), 1.2 + 0.32 * len(ordered)))
    place = np.arange(len(ordered))
    before, after = ordered["smd_before"].abs(), ordered["smd_after"].abs()
    ax.hlines(place, np.minimum(before, after), np.maximum(before, after), color=GREY, lw=0.8)
    ax.scatter(before, place, facecolors="none", edgecolors=GREY, s=42, label="before")
    ax.scatter(after, place, c=BLUE, s=42, label="after", zorder=3)
    ax.axvline(threshold, color="black", ls="--", lw=0.8, label=f"threshold {threshold:g}")
    ax.axvline(0, color="black", lw=0.8)
    ax.set_yticks(place, names)
    name = str(held.attrs.get("estimand", "")).upper()
    ax.set(
        xlabel="absolute mean difference (standard deviations; shares: raw)",
        title=f"Balance before and after matching {name}".strip() + few,
    )
    ax.legend(loc="best", fontsize="small")
    return ax


def _balance_table(table: Any) -> pd.DataFrame:
    """The table of `jc.balance` with the covariates as its index."""
    try:
        held = as_pandas(table)
    except DataError as error:
        said = f"plot.love takes jc.balance's table, not {type(table).__name__}."
        raise ValueError(said) from error
    missing = {"smd_before", "smd_after"} - set(held.columns)
    if missing:
        raise ValueError(f"the table lacks {sorted(missing)}: pass what jc.balance returns.")
    return held.set_index("covariate") if "covariate" in held.columns else held
