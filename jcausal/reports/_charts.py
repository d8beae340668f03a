"""Pictures of a page: numbers as places in per cent, which the templates draw as SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from jcausal.data import number_in_words

TICKS = 4  # steps along an axis, so that labels stand apart on a phone
LABEL, BRIEF = 50, 22  # letters of a row's label, and on a phone: longer ones lose their middle
BINS = 32
LOVED = 40  # rows of a love plot: more are no picture on a page


class Mark(NamedTuple):
    """A row of a chart: its label, in brief and whole, and places in per cent; None is not drawn.

    `mid` is filled and `open` hollow; a bar goes from `low` to `high`, an arrow from `open` to
    `mid` where there is no bar.
    """

    label: str
    brief: str
    whole: str
    mid: float | None
    low: float | None = None
    high: float | None = None
    open: float | None = None
    words: str = ""


class Chart(NamedTuple):
    """Rows over one axis: `ticks` are (place, label), `lines` (place, class) go from top to bottom.

    `said` tells a reader who sees no picture what is drawn.
    """

    rows: list[Mark]
    ticks: list[tuple[float, str]]
    lines: list[tuple[float, str]]
    axis: str
    said: str


class Bars(NamedTuple):
    """A histogram: (place, width, height, words) in per cent, ticks and lines as in `Chart`."""

    bars: list[tuple[float, float, float, str]]
    ticks: list[tuple[float, str]]
    lines: list[tuple[float, str]]
    axis: str
    said: str


class Course(NamedTuple):
    """Curves over an axis: `curves` are (class, label, points of SVG in per cent).

    `ticks` along, `levels` up the axis as (place, label), `lines` upright and `level_lines` across.
    """

    curves: list[tuple[str, str, str]]
    ticks: list[tuple[float, str]]
    levels: list[tuple[float, str]]
    lines: list[tuple[float, str]]
    level_lines: list[tuple[float, str]]
    axis: str
    said: str


class Axis(NamedTuple):
    """Ends of an axis and the round numbers on it."""

    low: float
    high: float
    steps: Float[np.ndarray, " k"]

    def place(self, value: float) -> float | None:
        """In per cent, held within the axis; None for what is not finite."""
        if not np.isfinite(value):
            return None
        return round(float(np.clip((value - self.low) / (self.high - self.low), 0, 1)) * 100, 3)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of the round numbers."""
        return [(self.place(v) or 0.0, number_in_words(float(v))) for v in self.steps]


def axis_over(values: Sequence[float] | np.ndarray, margin: float = 0.04) -> Axis:
    """An axis that holds all finite values, with round numbers on it."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        half = max(abs(low) / 10, 1e-6)
        low, high = low - half, high + half
    low, high = low - margin * (high - low), high + margin * (high - low)
    rough = (high - low) / TICKS
    size = 10.0 ** np.floor(np.log10(rough))
    step = size * next(m for m in (1, 2, 2.5, 5, 10) if m * size >= rough * (1 - 1e-9))
    steps = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return Axis(float(low), float(high), np.round(steps, int(max(0, 2 - np.floor(np.log10(step))))))


def _named(label: str) -> tuple[str, str, str]:
    """A label that loses its middle where it is long, the same for a phone, and whole."""
    return _shortened(label, LABEL), _shortened(label, BRIEF), label


def _shortened(label: str, most: int) -> str:
    return label if len(label) <= most else f"{label[: most - 9]} ... {label[-4:]}"


def forest(
    labels: Sequence[str],
    bounds: Float[np.ndarray, "k 3"],
    axis: str,
    average: float | None = None,
) -> Chart:
    """Estimates (first column) with their lower and upper bounds, 0 and an average as lines."""
    also = [0.0] if average is None else [0.0, average]
    over = axis_over(np.r_[bounds.ravel(), also])
    rows = [
        Mark(
            *_named(label),
            over.place(mid),
            over.place(low),
            over.place(high),
            words=f"{label}: {_bounds_in_words(mid, low, high)}",
        )
        for label, (mid, low, high) in zip(labels, bounds.tolist())
    ]
    lines = [(over.place(0.0) or 0.0, "zero")]
    if average is not None:
        lines.append((over.place(average) or 0.0, "average"))
    return Chart(rows, over.ticks, lines, axis, "; ".join(row.words for row in rows))


def _bounds_in_words(mid: float, low: float, high: float) -> str:
    if not np.isfinite(mid):
        return "no estimate"
    ends = f" ({number_in_words(low)} to {number_in_words(high)})" if np.isfinite(low) else ""
    return number_in_words(mid) + ends


def love_of(balance: pd.DataFrame, threshold: float = 0.1) -> Chart:
    """Absolute mean differences before (hollow) and after (filled), the largest before first.

    Of many rows those that differ most, before or after.
    """
    worst = balance[["smd_before", "smd_after"]].abs().max(axis=1).fillna(0).to_numpy(float)
    balance = balance.iloc[np.sort(np.argsort(-worst, kind="stable")[:LOVED])]
    labels = [str(name) for name in balance.index]
    before, after = (np.abs(balance[f"smd_{w}"].to_numpy(float)) for w in ("before", "after"))
    over = axis_over(np.r_[0.0, threshold, before, after])
    rows = []
    for k in np.argsort(-np.nan_to_num(before), kind="stable"):
        told = [number_in_words(round(float(v), 3)) for v in (before[k], after[k])]
        words = f"{labels[k]}: {told[0]} before, {told[1]} after"
        places = over.place(float(after[k])), over.place(float(before[k]))
        rows.append(Mark(*_named(labels[k]), places[0], open=places[1], words=words))
    lines = [(over.place(0.0) or 0.0, "zero"), (over.place(threshold) or 0.0, "threshold")]
    axis = "absolute mean difference (standard deviations; shares: raw)"
    return Chart(rows, over.ticks, lines, axis, "; ".join(row.words for row in rows))


def histogram(
    values: Float[np.ndarray, " m"],
    axis: str,
    average: float | None = None,
    ends: tuple[float, float] | None = None,
) -> Bars | None:
    """How values are spread; None where there are not two.

    Between `ends`, by default the 0.5% and 99.5% quantiles; what lies beyond is counted.
    """
    known = values[np.isfinite(values)].astype(float)
    if np.unique(known).size < 2:
        return None
    low, high = np.quantile(known, [0.005, 0.995]).tolist() if ends is None else ends
    over = axis_over([low, high, 0.0] if average is None else [low, high, 0.0, average])
    counts, edges = np.histogram(np.clip(known, over.low, over.high), BINS, (over.low, over.high))
    bars = []
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist()):
        words = f"{number_in_words(left)} to {number_in_words(right)}: {count:,}"
        at, end = over.place(left) or 0.0, over.place(right) or 0.0
        bars.append((at, end - at, 100 * count / counts.max(), words))
    lines = [(over.place(0.0) or 0.0, "zero")]
    if average is not None:
        lines.append((over.place(average) or 0.0, "average"))
    beyond = int(((known < over.low) | (known > over.high)).sum())
    told = [number_in_words(v) for v in np.quantile(known, [0.1, 0.5, 0.9]).tolist()]
    said = f"{known.size:,} values: median {told[1]}, eight of ten from {told[0]} to {told[2]}"
    said += f"; {beyond:,} lie beyond the axis and stand in its end bars" if beyond else ""
    return Bars(bars, over.ticks, lines, axis, said)


def course(
    x: Float[np.ndarray, " m"],
    curves: Sequence[tuple[str, str, Float[np.ndarray, " m"]]],
    axis: str,
    ticks: Sequence[tuple[float, str]] | None = None,
    mark: float | None = None,
) -> Course:
    """Curves (class, label, values) over x, broken where a value is missing; `mark`: an upright."""
    along = axis_over(x, margin=0.02)
    up = axis_over(np.concatenate([[0.0], *(values for _, _, values in curves)]))
    drawn = []
    for kind, label, values in curves:
        for run in _unbroken(values):
            held = zip(x[run].tolist(), values[run].tolist())
            places = ((along.place(a) or 0.0, up.place(b) or 0.0) for a, b in held)
            drawn.append((kind, label, " ".join(f"{a},{round(100 - b, 3)}" for a, b in places)))
    shown = along.ticks if ticks is None else [(along.place(v) or 0.0, w) for v, w in ticks]
    uprights = [] if mark is None else [(along.place(mark) or 0.0, "threshold")]
    levels = [(100 - place, words) for place, words in up.ticks]
    zero = [(100 - (up.place(0.0) or 0.0), "zero")]
    said = "; ".join(dict.fromkeys(label for _, label, _ in curves))
    return Course(drawn, shown, levels, uprights, zero, axis, said)


def _unbroken(values: Float[np.ndarray, " m"]) -> list[np.ndarray]:
    """Runs of places whose values are finite."""
    known = np.flatnonzero(np.isfinite(values))
    return [run for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if run.size]
