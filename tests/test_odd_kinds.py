"""Inputs of odd kinds, one by one: the values of the same data in plain arrays, or one sentence."""

import datetime

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

import jcausal as jc
from jcausal.cli._estimate import read_columns
from jcausal.cli._main import _parser
from jcausal.data._read import as_pandas

N = 24
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
T = np.arange(N) % 2
Y = X[:, 0] + 2.0 * T
FLAT = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1))
PLAIN = jc.Sample(X, T, Y)
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(t=T, y=Y)
ROLES = dict(treatment="t", outcome="y")
pytestmark = pytest.mark.usefixtures("unchecked")
PAIRS = [("s", i) for i in range(N)]


def hidden(values, rows):
    mask = np.zeros(np.shape(values), bool)
    mask[rows] = True
    return np.ma.array(np.where(mask, -99999, values), mask=mask)


def same(one, other, *fields):
    for field in fields or ("x", "t", "y", "weight", "codes", "ladder"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def effects_of(sample):
    return jc.estimate(sample, jc.FastAHB(outcome=FLAT), folds=1)


def test_what_is_masked_is_missing():
    for change, words in (
        (dict(y=hidden(Y, 3)), r"y is NaN in 1 of 24 rows \(row 3\)"),
        (dict(x=hidden(X, (3, 0))), r"covariate 'x0' is NaN in 1 of 24 rows \(row 3\)"),
        (dict(x=[hidden(row, i == 3) for i, row in enumerate(X)]), "is NaN in 1 of 24 rows"),
        (dict(t=hidden(T, 3)), r"t is NaN in 1 of 24 rows \(row 3\)"),
        (dict(weight=hidden(np.ones(N), 3)), "weight is NaN in 1 of 24 rows"),
        (dict(id=hidden(np.arange(N), 3)), r"id is missing in 1 of 24 rows \(row 3\)"),
        (dict(cluster=hidden(T, 3)), "cluster is missing in 1 of 24 rows"),
        (dict(valid=hidden(T == T, 3)), "valid is neither True nor False in 1 of 24 rows"),
    ):
        arguments = dict(x=X, t=T, y=Y) | change
        with pytest.raises(jc.DataError, match=words):
            jc.Sample(**arguments)
    with pytest.raises(jc.DataError, match="y is NaN in 1 of 24"):
        jc.Sample(X, T).with_outcome(hidden(Y, 3))
    same(jc.Sample(hidden(X, []), hidden(T, []), hidden(Y, [])), PLAIN)


def test_masked_arrays_in_frames_panels_and_budgets():
    columns = dict(a=hidden(X[:, 0], 3), b=X[:, 1], t=T, y=Y)
    with pytest.raises(jc.DataError, match=r"'a' is missing \(null or NaN\) in 1 of 24 rows"):
        jc.Sample.from_frame(columns, **ROLES)
    table = hidden(np.column_stack([X, T, Y]), (3, 1))
    with pytest.raises(jc.DataError, match=r"'1' is missing \(null or NaN\) in 1 of 24 rows"):
        jc.Sample.from_frame(table, treatment="2", outcome="3")
    y, d = np.arange(6.0).reshape(3, 2), np.array([[0, 0], [0, 0], [0, 1]])
    with pytest.raises(jc.DataError, match="y is NaN in 1 of 6 observed cells"):
        jc.Panel(hidden(y, (1, 0)), d)
    seen = jc.Panel(hidden(y, (1, 0)), d, mask=[[1, 1], [0, 1], [1, 1]])
    assert not bool(seen.mask[1, 0])
    with pytest.raises(jc.DataError, match="value is NaN in group 1"):
        jc.GroupEstimates(hidden(np.arange(3.0), 1))
    with pytest.raises(jc.DataError, match="cost is nan at 1 of 3 groups"):
        jc.Knapsack(1.0, cost=hidden(np.ones(3), 1))
    effects = effects_of(PLAIN)
    table = effects.cate(by=hidden(np.arange(N) // 12, 1))
    assert table["queries"].tolist() == [5, 6, 1]  # the masked label is the last group


BIG = 2**53


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, object])
def test_whole_numbers_beyond_float64_stay_apart(dtype):
    code = np.array([BIG, BIG + 1, BIG + 2, 5] * 6, dtype)
    small = np.array([1, 2, 3, 0] * 6)
    frame = FRAME.assign(code=code)
    sample = jc.Sample.from_frame(frame, categorical=["code"], **ROLES)
    assert sample.schema.levels[2] == ("5", str(BIG), str(BIG + 1), str(BIG + 2))
    np.testing.assert_array_equal(sample.codes[:, 2], small)
    gap = frame.assign(code=pd.Series(code, dtype=object).where(frame.index > 0, None))
    held = jc.Sample.from_frame(gap, categorical=["code"], missing="indicator", **ROLES)
    np.testing.assert_array_equal(held.codes[1:, 2], small[1:])
    for make in (lambda: jc.Sample.from_frame(frame, **ROLES), lambda: jc.Sample(code[:, None], T)):
        with pytest.raises(jc.DataError, match="holds whole numbers beyond 2..53"):
            make()
    assert jc.Sample(X, T, cluster=code).cluster.tolist() == small.tolist()
    assert jc.describe(frame, **ROLES)["distinct"]["code"] == 4


def test_labels_that_read_alike_are_refused():
    mixed = [1, "1", 2, 3] * 6
    with pytest.raises(jc.DataError, match="category 'c' holds 1 and '1', which read alike"):
        jc.Sample.from_frame(FRAME.assign(c=mixed), categorical=["c"], **ROLES)
    for make in (
        lambda: jc.Sample(X, T, cluster=mixed),
        lambda: jc.Sample.from_frame(FRAME.assign(c=mixed), cluster="c", **ROLES),
    ):
        with pytest.raises(jc.DataError, match="cluster holds 1 and '1', which read alike"):
            make()
    with pytest.raises(jc.DataError, match="holds 1 labels in more than one row, first 1"):
        jc.Sample(X[:3], T[:3], id=[1, "1", 2])
    apart = jc.Sample(X, T, cluster=[1, "a", 2, 3] * 6)
    assert apart.cluster.tolist() == [0, 3, 1, 2] * 6
    ten = jc.Sample(X, T, cluster=np.array([10, 9, 8, 7] * 6, object))
    assert ten.cluster.tolist() == [3, 2, 1, 0] * 6


def test_switches_among_other_labels_are_refused():
    """Python takes True and 1 for one, so that two groups would be one."""
    for mixed in ([True, 1, 2, 3] * 6, np.array([True, 1, 2, "a"] * 6, object)):
        words = r"holds True among labels .*, in 6 of 24 rows \(rows 0, 4"
        frame = FRAME.assign(c=pd.Series(mixed, dtype=object))
        for make in (
            lambda mixed, _: jc.Sample(X, T, cluster=mixed),
            lambda _, frame: jc.Sample.from_frame(frame, cluster="c", **ROLES),
            lambda _, frame: jc.Sample.from_frame(frame, categorical=["c"], **ROLES),
            lambda mixed, _: effects_of(PLAIN).cate(by=mixed),
            lambda mixed, _: jc.allocation.group(
                PLAIN, jc.allocation.ByColumn(np.array(mixed, object))
            ),
        ):
            with pytest.raises(jc.DataError, match=words):
                make(mixed, frame)
    long = pd.DataFrame(dict(u=pd.Series([True, 1, 2], dtype=object), w=[1, 2, 1], y=1.0, t=0))
    with pytest.raises(jc.DataError, match="unit 'u' holds True among labels"):
        jc.Panel.from_frame(long, unit="u", time="w", **ROLES)
    with pytest.raises(jc.DataError, match="by holds 1 and '1', which read alike"):
        effects_of(PLAIN).cate(by=[1, "1", 2, 3] * 6)
    alone = effects_of(PLAIN).cate(by=[True, False, None, True] * 6)
    assert alone["queries"].tolist() == [6, 6]  # every treated unit stands at False or True


def test_codes_in_a_file_stay_as_they_are_written(tmp_path):
    path = tmp_path / "codes.csv"

    def read(zip_code, other):
        FRAME.assign(zip=zip_code, c=other).to_csv(path, index=False)
        line = ["estimate", str(path), "--treatment", "t", "--outcome", "y"]
        options = _parser().parse_args([*line, "--categorical", "zip", "--cluster", "c"])
        return read_columns(options)

    table = read(["01234", "1234", "02000"] * 8, ["7", "007"] * 12)
    assert table["zip"].unique().tolist() == ["01234", "1234", "02000"]
    assert table["c"].unique().tolist() == ["7", "007"]
    table = read(["1.1", "1.10", "2"] * 8, ["7", "10"] * 12)
    assert table["zip"].unique().tolist() == ["1.1", "1.10", "2"]
    assert table["c"].tolist() == [7, 10] * 12
    table = read([str(BIG), str(BIG + 1), ""] * 8, ["1.0", "2"] * 12)
    assert table["zip"].dropna().unique().tolist() == [str(BIG), str(BIG + 1)]
    assert table["c"].tolist() == [1.0, 2.0] * 12


DAYS = [datetime.date(2020, 1, 1 + i) for i in range(N)]


def column(frame, name):
    """A column's values as a list, and its type."""
    if isinstance(frame, pl.DataFrame):
        return frame[name].to_list(), frame.schema[name]
    return frame[name].to_pylist(), frame.schema.field(name).type


@pytest.mark.extended
@pytest.mark.parametrize(
    ("wrap", "kind"),
    [pytest.param(pl.DataFrame, pl.Date, marks=pytest.mark.extended), (pa.table, pa.date32())],
)
def test_days_come_back_as_days(wrap, kind):
    frame = wrap(dict(a=X[:, 0], t=T, y=Y, day=DAYS))
    effects = effects_of(jc.Sample.from_frame(frame, id="day", **ROLES))
    treated = [d for d, t in zip(DAYS, T) if t]
    assert column(effects.to_frame(), "id") == (treated, kind)
    assert column(effects.sample.to_frame(), "id") == (DAYS, kind)
    assert column(effects.matching.to_frame(), "id")[1] == kind
    plain = effects_of(jc.Sample(X[:, :1], T, Y)).cate(by=[str(d)[-1] for d in DAYS])
    month = [datetime.date(2020, 1, 1 + int(str(d)[-1])) for d in DAYS]
    for by in (wrap(dict(d=month))["d"], month):
        found = effects.cate(by=by)
        assert column(found, "group") == (sorted({m for m, t in zip(month, T) if t}), kind)
        assert column(found, "effect")[0] == pytest.approx(plain["effect"].tolist())
    times = [datetime.datetime(2020, 1, 1 + i, 5) for i in range(N)]
    later = jc.Sample.from_frame(wrap(dict(a=X[:, 0], t=T, day=times)), treatment="t", id="day")
    assert column(later.to_frame(), "id")[0] == times


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [pytest.param(pl.DataFrame, pl.Date, marks=pytest.mark.extended), (pa.table, pa.date32())],
)
def test_days_of_a_panel_come_back_as_days(wrap, kind):
    y = np.arange(12.0) ** 2
    law = [0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0]
    columns = dict(u=np.repeat(list("abcd"), 3), day=DAYS[:3] * 4, y=y, t=law)
    options = dict(unit="u", time="day", **ROLES)
    found = jc.complete(jc.Panel.from_frame(wrap(columns), **options), jc.TwoWayFixedEffects())
    plain = jc.Panel.from_frame(pd.DataFrame(columns | dict(day=[0, 1, 2] * 4)), **options)
    right = jc.complete(plain, jc.TwoWayFixedEffects()).cohort_average()
    table = found.cohort_average()
    assert column(table, "cohort") == ([DAYS[j] for j in right["cohort"]], kind)
    assert column(table, "effect")[0] == pytest.approx(right["effect"].tolist())
    for made in (found.to_frame(), found.panel.to_frame()):
        assert column(made, "time")[1] == kind


def test_frames_of_other_kinds():
    right = jc.Sample.from_frame(FRAME, **ROLES)
    table = pa.Table.from_pandas(FRAME)
    for frame, home in (
        (table.to_batches()[0], "pyarrow"),
        (table.to_reader(), "pyarrow"),
        (FRAME.to_dict("list"), "pandas"),
        ({name: FRAME[name].to_numpy() for name in FRAME}, "pandas"),
        (FRAME.to_records(index=False), "pandas"),
    ):
        sample = jc.Sample.from_frame(frame, **ROLES)
        same(sample, right)
        assert sample.home == home
    twice = pa.Table.from_arrays([table["a"], *table.columns], names=["a", *table.column_names])
    with pytest.raises(jc.DataError, match="the column name 'a' stands twice"):
        jc.Sample.from_frame(twice, covariates=["b"], **ROLES)
    with pytest.raises(jc.DataError, match="the dict holds no columns of one length"):
        jc.Sample.from_frame(dict(a=[1, 2], t=[0]), treatment="t")
    with pytest.raises(jc.DataError, match=r"the array has shape \(3,\)"):
        jc.Sample.from_frame(np.arange(3), treatment="t")


@pytest.mark.parametrize("options", [{}, dict(categorical=["s"]), dict(id="s"), dict(cluster="s")])
def test_structs_and_lists_are_refused(options):
    frame = pl.DataFrame({name: FRAME[name].to_numpy() for name in FRAME})
    for made in (pl.struct("a", "b"), pl.concat_list("a", "b")):
        nested = frame.with_columns(made.alias("s"))
        for table in (nested, nested.to_arrow(), pd.DataFrame(nested.to_dict(as_series=False))):
            with pytest.raises(jc.DataError, match="'s' holds a (dict|list) in 24 "):
                jc.Sample.from_frame(table, **ROLES, **options)
            kinds = as_pandas(jc.describe(table, **ROLES)).reset_index()
            assert kinds.set_index("column")["kind"]["s"] == "mixed"


def test_tuples_are_labels():
    words = [str(pair) for pair in PAIRS]
    sample = jc.Sample(X, T, Y, id=PAIRS, cluster=[pair[1] // 4 for pair in PAIRS])
    same(sample, jc.Sample(X, T, Y, id=words), "row")
    assert sample.id.tolist() == PAIRS
    assert jc.Sample(X, T, Y, id=pd.MultiIndex.from_tuples(PAIRS)).id.tolist() == PAIRS
    grouped = [("g", i // 4) for i in range(N)]
    same(jc.Sample(X, T, Y, cluster=grouped), jc.Sample(X, T, Y, cluster=np.arange(N) // 4))
    by_frame = jc.Sample.from_frame(
        FRAME.assign(who=PAIRS, c=grouped), id="who", cluster="c", **ROLES
    )
    np.testing.assert_array_equal(by_frame.cluster, np.arange(N) // 4)
    assert by_frame.id.tolist() == PAIRS
    effects = effects_of(by_frame)
    treated = [pair for pair, t in zip(PAIRS, T) if t]
    assert effects.to_frame()["id"].tolist() == treated
    assert "matched 12 of 12" in effects.summary()
    level = jc.Sample.from_frame(FRAME.assign(c=grouped), categorical=["c"], **ROLES)
    assert level.schema.levels[2] == tuple(str(g) for g in sorted(set(grouped)))
    table = effects.cate(by=grouped)
    assert table["group"].tolist() == sorted(set(grouped))
    held = jc.Sample.from_frame(pl.DataFrame(FRAME.to_dict("list")), **ROLES)
    out = effects_of(held).cate(by=grouped)
    assert out["group"].to_list() == [str(g) for g in sorted(set(grouped))]
    estimates = jc.GroupEstimates([1.0, 2.0], std_error=[0.1, 0.1], label=[("a", 1), ("b", 2)])
    assert estimates.labels == (("a", 1), ("b", 2))
    capped = jc.Knapsack(2.0, category=[("a", 1), ("b", 2)], cap={("b", 2): 0})
    assert jc.allocate(estimates, capped).chosen.tolist() == [True, False]
    with pytest.raises(jc.DataError, match="id holds a list in 24 of 24 places, first"):
        jc.Sample(X, T, Y, id=pd.Series([[i, i] for i in range(N)]))
    with pytest.raises(jc.DataError, match="holds 1 labels in more than one row, first"):
        jc.Sample(X, T, Y, id=[("s", 0), *PAIRS[:-1]])


def test_tuples_are_units_and_times():
    frame = pd.DataFrame(dict(u=[("a", 1), ("a", 1), ("b", 2), ("b", 2)], m=[(1, 1), (1, 2)] * 2))
    frame = frame.assign(y=[5.0, 4.0, 6.0, 3.0], t=[0, 0, 0, 1])
    panel = jc.Panel.from_frame(frame, unit="u", time="m", **ROLES)
    assert panel.unit.tolist() == [("a", 1), ("b", 2)] and panel.time.tolist() == [(1, 1), (1, 2)]
    np.testing.assert_array_equal(panel.y, [[5.0, 4.0], [6.0, 3.0]])
    assert panel.to_frame()["unit"].tolist() == frame["u"].tolist()
    same(jc.Panel(panel.y, panel.d, unit=[("a", 1), ("b", 2)]), panel, "y", "d", "unit")
    with pytest.raises(jc.DataError, match=r"unit \('b', 2\) at 0"):
        jc.Panel([[1.0, 2.0], [np.nan, 5.0]], panel.d, unit=[("a", 1), ("b", 2)])


@pytest.mark.x64
@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, jnp.bfloat16, np.float32])
def test_floats_of_other_widths(dtype):
    x = (np.arange(2 * N).reshape(N, 2) % 13 / 8).astype(dtype)
    y = (np.arange(N) * 4.0).astype(dtype)
    wide = np.asarray(x, np.float64)
    right = jc.Sample(
        wide.astype(np.float32) if dtype == np.float32 else wide, T, np.asarray(y, float)
    )
    found = jc.Sample(x, T, y)
    same(found, right)
    assert found.x.dtype == right.x.dtype
    if dtype != jnp.bfloat16:
        frame = pd.DataFrame(dict(a=x[:, 0], b=x[:, 1], t=T, y=y))
        same(jc.Sample.from_frame(frame, **ROLES), jc.Sample(wide.astype(float), T, right.y))


def test_sparse_matrices():
    for make in (scipy.sparse.csr_matrix, scipy.sparse.coo_array):
        with pytest.raises(jc.DataError, match=r"x is a sparse c.*: pass it as .toarray\(\)"):
            jc.Sample(make(X), T, Y)
        with pytest.raises(jc.DataError, match="y is a sparse"):
            jc.Panel(make(np.eye(3)), np.eye(3))
    dense = make(X).toarray()
    same(jc.Sample(dense, T, Y), PLAIN)
    sparse = FRAME.astype({name: pd.SparseDtype(FRAME[name].dtype) for name in FRAME})
    same(jc.Sample.from_frame(sparse, **ROLES), jc.Sample.from_frame(FRAME, **ROLES))
    same(jc.Sample(sparse[["a", "b"]], sparse["t"], sparse["y"]), PLAIN)


def test_numbers_that_are_none():
    with pytest.raises(jc.DataError, match="covariate 'a' holds a complex in 24 places"):
        jc.Sample.from_frame(FRAME.assign(a=X[:, 0] + 1j), **ROLES)
    held = np.empty((N, 1), object)
    for i, pair in enumerate(PAIRS):
        held[i, 0] = pair
    with pytest.raises(jc.DataError, match="x holds a tuple in 24 places"):
        jc.Sample(held, T, Y)
    same(jc.Sample(pd.DataFrame(X).convert_dtypes(), T, Y), PLAIN)
    gap = pd.Series(Y).convert_dtypes()
    gap[3] = pd.NA
    with pytest.raises(jc.DataError, match=r"y is NaN in 1 of 24 rows \(row 3\)"):
        jc.Sample(X, T, gap)


@pytest.mark.parametrize(
    "matcher",
    [
        jc.AHB(),
        pytest.param(jc.M5Model(jc.M5Tree(max_depth=1)), marks=pytest.mark.extended),
        pytest.param(jc.M5Match(tree=jc.M5Tree(max_depth=1)), marks=pytest.mark.extended),
    ],
)
def test_a_query_is_named_by_its_number_from_either_end(matcher):
    surface = FLAT if isinstance(matcher, jc.AHB) else None
    found = jc.match(PLAIN, matcher, surface=surface)
    last = found.query.shape[0] - 1
    for told in (found.describe, getattr(found, "reason", found.describe)):
        assert told(-1) == told(last) == told(np.int64(last))
        for wrong in (1.0, "P1", None):
            with pytest.raises(ValueError, match=f"no number of a query: there are {last + 1}, "):
                told(wrong)
        with pytest.raises(IndexError, match=f"there is no query {last + 1}: there are {last + 1}"):
            told(last + 1)
    for one, other in zip(found.group(-1), found.group(last)):
        np.testing.assert_array_equal(one, other)
