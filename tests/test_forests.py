"""Forests against econml and scikit-learn with the same settings, and on known processes."""

import sys

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import close
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

import jcausal as jc
from jcausal.data import as_key, row_draws, step_key
from jcausal.surfaces import deal_folds, seed_of

pytestmark = pytest.mark.x64
LINEAR = jc.Ridge(penalty=1e-12)
with_float64 = pytest.mark.skipif(not jax.config.jax_enable_x64, reason="splits need float64")


def confounded(seed=0, n=300, effect=lambda x: 1 + x[:, 1], **options):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    t = rng.uniform(size=n) < 1 / (1 + np.exp(-0.8 * x[:, 0]))
    y = x[:, 0] + x[:, 1] + t * effect(x) + 0.5 * rng.normal(size=n)
    return jc.Sample(x, t, y, **options)


def in_turn(sample, key):
    """The valid rows in the order of their draws."""
    rows = np.flatnonzero(np.asarray(sample.valid))
    return rows[np.argsort(np.asarray(row_draws(sample, key))[rows], kind="stable")]


def test_a_random_forest_is_that_of_scikit_learn():
    sample = confounded(weight=np.random.default_rng(1).uniform(0.5, 2, 300))
    model = jc.surfaces.RandomForest(trees=20, min_leaf=3, max_features=1)
    found = np.asarray(jc.fit(sample, model, key=0)(sample.x))
    key = step_key(as_key(0, "fit"), "fit")
    rows = in_turn(sample, key)
    x, t, y, w = (np.asarray(a)[rows] for a in (sample.x, sample.t, sample.y, sample.weight))
    for arm in (0, 1):
        seed = seed_of(key)
        theirs = RandomForestRegressor(20, min_samples_leaf=3, max_features=1, random_state=seed)
        theirs.fit(x[t == arm], y[t == arm], sample_weight=w[t == arm])
        close(found[:, arm], theirs.predict(np.asarray(sample.x)), rtol=1e-5, atol=1e-6)


def test_a_forest_is_the_t_learner_of_random_forests():
    sample = confounded()
    forest = jc.Forest(trees=10, min_leaf=4)
    outcome = jc.surfaces.RandomForest(trees=10, min_leaf=4)
    one, two = (
        jc.estimate(sample, method, key=0, estimand="ate")
        for method in (forest, jc.TLearner(outcome=outcome))
    )
    assert (np.asarray(one.ite) == np.asarray(two.ite)).all() and one.average == two.average
    assert one.method == "Forest" and not forest.traceable


@with_float64
@pytest.mark.parametrize("criterion", ["mse", "het"])
def test_effects_and_their_intervals_are_those_of_econml(criterion):
    from econml.dml import CausalForestDML

    sample = confounded(weight=np.random.default_rng(1).uniform(0.5, 2, 300))
    exact = dict(outcome=LINEAR, propensity=jc.Propensity(penalty=0), clip=1e-6)
    method = jc.CausalForest(trees=40, min_leaf=3, criterion=criterion, max_features=1, **exact)
    found = jc.estimate(sample, method, key=0)
    key = jax.random.fold_in(step_key(as_key(0, "estimate"), "estimate"), 0)
    fold = np.asarray(deal_folds(sample, 2, key))
    for k in range(2):
        outside = sample.with_valid(jax.numpy.asarray(fold != k))
        one = jax.random.fold_in(step_key(key, "fit"), k)
        part = np.asarray(deal_folds(outside, 2, step_key(one, "inner")))
        grown = step_key(one, "effect")
        rows = in_turn(outside, grown)
        x, t, y, w = (np.asarray(a)[rows] for a in (sample.x, sample.t, sample.y, sample.weight))
        parts = [(np.flatnonzero(part[rows] != j), np.flatnonzero(part[rows] == j)) for j in (0, 1)]
        theirs = CausalForestDML(
            model_y=LinearRegression(),
            model_t=LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000),
            discrete_treatment=True,
            cv=parts,
            n_estimators=40,
            min_samples_leaf=3,
            min_samples_split=6,
            max_features=1,
            criterion=criterion,
            random_state=seed_of(grown),
        ).fit(y, t.astype(int), X=x, sample_weight=w)
        mine = fold == k
        at = np.asarray(sample.x)[mine]
        close(np.asarray(found.ite)[mine], theirs.effect(at).ravel(), rtol=1e-3, atol=1e-3)
        units = found.units_frame(0.9)
        ends = theirs.effect_interval(at, alpha=0.1)
        for name, end in zip(("lower", "upper"), ends):
            close(units[name].to_numpy()[mine], end.ravel(), rtol=2e-3, atol=2e-3)


def test_a_causal_forest_takes_categories_gaps_clusters_and_weights():
    rng = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame(dict(age=rng.normal(40, 9, n), kind=rng.choice(["a", "b", "c"], n)))
    frame["dose"] = np.where(rng.uniform(size=n) < 0.2, np.nan, rng.normal(size=n))
    frame["t"] = (rng.uniform(size=n) < 0.4).astype(int)
    frame["y"] = frame["age"] / 9 + frame["t"] * (frame["kind"] == "b") + rng.normal(size=n)
    frame["w"], frame["g"] = rng.uniform(0.5, 2, n), np.arange(n) // 4
    roles = dict(treatment="t", outcome="y", categorical=["kind"], missing="indicator")
    sample = jc.Sample.from_frame(frame, weight="w", cluster="g", **roles)
    method = jc.CausalForest(outcome=jc.Ridge(), trees=20)
    found = jc.estimate(sample, method, key=0, estimand="ate")
    assert (pd.Series(np.asarray(found.fold)).groupby(frame["g"]).nunique() == 1).all()
    told = found.predict_frame(frame.iloc[:9])
    assert list(told.columns) == ["effect", "lower", "upper", "y0", "y1"] and len(told) == 9
    close(told["effect"], found.predict(frame.iloc[:9]), rtol=1e-6)
    close(told["y1"] - told["y0"], told["effect"], rtol=1e-3, atol=1e-4)
    assert (told["lower"] < told["effect"]).all() and (told["effect"] < told["upper"]).all()
    with pytest.raises(ValueError, match="a causal forest predicts on the host"):
        jax.jit(lambda x: found.predict(x))(sample.x)


def test_every_learner_has_a_frame_of_predictions():
    found = jc.estimate(confounded(), jc.DRLearner(outcome=LINEAR, effect=LINEAR), key=0)
    told = found.predict_frame(confounded().x[:4])
    assert list(told.columns) == ["effect", "y0", "y1"]
    close(told["effect"], found.predict(confounded().x[:4]), rtol=1e-6)


@pytest.mark.parametrize("method", [jc.Forest, jc.CausalForest])
def test_wrong_options_and_missing_packages_are_one_sentence(method, monkeypatch):
    for wrong in (dict(trees=0), dict(min_leaf=0), dict(max_features=1.5), dict(max_features=0)):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            method(**wrong)
    with pytest.raises(ValueError, match="multiple of 4"):
        jc.CausalForest(trees=10)
    monkeypatch.setitem(sys.modules, "econml.grf", None)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    extra = "sklearn" if method is jc.Forest else "forest"
    cheap = {} if method is jc.Forest else dict(outcome=jc.Ridge())
    with pytest.raises(ImportError, match=rf"jcausal\[{extra}\]"):
        jc.estimate(confounded(), method(**cheap), key=0)


@pytest.mark.extended
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
@pytest.mark.parametrize("effect", [lambda x: 0 * x[:, 0] + 1, lambda x: 1 + x[:, 1]])
def test_intervals_of_the_average_and_of_units_cover(estimand, effect):
    """40 samples: 32 of 40 intervals of 95% hold the truth in all but one of 3,000 such tests."""
    covered, units = 0, []
    for seed in range(40):
        sample = confounded(seed, n=500, effect=effect)
        found = jc.estimate(
            sample, jc.CausalForest(outcome=LINEAR, trees=100), key=seed, estimand=estimand
        )
        x, t = np.asarray(sample.x, float), np.asarray(sample.t)
        whose = dict(att=t, atc=~t, ate=np.ones_like(t))[estimand]
        low, high = found.bounds(0.95)
        truth = effect(x)
        covered += bool(low < truth[whose].mean() < high)
        frame = found.units_frame()
        units.append(np.mean((frame["lower"] < truth) & (truth < frame["upper"])))
    assert covered >= 32
    assert np.mean(units) > 0.75, np.mean(units)
