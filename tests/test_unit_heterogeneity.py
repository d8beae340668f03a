"""Calibration, best linear predictor and sorted groups against least squares written out."""

import numpy as np
import pytest
from conftest import close

import jcausal as jc

N = 240


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2))
    t = rng.random(N) < 1 / (1 + np.exp(-x[:, 0]))
    y = x[:, 0] + t * (1 + x[:, 1]) + rng.normal(size=N)
    sample = jc.Sample(x, t, y, weight=np.arange(N) % 2 + 1.0)
    learner = jc.TLearner(outcome=jc.Ridge())
    return jc.estimate(sample, learner, estimand="ate", key=0)


def regression(x, w, y):
    """Weighted least squares with errors lifted by 1 / sqrt(1 - leverage of the noise)."""
    q = np.linalg.inv(x.T @ (w[:, None] * x))
    beta = q @ x.T @ (w * y)
    m = np.eye(len(y)) - x @ q @ x.T @ np.diag(w)
    e = (y - x @ beta) / np.sqrt((m**2).sum(1))
    return beta, np.sqrt(np.diag(q @ (x.T * (w * e) ** 2) @ x @ q))


def parts(found):
    y, t = np.asarray(found.sample.y, float), np.asarray(found.sample.t, float)
    f, e = np.asarray(found.predicted, float), np.asarray(found.propensity, float)
    e = np.clip(e, 0.01, 0.99)
    w, tau = np.asarray(found.sample.weight, float), np.asarray(found.ite, float)
    own = np.where(t == 1, f[:, 1], f[:, 0])
    score = f[:, 1] - f[:, 0] + (t - e) / (e * (1 - e)) * (y - own)
    return y, t, f, e, w, tau, score


def test_calibration(found):
    y, t, f, e, w, tau, _ = parts(found)
    mean = np.average(tau, weights=w)
    x = np.stack([mean * (t - e), (tau - mean) * (t - e)], axis=1)
    beta, error = regression(x, w, y - e * f[:, 1] - (1 - e) * f[:, 0])
    table = jc.calibration(found).to_frame()
    close(table["estimate"], beta, rtol=1e-5)
    close(table["std_error"], error, rtol=1e-5)
    assert table["name"].tolist() == ["mean", "differences"]
    assert table["p_value"].iloc[1] < 1e-3  # effects differ, as drawn


def test_best_linear_predictor(found):
    *_, w, tau, score = parts(found)
    x = np.stack([np.ones(N), tau - np.average(tau, weights=w)], axis=1)
    beta, error = regression(x, w, score)
    result = jc.best_linear_predictor(found)
    table = result.to_frame()
    close(table["estimate"], beta, rtol=1e-5)
    close(table["std_error"], error, rtol=1e-5)
    assert "foretold effect" in str(result)
    by = jc.best_linear_predictor(found, on=["x1"]).to_frame()
    x1 = found.sample.points[:, 1]
    beta, _ = regression(np.stack([np.ones(N), x1 - np.average(x1, weights=w)], 1), w, score)
    close(by["estimate"], beta, rtol=1e-5)


def test_sorted_groups(found):
    *_, w, tau, score = parts(found)
    fold, place = np.asarray(found.fold), np.zeros(N, int)
    for k in np.unique(fold):
        mine = np.flatnonzero(fold == k)
        order = mine[np.argsort(tau[mine], kind="stable")]
        middle = (np.cumsum(w[order]) - w[order] / 2) / w[order].sum()
        place[order] = (middle * 4).astype(int)
    table = jc.sorted_groups(found, groups=4)
    means = [np.average(score[place == g], weights=w[place == g]) for g in range(4)]
    close(table.estimate, means, rtol=1e-4)
    assert np.asarray(table.groups.matched).tolist() == np.bincount(place).tolist()
    assert jc.heterogeneity(table).p_value < 1e-3


def test_a_matchings_surfaces_foretell_too(found):
    ahb = jc.AHB(outcome=jc.Function(lambda x: x[:, :2]))
    effects = jc.estimate(found.sample, ahb, estimand="ate", key=0)
    table = jc.calibration(effects).to_frame()
    assert np.isfinite(table["estimate"]).all()


def test_what_foretells_no_effects_is_refused(found, unchecked):
    sample = found.sample
    with pytest.raises(ValueError, match="foretold from other folds"):
        jc.calibration(jc.estimate(sample, jc.IPTW()))
    with pytest.raises(ValueError, match="only one arm's outcomes are foretold"):
        jc.calibration(jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), key=0))
    flat = jc.estimate(
        sample, jc.AIPW(outcome=jc.Function(lambda x: 0 * x[:, :2])), estimand="ate", key=0
    )
    with pytest.raises(ValueError, match="the same effect is foretold of every unit"):
        jc.sorted_groups(flat)
    with pytest.raises(ValueError, match="hold fewer than 10 each"):
        jc.sorted_groups(found, groups=100)
    with pytest.raises(ValueError, match="has no covariate age"):
        jc.best_linear_predictor(found, on=["age"])
    with pytest.raises(ValueError, match="level must|level is"):
        jc.sorted_groups(found, level=2.0)
