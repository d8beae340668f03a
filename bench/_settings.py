"""The settings of Fast AHB on Table 2: what the defaults rest on."""

import pandas as pd

import jcausal as jc
from bench._published import PAPER
from bench._table2 import COARSE

READING = "scripts"
ROWS = [row for row in PAPER if row not in COARSE]


def _cell(slack: float, reach: float | None) -> str:
    return f"slack {slack:g}, " + ("no reach" if reach is None else f"reach {reach:g}")


PAIRS = [
    *((slack, None) for slack in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)),
    *((0.1, reach) for reach in (0.01, 0.03, 0.1, 0.2, 0.3, 0.5)),
    *((slack, reach) for slack in (0.01, 0.03, 0.3) for reach in (0.1, 0.2, 0.3)),
]
DEFAULT = _cell(0.1, 0.2)
SETTINGS = {
    **{_cell(slack, reach): jc.FastAHB(slack=slack, reach=reach) for slack, reach in PAIRS},
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
