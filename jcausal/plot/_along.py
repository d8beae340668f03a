"""Picture: effects and the outcome without treatment along a covariate, with sample groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import check_kind, check_place
from jcausal.effects import Effects
from jcausal.matching import group_bounds, ordered_place
from jcausal.plot._boxes import query_words
from jcausal.plot._plots import BLUE, DRAWN, GREY, _axes, label_of, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = 200  # points of a smooth curve
SHOWN = 5  # groups drawn where none is named


def along(
    found: Effects,
    covariate: str,
    *,
    which: Sequence[int] | None = None,
    unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Effects of the matched queries along a covariate, and some of their groups.

    Points are single effects. Lines are means of the effects (blue) and of the outcomes without
    treatment (black), smoothed by normal kernels of .3 of the covariate's sd. A frame goes
    from the least to the largest value in a group, as high as the black line runs there: groups
    should be narrow where it is steep.

    **Arguments:** `covariate`: a number or a binary; `which` queries' groups, by default five along
    the covariate; `unit` of the outcome; `ax`.

    **Returns:** the axes. ValueError for an unknown name, a category, fewer than two values, and a
    query without a match.

    **Source:** figure 4 of Morucci et al. (2020), "Adaptive Hyper-box Matching".

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("experiment"), jc.CEM(bins=4))
        >>> jc.plot.along(effects, "income 1975", unit="$").get_ylabel()
        'outcome and effect ($)'
    """
    from matplotlib.patches import Rectangle

    check_kind(found, Effects, "plot.along", "pass what jc.estimate returns")
    j = ordered_place(found.sample, covariate)
    rows = _known(found, j)
    x = found.sample.points[np.asarray(found.matching.query)[rows], j]
    ite, y0 = (np.asarray(a, float)[rows] for a in (found.ite, found.y0))
    weight = np.asarray(found.matching.query_weight, float)[rows]
    grid = np.linspace(x.min(), x.max(), GRID)
    ax = _axes(ax, (8, 4.8))
    some = np.unique(np.linspace(0, rows.size - 1, min(rows.size, DRAWN)).round().astype(int))
    ax.scatter(x[some], ite[some], s=9, c=GREY, alpha=0.5, lw=0, label="effect of a unit")
    seen = smoothed(x, y0, weight, grid)
    base = np.interp(grid, grid[~np.isnan(seen)], seen[~np.isnan(seen)])
    ax.plot(grid, seen, color="black", lw=1.8, label="outcome without treatment")
    ax.plot(grid, smoothed(x, ite, weight, grid), color=BLUE, lw=2, ls="-.", label="effect")
    ax.axhline(0, color="black", lw=0.6)
    lower, upper = group_bounds(found.matching, j)
    least = 0.006 * (np.ptp(ite) + np.ptp(base))
    for k, i in enumerate(_chosen(found, rows, (x, ite), which)):
        left, right = max(lower[i], grid[0]), min(upper[i], grid[-1])
        inside = base[(grid >= left) & (grid <= right)]
        ends = np.interp([left, right], grid, base)
        low, high = min(inside.min(initial=np.inf), *ends), max(inside.max(initial=-np.inf), *ends)
        grown = max(high - low, least)
        corner = (left, (low + high - grown) / 2)
        frame = Rectangle(corner, right - left, grown, fill=False, ec=f"C{k}", lw=1.8, zorder=4)
        frame.set_label(query_words(found.matching, i))
        ax.add_patch(frame)
        own = found.sample.points[int(found.matching.query[i]), j]
        ax.plot(own, np.interp(own, grid, base), marker="+", c=f"C{k}", ms=10, mew=2, zorder=5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:,.10g}")
    ax.set(
        xlabel=label_of(found.sample.schema, j),
        ylabel=plain(f"outcome and effect ({unit})" if unit else "outcome and effect"),
        title=plain(f"Effects along {covariate}, and groups (frames) of units (+)"),
    )
    legend(ax, beside=True)
    return ax


def smoothed(
    x: Float[np.ndarray, " m"],
    values: Float[np.ndarray, " m"],
    weight: Float[np.ndarray, " m"],
    grid: Float[np.ndarray, " g"],
) -> Float[np.ndarray, " g"]:
    """Means of values around each point of a grid, by normal kernels of .3 of x's sd.

    NaN where no unit is within some 1.2 widths: there is nothing to tell.
    """
    mean = np.average(x, weights=weight)
    width = 0.3 * float(np.sqrt(np.average((x - mean) ** 2, weights=weight)))
    total, part = np.zeros(grid.size), np.zeros(grid.size)
    for at in np.array_split(np.arange(x.size), max(1, x.size // 2000)):
        gap = (grid[:, None] - x[at]) / width
        kernel = weight[at] * np.exp(-0.5 * gap**2)
        total, part = total + kernel.sum(1), part + kernel @ values[at]
    near = total > 0.5 * weight.mean()
    return np.where(near, part / np.where(near, total, 1), np.nan)


def _known(found: Effects, j: int) -> Int[np.ndarray, " m"]:
    """Matched queries that are units whose value is known."""
    query = np.asarray(found.matching.query)
    use = np.asarray(found.matched) & (query >= 0)
    use &= ~np.isnan(found.sample.points[np.maximum(query, 0), j])
    rows = np.flatnonzero(use)
    if np.unique(found.sample.points[query[rows], j]).size < 2:
        name = found.sample.schema.names[j]
        raise ValueError(f"{name!r} has fewer than two values among the matched: nothing to draw.")
    return rows


def _chosen(
    found: Effects,
    rows: Int[np.ndarray, " m"],
    along: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]],
    which: Sequence[int] | None,
) -> list[int]:
    """The queries whose groups are drawn: those named, or some along the covariate.

    `along`: its value and the effect of each row; of equally near ones the smallest effect.
    """
    if which is None:
        x, ite = along
        wanted = np.linspace(x.min(), x.max(), SHOWN + 2)[1:-1]
        nearest = [int(rows[np.lexsort((ite, np.abs(x - at)))[0]]) for at in wanted]
        return list(dict.fromkeys(nearest))
    named = [check_place(i, len(found.matching.query), "query") for i in which]
    for i in named:
        if i not in rows:
            raise ValueError(
                f"query {i} has no match, or a missing value: choose others with which=[...]."
            )
    return named
