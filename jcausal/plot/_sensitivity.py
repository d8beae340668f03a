"""Picture: what a confounder of each strength would leave of an estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jcausal.data import check_kind
from jcausal.diagnostics import OmittedBounds
from jcausal.plot._plots import BLUE, GREY, ORANGE, _axes, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED = 3  # benchmarks that are drawn: the strongest
MARKERS = "osD^vP"  # told apart without colour


def sensitivity(
    found: OmittedBounds,
    *,
    most: float | None = None,
    unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Contours of the estimate over the shares that a confounder explains, with benchmarks.

    Across the share of treatment, up the share of outcome. The bold line is where nothing is left;
    beyond it the sign turns. Marked are the estimate as it is and confounders as strong as the
    strongest covariates, or several times so.

    **Arguments:** `found` as `jc.sensitivity(effects, jc.OmittedVariable())` gives it; `most`, the
    largest share drawn; `unit` of the outcome; `ax`.

    **Returns:** the axes. ValueError for another object, or a share out of (0, 1).
    """
    from matplotlib.ticker import MaxNLocator

    check_kind(found, OmittedBounds, "plot.sensitivity", "pass what jc.OmittedVariable() gives")
    if most is not None and not 0 < most < 1:
        raise ValueError(f"most is {most}: it must lie between 0 and 1.")
    owned = ax is None
    ax = _axes(ax, (8.5, 5.5))
    shares, values = found.contours(most)
    steps = MaxNLocator(9, steps=[1, 2, 2.5, 5, 10]).tick_values(values.min(), values.max())
    if np.ptp(values) > 0:
        levels = steps[np.abs(steps) > 1e-9 * np.abs(steps).max()]
        drawn = ax.contour(shares, shares, values, levels=levels, colors=GREY, linewidths=0.8)
        ax.clabel(drawn, fmt=_words(values), fontsize=8)
    if values.min() < 0 < values.max():
        zero = ax.contour(shares, shares, values, levels=[0], colors=ORANGE, linewidths=2.2)
        ax.clabel(zero, fmt="0", fontsize=9)
    value = _words(values)(found.estimate)
    ax.plot(0, 0, "k*", ms=11, clip_on=False, label=f"estimate {value}")
    _mark_benchmarks(found, float(shares[-1]), ax)
    ax.set(
        xlim=(0, shares[-1]),
        ylim=(0, shares[-1]),
        xlabel="share of what is left of the treatment that the confounder explains",
        ylabel="share of what is left of the outcome",
        title=plain(f"{found.title}, had a variable been left out"),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    legend(ax, beside=owned)
    told = ax.get_legend()
    if told is not None:
        told.set_title(
            plain(f"contours: what is left ({unit})" if unit else "contours: what is left")
        )
        told.get_title().set_fontsize("small")
    return ax


def _mark_benchmarks(found: OmittedBounds, most: float, ax: Axes) -> None:
    """The strongest covariates, one mark a multiple that the picture has room for."""
    name, times, treatment, outcome = found.benchmarks
    for marker, one in zip(MARKERS, found.strongest_names[:MARKED]):
        mine = np.array([n == one for n in name])
        seen = mine & (treatment <= most) & (outcome <= most)
        if not seen.any():
            continue
        label = plain(f"as strong as {one}", 40)
        ax.plot(
            treatment[seen], outcome[seen], marker, color=BLUE, mec="black", label=label, zorder=3
        )
        for x, y, k in zip(treatment[seen], outcome[seen], times[seen]):
            ax.annotate(f"{k:g}x", (x, y), (5, 4), textcoords="offset points", fontsize=8)


def _words(values: Float[np.ndarray, "k k"]) -> Callable[[float], str]:
    """Numbers with as many digits as the range of what is drawn needs."""
    reach = float(np.ptp(values)) or 1.0
    digits = max(0, 1 - int(np.floor(np.log10(reach))))
    return lambda value: f"{value + 0.0:,.{digits}f}"
