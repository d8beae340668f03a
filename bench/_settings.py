"""The settings of Fast AHB on Table 2: what the defaults rest on."""

import pandas as pd

import jcausal as jc
from bench._published import PAPER
from bench._table2 import COARSE

READING = "scripts"
ROWS = [row for row in PAPER if row not in COARSE]


def _cell(tolerance: float, caliper: float | None) -> str:
    within = "no caliper" if caliper is None else f"caliper {caliper:g}"
    return f"tolerance {tolerance:g}, {within}"


PAIRS = [
    *((tolerance, None) for tolerance in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)),
    *((0.1, caliper) for caliper in (0.1, 0.173, 0.316, 0.447, 0.548, 0.707)),
    *((tolerance, caliper) for tolerance in (0.01, 0.03, 0.3) for caliper in (0.316, 0.447, 0.548)),
]
DEFAULT = _cell(0.1, 0.447)
SETTINGS = {
    **{_cell(one, other): jc.FastAHB(tolerance=one, caliper=other) for one, other in PAIRS},
    "the defaults with 5 points": jc.FastAHB(points=5),
    "the defaults with a lattice of 16 points": jc.FastAHB(grid="lattice"),
    **{f"the defaults with levels {k}": jc.FastAHB(levels=k) for k in (8, 16, 32, 64)},
}


def table(records: pd.DataFrame) -> pd.DataFrame:
    """Mean error by setting and row, ordered by the mean over rows."""
    lines = []
    rows = [row for row in ROWS if row in set(records["row"])]
    for name in SETTINGS:
        seen = records[records["method"] == name]
        by_row = seen.groupby("row")["error"].mean()
        said = f"{name}: the defaults" if name == DEFAULT else name
        line = {"setting": said, **{row: by_row[row] for row in rows}}
        lines.append(line | {"mean": by_row.mean(), "median group": seen["size"].median()})
    return pd.DataFrame(lines).sort_values("mean", ignore_index=True)
