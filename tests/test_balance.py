"""Balance against the formulas, weights and all."""

import numpy as np
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.diagnostics import effective_size
from jcausal.diagnostics._overlap import common_area


@pytest.fixture(scope="module")
def matched(surface):
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=80), rng.integers(0, 2, 80), rng.integers(0, 3, 80)], 1)
    t = rng.random(80) < 0.4
    sample = jc.Sample(
        x, t, x[:, 0], weight=rng.random(80) + 0.5, kinds=["number", "binary", "category"]
    )
    return sample, jc.match(sample, jc.FastAHB(), surface=surface)


@pytest.mark.extended
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_formulas(matched, estimand, surface):
    sample, _ = matched
    matching = jc.match(sample, jc.FastAHB(), surface=surface, estimand=estimand)
    table = jc.balance(sample, matching)
    arms = dict(att=[0], atc=[1], ate=[0, 1])[estimand]
    scores = ["prognostic score"]
    if estimand == "ate":
        scores = ["prognostic score, untreated", "prognostic score, treated"]
    assert table.index.tolist() == [*scores, "x0", "x1", "x2: 0", "x2: 1", "x2: 2"]
    x, t, w = sample.points, np.asarray(sample.t), np.asarray(sample.weight, float)

    def moments(values, weight):
        mean = np.average(values, weights=weight)
        total = weight.sum()
        freedom = total - (weight**2).sum() / total
        return mean, (weight * (values - mean) ** 2).sum() / freedom

    after = np.zeros(80)
    for i, own in enumerate(np.asarray(matching.query)):
        rows, shares = matching.group(i)
        other = t[rows] != t[own]
        after[rows[other]] += w[own] * shares[other]
        after[own] += w[own]
    foretold = np.asarray(wavy(sample.x), float)
    numbers = [*zip(scores, foretold.T[arms]), ("x0", x[:, 0])]
    for name, column in numbers:
        row = table.loc[name]
        m1, v1 = moments(column[t], w[t])
        m0, v0 = moments(column[~t], w[~t])
        scale = np.sqrt(dict(att=v1, atc=v0, ate=(v1 + v0) / 2)[estimand])
        np.testing.assert_allclose(row["smd_before"], (m1 - m0) / scale, rtol=1e-5)
        np.testing.assert_allclose(row["vr_before"], v1 / v0, rtol=1e-5)
        m1, v1 = moments(column[t], after[t])
        m0, v0 = moments(column[~t], after[~t])
        np.testing.assert_allclose(row["smd_after"], (m1 - m0) / scale, atol=1e-5)
        np.testing.assert_allclose(row["vr_after"], v1 / v0, rtol=1e-4)
    raw = np.average(x[t, 1], weights=w[t]) - np.average(x[~t, 1], weights=w[~t])
    np.testing.assert_allclose(table.loc["x1", "smd_before"], raw, atol=1e-6)
    shares = table.loc[["x2: 0", "x2: 1", "x2: 2"], "smd_before"]
    np.testing.assert_allclose(shares.sum(), 0, atol=1e-6)
    assert table.loc["x1":, "vr_after"].isna().all()
    np.testing.assert_allclose(
        table.attrs["ess_control_after"], after[~t].sum() ** 2 / (after[~t] ** 2).sum(), rtol=1e-5
    )
    assert table.attrs["estimand"] == estimand and table.attrs["share_matched"] == 1
    assert (
        table["ok"]
        == (table["smd_after"].abs() < 0.1)
        & (table["vr_after"].between(0.5, 2) | table["vr_after"].isna())
    ).all()


def test_effective_size():
    assert effective_size(np.array([1.0, 1, 1])) == pytest.approx(3)
    assert effective_size(np.array([1.0, 0, 0])) == 1
    assert effective_size(np.zeros(3)) == 0


@pytest.mark.extended
def test_matching_balances_lalonde(halves):
    train, test = halves
    matching = jc.match(test, jc.FastAHB(), surface=jc.fit(train, jc.Ridge()))
    assert len(jc.balance(test, matching)) == 1 + 8
    with pytest.raises(ValueError, match=r"made on other rows \(223\)"):
        jc.balance(train, matching)
    with pytest.raises(ValueError, match=r"this sample's \(40\)"):
        jc.balance(draw_sample(0), matching)


def test_ks_and_overlap(matched):
    sample, matching = matched
    table = jc.balance(sample, matching)
    x, t, w = sample.points[:, 0], np.asarray(sample.t), np.asarray(sample.weight, float)
    gaps = [
        abs(np.average(x[t] <= v, weights=w[t]) - np.average(x[~t] <= v, weights=w[~t])) for v in x
    ]
    np.testing.assert_allclose(table.loc["x0", "ks_before"], max(gaps), rtol=1e-6)
    share = [np.bincount(sample.points[a, 2].astype(int), w[a], 3) / w[a].sum() for a in (t, ~t)]
    third = min(share[0][2], share[1][2]) + min(1 - share[0][2], 1 - share[1][2])
    np.testing.assert_allclose(table.loc["x2: 2", "overlap_before"], third, rtol=1e-6)
    assert table["overlap_after"].between(0, 1 + 1e-9).all()


def test_overlap_of_normals_with_and_without_an_outlier():
    rng = np.random.default_rng(0)
    for gap, expected in ((0.0, 1.0), (1.0, 0.617), (3.0, 0.134)):  # 2 Phi(-gap / 2)
        values = np.concatenate([rng.normal(size=4000), rng.normal(gap, 1, 4000)])
        treated, weight = np.arange(8000) >= 4000, np.ones(8000)
        # a kernel of .2 sd adds 2% to the spread; the rest is noise of two densities
        found = common_area(values, treated, weight)
        assert found == pytest.approx(expected, abs=0.04)
        values[0] = 1e6
        assert common_area(values, treated, weight) == pytest.approx(found, abs=0.005)


@pytest.mark.x64
@pytest.mark.parametrize("treated", [13, 26, 37])
def test_equal_values_of_an_arm_have_no_variance(treated):
    """The mean of 26 equal numbers is off by rounding, which is no spread to divide by."""
    t = np.arange(80) < treated
    draws = np.random.default_rng(0).normal(size=(2, 80))
    sample = jc.Sample(np.stack([draws[0], np.where(t, 3.3, draws[1])], 1), t, draws[0])
    table = jc.balance(sample, jc.match(sample, jc.NearestNeighbors()))
    assert table.loc["x1", ["smd_before", "smd_after"]].isna().all()
    assert (table.loc["x1", ["vr_before", "vr_after"]] == 0).all()
    assert not table.loc["x1", "ok"]
