"""Predictions of matchings at new points, against brute force and the verbs taken one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import close, draw_sample, wavy

import jcausal as jc

pytestmark = pytest.mark.x64
SURFACE = jc.Function(wavy)
AT = np.array([[0.1, -0.3], [1.0, 0.4], [-0.7, 0.9]])
MATCHERS = {
    "ahb": jc.AHB(outcome=jc.Ridge()),
    "fast": jc.FastAHB(outcome=SURFACE, gamma1=0.0),
    "nearest": jc.NearestNeighbors(ratio=2),
    "prognostic": jc.PrognosticNeighbors(outcome=jc.Ridge()),
    "malts": jc.MALTS(stretch=jc.Stretch(steps=10), k=4),
    "cem": jc.CEM(bins=3),
}
every = pytest.mark.parametrize("name", MATCHERS)


def sample_of(seed=0, **options):
    return draw_sample(seed, n=120, p=2, **options)


def arrays(sample):
    return tuple(np.asarray(a) for a in (sample.points, sample.t, sample.y))


@pytest.mark.parametrize("adjust", ["auto", None])
@pytest.mark.parametrize(
    "method", [jc.AHB(outcome=jc.Ridge(), bins=500), jc.FastAHB(outcome=jc.Ridge())]
)
def test_boxes_are_those_of_match_in_every_fold(method, adjust):
    sample = sample_of()
    effects = jc.estimate(sample, method, key=0, folds=3, effect="group", adjust=adjust)
    fold, each = np.asarray(effects.matching.fold), []
    for k in range(3):
        part = sample.with_valid(jnp.asarray(fold == k))
        matching = jc.match(part, method, surface=effects.surfaces[k], at=AT)
        each.append(jc.estimate(part, matching, effect="group", adjust=adjust))
    close(effects.predict(AT), np.mean([one.ite for one in each], 0), rtol=1e-4, atol=1e-5)
    frame = effects.predict_frame(AT)
    close(frame["y0"], np.mean([one.y0 for one in each], 0), rtol=1e-4, atol=1e-5)
    assert (frame["n_treated"] == sum(np.asarray(one.n_treated) for one in each)).all()
    assert (frame["reason"] == "matched").all()


def test_one_arms_surface_stands_in_for_the_other():
    sample = sample_of()
    effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge(), bins=500), key=0)
    fold, each = np.asarray(effects.matching.fold), []
    for k, surface in enumerate(effects.surfaces):
        assert np.isnan(np.asarray(surface.noise)).any()
        part = sample.with_valid(jnp.asarray(fold == k))
        both = jc.surfaces.for_both_arms(surface)
        assert (np.asarray(both(part.x))[:, 0] == np.asarray(both(part.x))[:, 1]).all()
        close(both(part.x)[:, 0], surface(part.x)[:, 0], rtol=1e-6)
        matching = jc.match(part, jc.AHB(bins=500), surface=both, at=AT)
        each.append(jc.estimate(part, matching, effect="group").ite)
    close(effects.predict(AT), np.mean(each, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ties", ["all", "first"])
def test_nearest_units_are_those_of_brute_force(ties):
    weight = np.random.default_rng(1).uniform(0.5, 2, 120)
    sample = sample_of(weight=weight)
    x, t, y = arrays(sample)
    effects = jc.estimate(sample, jc.NearestNeighbors(ratio=3, metric="euclidean", ties=ties))
    found = np.zeros((3, 2))
    for i, at in enumerate(AT):
        for arm in (0, 1):
            rows = np.flatnonzero(t == arm)
            near = rows[np.argsort(((x[rows] - at) ** 2).sum(1))[:3]]
            found[i, arm] = np.average(y[near], weights=weight[near])
    close(effects.predict(AT), found[:, 1] - found[:, 0], rtol=1e-5, atol=1e-6)
    frame = effects.predict_frame(AT)
    close(frame[["y0", "y1"]].to_numpy(), found, rtol=1e-5, atol=1e-6)
    assert (frame["n_control"] == 3).all() and (frame["n_treated"] == 3).all()


def test_points_move_no_metric_and_no_caliper():
    """Mahalanobis distances within calipers of a score: far points leave those of others alone."""
    sample = sample_of()
    x, t, y = arrays(sample)
    method = jc.NearestNeighbors(caliper={"x0": 0.5})
    effects = jc.estimate(sample, method)
    far = np.concatenate([AT, [[50.0, -80.0]]])
    told, alone = effects.predict_frame(far), effects.predict_frame(AT)
    pd.testing.assert_frame_equal(told.iloc[:3], alone)
    assert np.isnan(told["effect"][3]) and "caliper" in told["reason"][3]
    centred = x - np.array([x[t == arm].mean(0) for arm in (0, 1)])[t.astype(int)]
    inverse = np.linalg.inv(centred.T @ centred / (len(x) - 1))
    wide = 0.5 * x[:, 0].std(ddof=1)
    for i, at in enumerate(AT):
        d = np.einsum("ij,jk,ik->i", x - at, inverse, x - at)
        d = np.where(np.abs(x[:, 0] - at[0]) <= wide, d, np.inf)
        both = [y[np.flatnonzero(t == arm)[np.argmin(d[t == arm])]] for arm in (0, 1)]
        close(told["effect"][i], both[1] - both[0], rtol=1e-5, atol=1e-5)


def test_a_point_belongs_to_the_stratum_of_its_bins():
    sample = sample_of()
    x, t, y = arrays(sample)
    edges = {"x0": [-0.5, 0.5], "x1": [0.0]}
    effects = jc.estimate(sample, jc.CEM(bins=edges))
    cell = np.searchsorted([-0.5, 0.5], x[:, 0], "right") * 2 + (x[:, 1] >= 0)
    mine = np.searchsorted([-0.5, 0.5], AT[:, 0], "right") * 2 + (AT[:, 1] >= 0)
    truth = [y[(cell == c) & t].mean() - y[(cell == c) & ~t].mean() for c in mine]
    close(effects.predict(AT), truth, rtol=1e-5, atol=1e-6)
    close(effects.predict(np.concatenate([AT, [[99.0, 99.0]]]))[:3], truth, rtol=1e-5, atol=1e-6)
    finest = jc.estimate(sample_of(), jc.CEM(bins=6)).predict_frame(AT[:1] + 90)
    assert np.isnan(finest["effect"][0]) or finest["reason"][0] == "matched"
    assert (finest["n_control"] == 0).all() == bool(np.isnan(finest["effect"][0]))


@every
def test_frames_are_read_by_name_with_their_levels_and_gaps(name):
    rng = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame(dict(age=rng.normal(40, 9, n), kind=rng.choice(["a", "b", "c"], n)))
    frame["dose"] = np.where(rng.uniform(size=n) < 0.2, np.nan, rng.normal(size=n))
    frame["t"] = (rng.uniform(size=n) < 0.4).astype(int)
    frame["y"] = frame["age"] / 9 + frame["t"] * (frame["kind"] == "b") + rng.normal(size=n)
    roles = dict(treatment="t", outcome="y", categorical=["kind"], missing="indicator")
    sample = jc.Sample.from_frame(pl.from_pandas(frame), **roles)
    method = MATCHERS[name]
    if name == "fast":
        method = jc.FastAHB(outcome=jc.Ridge())
    effects = jc.estimate(sample, method, key=0)
    shown = pl.from_pandas(frame[["kind", "y", "dose", "age"]].iloc[:12])
    told = effects.predict_frame(shown)
    assert isinstance(told, pl.DataFrame) and told.shape == (12, 6)
    close(told["effect"], effects.predict(sample.x[:12]), rtol=1e-4, atol=1e-4)
    assert np.isfinite(told["effect"].to_numpy()).sum() >= 6
    with pytest.raises(jc.DataError, match="hold a level that is not of a, b, c"):
        effects.predict(shown.with_columns(kind=pl.lit("z")))


@every
def test_points_are_told_one_by_one_and_in_any_order(name):
    sample = sample_of()
    effects = jc.estimate(sample, MATCHERS[name], key=0)
    whole = np.asarray(effects.predict(AT))
    close(np.asarray(effects.predict(AT[::-1]))[::-1], whole, rtol=1e-5, atol=1e-5)
    close([effects.predict(AT[i : i + 1])[0] for i in range(3)], whole, rtol=1e-5, atol=1e-5)
    assert effects.predict(np.zeros((0, 2))).shape == (0,)
    assert effects.unadjusted.predict(AT).shape == (3,)
    with pytest.raises(jc.DataError, match=r"give \(m, 2\)"):
        effects.predict(np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (jc.M5Model(), "at= has none; for other points use jc.AHB"),
        (jc.NearestNeighbors(replace=False), "NearestNeighbors matches rows of the sample"),
        (jc.FullMatching(), "use jc.AHB, jc.NearestNeighbors or jc.CEM"),
        (jc.Subclassification(groups=3), "Subclassification matches rows"),
        (jc.FLAME(outcome=SURFACE, bins="q3"), "FLAME matches rows"),
    ],
)
def test_methods_that_cannot_say_what_can(method, words):
    with pytest.raises(ValueError, match=words):
        jc.estimate(sample_of(), method, key=0).predict(AT)


def test_what_is_not_known_of_the_groups_is_said():
    sample = sample_of()
    matching = jc.match(sample, jc.CEM(bins=3))
    with pytest.raises(ValueError, match="made of a matching at hand"):
        jc.estimate(sample, matching).predict(AT)
    beside = jc.estimate(sample, jc.CEM(bins=3), adjust=jc.Ridge(), key=0)
    with pytest.raises(ValueError, match="adjusted by a model beside the matching"):
        beside.predict(AT)


@every
def test_effects_go_through_compiled_functions(name):
    effects = jc.estimate(sample_of(), MATCHERS[name], key=0)
    assert np.isclose(jax.jit(lambda e: e.average)(effects), effects.average, rtol=1e-5)
    there = jax.jit(lambda e: jax.tree.map(jnp.asarray, e))(effects)
    close(there.predict(AT), effects.predict(AT), rtol=1e-5)
