"""Picture: the chance of treatment in both arms, one above the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jcausal.data import check_kind
from jcausal.diagnostics import Overlap
from jcausal.plot._plots import BLUE, ORANGE, _axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def overlap(found: Overlap, *, bins: int = 40, ax: Axes | None = None) -> Axes:
    """Histograms of the chance of treatment, mirrored: treated above the line, controls below.

    Bars are shares of an arm by sampling weight.

    **Arguments:** `found` as `jc.overlap` gives it; `bins` from 0 to 1; `ax`.

    **Returns:** the axes. ValueError for another object, or fewer than one bin.
    """
    check_kind(found, Overlap, "plot.overlap", "pass what jc.overlap returns")
    if bins < 1:
        raise ValueError(f"bins is {bins}: it must be at least 1.")
    ax = _axes(ax, (7, 4.5))
    edges, tallest = np.linspace(0, 1, bins + 1), 0.0
    for treated, colour, word in ((True, ORANGE, "treated"), (False, BLUE, "controls")):
        score, weight = found.of_arm(treated)
        share = np.histogram(score, edges, weights=weight)[0] / weight.sum()
        tallest = max(tallest, share.max())
        label = f"{len(score):,} {word}"
        height = share if treated else -share
        ax.bar(edges[:-1], height, 1 / bins, align="edge", color=colour, alpha=0.8, label=label)
    ax.axhline(0, color="black", lw=0.8)
    ax.set(
        xlim=(0, 1),
        ylim=(-1.08 * tallest, 1.08 * tallest),
        xlabel="chance of treatment",
        ylabel="share of the arm",
        title=f"Overlap: the arms share {100 * found.shared:.0f}% of their densities",
    )
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * abs(share):g}%")
    ax.legend(loc="best", fontsize="small")
    return ax
