"""What estimators say of bad input: arms told apart, an arm of one unit, broken regressors."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

import jcausal as jc

X = np.random.default_rng(0).normal(size=(60, 2))
Y = np.random.default_rng(1).normal(size=60)
WEIGHTINGS = [jc.IPTW(), jc.OverlapWeights(), jc.EntropyBalance(), jc.CBPS()]


def fitting(outcome):
    """Every estimator that fits outcomes, by one model."""
    both = dict(outcome=outcome, effect=outcome)
    return [
        jc.AIPW(outcome=outcome),
        jc.TMLE(outcome=outcome),
        jc.SLearner(outcome=outcome),
        jc.TLearner(outcome=outcome),
        jc.XLearner(**both),
        jc.RLearner(**both),
        jc.DRLearner(**both),
        jc.DML(outcome=outcome),
        jc.DML(kind="partial_linear", outcome=outcome),
        jc.CausalForest(outcome=outcome, trees=8),
    ]


def estimate(sample, method, **options):
    estimand = "ato" if "ato" in method.estimands else "att"
    return jc.estimate(sample, method, estimand=estimand, key=0, **options)


class Broken(RegressorMixin, BaseEstimator):
    """A regressor that predicts NaN."""

    def fit(self, X, y, sample_weight=None):
        return self

    def predict(self, X):
        return np.full(len(X), np.nan)


def named(method):
    return f"{type(method).__name__}-{method.estimands[0]}"


with_models = pytest.mark.parametrize(
    "method", [*fitting(jc.Ridge()), jc.Forest(trees=8)], ids=named
)


@with_models
def test_arms_that_a_covariate_tells_apart_are_named(method):
    found = estimate(jc.Sample(X, X[:, 0] > 0, Y), method)
    assert np.isfinite(found.average) and np.isfinite(found.std_error)
    if found.estimand != "ato":
        assert "'x0' tells them apart the most" in found.summary()


@pytest.mark.parametrize("method", WEIGHTINGS, ids=named)
def test_weightings_refuse_arms_that_are_told_apart_and_an_arm_of_one_unit(method):
    with pytest.raises(jc.DataError, match="'x0'"):
        estimate(jc.Sample(X, X[:, 0] > 0, Y), method)
    with pytest.raises(jc.DataError, match="there is one treated unit, whose outcome tells no"):
        estimate(jc.Sample(X, np.arange(60) == 3, Y), method)
    with pytest.raises(jc.DataError, match="there is one control, whose outcome tells no"):
        estimate(jc.Sample(X, np.arange(60) != 3, Y), method)


@with_models
def test_an_arm_of_one_unit_and_more_folds_than_units_are_refused(method):
    with pytest.raises(jc.DataError, match="two folds need 2 of them, and there is 1 in all"):
        estimate(jc.Sample(X, np.arange(60) == 3, Y), method)
    with pytest.raises(jc.DataError, match="use at most 30 folds"):
        estimate(jc.Sample(X, np.arange(60) % 2, Y), method, folds=100)


@pytest.mark.parametrize("method", fitting(jc.surfaces.Regressor(Broken())), ids=named)
def test_a_regressor_that_predicts_nan_is_named(method):
    sample = jc.Sample(X, np.arange(60) % 2, Y)
    with pytest.raises(jc.DataError, match="Broken predicts no finite number for .* points"):
        estimate(sample, method)


def test_the_score_of_the_dr_learner_is_held_within_its_own_bound():
    with pytest.raises(ValueError, match="score_clip is 0.5: it must be"):
        jc.DRLearner(score_clip=0.5)
    sample = jc.Sample(X, X[:, 0] + 0.3 * Y > 0, Y)
    one, two = (
        estimate(sample, jc.DRLearner(outcome=jc.Ridge(), effect=jc.Ridge(), score_clip=clip))
        for clip in (0.01, 0.3)
    )
    assert one.average == two.average  # it is doubly robust by `clip`
    assert np.ptp(np.asarray(one.ite)) > np.ptp(np.asarray(two.ite))
