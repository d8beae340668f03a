"""Other units of outcome, covariates and weights: the same answers scaled, or one sentence."""

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample

import jcausal as jc

SAMPLE = draw_sample(0, n=80)
X, T, Y = SAMPLE.points, np.asarray(SAMPLE.t), np.asarray(SAMPLE.y, float)
W = np.random.default_rng(1).uniform(0.5, 2, 80)
METHOD = jc.AHB(outcome=jc.Ridge())


def bounds(x, y, w):
    """The average and its interval."""
    effects = jc.estimate(jc.Sample(x, T, y, weight=w), METHOD, key=0)
    found = jc.interval(effects, jc.AbadieImbens())
    return np.array([effects.average, found.lower, found.upper], float)


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("power", [pytest.param(-12, marks=pytest.mark.extended), 12])
def test_other_units_give_the_same_answers_scaled(power):
    own, scale = bounds(X, Y, W), 10.0**power
    np.testing.assert_allclose(bounds(X, scale * Y, W), scale * own, rtol=1e-3)
    np.testing.assert_allclose(bounds(scale * X, Y, W), own, rtol=1e-3)
    np.testing.assert_allclose(bounds(X, Y, scale * W), own, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-25, 1e20, 1e30])
def test_what_the_dtype_cannot_square_is_refused_by_name(scale):
    said = "float32 can compute with the squares of numbers between 1e-15 and .*: "
    frame = pd.DataFrame(X, columns=["a", "b", "c"][: X.shape[1]]).assign(t=T, y=Y, w=W)
    roles = dict(treatment="t", outcome="y", weight="w")
    for column, words in (
        ("y", f"largest number of outcome 'y' is .*{said}state it in other units"),
        ("a", f"largest number of covariate 'a' less its mean is .*{said}state it in other"),
        ("w", f"largest number of weight 'w' is .*{said}divide it by a constant"),
    ):
        with pytest.raises(jc.DataError, match=words):
            jc.Sample.from_frame(frame.assign(**{column: scale * frame[column]}), **roles)
    with pytest.raises(jc.DataError, match=f"number of y .*{said}"):
        SAMPLE.with_outcome(scale * Y)
    d = np.eye(6)
    y = np.random.default_rng(0).normal(size=(6, 6))
    with pytest.raises(jc.DataError, match=f"number of y .*{said}"):
        jc.Panel(scale * y, d)
    with pytest.raises(jc.DataError, match=f"number of covariate 0 .*{said}"):
        jc.Panel(y, d, covariates=scale * y[:, :, None])


def test_a_high_level_is_no_large_spread():
    """Moments in nanoseconds: squares of their distances from the mean are small enough."""
    x = 1.8e18 + 1e15 * np.arange(40.0)[:, None]
    assert jc.Sample(x, np.arange(40) % 2).n == 40


def test_wide_floats_take_small_outcomes():
    with jax.enable_x64(True):
        y = np.asarray(jc.Sample(X, T, 1e-25 * Y).y)
    np.testing.assert_allclose(y, 1e-25 * Y, rtol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_an_allocation_is_the_same_in_other_units(exact):
    value, cost = np.array([0.5, 0.1, 0.4, 0.3]), np.array([2.0, 1.0, 2.0, 1.0])
    for unit in (1e-25, 1.0, 1e20):
        for price in (1e-25, 1.0, 1e20):
            budget = jc.Knapsack(budget=3 * price, cost=price * cost, exact=exact)
            found = jc.allocate(
                jc.GroupEstimates(unit * value, std_error=unit * value / 10), budget
            )
            assert found.chosen.tolist() == [True, False, False, True]
