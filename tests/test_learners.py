"""Learners against econml, formulas by hand, honesty, and a process whose effect is known."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import close, draw_sample
from scipy.stats import binom
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LassoCV, LinearRegression, LogisticRegression
from sklearn.linear_model import Ridge as Penalised
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

import jcausal as jc
from jcausal.data import as_key, step_key
from jcausal.surfaces import deal_folds, fit_propensity

pytestmark = pytest.mark.x64
GOLDENS = Path(__file__).parent / "goldens" / "learners"
LINEAR = jc.Ridge(penalty=1e-12)
EXACT = dict(outcome=LINEAR, propensity=jc.Propensity(penalty=0))
BOTH = dict(outcome=jc.Ridge(), effect=jc.Ridge())
TREE = DecisionTreeRegressor(max_depth=2, random_state=0)
LEARNERS = {
    "s": jc.SLearner(outcome=jc.Ridge()),
    "t": jc.TLearner(outcome=jc.Ridge()),
    "x": jc.XLearner(**BOTH),
    "r": jc.RLearner(**BOTH),
    "dr": jc.DRLearner(**BOTH),
}
every = pytest.mark.parametrize("name", LEARNERS)
with_float64 = pytest.mark.skipif(not jax.config.jax_enable_x64, reason="six digits need float64")


def golden_units():
    units = pd.read_csv(GOLDENS / "units.csv")
    return units, jc.Sample(units[["x0", "x1", "x2"]].to_numpy(), units["t"], units["y"])


def confounded(seed=0, n=300, **options):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    t = rng.uniform(size=n) < 1 / (1 + np.exp(-0.8 * x[:, 0]))
    y = x[:, 0] + x[:, 1] + t * (1 + x[:, 1]) + 0.5 * rng.normal(size=n)
    return jc.Sample(x, t, y, **options)


@with_float64
@pytest.mark.parametrize(
    ("name", "learner"),
    [
        ("s", jc.SLearner(**EXACT)),
        ("t", jc.TLearner(**EXACT)),
        ("x", jc.XLearner(effect=TREE, **EXACT)),
        ("r", jc.RLearner(effect=LINEAR, **EXACT)),
        ("dr", jc.DRLearner(effect=LINEAR, score_clip=0.01, **EXACT)),
        ("t", jc.TLearner(outcome=LinearRegression())),
        (
            "dr",
            jc.DRLearner(
                effect=LinearRegression(),
                score_clip=0.01,
                **(EXACT | dict(outcome=LinearRegression())),
            ),
        ),
    ],
)
def test_effects_are_those_of_econml_on_the_same_folds(name, learner):
    units, sample = golden_units()
    found = jc.estimate(sample, learner, key=0, estimand="ate")
    assert (np.asarray(found.fold) == units["fold"]).all(), "other folds: make the files anew"
    theirs = pd.read_csv(GOLDENS / "effects.csv", comment="#")[name]
    close(found.ite, theirs, rtol=1e-6, atol=1e-6)


def inner_folds(sample, k, parts=2):
    """The folds that `estimate` deals with key 0, and the parts of the rest of fold k."""
    key = jax.random.fold_in(step_key(as_key(0, "estimate"), "estimate"), 0)
    fold = np.asarray(deal_folds(sample, 2, key))
    one = step_key(jax.random.fold_in(step_key(key, "fit"), k), "inner")
    return fold, np.asarray(deal_folds(sample.with_valid(jnp.asarray(fold != k)), parts, one))


def line(x, y, w, at):
    """A weighted least squares fit, at some points."""
    design = np.column_stack([np.ones(len(x)), x])
    b = np.linalg.lstsq(design * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    return np.column_stack([np.ones(len(at)), at]) @ b


def test_the_r_learner_is_the_regression_by_hand():
    weight = np.random.default_rng(5).uniform(0.5, 2, 300)
    sample = confounded(1, weight=weight)
    found = jc.estimate(sample, jc.RLearner(effect=LINEAR, outcome=LINEAR), key=0, estimand="ate")
    x, t, y = (np.asarray(a, float) for a in (sample.points, sample.t, sample.y))
    fold, part = inner_folds(sample, 0)
    m, e = np.zeros(300), np.zeros(300)
    for j in range(2):
        train, own = (fold != 0) & (part != j), part == j
        m[own] = line(x[train], y[train], weight[train], x[own])
        rest = jc.Sample(x[train], t[train], weight=weight[train])
        model = fit_propensity(rest, jc.Propensity(), None)
        e[own] = np.asarray(model(jnp.asarray(x[own], sample.x.dtype)))
    train, own = fold != 0, fold == 0
    left = t - e
    by_hand = line(x[train], (y - m)[train] / left[train], (weight * left**2)[train], x[own])
    close(np.asarray(found.ite)[own], by_hand, rtol=2e-3, atol=2e-3)
    first = fit_propensity(
        jc.Sample(x[train], t[train], weight=weight[train]), jc.Propensity(), None
    )
    chance = np.asarray(first(jnp.asarray(x[own], sample.x.dtype)))
    foretold, tau = np.asarray(found.predicted)[own], np.asarray(found.ite)[own]
    close(foretold[:, 1] - foretold[:, 0], tau, rtol=1e-3, atol=1e-4)
    means = [
        line(x[a], y[a], weight[a], x[own]) for a in ((fold != 0) & (part != j) for j in range(2))
    ]
    close(foretold[:, 0], np.mean(means, 0) - chance * tau, rtol=2e-3, atol=2e-3)


def test_the_average_is_the_doubly_robust_one_and_that_of_t_is_aipw():
    sample = confounded()
    for estimand in ("att", "atc", "ate"):
        one = jc.estimate(sample, jc.TLearner(outcome=jc.Ridge()), key=0, estimand=estimand)
        two = jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), key=0, estimand=estimand)
        close(one.average, two.average, rtol=1e-5)
        close(one.std_error, two.std_error, rtol=1e-5)
        close(one.influence, two.influence, rtol=1e-3, atol=1e-3)
        assert one.method == "TLearner"


@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_the_plug_in_average_is_the_mean_of_the_effects(estimand):
    sample = confounded(weight=np.random.default_rng(1).uniform(0.5, 2, 300))
    learner = jc.DRLearner(average="plug_in", **BOTH)
    found = jc.estimate(sample, learner, key=0, estimand=estimand)
    t = np.asarray(sample.t)
    whose = dict(att=t, atc=~t, ate=np.ones_like(t))[estimand]
    weight = np.asarray(sample.weight) * whose
    close(found.average, np.average(np.asarray(found.ite), weights=weight), rtol=1e-5)
    robust = jc.estimate(sample, jc.DRLearner(**BOTH), key=0, estimand=estimand)
    close(found.std_error, robust.std_error, rtol=1e-6)
    assert "intervals may be too short" in found.summary()
    assert "intervals may be too short" not in robust.summary()
    assert "effects at the units: median" in robust.summary()


@every
def test_outcomes_of_a_fold_move_none_of_its_effects(name):
    sample = confounded()
    one = jc.estimate(sample, LEARNERS[name], key=0)
    fold = np.asarray(one.fold)
    y = np.where(fold == 1, 5 * np.asarray(sample.y) ** 2, np.asarray(sample.y))
    two = jc.estimate(sample.with_outcome(y), LEARNERS[name], key=0)
    mine = fold == 1
    for field in ("ite", "predicted"):
        before, after = (np.asarray(getattr(found, field)) for found in (one, two))
        assert (before[mine] == after[mine]).all()
        assert (before[~mine] != after[~mine]).all()


@every
def test_it_finds_effects_that_are_lines(name):
    sample = confounded(3, n=2000)
    found = jc.estimate(sample, LEARNERS[name], key=0, estimand="ate")
    x = np.asarray(sample.points)
    truth = 1 + x[:, 1]
    error = np.sqrt(np.mean((np.asarray(found.ite) - truth) ** 2))
    assert error < (1.1 if name == "s" else 0.25)  # a line in x and t has one effect for all
    assert abs(float(found.average) - truth.mean()) < 4 * float(found.std_error)
    assert float(found.std_error) < 0.1


@every
def test_predictions_at_units_are_the_mean_of_the_folds(name):
    sample = confounded()
    found = jc.estimate(sample, LEARNERS[name], key=0, folds=3)
    each = np.stack([np.asarray(one.at(sample.x).effect) for one in found.learned])
    close(found.predict(sample.x), each.mean(0), rtol=1e-4, atol=1e-5)
    close(found.ite, each[np.asarray(found.fold), np.arange(300)], rtol=1e-4, atol=1e-5)
    close(
        jax.jit(lambda x: found.predict(x))(sample.x), found.predict(sample.x), rtol=1e-3, atol=1e-4
    )


@every
def test_frames_are_read_by_name_with_their_levels_and_gaps(name):
    rng = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame(dict(age=rng.normal(40, 9, n), kind=rng.choice(["a", "b", "c"], n)))
    frame["dose"] = np.where(rng.uniform(size=n) < 0.2, np.nan, rng.normal(size=n))
    frame["t"] = (rng.uniform(size=n) < 0.4).astype(int)
    frame["y"] = frame["age"] / 9 + frame["t"] * (frame["kind"] == "b") + rng.normal(size=n)
    for given in (frame, pl.from_pandas(frame)):
        sample = jc.Sample.from_frame(
            given, treatment="t", outcome="y", categorical=["kind"], missing="indicator"
        )
        found = jc.estimate(sample, LEARNERS[name], key=0)
        assert isinstance(found.units_frame(), type(given))
        told = found.predict(given[["kind", "y", "dose", "age"]])
        close(told, found.predict(sample.x), rtol=1e-4, atol=1e-4)
    columns = list(found.units_frame().columns)
    assert columns == ["id", "fold", "treated", "propensity", "y0", "y1", "ite", "influence"]
    wrong = frame.assign(kind="z")
    with pytest.raises(jc.DataError, match="240 points .* hold a level that is not of a, b, c"):
        found.predict(wrong)
    with pytest.raises(jc.DataError, match="covariate 'age': 1 of 240 points .* no finite number"):
        found.predict(frame.assign(age=frame["age"].where(frame.index != 3)))
    with pytest.raises(jc.DataError, match="no column 'dose'"):
        found.predict(frame.drop(columns="dose"))
    with pytest.raises(jc.DataError, match=r"give \(m, 4\)"):
        found.predict(np.ones((2, 3)))
    bad = np.array(sample.x)[:2]
    bad[0, list(sample.schema.names).index("kind")] = 7
    with pytest.raises(jc.DataError, match="no code from 0 to 2"):
        found.predict(bad)


def test_an_average_without_effects_of_units_says_so():
    found = jc.estimate(confounded(), jc.AIPW(outcome=jc.Ridge()), key=0)
    with pytest.raises(ValueError, match="AIPW gives an average and no effect of a unit"):
        found.predict(np.ones((1, 2)))
    assert "ite" not in found.units_frame().columns
    weights = jc.estimate(confounded(), jc.IPTW()).units_frame()
    assert "weight" in weights.columns and "y0" not in weights.columns


@pytest.mark.parametrize("name", ["s", "t", "x"])
def test_a_unit_of_weight_two_is_two_units(name):
    sample = confounded(7, n=160)
    x, t, y = (np.asarray(a) for a in (sample.points, sample.t, sample.y))
    twice = np.arange(160) % 4 == 0
    rows = np.concatenate([np.arange(160), np.flatnonzero(twice)])
    samples = jc.Sample(x, t, y, weight=1.0 + twice), jc.Sample(x[rows], t[rows], y[rows])
    one, two = (LEARNERS[name].learn(s, jax.random.key(0)).at(sample.x) for s in samples)
    close(one.effect, two.effect, rtol=1e-3, atol=1e-3)
    close(one.outcomes, two.outcomes, rtol=1e-3, atol=1e-3)


def test_regressors_of_scikit_learn_and_pipelines_are_taken():
    sample = confounded()
    for estimator in (LinearRegression(), make_pipeline(StandardScaler(), Penalised(1e-9))):
        for kind in (jc.TLearner, jc.AIPW):
            wrapped = jc.surfaces.Regressor(estimator)
            given = estimator if kind is jc.TLearner else wrapped
            found = jc.estimate(sample, kind(outcome=given), key=0, estimand="ate")
            linear = jc.estimate(sample, kind(outcome=LINEAR), key=0, estimand="ate")
            close(found.average, linear.average, rtol=1e-4)
    weighted = jc.RLearner(outcome=LassoCV(), effect=make_pipeline(StandardScaler(), LassoCV()))
    assert np.isfinite(jc.estimate(sample, weighted, key=0).average)
    assert not weighted.traceable
    with pytest.raises(ValueError, match="KNeighborsRegressor takes no sample_weight"):
        jc.estimate(sample, jc.RLearner(outcome=LINEAR, effect=KNeighborsRegressor()), key=0)
    with pytest.raises(ValueError, match="KNeighborsRegressor predicts on the host"):
        jc.estimate(sample, jc.AHB(outcome=jc.surfaces.Regressor(KNeighborsRegressor())), key=0)


@pytest.mark.parametrize("name", ["x", "r", "dr"])
def test_a_classifier_tells_the_chance_also_at_new_points(name):
    sample = confounded()
    kind, same = type(LEARNERS[name]), jc.Propensity(penalty=0)
    other = jc.Propensity(classifier=LogisticRegression(C=np.inf, tol=1e-8))
    one, two = (
        jc.estimate(sample, kind(propensity=p, **BOTH), key=0, estimand="ate")
        for p in (same, other)
    )
    close(two.average, one.average, rtol=1e-3)
    close(two.ite, one.ite, rtol=2e-2, atol=5e-3)
    close(two.predict(sample.x), one.predict(sample.x), rtol=2e-2, atol=5e-3)
    assert not kind(propensity=other).traceable


class Broken(RegressorMixin, BaseEstimator):
    """A regressor that predicts NaN."""

    def fit(self, features, y, sample_weight=None):
        return self

    def predict(self, features):
        return np.full(len(features), np.nan)


def test_bad_input_is_one_sentence(unchecked):
    sample = confounded(n=60)
    few = jc.Sample(sample.x, np.arange(60) < 1, sample.y)
    named = jc.Sample(sample.x, sample.t, sample.y, names=["treated", "b"])
    run = partial(jc.estimate, key=0)
    for call, error, words in [
        (lambda: run(sample, jc.TLearner(outcome=Broken())), jc.DataError, "Broken predicts no"),
        (
            lambda: run(few, jc.TLearner()),
            jc.DataError,
            "29 controls and 0 treated.*: give more rows",
        ),
        (lambda: run(sample, jc.TLearner(), folds=90), jc.DataError, "use at most"),
        (lambda: run(sample, jc.TLearner(), folds=1), jc.HonestyError, "with folds=1 the models"),
        (lambda: run(named, jc.SLearner()), jc.DataError, "a covariate is called 'treated'"),
        (lambda: jc.TLearner(outcome=jc.Function(lambda x: x)), ValueError, "trains its own"),
        (lambda: jc.TLearner(outcome="ridge"), ValueError, r"write outcome=jc.Ridge\(\)"),
        (lambda: jc.DRLearner(effect=None), ValueError, "effect is None"),
        (lambda: jc.DRLearner(inner=1), ValueError, "inner is 1: it must be at least 2"),
        (lambda: jc.XLearner(clip=0.7), ValueError, "clip is 0.7"),
        (lambda: jc.XLearner(average="mean"), ValueError, "use 'doubly_robust' or 'plug_in'"),
        (lambda: jc.surfaces.Regressor(3), ValueError, "3 has no fit"),
        (lambda: jc.estimate(sample, jc.TLearner()), ValueError, "draws at random"),
    ]:
        with pytest.raises(error, match=words):
            call()
    x = np.arange(60.0)[:, None]
    apart = jc.Sample(x, x[:, 0] >= 30, sample.y)
    strict = jc.XLearner(propensity=jc.Propensity(penalty=0), **BOTH)
    with pytest.raises(jc.DataError, match="told apart without error"):
        run(apart, strict)
    assert "rests on the outcome model alone" in run(apart, jc.DRLearner(**BOTH)).summary()


def test_a_part_that_lacks_an_arm_is_named():
    rng = np.random.default_rng(0)
    sample = jc.Sample(rng.normal(size=(40, 2)), np.arange(40) < 2, rng.normal(size=40))
    assert np.isfinite(jc.estimate(sample, jc.TLearner(outcome=jc.Ridge()), key=0).average)
    with pytest.raises(jc.DataError, match="inner=2 parts.* 0 treated .*use jc.TLearner"):
        jc.estimate(sample, jc.DRLearner(**BOTH), key=0)


def test_padding_and_weight_zero_change_nothing():
    sample = draw_sample(0, n=120, p=2, id=np.arange(120))
    for learner in LEARNERS.values():
        whole = jc.estimate(sample, learner, key=0)
        x = np.concatenate([np.asarray(sample.points), np.full((8, 2), 3.0)])
        t, y = (np.concatenate([np.asarray(a), np.ones(8)]) for a in (sample.t, sample.y))
        valid = np.arange(128) < 120
        padded = jc.Sample(x, t, y, id=np.arange(128), valid=valid)
        found = jc.estimate(padded, learner, key=0)
        close(found.average, whole.average, rtol=1e-4)
        close(np.asarray(found.ite)[:120], whole.ite, rtol=1e-3, atol=1e-4)
        assert len(found.units_frame()) == 120


def test_the_dr_average_covers_its_effect():
    learner = jc.DRLearner(**BOTH)

    @jax.jit
    @jax.vmap
    def draw(key):
        keys = jax.random.split(key, 4)
        x = jax.random.normal(keys[0], (250, 2))
        t = jax.random.uniform(keys[1], (250,)) < jax.nn.sigmoid(0.5 * x[:, 0])
        y = x[:, 0] + x[:, 1] + t * (1 + x[:, 1]) + jax.random.normal(keys[2], (250,))
        found = jc.estimate(jc.Sample(x, t, y), learner, estimand="ate", key=keys[3], throw=False)
        low, high = found.bounds(0.95)
        return (low <= 1) & (high >= 1), found.average

    covered, average = draw(jax.random.split(jax.random.key(0), 100))
    assert binom.ppf(0.001, 100, 0.95) <= int(covered.sum())
    assert abs(float(average.mean()) - 1) < 4 * float(average.std()) / 10
