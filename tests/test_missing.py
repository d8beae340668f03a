"""Missing covariates: membership, growth, words and tables, against NumPy and by invariance."""

import duckdb
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from oracles.fast_ahb import grow_box

import jcausal as jc
from jcausal.data import like
from jcausal.data._sample import replace
from jcausal.matching.boxes.fast._batch_loop import advance
from jcausal.matching.boxes.fast._slab_points import lattice_offsets

N = 60
ALL = np.arange(N)


class Bent(eqx.Module):
    """sin(x) and x, weighted; `look` is how much of x0 counts where it is missing."""

    weight: jax.Array
    look: jax.Array

    def __call__(self, x):
        first = jnp.where(x[:, 1] == 1, self.look * x[:, 0], x[:, 0])
        x = x.at[:, 0].set(first)
        f0 = (jnp.sin(2 * x) * self.weight).sum(1)
        return jnp.stack([f0, f0 + 0.5 * (x * self.weight).sum(1)], axis=1)


def bent(pay=1.0, flag=0.0, age=0.3, town=0.0, look=1.0):
    weight = jnp.array([pay, flag, age, town], jnp.float32)
    return jc.Function(Bent(weight, jnp.asarray(look, jnp.float32)))


def holed_frame(seed=0):
    rng = np.random.default_rng(seed)
    pay, age = (rng.integers(-128, 128, N) / 64 for _ in range(2))  # exact in float32
    pay[rng.random(N) < 0.25] = np.nan
    town = rng.choice(np.array(["a", "b", None], object), N, p=[0.5, 0.3, 0.2])
    t = np.arange(N) % 3 == 0
    y = age + rng.normal(size=N)
    return pd.DataFrame(dict(t=t.astype(int), y=y, pay=pay, age=age, town=town))


READ = dict(treatment="t", outcome="y", categorical=["town"], missing="indicator")


def holed(seed=0, frame=None, **options):
    frame = holed_frame(seed) if frame is None else frame
    return jc.Sample.from_frame(frame, units={"pay": "$"}, **(READ | options))


def gaps(sample):
    return np.isnan(sample.points[:, 0])


def same_groups(one, other):
    for i in range(one.query.shape[0]):
        assert one.group(i)[0].tolist() == other.group(i)[0].tolist()


def test_columns_with_gaps():
    frame = holed_frame().assign(smokes=[0.0, 1.0, None] * 20)
    sample = holed(frame=frame)
    schema = sample.schema
    assert schema.names == ("pay", "pay missing", "age", "town", "smokes")
    town, smokes = ("a", "b", "missing"), ("0", "1", "missing")
    assert schema.levels == ((), ("observed", "missing"), (), town, smokes)
    assert schema.flags == ((0, 1), (3, 3), (4, 4))
    hole = frame["pay"].isna().to_numpy()
    np.testing.assert_array_equal(sample.points[:, 0], frame["pay"])
    assert (np.asarray(sample.codes[hole, 0]) == jc.kernels.MISSING).all()
    assert sample.heights[0] == frame["pay"].nunique()
    np.testing.assert_allclose(sample.x[hole, 0], frame["pay"].mean(), rtol=1e-5)
    weight = np.arange(1, N + 1.0)
    heavy = holed(frame=frame.assign(w=weight), weight="w")
    mean = np.average(frame["pay"][~hole], weights=weight[~hole])
    np.testing.assert_allclose(heavy.fill[0], mean, rtol=1e-5)
    rows = np.arange(7, 40)
    part = sample.take(rows)
    np.testing.assert_array_equal(part.points, sample.points[rows])
    alone = sample.take(np.flatnonzero(hole))
    assert np.isnan(alone.points[:, 0]).all() and alone.heights[0] == 1


@pytest.mark.extended
@pytest.mark.parametrize("grid", ["line", "lattice"])
def test_boxes_equal_the_transcription(grid):
    sample = holed()
    surface, x = bent(flag=0.05, pay=0.15, town=0.1), sample.points
    evaluate = jax.jit(lambda points: surface(points))
    points = 3 if grid == "line" else 16
    even = np.tile(np.linspace(0, 1, points)[:, None], (1, 4))
    mixed = {True: 0, False: 0}
    for caliper in (0.14, None):
        method = jc.FastAHB(grid=grid, caliper=caliper)
        found = jc.match(sample, method, surface=surface, query=ALL)
        opening = np.flatnonzero(gaps(sample) & np.asarray(found.open[:, 0, 0]))
        for i in [*range(0, N, 8), *opening[:3]]:
            box = grow_box(
                x,
                np.asarray(sample.t),
                np.ones(N, bool),
                [1, 3],
                lambda v: evaluate(jnp.asarray(v, jnp.float32)),
                x[i].copy(),
                caliper=np.inf if caliper is None else caliper,
                offsets=even if grid == "line" else lattice_offsets(points, 4),
                line=grid == "line",
                flags={0: 1},
                fill={0: float(sample.fill[0])},
            )
            low, high, opened, inside = box
            assert found.group(i)[0].tolist() == np.flatnonzero(inside).tolist(), (caliper, i)
            assert set(np.flatnonzero(np.asarray(found.open[i, 0]))) == set(opened[1])
            mixed[bool(gaps(sample)[i])] += len(opened[1]) == 2
            edges = (low[0], high[0]) if 0 in opened[1] else (np.nan, np.nan)
            np.testing.assert_array_equal([found.lower[i, 0], found.upper[i, 0]], edges)
            assert (found.lower[i, 2], found.upper[i, 2]) == (low[2], high[2])
    assert mixed[False] > 5 and mixed[True] > 2


def test_missing_matches_missing_unless_nothing_depends_on_it():
    sample = holed()
    hole = gaps(sample)
    strong = jc.match(sample, jc.FastAHB(), surface=bent(flag=9.0), query=ALL)
    for i in ALL:
        assert (hole[strong.group(i)[0]] == hole[i]).all()
    free = jc.match(sample, jc.FastAHB(), surface=bent(pay=0.0), query=ALL)
    assert np.asarray(free.open[:, 0, :2]).all()
    assert not any("pay" in free.describe(i) for i in range(5))


@pytest.mark.extended
def test_the_fill_moves_no_box_that_the_surface_does_not_see():
    sample = holed()
    hole = jnp.asarray(gaps(sample))
    moved = replace(
        sample,
        x=sample.x.at[:, 0].set(jnp.where(hole, 77.0, sample.x[:, 0])),
        fill=sample.fill.at[0].set(77.0),
    )
    for grid in ("line", "lattice"):
        method, surface = jc.FastAHB(grid=grid, caliper=0.22), bent(flag=0.2, look=0.0)
        one = jc.match(sample, method, surface=surface, query=ALL)
        other = jc.match(moved, method, surface=surface, query=ALL)
        assert (np.asarray(one.open) == np.asarray(other.open)).all()
        np.testing.assert_array_equal(one.lower, other.lower)
        np.testing.assert_array_equal(one.upper, other.upper)


@pytest.mark.extended
def test_other_units_are_matched_as_if_rows_had_been_dropped():
    sample = holed(3)
    hole = gaps(sample)
    kept = sample.with_valid(jnp.asarray(~hole))
    method, surface = jc.FastAHB(tolerance=0.0, caliper=None), bent(flag=5.0)
    one = jc.match(sample, method, surface=surface, query=ALL)
    known = np.flatnonzero(~hole)
    query = np.resize(known, N)
    other = jc.match(kept, method, surface=surface, query=query)
    for i, row in enumerate(known):
        assert one.group(row)[0].tolist() == other.group(i)[0].tolist()


def test_renaming_and_reordering_levels_changes_nothing():
    frame = holed_frame()
    surface = bent(flag=0.2)
    one = jc.match(holed(frame=frame), jc.FastAHB(), surface=surface, query=ALL)
    swapped = frame.assign(town=frame["town"].map({"a": "z", "b": "y"}))
    other = jc.match(holed(frame=swapped), jc.FastAHB(), surface=surface, query=ALL)
    same_groups(one, other)


def test_words_and_tables():
    sample = holed()
    strong = jc.match(sample, jc.FastAHB(), surface=bent(flag=9.0), query=ALL)
    some = jc.match(sample, jc.FastAHB(caliper=0.447), surface=bent(flag=0.2), query=ALL)
    hole = gaps(sample)
    assert strong.describe(int(np.argmax(hole))).startswith("pay missing")
    seen = {some.describe(i).split(",")[0] for i in range(N)}
    assert any(words.endswith("$ or missing") for words in seen)
    plain = jc.match(sample, jc.FastAHB(), surface=bent(pay=0, flag=9.0), query=ALL)
    assert plain.describe(int(np.argmin(hole))).startswith("pay known")
    boxes = strong.describe_frame()
    assert (boxes["pay missing allowed"] == hole).all()
    assert (boxes["pay lower"].isna() == hole).all()
    units = strong.to_frame()
    back = holed_frame().iloc[units["id"]]
    np.testing.assert_array_equal(units["pay"], back["pay"])
    assert units["town"].isna().tolist() == back["town"].isna().tolist()
    assert "pay missing" not in units
    with pytest.raises(ValueError, match="holds only units whose 'pay'"):
        jc.plot.boxes(strong, which=[int(np.argmax(hole))])
    assert jc.plot.boxes(strong, which=[int(np.argmin(hole))]).get_xlabel() == "pay ($)"


TYPES = dict(
    pandas=pd.DataFrame, polars=pl.DataFrame, pyarrow=pa.Table, duckdb=duckdb.DuckDBPyRelation
)


def as_pandas(frame):
    if isinstance(frame, pd.DataFrame):
        return frame
    return frame.df() if isinstance(frame, duckdb.DuckDBPyRelation) else frame.to_pandas()


@pytest.mark.extended
def test_frames_come_back_as_they_came():
    method, surface, seen, size = jc.FastAHB(), bent(flag=0.2), {}, None
    for kind, cls in TYPES.items():
        sample = holed(frame=like(kind, holed_frame()))
        assert sample.take(np.arange(9)).home == kind == sample.with_outcome(sample.y).home
        found = jc.match(sample, method, surface=surface, query=ALL)
        assert size is None or advance._cached._cache_size() == size
        size = advance._cached._cache_size()
        effects = jc.estimate(sample, found)
        frames = dict(
            units=found.to_frame(),
            boxes=found.describe_frame(),
            queries=effects.to_frame(),
            groups=effects.cate("town"),
            means=effects.unmatched(),
            lost=found.unmatched(),
        )
        for name, frame in frames.items():
            assert isinstance(frame, cls), name
            plain = as_pandas(frame)
            if name == "means" and kind == "pandas":
                plain = plain.reset_index()
            first = seen.setdefault(name, plain)
            assert list(plain.columns) == list(first.columns)
            for column in plain:
                left, right = plain[column], first[column]
                gap = right.isna().to_numpy()
                assert left.isna().tolist() == gap.tolist()
                assert left[~gap].tolist() == right[~gap].tolist(), (name, column)
            assert kind != "pandas" or name != "queries" or frame.attrs["estimand"] == "att"
    assert found.to_frame().filter("pay is null").fetchall()


def test_averages_are_over_the_observed():
    sample = holed()
    found = jc.match(sample, jc.FastAHB(), surface=bent(flag=9.0), query=ALL)
    effects = jc.estimate(sample, found)
    assert bool(effects.matched.all())
    frame, t = holed_frame(), np.asarray(sample.t)
    table = jc.balance(sample, found)
    assert table.index.tolist() == [
        *("prognostic score", "pay", "pay missing", "age"),
        *("town: a", "town: b", "town: missing"),
    ]
    np.testing.assert_allclose(table.loc["pay", "mean_treated"], frame["pay"][t].mean(), rtol=1e-5)
    np.testing.assert_allclose(
        table.loc["pay", "vr_before"], frame["pay"][t].var() / frame["pay"][~t].var(), rtol=1e-5
    )
    share = frame["pay"].isna()
    difference = share[t].mean() - share[~t].mean()
    np.testing.assert_allclose(table.loc["pay missing", "smd_before"], difference, atol=1e-6)
    kept = effects.unmatched()
    assert kept.loc["pay missing", "kept"] == pytest.approx(share.mean())
    for by in ("pay", "town"):
        groups = effects.cate(by)
        last = groups[groups["group"] == "missing"]
        assert last["queries"].item() == frame[by].isna().sum()
        assert groups["queries"].sum() == N


def test_points_may_be_missing():
    sample, surface = holed(), bent(flag=9.0)
    at = np.array([[np.nan, 1, 0.1, 0], [0.2, 0, 0.1, 2]] * (N // 2))
    found = jc.match(sample, jc.FastAHB(), surface=surface, at=at)
    hole = gaps(sample)
    assert hole[found.group(0)[0]].all() and not hole[found.group(1)[0]].any()
    assert np.isnan(found.lower[0, 0]) and found.lower[1, 0] <= 0.2
    with pytest.raises(jc.DataError, match="'pay' is not finite in 30 points"):
        jc.match(sample, jc.FastAHB(), surface=surface, at=at * [[1, 0, 1, 1]])


@pytest.mark.extended
def test_flags_work_under_tracing():
    sample, surface = holed(), bent(flag=0.2)
    host = jc.match(sample, jc.FastAHB(), surface=surface)
    words = dict(names=sample.schema.names, kinds=sample.schema.kinds, flags={"pay": "pay missing"})
    levels = {"pay missing": ("observed", "missing"), "town": ("a", "b", "missing")}

    def traced(x):
        again = jc.Sample(x, sample.t, levels=levels, **words)
        found = jc.match(again, jc.FastAHB(), surface=surface, throw=False)
        train, _ = jc.split(again, key=0)
        return found.lower, found.upper, found.open, again.fill, train.codes, train.heights

    x = jnp.asarray(sample.points, jnp.float32)
    lower, upper, opened, fill, codes, heights = jax.jit(traced)(x)
    rows = np.asarray(host.query)
    assert (np.asarray(opened)[rows] == host.open).all()
    np.testing.assert_allclose(np.asarray(lower)[rows], host.lower, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(upper)[rows], host.upper, rtol=1e-6)
    np.testing.assert_allclose(fill, sample.fill, rtol=1e-5, atol=1e-6)
    train, _ = jc.split(sample, key=0)
    taken = np.isin(np.asarray(sample.row[:, 1]), np.asarray(train.row[:, 1]))
    assert (np.asarray(codes)[taken] == np.asarray(train.codes)).all()
    assert (np.asarray(heights) == np.asarray(train.heights)).all()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (dict(age=None), {}, "covariate 'age' is missing in all 60 rows"),
        (dict(age=[None, *[5] * 59]), {}, "covariate 'age' is 5 in all 59 rows"),
        (dict(town=[None, "missing", *"ab" * 29]), {}, "a level called 'missing' already"),
        ({"pay missing": np.arange(60)}, {}, "the name 'pay missing' is given to columns"),
    ],
)
def test_columns_that_the_indicator_cannot_take(change, options, message, unchecked):
    with pytest.raises(jc.DataError, match=message):
        holed(frame=holed_frame().assign(**change), **options)


@pytest.mark.parametrize(
    ("column", "hole", "options"),
    [
        ("t", [None, *[0, 1] * 29, 1], {}),
        ("y", [None, *range(59)], {}),
        ("w", [None, *range(59)], dict(weight="w")),
        ("who", [None, *range(59)], dict(id="who")),
        ("who", [None, *range(59)], dict(cluster="who")),
    ],
)
def test_rows_without_a_role_are_left_out_beside_the_indicator(column, hole, options):
    frame = holed_frame().assign(**{column: hole})
    with pytest.warns(UserWarning, match=rf"dropped 1 of 60 rows .*\({column} 1; row 0\)"):
        found = holed(frame=frame, **options)
    plain = holed(frame=frame.iloc[1:].astype({column: float}), **options)
    np.testing.assert_array_equal(found.points, plain.points)
    np.testing.assert_array_equal(found.y, plain.y)
    assert np.isnan(found.points).any() and found.schema == plain.schema


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(flags={"a": "c"}), "flags names 'c', which is no column"),
        (dict(flags={"a": "a"}), r"pairs 'a' \(number\) with 'a' \(number\)"),
        (dict(kinds=["binary", "category"]), r"pairs 'a' \(binary\) with 'b'"),
        (dict(x=[[1, 0], [2, 2], [3, 0], [4, 1]]), "the flag 'b' must hold 0 where 'a' is"),
        (dict(x=[[1, 1], [2, 1], [3, 1], [4, 1]]), "'a' is missing in every row"),
        (dict(levels={"b": ["x", "y", "z"]}), "the flag 'b' has 3 levels: name two"),
        (dict(x=[[1, 0], [np.nan, 0], [3, 0], [4, 1]]), "covariate 'a' is NaN in 1 of"),
    ],
)
def test_bad_flags_are_named(change, message, unchecked):
    plain = dict(x=[[1, 0], [2, 1], [3, 0], [4, 1]], names=["a", "b"], flags={"a": "b"})
    arguments = plain | dict(kinds=["number", "category"]) | change
    with pytest.raises(jc.DataError, match=message):
        jc.Sample(arguments.pop("x"), [0, 1, 0, 1], **arguments)
