"""Picture: balance before and after, of one matching, of several, or by groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jcausal.data import DataError, as_pandas
from jcausal.plot._plots import BLUE, GREY, ORANGE, _axes, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 120  # more are no picture, and matplotlib refuses thousands
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"  # told apart without colour
SERIES = len(MARKERS)


def love(table: Any, *, threshold: float = 0.1, ax: Axes | None = None) -> Axes:
    """Love plot: absolute standardised mean differences before and after matching.

    Of a table of several matchings (or of groups) each has its own mark. Of more than 120 rows
    those that differ most are drawn, and the title says so.

    **Arguments:** `table` as `jc.balance` gives it, of any kind of frame; `threshold` to mark;
    `ax`.

    **Returns:** the axes. ValueError for another table, for both matchings and groups in one, and
    for more than six of them.
    """
    held = _balance_table(table)
    before, after = _by_covariate(held)
    worst = np.nanmax(np.c_[before, after, np.zeros(len(before))], axis=1)
    kept = np.sort(np.argsort(worst, kind="stable")[-ROWS:])
    order = before.iloc[kept].sort_values(kind="stable", na_position="first").index
    before, after = before[order], after.loc[order]
    names = [plain(name, 40) for name in order]
    wide = max(map(len, names), default=0)
    several = len(after.columns) > 1
    owned = ax is None
    ax = _axes(ax, (7 + 1.5 * several + 0.08 * max(wide - 22, 0), 1.2 + 0.32 * len(order)))
    place = np.arange(len(order))
    ends = np.c_[before, after]
    ax.hlines(place, np.nanmin(ends, axis=1), np.nanmax(ends, axis=1), color=GREY, lw=0.8)
    ax.scatter(before, place, facecolors="none", edgecolors=GREY, s=42, label="before")
    for name, marker, colour in zip(after.columns, MARKERS, COLOURS):
        look: dict[str, Any] = dict(s=42, marker=marker, label=plain(name or "after"), zorder=3)
        look |= dict(lw=0.6, edgecolors="black") if several else {}
        ax.scatter(after[name], place, c=colour, **look)
    ax.axvline(threshold, color="black", ls="--", lw=0.8, label=f"threshold {threshold:g}")
    ax.axvline(0, color="black", lw=0.8)
    ax.set_yticks(place, names)
    few = f" ({ROWS} of {len(worst):,} rows)" if len(worst) > ROWS else ""
    name = str(held.attrs.get("estimand", "")).upper()
    ax.set(
        xlabel="absolute mean difference (standard deviations; shares: raw)",
        title=f"Balance before and after matching {name}".strip() + few,
    )
    if several:
        legend(ax, beside=owned)
    else:
        ax.legend(loc="best", fontsize="small")
    return ax


def _by_covariate(held: Any) -> tuple[pd.Series, pd.DataFrame]:
    """|SMD| before, and after: a column a matching or group; a single one is called ""."""
    keys = [key for key in ("method", "group") if key in held.columns]
    if len(keys) == 2:
        raise ValueError(
            "the table is of several matchings by groups: draw the rows of one group, such as "
            "table[table['group'] == ...], without that column."
        )
    size: Any = held[["smd_before", "smd_after"]].abs()
    if not keys:
        return size["smd_before"], size[["smd_after"]].set_axis([""], axis=1)
    of = held[keys[0]].astype(str)
    series = of.drop_duplicates().tolist()
    if len(series) > SERIES:
        raise ValueError(
            f"the table holds {len(series)} {keys[0]}s, and more than {SERIES} cannot be told "
            "apart: draw the rows of some."
        )
    rows = held.index.drop_duplicates()
    columns = {name: size.loc[of == name, "smd_after"].reindex(rows) for name in series}
    before = size["smd_before"].groupby(level=0, sort=False).max().reindex(rows)
    return before, pd.DataFrame(columns)


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
