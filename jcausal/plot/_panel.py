"""Pictures of a completed panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jcausal.data import check_kind, label_in_words
from jcausal.inference import Placebos
from jcausal.panels import Completion
from jcausal.plot._plots import BLUE, GREY, ORANGE, _axes, whole
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Show = Literal["unit", "effects", "spectrum", "gaps"]


def panel(
    found: Completion,
    *,
    show: Show = "unit",
    unit: Any = None,
    placebos: Placebos | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A completed panel: one unit against its counterfactual, all effects, the spectrum, or gaps.

    **Arguments:**

    - `show`: "unit": the unit's outcomes and both completed ones over time, times with treatment
      shaded; "effects": the effect of every unit at every time, grey where there is none;
      "spectrum": the singular values by arm, filled up to the rank; "gaps": mean outcome minus y0
      of the treated units over time, with `placebos` behind.
    - `unit`: its label, for "unit" only; default the unit with most treated cells.
    - `placebos`: of `jc.placebo(found)`, for "gaps" only.
    - `ax`.

    **Returns:** the axes. ValueError for an unknown unit, or a method without singular values.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.complete(jc.datasets.prop99(), jc.TwoWayFixedEffects())
        >>> jc.plot.panel(found).get_title()
        'California: two-way fixed effects'
    """
    check_kind(found, Completion, "plot.panel", "pass what jc.complete returns")
    if show not in ("unit", "effects", "spectrum", "gaps"):
        raise ValueError(f"show is {show!r}: use 'unit', 'effects', 'spectrum' or 'gaps'.")
    if unit is not None and show != "unit":
        raise ValueError("unit= is for show='unit' only.")
    if placebos is not None and show != "gaps":
        raise ValueError("placebos= is for show='gaps' only.")
    ax = _axes(ax, (7, 4.5))
    if show == "unit":
        return _unit(found, unit, ax)
    if show == "gaps":
        return _gaps(found, placebos, ax)
    return _effects(found, ax) if show == "effects" else _spectrum(found, ax)


def _times(found: Completion) -> np.ndarray:
    """Times as numbers for the axis: their labels where these are numbers."""
    time = found.panel.time
    return time if time.dtype.kind in "iuf" else np.arange(len(time))


def _name_times(found: Completion, ax: Axes) -> None:
    """Whole numbers at whole ticks; labels that are no numbers under every so manyth time."""
    time = found.panel.time
    if time.dtype.kind in "iu":
        whole(ax.xaxis)
    elif time.dtype.kind != "f":
        _name_ticks(ax.xaxis, time, aslant=True)


def _name_ticks(axis: Axis, labels: np.ndarray, *, aslant: bool) -> None:
    """Names at every so manyth place; long ones aslant, where they would cover each other."""
    step = max(1, len(labels) // 8)
    names = [plain(label_in_words(v), 20) for v in labels[::step]]
    turned = aslant and max(map(len, names)) > 9
    style: dict[str, Any] = dict(rotation=30, ha="right") if turned else {}
    axis.set_ticks(np.arange(len(labels))[::step], names, **style)


def _unit(found: Completion, unit: Any, ax: Axes) -> Axes:
    names, treated = found.panel.unit, np.asarray(found.panel.treated)
    place = np.flatnonzero(names == unit) if unit is not None else [treated.sum(1).argmax()]
    if len(place) != 1:
        raise ValueError(
            f"there is no unit {unit!r}: they are {', '.join(map(label_in_words, names[:5]))} ..."
        )
    i, time = int(place[0]), _times(found)
    seen = np.asarray(found.panel.mask)[i]
    y = np.where(seen, np.asarray(found.panel.y)[i], np.nan)
    ax.plot(time, y, color="black", lw=1.6, label="observed")
    ax.plot(time, np.asarray(found.y0)[i], color=BLUE, ls="--", lw=1.6, label="without treatment")
    if found.completer.cells == "all":
        ax.plot(
            time, np.asarray(found.y1)[i], color=ORANGE, ls="--", lw=1.6, label="with treatment"
        )
    half = np.diff(time).min() / 2
    for k, j in enumerate(np.flatnonzero(treated[i])):
        word = "treated" if k == 0 else None
        ax.axvspan(time[j] - half, time[j] + half, color=ORANGE, alpha=0.12, lw=0, label=word)
    title = plain(f"{label_in_words(names[i])}: {found.completer.words}")
    ax.set(xlabel="time", ylabel=plain(found.panel.outcome), title=title)
    _name_times(found, ax)
    ax.legend(loc="best", fontsize="small")
    return ax


def _effects(found: Completion, ax: Axes) -> Axes:
    import matplotlib as mpl

    effect = np.asarray(found.effect, float)
    most = np.nanmax(np.abs(effect)) if np.isfinite(effect).any() else 1.0
    colours = mpl.colormaps["PuOr"].with_extremes(bad="#d9d9d9")
    drawn = ax.imshow(
        effect, aspect="auto", cmap=colours, vmin=-most, vmax=most, interpolation="nearest"
    )
    ax.figure.colorbar(drawn, ax=ax, label=plain(f"effect on {found.panel.outcome}"))
    _name_ticks(ax.xaxis, found.panel.time, aslant=True)
    _name_ticks(ax.yaxis, found.panel.unit, aslant=False)
    ax.set(xlabel="time", ylabel="unit", title=f"Effects: {found.completer.words}")
    return ax


def _spectrum(found: Completion, ax: Axes) -> Axes:
    values, ranks = np.asarray(found.singular_values), np.asarray(found.rank)
    if not np.isfinite(values).any():
        raise ValueError(f"{found.completer.words} has no singular values to show.")
    for arm, colour, word in ((0, BLUE, "without"), (1, ORANGE, "with")):
        known = np.flatnonzero(np.isfinite(values[arm]))
        if not known.size:
            continue
        kept = known < ranks[arm]
        label = f"{word} treatment, rank {ranks[arm]}"
        ax.plot(known + 1, values[arm][known], color=colour, lw=0.8, alpha=0.6)
        ax.scatter(known[kept] + 1, values[arm][known[kept]], c=colour, s=32, label=label)
        left = known[~kept]
        ax.scatter(left + 1, values[arm][left], facecolors="none", edgecolors=colour, s=32)
    whole(ax.xaxis)
    ax.set(xlabel="number", ylabel="singular value", title=f"Spectrum: {found.completer.words}")
    ax.legend(loc="best", fontsize="small")
    return ax


def _gaps(found: Completion, placebos: Placebos | None, ax: Axes) -> Axes:
    time = _times(found)
    if placebos is not None:
        for k, row in enumerate(np.asarray(placebos.gap)):
            word = f"{len(placebos.label)} placebos over {placebos.over}" if k == 0 else None
            ax.plot(time, row, color=GREY, lw=0.7, alpha=0.5, label=word)
    ax.plot(time, found.treated_gap, color=ORANGE, lw=2, label="treated")
    ax.axhline(0, color="black", lw=0.8)
    treated = np.asarray(found.panel.treated).any(0)
    first = time[treated.argmax()] - np.diff(time).min() / 2
    ax.axvline(first, color="black", ls=":", lw=1)
    ax.set(
        xlabel="time",
        ylabel=plain(f"{found.panel.outcome}: observed - without treatment"),
        title=f"Gaps of the treated: {found.completer.words}",
    )
    _name_times(found, ax)
    ax.legend(loc="best", fontsize="small")
    return ax
