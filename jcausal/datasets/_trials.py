"""Randomised trials whose effects differ by group, read from files of the user."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from jcausal.data import DataError, Sample
from jcausal.datasets._lalonde import NAMES
from jcausal.datasets._read import read_table

SCORES = ("gktreadss", "gktmathss", "gktlistss", "gkwordskillss")
CLASSES = {"SMALL CLASS": 1, "REGULAR CLASS": 0}
PUPILS = {
    "gkschid": "school",
    "gksurban": "place",
    "gender": "gender",
    "race": "race",
    "birthyear": "birth year",
    "gkfreelunch": "free lunch",
}
NSW = {
    name: word for name, word in NAMES.items() if name != "re74"
}  # known of some of its men only
HEADACHE = {
    "age": "age",
    "sex": "sex",
    "migraine": "migraine",
    "chronicity": "chronicity",
    "pk1": "headache",
    "f1": "headache days",
}
GARGLE = {
    "preOp_gender": "gender",
    "preOp_asa": "ASA",
    "preOp_calcBMI": "BMI",
    "preOp_age": "age",
    "preOp_mallampati": "Mallampati",
    "preOp_smoking": "smoking",
    "preOp_pain": "pain",
    "intraOp_surgerySize": "surgery",
}
BASELINE = {
    "ctotal_pcmonth_bsl": "consumption",
    "cfood_pcmonth_bsl": "food",
    "cdurable_pcmonth_bsl": "durables",
    "index_foodsecurity_bsl": "food security",
    "asset_index_bsl": "assets",
    "loan_totalamt_bsl": "loans",
    "sav_depositamt_bsl": "savings",
    "iagri_month_bsl": "farm income",
    "ranimals_month_bsl": "animal income",
    "percep_econ_bsl": "own view",
}
ENDLINES = (1, 2, 3, 4)


def star(path: str | PathLike) -> Sample:
    """Pupils of Project STAR in small (treated) and regular kindergarten classes, without an aide.

    Outcome: the sum of four Stanford scores (reading, mathematics, listening, word skills), known
    for 3,712 pupils of 79 schools: 1,723 treated, 1,989 controls. Pupils with a score missing are
    left out.

    **Arguments:** `path`: a CSV file with the columns gkclasstype, gkschid, gktreadss, gktmathss,
    gktlistss, gkwordskillss, gksurban, gender, race, birthyear and gkfreelunch of STAR's file of
    students.

    **Returns:** a `Sample` with school (79 levels), place, gender, race, birth year, free lunch;
    missing ones are levels.

    **Raises:** `DataError` for another file. OSError when it cannot be opened.

    **Source:** Achilles et al. (2008), doi:10.7910/DVN/SIWH9F.
    """
    frame = read_table(path, "Project STAR", ["gkclasstype", *SCORES, *PUPILS])
    kept = frame[frame["gkclasstype"].isin(list(CLASSES)) & frame[list(SCORES)].notna().all(axis=1)]
    if kept.empty:
        raise DataError(f"{path} has no pupil of a small or regular class with all four scores.")
    return _sample(
        kept,
        PUPILS,
        treated=kept["gkclasstype"].map(CLASSES),
        outcome=kept[list(SCORES)].sum(axis=1),
        categorical=["school", "place", "gender", "race", "free lunch"],
    )


def nsw(path: str | PathLike) -> Sample:
    """LaLonde's own sample of the National Supported Work experiment; outcome: income 1978 in $.

    722 men, 297 treated (difference of means 886.30); `jc.datasets.lalonde("experiment")` are
    those of Dehejia and Wahba.

    **Arguments:** `path`: a CSV file with treat, age, education, black, hispanic, married,
    nodegree, re75 and re78.

    **Returns:** a `Sample` with age, education, black, hispanic, married, without degree, income
    1975.

    **Raises:** `DataError` for another file. OSError when it cannot be opened.

    **Source:** LaLonde (1986), American Economic Review 76(4).
    """
    frame = read_table(path, "the NSW experiment", ["treat", "re78", *NSW])
    units = {"age": "years", "education": "years", "income 1975": "$"}
    return _sample(frame, NSW, treated=frame["treat"], outcome=frame["re78"], units=units)


def acupuncture(path: str | PathLike) -> Sample:
    """Patients with headache, half of them sent to acupuncture; outcome: -score after a year.

    The score (pk5, lower is better) has its sign turned. It is known for 301 patients, 161 treated
    and 140 controls; the others are left out.

    **Arguments:** `path`: a CSV file with group, pk5, age, sex, migraine, chronicity, pk1 and f1.

    **Returns:** a `Sample` with age, sex, migraine, chronicity (years), headache (the score before)
    and headache days.

    **Raises:** `DataError` for another file. OSError when it cannot be opened.

    **Source:** Vickers (2006), Trials 7:15.
    """
    frame = read_table(path, "the acupuncture trial", ["group", "pk5", *HEADACHE])
    kept = frame[frame["pk5"].notna()]
    units = {"age": "years", "chronicity": "years", "headache days": "days"}
    return _sample(kept, HEADACHE, treated=kept["group"], outcome=-kept["pk5"], units=units)


def licorice(path: str | PathLike) -> Sample:
    """Patients who gargled licorice or sugar water before an operation; outcome: -pain after 4 h.

    The pain in the throat (0 to 10) has its sign turned. It is known for 233 patients, 117 treated
    and 116 controls; the others are left out.

    **Arguments:** `path`: a CSV file with treat, postOp4hour_throatPain, preOp_gender, preOp_asa,
    preOp_calcBMI, preOp_age, preOp_mallampati, preOp_smoking, preOp_pain, intraOp_surgerySize.

    **Returns:** a `Sample` with gender, ASA, BMI, age, Mallampati, smoking, pain, surgery.

    **Raises:** `DataError` for another file. OSError when it cannot be opened.

    **Source:** Ruetzler et al. (2013), Anesthesia and Analgesia 117(3).
    """
    outcome = "postOp4hour_throatPain"
    frame = read_table(path, "the licorice trial", ["treat", outcome, *GARGLE])
    kept = frame[frame[outcome].notna()]
    units = {"age": "years", "BMI": "kg/m2"}
    return _sample(kept, GARGLE, treated=kept["treat"], outcome=-kept[outcome], units=units)


def graduation(path: str | PathLike) -> Sample:
    """Poor households in Pakistan, half of them in a graduation programme; with baselines.

    Outcome: consumption a head and month two years later less that before, in $ at purchasing
    power. 854 households, 446 treated.

    **Arguments:** `path`: a CSV file with treatment, ctotal_pcmonth_end and the columns with _bsl
    for consumption, food, durables, food security, assets, loans, savings, incomes and percep_econ.

    **Returns:** a `Sample` with ten covariates from before the programme.

    **Raises:** `DataError` for another file. OSError when it cannot be opened.

    **Source:** Banerjee et al. (2015), Science 348(6236), doi:10.7910/DVN/NHIXNT.
    """
    end, start = "ctotal_pcmonth_end", "ctotal_pcmonth_bsl"
    frame = read_table(path, "the Pakistan graduation programme", ["treatment", end, *BASELINE])
    return _sample(frame, BASELINE, treated=frame["treatment"], outcome=frame[end] - frame[start])


def tup(path: str | PathLike, *, endline: int = 2) -> Sample:
    """Poor households in India, half of them in the programme for the ultra-poor; no baselines.

    Outcome: consumption a head and month at an endline (1 to 4: after 18 months, 3, 7 and 10
    years). Households without it, or without that of the first endline, are left out. The file has
    nothing from before the programme: the one covariate, consumption at the first endline, is an
    outcome itself. Groups by it show how allocations work, not where the programme helps.

    **Arguments:** `path`: a CSV file with treatment and pc_exp_month_v2_el1 to _el4; `endline` 2, 3
    or 4.

    **Returns:** a `Sample` with the covariate "consumption after 18 months".

    **Raises:** `DataError` for another file; ValueError for another endline. OSError when it
    cannot be opened.

    **Source:** Banerjee, Duflo and Sharma (2021), AER: Insights 3(4).
    """
    if endline not in ENDLINES[1:]:
        raise ValueError(f"endline is {endline}: use 2, 3 or 4.")
    names = [f"pc_exp_month_v2_el{k}" for k in ENDLINES]
    frame = read_table(path, "the programme for the ultra-poor", ["treatment", *names])
    kept = frame[frame[[names[0], names[endline - 1]]].notna().all(axis=1)]
    words = {names[0]: "consumption after 18 months"}
    return _sample(kept, words, treated=kept["treatment"], outcome=kept[names[endline - 1]])


def _sample(
    frame: Any,
    names: Mapping[str, str],
    *,
    treated: Any,
    outcome: Any,
    categorical: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
) -> Sample:
    """Renamed covariates beside treatment and outcome; gaps are levels of their own."""
    parts = {"treated": np.asarray(treated), "outcome": np.asarray(outcome)}
    columns = parts | {word: frame[name].to_numpy() for name, word in names.items()}
    return Sample.from_frame(
        pd.DataFrame(columns),
        treatment="treated",
        outcome="outcome",
        categorical=categorical,
        missing="indicator",
        units=units or {},
    )
