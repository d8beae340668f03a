"""Synthetic control and synthetic DiD beside enumeration, regressions and published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import panels as oracle

import jcausal as jc
from jcausal.panel._simplex import simplex_weights

N, M = 9, 8
START = np.array([8, 4, 8, 8, 6, 8, 4, 8, 6])  # two cohorts of two, five donors
D = np.arange(M) >= START[:, None]
DONORS, TREATED = np.flatnonzero(START == M), np.flatnonzero(START < M)
METHODS = [jc.SyntheticControl(), jc.SyntheticControl(penalty=0.1), jc.SyntheticDiD()]


def name(value):
    if not isinstance(value, jc.Completer):
        return None
    return type(value).__name__ + ("+" if getattr(value, "penalty", 0) else "")


def draw(seed):
    """Walks around unit and time effects, levels far from 0."""
    rng = np.random.default_rng(seed)
    y = 20 + 3 * rng.normal(size=(N, 1)) + rng.normal(size=(N, M)).cumsum(1)
    return np.asarray(y + rng.normal(size=M), np.float32).astype(float)


def close(a, b, **tolerance):
    np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), **tolerance)


def problems(seed):
    """Sixteen problems of 4 times and 6 donors: random, copies, far apart, an exact fit."""
    d = np.random.default_rng(seed).normal(size=(16, 4, 6))
    d[:8] += 1.0
    d[2:4, :, 3:] = d[2:4, :, :3]
    d[4:6] += 30 * np.random.default_rng(seed + 1).normal(size=(2, 1, 6))
    d[6, :, 0] = 0
    d[7] = 0
    return np.asarray(d, np.float32).astype(float)


@pytest.mark.x64
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_weights_are_the_best_of_all_supports(ridge):
    """The objective as close as `converged` claims; the weights where they are unique."""
    d = problems(0)
    solve = jax.jit(jax.vmap(lambda d: simplex_weights(d, jnp.ones(6, bool), ridge)))
    found = solve(jnp.asarray(d))
    eps = float(jnp.finfo(found.w.dtype).eps)
    assert bool(found.converged.all())
    w = np.asarray(found.w, float)
    assert w.min() >= 0
    close(w.sum(1), 1, atol=8 * eps)
    for k in range(16):
        best, value = oracle.simplex(d[k], ridge)
        mine = ((d[k] @ w[k]) ** 2).sum() + ridge * (w[k] @ w[k])
        assert mine - value <= eps**0.6 * value + 4 * eps * (d[k] ** 2).sum(0).max()
        if ridge:
            close(w[k], best, atol=2e-3 if eps > 1e-10 else 1e-7)
            assert (w[k][best < 1e-9] == 0).all()


@pytest.mark.x64
def test_copies_fit_as_one_and_unused_columns_have_no_weight():
    d = problems(1)[2]
    use = np.array([True, True, False, True, True, False])
    found = simplex_weights(jnp.asarray(np.where(use, d, np.nan)), jnp.asarray(use))
    w = np.asarray(found.w)
    alone = oracle.simplex(d[:, :2])[0]
    close(w[[0, 1]] + w[[3, 4]], alone, atol=1e-5)
    assert (w[~use] == 0).all() and bool(found.converged)
    broken = simplex_weights(jnp.asarray(np.where(use, d, np.nan)), jnp.ones(6, bool))
    assert not bool(broken.converged) and np.isnan(broken.w).all()


@pytest.mark.x64
def test_more_donors_than_times_and_the_reverse():
    """By the duality gap in float64: 60 donors, more than can be enumerated."""
    for t in (20, 90):
        d = np.random.default_rng(t).normal(size=(t, 60)) + 0.5
        d = np.asarray(d, np.float32).astype(float)
        found = simplex_weights(jnp.asarray(d), jnp.ones(60, bool))
        w = np.asarray(found.w, float)
        w /= w.sum()
        r = d @ w
        gap = 2 * (r @ r - (d.T @ r).min())
        eps = float(jnp.finfo(found.w.dtype).eps)
        assert bool(found.converged) and gap <= eps**0.6 * (r @ r) + 8 * eps * (d**2).sum(0).max()


@pytest.mark.x64
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_the_synthetic_control_is_its_definition(penalty):
    y = draw(0)
    found = jc.complete(jc.Panel(y, D), jc.SyntheticControl(penalty=penalty))
    y0, weights = np.asarray(found.y0), np.asarray(found.completed.details["weights"])
    assert weights.shape == (4, 5)
    for k, i in enumerate(TREATED):
        s = START[i]
        d = (y[DONORS, :s] - y[i, :s]).T
        w, value = oracle.simplex(d, s * penalty)
        mine = weights[k].astype(float)
        assert ((d @ mine) ** 2).sum() + s * penalty * mine @ mine <= value * 1.0002 + 1e-4
        if penalty:
            close(y0[i], w @ y[DONORS], atol=0.02 if y0.dtype == np.float32 else 1e-6)
        close(y0[i], mine @ y[DONORS], rtol=1e-6)
    assert np.isnan(y0[DONORS]).all()
    close(found.att, (y - y0)[D].mean(), rtol=1e-4)
    events = found.event_average()
    assert events["event"].tolist() == list(range(-6, 4))


@pytest.mark.x64
def test_synthetic_did_is_the_weighted_regression_of_every_cohort():
    y = draw(1)
    found = jc.complete(jc.Panel(y, D), jc.SyntheticDiD())
    loose = found.y0.dtype == jnp.float32
    effect, parts = oracle.synthetic_did(y, START)
    close(found.att, effect, atol=2e-3 if loose else 1e-6)
    cohorts = found.cohort_average()
    close(cohorts["effect"], [part[0] for part in parts], atol=2e-3 if loose else 1e-6)
    details = found.completed.details
    for g, (_, _, w, times) in enumerate(parts):
        close(details["donor weights"][g], w, atol=2e-3 if loose else 1e-7)
        s = (4, 6)[g]
        close(details["time weights"][g, :s], times, atol=2e-3 if loose else 1e-6)
        assert (np.asarray(details["time weights"])[g, s:] == 0).all()
    gap = np.asarray(found.gap)[TREATED]
    times = np.asarray(details["time weights"])[[0, 1, 0, 1]]
    close((gap * times).sum(1), 0, atol=1e-4)
    assert np.isnan(np.asarray(found.y0)[DONORS]).all()


def test_a_large_zeta_weighs_all_donors_alike():
    found = jc.complete(jc.Panel(draw(2), D), jc.SyntheticDiD(zeta=1e4))
    close(found.completed.details["donor weights"], 0.2, atol=1e-5)
    close(found.completed.details["zeta"], 1e4)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_constants_and_order_change_nothing(method):
    """Times before the first start are put in another order with zeta given: it reads steps."""
    y, rng = draw(3), np.random.default_rng(0)
    if isinstance(method, jc.SyntheticDiD):
        method = jc.SyntheticDiD(zeta=1.0)
    one = jc.complete(jc.Panel(y, D), method)
    rows = rng.permutation(N)
    columns = np.append(rng.permutation(4), np.arange(4, M))
    two = jc.complete(jc.Panel(y[rows][:, columns], D[rows]), method)
    close(two.effect, np.asarray(one.effect)[rows], atol=5e-3)
    shift = rng.normal(size=M) + 50
    if isinstance(method, jc.SyntheticDiD):
        shift = shift + rng.normal(size=(N, 1))
    three = jc.complete(jc.Panel(y + shift, D), method)
    close(three.effect, one.effect, atol=5e-3)


@pytest.mark.x64
@pytest.mark.parametrize("method", [jc.SyntheticControl(), jc.SyntheticDiD(zeta=0.0)], ids=name)
def test_means_of_donors_are_recovered(method):
    """Every treated unit is a mean of donors, and for DiD moved by a constant."""
    y, rng = draw(4), np.random.default_rng(1)
    y[TREATED] = rng.dirichlet(np.ones(5), 4) @ y[DONORS]
    y[TREATED[2]] = y[TREATED[0]]  # one cohort's mean is a mean of donors as well
    y[TREATED[3]] = y[TREATED[1]]
    if isinstance(method, jc.SyntheticDiD):
        y[TREATED] += 7
    found = jc.complete(jc.Panel(y + 2.5 * D, D), method)
    tight = found.y0.dtype == jnp.float64
    before = np.asarray(found.gap)[TREATED][:, :4]
    close(before, 0, atol=1e-6 if tight else 5e-3)
    if tight:  # 4 or 6 times tell 5 donors apart only for the later cohort
        close(np.asarray(found.effect)[D & (START == 6)[:, None]], 2.5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_many_panels_in_one_call(method):
    y = jnp.asarray(np.stack([draw(5), draw(6)]))

    def run(y, d):
        found = jc.complete(jc.Panel(y, d), method, throw=False)
        return found.effect, found.completed.converged

    many, converged = jax.jit(jax.vmap(run, in_axes=(0, None)))(y, jnp.asarray(D))
    assert bool(converged.all())
    for k in range(2):
        close(many[k], run(y[k], D)[0], atol=5e-3)
        assert np.isfinite(many[k][D]).all()


@pytest.mark.parametrize("method", METHODS[1:], ids=name)
def test_gradients_are_the_difference_quotients(method):
    y = draw(7)
    way = np.random.default_rng(0).normal(size=y.shape)

    def att(y):
        return jc.complete(jc.Panel(y, D), method, throw=False).att

    y, way = jnp.asarray(y), jnp.asarray(way)
    slope = float((jax.grad(att)(y) * way).sum())
    h = 0.01
    quotient = float(att(y + h * way) - att(y - h * way)) / (2 * h)
    assert slope == pytest.approx(quotient, rel=0.03, abs=5e-3)


def test_the_gradient_in_the_penalty():
    panel = jc.Panel(draw(8), D)

    def att(penalty):
        return jc.complete(panel, jc.SyntheticControl(penalty=penalty), throw=False).att

    slope = float(jax.jit(jax.grad(att))(jnp.asarray(0.5)))
    quotient = float(att(jnp.asarray(0.55)) - att(jnp.asarray(0.45))) / 0.1
    assert slope == pytest.approx(quotient, rel=0.05, abs=5e-3)
