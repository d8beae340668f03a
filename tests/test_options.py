"""Hyperparameters and arguments of the wrong kind: one sentence that says what to write."""

import dataclasses
import inspect
import numbers

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

import jcausal as jc
from jcausal.data import Options, options_of

NEEDED = {
    jc.allocation.EffectKMeans: (jc.Ridge(),),
    jc.Knapsack: (5.0,),
    jc.LEA: (0.1,),
    jc.matching.BestCounterfactual: (np.zeros((1, 2)),),
    jc.allocation.Quantiles: ("x0",),
    jc.allocation.TheoremGamma: (0.5, 1.0),
    jc.TopK: (2,),
    jc.Trees: (RandomForestRegressor(),),
    jc.allocation.TruncatedNormal: (0.5, 0.2),
}
SPACES = (jc, jc.surfaces, jc.matching, jc.effects, jc.inference, jc.panels, jc.allocation)
PUBLIC = dict.fromkeys(one for space in SPACES for one in vars(space).values() if callable(one))
NOUNS = [
    one
    for one in PUBLIC
    if inspect.isclass(one)
    and issubclass(one, Options)
    and not inspect.isabstract(one)
    and one is not jc.allocation.ByColumn
]
NUMBERS = [
    (noun, name)
    for noun in NOUNS
    for name, may in options_of(noun).items()
    if (may.whole or may.real) and not may.column
]


def made(noun, **options):
    fields = [one.name for one in dataclasses.fields(noun) if one.init]
    return noun(**(dict(zip(fields, NEEDED.get(noun, ()))) | options))


def test_every_noun_of_hyperparameters_is_one_of_them():
    known = {one.__name__ for one in NOUNS}
    assert {"FastAHB", "BART", "AIPW", "Bootstrap", "MCNNM", "TopK", "LEA", "Slide"} <= known
    assert len(NUMBERS) > 80


@pytest.mark.parametrize(("noun", "name"), NUMBERS, ids=[f"{n.__name__}.{f}" for n, f in NUMBERS])
def test_no_number_is_nan_infinite_or_text(noun, name, unchecked):
    for wrong in (np.nan, np.inf, -np.inf, jnp.asarray(np.nan), "1", True):
        if wrong is np.inf and name in noun.endless:
            assert getattr(made(noun, **{name: wrong}), name) == np.inf
            continue
        with pytest.raises(ValueError, match=rf"^{name} is .*((finite|whole) number|use)"):
            made(noun, **{name: wrong})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jc.FastAHB(c=np.nan), "^c is nan: it must be a finite number.$"),
        (
            lambda: jc.FastAHB(caliper=np.nan),
            "^caliper is nan: it must be a finite number, or None.$",
        ),
        (lambda: jc.FastAHB(min_controls=2.5), "^min_controls is 2.5: it must be a whole number.$"),
        (lambda: jc.AHB(gamma0="a"), "^gamma0 is 'a': it must be a finite number, or None.$"),
        (lambda: jc.M5Match(honest="no"), "^honest is 'no': use True or False.$"),
        (lambda: jc.ExactAHB(scale="x"), "^scale is 'x': use 'sd', 'variance' or 'none'.$"),
        (lambda: jc.ExactAHB(max_distance={"x0": np.nan}), "^max_distance holds NaN"),
        (lambda: jc.USVT(bounds=(0.0, np.nan)), "^bounds holds NaN"),
        (lambda: jc.MLP(epochs=2.0), "^epochs is 2.0: it must be a whole number"),
        (lambda: jc.allocation.KMeans(covariates="age"), r"write covariates=\['age'\]"),
    ],
)
def test_the_very_words(make, words, unchecked):
    with pytest.raises(ValueError, match=words):
        make()


def test_numbers_of_other_libraries_are_numbers():
    assert jc.FastAHB(c=np.float32(1.2), min_controls=np.int64(2)).c == np.float32(1.2)
    assert jc.FastAHB(c=jnp.asarray(1.2)).c.shape == ()
    assert isinstance(jc.TopK(np.int32(2)).budget, numbers.Integral)
    shape = jax.vmap(lambda c: jc.FastAHB(c=c).c)(jnp.ones(3)).shape
    assert shape == (3,)


WRONG_MODELS = [
    (jc.BART, r"BART is a class: write outcome=jc.BART\(\)"),
    (RandomForestRegressor, r"write outcome=jc.Trees\(RandomForestRegressor\(\)\)"),
    (
        RandomForestRegressor(),
        r"of sklearn: write outcome=jc.Trees\(RandomForestRegressor\(",
    ),
    (LinearRegression(), "outcome is LinearRegression of sklearn: .* function of points"),
    (None, r"outcome is None: write outcome=jc.BoostedTrees\(\)"),
    ("bart", r"outcome is the text 'bart': write outcome=jc.BART\(\)"),
    ("y", r"the text 'y': .*outcomes stand in the sample"),
    ([1.0, 2.0], "outcome is a list: write"),
    (pd.Series([1.0]), "outcome is a Series: write"),
    (np.ones(3), "outcome is a ndarray: write"),
    (jc.AHB(), "outcome is an AHB: write"),
]


@pytest.mark.parametrize(("given", "words"), WRONG_MODELS)
@pytest.mark.parametrize(
    "noun", [jc.AHB, jc.FastAHB, jc.ExactAHB, jc.AIPW, jc.allocation.EffectKMeans]
)
def test_outcome_takes_models_surfaces_and_functions(noun, given, words, unchecked):
    with pytest.raises(ValueError, match=words):
        noun(outcome=given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (jc.BART, r"BART is a class: write surface=jc.fit\(train, jc.BART\(\), key=0\)"),
        (jc.BART(), r"which is not trained: write surface=jc.fit\(train, jc.BART\(\), key=0\)"),
        (LinearRegression(), "surface is LinearRegression of sklearn"),
        ("bart", r"surface is the text 'bart': write surface=jc.fit\(train, jc.BART\(\), key=0\)"),
        ([1], "surface is a list"),
        (pd.Series([1.0]), "surface is a Series"),
    ],
)
def test_surface_takes_what_is_trained(given, words, unchecked):
    with pytest.raises(ValueError, match=words):
        jc.match(draw_sample(0), jc.AHB(), surface=given)


def test_models_and_methods_where_they_do_not_belong(unchecked):
    sample, ridge = draw_sample(0), jc.FastAHB(outcome=jc.Ridge())
    calls = [
        (lambda: jc.fit(sample, LinearRegression()), "model is LinearRegression of sklearn"),
        (lambda: jc.fit(sample, None), r"model is None: write model=jc.BoostedTrees\(\)"),
        (lambda: jc.estimate(sample, ridge, adjust=[1], key=0), "adjust is a list: write adjust="),
        (lambda: jc.estimate(sample, "ahb", key=0), r"the text 'ahb': write jc.estimate\(sample"),
        (lambda: jc.estimate(sample, None, key=0), "not None: write"),
        (lambda: jc.estimate(sample, jc.BART()), r"write jc.AHB\(outcome=jc.BART\(\)\)"),
        (lambda: jc.match(sample, "ahb"), "match takes a matching method"),
        (lambda: jc.tune(sample, jc.FastAHB, dict(c=[1.0])), r"write jc.FastAHB\(\)"),
        (lambda: jc.tune(pd.DataFrame(), ridge, dict(c=[1.0])), "not a DataFrame: make one"),
        (lambda: jc.Function(3), "3 cannot be called"),
    ]
    for call, words in calls:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (0.0, "key is 0.0: give a whole number"),
        ("a", "key is 'a': give a whole number"),
        (True, "key is True: give a whole number"),
        (2**32, "key is 4294967296: .* it would be that of 0"),
        (-1, "key is -1: .* it would be that of 4294967295"),
        (np.int64(2**40), "key is 1099511627776"),
        (
            np.random.default_rng(0),
            r"key is a NumPy Generator: .*key=int\(rng.integers",
        ),
        (np.random.RandomState(0), "key is a NumPy RandomState: .*rng.randint"),
        (np.ones(2), r"key is an array of shape \(2,\) and float64"),
        (jax.random.split(jax.random.key(0), 3), r"key holds 3 keys: .*key\[0\]"),
    ],
)
def test_keys(key, words, unchecked):
    sample = draw_sample(0)
    calls = [
        lambda: jc.split(sample, key=key),
        lambda: jc.fit(sample, jc.MLP(), key=key),
        lambda: jc.fit(sample, jc.Ridge(), key=key),
        lambda: jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=key),
        lambda: jc.tune(sample, jc.FastAHB(outcome=jc.Ridge()), dict(c=[1.0]), key=key),
        lambda: jc.simulate.m5("s1/conf", key=key, n=50, treated=5),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=words):
            call()


def test_keys_of_every_usual_kind_draw_alike():
    sample = draw_sample(0)
    for key in (5, np.int64(5), jnp.asarray(5), jax.random.key(5), jax.random.PRNGKey(5)):
        train = jc.split(sample, key=key)[0]
        np.testing.assert_array_equal(train.x, jc.split(sample, key=5)[0].x)
    jc.split(sample, key=2**32 - 1)


@pytest.mark.parametrize("option", ["folds", "repeats"])
def test_folds_and_repeats_are_whole_numbers(option, unchecked):
    sample, method = draw_sample(0), jc.FastAHB(outcome=jc.Ridge())
    for value, words in (
        ("2", f"{option} is the text '2': write {option}=2"),
        (2.0, f"{option} is 2.0: it must be a whole number, such as {option}=2"),
        (None, f"{option} is None: it must be a whole number"),
        (True, f"{option} is True"),
        (-1, f"{option} is -1: it must be at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.estimate(sample, method, key=0, **{option: value})
    for value in ("2", 2.0):
        with pytest.raises(ValueError, match="folds is"):
            jc.tune(sample, method, dict(c=[1.0]), folds=value, key=0)
        with pytest.raises(ValueError, match="folds is"):
            jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), folds=value, key=0)


FRAME = pd.DataFrame(dict(x0=[1.0, 2, 3, 4], g=list("abab"), t=[0, 1, 0, 1], y=[1.0, 2, 3, 5]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(treatment=None), "treatment is None: write the name of its column"),
        (dict(treatment=["t"]), "treatment is a list: .* treatment='t'"),
        (dict(treatment=FRAME["t"]), "treatment is a Series: .* treatment='t'"),
        (dict(treatment=np.ones(4)), "treatment is a ndarray: .* treatment='NAME'"),
        (dict(outcome=FRAME["y"]), "outcome is a Series: .* outcome='y'"),
        (dict(weight=["x0"]), "weight is a list: .* weight='x0'"),
        (dict(covariates="x0"), r"covariates is the text 'x0': write covariates=\['x0'\]"),
        (dict(covariates=FRAME["x0"]), r"covariates holds 1.0, which names no column"),
        (dict(covariates=3.0), "covariates is a float: write a list of names"),
        (dict(categorical="g"), r"categorical is the text 'g': write categorical=\['g'\]"),
        (dict(categorical=None), "categorical is None: write a list of names"),
        (dict(units="years"), "units is the text 'years': write units="),
    ],
)
def test_columns_are_named(options, words, unchecked):
    with pytest.raises(jc.DataError, match=words):
        jc.Sample.from_frame(FRAME, **(dict(treatment="t", outcome="y") | options))


def test_columns_that_are_called_by_numbers(unchecked):
    frame = FRAME[["x0", "t", "y"]].set_axis([0, 1, 2], axis=1)
    sample = jc.Sample.from_frame(frame, treatment=1, outcome=np.int64(2), covariates=[0])
    assert sample.schema.names == ("0",) and np.asarray(sample.y).tolist() == [1, 2, 3, 5]
    with pytest.raises(jc.DataError, match="names is the text 'age'"):
        jc.Sample(np.ones((3, 3)), [0, 1, 0], names="age")


def test_columns_of_panels_are_named(unchecked):
    frame = pd.DataFrame(dict(u=[1, 1, 2, 2], s=[1, 2, 1, 2], y=[1.0, 2, 3, 4], d=[0, 0, 0, 1]))
    roles = dict(unit="u", time="s", outcome="y", treatment="d")
    for options, words in (
        (dict(unit=frame["u"]), "unit is a Series: .* unit='u'"),
        (dict(time=None), "time is None: .* time='NAME'"),
        (dict(covariates="y"), r"covariates=\['y'\]"),
    ):
        with pytest.raises(jc.DataError, match=words):
            jc.Panel.from_frame(frame, **(roles | options))


def test_options_of_verbs_are_checked(unchecked):
    sample, flat = draw_sample(0), jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], 1))
    effects = jc.estimate(sample, jc.FastAHB(outcome=flat), folds=1)
    table = jc.interval(effects, jc.AbadieImbens(), by=np.arange(sample.n) % 2)
    y, d = np.random.default_rng(0).normal(size=(6, 8)), np.zeros((6, 8))
    d[:2, 6:] = 1
    found = jc.complete(jc.Panel(y, d), jc.TwoWayFixedEffects())
    groups = jc.GroupEstimates([1.0, 2.0], std_error=[0.1, 0.1])
    strata = jc.allocation.group(sample, jc.allocation.ByColumn(np.arange(sample.n) % 2))
    tau, pair = [0.5, 0.2], jc.TopK(1)
    count = "it must be a whole number"
    calls = [
        (
            lambda: jc.split(sample, train_size=".5", key=0),
            "^train_size is the text '.5': write a number",
        ),
        (
            lambda: jc.split(sample, train_size=None, key=0),
            "^train_size is None: it must be a number[.]$",
        ),
        (
            lambda: jc.split(sample, train_size=np.nan, key=0),
            "^train_size is nan: it must lie between 0 and 1",
        ),
        (lambda: jc.heterogeneity(table, min_queries="3"), "the text '3': write min_queries=3"),
        (lambda: jc.heterogeneity(table, min_queries=np.nan), f"^min_queries is nan: {count}"),
        (lambda: jc.placebo(found, draws=np.nan, key=0), f"^draws is nan: {count}"),
        (lambda: jc.placebo(found, draws=0, key=0), "^draws is 0: it must be at least 1"),
        (lambda: jc.placebo(found, over="times", draws="9"), "^draws is the text '9'"),
        (lambda: jc.allocate(groups, pair, delta="a"), "^delta is the text 'a'"),
        (lambda: jc.allocate(groups, pair, bounds=0.5), "^bounds is 0.5: give two numbers"),
        (lambda: jc.allocate(groups, pair, bounds=("0", 1)), "lower of bounds is the text '0'"),
        (lambda: groups.thinned(key=0, splits=1.5), f"^splits is 1.5: {count}"),
        (lambda: strata.filtered(min_arm="3"), "^min_arm is the text '3': write min_arm=3"),
        (lambda: jc.allocation.threshold_mass(tau, budget=1, rho="a"), "^rho is the text 'a'"),
        (
            lambda: jc.allocation.rebudget(
                tau, jc.allocation.Slide(), budget=1.5, rho=0.1, eps=0.1
            ),
            f"1.5: {count}",
        ),
        (
            lambda: jc.allocation.rebudget(tau, jc.allocation.Slide(), budget=1, rho=0.1, eps="x"),
            "^eps is the text",
        ),
        (lambda: jc.simulate.m5("s2", key=0, n="9"), "^n is the text '9': write n=9"),
        (lambda: jc.simulate.low_rank_panel(key=0, rank=1.5), f"^rank is 1.5: {count}"),
        (lambda: jc.simulate.ahb_table2("none/const", key=0, n=2.5), f"^n is 2.5: {count}"),
    ]
    for call, words in calls:
        with pytest.raises(ValueError, match=words):
            call()
    assert jc.heterogeneity(table, min_queries=np.int64(0)).groups == 2


def test_classes_and_other_nouns_are_no_methods_of_allocation(unchecked):
    sample, groups = draw_sample(0), jc.GroupEstimates([1.0, 2.0], std_error=[0.1, 0.1])
    again = dict(budget=1, rho=0.1, eps=0.1)
    calls = [
        (lambda: jc.allocate(groups, jc.TopK), r"^TopK is a class: write jc.TopK\(\)"),
        (lambda: jc.allocate(groups, 3), "^int is no budget such as"),
        (
            lambda: jc.allocation.group(sample, jc.allocation.KMeans),
            r"^KMeans is a class: write jc.allocation.KMeans\(\)",
        ),
        (lambda: jc.allocation.group(sample, "x0"), "^str is no way to group such as"),
        (
            lambda: jc.allocation.group(np.eye(3), jc.allocation.KMeans()),
            "^group takes a jc.Sample, not a ndarray",
        ),
        (
            lambda: jc.allocation.rebudget([0.5, 0.2], jc.allocation.Slide, **again),
            r"^Slide is a class: write jc.allocation.Slide",
        ),
        (lambda: jc.allocation.rebudget([0.5, 0.2], 3, **again), "^int is no way to move a budget"),
    ]
    for call, words in calls:
        with pytest.raises(ValueError, match=words):
            call()


def test_what_divides_units_is_named_where_it_is_made(unchecked):
    label = "name a covariate, by='NAME', or give one label for each unit"
    for noun in (jc.allocation.ByColumn, jc.allocation.Quantiles):
        for wrong, is_ in (
            (list, "is the class list"),
            (np.array(np.nan), r"has shape \(\)"),
            (np.zeros((3, 2)), r"has shape \(3, 2\)"),
            (None, "is None"),
            (3, "is an? int"),
        ):
            with pytest.raises(ValueError, match=f"by {is_}: {label}"):
                noun(wrong)
    with pytest.raises(ValueError, match=f"by is an? int: {label}"):
        jc.allocation.ByColumn(["x0", 3])
    with pytest.raises(jc.DataError, match=r"^covariates is a ndarray: write a list of names"):
        jc.allocation.KMeans(covariates=np.array(np.nan))
    assert jc.allocation.KMeans(covariates=np.array(["x0", "x1"])).covariates == ("x0", "x1")
    with pytest.raises(jc.DataError, match="^covariates is a ndarray: write a list of names"):
        jc.Sample.from_frame(
            pd.DataFrame(dict(t=[0, 1], x=[1, 2])), treatment="t", covariates=np.array("x")
        )


def test_trees_take_trees(unchecked):
    for one in (LinearRegression(), make_pipeline(StandardScaler(), RandomForestRegressor())):
        with pytest.raises(ValueError, match=f"^{type(one).__name__} of sklearn is no sum of tree"):
            jc.Trees(one)
    with pytest.raises(ValueError, match=r"^RandomForestRegressor is a class: write Random"):
        jc.Trees(RandomForestRegressor)
    own = type("Own", (RandomForestRegressor,), {})
    assert isinstance(jc.Trees(own()).estimator, own)
    assert jc.Trees(DecisionTreeRegressor()) and jc.Trees(HistGradientBoostingRegressor())
