"""Health indicators of 253,680 adults (BRFSS 2015): poor health and diabetes."""

from os import PathLike
from typing import NamedTuple

import numpy as np
import pandas as pd

from jcausal.data import DataError, Sample, rows_in_words
from jcausal.datasets._read import read_table


class Indicator(NamedTuple):
    """A column of the file: smallest and largest value, all whole, and what is measured in."""

    low: int
    high: int
    unit: str = ""


TREATMENT, POOR, OUTCOME = "GenHlth", 5, "Diabetes_binary"
HALF = 70_692  # rows of the set's other file with these columns
YES_OR_NO = Indicator(0, 1)
COLUMNS = {
    "HighBP": YES_OR_NO,
    "HighChol": YES_OR_NO,
    "CholCheck": YES_OR_NO,
    "BMI": Indicator(12, 99, "kg/m2"),
    "Smoker": YES_OR_NO,
    "Stroke": YES_OR_NO,
    "HeartDiseaseorAttack": YES_OR_NO,
    "PhysActivity": YES_OR_NO,
    "Fruits": YES_OR_NO,
    "Veggies": YES_OR_NO,
    "HvyAlcoholConsump": YES_OR_NO,
    "AnyHealthcare": YES_OR_NO,
    "NoDocbcCost": YES_OR_NO,
    "MentHlth": Indicator(0, 30, "days"),
    "PhysHlth": Indicator(0, 30, "days"),
    "DiffWalk": YES_OR_NO,
    "Sex": YES_OR_NO,
    "Age": Indicator(1, 13, "of 13"),
    "Education": Indicator(1, 6, "of 6"),
    "Income": Indicator(1, 8),
}
INCOME = (
    "under 10,000 $",
    "10,000 to 15,000 $",
    "15,000 to 20,000 $",
    "20,000 to 25,000 $",
    "25,000 to 35,000 $",
    "35,000 to 50,000 $",
    "50,000 to 75,000 $",
    "75,000 $ and more",
)


def diabetes(path: str | PathLike) -> Sample:
    """Adults in poor health (GenHlth 5) against all others; outcome: diabetes or prediabetes, 0/1.

    A speed and balance study, not an effect: poor health may be the result of diabetes. The whole
    file has 253,680 rows: 12,081 treated, 241,599 controls.

    The treatment is GenHlth = 5, and GenHlth is no covariate. The 20 others are 27 features:

    - 14 are 0 or 1: HighBP, HighChol, CholCheck, Smoker, Stroke, HeartDiseaseorAttack,
      PhysActivity, Fruits, Veggies, HvyAlcoholConsump, AnyHealthcare, NoDocbcCost, DiffWalk, Sex
      (1 = male).
    - 5 are numbers: BMI (kg/m2), MentHlth and PhysHlth (days of the last 30), Age (13 bands: 18 to
      24, then 5 years each, 80 and more), Education (1 to 6).
    - Income is a category of 8 levels, one feature each.

    The paper speaks of 21 indicators, 2 of them continuous, and of 27 features after one-hot
    encoding, and does not say which. With GenHlth left out and the 20 others each used once, income
    alone as a category is the one encoding with 27.

    **Arguments:** `path`: a CSV file, which may be compressed: "diabetes_binary_health_indicators_
    BRFSS2015.csv" of A. Teboul's set (Kaggle, 2021; UCI repository, id 891), numbers written as 1
    or 1.0.

    **Returns:** a `Sample` with the file's own names.

    **Raises:** `DataError` for another file: no CSV, columns that are missing, values that such a
    file does not have. OSError when it cannot be opened.

    **Source:** Centers for Disease Control and Prevention, Behavioral Risk Factor Surveillance
    System 2015; used by Yang and Noor-E-Alam (arXiv 2604.27307), section 8.
    """
    frame = read_table(path, "health indicators", [OUTCOME, TREATMENT, *COLUMNS])
    if len(frame) == HALF:
        raise DataError(
            f"{path} has {HALF:,} rows: it is the file with as many diabetics as others, drawn by "
            "the outcome; use the one of 253,680 rows."
        )
    x = np.stack([_numbers(frame, name, column) for name, column in COLUMNS.items()], axis=1)
    health = _numbers(frame, TREATMENT, Indicator(1, POOR))
    income = list(COLUMNS).index("Income")
    x[:, income] -= 1
    kinds = ["binary" if column is YES_OR_NO else "number" for column in COLUMNS.values()]
    kinds[income] = "category"
    return Sample(
        x,
        health == POOR,
        _numbers(frame, OUTCOME, YES_OR_NO),
        names=list(COLUMNS),
        kinds=kinds,
        units=[column.unit for column in COLUMNS.values()],
        levels={"Income": INCOME},
    )


def _numbers(frame: pd.DataFrame, name: str, column: Indicator) -> np.ndarray:
    """A column as numbers, all of which such a file may hold."""
    values = np.asarray(pd.to_numeric(frame[name], errors="coerce"), np.float64)
    wrong = np.flatnonzero(
        ~((values >= column.low) & (values <= column.high) & (values == np.floor(values)))
    )
    if wrong.size:
        raise DataError(
            f"column {name!r} has {wrong.size} of {values.size} values that are no whole numbers "
            f"from {column.low} to {column.high} ({rows_in_words(wrong)}), such as "
            f"{frame[name].iloc[wrong[0]]}: this is not the file of health indicators."
        )
    return values
