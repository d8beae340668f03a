"""Double machine learning against DoubleML, formulas by hand, and a process of known effect."""

from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import close
from scipy.stats import binom
from sklearn.linear_model import LinearRegression

import jcausal as jc
from jcausal.effects.estimators import aipw_of, partial_linear_of
from jcausal.surfaces import Chances

pytestmark = pytest.mark.x64
GOLDENS = Path(__file__).parent / "goldens" / "learners"
EXACT = dict(outcome=jc.Ridge(penalty=1e-12), propensity=jc.Propensity(penalty=0))
with_float64 = pytest.mark.skipif(not jax.config.jax_enable_x64, reason="six digits need float64")


def drawn(seed=0, n=300, **options):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    t = rng.uniform(size=n) < 1 / (1 + np.exp(-0.8 * x[:, 0]))
    y = x[:, 0] + x[:, 1] + 2 * t + rng.normal(size=n)
    return jc.Sample(x, t, y, **options)


@pytest.fixture(scope="module")
def golden():
    units = pd.read_csv(GOLDENS / "units.csv")
    table = pd.read_csv(GOLDENS / "averages.csv", comment="#").set_index("method")
    sample = jc.Sample(units[["x0", "x1", "x2"]].to_numpy(), units["t"], units["y"])
    return units, sample, table


@with_float64
@pytest.mark.parametrize("outcome", [EXACT["outcome"], LinearRegression()])
@pytest.mark.parametrize(
    ("kind", "estimand", "error"),
    [("partial_linear", "ato", 1e-6), ("interactive", "ate", 0.01), ("interactive", "att", None)],
)
def test_averages_are_those_of_doubleml_on_the_same_folds(golden, kind, estimand, error, outcome):
    units, sample, table = golden
    method = jc.DML(kind=kind, **(EXACT | dict(outcome=outcome)))
    found = jc.estimate(sample, method, estimand=estimand, key=0)
    assert (np.asarray(found.fold) == units["fold"]).all(), "other folds: make the files anew"
    theirs = table.loc[kind if estimand == "ato" else f"{kind}_{estimand}"]
    if error is None:  # the controls' weights are not divided by their sum there
        assert abs(float(found.average) - theirs["estimate"]) < 0.1 * theirs["std_error"]
        close(found.std_error, theirs["std_error"], rtol=0.05)
        return
    close(found.average, theirs["estimate"], rtol=1e-6)
    close(found.std_error, theirs["std_error"], rtol=error)


def test_the_partially_linear_average_is_the_one_by_hand():
    rng = np.random.default_rng(1)
    sample = drawn(weight=rng.uniform(0.5, 2, 300))
    m, e = rng.normal(size=300).astype(np.float32), rng.uniform(0.1, 0.9, 300).astype(np.float32)
    fold = np.where(np.arange(300) < 280, np.arange(300) % 2, -1).astype(np.int32)
    mean = jax.numpy.asarray(np.stack([m, np.full(300, np.nan)], axis=1), sample.x.dtype)
    chances = Chances(jax.numpy.asarray(e, sample.x.dtype), jax.numpy.zeros((1, 2)))
    found = partial_linear_of(sample, jax.numpy.asarray(fold), mean, chances)
    w, t, y = (np.asarray(a, float)[:280] for a in (sample.weight, sample.t, sample.y))
    v, u = t - e[:280], y - m[:280]
    effect = (w * v * u).sum() / (w * v**2).sum()
    close(found.average, effect, rtol=1e-4)
    error = np.sqrt(((w * v * (u - v * effect)) ** 2).sum()) / (w * v**2).sum()
    close(found.std_error, error, rtol=1e-4)
    close(np.sqrt((np.asarray(found.influence) ** 2).sum()) / 280, error, rtol=1e-4)
    assert not np.asarray(found.influence)[280:].any()
    close(found.unit_weight[:280], w * np.abs(v), rtol=1e-5)
    assert found.summary().startswith("ATO: ") and "DML (partially linear)" in found.summary()


def test_clusters_count_as_one():
    labels = np.random.default_rng(2).integers(0, 60, 300)
    sample = drawn(cluster=labels)
    found = jc.estimate(
        sample, jc.DML(kind="partial_linear", outcome=jc.Ridge()), estimand="ato", key=0
    )
    sums = np.bincount(labels, np.asarray(found.influence) / 300)
    groups = len(np.unique(labels))
    close(found.std_error, np.sqrt((sums**2).sum() * groups / (groups - 1)), rtol=1e-4)


def test_the_interactive_average_is_aipw_with_chances_of_the_same_folds():
    sample = drawn()
    for estimand in ("att", "atc", "ate"):
        one = jc.estimate(sample, jc.DML(outcome=jc.Ridge()), estimand=estimand, key=0)
        both = jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), estimand=estimand, key=0)
        again = aipw_of(
            sample, both.fold, both.predicted, estimand, 0.01, Chances(one.propensity, one.slope)
        )
        close(one.average, again.average, rtol=1e-5)
        close(one.std_error, again.std_error, rtol=1e-5)
        assert (np.asarray(one.propensity) != np.asarray(both.propensity)).any()
    x, t, fold = np.asarray(sample.points), np.asarray(sample.t), np.asarray(one.fold)
    rest = jc.Sample(x[fold != 0], t[fold != 0])
    model = jc.surfaces.fit_propensity(rest, jc.Propensity(), None)
    close(
        np.asarray(one.propensity)[fold == 0],
        model(jax.numpy.asarray(x[fold == 0], sample.x.dtype)),
        rtol=2e-3,
    )


def test_bad_input_is_one_sentence(unchecked):
    sample = drawn(n=60)
    for call, error, words in [
        (lambda: jc.DML(kind="linear"), ValueError, "kind is 'linear'"),
        (lambda: jc.DML(kind="partial_linear", clip=0.1), ValueError, "clip is for kind="),
        (lambda: jc.DML(outcome=jc.Function(lambda x: x)), ValueError, "trains its own models"),
        (lambda: jc.DML(propensity=0.5), ValueError, "write propensity="),
        (
            lambda: jc.estimate(sample, jc.DML(kind="partial_linear"), key=0),
            ValueError,
            "use estimand='ato'",
        ),
        (lambda: jc.estimate(sample, jc.DML(), key=0, folds=1), jc.HonestyError, "with folds=1"),
        (lambda: jc.estimate(sample, jc.DML(), key=0, folds=99), jc.DataError, "use at most"),
    ]:
        with pytest.raises(error, match=words):
            call()
    x = np.arange(60.0)[:, None]
    apart = jc.Sample(x, x[:, 0] >= 30, sample.y)
    with pytest.raises(jc.DataError, match="told apart without error"):
        jc.estimate(apart, jc.DML(**EXACT), key=0)
    found = jc.estimate(apart, jc.DML(outcome=jc.Ridge()), key=0)
    assert "rests on the outcome model alone" in found.summary()


@pytest.mark.parametrize("kind", ["partial_linear", "interactive"])
def test_the_interval_covers_the_effect(kind):
    method = jc.DML(kind=kind, outcome=jc.Ridge())
    estimand = "ato" if kind == "partial_linear" else "ate"

    @jax.jit
    @jax.vmap
    def draw(key):
        keys = jax.random.split(key, 4)
        x = jax.random.normal(keys[0], (250, 2))
        t = jax.random.uniform(keys[1], (250,)) < jax.nn.sigmoid(0.5 * x[:, 0])
        y = x[:, 0] + x[:, 1] + 2 * t + jax.random.normal(keys[2], (250,))
        sample = jc.Sample(x, t, y)
        found = jc.estimate(sample, method, estimand=estimand, key=keys[3], throw=False)
        low, high = found.bounds(0.95)
        return (low <= 2) & (high >= 2), found.average

    covered, average = draw(jax.random.split(jax.random.key(1), 100))
    assert binom.ppf(0.001, 100, 0.95) <= int(covered.sum())
    assert abs(float(average.mean()) - 2) < 4 * float(average.std()) / 10
