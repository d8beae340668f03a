"""Picture: one group over all covariates at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import Sample, check_kind, check_place, number_in_words
from jcausal.effects import Effects
from jcausal.matching import Matching
from jcausal.plot._boxes import query_words
from jcausal.plot._plots import BLUE, GREY, ORANGE, _axes, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 200  # members that are drawn: more are one blot
BELOW = -0.12  # where what is missing stands
AXES = 24  # covariates: more are no picture


class _Scale(NamedTuple):
    """Where values stand: a category's levels evenly, a number between its ends in the sample."""

    low: float
    high: float
    names: tuple[str, ...]

    def place(self, values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """From 0 to 1; below for what is missing."""
        wide = self.high - self.low
        return np.where(np.isnan(values), BELOW, (values - self.low) / (wide if wide > 0 else 1))


def parallel(found: Matching | Effects, i: int, *, ax: Axes | None = None) -> Axes:
    """The i-th query's group in parallel coordinates: an upright axis a covariate.

    Bars show how far the group reaches, the thick line is the query, thin ones are its members,
    controls grey and treated orange and dashed. Axes go from the least to the largest value of the
    sample, which stand at their ends; levels of a category stand evenly, and what is missing below.
    Of more than 200 members some are drawn, evenly over all; of more than 24 covariates the first.

    **Arguments:** `found`: a matching, or effects; `i` the place of a query; `ax`.

    **Returns:** the axes. ValueError for a query without a match, IndexError for one that there is
    not.

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("experiment"), jc.NearestNeighbors())
        >>> len(jc.plot.parallel(effects, 0).get_xticks())
        8
    """
    matching = found.matching if isinstance(found, Effects) else found
    check_kind(matching, Matching, "plot.parallel", "pass what jc.estimate or jc.match returns")
    i = check_place(i, len(matching.query), "query")
    if not np.asarray(matching.matched)[i]:
        raise ValueError(f"query {i} has no group: {matching.reason(i)}.")
    sample = matching.sample
    flags = sample.schema.flag_of.values()
    shown = [j for j in range(sample.p) if j not in flags][:AXES]
    scales = [_scale(sample, j) for j in shown]
    ax = _axes(ax, (max(6.5, 1.15 * len(shown)), 4.6))
    rows = np.asarray(matching.group(i)[0])
    _members(ax, sample, rows, shown, scales)
    own = int(np.asarray(matching.query)[i])
    if own >= 0:
        line = _lines(sample, np.array([own]), shown, scales)[0]
        word = query_words(matching, i)
        ax.plot(np.arange(len(shown)), line, color="black", lw=2.4, marker="o", ms=5, label=word)
    for k, (low, high) in enumerate(_reach(matching, i, rows, shown, scales)):
        label = "reach of the group" if k == 0 else ""
        ax.vlines(k, low, high, color=BLUE, lw=9, alpha=0.3, label=label)
    _ends(ax, sample, shown, scales)
    ax.set_title(plain(matching.describe(i), 150, wrap=True), fontsize="medium")
    ax.set_ylabel("from least to largest")
    ax.set_xlabel("covariate")
    legend(ax, beside=True)
    return ax


def _scale(sample: Sample, j: int) -> _Scale:
    schema = sample.schema
    if schema.kinds[j] == "category":
        return _Scale(0.0, float(max(len(schema.levels[j]) - 1, 1)), schema.levels[j])
    values = sample.points[np.asarray(sample.valid), j]
    return _Scale(float(np.nanmin(values)), float(np.nanmax(values)), ())


def _lines(
    sample: Sample, rows: Int[np.ndarray, " m"], shown: list[int], scales: list[_Scale]
) -> Float[np.ndarray, "m k"]:
    """Where units stand on every axis."""
    points = sample.points[rows]
    return np.stack([scale.place(points[:, j]) for j, scale in zip(shown, scales)], axis=1)


def _members(
    ax: Axes,
    sample: Sample,
    rows: Int[np.ndarray, " m"],
    shown: list[int],
    scales: list[_Scale],
) -> None:
    """A thin line a member."""
    place = np.arange(len(shown))
    for arm, colour, stroke, word in (
        (False, GREY, "-", "controls"),
        (True, ORANGE, "--", "treated"),
    ):
        mine = rows[np.asarray(sample.t)[rows] == arm]
        if not mine.size:
            continue
        some = np.unique(np.linspace(0, mine.size - 1, min(mine.size, LINES // 2)).round())
        few = f"{some.size:,} of " if some.size < mine.size else ""
        lines = _lines(sample, mine[some.astype(int)], shown, scales)
        style: dict[str, Any] = dict(color=colour, ls=stroke, lw=0.7, alpha=0.55)
        ax.plot(place, lines.T, **style)
        bold: dict[str, Any] = style | dict(alpha=1, lw=1.4)
        ax.plot([], [], label=f"{few}{mine.size:,} {word}", **bold)


def _reach(
    matching: Matching,
    i: int,
    rows: Int[np.ndarray, " m"],
    shown: list[int],
    scales: list[_Scale],
) -> list[tuple[float, float]]:
    """How far the group goes on each axis: its edges where it is a box, else its members."""
    edges = matching.edges()
    ends = []
    for j, scale in zip(shown, scales):
        held = matching.sample.points[rows, j]
        low, high = np.nanmin(held, initial=np.inf), np.nanmax(held, initial=-np.inf)
        if edges is not None and not np.isnan(edges.lower[i, j]):
            low, high = float(edges.lower[i, j]), float(edges.upper[i, j])
        if low > high:  # only missing values
            low = high = np.nan
        bottom, top = scale.place(np.clip([low, high], scale.low, scale.high)).tolist()
        ends.append((bottom, top))
    return ends


def _ends(ax: Axes, sample: Sample, shown: list[int], scales: list[_Scale]) -> None:
    """Names below; the least and the largest value, or the levels, at each axis."""
    schema, names = sample.schema, []
    for k, (j, scale) in enumerate(zip(shown, scales)):
        ax.axvline(k, color="black", lw=0.8, zorder=0)
        if scale.names:
            told = [(p, plain(n, 12)) for p, n in enumerate(scale.names)]
            told = told if len(told) <= 8 else [told[0], told[-1]]
        else:
            told = [(v, number_in_words(v)) for v in (scale.low, scale.high)]
        for value, word in told:
            at = float(scale.place(np.array([value], float))[0])
            ax.annotate(word, (k, at), (5, 0), textcoords="offset points", fontsize=7, va="center")
        unit = f" ({schema.units[j]})" if schema.units[j] else ""
        names.append(plain(schema.names[j], 22) + plain(unit))
    ax.set_xticks(np.arange(len(shown)), names, rotation=30, ha="right", fontsize=8.5)
    ax.set_xlim(-0.3, len(shown) - 0.4)
    ax.set_yticks([0, 1], ["least", "largest"])
    ax.set_ylim(BELOW - 0.04, 1.05)
