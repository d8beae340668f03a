"""M5Model: regressions of leaves as weights of controls, beside NumPy's least squares."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2
from test_m5_tree import draw

import jcausal as jc


@pytest.fixture(scope="module")
def effects():
    x, t, y = draw(11, n=300)
    return jc.estimate(jc.Sample(x, t, y + 2 * t), jc.M5Model(tree=jc.M5Tree(min_controls=60)))


@pytest.mark.x64
def test_the_prediction_is_that_of_least_squares(effects):
    sample, leaf = effects.sample, np.asarray(effects.matching.leaf)
    x, t, y = (np.asarray(a, float) for a in (sample.x, sample.t, sample.y))
    for i, query in enumerate(np.asarray(effects.matching.query)):
        rows = np.flatnonzero((leaf == leaf[query]) & (t == 0))
        design = np.column_stack([np.ones(rows.size), x[rows]])
        coef = np.linalg.lstsq(design, y[rows], rcond=None)[0]
        assert float(effects.y0[i]) == pytest.approx(coef @ [1, *x[query]], abs=2e-3)
        group, weight = effects.matching.group(i)
        assert weight[np.asarray(t[group] == 0)].sum() == pytest.approx(1, abs=1e-5)
    assert float(effects.att) == pytest.approx(2, abs=0.3)


@pytest.mark.x64
@pytest.mark.parametrize("power", [1, 2])
def test_sums_and_spread_are_adjoint(effects, power):
    rng = np.random.default_rng(0)
    matching, dtype = effects.matching, effects.sample.x.dtype
    values = jnp.asarray(rng.normal(size=(effects.sample.n, 1)), dtype)
    shares = jnp.asarray(rng.normal(size=(matching.query.shape[0], 2)), dtype)
    left = float((matching.sums(values, power)[..., 0] * shares).sum())
    right = float((values[:, 0] * matching.scatter(shares, power)).sum())
    assert left == pytest.approx(right, rel=1e-3, abs=1e-3)


def test_leaf_effects_weigh_up_to_the_average(effects):
    """Proposition 4.1: the average is the mean of the leaves' effects by their treated."""
    by = jc.interval(effects, jc.AbadieImbens(), by=effects.matching.leaf)
    count = np.asarray(by.groups.matched, float)
    mean = (count * np.asarray(by.estimate)).sum() / count.sum()
    assert mean == pytest.approx(float(effects.att), abs=1e-4)


def test_heterogeneity_is_cochran_s_q(effects):
    by = jc.interval(effects, jc.AbadieImbens(), by=effects.matching.leaf)
    estimate, error = np.asarray(by.estimate, float), np.asarray(by.std_error, float)
    matched = np.asarray(by.groups.matched)
    least = int(np.sort(matched)[1])  # the smallest leaf is left out
    use = (matched >= least) & (error > 0)
    share = error[use] ** -2.0
    mean = (share * estimate[use]).sum() / share.sum()
    expected = (share * (estimate[use] - mean) ** 2).sum()
    found = jc.heterogeneity(by, min_queries=least)
    assert 2 <= use.sum() < use.size
    assert float(found.statistic) == pytest.approx(expected, rel=1e-4)
    assert found.df == use.sum() - 1 and found.left_out == use.size - use.sum()
    assert float(found.p_value) == pytest.approx(chi2.sf(expected, use.sum() - 1), abs=1e-5)


@pytest.mark.extended
def test_the_average_s_interval_holds_the_coefficients_error(effects):
    """With every leaf's residual variance the same, V >= the error of predictions alone."""
    interval = jc.interval(effects, jc.AbadieImbens(target="sample"))
    boot = jc.interval(effects, jc.Bootstrap(target="sample"), key=0)
    ratio = float(interval.std_error) / float(boot.std_error)
    assert 0.6 < ratio < 1.6
    assert float(interval.lower) < 2 < float(interval.upper)


@pytest.mark.x64
@pytest.mark.parametrize("target", ["population", "sample"])
def test_the_variance_by_hand(effects, target):
    """sigma2 of each leaf by NumPy's least squares; the treated's by the nearest of their arm."""
    sample, leaf = effects.sample, np.asarray(effects.matching.leaf)
    x, t, y = (np.asarray(a, float) for a in (sample.x, sample.t, sample.y))
    query, count = np.flatnonzero(t), t.sum()
    coefficient, single = np.zeros(sample.n), np.zeros(sample.n)
    coefficient[query] = single[query] = 1 / count
    noise, ite = np.zeros(sample.n), np.zeros(query.size)
    for k in np.unique(leaf[query]):
        rows, mine = np.flatnonzero((leaf == k) & (t == 0)), query[leaf[query] == k]
        design, asked = (np.column_stack([np.ones(at.size), x[at]]) for at in (rows, mine))
        share = asked @ np.linalg.pinv(design)
        coefficient[rows] -= share.sum(0) / count
        single[rows] += (share**2).sum(0) / count**2
        ite[np.searchsorted(query, mine)] = y[mine] - share @ y[rows]
        residual = y[rows] - design @ np.linalg.pinv(design) @ y[rows]
        noise[rows] = (residual**2).sum() / (rows.size - design.shape[1])
    single[query] = 1 / count**2
    if target == "population":
        expected = ((ite - ite.mean()) ** 2).sum() / count**2
        expected += ((coefficient**2 - single) * noise).sum()
    else:
        z = x / x.std(0)
        far = ((z[query, None] - z[query]) ** 2).sum(2) + 1e9 * np.eye(query.size)
        noise[query] = (y[query] - y[query[far.argmin(1)]]) ** 2 / 2
        expected = (coefficient**2 * noise).sum()
    found = jc.interval(effects, jc.AbadieImbens(target=target))
    assert float(found.estimate) == pytest.approx(ite.mean(), abs=1e-4)
    assert float(found.std_error) == pytest.approx(expected**0.5, rel=1e-3)


@pytest.mark.extended
def test_leaves_as_small_as_their_regression_have_no_variance():
    x, t, y = draw(13, n=40)
    method = jc.M5Model(jc.M5Tree(min_controls=1, max_depth=0))
    few = np.flatnonzero(~t)[:4]
    rows = np.concatenate([few, np.flatnonzero(t)])
    with pytest.warns(jc.TreeWarning, match="one leaf of 4 controls"):
        effects = jc.estimate(jc.Sample(x[rows], t[rows], y[rows]), method)
    for kind in (jc.AbadieImbens(), jc.Bootstrap()):
        with pytest.raises(ValueError, match="no leaf has more controls .* larger min_controls"):
            jc.interval(effects, kind, key=0)

    @jax.jit
    def traced(x, y):
        found = jc.estimate(jc.Sample(x, t[rows], y), method, throw=False)
        return found.att, jc.interval(found, jc.AbadieImbens()).std_error

    att, error = traced(jnp.asarray(x[rows]), jnp.asarray(y[rows]))
    np.testing.assert_allclose(att, effects.att, atol=1e-3)
    assert np.isnan(error)


@pytest.mark.extended
def test_under_jit_it_gives_what_the_host_gives():
    x, t, y = draw(14)
    method = jc.M5Model(jc.M5Tree(min_controls=30))
    effects = jc.estimate(jc.Sample(x, t, y), method)

    @jax.jit
    def ite(x, y):
        found = jc.estimate(jc.Sample(x, t, y), method, throw=False)
        interval = jc.interval(found, jc.AbadieImbens())
        return found.ite, found.matching.extrapolated, interval.std_error

    found, outside, error = ite(jnp.asarray(x), jnp.asarray(y))
    assert len(np.unique(effects.matching.leaf)) > 2
    np.testing.assert_allclose(np.asarray(found)[t], effects.ite, atol=2e-3)
    np.testing.assert_array_equal(np.asarray(outside)[t], effects.matching.extrapolated)
    assert np.isnan(np.asarray(found)[~t]).all()
    np.testing.assert_allclose(error, jc.interval(effects, jc.AbadieImbens()).std_error, rtol=1e-3)


@pytest.mark.extended
@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
def test_the_traced_tree_is_that_of_the_host(wide):
    def model(sample):
        effects = jc.estimate(sample, jc.M5Model(), throw=False)
        nodes = effects.matching.trees[0].nodes
        return effects.att, effects.matching.leaf, nodes.feature, nodes.threshold

    with jax.enable_x64(wide):
        sample = jc.datasets.lalonde("psid")
        host, traced = model(sample), eqx.filter_jit(model)(sample)
    assert len(np.unique(host[1])) > 80
    assert float(traced[0]) == pytest.approx(float(host[0]), rel=1e-11 if wide else 1e-5)
    np.testing.assert_array_equal(traced[1], host[1])
    for own, other in zip(host[2:], traced[2:]):
        np.testing.assert_array_equal(np.asarray(other)[: len(own)], own)


@pytest.mark.extended
def test_what_cannot_be_compared_and_what_is_extrapolated():
    x, t, y = draw(12)
    far = x.copy()
    far[np.flatnonzero(t)[0]] = [50.0, 3, 0]
    effects = jc.estimate(jc.Sample(far, t, y), jc.M5Model())
    assert bool(effects.matching.extrapolated[0])
    words = effects.summary()
    assert "not honest" in words
    honest = jc.estimate(jc.Sample(x, t, y), jc.M5Model(honest=True), key=0)
    assert "not honest" not in honest.summary()
    assert np.isfinite(float(honest.att))
    with pytest.raises(ValueError, match="use effect='own'"):
        jc.estimate(jc.Sample(x, t, y), jc.M5Model(), effect="group")


@pytest.mark.extended
@pytest.mark.x64
def test_treated_off_the_plane_of_collinear_controls_are_extrapolated():
    """Controls have x2 = x1: what x2 = -x1 would have had is anybody's guess."""
    rng = np.random.default_rng(5)
    first = rng.uniform(-1, 1, 220)
    t = np.arange(220) >= 200
    off = t & (np.arange(220) % 2 == 0)
    x = 2000 + np.column_stack([first, np.where(off, -first, first)])
    with pytest.warns(jc.TreeWarning, match="one leaf"):
        effects = jc.estimate(jc.Sample(x, t, first + 0.1 * rng.normal(size=220)), jc.M5Model())
    within = np.abs(first[t]) <= np.abs(first[~t]).max()
    expected = np.where(within, off[t] & (np.abs(first[t]) > 0.03), True)
    np.testing.assert_array_equal(effects.matching.extrapolated, expected)
    assert f"extrapolated {expected.sum()} of 20" in effects.summary()
    listed = effects.matching.describe_frame()["outside"]
    assert (listed[np.flatnonzero(off[t] & expected)] == "x0 | x1").all()


@pytest.mark.extended
def test_a_gradient_takes_the_tree_as_given():
    """The average is linear in the outcomes of a given tree: its gradient gives it back."""
    data = jc.datasets.lalonde("experiment")
    x, t, y = (jnp.asarray(a, float) for a in (data.x, data.t, data.y / 1000))
    method = jc.M5Model(tree=jc.M5Tree(min_controls=60))

    def att(y):
        return jc.estimate(jc.Sample(x, t, y), method, throw=False).att

    value, slope = jax.jit(jax.value_and_grad(att))(y)
    np.testing.assert_allclose(value, (slope * y).sum(), rtol=1e-4)
    np.testing.assert_allclose(slope[t > 0], 1 / t.sum(), rtol=1e-4)
    np.testing.assert_allclose((slope * (t == 0)).sum(), -1, rtol=1e-4)
