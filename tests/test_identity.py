"""Whose outcomes a surface has seen: told by what the rows hold, the same in every process."""

import pickle
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.data import check_honest, to_device
from jcausal.data._content import row_content


def refuses(surface, sample):
    try:
        check_honest(surface.trained, sample, sample.valid)
    except jc.HonestyError as error:
        return str(error)
    return ""


def frame_of(sample):
    return pd.DataFrame(sample.points, columns=list(sample.schema.names)).assign(
        t=np.asarray(sample.t).astype(int), y=np.asarray(sample.y, float)
    )


def read(frame, **options):
    return jc.Sample.from_frame(frame, treatment="t", outcome="y", **options)


@pytest.mark.extended
def test_a_surface_of_another_process_accuses_nobody_else(tmp_path):
    root = Path(jc.__file__).parents[1]
    program = f"""
import sys; sys.path[:0] = [{str(root)!r}, {str(root / "kernels")!r}, {str(root / "tests")!r}]
import pickle, numpy as np, jcausal as jc
rng = np.random.default_rng(0)
x = rng.normal(size=(60, 3))
sample = jc.Sample(x, np.arange(60) % 3 == 0, x.sum(1))
pickle.dump(jc.fit(sample, jc.Ridge()), open({str(tmp_path / "surface")!r}, "wb"))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    surface = pickle.loads((tmp_path / "surface").read_bytes())
    assert not refuses(surface, draw_sample(1, n=60))
    x = np.random.default_rng(0).normal(size=(60, 3))
    again = jc.Sample(x, np.arange(60) % 3 == 0, x.sum(1))
    assert "60 of the 60 rows" in refuses(surface, again)


@pytest.mark.parametrize("discrete", [False, True], ids=["numbers", "a few values"])
def test_the_same_file_read_twice_is_noticed(discrete):
    frame = frame_of(draw_sample(0, n=60, integers=discrete))
    frame = frame.round(0) if discrete else frame
    surface = jc.fit(read(frame), jc.Ridge())
    assert "60 of the 60 rows" in refuses(surface, read(frame.copy()))
    columns = [*frame.columns[::-1]]
    assert "60 of the 60 rows" in refuses(surface, read(frame[columns]))


def test_parts_and_other_orders_of_one_file_are_noticed():
    frame = frame_of(draw_sample(0, n=200))
    surface = jc.fit(read(frame), jc.Ridge())
    mixed = frame.sample(frac=1, random_state=0)
    assert "200 of the 200 rows" in refuses(surface, read(mixed))
    assert "90 of the 90 rows" in refuses(surface, read(mixed.iloc[:90]))
    first = jc.fit(read(frame.iloc[:100]), jc.Ridge())
    assert not refuses(first, read(frame.iloc[100:]))
    assert "100 of the 200 rows" in refuses(first, read(frame))


@pytest.mark.extended
def test_other_units_that_look_alike_are_not_accused():
    """Of 16 kinds of unit each is in both samples."""
    rng = np.random.default_rng(0)
    draw = lambda n: jc.Sample(  # noqa: E731
        rng.integers(0, 2, (n, 2)), rng.integers(0, 2, n), rng.integers(0, 2, n)
    )
    for n in (12, 60, 400):
        surface = jc.fit(draw(n), jc.Ridge())
        assert not refuses(surface, draw(n)) and not refuses(surface, draw(2 * n))


def test_ids_name_the_unit_whatever_its_row_holds():
    frame = frame_of(draw_sample(0, n=60)).assign(who=range(60))
    surface = jc.fit(read(frame, id="who"), jc.Ridge())
    rounded = frame.assign(x0=frame.x0.round(2))
    later = frame.assign(y=frame.y.to_numpy()[::-1])
    for other in (rounded, later, rounded.assign(y=later.y.where(frame.who > 0, frame.y))):
        assert "60 of the 60 rows" in refuses(surface, read(other.iloc[::-1], id="who"))
    design = jc.Sample.from_frame(rounded.drop(columns="y"), treatment="t", id="who")
    assert "60 of the 60 rows" in refuses(surface, design)


def test_ids_dealt_anew_are_told():
    surface = jc.fit(draw_sample(0, n=60, id=list(range(60))), jc.Ridge())
    other = draw_sample(1, n=60, id=list(range(20, 80)))
    with pytest.warns(UserWarning, match="40 of the 60 rows to be averaged have ids of rows"):
        assert not refuses(surface, other)
    y = np.array(other.y)
    y[0] = surface.trained.y[20]  # one outcome that agrees
    words = refuses(surface, other.with_outcome(y))
    assert "40 of the 60 rows" in words and "if these ids are of other units" in words


def test_rounded_covariates_are_noticed_by_the_outcomes():
    frame = frame_of(draw_sample(0, n=60))
    surface = jc.fit(read(frame), jc.Ridge())
    rounded = read(frame.assign(x0=frame.x0.round(2)).sample(frac=1, random_state=0))
    assert "60 of the 60 rows" in refuses(surface, rounded)
    few = frame.assign(y=frame.y.round())
    assert not refuses(jc.fit(read(few), jc.Ridge()), read(few.assign(x0=few.x0.round(2))))


def test_a_few_rows_trained_on_are_told():
    frame = frame_of(draw_sample(0, n=820))
    surface = jc.fit(read(frame.iloc[:400]), jc.Ridge())
    with pytest.warns(UserWarning, match="20 of the 420 rows to be averaged have what rows hold"):
        assert not refuses(surface, read(frame.iloc[380:800]))
    assert not refuses(surface, read(frame.iloc[400:]))


def test_new_outcomes_of_a_fixed_design_are_not_seen_outcomes():
    base = draw_sample(0, n=60)
    x, t = np.asarray(base.x), np.asarray(base.t)
    surface = jc.fit(jc.Sample(x, t, np.asarray(base.y)), jc.Ridge())
    assert not refuses(surface, jc.Sample(x, t, np.asarray(base.y)[::-1]))


def test_content_knows_neither_the_order_of_columns_nor_that_of_levels():
    one = jc.Sample(
        [[1.0, 0], [2.0, 1], [3.0, 1]],
        [0, 1, 0],
        names=["x", "g"],
        kinds=["number", "category"],
        levels=dict(g=["a", "b"]),
    )
    other = jc.Sample(
        [[1, 1.0], [0, 2.0], [0, 3.0]],
        [0, 1, 0],
        names=["g", "x"],
        kinds=["category", "number"],
        levels=dict(g=["b", "a", "c"]),
    )
    np.testing.assert_array_equal(one.content, other.content)
    assert len({tuple(row) for row in np.asarray(one.content)}) == 3


def test_a_gap_is_a_gap_whatever_fills_it():
    frame = frame_of(draw_sample(0, n=40))
    frame.loc[::5, "x0"] = np.nan
    whole = read(frame, missing="indicator")
    part = read(frame.iloc[:20], missing="indicator")
    assert np.asarray(whole.fill)[0] != np.asarray(part.fill)[0]
    np.testing.assert_array_equal(np.asarray(whole.content)[:20], part.content)


def test_traced_samples_have_the_same_content():
    base = draw_sample(0, n=30)
    x, t, y = np.asarray(base.x), np.asarray(base.t), np.asarray(base.y)
    made = jax.jit(lambda x, t, y: jc.Sample(x, t, y))(x, t, y)
    np.testing.assert_array_equal(made.content, base.content)
    np.testing.assert_array_equal(made.origin, base.origin)


def test_surfaces_and_samples_share_traces_whatever_they_hold():
    made = jax.jit(lambda sample: sample.x.sum())
    for seed in range(3):
        made(draw_sample(seed).plain())
    assert made._cache_size() == 1


def named_samples(count=3):
    """Filtered frames, of one of which some rows are dropped, and one without labels."""
    frame = frame_of(draw_sample(0, n=40))
    parts = [frame.iloc[k : k + 30] for k in range(1, count + 1)]
    parts[1] = parts[1].assign(who=[f"u{i}" for i in range(30)])
    made = [read(part, id="who") if "who" in part else read(part) for part in parts]
    return [*made, jc.Sample(made[0].points, made[0].t, made[0].y, names=made[0].schema.names)]


def test_row_names_never_cause_a_second_trace():
    samples = named_samples()
    made = jax.jit(lambda sample: sample.x.sum() + sample.y.sum())
    for sample in samples:
        made(sample)
    assert made._cache_size() == 1


def test_a_verb_has_one_trace_whatever_the_ids():
    traces, base = [], draw_sample(0, n=40)
    model = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0] + 1], axis=1))
    ids = [None, [f"u{i}" for i in range(40)], range(100, 140), np.arange(40.0) + 0.5]

    @jax.jit
    def average(sample):
        traces.append(sample.n)
        return jc.estimate(sample, jc.FastAHB(outcome=model), folds=1, throw=False).ite

    arrays = base.points, base.t, base.y
    samples = [jc.Sample(*arrays, names=base.schema.names, id=id) for id in ids]
    samples.append(read(frame_of(base).iloc[::-1].iloc[::-1]))
    assert samples[1].points is samples[1].points  # kept, and no part of the key
    found = [np.asarray(average(sample)) for sample in samples]
    assert len(traces) == 1
    for ite in found[1:4]:
        np.testing.assert_array_equal(ite, found[0])


def test_samples_of_other_row_names_stack():
    samples = named_samples()
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *samples)
    np.testing.assert_array_equal(stacked.y, [sample.y for sample in samples])
    for k, sample in enumerate(samples):
        one = jax.tree.map(lambda leaf: leaf[k], stacked)  # noqa: B023
        assert one.id.tolist() == sample.id.tolist()


def test_what_a_compiled_function_gives_has_the_names_of_what_came_in():
    samples = named_samples()
    half = jax.jit(lambda sample: sample.with_valid(sample.x[:, 0] > 0))
    for sample in samples:
        found = half(sample)
        assert found.id.tolist() == sample.id.tolist()
        assert found.take(np.array([3, 1])).id.tolist() == sample.id[[3, 1]].tolist()
        again = pickle.loads(pickle.dumps(sample))
        assert again.id.tolist() == sample.id.tolist()
    last, y = half(samples[2]), pd.Series(np.arange(40.0)).iloc[::-1]
    expected = np.where(np.asarray(last.valid), np.arange(3.0, 33.0), 0)
    np.testing.assert_array_equal(last.with_outcome(y).y, expected)


def test_names_that_are_gone_are_told():
    half = jax.jit(lambda sample: sample.with_valid(sample.x[:, 0] > 0))
    first = named_samples()[0]
    half(first)
    lost = half(named_samples(5)[4])
    with pytest.warns(UserWarning, match="the sample that named these rows is gone"):
        assert lost.id.tolist() == list(range(30))


def test_pickled_samples_and_surfaces_stay_honest():
    sample = draw_sample(3, n=60)
    train, test = jc.split(sample, key=0)
    surface = pickle.loads(pickle.dumps(jc.fit(train, jc.Ridge())))
    assert not refuses(surface, pickle.loads(pickle.dumps(test)))
    assert refuses(surface, pickle.loads(pickle.dumps(train)))


@pytest.mark.extended
def test_a_million_rows_are_told_apart_in_seconds():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_000_000, 20)).astype(np.float32)
    sample = jc.Sample(x[:3000], np.arange(3000) % 2)
    codes = np.zeros(x.shape, np.int32)
    began = time.perf_counter()
    arm = np.arange(len(x)) % 2 == 0
    found = row_content(*map(to_device, (x, codes, arm)), sample.schema)
    assert time.perf_counter() - began < 10
    assert len(np.unique(np.ascontiguousarray(found).view(np.uint64))) == 1_000_000
