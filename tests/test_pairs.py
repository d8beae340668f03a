"""Pairs: partners by row with weights, and all that is made of a matching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.matching import RESULTS, code
from jcausal.matching.neighbors._pairs import _added, _sorted_sums


def draw_pairs(sample, seed=0, k=4, **changes):
    """Every treated row with up to k random controls of random weights; the last has none."""
    rng = np.random.default_rng(seed)
    t = np.asarray(sample.t)
    query, controls = np.flatnonzero(t), np.flatnonzero(~t)
    k = min(k, controls.size)
    rows = np.stack([rng.choice(controls, k, replace=False) for _ in query])
    rows[rng.random(rows.shape) < 0.3] = -1
    rows[0] = controls[:k]
    rows[-1] = -1
    weights = np.where(rows >= 0, rng.random(rows.shape) + 0.1, 0)
    total = weights.sum(1, keepdims=True)
    weights /= np.where(total > 0, total, 1)
    status = np.where(total[:, 0] > 0, 0, int(code(RESULTS.no_leaf_control))).astype(np.int32)
    fields = dict(
        sample=sample,
        fold=jnp.zeros(sample.n, jnp.int32),
        query=jnp.asarray(query),
        query_fold=jnp.zeros(query.size, jnp.int32),
        rows=jnp.asarray(rows),
        weights=jnp.asarray(weights, sample.x.dtype),
        status=jnp.asarray(status),
        estimand="att",
    )
    return jc.matching.Pairs(**fields | changes)


@pytest.fixture(scope="module")
def pairs():
    weight = np.random.default_rng(1).random(60) + 0.5
    return draw_pairs(draw_sample(3, n=60, weight=weight))


def matrix(pairs):
    """Weights as a matrix (q, n)."""
    out = np.zeros((pairs.query.shape[0], pairs.sample.n))
    for i in range(len(out)):
        rows, weights = pairs.group(i)
        out[i, rows] = weights
    return out


@pytest.mark.x64
def test_sums_and_spread_are_adjoint_and_equal_a_matrix(pairs):
    rng, whole = np.random.default_rng(0), matrix(pairs)
    t = np.asarray(pairs.sample.t)
    values = jnp.asarray(rng.normal(size=(60, 2)), pairs.sample.x.dtype)
    shares = jnp.asarray(rng.normal(size=(len(whole), 2)), values.dtype)
    for power in (1, 2):
        sums, spread = np.asarray(pairs.sums(values, power)), pairs.scatter(shares, power)
        for arm in (0, 1):
            by_arm = whole**power * (t == arm)
            np.testing.assert_allclose(sums[:, arm], by_arm @ values, rtol=2e-5, atol=2e-6)
        expected = (whole**power * np.asarray(shares)[:, t.astype(int)]).sum(0)
        np.testing.assert_allclose(spread, expected, rtol=2e-5, atol=2e-6)
        left = (sums * np.asarray(shares)[..., None]).sum((0, 1))
        np.testing.assert_allclose(left, np.asarray(values).T @ spread, rtol=1e-4, atol=1e-5)
    sizes = np.stack([(whole[:, t == arm] > 0).sum(1) for arm in (False, True)], axis=1)
    np.testing.assert_array_equal(pairs.sizes, sizes)
    traced = jax.jit(lambda v: pairs.scatter(v)).trace(shares)
    traced.lower(lowering_platforms=("cuda",))


def test_both_ways_to_add_by_row_are_one():
    rng = np.random.default_rng(0)
    by_sort = jax.jit(_sorted_sums, static_argnums=2)
    for entries, n in ((0, 3), (200, 37)):
        place = jnp.asarray(rng.integers(0, n + 1, entries), jnp.int32)  # n: nowhere
        values = jnp.asarray(rng.normal(size=entries), jnp.float32)
        one, other = _added(place, values, n), by_sort(place, values, n)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adjust", [None, wavy])
def test_effects_are_outcomes_against_weighted_partners(pairs, adjust):
    sample, whole = pairs.sample, matrix(pairs)
    y, t, w = (np.asarray(a, float) for a in (sample.y, sample.t, sample.weight))
    effects = jc.estimate(sample, pairs, adjust=adjust)
    matched, query = np.asarray(pairs.matched), np.asarray(pairs.query)
    f0 = np.zeros(60) if adjust is None else np.asarray(wavy(sample.x), float)[:, 0]
    expected = y[query] - f0[query] - (whole * (1 - t)) @ (y - f0)
    np.testing.assert_allclose(np.asarray(effects.ite)[matched], expected[matched], atol=1e-4)
    assert np.isnan(np.asarray(effects.ite)[~matched]).all() and not matched[-1]
    att = np.average(expected[matched], weights=w[query[matched]])
    np.testing.assert_allclose(effects.att, att, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(effects.contributions) @ (y - f0), att, rtol=1e-3)
    smoothed = jc.estimate(sample, pairs, effect="group", adjust=adjust)
    np.testing.assert_allclose(smoothed.att, att, rtol=1e-4)
    control = whole * (1 - t)
    units = control.sum(1) ** 2 / np.where(matched, (control**2).sum(1), 1)
    np.testing.assert_allclose(np.asarray(effects.effective)[:, 0], units, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(effects.effective)[matched, 1], 1, rtol=1e-5)
    heavy = (control**3).sum(1)[matched] / (control**2).sum(1)[matched]
    np.testing.assert_allclose(np.asarray(effects.heavy)[matched, 0], heavy, rtol=1e-4)
    assert "unmatched 1: its leaf holds no control" in effects.summary()


def test_intervals_balance_and_pictures_apply(pairs):
    sample = pairs.sample
    effects = jc.estimate(sample, pairs)
    normal = jc.interval(effects, jc.AbadieImbens())
    drawn = jc.interval(effects, jc.Bootstrap(draws=500), key=0)
    for bounds in (normal, drawn):
        assert float(bounds.lower) < float(effects.att) < float(bounds.upper)
    assert 0.5 < float(normal.std_error / drawn.std_error) < 2
    table = jc.balance(sample, pairs)
    weight = np.asarray(pairs.matched_weights())
    t = np.asarray(sample.t)
    mean = np.average(np.asarray(sample.x)[~t], axis=0, weights=weight[~t])
    np.testing.assert_allclose(table["mean_control_matched"], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weight[t].sum(), weight[~t].sum(), rtol=1e-5)
    assert jc.plot.love(table).get_xlabel()


def test_frames_and_words(pairs, unchecked):
    frame = pairs.describe_frame()
    held = np.asarray(pairs.weights) > 0
    assert len(frame) == held.sum() + 1
    assert frame["partner"].isna().sum() == 1 and frame["weight"].isna().sum() == 1
    np.testing.assert_allclose(frame.groupby("id")["weight"].sum().max(), 1, rtol=1e-5)
    units = pairs.to_frame()
    assert (units["weight"] > 0).all() and set(units["treated"]) == {0, 1}
    words = pairs.describe(0)
    assert words.startswith("4 controls, 1 treated: ") and "x0" in words and "against" in words
    assert pairs.describe(len(held) - 1).startswith("its leaf holds no control")
    twins = jc.Sample([[1.0], [1.0], [1.0], [2.0]], [1, 0, 0, 0], [3.0, 1.0, 2.0, 0.0])
    same = draw_pairs(
        twins,
        rows=jnp.array([[1, 2]]),
        weights=jnp.full((1, 2), 0.5),
        status=jnp.zeros(1, jnp.int32),
    )
    expected = "2 controls, 1 treated: 1 and 2 (1/2 each); alike in every covariate"
    assert same.describe(0) == expected


def test_points_have_partners_of_both_arms():
    sample = draw_sample(5, n=20)
    t = np.asarray(sample.t)
    rows = np.concatenate([np.flatnonzero(~t)[:2], np.flatnonzero(t)[:2]])[None]
    point = draw_pairs(
        sample,
        query=jnp.array([-1]),
        query_fold=jnp.zeros(1, jnp.int32),
        rows=jnp.asarray(rows),
        weights=jnp.array([[0.5, 0.5, 0.25, 0.75]], sample.x.dtype),
        status=jnp.zeros(1, jnp.int32),
    )
    y = np.asarray(sample.y)[rows[0]]
    ite = float(jc.estimate(sample, point).ite[0])
    np.testing.assert_allclose(ite, y[2] / 4 + y[3] * 0.75 - y[:2].mean(), rtol=1e-5)
    assert point.sizes.tolist() == [[2, 2]]
    assert point.describe(0) == "2 controls, 2 treated"


def test_groups_that_no_estimate_could_use_are_refused():
    sample = draw_sample(5, n=20)
    good = draw_pairs(sample)
    q = good.query.shape[0]
    treated = jnp.broadcast_to(good.query[::-1, None], good.rows.shape)
    for changes, message in (
        (dict(weights=-good.weights), "not negative"),
        (dict(weights=good.weights * 0.9), "add up to 0.9 in an arm"),
        (dict(rows=good.rows + 20), "at no row: rows must be 0 to 19"),
        (dict(rows=treated), "of its query's own arm"),
        (dict(query_fold=jnp.ones(q, jnp.int32)), "of another fold"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_pairs(sample, **changes)
