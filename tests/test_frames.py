"""Frames of every kind: the same data give equal samples, and come back as what they were."""

import datetime
from decimal import Decimal

import duckdb
import jax.numpy as jnp
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

import jcausal as jc
from jcausal.data import as_pandas, like

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
    for field in ("x", "t", "y", "weight", "codes", "ladder", "heights", "fill", "row", "cluster"):
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
        inner = [name for name in DATA if name not in ("t", "y", "who", "area")]
        options = OPTIONS | dict(categorical=["town"], cluster=None, covariates=inner)
        with pytest.raises(jc.DataError, match=r"'age' is missing \(null or NaN\) in 2 of 12 rows"):
            jc.Sample.from_frame(make(), **(options | dict(missing="error")))
        with pytest.warns(UserWarning, match=r"dropped 7 of 12 rows"):
            sample = jc.Sample.from_frame(make(), **(options | dict(missing="drop")))
        assert sample.id.tolist() == ["u3", "u4", "u7", "u8", "u11"]
    with pytest.raises(jc.DataError, match="covariate 'tags' holds a list in 12 places"):
        jc.Sample.from_frame(pl.DataFrame(dict(t=DATA["t"], tags=[[1, 2]] * N)), treatment="t")


ROWS = dict(t=[0, 1, 0, 1, 0, 1], x=[None, 2.0, 3.0, None, 5.0, 6.0])
ROWS["y"] = [1.0, 4.0, 2.0, 3.0, 5.0, 0.0]
NAMED = dict(treatment="t", outcome="y", missing="drop")


def eager(frame):
    return nw.from_native(frame.df() if isinstance(frame, duckdb.DuckDBPyRelation) else frame)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "duckdb"])
def test_rows_that_stay_keep_the_number_that_they_had(kind, unchecked):
    with pytest.warns(UserWarning, match="dropped 2 of 6 rows"):
        sample = jc.Sample.from_frame(like(kind, pd.DataFrame(ROWS)), **NAMED)
    assert sample.id.tolist() == [1, 2, 4, 5]
    back = eager(sample.to_frame())
    assert back["id"].to_list() == [1, 2, 4, 5] and back["outcome"].to_list() == [4, 2, 5, 0]
    plain = jc.Sample([[2.0], [3.0], [5.0], [6.0]], [1, 0, 0, 1], [4.0, 2.0, 5.0, 0.0])
    for field in ("x", "t", "y", "codes", "row"):  # and no draw follows the numbers
        np.testing.assert_array_equal(getattr(sample, field), getattr(plain, field))
    surface = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1))
    matching = jc.match(sample, jc.AHB(), surface=surface)
    assert eager(matching.to_frame())["id"].to_list() == [1, 2, 4, 5]
    frame = eager(jc.estimate(sample, matching).to_frame())
    assert frame["id"].to_list() == [1, 5] and frame["y"].to_list() == [4, 0]


def test_a_unique_index_names_the_rows():
    frame = pd.DataFrame(ROWS)
    for index, missing, kept in (
        (list("abcdef"), "drop", ["b", "c", "e", "f"]),
        ([7, 7, 8, 9, 10, 11], "drop", [1, 2, 4, 5]),
        (["a", None, "c", "d", "e", "f"], "drop", [1, 2, 4, 5]),
        ([5, 4, 3, 2, 1, 0], "indicator", [5, 4, 3, 2, 1, 0]),
        ([5, 4, 3, 2, 1, 1], "indicator", [0, 1, 2, 3, 4, 5]),
    ):
        made = frame.set_index(pd.Index(index))
        if missing == "drop":
            with pytest.warns(UserWarning, match="dropped 2 of 6"):
                sample = jc.Sample.from_frame(made, **NAMED)
        else:
            sample = jc.Sample.from_frame(made, **(NAMED | dict(missing=missing)))
        assert sample.id.tolist() == kept
    filled = frame.dropna()
    assert jc.Sample.from_frame(filled, treatment="t", outcome="y").id.tolist() == [1, 2, 4, 5]
    with_id = frame.assign(who=list("uvwxyz")).set_index(pd.Index(list("abcdef")))
    with pytest.warns(UserWarning, match="dropped 2 of 6"):
        sample = jc.Sample.from_frame(with_id, id="who", **NAMED)
    assert sample.id.tolist() == ["v", "w", "y", "z"]


def test_an_index_is_no_honesty_of_its_own():
    other = pd.DataFrame(ROWS).fillna(1.0).set_index(pd.Index([10, 11, 12, 13, 14, 15]))
    one, two = (jc.Sample.from_frame(f, treatment="t", outcome="y") for f in (other, other + 0))
    assert one.id.tolist() == two.id.tolist() == list(range(10, 16))
    plain = jc.Sample(other[["x"]].to_numpy(), other["t"].to_numpy(), other["y"].to_numpy())
    np.testing.assert_array_equal(one.row, plain.row)


def test_the_parts_of_a_sample_keep_its_row_numbers():
    whole = jc.Sample(np.arange(40.0)[:, None], [0, 1] * 20, np.arange(40.0))
    train, test = jc.split(whole, key=0)
    for part in (train, test):
        assert part.id.tolist() == part.points[:, 0].tolist()
        assert part.to_frame()["id"].tolist() == part.to_frame()["outcome"].tolist()
    assert sorted([*train.id, *test.id]) == list(range(40))
    assert "id" not in whole.to_frame().columns
    assert whole.take(np.array([30, 4])).take(np.array([1])).id.tolist() == [4]


def unnamed(tmp_path):
    """A frame's file, as pandas, polars, Arrow and DuckDB read it."""
    frame = pd.DataFrame(dict(t=DATA["t"], age=np.arange(N) % 5, y=DATA["y"]))
    frame.index += 100
    frame.to_csv(tmp_path / "once.csv")
    pd.read_csv(tmp_path / "once.csv").to_csv(tmp_path / "twice.csv")
    yield pd.read_csv(tmp_path / "once.csv"), "'Unnamed: 0'"
    yield pd.read_csv(tmp_path / "twice.csv"), "'Unnamed: 0.1', 'Unnamed: 0'"
    yield pl.read_csv(tmp_path / "once.csv"), "''"
    yield pl.read_csv(tmp_path / "twice.csv"), "'', 'Unnamed: 0'"
    yield pa_csv.read_csv(tmp_path / "once.csv"), "''"
    yield duckdb.read_csv(str(tmp_path / "once.csv")), "'column0'"
    yield pa.Table.from_pandas(frame.set_axis(frame.index**2)), "'__index_level_0__'"


def test_row_names_without_a_header_are_no_covariates(tmp_path, unchecked):
    for frame, name in unnamed(tmp_path):
        with pytest.warns(UserWarning, match=f"the column {name} has no name of its own"):
            sample = jc.Sample.from_frame(frame, treatment="t", outcome="y")
        assert sample.schema.names == ("age",) and sample.id.tolist() == list(range(N))
        with pytest.warns(UserWarning, match=f"the column {name} has no name of its own"):
            told = as_pandas(jc.describe(frame, treatment="t", outcome="y"))
        assert told.reset_index()["column"].tolist() == ["t", "y", "age"]
    once = pd.read_csv(tmp_path / "once.csv")
    asked = jc.Sample.from_frame(once, treatment="t", covariates=["Unnamed: 0", "age"])
    assert asked.schema.names == ("Unnamed: 0", "age")
    named = jc.Sample.from_frame(once, treatment="t", outcome="y", id="Unnamed: 0")
    assert named.id.tolist() == list(range(100, 100 + N))
    later = jc.Sample.from_frame(once[["age", "t", "Unnamed: 0"]], treatment="t")
    assert later.schema.names == ("age", "Unnamed: 0")  # not the first: somebody's own
    array = jc.Sample.from_frame(once[["t", "age", "y"]].to_numpy(), treatment="0", outcome="2")
    assert array.schema.names == ("1",)


def test_what_is_no_frame_is_refused(unchecked):
    with pytest.raises(jc.DataError, match="list is no data frame"):
        jc.Sample.from_frame([DATA], **OPTIONS)


def test_covariates_named_like_our_own_columns_are_all_kept():
    frame = pd.DataFrame(
        {
            "t": [0, 1] * 5,
            "treated": np.arange(10.0),
            "treated (covariate)": np.arange(10.0) ** 2,
            "outcome": np.arange(10.0)[::-1],
        }
    )
    sample = jc.Sample.from_frame(frame, treatment="t")
    out = sample.with_outcome(np.arange(10)).to_frame()
    np.testing.assert_array_equal(out["treated"], frame["t"])
    np.testing.assert_array_equal(out["treated (covariate)"], frame["treated (covariate)"])
    np.testing.assert_array_equal(out["treated (covariate) (covariate)"], frame["treated"])
    np.testing.assert_array_equal(out["outcome (covariate)"], frame["outcome"])
    assert out.shape == (10, 5)


@pytest.mark.extended
def test_an_index_of_several_levels_names_the_rows_by_tuples():
    x, t = np.random.default_rng(0).normal(size=12), np.arange(12) % 2
    y = x + 2.0 * t
    pairs = [("north" if i < 6 else "south", i % 6) for i in range(12)]
    index = pd.MultiIndex.from_tuples(pairs, names=["region", "number"])
    frame = pd.DataFrame(dict(x=x, t=t, y=y), index=index)
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y")
    assert sample.id.tolist() == pairs
    np.testing.assert_array_equal(sample.row, jc.Sample(x[:, None], t, y).row)  # shapes no draw
    shuffled = frame["y"].sample(frac=1, random_state=1)
    np.testing.assert_array_equal(sample.with_outcome(shuffled).y, sample.y)
    out = jc.estimate(sample, jc.FastAHB(outcome=jc.Function(two_lines)), folds=1).to_frame()
    assert out["id"].tolist() == pairs[1::2]
    part = jc.Sample.from_frame(frame[frame["x"] < 1], treatment="t", outcome="y")
    assert part.id.tolist() == [pair for pair, v in zip(pairs, x) if v < 1]
    for other in ([("a", 1)] * 12, [(None if i == 3 else "a", i) for i in range(12)]):
        odd = frame.set_axis(pd.MultiIndex.from_tuples(other))
        assert jc.Sample.from_frame(odd, treatment="t", outcome="y").id.tolist() == list(range(12))


def two_lines(x):
    return jnp.stack([x[:, 0], x[:, 0]], axis=1)
