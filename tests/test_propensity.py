"""The logistic regression against scikit-learn, and how far the arms overlap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample
from sklearn.linear_model import LogisticRegression

import jcausal as jc
from jcausal.surfaces import Encoding, _propensity, fitted_chances, shares_beyond
from jcausal.surfaces._logistic import logistic


def chance_of(*given):
    return fitted_chances(*given).chance


def dealt(n, folds=2):
    return jnp.arange(n, dtype=jnp.int32) % folds


def standardised(features, weight, train):
    mean = np.average(features[train], axis=0, weights=weight[train])
    square = np.average((features[train] - mean) ** 2, axis=0, weights=weight[train])
    return (features - mean) / np.where(square > 0, np.sqrt(square), 1)


def peer_chances(sample, fold, folds, penalty):
    """scikit-learn's regressions on the other folds, features standardised there by weight."""
    features = np.asarray(Encoding(sample.schema)(sample.x), np.float64)
    weight, t, fold = (np.asarray(a) for a in (sample.weight, sample.t, fold))
    found = np.full(sample.n, np.nan)
    for k in range(folds):
        train, here = (fold >= 0) & ((fold != k) | (folds == 1)), fold == k
        z = standardised(features, weight.astype(float), train)
        model = LogisticRegression(C=1 / (penalty * weight[train].sum()), tol=1e-10, max_iter=9999)
        model.fit(z[train], t[train], sample_weight=weight[train])
        found[here] = model.predict_proba(z[here])[:, 1]
    return found


@pytest.mark.x64
@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_the_coefficients_are_those_of_scikit_learn(penalty):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(300, 4)), rng.uniform(0.5, 2, 300)
    t = rng.random(300) < 1 / (1 + np.exp(-2 * x[:, 0] + x[:, 1]))
    theirs = LogisticRegression(C=1 / (penalty * weight.sum()), tol=1e-10, max_iter=9999)
    theirs.fit(x, t, sample_weight=weight)
    design = jnp.asarray(np.column_stack([np.ones(300), x]))
    share = jnp.asarray(weight / weight.sum(), design.dtype)
    ours = jax.jit(logistic)(design, jnp.asarray(t), share, jnp.asarray(penalty, design.dtype))
    np.testing.assert_allclose(ours, np.r_[theirs.intercept_, theirs.coef_[0]], atol=1e-4)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("folds", [1, 2, 5])
def test_the_chances_are_those_of_scikit_learn(folds):
    rng = np.random.default_rng(1)
    sample = draw_sample(1, n=200, p=3, category=3, weight=rng.uniform(0.5, 2, 200))
    fold = np.asarray(dealt(200, folds)).copy()
    fold[:7] = -1
    ours = chance_of(sample, jnp.asarray(fold), folds, 1e-3)
    close(ours, peer_chances(sample, fold, folds, 1e-3), atol=1e-4)
    assert np.isnan(np.asarray(ours)).sum() == 7
    psid = jc.datasets.lalonde("psid")  # dollars beside 0/1, and men told apart
    ours = chance_of(psid, dealt(psid.n, folds), folds, 1e-3)
    close(ours, peer_chances(psid, dealt(psid.n, folds), folds, 1e-3), atol=1e-4)


@pytest.mark.extended
def test_constant_collinear_and_huge_columns_do_no_harm():
    sample = draw_sample(2, n=120)
    x = np.asarray(sample.x, np.float64)
    fold = dealt(120)
    plain = chance_of(sample, fold, 2)
    far = np.column_stack([1e6 + 1e3 * x[:, 0], x[:, 1:]])
    close(chance_of(jc.Sample(far, sample.t), fold, 2), plain, atol=2e-4)
    flat = np.where(np.arange(120) == 0, 9.9, 7.7)  # varies in the first fold only
    more = jc.Sample(np.column_stack([x, flat]), sample.t)
    close(chance_of(more, fold, 2)[::2], plain[::2], atol=1e-5)
    twice = jc.Sample(np.column_stack([x, x[:, 0]]), sample.t)
    assert np.isfinite(np.asarray(chance_of(twice, fold, 2))).all()


def test_all_folds_are_one_program_and_near_sizes_share_it(monkeypatch):
    counted = []
    before = _propensity.standardised

    def counting(*arrays):
        counted.append(1)
        return before(*arrays)

    monkeypatch.setattr(_propensity, "standardised", counting)
    for n in (533, 541, 559):
        chance_of(draw_sample(n, n=n, p=6), dealt(n, 4), 4)
        x = np.random.default_rng(n).normal(size=(n, 6))
        names = jc.Sample(x, np.arange(n) // 4 % 2, names=list("abcdef"))
        chance_of(names, dealt(n, 4), 4, 0.5)
    assert len(counted) == 1


def test_the_share_beyond_the_other_arm_passes_over_its_few_extremes():
    chance = jnp.asarray(np.r_[np.linspace(0, 0.5, 100), 0.9, np.linspace(0.4, 1, 61)])
    t = jnp.arange(162) > 100
    ones = jnp.ones(162, chance.dtype)
    values = np.asarray(chance)
    edge = np.sort(values[:101])[-5]  # one control at 0.9 hides nobody
    expected = (values[101:] > edge).mean()
    close(shares_beyond(chance, t, ones)[1], expected, rtol=1e-5)
    low = np.sort(values[101:])[3]  # 61 treated: three are passed over
    close(shares_beyond(chance, t, ones)[0], (values[:101] < low).mean(), rtol=1e-5)
    none = shares_beyond(chance, t, jnp.where(t, 0, ones))
    assert float(none[0]) == 1 and np.isnan(float(none[1]))
