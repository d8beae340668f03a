"""Simulated allocations beside plain loops and other draws, and the bench that shows them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import allocation as oracle

import jcausal as jc

GRID = np.sort(np.random.default_rng(7).uniform(size=40))
EPS = (0.0003, 0.005, 0.1)
EQUAL = jc.simulate.EqualSamples(eps=EPS)
TOTALS = jc.simulate.RandomSamples(totals=(50, 400, 2000))
REPEATS = 60


@pytest.fixture(scope="module")
def equal():
    return jc.simulate.allocation_trials(GRID, EQUAL, repeats=REPEATS, key=1)


@pytest.fixture(scope="module")
def random():
    return jc.simulate.allocation_trials(GRID, TOTALS, repeats=REPEATS, key=2)


def close(found, expected):
    """Means over trials of two processes, for each K: at most 5 standard errors apart.

    Both have one variance if they are one process: it is that of all trials, so that a loss seen
    once or twice in either is not taken for a sure one. By chance less than once in 1e4 runs.
    """
    spread = np.concatenate([found, expected]).std(0, ddof=1)
    error = spread * np.sqrt(1 / len(found) + 1 / len(expected))
    return np.abs(found.mean(0) - expected.mean(0)) <= 5 * error + 1e-5


@pytest.mark.extended
@pytest.mark.x64
def test_values_are_those_of_other_draws(equal, random):
    rng, best = np.random.default_rng(0), np.cumsum(np.sort(GRID)[::-1])
    for s, n in enumerate(EQUAL.samples(40)):
        expected = np.array([oracle.equal_trial(GRID, n, rng) for _ in range(400)]) / best
        assert close(np.asarray(equal.ratio[s]), expected).all()
        assert int(equal.samples[s]) == 40 * n
    for s, total in enumerate(TOTALS.samples(40)):
        expected = np.array([oracle.random_trial(GRID, total, rng) for _ in range(400)]) / best
        assert close(np.asarray(random.ratio[s]), expected).all()
    whole = np.asarray(equal.ratio)[..., -1]
    np.testing.assert_allclose(whole, 1, rtol=1e-5)
    assert (np.asarray(equal.ratio) <= 1 + 1e-5).all()


def test_failures_and_what_mends_them_are_those_of_plain_loops(equal):
    value, best = np.asarray(equal.value, np.float64), np.asarray(equal.best, np.float64)
    found = [
        np.asarray(a) for a in (equal.failed, equal.shift(), equal.shift("under"), equal.extra)
    ]
    for s, eps in enumerate(EPS):
        for r in range(REPEATS):
            loss = (best - value[s, r]) / best
            assert np.abs(loss - eps).min() > 1e-6  # no budget is on the edge
            expected = oracle.mended(value[s, r], best, eps)
            for ours, theirs in zip(found, expected):
                np.testing.assert_array_equal(ours[s, r], theirs)
    frame = equal.to_frame()
    np.testing.assert_allclose(frame["failure_rate"], 100 * found[0].mean((1, 2)), rtol=1e-5)
    failed = found[0][0]
    assert failed.sum() > 5
    assert frame["extra_groups"][0] == pytest.approx(found[3][0][failed].mean())
    some = failed & (found[2][0] >= 0)
    assert frame["shift_under"][0] == pytest.approx(found[2][0][some].mean())
    assert frame["none_under"][0] == (failed & (found[2][0] < 0)).sum()


@pytest.mark.extended
@pytest.mark.parametrize("m", [40, 78])
def test_failure_rates_are_as_low_as_the_paper_s(m):
    """Below 5% on average, and next to none for eps from .05 on."""
    rng = np.random.default_rng(m)
    eps = EPS if m == 40 else jc.simulate.EqualSamples().eps
    for tau in ((np.arange(m) + 1) / m, jc.allocation.unit_scale(rng.beta(2, 2, m)).tau):
        for split in ("bonferroni", "none"):
            sampling = jc.simulate.EqualSamples(eps=eps, delta_split=split)
            found = jc.simulate.allocation_trials(tau, sampling, repeats=REPEATS, key=0)
            rate = found.to_frame()["failure_rate"]
            assert (rate < 5).all()
            assert (rate[np.array(eps) >= 0.05] < 0.5).all()


def test_sure_effects_are_found_exactly_and_equal_ones_lose_nothing():
    tau = np.repeat([0.0, 1.0], 20)
    found = jc.simulate.allocation_trials(tau, EQUAL, repeats=REPEATS, key=0)
    expected = np.minimum(np.arange(40) + 1, 20)
    np.testing.assert_array_equal(found.value, np.broadcast_to(expected, found.value.shape))
    assert not np.asarray(found.failed).any()
    alike = jc.simulate.allocation_trials(np.full(40, 0.4), TOTALS, repeats=REPEATS, key=0)
    np.testing.assert_allclose(alike.ratio, 1, rtol=1e-5)


@pytest.mark.extended
def test_many_sets_of_effects_in_one_call_and_the_same_key_again(equal):
    again = jc.simulate.allocation_trials(GRID, EQUAL, repeats=REPEATS, key=1)
    np.testing.assert_array_equal(again.value, equal.value)

    def rate(tau, key):
        sampling = jc.simulate.EqualSamples(eps=(0.005,))
        return jc.simulate.allocation_trials(tau, sampling, repeats=4, key=key).failure_rate

    taus = jnp.asarray(np.stack([GRID, GRID**2]))
    many = jax.vmap(rate)(taus, jax.random.split(jax.random.key(0), 2))
    assert many.shape == (2, 1, 4)
    one = rate(GRID, jax.random.split(jax.random.key(0), 2)[0])
    np.testing.assert_allclose(many[0], one, rtol=1e-5)


def test_the_three_numbers_of_samples():
    scripts = jc.simulate.EqualSamples(eps=(0.01,), delta_split="none").samples(78)
    text = jc.simulate.EqualSamples(eps=(0.01,), gamma=0.5**0.5).samples(78)
    assert scripts == (int(np.ceil(2 * np.log(2 / 0.05) / 0.01)),)
    assert text == (int(np.ceil(np.log(2 * 78 / 0.05) / 0.01)),)


def test_wrong_trials_are_refused(unchecked, random):
    run = jc.simulate.allocation_trials
    with pytest.raises(jc.DataError, match=r"tau lies outside \[0, 1\] in 1 of 2 groups"):
        run([0.5, 1.5], EQUAL, key=0)
    with pytest.raises(jc.DataError, match="all 2 effects are 0"):
        run([0.0, 0.0], EQUAL, key=0)
    with pytest.raises(jc.DataError, match="NaN or infinite in 1 of 2"):
        run([0.5, np.nan], EQUAL, key=0)
    with pytest.raises(ValueError, match="repeats is 0"):
        run([0.5], EQUAL, repeats=0, key=0)
    with pytest.raises(ValueError, match="no eps"):
        _ = random.failed
    assert list(random.to_frame().columns) == ["samples", "ratio"]
    for make, words in (
        (lambda: jc.simulate.EqualSamples(eps=()), "eps is empty"),
        (lambda: jc.simulate.EqualSamples(eps=(0.1, 2.0)), "eps is 2"),
        (lambda: jc.simulate.RandomSamples(totals=(5, 5)), "numbers that increase"),
        (lambda: jc.simulate.RandomSamples(totals=()), "numbers that increase"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    tiny = jc.simulate.EqualSamples(eps=(1e-9,))
    with pytest.raises(ValueError, match="more than are counted"):
        run([0.5], tiny, key=0)
