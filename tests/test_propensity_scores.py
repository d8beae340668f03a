"""Propensity scores: R's glm, scikit-learn, separation by linear programs, folds, classifiers."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared
from oracles import match_rules
from scipy.optimize import linprog
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import jcausal as jc
from jcausal.data import as_key, step_key
from jcausal.surfaces import Classifier, Encoding, deal_folds, fitted_chances, propensity_scores
from jcausal.surfaces._separation import separated

LIKELIHOOD = jc.Propensity(penalty=0)
GOLDEN = Path(__file__).parent / "goldens" / "matching" / "propensity.json"
LALONDE = "lalonde_matchit.csv"
COVARIATES = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]


def exact(low=1e-4, high=1e-6):
    """A tolerance for float32, and one for float64."""
    return high if jax.config.read("jax_enable_x64") else low


@pytest.fixture(scope="module")
def lalonde():
    roles = dict(treatment="treat", outcome="re78", covariates=COVARIATES, categorical=["race"])
    return jc.Sample.from_frame(pd.read_csv(shared(LALONDE)), **roles)


def features_of(sample):
    return np.asarray(Encoding(sample.schema)(sample.x), np.float64)


@pytest.mark.x64
def test_without_a_penalty_the_scores_are_those_of_glm_in_r(lalonde):
    theirs = json.loads(GOLDEN.read_text())["converged_score"]
    close(propensity_scores(lalonde, LIKELIHOOD), theirs, rtol=0, atol=exact())
    traced = jax.jit(lambda valid: propensity_scores(lalonde.with_valid(valid), LIKELIHOOD))
    close(traced(lalonde.valid), theirs, rtol=0, atol=exact())


@pytest.mark.x64
@pytest.mark.extended
def test_votes_have_the_scores_matches_and_estimate_of_r():
    """Ward 22 has no treated unit, of which R's glm says nothing: its scores there tend to 0."""
    theirs = json.loads(GOLDEN.with_name("match_gerber.json").read_text())
    frame = pd.read_csv(shared("gerber_green_imai.csv.gz"))
    frame["one"], frame["two"] = frame.PERSONS * frame.VOTE96_1, frame.PERSONS * frame.NEW
    names = ["PERSONS", "VOTE96_1", "NEW", "MAJORPTY", "AGE", "AGE2", "WARD", "one", "two"]
    roles = dict(treatment="PHN_C1", covariates=names, categorical=["WARD"])
    with pytest.raises(jc.DataError, match="281 of 10,829 units .* by 'WARD' [(]'22' in all"):
        propensity_scores(jc.Sample.from_frame(frame, **roles), LIKELIHOOD)
    rest = np.flatnonzero(frame.WARD != 22)
    sample = jc.Sample.from_frame(frame.iloc[rest].reset_index(drop=True), **roles)
    scores, t = np.zeros(len(frame)), np.asarray(frame.PHN_C1) == 1
    scores[rest] = np.asarray(propensity_scores(sample, LIKELIHOOD))
    close(scores[t], theirs["score_of_treated"], rtol=0, atol=exact())
    if jax.config.read("jax_enable_x64"):
        pairs = match_rules.matches(match_rules.scaled(scores[:, None], 1), t)
        assert len(pairs[0]) == theirs["matches"]
        found = match_rules.estimate(np.asarray(frame.VOTED98, float), pairs)
        close(found, (theirs["estimate"], theirs["se"]), rtol=1e-6)


@pytest.mark.x64
@pytest.mark.parametrize("penalty", [0, 1e-3, 0.3])
def test_the_scores_are_those_of_scikit_learn(penalty):
    weight = np.random.default_rng(0).uniform(0.5, 2, 240)
    sample = draw_sample(0, n=240, p=3, category=3, weight=weight)
    z, t = features_of(sample), np.asarray(sample.t)
    z = z - np.average(z, axis=0, weights=weight)
    z = z / np.sqrt(np.average(z**2, axis=0, weights=weight))
    model = LogisticRegression(
        C=1 / (penalty * weight.sum()) if penalty else np.inf, tol=1e-10, max_iter=9999
    )
    model.fit(z, t, sample_weight=weight)
    found = propensity_scores(sample, jc.Propensity(penalty=penalty))
    close(found, model.predict_proba(z)[:, 1], rtol=0, atol=exact(1e-4, 1e-5))


@pytest.mark.x64
def test_constant_and_repeated_columns_and_all_levels_of_a_category_change_nothing():
    weight = np.arange(150) > 0
    sample = draw_sample(1, n=150, weight=weight)
    x, t = np.asarray(sample.points), np.asarray(sample.t)
    plain = propensity_scores(sample, LIKELIHOOD)
    flat = np.where(weight, 7.7, 7.8)
    more = np.column_stack([x, flat, x[:, 0], 3 * x[:, 1] - x[:, 2] + 1])
    found = propensity_scores(jc.Sample(more, t, weight=weight), LIKELIHOOD)
    close(found[1:], plain[1:], atol=exact())
    level = np.arange(150) % 3
    dummies = np.column_stack([x, level == 1, level == 2])
    kinds = ["number"] * 3 + ["category"]
    one = jc.Sample(np.column_stack([x, level]), t, kinds=kinds)
    two = propensity_scores(jc.Sample(dummies, t), LIKELIHOOD)
    close(propensity_scores(one, LIKELIHOOD), two, atol=exact())


def test_a_fit_that_comes_out_as_nan_is_refused(monkeypatch):
    """Features that say the same, and a penalty that float32 cannot tell from 0."""

    def solved(a, b):
        return jnp.full_like(b, jnp.nan)

    monkeypatch.setattr(jnp.linalg, "solve", solved)
    sample = draw_sample(12, n=83, p=7)
    with pytest.raises(ValueError, match="the penalty 1e-09 .* does not settle in float.*: use 0"):
        propensity_scores(sample, jc.Propensity(penalty=1e-9))
    with pytest.raises(ValueError, match="the penalty 0 .* does not settle .*: use a small one"):
        propensity_scores(sample, LIKELIHOOD)


@pytest.mark.x64
@pytest.mark.parametrize("penalty", [0, None])
def test_a_weight_of_two_is_two_units_and_of_none_a_unit_that_is_only_scored(penalty):
    model = jc.Propensity(penalty=penalty)
    base, weight = draw_sample(2, n=120), np.arange(120) % 3
    x, t = np.asarray(base.points), np.asarray(base.t)
    rows = np.repeat(np.arange(120), weight)
    heavy = propensity_scores(jc.Sample(x, t, weight=weight), model)
    close(heavy[rows], propensity_scores(jc.Sample(x[rows], t[rows]), model), atol=exact())
    turned = np.where(weight == 0, ~t, t)
    close(propensity_scores(jc.Sample(x, turned, weight=weight), model), heavy, atol=exact())
    assert np.isfinite(np.asarray(heavy)).all()


def test_missing_values_have_their_own_feature(lalonde):
    frame = pd.read_csv(shared(LALONDE))[["treat", "age", "re74"]]
    frame.loc[::4, "age"] = np.nan
    sample = jc.Sample.from_frame(frame, treatment="treat", missing="indicator")
    gap = frame["age"].isna()
    filled = frame.assign(age=frame["age"].fillna(frame["age"].mean()), gap=gap.astype(int))
    plain = jc.Sample.from_frame(filled, treatment="treat")
    close(propensity_scores(sample, LIKELIHOOD), propensity_scores(plain, LIKELIHOOD), atol=1e-4)


def can_be_separated(features, t):
    """Konis (2007): whether a linear program finds a direction against which no unit goes."""
    design = np.column_stack([np.ones(len(t)), features]) * np.where(t, 1, -1)[:, None]
    found = linprog(-design.sum(0), A_ub=-design, b_ub=np.zeros(len(t)), bounds=(-1, 1))
    return -found.fun > 1e-7


def test_units_that_are_told_apart_are_those_that_a_linear_program_finds():
    rng, counts = np.random.default_rng(3), [0, 0]
    for _ in range(300):
        n = int(rng.integers(12, 40))
        features = rng.integers(0, 4, (n, 3)).astype(float)
        t = features @ rng.normal(size=3) + rng.normal(size=n) * rng.choice([0, 0.3, 2]) > 1
        if t.any() and not t.all():
            found = separated(features, t, np.full(n, 1 / n))
            assert (found is not None) == can_be_separated(features, t)
            assert found is None or found.apart.any()
            counts[found is not None] += 1
    assert min(counts) > 50


@pytest.mark.x64
def test_separation_names_the_covariate_the_units_and_what_to_do():
    rng = np.random.default_rng(4)
    school = rng.integers(0, 5, 300)
    t = (rng.random(300) < 0.4) & (school != 3)
    names = np.array(list("ABCDE"))[school]
    frame = pd.DataFrame(dict(pay=rng.normal(size=300), school=names, t=t.astype(int)))
    sample = jc.Sample.from_frame(frame, treatment="t", categorical=["school"])
    count = int((school == 3).sum())
    words = f"{count} of 300 units .* are told apart without error, the most by 'school' [(]'D' in "
    with pytest.raises(jc.DataError, match=words + "all of them[)]: use a penalty above 0, or"):
        propensity_scores(sample, LIKELIHOOD)
    with pytest.raises(jc.DataError, match="'school'"):
        propensity_scores(sample, jc.Propensity(penalty=0, folds=3), key=0)
    assert (np.asarray(propensity_scores(sample))[school == 3] < 0.05).all()
    apart = jc.Sample(np.column_stack([rng.normal(size=80), np.arange(80)]), np.arange(80) > 50)
    with pytest.raises(jc.DataError, match="80 of 80 units .*, the most by 'x1': use"):
        propensity_scores(apart, LIKELIHOOD)
    weight = np.where(school == 3, 0, 1)  # those units train nothing
    roles = dict(treatment="t", categorical=["school"], weight="w")
    ignored = jc.Sample.from_frame(frame.assign(w=weight), **roles)
    assert np.isfinite(np.asarray(propensity_scores(ignored, LIKELIHOOD))).all()


def test_a_unit_far_from_all_others_is_no_separation():
    rng = np.random.default_rng(5)
    x = np.r_[rng.normal(size=100), 40.0, -35.0]
    t = np.r_[rng.random(100) < 1 / (1 + np.exp(-x[:100])), True, False]
    scores = np.asarray(propensity_scores(jc.Sample(x[:, None], t), LIKELIHOOD))
    assert scores[100] > 0.9999 and scores[101] < 1e-4 and np.isfinite(scores).all()


@pytest.mark.parametrize("model", [jc.Propensity(folds=3), jc.Propensity(penalty=0, folds=3)])
def test_a_fold_is_scored_by_the_others(model):
    sample = draw_sample(6, n=120, id=np.arange(120))
    scores = np.asarray(propensity_scores(sample, model, key=4))
    order = np.random.default_rng(0).permutation(120)
    close(propensity_scores(sample.take(order), model, key=4), scores[order], atol=1e-5)
    other = np.asarray(propensity_scores(sample, model, key=5))
    assert (scores != other).any()
    key = step_key(as_key(4, ""), "propensity")
    fold = np.asarray(deal_folds(sample, 3, key))
    for k in range(3):
        rest = sample.take(np.flatnonzero(fold != k))
        inside = LogisticRegression(
            C=1 / (1e-3 * rest.n) if model.penalty is None else np.inf, tol=1e-10, max_iter=9999
        )
        z = np.asarray(rest.points)
        mean, sd = z.mean(0), z.std(0)
        inside.fit((z - mean) / sd, np.asarray(rest.t))
        here = (np.asarray(sample.points)[fold == k] - mean) / sd
        close(scores[fold == k], inside.predict_proba(here)[:, 1], rtol=0, atol=2e-4)


def test_jit_and_vmap_give_what_the_host_gives():
    x, t = (np.asarray(a) for a in (draw_sample(7, n=90).x, draw_sample(7, n=90).t))
    for model in (LIKELIHOOD, jc.Propensity(folds=2)):

        def score(x, t, model=model):
            return propensity_scores(jc.Sample(x, t), model, key=1)

        traced = jax.jit(score)
        close(traced(x, t), score(x, t), atol=1e-5)
        bad = np.asarray(traced(jnp.asarray(x).at[3, 0].set(jnp.nan), t))
        assert np.isnan(bad).all()
    several = jax.jit(jax.vmap(score))(jnp.stack([x, -x]), jnp.stack([t, t]))
    close(several, np.stack([score(x, t), score(-x, t)]), atol=1e-5)
    slight = jax.jit(lambda p: propensity_scores(jc.Sample(x, t), jc.Propensity(penalty=p)))
    close(slight(1e-3), propensity_scores(jc.Sample(x, t)), atol=1e-6)


def test_padding_has_no_score_and_trains_nothing():
    sample = draw_sample(8, n=60)
    used = np.arange(60) < 50
    found = np.asarray(propensity_scores(sample.with_valid(jnp.asarray(used)), LIKELIHOOD))
    assert np.isnan(found[50:]).all()
    close(found[:50], propensity_scores(sample.take(np.arange(50)), LIKELIHOOD), atol=1e-5)


@pytest.mark.parametrize("folds", [1, 2])
def test_a_classifier_is_fitted_as_its_own_library_does(folds):
    weight = np.random.default_rng(0).uniform(0.5, 2, 200)
    sample = draw_sample(9, n=200, category=3, weight=weight)
    model = jc.Propensity(classifier=RandomForestClassifier(20, random_state=3), folds=folds)
    found = np.asarray(propensity_scores(sample, model, key=0))
    features, t = np.asarray(Encoding(sample.schema)(sample.x)), np.asarray(sample.t)
    if folds == 1:
        forest = RandomForestClassifier(20, random_state=3)
        forest.fit(features, t, sample_weight=np.asarray(sample.weight))
        close(found, forest.predict_proba(features)[:, 1], atol=1e-6)
    else:  # a unit's own treatment is not in its score
        inside = propensity_scores(sample, jc.Propensity(classifier=model.classifier))
        gaps = [scores[t].mean() - scores[~t].mean() for scores in (found, np.asarray(inside))]
        assert gaps[0] < gaps[1] / 2
    chances = fitted_chances(sample, jnp.zeros(200, jnp.int32), 1)
    assert chances.slope.shape == (1, features.shape[1])


def test_the_key_decides_where_a_classifier_leaves_its_seed_open():
    sample = draw_sample(10, n=80)
    model = jc.Propensity(classifier=RandomForestClassifier(5))
    one, again, other = (np.asarray(propensity_scores(sample, model, key=k)) for k in (0, 0, 1))
    assert (one == again).all() and (one != other).any()
    no_key = [np.asarray(propensity_scores(sample, model)) for _ in range(2)]
    assert (no_key[0] == no_key[1]).all()


class Broken(LogisticRegression):
    def predict_proba(self, x):
        return np.full((len(x), 2), np.nan)


def test_what_cannot_be_is_refused_in_a_sentence(unchecked):
    sample = draw_sample(11, n=60)
    weighted = draw_sample(11, n=60, weight=np.arange(60) + 1.0)
    alone = sample.with_valid(~sample.t)
    forest = jc.Propensity(classifier=RandomForestClassifier(5))
    few = jc.Sample(sample.points, np.arange(60) < 1)
    for call, words in (
        (lambda: jc.Propensity(penalty=-1.0), "penalty is -1.0: it must not be negative"),
        (lambda: jc.Propensity(penalty=np.nan), "penalty is nan: it must be a finite number"),
        (lambda: jc.Propensity(folds=0), "folds is 0: it must be at least 1"),
        (
            lambda: jc.Propensity(penalty=1.0, classifier=KNeighborsClassifier()),
            "belongs to the lo",
        ),
        (lambda: jc.Propensity(classifier="forest"), "takes a jc.surfaces.Classifier, not"),
        (lambda: Classifier(RandomForestClassifier), "RandomForestClassifier is a class: write"),
        (lambda: Classifier(3), "3 has no fit and no predict_proba and no get_params: give an"),
        (lambda: propensity_scores(np.zeros((3, 2))), "takes a jc.Sample, not"),
        (lambda: propensity_scores(sample, jc.Ridge()), "takes a jc.Propensity, not"),
        (
            lambda: propensity_scores(sample, jc.Propensity(folds=2)),
            "give key= a JAX key or an int",
        ),
        (lambda: propensity_scores(alone), "there are no treated at all"),
        (lambda: propensity_scores(alone, forest), "there are no treated at all"),
        (
            lambda: propensity_scores(few, jc.Propensity(folds=2), key=0),
            "no treated outside of fold",
        ),
        (
            lambda: propensity_scores(weighted, jc.Propensity(classifier=KNeighborsClassifier())),
            "KNeighborsClassifier takes no sample_weight, and the sampling weights differ",
        ),
        (
            lambda: propensity_scores(sample, jc.Propensity(classifier=Broken())),
            "Broken gives 60 of 60 units no chance within 0 to 1",
        ),
        (
            lambda: jax.jit(lambda x: propensity_scores(jc.Sample(x, sample.t), forest))(sample.x),
            "a classifier runs on the host",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    made = jax.jit(lambda s: propensity_scores(s, LIKELIHOOD))(alone)
    assert np.isnan(np.asarray(made)[np.asarray(alone.valid)]).all()
    assert np.isfinite(
        np.asarray(propensity_scores(sample, jc.Propensity(classifier=KNeighborsClassifier())))
    ).all()


def test_the_doubly_robust_average_takes_any_propensity(experiment):
    surface = jc.Function(lambda x: jnp.zeros((x.shape[0], 2)))
    for model in (
        LIKELIHOOD,
        jc.Propensity(folds=2),
        jc.Propensity(classifier=RandomForestClassifier(50, min_samples_leaf=20), folds=2),
    ):
        method = jc.AIPW(outcome=surface, propensity=model)
        found = jc.estimate(experiment, method, key=0)
        t, y = np.asarray(experiment.t), np.asarray(experiment.y, np.float64)
        e = np.asarray(found.propensity, np.float64)
        odds = (e / (1 - e))[~t]
        close(found.average, y[t].mean() - np.average(y[~t], weights=odds), rtol=1e-4)
        assert found.slope.shape == (1 if model.classifier or model.folds == 1 else 2, 8)
    assert not method.traceable and jc.AIPW(outcome=surface, propensity=LIKELIHOOD).traceable
