"""The floor of Exact AHB on Table 2: what its default rests on."""

import pandas as pd

import jcausal as jc

READING = "scripts"
ROWS = (
    "none/const",
    "box/const",
    "linear/const",
    "quad/const",
    "box/box",
    "binary/const",
    "mixed/const",
)
FLOORS = (0.0, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
SETTINGS = {f"floor {floor:g}": jc.ExactAHB(floor=floor) for floor in FLOORS}
DEFAULT = f"floor {jc.ExactAHB().floor:g}"


def table(records: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Means of a measure by floor and row, in the order of the floors; BART where it has one."""
    rows = list(records["row"].unique())
    lines = []
    for name in (*SETTINGS, "BART"):
        seen = records[records["method"] == name].groupby("row")[measure].mean()
        if seen.isna().all():
            continue
        said = f"{name}: the default" if name == DEFAULT else name
        lines.append({"setting": said, **{row: seen[row] for row in rows}, "mean": seen.mean()})
    return pd.DataFrame(lines)
