"""What the command says of a mistake: its own options, and how rows are counted."""

import numpy as np
import pandas as pd
import pytest

from jcausal import cli

ROLES = ["--treatment", "t", "--outcome", "y"]


def people():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40)).round(2)
    t = np.arange(40) % 2
    return pd.DataFrame(dict(a=a, b=b, t=t, y=(a + b + 2 * t).round(2)))


@pytest.fixture
def told(tmp_path, capsys):
    """The sentence with which the command refuses a table."""

    def of(table, *more):
        table.to_csv(tmp_path / "people.csv", index=False)
        place = ["--out", str(tmp_path / "out")]
        assert cli.main(["estimate", str(tmp_path / "people.csv"), *ROLES, *more, *place]) == 2
        return capsys.readouterr().err

    return of


def test_arguments_of_python_are_told_as_options(told):
    frame = people()
    gaps = frame.assign(a=frame["a"].where(frame.index > 1))
    said = told(gaps)
    assert "drop the rows with --missing drop, or match it as it is with --missing indi" in said
    words = frame.assign(**{"home town": np.where(frame["a"] > 0, "x", "z")})
    assert "declare the column a category with --categorical 'home town'." in told(words)
    assert "name some with --covariates NAME." in told(frame[["t", "y"]])
    fine = 1e9 + np.arange(40) % 3
    assert "float64 (set JAX_ENABLE_X64=1 before the command)." in told(frame.assign(y=fine))
    nan = told(frame, "--option", "gamma1=nan")
    assert "jcausal: --option: gamma1 is nan: it must be a finite number" in nan


def test_the_command_says_once_how_rows_are_counted(told):
    frame = people()
    said = told(frame.assign(a=frame["a"].mask(frame.index.isin([13, 31]))))
    assert "(rows 13 and 31, counted from 0 below the header)" in said
    said = told(frame.assign(a=frame["a"].where(frame.index % 5 > 0)))
    assert "(rows 0, 5, 10, 15, 20 and 3 more, counted from 0 below the header)" in said
    said = told(frame.assign(y=frame["y"].where(frame.index != 7, np.inf)))
    assert "outcome 'y' is infinite in 1 of 40 rows (row 7, counted from 0" in said


def test_marks_for_missing_and_thousands_are_named(told):
    frame = people().astype(dict(b=object, y=object))
    dashes = frame.assign(b=frame["b"].where(frame.index % 8 != 3, "-"))
    assert "covariate 'b' holds text in 5 places, first '-' (rows 3, 11, 19" in told(dashes)
    marks = frame.assign(y=frame["y"].where(frame.index != 9, "1,234.56"))
    said = told(marks)
    assert "'y' holds text in 1 places, first '1,234.56' (row 9, " in said
    assert "without marks between their thousands" in said


@pytest.mark.extended
def test_rows_without_an_outcome_are_left_out_beside_the_indicator(tmp_path, capsys):
    frame = people()
    frame = frame.assign(y=frame["y"].mask(frame.index < 2), b=frame["b"].mask(frame.index == 5))
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    more = ["--missing", "indicator", "--surface", "ridge", "--out", str(tmp_path / "out")]
    assert cli.main(["estimate", str(tmp_path / "gaps.csv"), *ROLES, *more]) == 0
    said = capsys.readouterr().err
    assert "note: dropped 2 of 40 rows with missing values (y 2; rows 0 and 1, counted from" in said
