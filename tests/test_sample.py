"""Samples: ladders, codes, and every bad input refused in one sentence."""

import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import draw_sample

import jcausal as jc

X = np.array([[1.0, 5.0], [2.0, 5.5], [3.0, 4.0], [4.0, 9.0]])
T = np.array([0, 1, 0, 1])
Y = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.x64
def test_codes_are_places_among_the_distinct_values():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 7, (50, 3)) * 0.1 + 3
    sample = jc.Sample(x, np.arange(50) % 2)
    for j in range(3):
        values, codes = np.unique(x[:, j], return_inverse=True)
        assert (np.asarray(sample.codes[:, j]) == codes).all()
        assert sample.heights[j] == len(values)
    np.testing.assert_array_equal(sample.points, x)


@pytest.mark.filterwarnings("ignore:covariate '(date|pay)' varies by")
@pytest.mark.x64
def test_large_numbers_that_differ_in_the_last_digit_stay_apart():
    dates = 1e9 + np.arange(6.0)
    dollars = 1e9 + np.array([0, 0.01, 0.02, 0.03, 0.04, 0.05])
    t = np.array([0, 1, 0, 1, 0, 1])
    sample = jc.Sample(np.stack([dates, dollars], 1), t, names=["date", "pay"])
    assert np.asarray(sample.codes).tolist() == [[i, i] for i in range(6)]
    flat = jc.Function(lambda x: jnp.zeros((x.shape[0], 2)))
    paper = jc.FastAHB(tolerance=0.0)
    found = jc.match(sample, paper, surface=flat)
    for i, row in enumerate([1, 3, 5]):
        inside = ((sample.points >= found.lower[i]) & (sample.points <= found.upper[i])).all(1)
        assert found.group(i)[0].tolist() == np.flatnonzero(inside).tolist()
        assert inside[row] and 2 <= inside.sum() < 6
    pay = [f"{v:,.2f}" for v in (found.lower[1, 1], found.upper[1, 1])]
    assert any(word.rstrip("0").rstrip(".") in found.describe(1) for word in pay)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(x=np.where(X == 9, np.nan, X)), r"covariate 'x1' is NaN in 1 of 4 rows \(row 3\)"),
        (dict(x=np.where(X == 9, np.inf, X)), r"covariate 'x1' is infinite in 1 of 4 rows"),
        (dict(x=[[1, "a"], [2, "b"], [3, "c"], [4, "d"]]), "x holds text"),
        (dict(x=np.array([["1", "b"]] * 4, object)), "x holds text in 4 places, first 'b'"),
        (dict(x=np.ones((4, 2))), "covariate 'x0' is 1 in all 4 rows"),
        (dict(x=np.ones(4)), r"x has shape \(4,\)"),
        (dict(x=np.ones((4, 0))), "at least one row and one column"),
        (dict(x=X * 1j), "numbers are needed"),
        (
            dict(t=[0, 1, 2, 1]),
            r"has 1 values other than 0 and 1 \(row 2; its values are 0, 1, 2\)",
        ),
        (dict(t=[0, 0, 0, 0]), "is 0 in all 4 rows: there is no treated unit"),
        (dict(t=[1, 1, 1, 1]), "is 1 in all 4 rows: there is no control unit"),
        (dict(t=[0, 1, np.nan, 1]), "t is NaN in 1 of 4 rows"),
        (dict(t=[0, 1, 1]), r"t has shape \(3,\) but x has 4 rows"),
        (dict(y=[1, 2, 3]), r"y has shape \(3,\) but x has 4 rows"),
        (dict(y=[1, 2, np.nan, 3]), r"y is NaN in 1 of 4 rows \(row 2\)"),
        (dict(y=["1", "2", "3", "4"]), "y holds numbers as text in 4 places"),
        (dict(weight=[1, -1, 1, -2]), r"weight is negative in 2 of 4 rows \(rows 1 and 3\)"),
        (dict(weight=[0, 0, 0, 0]), "weight is 0 in every row"),
        (dict(weight=[1, np.inf, 1, 1]), "weight is infinite"),
        (dict(id=[1, 2, 2, 3]), r"id holds 1 labels in more than one row, first 2 \(rows 1 "),
        (dict(id=[1, 2]), r"id has shape \(2,\)"),
        (dict(cluster=["a", None, "b", "b"]), r"cluster is missing in 1 of 4 rows \(row 1\)"),
        (dict(cluster=[1]), r"cluster has shape \(1,\)"),
        (dict(names=["a", "a"]), r"the name 'a' is given to columns \[0, 1\]"),
        (dict(names=["a"]), "names has 1 entries but x has 2 columns"),
        (dict(kinds=["number", "date"]), "'x1' is of kind 'date'"),
        (dict(valid=[True]), r"valid has shape \(1,\)"),
        (
            dict(kinds=["number", "category"], levels={"x1": ["a", "b"]}),
            r"category 'x1' has 4 values outside its 2 levels",
        ),
    ],
)
def test_bad_input_is_named(change, message, unchecked):
    arguments = dict(x=X, t=T, y=Y) | change
    x, t, y = (arguments.pop(name) for name in "xty")
    with pytest.raises(jc.DataError, match=message):
        jc.Sample(x, t, y, **arguments)


def test_five_rows_are_named_and_the_others_counted():
    x = np.random.default_rng(0).normal(size=(20, 1))
    x[3:12] = np.nan
    with pytest.raises(jc.DataError, match="rows 3, 4, 5, 6, 7 and 4 more"):
        jc.Sample(x, np.arange(20) % 2)


@pytest.mark.extended
def test_padding_may_hold_anything():
    x = np.concatenate([X, [[np.nan, np.inf]]])
    valid = [True] * 4 + [False]
    sample = jc.Sample(x, [*T, 7], [*Y, np.nan], weight=[1, 1, 1, 1, -5], valid=valid)
    plain = jc.Sample(X, T, Y)
    assert sample.heights.tolist() == plain.heights.tolist()
    surface = jc.Function(lambda v: jnp.stack([v[:, 0], v[:, 1]], axis=1))
    method = jc.FastAHB(outcome=surface)
    padded = jc.estimate(sample, method, folds=1)
    whole = jc.estimate(plain, method, folds=1)
    np.testing.assert_allclose(padded.ite, whole.ite)
    assert jc.balance(sample, padded.matching).equals(jc.balance(plain, whole.matching))


def test_outcomes_may_come_later():
    design = jc.Sample(X, T)
    with pytest.raises(jc.DataError, match="attach it with sample.with_outcome"):
        jc.estimate(design, jc.FastAHB(), key=0)
    with pytest.raises(jc.DataError, match="no outcome to train on"):
        jc.fit(design, jc.Ridge())
    surface = jc.Function(lambda v: jnp.stack([v[:, 0], v[:, 0]], axis=1))
    matching = jc.match(design, jc.FastAHB(), surface=surface)
    effects = jc.estimate(design.with_outcome(Y), matching)
    again = jc.estimate(jc.Sample(X, T, Y), jc.FastAHB(outcome=surface), folds=1)
    np.testing.assert_allclose(effects.ite, again.ite)
    with pytest.raises(jc.DataError, match="y is NaN"):
        design.with_outcome([1, 2, 3, np.nan])


def frame():
    return pd.DataFrame(
        {
            "treat": [0, 1, 0, 1, 0],
            "y": [1.0, 2, 3, 4, 5],
            "age": [20, 30, 40, 50, 60],
            "city": ["b", "a", "b", "c", "a"],
            "w": [1.0, 2, 1, 1, 1],
            "who": ["p", "q", "r", "s", "t"],
        }
    )


READ = dict(treatment="treat", outcome="y")


def test_frames_of_every_kind_give_the_same_sample():
    options = dict(READ, covariates=["age", "city"], categorical=["city"], weight="w", id="who")
    first = jc.Sample.from_frame(frame(), units={"age": "years"}, **options)
    assert first.schema.kinds == ("number", "category")
    assert first.schema.levels == ((), ("a", "b", "c"))
    assert first.schema.units == ("years", "")
    assert first.id.tolist() == ["p", "q", "r", "s", "t"]
    declared = frame().assign(city=frame()["city"].astype("category"))
    for other in (pl.from_pandas(frame()), declared, frame().to_dict("list")):
        table = pd.DataFrame(other) if isinstance(other, dict) else other
        sample = jc.Sample.from_frame(table, **options)
        np.testing.assert_array_equal(sample.points, first.points)
        assert sample.schema.levels == first.schema.levels
    array = frame()[["treat", "y", "age", "w"]].to_numpy()
    sample = jc.Sample.from_frame(array, treatment="0", outcome="1")
    assert sample.schema.names == ("2", "3")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {}, "covariate 'city' holds text in 5 places"),
        (
            dict(age=["20", "-", "40", "-", "60"]),
            dict(covariates=["age"]),
            r"'age' holds text in 2 places, first '-' \(rows 1 and 3\): .* or leave empty",
        ),
        (
            dict(age=["20", "30", "40", "50", "60"]),
            dict(covariates=["age"]),
            r"'age' holds numbers as text in 5 places, first '20' .* as astype\(float\) does",
        ),
        (
            dict(y=["-87.81", "1,234.56", "3", "4", "5"]),
            dict(covariates=["age"]),
            r"outcome 'y' holds text in 1 places, first '1,234.56' \(row 1\): .* their thousands",
        ),
        ({}, dict(covariates=["agee"]), "no column 'agee'; did you mean 'age'"),
        ({}, dict(covariates=["treat", "age"]), "column 'treat' has two roles"),
        ({}, dict(covariates=[]), "no covariate column left"),
        ({}, dict(covariates=["age"], categorical=["city"]), "not among the covariates"),
        ({}, dict(treatment="city", covariates=["age"]), "treatment 'city' holds text"),
        (dict(age=[1, None, 3, 4, 5]), dict(covariates=["age"]), "column 'age' is missing"),
        (dict(city=["a", None, "b", "b", "a"]), dict(categorical=["city"]), "column 'city' is m"),
        (dict(treat=[1, 2, 1, 2, 1]), dict(covariates=["age"]), "its values are 1, 2"),
        (dict(age=[3, 3, 3, 3, 3]), dict(covariates=["age"]), "covariate 'age' is 3 in all 5 rows"),
        (
            dict(city="a"),
            dict(covariates=["city"], categorical=["city"]),
            "covariate 'city' is 'a' in all 5 rows",
        ),
        (
            dict(city=pd.Categorical(["b"] * 5, ["a", "b"])),
            dict(covariates=["city"], categorical=["city"]),
            "covariate 'city' is 'b' in all 5 rows",
        ),
        (dict(y=[1, 2, np.inf, 4, 5]), dict(covariates=["age"]), "outcome 'y' is infinite in 1"),
        (dict(y=np.arange(5) * 1e30), dict(covariates=["age"]), "largest number of outcome 'y' is"),
        (dict(y=1e9 + np.arange(5)), dict(covariates=["age"]), "outcome 'y' varies by"),
        (dict(w=1e20), dict(covariates=["age"], weight="w"), "number of weight 'w' .*divide it by"),
        (dict(w=-1), dict(covariates=["age"], weight="w"), "weight 'w' is negative in 5 of 5"),
        (dict(w=0), dict(covariates=["age"], weight="w"), "weight 'w' is 0 in every row"),
    ],
)
def test_bad_frames_are_named(change, options, message, unchecked):
    with pytest.raises(jc.DataError, match=message):
        jc.Sample.from_frame(frame().assign(**change), **(READ | options))


def test_frames_that_are_none(unchecked):
    for word, instead in (
        ("file.csv", r"str is no data frame .* with pd.read_csv\('file.csv'\)"),
        ("file.parquet", r"pd.read_parquet\('file.parquet'\)"),
        (frame().to_dict("records"), r"list is no data frame .* with pd.DataFrame\(rows\)"),
        (frame()["age"], r"Series is no data frame .*: it is one column; .* pd.DataFrame\("),
    ):
        with pytest.raises(jc.DataError, match=instead):
            jc.Sample.from_frame(word, **READ)
    with pytest.raises(jc.DataError, match="no rows"):
        jc.Sample.from_frame(frame().iloc[:0], **READ)
    with pytest.raises(jc.DataError, match="'age' stands twice"):
        jc.Sample.from_frame(frame().rename(columns={"w": "age"}), **READ)
    with pytest.raises(ValueError, match="missing is 'mean'"):
        jc.Sample.from_frame(frame(), missing="mean", **READ)


def test_names_may_be_numpy_text(unchecked):
    found = jc.Sample.from_frame(
        frame(), treatment="treat", outcome="y", covariates=np.array(["age", "w"])
    )
    assert found.schema.names == ("age", "w") and type(found.schema.names[0]) is str
    with pytest.raises(jc.DataError, match="holds 1.5, which names no column"):
        jc.Sample.from_frame(frame(), treatment="treat", covariates=["age", 1.5])


def test_dropped_rows_are_told():
    holed = frame().assign(age=[20, None, 40, 50, 60], w=[1.0, None, None, 1, 1])
    options = dict(READ, covariates=["age"], weight="w", missing="drop")
    with pytest.warns(UserWarning, match=r"dropped 2 of 5 rows .*age 1, w 2; rows 1 and 2"):
        sample = jc.Sample.from_frame(holed, **options)
    assert sample.n == 3
    with pytest.raises(jc.DataError, match="each of the 5 rows"):
        jc.Sample.from_frame(holed.assign(age=np.nan), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jc.Sample.from_frame(frame(), **options).n == 5


def test_rows_taken_keep_their_levels_and_names():
    sample = draw_sample(0, n=30, p=2, category=3, id=[f"u{i}" for i in range(30)])
    rows = np.array([3, 1, 8, 20])
    part = sample.take(rows)
    np.testing.assert_array_equal(part.points, sample.points[rows])
    assert part.id.tolist() == ["u3", "u1", "u8", "u20"]
    assert part.schema == sample.schema


def test_digits_that_float32_loses_are_told():
    """Seconds since 1970 have a grid of 128 s in float32."""
    rng = np.random.default_rng(0)
    seconds = 1.6e9 + rng.integers(0, 60, 40)
    x, t = np.stack([rng.normal(size=40), seconds], 1), np.arange(40) % 2
    if jnp.result_type(float) == jnp.float64:
        assert jc.Sample(x, t).p == 2
        return
    with pytest.warns(UserWarning, match="covariate 'x1' varies by 1.*take a constant off first"):
        jc.Sample(x, t)
    with pytest.raises(jc.DataError, match="y varies by 1.*take a constant off first"):
        jc.Sample(x[:, :1], t, x[:, 1])
    assert jc.Sample(x - [0, 1.6e9], t, x[:, 0] + 1e4).p == 2


@pytest.mark.parametrize(
    "make",
    [lambda f: jc.Sample.from_frame(f, treatment="t"), lambda f: jc.Sample(f[["a"]], f["t"])],
    ids=["frame", "arrays"],
)
def test_warnings_stand_at_the_line_that_called(make):
    frame = pd.DataFrame(dict(a=1e9 + np.arange(20) % 7, t=np.arange(20) % 2))
    with pytest.warns(UserWarning, match="varies by") as told:
        make(frame)
    assert [Path(one.filename).name for one in told] == ["test_sample.py"]
