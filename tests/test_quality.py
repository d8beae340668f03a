"""Out-of-sample fit against NumPy, its words and its warning."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.surfaces import _quality


def by_hand(surface, x, t, y, weight, rows):
    """The formula, arm by arm, in float64."""
    values = np.asarray(surface(jnp.asarray(x, jnp.float32)), np.float64)
    found = []
    for arm in (0, 1):
        mine = rows & (t == arm)
        w, inside = weight[mine], y[mine]
        spread = (w * np.square(inside - np.average(inside, weights=w))).sum()
        found.append(1 - (w * np.square(inside - values[mine, arm])).sum() / spread)
    return np.array(found)


def parts(sample):
    wide = [np.asarray(a, np.float64) for a in (sample.x, sample.y, sample.weight)]
    return wide[0], np.asarray(sample.t), wide[1], wide[2]


@pytest.mark.x64
@pytest.mark.parametrize("block", [16_384, pytest.param(8, marks=pytest.mark.extended)])
def test_r2_is_the_formula_in_blocks_and_under_jit(block, surface, monkeypatch):
    monkeypatch.setattr(_quality, "BLOCK", block)
    rng = np.random.default_rng(0)
    n = 40 if block > 40 else 41
    weight, valid = rng.random(n) * (np.arange(n) % 9 > 0), np.arange(n) % 7 > 0
    sample = draw_sample(1, n=n, weight=weight, valid=valid)
    x, t, y, weight = parts(sample)
    expected = by_hand(surface, x, t, y, weight, valid)
    np.testing.assert_allclose(surface.r2(sample), expected, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(lambda s: surface.r2(s))(sample), expected, rtol=1e-4)
    shifted = jc.Function(lambda v: wavy(v) + 1000)
    moved = jc.Sample(x, t, y + 1000, weight=weight, valid=valid)
    np.testing.assert_allclose(shifted.r2(moved), expected, rtol=1e-2)


def test_r2_is_unknown_without_a_surface_rows_or_variation():
    sample = draw_sample(2)
    control = jc.fit(sample, jc.Ridge(), arms="control")
    assert np.isnan(control.r2(sample)).tolist() == [False, True]
    both = jc.fit(sample, jc.Ridge())
    one = np.asarray(sample.t) & (np.cumsum(np.asarray(sample.t)) > 1)
    assert np.isnan(both.r2(sample.with_valid(jnp.asarray(~one)))).tolist() == [False, True]
    flat = sample.with_outcome(np.where(np.asarray(sample.t), sample.y, 0.1))
    assert np.isnan(both.r2(flat)).tolist() == [True, False]
    with pytest.raises(jc.DataError, match="the sample has no outcome"):
        both.r2(draw_sample(2, y=False))


def test_effects_hold_the_r2_of_each_fold_on_its_own_rows():
    sample = draw_sample(3, weight=np.random.default_rng(0).random(40) + 0.5)
    effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=0)
    fold = np.asarray(effects.matching.fold)
    assert effects.r2.shape == (2, 2)
    for k, surface in enumerate(effects.surfaces):
        rows = {tuple(row) for row in np.asarray(surface.trained.row)}
        assert not rows & {tuple(row) for row in np.asarray(sample.row)[fold == k]}
        expected = by_hand(surface, *parts(sample), fold == k)
        np.testing.assert_allclose(effects.r2[k], expected, rtol=1e-4, atol=1e-4)
    controls, treated = np.asarray(effects.r2, float).mean(0)
    words = [f"{value:.2f}".replace("0.", ".") for value in (controls, treated)]
    line = f"R2: controls {words[0]}, treated {words[1]} (means over 2 folds)"
    assert f"surface, out of sample {line}" in effects.summary()


def test_r2_is_of_the_surfaces_whatever_effects_are_adjusted_by():
    sample, method = draw_sample(3), jc.FastAHB(outcome=jc.Ridge())
    own = jc.estimate(sample, method, key=0)
    assert "adjusted by the Ridge surface; plain means" in own.summary()
    np.testing.assert_array_equal(own.unadjusted.r2, own.r2)
    other = jc.estimate(sample, method, key=0, adjust=wavy)
    np.testing.assert_array_equal(other.r2, own.r2)
    assert "adjusted by the outcome model; plain means" in other.summary()


@pytest.mark.extended
def test_the_trees_of_honest_regressions_are_measured_too():
    sample = draw_sample(4, n=120)
    effects = jc.estimate(sample, jc.M5Model(jc.M5Tree(min_controls=20), honest=True), key=0)
    fold = np.asarray(effects.matching.fold)
    for k, tree in enumerate(effects.surfaces):
        expected = by_hand(tree, *parts(sample), fold == k)
        np.testing.assert_allclose(effects.r2[k, 0], expected[0], rtol=1e-3, atol=1e-4)
    assert np.isfinite(effects.r2[:, 0]).all()
    value = f"{float(effects.r2[:, 0].mean()):.2f}".replace("0.", ".")
    assert f"R2: controls {value} (means over 2 folds)" in effects.summary()


def test_only_fitted_arms_are_told_and_a_matching_has_none(surface):
    sample = draw_sample(4)
    effects = jc.estimate(sample, jc.FastAHB(gamma1=0.0, outcome=jc.Ridge()), key=0)
    assert "R2: controls " in effects.summary() and ", treated" not in effects.summary()
    assert np.isnan(effects.r2[:, 1]).all()
    given = jc.estimate(sample, jc.match(sample, jc.FastAHB(), surface=surface))
    assert given.r2.shape == (0, 2) and "R2" not in given.summary()
    alone = jc.estimate(sample, jc.FastAHB(outcome=surface), folds=1)
    np.testing.assert_allclose(alone.r2, surface.r2(sample)[None], rtol=1e-5)
    assert "folds" not in alone.summary() and "R2: controls" in alone.summary()
    flat = sample.with_outcome(np.where(np.asarray(sample.t), sample.y, 1.0))
    told = jc.estimate(flat, jc.FastAHB(outcome=surface), folds=1).summary()
    assert "R2: controls unknown, treated" in told


@pytest.mark.extended
def test_a_surface_of_noise_is_warned_of_and_a_good_one_is_not():
    rng = np.random.default_rng(0)
    sample = draw_sample(5)
    treated = np.asarray(sample.t)
    noise = np.where(treated, 3 * sample.x[:, 0], rng.normal(size=40))
    method = jc.FastAHB(outcome=jc.Ridge())
    with pytest.warns(jc.FitWarning) as told:
        effects = jc.estimate(sample.with_outcome(noise), method, key=0)
    assert effects.r2[:, 0].mean() <= 0 < effects.r2[:, 1].mean()
    assert len(told) == 1
    value = f"{float(effects.r2[:, 0].mean()):.2f}".replace("-0.", "-.")
    assert str(told[0].message).startswith(
        f"the Ridge surface of the controls explains nothing out of sample (R2 {value}): "
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", jc.FitWarning)
        jc.estimate(sample.with_outcome(3 * sample.x[:, 0]), method, key=0)
        function = jc.FastAHB(outcome=jc.Function(wavy))  # may give no more than a shape
        jc.estimate(sample.with_outcome(noise), function, folds=1)
        jax.jit(lambda y: jc.estimate(sample.with_outcome(y), method, key=0, throw=False).att)(
            jnp.asarray(noise)
        )
