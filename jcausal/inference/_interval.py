"""Intervals: what they hold, and what a method for them is."""

from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import stats

from jcausal.data import (
    FrameKind,
    Options,
    Shown,
    label_in_words,
    like,
    normal_quantile,
    number_in_words,
    on_host,
    to_device,
)
from jcausal.effects import Effects

LINES = 20  # groups of a table that is printed

Target = Literal[
    "tau(x)",
    "realised",
    "population average",
    "sample average",
    "population risk ratio",
    "sample risk ratio",
    "population odds ratio",
    "sample odds ratio",
    "constant effect",
    "average over cells",
    "average over treated cells",
    "unit effects",
    "time effects",
]


class Groups(eqx.Module):
    """The groups of queries that the estimates of an `Interval` are of."""

    queries: Int[Array, " g"]
    matched: Int[Array, " g"]
    label: tuple = eqx.field(static=True)


class About(NamedTuple):
    """What an interval is: its level, what it covers, the method's name, why bounds may miss.

    `df` degrees of freedom of Student's quantile, None for the normal's; `quantile` how many errors
    the bounds are away, where it is neither.
    """

    level: float
    target: Target
    method: str
    absent: str = ""
    df: Float[Array, "*q"] | None = None
    quantile: Float[Array, ""] | None = None


class Interval(Shown, eqx.Module):
    """Estimates with a lower and an upper bound: of the average (), of queries or groups (q,).

    `target` says what is covered; `std_error` is for a ratio that of its logarithm;
    `pooled` marks estimates for which a group holds too few units for a variance of its own;
    `groups` names the groups of a table of averages; `absent` says why an estimate may have no
    bounds (NaN); `home` is the kind of frame that the sample was read from; `df` the degrees of
    freedom of bounds by Student's quantile, `p_value` that of a test of no effect, None for methods
    without.
    """

    estimate: Float[Array, "*q"]
    std_error: Float[Array, "*q"]
    lower: Float[Array, "*q"]
    upper: Float[Array, "*q"]
    pooled: Bool[Array, "*q"]
    level: float = eqx.field(static=True)
    target: Target = eqx.field(static=True)
    method: str = eqx.field(static=True)
    groups: Groups | None = None
    absent: str = eqx.field(static=True, default="")
    home: FrameKind = eqx.field(static=True, default="pandas")
    df: Float[Array, "*q"] | None = None
    p_value: Float[Array, "*q"] | None = None

    @property
    def unbounded(self) -> Bool[Array, "*q"]:
        """Which estimates have no bounds though they exist, for the reason in `absent`."""
        return _unbounded(self.lower, self.estimate)

    @property
    def _single(self) -> bool:
        return self.estimate.ndim < 2

    def _said(self) -> str:
        """In words: one line for an average, a table for groups, count and range for many."""
        percent = f"{100 * self.level:g}% interval"
        if self.estimate.ndim:
            of = "" if self.groups is None else " by group"
            text = f"{self.estimate.shape[0]} {percent}s of {self.target}{of} ({self.method})"
            missing = int(self.unbounded.sum())
            text += f"; {missing} without bounds: {self.absent}" if missing else ""
            words = f"; {self._range}{self._width}"
            return f"{text}{words}" if self.groups is None else f"{text}\n{self._table}"
        middle = number_in_words(float(self.estimate))
        if bool(self.unbounded):
            return f"{middle} (no {percent}: {self.absent}; {self.target}, {self.method})"
        low, high = (number_in_words(float(v)) for v in (self.lower, self.upper))
        p_value = "" if self.p_value is None else f", p {float(self.p_value):.3g}"
        return f"{middle} ({percent} {low} to {high}; {self.target}, {self.method}{p_value})"

    @property
    def _range(self) -> str:
        """From the least to the largest estimate."""
        known = np.asarray(self.estimate)[np.isfinite(self.estimate)]
        ends = [number_in_words(float(v)) for v in (known.min(), known.max())] if known.size else []
        return f"estimates from {' to '.join(ends)}" if ends else "no estimates"

    @property
    def _width(self) -> str:
        """The median width, in words."""
        width = np.asarray(self.upper) - np.asarray(self.lower)
        known = width[np.isfinite(width)]
        return f", median width {number_in_words(float(np.median(known)))}" if known.size else ""

    @property
    def _table(self) -> str:
        """One line a group: who is matched, the estimate, its error and bounds."""
        rows = self._shown()
        shown = rows.head(LINES)[["group", "matched"]].copy()
        shown["matched"] = [f"{m} of {q}" for m, q in zip(shown["matched"], rows["queries"])]
        shown["group"] = [label_in_words(label) for label in shown["group"]]
        for name in ("estimate", "std_error", "lower", "upper"):
            shown[name] = [
                number_in_words(float(v)) if np.isfinite(v) else "none"
                for v in rows[name].head(LINES)
            ]
        more = f"\n... and {len(rows) - LINES:,} more groups: to_frame() has all"
        return shown.to_string(index=False) + more * (len(rows) > LINES)

    def to_frame(self) -> Any:
        """One row an estimate; with groups the table of their averages.

        The frame is of the kind that the sample was read from (pandas, polars, pyarrow, DuckDB).
        """
        return like(self.home, self._shown())

    def _shown(self) -> pd.DataFrame:
        names = ("estimate", "std_error", "lower", "upper", "pooled")
        names += tuple(name for name in ("df", "p_value") if getattr(self, name) is not None)
        columns = {name: np.atleast_1d(np.asarray(getattr(self, name))) for name in names}
        if self.groups is not None:
            counts = {
                name: np.asarray(getattr(self.groups, name)) for name in ("queries", "matched")
            }
            columns = dict(group=list(self.groups.label)) | counts | columns
        frame = pd.DataFrame(columns).assign(level=self.level, target=self.target)
        missing = np.atleast_1d(np.asarray(self.unbounded))
        if self.absent and (self.groups is None or missing.any()):
            frame["reason"] = np.where(missing, self.absent, "")
        return frame


@on_host
def _unbounded(lib: Any, lower: Float[Array, "*q"], estimate: Float[Array, "*q"]) -> Array:
    return lib.isnan(lower) & ~lib.isnan(estimate)


@on_host
def _bounds(
    lib: Any, estimate: Float[Array, "*q"], variance: Float[Array, "*q"], quantile: float | Array
) -> tuple[Array, Array, Array]:
    """The standard error, and as many of it below and above."""
    error = lib.sqrt(variance)
    return error, estimate - quantile * error, estimate + quantile * error


class IntervalMethod(Options, eqx.Module):
    """A way to put an interval around effects; holds hyperparameters only."""

    level: eqx.AbstractVar[float]

    @abstractmethod
    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """The interval of the method's target."""


def normal_interval(
    estimate: Float[Array, "*q"],
    variance: Float[Array, "*q"],
    pooled: Bool[Array, "*q"],
    about: About,
    groups: Groups | None = None,
) -> Interval:
    """Estimate plus and minus the quantile times the standard error."""
    quantile = normal_quantile(about.level)
    if about.quantile is not None:
        quantile = about.quantile
    elif about.df is not None:
        quantile = _student(about.df, 0.5 + about.level / 2)
    std_error, lower, upper = _bounds(estimate, variance, quantile)
    return Interval(
        estimate,
        std_error,
        lower,
        upper,
        pooled,
        about.level,
        about.target,
        about.method,
        groups,
        about.absent,
        df=about.df,
    )


def _student(df: Float[Array, "*q"], share: float) -> Float[Array, "*q"]:
    """Student's quantiles (concrete numbers); the normal's where df is infinite."""
    found = np.asarray(stats.t.ppf(share, np.asarray(df, np.float64)))
    return to_device(found.astype(df.dtype))


def interval_of_draws(
    estimate: Float[Array, " q"],
    draws: Float[Array, "q b"],
    pooled: Bool[Array, " q"],
    about: About,
) -> Interval:
    """Bounds at the quantiles of draws; the standard error is the draws' standard deviation.

    **Arguments:** `draws` (q, b) of the estimates; NaN ones are left out.
    """
    std_error, lower, upper = _quantiles(draws, 0.5 - about.level / 2)
    return interval_between(estimate, std_error, lower, upper, pooled, about=about)


def interval_between(
    estimate: Float[Array, "*q"],
    std_error: Float[Array, "*q"],
    lower: Float[Array, "*q"],
    upper: Float[Array, "*q"],
    pooled: Bool[Array, "*q"] | None = None,
    *,
    about: About,
) -> Interval:
    """An interval of bounds that are at hand."""
    pooled = to_device(np.zeros(estimate.shape, bool)) if pooled is None else pooled
    known = estimate, std_error, lower, upper, pooled
    return Interval(*known, about.level, about.target, about.method, None, about.absent)


@on_host
def _quantiles(
    lib: Any, draws: Float[Array, "q b"], tail: float
) -> tuple[Float[Array, " q"], Float[Array, " q"], Float[Array, " q"]]:
    """Standard deviation, and the quantiles at both tails; NaN where all draws are."""
    known = ~lib.isnan(draws)
    count = lib.maximum(known.sum(1), 1).astype(draws.dtype)
    mean = lib.where(known, draws, 0).sum(1) / count
    square = lib.where(known, draws - mean[:, None], 0) ** 2
    error = lib.where(known.any(1), lib.sqrt(square.sum(1) / count), lib.nan)
    order = lib.sort(draws, axis=1)  # NaN last
    low, high = (_between(lib, order, share * (count - 1)) for share in (tail, 1 - tail))
    return error, low, high


def _between(lib: Any, order: Any, place: Any) -> Any:
    """Values of sorted rows at a place between two of them."""
    below = lib.floor(place).astype(lib.int32)
    above = lib.minimum(below + 1, order.shape[1] - 1)
    low, high = (lib.take_along_axis(order, at[:, None], axis=1)[:, 0] for at in (below, above))
    part = place - below.astype(place.dtype)
    return lib.where(part > 0, low + part * (high - low), low)
