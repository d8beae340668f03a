"""TMLE against a generalised linear model of the residuals, its equations, and a known effect."""

import numpy as np
import pytest
from conftest import close
from scipy.optimize import brentq
from scipy.special import expit, logit

import jcausal as jc

pytestmark = pytest.mark.x64


def confounded(seed=0, n=500):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    t = rng.uniform(size=n) < expit(0.8 * x[:, 0])
    y = expit(x[:, 0] + x[:, 1] + t) + 0.2 * rng.normal(size=n)
    return jc.Sample(x, t, y, weight=rng.uniform(0.5, 2, n))


def left(shift, weight, y, f):
    return (weight * (y - expit(f + shift))).sum()


def by_hand(sample, found, surface, estimand):
    """The average by its definition, arm by arm, with a root finder for each shift."""
    x, t = np.asarray(sample.points), np.asarray(sample.t)
    y, w = np.asarray(sample.y, float), np.asarray(sample.weight, float)
    e, low, span = np.asarray(found.propensity, float), y.min(), np.ptp(y)
    first = np.asarray(surface(x), float)
    moved = first.copy()
    for arm in (0, 1):
        own = np.maximum(e if arm else 1 - e, 0.01)
        stands = dict(ate=1 / own, att=(1 - own) / own, atc=(1 - own) / own)[estimand]
        heavy = w * stands * (t == bool(arm))
        f = logit(np.clip((first[:, arm] - low) / span, 5e-3, 1 - 5e-3))
        scaled = (y - low) / span
        eps = brentq(left, -20, 20, args=(heavy, scaled, f), xtol=1e-12)
        moved[:, arm] = low + span * expit(f + eps)
    if estimand == "att":
        return np.average((y - moved[:, 0])[t], weights=w[t])
    if estimand == "atc":
        return np.average((moved[:, 1] - y)[~t], weights=w[~t])
    return np.average(moved[:, 1] - moved[:, 0], weights=w)


def flat(x):
    return np.stack([0.5 + 0.1 * x[:, 0], 0.6 + 0.1 * x[:, 0]], axis=1)


@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_it_is_the_average_by_hand(estimand):
    sample = confounded()
    surface = jc.Function(lambda x: 0.5 + 0.1 * x[:, :1] + np.array([[0, 0.1]], np.float32))
    found = jc.estimate(sample, jc.TMLE(outcome=surface), estimand=estimand, key=0)
    close(found.average, by_hand(sample, found, flat, estimand), rtol=1e-4)
    assert found.method == "TMLE" and f"{estimand.upper()}: " in found.summary()


def test_nothing_is_left_in_the_weighted_residuals():
    sample = confounded(1)
    found = jc.estimate(sample, jc.TMLE(outcome=jc.Ridge()), estimand="ate", key=0)
    t, w = np.asarray(sample.t), np.asarray(sample.weight, float)
    e, f = np.asarray(found.propensity, float), np.asarray(found.predicted, float)
    for arm, own in ((True, e), (False, 1 - e)):
        rest = (np.asarray(sample.y, float) - f[:, int(arm)]) * w / np.maximum(own, 0.01)
        assert abs(rest[t == arm].sum()) < 1e-3


def test_predictions_stay_inside_the_outcomes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1))
    t = rng.uniform(size=300) < expit(2 * x[:, 0])
    y = (rng.uniform(size=300) < expit(2 * x[:, 0])).astype(float)
    found = jc.estimate(jc.Sample(x, t, y), jc.TMLE(outcome=jc.Ridge()), estimand="ate", key=0)
    inside = np.asarray(found.predicted)
    assert inside.min() >= 0 and inside.max() <= 1 and abs(float(found.average)) < 1


def test_it_is_near_aipw_where_both_models_are_right():
    sample = confounded(2, n=2000)
    one, two = (
        jc.estimate(sample, m(outcome=jc.BoostedTrees()), estimand="ate", key=0)
        for m in (jc.TMLE, jc.AIPW)
    )
    assert abs(float(one.average - two.average)) < 0.5 * float(two.std_error)
    close(one.std_error, two.std_error, rtol=0.1)
