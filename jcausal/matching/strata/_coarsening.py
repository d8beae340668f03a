"""Rules of coarsening: where the bins of a number are cut."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jcausal.data import DataError, Schema

Rule = str | int | Sequence
Bins = str | int | Mapping
WORDS = ("sturges", "scott", "fd", "quantile", "exact")
PARTS = re.compile(r"q([1-9][0-9]*)$")
FIFTHS = 5  # what "quantile" stands for
MOST = 10**6  # bins of equal width; a rule that asks for more is of outliers


class Tally(NamedTuple):
    """The distinct values (l,) of a covariate, rising, and how many units count at each (l,)."""

    values: Any
    counts: Any


def check_bins(bins: Bins) -> None:
    """Refuse what is no rule.

    **Raises:** ValueError that names the column.
    """
    if not isinstance(bins, Mapping):
        _check_rule("bins", bins, edges=False)
        return
    for name, rule in bins.items():
        _check_rule(f"bins[{name!r}]", rule, edges=True)


def rule_of(bins: Bins, name: str, default: str) -> Rule:
    """The rule of one column; `default` for columns that a mapping leaves out."""
    return bins.get(name, default) if isinstance(bins, Mapping) else bins


def check_columns(bins: Bins, schema: Schema) -> None:
    """Refuse rules of columns that there are not, or that are no numbers.

    **Raises:** `DataError`.
    """
    for name in bins if isinstance(bins, Mapping) else ():
        if name not in schema.names:
            raise DataError(f"bins names {name!r}, which is no column: {', '.join(schema.names)}.")
        if schema.kinds[schema.names.index(name)] == "category":
            raise DataError(
                f"bins names {name!r}, a category, whose levels have no order to cut: leave it "
                "out, or merge levels in the frame."
            )


def _check_rule(where: str, rule: Any, *, edges: bool) -> None:
    if isinstance(rule, str) and (rule in WORDS or PARTS.match(rule)):
        return
    if isinstance(rule, int | np.integer) and not isinstance(rule, bool):
        if rule < 1:
            raise ValueError(f"{where} is {rule}: a number has at least 1 bin.")
        return
    if edges and not isinstance(rule, str) and np.ndim(rule) == 1:
        cuts = np.asarray(rule)
        finite = cuts.dtype.kind in "iuf" and np.isfinite(cuts).all()
        if cuts.size and finite and (np.diff(cuts) > 0).all():
            return
        raise ValueError(f"{where} holds edges: they must be finite numbers that rise.")
    beyond = " or rising edges" if edges else ", or a mapping of columns to these or to edges"
    raise ValueError(
        f"{where} is {rule!r}: use {', '.join(map(repr, WORDS))}, 'q4' (fourths), an int{beyond}."
    )


def bins_of_values(lib: Any, tally: Tally, rule: Rule) -> Any:
    """The bin (l,) of each value, from 0; `lib` is `numpy` or `jax.numpy`.

    An edge belongs to the bin above it. Bins of equal width lie between the least and the largest
    value that counts.
    """
    if not isinstance(rule, str | int | np.integer):
        return lib.searchsorted(lib.asarray(rule, tally.values.dtype), tally.values, side="right")
    if rule == "exact":
        return lib.arange(tally.values.shape[0])
    parts = PARTS.match(rule) if isinstance(rule, str) else None
    if rule == "quantile" or parts:
        return _of_quantiles(lib, tally, int(parts[1]) if parts else FIFTHS)
    return _of_equal_width(lib, tally, _number_of_bins(lib, tally, rule))


def _of_quantiles(lib: Any, tally: Tally, parts: int) -> Any:
    """Cut at the quantiles 1/parts ... (parts - 1)/parts of the units."""
    shares = np.arange(1, parts) / parts
    cuts = _quantiles(lib, tally, shares)
    return lib.searchsorted(cuts, tally.values, side="right")


def _quantiles(lib: Any, tally: Tally, shares: np.ndarray) -> Any:
    """Quantiles of the units, linear between neighbours (type 7 of Hyndman and Fan, 1996)."""
    up_to = lib.cumsum(tally.counts)
    place = (up_to[-1] - 1) * lib.asarray(shares, tally.values.dtype)
    below = lib.floor(place)
    low, high = (
        tally.values[lib.searchsorted(up_to, at.astype(up_to.dtype), side="right")]
        for at in (below, lib.minimum(below + 1, up_to[-1] - 1))
    )
    return low + (place - below) * (high - low)


def _of_equal_width(lib: Any, tally: Tally, bins: Any) -> Any:
    """The bin of each value: the number of edges low + k (high - low) / bins that it reaches.

    A first guess by division is corrected by one, so that a value at an edge is decided by the
    edge itself.
    """
    low, high = _ends(lib, tally)
    width = (high - low) / bins
    width = lib.where(width > 0, width, 1)
    last = bins - 1
    guess = lib.clip(lib.floor((tally.values - low) / width), 0, last)
    guess = guess + ((guess < last) & (tally.values >= low + (guess + 1) * width))
    guess = guess - ((guess > 0) & (tally.values < low + guess * width))
    return guess.astype(np.int32)


def _ends(lib: Any, tally: Tally) -> tuple[Any, Any]:
    """The least and the largest value that counts."""
    there = tally.counts > 0
    return (
        lib.where(there, tally.values, lib.inf).min(),
        lib.where(there, tally.values, -lib.inf).max(),
    )


def _number_of_bins(lib: Any, tally: Tally, rule: str | int) -> Any:
    """Sturges (1926), Scott (1979) or Freedman and Diaconis (1981), or the number that is given."""
    dtype = tally.values.dtype
    if not isinstance(rule, str):
        return lib.asarray(min(int(rule), MOST), dtype)
    units = tally.counts.sum().astype(dtype)
    if rule == "sturges":
        return lib.ceil(lib.log2(units) + 1)
    width = _scott(lib, tally) if rule == "scott" else _freedman_diaconis(lib, tally)
    low, high = _ends(lib, tally)
    bins = lib.ceil((high - low) / lib.where(width > 0, width, 1) * units ** (1 / 3))
    return lib.clip(lib.where(width > 0, bins, 1), 1, MOST)


def _scott(lib: Any, tally: Tally) -> Any:
    """3.49 sd: times n^(-1/3) the width of a bin."""
    counts = tally.counts.astype(tally.values.dtype)
    units = counts.sum()
    values = lib.where(counts > 0, tally.values, 0)
    mean = (counts * values).sum() / units
    return 3.49 * lib.sqrt((counts * (values - mean) ** 2).sum() / lib.maximum(units - 1, 1))


def _freedman_diaconis(lib: Any, tally: Tally) -> Any:
    """Twice the interquartile range; of wider quantiles where that is 0, Scott's if all are.

    The range between the quantiles a and 1 - a counts as 1 / (2 - 4 a) of the interquartile range,
    a = 1/4, 1/8, ... 1/512.
    """
    width = _scott(lib, tally)
    for power in range(9, 1, -1):
        share = 0.5**power
        low, high = _quantiles(lib, tally, np.array([share, 1 - share]))
        width = lib.where(high > low, (high - low) / (1 - 2 * share), width)
    return width
