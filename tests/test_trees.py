"""Ensembles of other libraries: their own predictions, and boxes grown on them."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample
from sklearn import ensemble, tree

import jcausal as jc
from jcausal.surfaces._trees import _predictions
from jcausal.surfaces.tree_sums import TreeSum, as_arrays, read_ensemble


def lightgbm(**options):
    library = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    return library.LGBMRegressor(n_estimators=40, min_child_samples=5, verbose=-1, **options)


def xgboost(**options):
    library = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    return library.XGBRegressor(n_estimators=40, **options)


MODELS = {
    "one tree": lambda: tree.DecisionTreeRegressor(random_state=0),
    "forest": lambda: ensemble.RandomForestRegressor(30, random_state=0),
    "extra trees": lambda: ensemble.ExtraTreesRegressor(20, max_depth=6, random_state=0),
    "boosting": lambda: ensemble.GradientBoostingRegressor(n_estimators=50, random_state=0),
    "histogram boosting": lambda: ensemble.HistGradientBoostingRegressor(max_iter=40),
    "LightGBM": lightgbm,
    "LightGBM, deep": lambda: lightgbm(num_leaves=200),
    "LightGBM, forest": lambda: lightgbm(boosting_type="rf", bagging_fraction=0.7, bagging_freq=1),
    "XGBoost": xgboost,
    "XGBoost, several trees a round": lambda: xgboost(num_parallel_tree=3, subsample=0.7),
}


def some_data(seed=0, n=300, p=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)).round(2).astype(np.float32)
    x[:, -1] = rng.integers(0, 3, n)
    return x, np.sin(2 * x[:, 0]) * x[:, 1] + x[:, 2] * x[:, -1] + 0.1 * rng.normal(size=n)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("max_pair_bytes", [0, 2**26])
def test_arrays_predict_as_the_model_does(name, max_pair_bytes):
    """At the training rows, on their thresholds' grid, and off it."""
    x, y = some_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS[name]().fit(x, y)
        found = read_ensemble(model)
        trees, cuts = as_arrays(found, x.shape[1])
        forest = TreeSum(trees, cuts, found.offset, max_pair_bytes=max_pair_bytes)
        on_cuts = np.where(np.isfinite(cuts[:, :60]), cuts[:, :60], 0).T.astype(np.float32)
        for points in (x, on_cuts, np.nextafter(on_cuts, np.float32(np.inf)), 3 * x):
            points[np.abs(points) < 1e-30] = 0  # LightGBM has thresholds of -1e-35 around zero
            theirs = _predictions(model, points)
            ours = np.asarray(forest(jnp.asarray(points)))
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.ptp(theirs))


def test_a_classifier_of_random_trees_predicts_a_probability():
    x, y = some_data()
    model = ensemble.RandomForestClassifier(25, random_state=0).fit(x, y > 0)
    found = read_ensemble(model)
    ours = TreeSum(*as_arrays(found, x.shape[1]), found.offset)(jnp.asarray(x))
    np.testing.assert_allclose(ours, model.predict_proba(x)[:, 1], atol=1e-5)


@pytest.mark.extended
@pytest.mark.parametrize("only", [0.0, 1.0])
def test_a_classifier_that_sees_one_class_predicts_that_class(only):
    sample = draw_sample(4, n=80)
    y = np.where(np.asarray(sample.t), np.arange(80) % 3 == 0, only)
    made = jc.Trees(ensemble.RandomForestClassifier(5, max_leaf_nodes=8))
    surface = jc.fit(sample.with_outcome(y), made, key=0)
    np.testing.assert_allclose(np.asarray(surface(sample.x))[:, 0], only)
    assert surface.noise[0] == 0
    with pytest.raises(ValueError, match="has the classes 3.0: a"):
        jc.fit(sample.with_outcome(np.full(80, 3.0)), made, key=0)


@pytest.mark.extended
def test_boxes_on_a_forest_equal_boxes_on_its_own_predictions():
    """The surface inside the search against a plain function that calls scikit-learn."""
    train, test = draw_sample(1, n=120), draw_sample(2, n=60)
    surface = jc.fit(train, jc.Trees(ensemble.RandomForestRegressor(20)), key=0)
    again = jc.fit(train, jc.Trees(ensemble.RandomForestRegressor(20)), key=0)
    np.testing.assert_array_equal(surface(test.x), again(test.x))
    other = jc.fit(train, jc.Trees(ensemble.RandomForestRegressor(20)), key=1)
    assert (np.asarray(surface(test.x)) != np.asarray(other(test.x))).any()
    plain = jc.Function(lambda x: surface(x))
    method = jc.FastAHB(caliper=None)
    ours = jc.match(test, method, surface=surface)
    theirs = jc.match(test, method, surface=plain)
    np.testing.assert_array_equal(ours.lower_code, theirs.lower_code)
    np.testing.assert_array_equal(ours.upper_code, theirs.upper_code)
    assert (surface.noise > 0).all() and surface.trained.row.shape[0] == 120


@pytest.mark.extended
def test_categories_weights_and_one_arm():
    sample = draw_sample(3, n=150, category=3)
    model = jc.Trees(ensemble.RandomForestRegressor(10, min_samples_leaf=3))
    surface = jc.fit(sample, model, key=0, arms="control")
    out = np.asarray(surface(sample.x))
    assert np.isfinite(out[:, 0]).all() and np.isnan(out[:, 1]).all()
    effects = jc.estimate(sample, jc.FastAHB(gamma1=0.0, outcome=model), key=0)
    assert bool(effects.matched.all()) and np.isfinite(float(effects.att))
    weight = np.where(np.arange(150) < 75, 1.0, 0.0)
    half = jc.fit(draw_sample(3, n=150, category=3, weight=weight), model, key=0)
    assert half.trained.row.shape[0] == 75


@pytest.mark.extended
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: ensemble.GradientBoostingClassifier(n_estimators=3), "link around its sum"),
        (lambda: ensemble.GradientBoostingRegressor(init=tree.DecisionTreeRegressor()), "constant"),
        (lambda: lightgbm(linear_tree=True), "linear leaves"),
        (lambda: lightgbm(zero_as_missing=True), "takes 0 as missing"),
        (lambda: lightgbm(objective="poisson"), "predicts otherwise"),
        (lambda: xgboost(booster="dart"), "no plain sum"),
        (lambda: xgboost(objective="count:poisson"), "predicts otherwise"),
    ],
)
def test_what_is_no_sum_of_trees_is_refused(made, words):
    x, y = some_data()
    y = (y > 0).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample = jc.Sample(x, np.arange(300) % 2 == 0, y)
        with pytest.raises(ValueError, match=words):
            jc.fit(sample, jc.Trees(made()), key=0)


def test_what_is_no_estimator_is_refused():
    with pytest.raises(ValueError, match="is no estimator"):
        jc.Trees(3)
    with pytest.raises(ValueError, match="not a fitted ensemble"):
        read_ensemble(jc.Ridge())
    sample, method = draw_sample(0), jc.FastAHB(outcome=jc.Trees(tree.DecisionTreeRegressor()))

    def att(y):
        return jc.estimate(sample.with_outcome(y), method, key=0, throw=False).att

    with pytest.raises(ValueError, match="cannot be used under jit"):
        jax.jit(att)(sample.y)
