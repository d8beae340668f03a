"""The bench of matching methods: its small version runs, and the comparators' tables are made."""

import importlib

import numpy as np
import pandas as pd
import pytest
from conftest import shared

import jcausal as jc

comparators = pytest.importorskip("bench._comparators", reason="the bench is not in the wheel")


@pytest.mark.extended
@pytest.mark.parametrize("part", ["nearest", "strata", "networks", "learned"])
def test_a_part_gives_seconds(part):
    if part == "learned":
        shared("lalonde_matchit.csv")
    table = importlib.import_module(f"bench._matching_{part}").run(True)
    seconds = table[[name for name in table.columns if name.startswith("next")]]
    assert len(table) and (seconds.to_numpy(float) > 0).all()


@pytest.mark.extended
def test_comparators_are_asked_on_the_papers_processes():
    records = pd.DataFrame(comparators.row_of_runs("2: binary/const", "scripts", 1))
    assert set(records["method"]) == set(comparators.COMPARED["2: binary/const"])
    found = comparators.table(records)
    assert found.loc[0, "paper: CEM"] == 0.02 and found.loc[0, "CEM"].startswith("0.0")


def test_the_best_setting_counts():
    rows = [
        dict(setting=s, error=e, matched=1.0) for s, e in ((0, 0.4), (0, 0.2), (1, 0.1), (1, 0.3))
    ]
    assert comparators._best(pd.DataFrame(rows)).startswith("0.200 (")
    none = pd.DataFrame([dict(setting=0, error=np.nan, matched=0.0)])
    assert comparators._best(none) == "NA"


def test_errors_of_a_method_that_matches_nobody_are_na():
    data = jc.simulate.ahb_table2("quad/const+4", key=0)
    found = comparators.asked(data, jc.CEM(bins="exact"), 0)
    assert found["matched"] == 0 and np.isnan(found["error"])
