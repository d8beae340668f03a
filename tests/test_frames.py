"""Frames of every kind: the same data give equal samples, and come back as what they were."""

import datetime
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jcausal as jc
from jcausal.data import like

N = 12
DATA = dict(
    t=[False, True] * 6,
    y=[0.5 * i for i in range(N)],
    age=[20, 30, None, 41, 52, 33, 24, 65, 36, None, 58, 29],
    pay=[Decimal(i * i) / 4 if i % 5 else None for i in range(N)],
    wed=[True, None, False, *[True, False, True] * 3],
    town=["b", "a", None, "c"] * 3,
    who=[f"u{i}" for i in range(N)],
    area=[2**53 + 1 + i % 4 for i in range(N)],
)
ARROW = pa.table(DATA)


def with_categories(table):
    place = table.column_names.index("town")
    return table.set_column(place, "town", table["town"].dictionary_encode())


def enum_relation():
    con = duckdb.connect()
    con.register("data", ARROW)
    con.execute("create table held as select * replace (town::enum('c','b','a') as town) from data")
    return con.table("held")


LEVELS = pl.Enum(["c", "b", "a"])
FRAMES = {
    "pandas": lambda: pd.DataFrame(DATA).astype({"town": "category"}),
    "pandas objects": lambda: pd.DataFrame(DATA, dtype=object),
    "pandas nullable": lambda: pd.DataFrame(DATA).convert_dtypes(),
    "pandas arrow": lambda: with_categories(ARROW).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.DataFrame(DATA),
    "polars categories": lambda: pl.DataFrame(DATA).with_columns(
        pl.col("town").cast(pl.Categorical)
    ),
    "polars enum": lambda: pl.DataFrame(DATA).with_columns(pl.col("town").cast(LEVELS)),
    "polars lazy": lambda: pl.LazyFrame(DATA),
    "pyarrow": lambda: ARROW,
    "pyarrow dictionary": lambda: with_categories(ARROW),
    "duckdb": lambda: duckdb.from_arrow(ARROW),
    "duckdb enum": enum_relation,
}
OPTIONS = dict(treatment="t", outcome="y", id="who", cluster="area", missing="indicator")


@pytest.fixture(scope="module")
def samples():
    return {
        name: jc.Sample.from_frame(make(), categorical=["town"], **OPTIONS)
        for name, make in FRAMES.items()
    }


@pytest.mark.parametrize("name", FRAMES)
def test_the_same_data_give_equal_samples(samples, name):
    first, sample = samples["pandas"], samples[name]
    assert sample.schema == first.schema
    assert sample.home == name.split()[0]
    assert sample.id.tolist() == first.id.tolist() == DATA["who"]
    for field in ("x", "t", "y", "weight", "codes", "ladder", "rungs", "fill", "row", "cluster"):
        np.testing.assert_array_equal(getattr(sample, field), getattr(first, field))
    np.testing.assert_array_equal(first.points[:, 0], np.array(DATA["age"], float))
    assert first.schema.names == ("age", "age missing", "pay", "pay missing", "wed", "town")
    assert first.schema.levels[-2:] == (("0", "1", "missing"), ("a", "b", "c", "missing"))


@pytest.mark.parametrize(
    "name", ["pandas arrow", "polars enum", "pyarrow dictionary", "duckdb enum"]
)
def test_declared_categories_need_no_word(name):
    sample = jc.Sample.from_frame(FRAMES[name](), **OPTIONS)
    assert sample.schema.levels[-1] == ("a", "b", "c", "missing")


def test_numbered_categories_and_arrays():
    code = pd.Series([30, 4, 30, None] * 3, dtype="Int64")
    frame = pd.DataFrame(dict(t=DATA["t"], code=code))
    options = dict(treatment="t", missing="indicator")
    by_name = jc.Sample.from_frame(frame, categorical=["code"], **options)
    arrow = pa.table(dict(t=DATA["t"], code=pa.array([30, 4, 30, None] * 3).dictionary_encode()))
    declared = frame.astype({"code": "category"})
    for other in (arrow, declared):
        sample = jc.Sample.from_frame(other, **options)
        assert sample.schema == by_name.schema
        assert (sample.codes == by_name.codes).all()
    assert by_name.schema.levels == (("4", "30", "missing"),)
    array = np.array([[0, 5.0, np.nan], [1, 6.0, 1.0], [0, 7.0, 2.5], [1, 8.0, 1.0]])
    sample = jc.Sample.from_frame(array, treatment="0", missing="indicator")
    assert sample.schema.names == ("1", "2", "2 missing") and sample.home == "pandas"


TIMES = [datetime.date(2020, 1, 1 + i) for i in range(N)]


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "duckdb"])
@pytest.mark.parametrize("as_category", [False, True])
def test_dates_are_refused(kind, as_category, unchecked):
    for values in (TIMES, [datetime.datetime.combine(d, datetime.time()) for d in TIMES]):
        frame = like(kind, pd.DataFrame(dict(t=DATA["t"], day=values)))
        with pytest.raises(jc.DataError, match="covariate 'day' holds dates or times: make it"):
            jc.Sample.from_frame(frame, treatment="t", categorical=["day"] if as_category else [])
    named = like(kind, pd.DataFrame(dict(t=DATA["t"], age=range(N), day=TIMES)))
    assert jc.Sample.from_frame(named, treatment="t", id="day").n == N


def test_gaps_are_dropped_or_refused_alike(unchecked):
    for make in FRAMES.values():
        options = OPTIONS | dict(categorical=["town"])
        with pytest.raises(jc.DataError, match=r"'age' is missing \(null or NaN\) in 2 of 12 rows"):
            jc.Sample.from_frame(make(), **(options | dict(missing="error")))
        with pytest.warns(UserWarning, match=r"dropped 7 of 12 rows"):
            sample = jc.Sample.from_frame(make(), **(options | dict(missing="drop")))
        assert sample.id.tolist() == ["u3", "u4", "u7", "u8", "u11"]
    with pytest.raises(jc.DataError, match="covariate 'tags' holds values that are no numbers"):
        jc.Sample.from_frame(pl.DataFrame(dict(t=DATA["t"], tags=[[1, 2]] * N)), treatment="t")


def test_what_is_no_frame_is_refused(unchecked):
    with pytest.raises(jc.DataError, match="dict is no data frame"):
        jc.Sample.from_frame(DATA, **OPTIONS)
