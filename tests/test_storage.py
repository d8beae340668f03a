"""`jc.save` and `jc.load`: what comes back is what went in, and a file can run nothing."""

import dataclasses
import json
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import draw_sample, wavy
from methods import METHODS, SURFACE

import jcausal as jc

N = 96
PARTS = {"truth": wavy}
ELSEWHERE = ("forest", "causal-forest")  # hold models of other libraries
pytestmark = pytest.mark.x64


def same(one, two, path="thing"):
    """Both are alike in class, structure, dtype and every bit."""
    assert type(one) is type(two), path
    if isinstance(one, jax.Array) and jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        assert jax.random.key_impl(one) == jax.random.key_impl(two), path
        one, two = jax.random.key_data(one), jax.random.key_data(two)
    if isinstance(one, jax.Array | np.ndarray | np.generic):
        first, second = np.asarray(one), np.asarray(two)
        assert first.dtype == second.dtype and first.shape == second.shape, path
        held = first.dtype.kind == "O"
        assert first.tolist() == second.tolist() if held else first.tobytes() == second.tobytes()
    elif hasattr(one, "made_of"):
        for name in one.made_of:
            same(getattr(one, name), getattr(two, name), f"{path}.{name}")
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(*(getattr(each, field.name) for each in (one, two)), f"{path}.{field.name}")
    elif isinstance(one, tuple | list):
        assert len(one) == len(two), path
        for k, (left, right) in enumerate(zip(one, two)):
            same(left, right, f"{path}[{k}]")
    elif isinstance(one, dict):
        assert list(one) == list(two), path
        for key in one:
            same(one[key], two[key], f"{path}[{key!r}]")
    elif isinstance(one, jax.tree_util.Partial):
        same((one.func, one.args, one.keywords), (two.func, two.args, two.keywords), path)
    elif isinstance(one, pd.Index):
        assert one.equals(two) and one.names == two.names and one.dtype == two.dtype, path
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, two, check_exact=True)
    else:
        assert one == two or one is two or (one != one and two != two), path


def again(thing, tmp_path, **options):
    path = tmp_path / "thing.jcausal"
    jc.save(thing, path, **options)
    found = jc.load(path, **options)
    assert [f.name for f in tmp_path.iterdir()] == ["thing.jcausal"]
    same(thing, found)
    return found


@pytest.mark.parametrize("row", METHODS, ids=[row.name for row in METHODS])
def test_every_method_comes_back(row, tmp_path):
    sample = draw_sample(0, n=N, p=2, id=np.arange(N) + 1000)
    made = jc.estimate(sample, row.make(SURFACE), key=3, estimand=row.estimands[0])
    if row.name in ELSEWHERE:
        with pytest.raises(ValueError, match=r"learned\[0\].* is of the class (sklearn|econml)"):
            jc.save(made, tmp_path / "thing.jcausal")
        return
    found = again(made, tmp_path, parts=PARTS)
    assert found.summary() == made.summary() and str(found) == str(made)
    pd.testing.assert_frame_equal(found.to_frame(), made.to_frame())
    if isinstance(made, jc.effects.Average):
        pd.testing.assert_frame_equal(found.units_frame(), made.units_frame())
        return
    assert found.matching.sample is found.sample  # stored once
    pd.testing.assert_frame_equal(jc.balance(found.sample, found), jc.balance(made.sample, made))
    rule = jc.AbadieImbens()
    same(jc.interval(made, rule), jc.interval(found, rule))
    assert made.matching.describe(0) == found.matching.describe(0)


BART = jc.BART(trees=50, chains=2, burn=60, draws=20, thin=2)


@pytest.mark.parametrize(
    "model",
    [
        jc.Ridge(),
        jc.MLP(epochs=3),
        jc.BoostedTrees(),
        pytest.param(BART, marks=pytest.mark.extended),
    ],
    ids=["Ridge", "MLP", "BoostedTrees", "BART"],
)
def test_surfaces_foretell_the_same(model, tmp_path):
    sample = draw_sample(1, n=N, p=2)
    made = jc.fit(sample, model, key=0)
    found = again(made, tmp_path)
    np.testing.assert_array_equal(found(sample.x), made(sample.x))
    with pytest.raises(jc.HonestyError):
        jc.match(sample, jc.AHB(), surface=found)  # it still knows its rows


def test_fitted_forests_and_a_learner_foretell_the_same(tmp_path):
    from sklearn.ensemble import RandomForestRegressor

    sample = draw_sample(1, n=N, p=2)
    forest = jc.Trees(RandomForestRegressor(3, random_state=0))
    made = jc.fit(sample, forest, key=0)
    np.testing.assert_array_equal(again(made, tmp_path)(sample.x), made(sample.x))
    learner = jc.estimate(sample, jc.DRLearner(outcome=jc.Ridge(), effect=jc.Ridge()), key=0)
    found = again(learner, tmp_path)
    np.testing.assert_array_equal(found.predict(sample.x), learner.predict(sample.x))


@pytest.mark.parametrize(
    "labels",
    [
        None,
        pd.Index([f"row {k}" for k in range(60)]),
        pd.date_range("2020-01-01", periods=60, tz="Europe/Berlin"),
        pd.MultiIndex.from_product([range(6), list("abcdefghij")], names=["town", "street"]),
        pd.Index(np.arange(60) * 0.5, name="half"),
        pd.CategoricalIndex([f"row {k}" for k in range(60)]),
    ],
    ids=["none", "words", "zone", "multi", "numbers", "category"],
)
def test_samples_keep_their_names_levels_and_gaps(labels, tmp_path):
    rng = np.random.default_rng(0)
    income = rng.lognormal(size=60)
    income[::7] = np.nan
    frame = pd.DataFrame(
        dict(
            income=income,
            town=rng.choice(["a", "b", "c"], 60),
            t=np.arange(60) % 2,
            y=rng.normal(size=60),
            w=rng.uniform(1, 2, 60),
            c=np.arange(60) // 3,
        ),
        index=labels,
    )
    options: Any = dict(treatment="t", outcome="y", weight="w", cluster="c", missing="indicator")
    made = jc.Sample.from_frame(frame, categorical=["town"], **options)
    found = again(made, tmp_path)
    assert list(found.id) == list(made.id) and found.schema == made.schema
    pd.testing.assert_frame_equal(found.to_frame(), made.to_frame())
    np.testing.assert_array_equal(found.with_outcome(frame["y"]).y, made.y)
    other = jc.Sample.from_frame(pl.from_pandas(frame), categorical=["town"], **options)
    assert isinstance(again(other, tmp_path).to_frame(), pl.DataFrame)


def test_labels_that_no_file_can_hold_are_told(tmp_path):
    months = pd.period_range("2020-01", periods=4, freq="M")
    frame = pd.DataFrame(dict(a=[1.0, 2, 3, 4], t=[0, 1, 0, 1]), index=months)
    sample = jc.Sample.from_frame(frame, treatment="t")
    with pytest.raises(ValueError, match="Period, which a file cannot hold"):
        jc.save(sample, tmp_path / "x")


def test_panels_allocations_and_intervals(tmp_path):
    rng = np.random.default_rng(0)
    d = np.zeros((12, 10), bool)
    d[:4, 6:] = True
    times = pd.date_range("2001-01-01", periods=10, freq="YS")
    y = pd.DataFrame(rng.normal(size=(12, 10)), [f"state {k}" for k in range(12)], times)
    panel = jc.Panel(y, pd.DataFrame(d, y.index, y.columns))
    for completer in (jc.SyntheticControl(), jc.MCNNM(), jc.TwoWayFixedEffects()):
        made = jc.complete(panel, completer, key=0)
        found = again(made, tmp_path)
        assert found.summary() == made.summary()
        pd.testing.assert_frame_equal(found.to_frame(), made.to_frame())
    estimates = jc.GroupEstimates(
        rng.normal(size=8), std_error=rng.uniform(0.1, 0.3, 8), label=list("abcdefgh")
    )
    cost = pd.Series(rng.uniform(1, 2, 8), list("abcdefgh"))
    for budget in (jc.TopK(budget=3), jc.Knapsack(budget=4.0, cost=cost.to_numpy())):
        made = jc.allocate(estimates, budget, key=0)
        assert str(again(made, tmp_path)) == str(made)
    same_cost = again(jc.Knapsack(budget=4.0, cost=cost), tmp_path).cost
    pd.testing.assert_series_equal(same_cost, cost)
    effects = jc.estimate(draw_sample(0, n=N, p=2), jc.NearestNeighbors())
    again(
        {"by": jc.interval(effects, jc.Bootstrap(), by="x0", key=1), 1: (np.float32(2), [None])},
        tmp_path,
    )


def test_what_no_file_can_hold_is_named(tmp_path):
    sample = draw_sample(0, n=N, p=2)
    effects = jc.estimate(sample, jc.AHB(outcome=SURFACE), key=0)
    with pytest.raises(ValueError, match=r"surfaces\[0\]\.f is the function .*wavy.*parts="):
        jc.save(effects, tmp_path / "x")
    with pytest.raises(ValueError, match="of the class builtins.object"):
        jc.save([object()], tmp_path / "x")
    with pytest.raises(ValueError, match="traced: save outside"):
        jax.jit(lambda x: jc.save(x, tmp_path / "x"))(sample.x)
    with pytest.raises(OSError, match="in a folder that does not exist"):
        jc.save(sample, tmp_path / "none" / "x")
    with pytest.raises(OSError, match="is a folder"):
        jc.save(sample, tmp_path)
    assert list(tmp_path.iterdir()) == []
    jc.save(effects, tmp_path / "x", parts=PARTS)
    with pytest.raises(jc.DataError, match=r"without its part 'truth': give load parts="):
        jc.load(tmp_path / "x")


def changed(path, change=lambda text: text, arrays=None):
    """The file with another text or other arrays."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    text = json.loads(held["jcausal.json"])
    held["jcausal.json"] = json.dumps(change(text)).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (held | (arrays or {})).items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "sample.jcausal"
    jc.save(draw_sample(0, n=20, p=2), path)
    return path


def test_other_classes_and_pickles_are_refused(saved, tmp_path):
    def with_class(name):
        def change(text):
            text["objects"][-1]["class"] = name
            return text

        return change

    original = saved.read_bytes()
    for name in ("Popen", "system", "subprocess.Popen", "os:system", "eval", "Figure"):
        with pytest.raises(jc.DataError, match="is no class of this version of jcausal"):
            jc.load(changed(saved, with_class(name)))
    saved.write_bytes(original)
    with pytest.raises(jc.DataError, match="its Schema differs from that of this version"):
        jc.load(changed(saved, with_class("Schema")))
    saved.write_bytes(original)
    bad = tmp_path / "bad.npy"
    np.save(bad, np.array([dict(a=1)], object), allow_pickle=True)
    with pytest.raises(jc.DataError, match="allow_pickle=False"):
        jc.load(changed(saved, arrays={"arrays/0.npy": bad.read_bytes()}))


def test_files_that_are_none_are_told_in_a_sentence(saved, tmp_path):
    whole = saved.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        saved.write_bytes(whole[:size])
        with pytest.raises(jc.DataError, match="cannot be loaded"):
            jc.load(saved)
    saved.write_bytes(whole)
    with pytest.raises(jc.DataError, match="in a later format than .* update jcausal"):
        jc.load(changed(saved, lambda text: text | dict(format=99)))
    saved.write_bytes(whole)
    with pytest.raises(jc.DataError, match="holds a 'call', which this version does not know"):
        jc.load(changed(saved, lambda text: text | dict(thing=dict(call="os.system"))))
    with pytest.raises(jc.DataError, match="cannot be loaded"):
        jc.load(changed(saved, lambda text: text | dict(objects=[])))
    other = tmp_path / "other.npz"
    np.savez(other, a=np.ones(3))
    with pytest.raises(jc.DataError, match="was not written by jc.save"):
        jc.load(other)
    with pytest.raises(FileNotFoundError):
        jc.load(tmp_path / "nothing")


def test_64_bits_are_not_rounded_in_silence(tmp_path):
    path, host = tmp_path / "wide", np.array([1 / 3])
    with jax.enable_x64(True):
        jc.save((jnp.asarray(host), host), path)
    with jax.enable_x64(False):
        with pytest.raises(jc.DataError, match="holds float64, which JAX would round"):
            jc.load(path)
        jc.save(host, path)
        assert jc.load(path).tolist() == host.tolist()


def test_each_name_stands_for_one_class():
    from jcausal.storage._classes import known_classes

    known = known_classes()
    assert {"Sample", "Boxes", "Effects", "RidgeSurface", "Completion", "Allocation"} <= set(known)
    for name, kind in known.items():
        assert kind.__name__ == name and kind.__module__.split(".")[0].startswith("jcausal")
