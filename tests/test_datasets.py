"""Real data: LaLonde's published counts and differences, the shared copies, health indicators."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import DATA, shared

import jcausal as jc
from jcausal.datasets import _diabetes


@pytest.mark.parametrize(
    ("controls", "count", "difference"),
    [("experiment", 260, 1794.34), ("psid", 2490, -15204.78), ("cps", 15992, -8497.52)],
)
def test_published_numbers(controls, count, difference):
    sample = jc.datasets.lalonde(controls)
    t, y = np.asarray(sample.t), np.asarray(sample.y, float)
    assert (t.sum(), (~t).sum()) == (185, count)
    assert y[t].mean() - y[~t].mean() == pytest.approx(difference, abs=0.02)
    assert sample.schema.names[0] == "age" and sample.schema.units[-1] == "$"
    assert sample.schema.kinds.count("binary") == 4


def test_the_package_holds_the_shared_copy():
    theirs = pd.read_csv(shared("lalonde_psid_controls.csv"))
    sample = jc.datasets.lalonde("psid")
    ours = sample.points[185:]
    columns = ["age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75"]
    np.testing.assert_array_equal(ours, theirs[columns].to_numpy(float))


def test_other_controls_are_refused(unchecked):
    with pytest.raises(ValueError, match="controls is 'nsw'"):
        jc.datasets.lalonde("nsw")


DIABETES = DATA / "diabetes_brfss2015.csv.gz"


def health_frame(n=400):
    """Made-up rows of the health indicators' file, in its order of columns."""
    rng = np.random.default_rng(3)
    ranges = {name: (c.low, c.high) for name, c in _diabetes.COLUMNS.items()}
    ranges["BMI"] = (15, 60)
    found = {name: rng.integers(low, high + 1, n) for name, (low, high) in ranges.items()}
    found["Income"][:8], found["GenHlth"] = np.arange(8) + 1, rng.integers(1, 6, n)
    return pd.DataFrame(dict(Diabetes_binary=rng.integers(0, 2, n)) | found)


@pytest.mark.parametrize("decimals", [False, True], ids=["integers", "decimals"])
def test_health_indicators_are_read_as_the_file_has_them(tmp_path, decimals):
    frame = health_frame()
    (frame.astype(float) if decimals else frame).to_csv(tmp_path / "health.csv", index=False)
    sample = jc.datasets.diabetes(tmp_path / "health.csv")
    np.testing.assert_array_equal(sample.t, frame["GenHlth"] == 5)
    np.testing.assert_array_equal(sample.y, frame["Diabetes_binary"])
    names = list(sample.schema.names)
    assert "GenHlth" not in names and "Diabetes_binary" not in names
    assert set(names) == set(frame.columns) - {"GenHlth", "Diabetes_binary"}
    for name in names:
        shift = 1 if name == "Income" else 0
        np.testing.assert_array_equal(sample.points[:, names.index(name)] + shift, frame[name])
    kinds = dict(zip(names, sample.schema.kinds))
    assert list(kinds.values()).count("binary") == 14 and kinds["Income"] == "category"
    assert sample.schema.levels[names.index("Income")][7] == "75,000 $ and more"
    assert jc.fit(sample, jc.Ridge()).slope.shape == (27, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename(columns={"Diabetes_binary": "Diabetes_012"}), "Diabetes_binary is not"),
        (lambda f: f.drop(columns=["BMI", "Age"]), "BMI, Age are not among its columns"),
        (lambda f: f.assign(Age=f["Age"] + 20), "'Age' has 400 of 400 values .* from 1 to 13"),
        (lambda f: f.assign(Sex=f["Sex"].replace(1, 2)), r"'Sex' has .* \(rows .*\), such as 2"),
        (lambda f: f.assign(BMI=f["BMI"] + 0.5), "'BMI' has 400 of 400 values that are no whole"),
        (
            lambda f: f.assign(Income=f["Income"].where(f.index > 0)),
            r"'Income' has 1 of .* \(row 0",
        ),
        (lambda f: f.assign(Smoker="yes"), "'Smoker' has 400 of 400 .* such as yes"),
    ],
)
def test_another_file_is_refused(tmp_path, change, words):
    change(health_frame()).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(jc.DataError, match=words):
        jc.datasets.diabetes(tmp_path / "other.csv")


def test_the_file_drawn_by_the_outcome_is_refused(tmp_path):
    frame = health_frame()
    pd.concat([frame] * 177).head(70_692).to_csv(tmp_path / "half.csv", index=False)
    with pytest.raises(jc.DataError, match="70,692 rows: .* drawn by the outcome"):
        jc.datasets.diabetes(tmp_path / "half.csv")


def test_what_is_no_table_is_refused(tmp_path):
    packed = gzip.compress(health_frame().to_csv().encode())
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")
    for name, content in (
        ("empty.csv", b""),
        ("binary.csv", bytes(range(128, 256)) * 9),
        ("short.csv.gz", packed[:200]),
        ("broken.zip", b"PK"),
        ("two.zip", (tmp_path / "two.zip").read_bytes()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(jc.DataError, match=f"{name} is no CSV file"):
            jc.datasets.diabetes(tmp_path / name)


@pytest.mark.skipif(
    not DIABETES.exists(), reason=f"the shared data sets are not here: {DIABETES.name}"
)
def test_counts_of_the_health_indicators():
    sample = jc.datasets.diabetes(DIABETES)
    assert (sample.n, sample.p) == (253_680, 20)
    assert (int(sample.t.sum()), int((~sample.t).sum())) == (12_081, 241_599)
    assert int(sample.y.sum()) == 35_346
    body = sample.points[:, sample.schema.names.index("BMI")]
    assert (body.min(), body.max()) == (12, 98)
