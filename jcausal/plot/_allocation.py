"""A picture of an allocation: who is treated, who decides it, what K groups are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from jcausal.allocation import Allocation, TopK
from jcausal.data import check_kind
from jcausal.plot._plots import BLUE, GREY, ORANGE, _axes, legend, whole
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = 2_000  # groups with a bar of their own: more are one blot, and slow
FEW = 200  # groups whose bars are drawn broad
NAMED = 12  # groups at the threshold that are named
MARKS = {"naive": "o", "split": "s", "shrunk": "D"}


def allocation(
    found: Allocation, *, unit: str = "", ax: Axes | None = None, below: Axes | None = None
) -> Axes:
    """Estimates in order with their errors, the groups at the threshold, and value against K.

    Bars are rho; those of the groups that decide the allocation are orange. Under `jc.TopK` there
    is a band where the order is not settled, from the lowest lower end of the chosen among them to
    the highest upper end of the others (0, treating none, where there are no such), and below
    stands what the K largest estimates sum to and what their effects are sure to, for every K.

    **Arguments:** `found` as `jc.allocate` gives it; `unit` of the effects; `ax` for the estimates
    and `below` for the values: without `ax` a new figure has both, their legends beside them,
    with `ax` alone only the estimates are drawn.

    **Returns:** the axes of the estimates. ValueError for `below` without `ax`, and for a budget
    that is not `jc.TopK`.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.allocate([0.9, 0.2, 0.6, 0.5], jc.TopK(2), rho=0.1)
        >>> jc.plot.allocation(found).get_title()
        '2 of 4 groups treated: at least 92.9% of the best value'
    """
    check_kind(found, Allocation, "plot.allocation", "pass what jc.allocate returns")
    top_k = isinstance(found.budget, TopK)
    if below is not None and (ax is None or not top_k):
        raise ValueError("below is for the values under jc.TopK, beside an ax for the estimates.")
    own = ax is None
    if ax is None and top_k:
        ax, below = _two_axes()
    ax = _axes(ax, (9.5, 4.5))
    order = np.argsort(-np.asarray(found.estimates.value), kind="stable")
    _bars(ax, found, order)
    if top_k and bool(found.contested.any()):
        _band(ax, found)
    sure, k = float(found.guaranteed_ratio), found.estimates.groups
    share = (
        f"at least {sure:.1%} of the best value"
        if sure > 0
        else "no share of the best value is sure"
    )
    ax.axhline(0, color="black", lw=0.8)
    _make_room(ax)
    ax.set(
        xlabel="groups in the order of their estimates" + _drawn_in_words(k),
        ylabel=plain(f"effect ({unit})" if unit else "effect"),
        title=f"{int(found.chosen.sum()):,} of {k:,} groups treated: {share}",
    )
    ax.yaxis.set_major_formatter("{x:,.10g}")
    whole(ax.xaxis)
    legend(ax, beside=own)
    if below is not None:
        _values(below, found, order, unit)
        legend(below, beside=own)
    return ax


def _two_axes() -> tuple[Axes, Axes]:
    """The estimates above, the values below, with one horizontal axis."""
    import matplotlib.pyplot as plt

    _, (ax, below) = plt.subplots(
        2, 1, figsize=(9.5, 6.5), sharex=True, height_ratios=(3, 2), layout="constrained"
    )
    return ax, below


def _drawn_in_words(k: int) -> str:
    return f" ({DRAWN:,} of {k:,} drawn)" if k > DRAWN else ""


def _bars(ax: Axes, found: Allocation, order: Int[np.ndarray, " k"]) -> None:
    """One bar a group, and the names of a few at the threshold."""
    k = order.size
    place = np.unique(np.linspace(0, k - 1, min(k, DRAWN)).round().astype(int))
    shown, x = order[place], place + 1
    value, lower, upper, chosen, contested = (
        np.asarray(a)
        for a in (found.estimates.value, found.lower, found.upper, found.chosen, found.contested)
    )
    wide = 1.2 if k <= FEW else 0.5
    words = f"{contested.sum():,} groups at the threshold"
    for use, colour, word in ((~contested[shown], GREY, ""), (contested[shown], ORANGE, words)):
        ends = lower[shown][use], upper[shown][use]
        if use.any():
            ax.vlines(x[use], *ends, color=colour, alpha=0.6, lw=wide, label=word)
    for use, colour, word in ((chosen[shown], BLUE, "treated"), (~chosen[shown], GREY, "not")):
        ax.scatter(x[use], value[shown][use], s=14, c=colour, lw=0, label=word, zorder=3)
    if 0 < contested.sum() <= NAMED:
        ax.margins(y=0.2)
        for at in np.flatnonzero(contested[order]):
            name, top = plain(found.estimates.labels[order[at]], 24), upper[order[at]]
            style: dict[str, Any] = dict(ha="center", va="bottom", rotation=90, fontsize=7.5)
            ax.annotate(name, (at + 1, top), (0, 3), textcoords="offset points", **style)


def _make_room(ax: Axes) -> None:
    """Stretch the axes upwards for names that are long, so that they stay below the title."""
    more = 0.03 * max((len(text.get_text()) for text in ax.texts), default=0) - 0.2
    if more > 0:
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + more * (high - low))


def _band(ax: Axes, found: Allocation) -> None:
    """The effects between which the order is not settled."""
    lower, upper, chosen, contested = (
        np.asarray(a) for a in (found.lower, found.upper, found.chosen, found.contested)
    )
    inside, outside = lower[contested & chosen], upper[contested & ~chosen]
    low, high = inside.min(initial=np.inf), outside.max(initial=-np.inf)
    ends = [float(end) if np.isfinite(end) else 0.0 for end in (low, high)]
    ax.axhspan(ends[0], ends[1], color=ORANGE, alpha=0.15, lw=0)


def _values(below: Axes, found: Allocation, order: Int[np.ndarray, " k"], unit: str) -> None:
    """Sums of the K largest estimates and of their lower ends, and the allocation's values."""
    x = np.arange(1, order.size + 1)
    for numbers, colour, word in (
        (found.estimates.value, BLUE, "the K largest estimates, naive"),
        (found.lower, GREY, "their least value"),
    ):
        below.plot(x, np.cumsum(np.asarray(numbers)[order]), color=colour, lw=1.4, label=word)
    treated = int(found.chosen.sum())
    for name, mark in MARKS.items():
        worth = getattr(found.value, name)
        if worth is not None:
            below.scatter(treated, float(worth), c=ORANGE, marker=mark, s=30, label=name, zorder=3)
    below.axvline(treated, color="black", lw=0.8, ls="--")
    below.set(xlabel="K", ylabel=plain(f"value ({unit})" if unit else "value"))
    below.yaxis.set_major_formatter("{x:,.10g}")
    whole(below.xaxis)
