"""A fitted surface meets another sample: columns by name, levels by label, or one sentence."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.surfaces import aligned

ROLES = dict(treatment="t", outcome="y")
EFFECT = 1.5


def table(n, seed, levels=("a", "b", "c")):
    """y = 4 x + z + 3 (g is c) + 1.5 t, without noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(dict(x=rng.normal(size=n), z=rng.normal(size=n)))
    frame["g"] = np.array(levels)[np.arange(n) % len(levels)]
    frame["t"] = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    frame["y"] = 4 * frame.x + frame.z + 3 * (frame.g == "c") + EFFECT * frame.t
    return frame


def sample_of(frame, *columns, **options):
    return jc.Sample.from_frame(frame, covariates=list(columns), **ROLES, **options)


MODELS = {
    "ridge": jc.Ridge(1e-6),
    "boosted": jc.BoostedTrees(rounds=20),
    "mlp": jc.MLP(width=4, ensemble=1, epochs=2),
    "tree": jc.M5Tree(min_controls=30),
}


@pytest.fixture(scope="module")
def train():
    return sample_of(table(120, 0), "x", "z", "g", categorical=["g"])


@pytest.mark.parametrize(
    "name",
    ["ridge", *(pytest.param(m, marks=pytest.mark.extended) for m in ("boosted", "mlp", "tree"))],
)
def test_columns_in_another_order_are_found_by_name(train, name):
    surface = jc.fit(train, MODELS[name], key=0)
    frame = table(40, 1)
    same = sample_of(frame, "x", "z", "g", categorical=["g"])
    other = sample_of(frame, "g", "z", "x", categorical=["g"])
    ours = aligned(surface, other)
    np.testing.assert_array_equal(ours(other.x), surface(same.x))
    at = jnp.tile(jnp.array([-1.0, 0.0, 2.0]), (40, 1, 1))
    found = ours.along(other.x, jnp.full((1, 1), 2), at)  # x is the last of them
    np.testing.assert_array_equal(found, surface.along(same.x, jnp.full((1, 1), 0), at))
    np.testing.assert_array_equal(surface.r2(other), surface.r2(same))
    assert name == "mlp" or float(surface.r2(same)[0]) > 0.7


@pytest.mark.parametrize(
    "name",
    ["ridge", *(pytest.param(m, marks=pytest.mark.extended) for m in ("boosted", "mlp", "tree"))],
)
def test_levels_are_found_by_their_labels(train, name):
    surface = jc.fit(train, MODELS[name], key=0)
    fewer = table(40, 1, levels=("a", "c"))
    same = sample_of(fewer.assign(g=pd.Categorical(fewer.g, ["a", "b", "c"])), "x", "z", "g")
    other = sample_of(fewer, "g", "x", "z", categorical=["g"])
    assert other.schema.levels[0] == ("a", "c") and same.schema.levels[2] == ("a", "b", "c")
    ours = aligned(surface, other)
    np.testing.assert_array_equal(ours(other.x), surface(same.x))
    every = ours.all_level_changes(other.x, np.array([0]), np.array([2]))[:, 0]
    asked = jnp.tile(jnp.arange(2), (40, 1))
    one = ours.level_changes(other.x, jnp.zeros(40, int), asked, jnp.ones((40, 2), bool))
    wide = surface.all_level_changes(same.x, np.array([2]), np.array([3]))[:, 0]
    np.testing.assert_allclose(every, wide[:, [0, 2]], atol=1e-5)
    np.testing.assert_allclose(one, wide[:, [0, 2]], atol=1e-5)


@pytest.mark.extended
def test_every_verb_finds_the_columns(train):
    """Before, f0 of (z, x) stood for f0 of (x, z), without a word."""
    frame = table(60, 2)
    other = sample_of(frame, "g", "z", "x", categorical=["g"])
    surface = jc.fit(train, jc.Ridge(1e-6))
    named = jc.Function(lambda p: surface(p), names=["x", "z", "g"])
    matching = jc.match(other, jc.FastAHB(), surface=surface)
    for found in (
        jc.estimate(other, matching),
        jc.estimate(other, matching, adjust=named),
        jc.estimate(other, jc.FastAHB(outcome=named), key=0),
    ):
        assert float(found.att) == pytest.approx(EFFECT, abs=1e-3)
    average = jc.estimate(other, jc.AIPW(outcome=surface), key=0)
    assert float(average.average) == pytest.approx(EFFECT, abs=1e-3)
    same = sample_of(frame, "x", "z", "g", categorical=["g"])
    loss = [
        jc.tune(one, jc.FastAHB(outcome=surface), dict(caliper=[0.316]), key=0).table["loss"][0]
        for one in (same, other)
    ]
    assert loss[0] == pytest.approx(loss[1], rel=1e-5)


def test_what_is_not_certain_is_refused(train):
    surface = jc.fit(train, jc.Ridge())
    frame = table(40, 3).assign(w=1.0 * np.arange(40))
    with pytest.raises(jc.DataError, match="without z and with w, which it does not know"):
        jc.match(sample_of(frame, "x", "w", "g", categorical=["g"]), jc.AHB(), surface=surface)
    with pytest.raises(jc.DataError, match="without z: give both the same columns"):
        jc.estimate(sample_of(frame, "x", "g", categorical=["g"]), jc.AHB(outcome=surface), folds=1)
    frame.loc[[4, 7], "g"] = "d"
    words = r"category 'g' is 'd' in 2 of 40 rows \(rows 4 and 7\).*a category of a, b, c"
    with pytest.raises(jc.DataError, match=words):
        jc.match(sample_of(frame, "x", "z", "g", categorical=["g"]), jc.AHB(), surface=surface)
    number = sample_of(frame.assign(g=1.0 * np.arange(40)), "x", "z", "g")
    with pytest.raises(jc.DataError, match="'g' as a category of a, b, c, the sample as a number"):
        surface.r2(number)
    with pytest.raises(jc.DataError, match="without q"):
        jc.match(number, jc.AHB(), surface=jc.Function(lambda p: p[:, :2], names=["x", "z", "q"]))


def test_unnamed_columns_are_taken_in_order():
    plain = draw_sample(0, p=2)
    surface = jc.fit(plain, jc.Ridge())
    named = jc.Sample(np.asarray(plain.x), plain.t, plain.y, names=["age", "pay"])
    np.testing.assert_array_equal(aligned(surface, named)(named.x), surface(plain.x))
    with pytest.raises(jc.DataError, match="without x1"):
        aligned(surface, draw_sample(1, p=1))


def test_names_that_count_are_names_where_both_sides_have_them():
    frame = table(60, 7).rename(columns=dict(x="x0", z="x1"))
    surface = jc.fit(sample_of(frame, "x0", "x1"), jc.Ridge(1e-6))
    for columns in (["x0", "x1"], ["x1", "x0"]):
        other = sample_of(frame, *columns)
        right = surface(jnp.asarray(other.x)[:, np.argsort(columns)])
        np.testing.assert_array_equal(aligned(surface, other)(other.x), right)
    moved = sample_of(frame.rename(columns=dict(x0="x1", x1="x2")), "x1", "x2")
    with pytest.raises(jc.DataError, match="without x0 and with x2"):
        aligned(surface, moved)


def test_a_surface_trained_under_jit_knows_its_columns():
    import equinox as eqx

    frame = table(60, 4)
    one, other = sample_of(frame, "x", "z"), sample_of(frame, "z", "x")
    surface = eqx.filter_jit(lambda s: jc.fit(s, jc.Ridge()))(one)
    assert surface.trained.row is None
    np.testing.assert_allclose(surface.r2(other), jc.fit(one, jc.Ridge()).r2(one), rtol=1e-4)


@pytest.mark.extended
def test_declared_levels_stay_without_a_row():
    levels, frame = ["a", "b", "c"], table(12, 5, levels=("a", "c"))
    columns = {name: frame[name].to_numpy() for name in ("x", "t", "y")}
    g = frame.g.tolist()
    declared = {
        "pandas": frame.assign(g=pd.Categorical(g, levels)),
        "ordered": frame.assign(g=pd.Categorical(g, levels, ordered=True)),
        "enum": pl.DataFrame(columns | dict(g=pl.Series(g, dtype=pl.Enum(levels)))),
        "arrow": pa.table(
            columns | dict(g=pa.DictionaryArray.from_arrays([levels.index(v) for v in g], levels))
        ),
    }
    for one in declared.values():
        sample = sample_of(one, "x", "g")
        assert sample.schema.levels[1] == ("a", "b", "c")
        labels = np.array(sample.schema.levels[1])[np.asarray(sample.codes)[:, 1]]
        assert labels.tolist() == g
    sample = sample_of(declared["pandas"], "x", "g")
    effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
    shares = jc.balance(sample, effects.matching)
    assert np.isfinite(float(effects.att)) and "g: b" in shares.to_string()


def test_numbers_as_declared_levels_sort_as_numbers():
    frame = table(12, 6).assign(g=pd.Categorical([10, 2] * 6, [10, 2, 7]))
    assert sample_of(frame, "x", "g").schema.levels[1] == ("2", "7", "10")
