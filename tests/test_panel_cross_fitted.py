"""The cross-fitted doubly robust estimator beside plain NumPy, its means, errors and coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close
from oracles import latent_factors as oracle
from oracles.panels import rank_by

import jcausal as jc
from jcausal.panels._cross_fitted_dr import cross_fitted_dr
from jcausal.panels._cross_fitted_quarters import Halves, cross_fitted, drawn_halves

N, M = 36, 40
CROSS_FITTED = jax.jit(cross_fitted, static_argnums=2)
METHOD = jc.CrossFittedDR(rank=3, propensity_rank=1)


def draw(seed, observed=1.0):
    rng = np.random.default_rng(seed)
    arms = [rng.normal(size=(N, 2)) @ rng.normal(size=(2, M)) + a for a in (0, 1)]
    d = rng.random((N, M)) < rng.uniform(0.35, 0.65, (N, 1))
    y = np.where(d, arms[1], arms[0]) + 0.3 * rng.normal(size=(N, M))
    return y, d, rng.random((N, M)) < observed


def halves_of(key):
    """The drawn halves and, for the oracle, which rows and columns are in the first."""
    halves = drawn_halves(N, M, jax.random.key(key))
    return halves, np.asarray(halves.rows), np.asarray(halves.columns)


@pytest.mark.x64
def test_a_matrix_of_low_rank_is_completed_exactly():
    """Of rank 2 asked for as such, or as rank 3: what has no singular value is left out."""
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(N, 2)) @ rng.normal(size=(2, M)))
    for keep in (2, 3):
        found = CROSS_FITTED(a, halves_of(0)[0], 3, jnp.asarray(keep))
        close(found.value, a, atol=2e-4)
        assert bool(found.converged)


@pytest.mark.x64
def test_no_quarter_sees_itself():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(N, M))
    halves, rows, columns = halves_of(1)
    one = np.asarray(CROSS_FITTED(jnp.asarray(a), halves, 3, jnp.asarray(3)).value)
    close(one, oracle.quarters(a, rows, columns, 3), atol=5e-3)
    other = a.copy()
    own = np.ix_(rows, ~columns)
    other[own] = rng.normal(size=other[own].shape)
    two = np.asarray(CROSS_FITTED(jnp.asarray(other), halves, 3, jnp.asarray(3)).value)
    close(two[own], one[own], atol=1e-5)
    assert np.abs(two - one)[np.ix_(~rows, columns)].max() > 0.1


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("observed", [pytest.param(1.0, marks=pytest.mark.extended), 0.85])
def test_means_and_errors_are_those_of_the_doubly_robust_terms(observed):
    """Unit 3 is never treated, and at time 5 everyone else is."""
    y, d, mask = draw(2, observed=observed)
    d[:, 5], d[3], mask[3, 5] = True, False, False
    halves, rows, columns = halves_of(2)
    found = {}
    for name in ("dr", "oi", "ipw"):
        method = jc.CrossFittedDR(rank=3, propensity_rank=1, estimator=name)
        computed = cross_fitted_dr(method, jc.Panel(y, d, mask=mask), halves)
        found[name] = computed, np.asarray(computed.y1 - computed.y0, float)
    theta, terms, weighting, square = oracle.doubly_robust(y, d, mask, rows, columns, 3, 1, 0.1)
    i, j = np.delete(np.arange(N), 3), np.delete(np.arange(M), 5)
    cells = np.ix_(i, j)
    for name, truth in (("dr", terms), ("oi", theta), ("ipw", weighting)):
        effect, expected = found[name][1], (truth[1] - truth[0])[cells]
        assert np.isnan(effect[3]).all() and np.isnan(effect[:, 5]).all()
        for axis in (0, 1, None):
            close(effect[cells].mean(axis), expected.mean(axis), atol=3e-3)
    errors = found["dr"][0].std_errors
    for axis, mine in ((1, errors.unit[i]), (0, errors.time[j]), (None, errors.average)):
        size = square[cells].size / np.size(mine)
        close(mine, np.sqrt(square[cells].mean(axis) / size), rtol=3e-3)
    assert np.isfinite(found["dr"][0].y0[3, :5]).all() and found["oi"][0].std_errors is None


@pytest.mark.extended
def test_ranks_by_rule_and_an_origin_that_does_not_matter():
    data = jc.simulate.low_rank_panel(key=0, n=N, m=M)
    panel = data.panel
    found = jc.complete(panel, jc.CrossFittedDR(), key=0)
    y, d = np.asarray(panel.y, float), np.asarray(panel.d)
    for use, rank in zip((~d, d), found.rank):
        filled = np.where(use, y - y[use].mean(), 0)
        values = np.linalg.svd(filled, compute_uv=False)
        assert int(rank) == max(1, rank_by("gap", values, (N, M), None)) > 1
    assert int(found.completed.details["propensity rank"]) == 1
    moved = jc.Panel(panel.y + 50, panel.d)
    again = jc.complete(moved, jc.CrossFittedDR(), key=0)
    close(again.effect, found.effect, atol=2e-2)
    assert "doubly robust" in found.summary() and "share of cells clipped" in found.summary()


@pytest.mark.extended
def test_the_order_of_units_and_times_does_not_matter_given_the_halves():
    y, d, _ = draw(3)
    rng = np.random.default_rng(0)
    p, q = rng.permutation(N), rng.permutation(M)
    halves, *_ = halves_of(3)
    moved = Halves(halves.rows[p], halves.columns[q])
    one = cross_fitted_dr(METHOD, jc.Panel(y, d), halves)
    two = cross_fitted_dr(METHOD, jc.Panel(y[p][:, q], d[p][:, q]), moved)
    close(two.y1, np.asarray(one.y1)[p][:, q], atol=5e-3)


@pytest.mark.extended
def test_intervals_cover():
    """64 panels in one call: 2,304 units and 2,560 times, of which a 95% interval misses 5%.

    4 deviations of a binomial share are .018. Errors of the propensities stretch the residuals and
    with them the intervals, but not the bias: .03 more is left for small samples.
    """

    def one(key):
        data = jc.simulate.low_rank_panel(key=key, n=N, m=M)
        panel = jc.Panel(data.panel.y, data.panel.d)
        found = jc.complete(panel, METHOD, key=key, throw=False)
        gaps = (
            found.unit_effect - data.unit_effect,
            found.time_effect - data.effect.mean(0),
            found.ate - data.effect.mean(),
        )
        errors = (found.std_errors.unit, found.std_errors.time, found.std_errors.average)
        covered = [jnp.abs(gap) <= 1.96 * error for gap, error in zip(gaps, errors)]
        return covered, panel.y, panel.d, found.unit_effect

    keys = jax.random.split(jax.random.key(0), 64)
    (units, times, average), y, d, effect = jax.jit(jax.vmap(one))(keys)
    alone = jc.complete(jc.Panel(y[5], d[5]), METHOD, key=keys[5])
    close(effect[5], alone.unit_effect, atol=5e-3)
    for covered in (units, times):
        assert abs(float(covered.mean()) - 0.95) < 0.018 + 0.03
    assert float(average.mean()) > 0.95 - 3 * 0.027


@pytest.mark.extended
def test_gradients_are_the_difference_quotients():
    """At rank 2 singular values have a gap; the quotient's step is a third of the digits."""
    y, d, _ = draw(4)
    method = jc.CrossFittedDR(rank=2, propensity_rank=1)
    way, weight = np.random.default_rng(0).normal(size=(2, N, M))

    @jax.jit
    @jax.value_and_grad
    def value(y):
        found = jc.complete(jc.Panel(y, jnp.asarray(d)), method, key=0, throw=False)
        return (weight[:, 0] * found.unit_effect).sum()

    y, h = jnp.asarray(y), 0.02
    slope = float((value(y)[1] * way).sum())
    quotient = float(value(y + h * way)[0] - value(y - h * way)[0]) / (2 * h)
    assert slope == pytest.approx(quotient, rel=0.01, abs=5e-3)


def test_what_does_not_fit_is_refused(unchecked):
    y, d, _ = draw(6)
    with pytest.raises(ValueError, match="CrossFittedDR draws at random"):
        jc.complete(jc.Panel(y, d), METHOD)
    with pytest.raises(jc.PatternError, match="rank 19 is above half the smaller side"):
        jc.complete(jc.Panel(y, d), jc.CrossFittedDR(rank=19), key=0)
    late = (np.arange(M) >= 25) & (np.arange(N) < 9)[:, None]
    with pytest.raises(jc.PatternError, match="treatment is absorbing"):
        jc.complete(jc.Panel(y, late), METHOD, key=0)
    drifting = np.random.default_rng(0).random((N, M)) < np.where(np.arange(M) < 20, 0.2, 0.8)
    assert "CrossFittedDR" in jc.Panel(y, drifting).completers()
    cases = [
        (dict(rank="cv"), "use 'gap', 'median'"),
        (dict(propensity_rank=0), "at least 1"),
        (dict(clip=0.5), "between 0 and 0.5"),
        (dict(estimator="aipw"), "use 'dr', 'oi' or 'ipw'"),
    ]
    for options, words in cases:
        with pytest.raises(ValueError, match=words):
            jc.CrossFittedDR(**options)
    found = jc.complete(
        jc.Panel(y, d), jc.CrossFittedDR(rank=3, propensity_rank=1, estimator="oi"), key=0
    )
    with pytest.raises(ValueError, match="no standard errors of its own"):
        jc.interval(found, jc.OwnErrors())
