"""Completion methods beside plain NumPy, exact recovery, invariances, gradients."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close
from oracles import panels as oracle

import jcausal as jc
from jcausal.panels import _truncated_svd

N, M = 24, 30
SPECTRAL = [jc.RowScaledSpectral(rank=3), jc.USVT(eta=0.05, bounds=(-2, 3), variance=0.05)]
SWITCHING = [*SPECTRAL, jc.MCNNM(penalty=0.03, cells="all")]
METHODS = [*SWITCHING, jc.TwoWayFixedEffects()]
QUICK = [*(pytest.param(m, marks=pytest.mark.extended) for m in SWITCHING), METHODS[-1]]


def name(value):
    return type(value).__name__ if isinstance(value, jc.panels.Completer) else None


def draw(seed, n=N, m=M, rank=2, noise=0.0):
    """Low-rank outcomes by arm and coins with the unit's own probability."""
    rng = np.random.default_rng(seed)
    arms = [rng.normal(size=(n, rank)) @ rng.normal(size=(rank, m)) + a for a in (0, 1)]
    d = rng.random((n, m)) < rng.uniform(0.35, 0.65, (n, 1))
    return np.where(d, arms[1], arms[0]) + noise * rng.normal(size=(n, m)), d, arms


@pytest.mark.x64
@pytest.mark.parametrize("shape", [(60, 70), pytest.param((70, 60), marks=pytest.mark.extended)])
def test_factors_are_those_of_a_full_svd(shape):
    """A block of 3 + 10 columns of 60: the vectors kept agree to the tolerance over the gap."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(shape[0], 3)) * [9, 6, 4] @ rng.normal(size=(3, shape[1]))
    a += rng.normal(size=shape)
    assert _truncated_svd.block(*shape, 3) < 60
    found = _truncated_svd.top_factors(jnp.asarray(a), 3, 3)
    u, s, vt = np.linalg.svd(a)
    assert bool(found.converged)
    close(found.s, s[:3], rtol=2e-4)
    low = (u[:, :3] * s[:3]) @ vt[:3]
    loose = 3e-3 if found.s.dtype == jnp.float32 else 1e-6
    close(_truncated_svd.rank_part(jnp.asarray(a), found, 3), low, atol=loose * s[0] / 60)


@pytest.mark.parametrize("size", [1e-14, 1e14])
def test_factors_do_not_depend_on_the_units(size):
    """Three products of a step would leave what float32 can hold."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(60, 3)) * [9, 6, 4] @ rng.normal(size=(3, 70)) + rng.normal(size=(60, 70))
    a = a.astype(np.float32)
    for keep in (0, 3):
        plain, found = (_truncated_svd.top_factors(jnp.asarray(b), 3, keep) for b in (a, a * size))
        assert bool(found.converged)
        close(found.s / size, plain.s, rtol=1e-5)


@pytest.mark.x64
def test_the_gradient_of_a_rank_part_is_its_difference_quotient():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 15)) * 3 + rng.normal(size=(12, 15))
    weight, way = rng.normal(size=(2, 12, 15))

    def value(a):
        return (
            jnp.asarray(weight)
            * _truncated_svd.rank_part(a, _truncated_svd.top_factors(a, 3, 2), 2)
        ).sum()

    slope = (np.asarray(jax.grad(value)(jnp.asarray(a)), float) * way).sum()

    def plain(a):
        u, s, vt = np.linalg.svd(a)
        return (weight * ((u[:, :2] * s[:2]) @ vt[:2])).sum()

    h = 1e-5
    assert slope == pytest.approx((plain(a + h * way) - plain(a - h * way)) / (2 * h), rel=2e-3)


@pytest.mark.x64
def test_the_row_scaled_estimator_is_the_algorithm_as_written():
    y, d, _ = draw(2, noise=0.3)
    found = jc.complete(jc.Panel(y, d), jc.RowScaledSpectral(rank=3, centre=False))
    for arm, mine in ((0, found.y0), (1, found.y1)):
        close(mine, oracle.row_scaled(y, d == arm, 3), atol=2e-3)
    assert found.rank.tolist() == [3, 3]


@pytest.mark.extended
@pytest.mark.parametrize(
    "rule",
    [
        3,
        pytest.param("gap", marks=pytest.mark.extended),
        pytest.param("cv", marks=pytest.mark.extended),
    ],
)
def test_the_origin_of_the_outcomes_does_not_matter(rule):
    """In float32 an outcome near 100 has 5 digits after the point."""
    y, d, _ = draw(2, noise=0.3)
    for method in (jc.RowScaledSpectral(rank=rule, refine=1), jc.MCNNM(penalty=0.03)):
        near, far = (jc.complete(jc.Panel(y + c, d), method, key=0) for c in (0, 100))
        assert near.rank.tolist() == far.rank.tolist() and bool(far.completed.converged)
        close(far.y0, np.asarray(near.y0) + 100, atol=2e-3)
        close(far.effect, near.effect, atol=2e-3)


def test_rules_for_the_rank():
    y, d, _ = draw(3, noise=0.3)
    panel = jc.Panel(y, d)
    for rule, key in (("gap", None), ("median", None), ("cv", 0)):
        found = jc.complete(panel, jc.RowScaledSpectral(rank=rule, centre=False), key=key)
        for arm in (0, 1):
            values = np.linalg.svd(oracle.scaled(y, d == arm), compute_uv=False)
            close(found.singular_values[arm], values[:9], rtol=1e-3)
            if rule != "cv":
                expected = oracle.rank_by(rule, values, (N, M), (y, d == arm))
                assert int(found.rank[arm]) == expected
    errors = found.completed.details["squared error by rank"]
    assert found.rank.tolist() == np.argmin(errors, axis=1).tolist()
    with pytest.raises(ValueError, match="draws at random"):
        jc.complete(panel, jc.RowScaledSpectral(rank="cv"))


def test_the_literal_threshold_says_that_it_finds_nothing():
    y, d, _ = draw(4, noise=0.3)
    with pytest.warns(jc.CompletionWarning, match="rank 0 with") as told:
        found = jc.complete(jc.Panel(y, d), jc.RowScaledSpectral(rank="paper", centre=False))
    for each, arm in zip(told, ("without", "with"), strict=True):
        assert f"rank 0 {arm} treatment (threshold" in str(each.message)
    assert found.rank.tolist() == [0, 0] and float(jnp.abs(found.effect).max()) == 0
    q = min(d.mean(1).min(), (~d).mean(1).min())
    expected = 96 * np.abs(y).max() * np.sqrt((N + M) * np.log(N + M) / q)
    close(found.completed.details["threshold"], [expected] * 2, rtol=1e-4)


def test_refining_recovers_a_matrix_without_noise():
    """Of arm 1, whose rank is 3 with its constant; every second cell of it was seen."""
    y, d, arms = draw(5, n=60, m=70)
    found = jc.complete(jc.Panel(y, d), jc.RowScaledSpectral(rank=3, refine=100, centre=False))
    close(found.y1, arms[1], atol=1e-3)


@pytest.mark.x64
def test_thresholding_is_the_algorithm_as_written():
    y, d, _ = draw(6, noise=0.1)
    method = SPECTRAL[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jc.CompletionWarning)
        found = jc.complete(jc.Panel(y, d), method)
    for arm, mine in ((0, found.y0), (1, found.y1)):
        expected, rank = oracle.usvt(y, d == arm, 0.05, (-2, 3), 0.05)
        assert rank == int(found.rank[arm]) > 0
        close(mine, expected, atol=2e-3)


@pytest.mark.x64
def test_two_way_effects_are_least_squares_with_dummies():
    rng = np.random.default_rng(7)
    y, d, _ = draw(7, noise=1.0)
    mask, x = rng.random((N, M)) < 0.8, rng.normal(size=(N, M, 2))
    y = y + x @ [1.0, -2.0] + 100
    for cube in (None, x):
        panel = jc.Panel(y, d, mask=mask, covariates=cube)
        found = jc.complete(panel, jc.TwoWayFixedEffects())
        close(found.y0, oracle.two_way(y, ~d & mask, cube), rtol=2e-5)
    close(np.asarray(found.effect)[d & mask], (y - np.asarray(found.y0))[d & mask], atol=1e-3)
    assert np.isnan(np.asarray(found.effect)[~(d & mask)]).all()


@pytest.mark.extended
def test_collinear_covariates_change_nothing():
    rng = np.random.default_rng(8)
    y, d, _ = draw(8, noise=1.0)
    x = rng.normal(size=(N, M, 1))
    constant = np.broadcast_to(rng.normal(size=(N, 1, 1)), (N, M, 1))
    more = np.concatenate([x, 2 * x, constant], axis=2)
    one, three = (
        jc.complete(jc.Panel(y, d, covariates=c), jc.TwoWayFixedEffects()) for c in (x, more)
    )
    close(three.y0, one.y0, atol=1e-3)


def test_cells_that_no_chain_joins_have_no_effect():
    """Units 0 to 11 are untreated only early, the others only late: two islands."""
    rng = np.random.default_rng(9)
    late = np.arange(M) >= 15
    d = np.where((np.arange(N) < 12)[:, None], late, ~late)
    d[0] = True
    found = jc.complete(jc.Panel(rng.normal(size=(N, M)), d), jc.TwoWayFixedEffects(), throw=False)
    assert not found.identified.any() and "24 of" not in found.unidentified_words
    assert "720" not in found.summary() and "treated cells have no effect" in found.summary()


@pytest.mark.x64
@pytest.mark.parametrize("shape", [(N, M), pytest.param((40, 50), marks=pytest.mark.extended)])
def test_the_nuclear_norm_solution_is_optimal(shape):
    """Residuals / t have norm at most 1 off the solution's spaces and are U V^T on them."""
    y, d, _ = draw(10, *shape, noise=0.5)
    penalty = 0.03
    found = jc.complete(jc.Panel(y, d), jc.MCNNM(penalty=penalty, tolerance=1e-6))
    m, use = np.asarray(found.y0, float), ~d
    residual = np.where(use, y - m, 0)
    size = np.abs(residual).sum(1).max()
    assert np.abs(residual.sum(0)).max() < 1e-3 * size
    assert np.abs(residual.sum(1)).max() < 1e-3 * size
    scaled = residual / (penalty * use.sum() / 2)
    low = m - m.mean(0) - m.mean(1, keepdims=True) + m.mean()
    u, s, vt = np.linalg.svd(low)
    rank = int(found.rank[0])
    assert s[rank - 1] > 1e-3 > 1e-4 > s[rank]
    close(u[:, :rank].T @ scaled @ vt[:rank].T, np.eye(rank), atol=5e-3)
    assert np.linalg.norm(scaled, 2) < 1 + 5e-3


@pytest.mark.extended
@pytest.mark.x64
def test_the_path_is_that_of_plain_soft_thresholding():
    y, d, _ = draw(11, noise=0.5)
    method = jc.MCNNM(grid=6, folds=2, ratio=0.05, tolerance=1e-6)
    found = jc.complete(jc.Panel(y, d), method, key=0)
    details = found.completed.details
    lambdas = np.asarray(details["lambdas"][0], float)
    top = 2 * oracle.largest_residual(y, ~d) / (~d).sum()
    close(lambdas, top * 0.05 ** np.linspace(0, 1, 6), rtol=1e-3)
    chosen = int(np.argmin(details["squared error by lambda"][0]))
    close(details["lambda"][0], lambdas[chosen], rtol=1e-5)
    close(found.y0, oracle.nuclear(y, ~d, lambdas[chosen] * (~d).sum() / 2), atol=5e-3)
    again = jc.complete(jc.Panel(y, d), jc.MCNNM(penalty=float(lambdas[chosen])))
    close(again.y0, found.y0, atol=5e-3)
    largest = jc.complete(jc.Panel(y, d), jc.MCNNM(penalty=float(lambdas[0]) * 1.001))
    close(largest.y0, oracle.two_way(y, ~d, None), atol=1e-3)
    assert int(largest.rank[0]) == 0


@pytest.mark.extended
@pytest.mark.parametrize("cells", ["treated", "all"])
def test_a_search_that_ends_early_finds_what_the_whole_one_finds(cells):
    y, d, _ = draw(17, 40, 40, noise=0.5)
    short, whole = (
        jc.complete(jc.Panel(y, d), jc.MCNNM(cells=cells, patience=p), key=0) for p in (5, None)
    )
    for one, two in zip(
        short.completed.details["squared error by lambda"],
        whole.completed.details["squared error by lambda"],
    ):
        least = int(np.argmin(two))
        seen = least + 6
        assert np.isfinite(two).all() and least > 0 and seen < 30
        close(one[:seen], two[:seen], rtol=0, atol=0)
        assert np.isinf(one[seen:]).all()
    close(short.y0, whole.y0, rtol=0, atol=0)


@pytest.mark.parametrize("method", QUICK, ids=name)
def test_the_order_of_units_and_times_does_not_matter(method):
    y, d, _ = draw(12, noise=0.3)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(N), rng.permutation(M)
    one = jc.complete(jc.Panel(y, d), method, throw=False)
    two = jc.complete(jc.Panel(y[rows][:, columns], d[rows][:, columns]), method, throw=False)
    close(two.y0, np.asarray(one.y0)[rows][:, columns], atol=5e-3)
    close(two.unit_effect, np.asarray(one.unit_effect)[rows], atol=5e-3)


@pytest.mark.parametrize("method", SWITCHING, ids=name)
def test_units_without_an_arm_are_not_identified(method):
    y, d, _ = draw(13, noise=0.3)
    d[[2, 5]], d[7], d[:, 4] = False, True, False
    mask = np.ones_like(d)
    mask[7, 4] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jc.CompletionWarning)
        found = jc.complete(jc.Panel(y, d, mask=mask), method)
    assert np.flatnonzero(~np.asarray(found.identified)).tolist() == [2, 5, 7]
    assert np.isnan(found.unit_effect[jnp.array([2, 5, 7])]).all()
    assert np.isnan(found.effect[:, 4]).all() and np.isfinite(found.y0[2]).all()
    assert "2 without a treated cell, 1 without an untreated cell" in found.summary()


@pytest.mark.parametrize("method", QUICK, ids=name)
def test_many_panels_in_one_call(method):
    sets = [draw(seed, noise=0.3) for seed in (14, 15)]
    y, d = (jnp.asarray(np.stack(a)) for a in list(zip(*sets))[:2])

    def effect(y, d):
        return jc.complete(jc.Panel(y, d), method, throw=False).effect

    many = jax.jit(jax.vmap(effect))(y, d)
    for k in range(2):
        close(many[k], effect(y[k], d[k]), atol=5e-3)


@pytest.mark.extended
@pytest.mark.parametrize(
    "method",
    [pytest.param(SPECTRAL[0], marks=pytest.mark.extended), jc.TwoWayFixedEffects()],
    ids=name,
)
def test_gradients_are_the_difference_quotients(method):
    """In y the average is a smooth function; the quotient's step is a third of its digits."""
    y, d, _ = draw(16, noise=0.3)
    way = np.random.default_rng(0).normal(size=y.shape)

    def att(y):
        return jc.complete(jc.Panel(y, jnp.asarray(d)), method, throw=False).att

    y, way = jnp.asarray(y), jnp.asarray(way)
    slope = float((jax.grad(att)(y) * way).sum())
    h = 0.02
    quotient = float(att(y + h * way) - att(y - h * way)) / (2 * h)
    assert slope == pytest.approx(quotient, rel=0.03, abs=2e-3)


def test_wrong_options_are_refused(unchecked):
    cases = [
        (jc.RowScaledSpectral, dict(rank="all"), "use 'gap'"),
        (jc.RowScaledSpectral, dict(rank=0), "at least 1"),
        (jc.RowScaledSpectral, dict(rank=2, c_tau=1.0), "c_tau is the constant"),
        (jc.RowScaledSpectral, dict(rank="gap", bound=1.0), "bound is the K"),
        (jc.RowScaledSpectral, dict(rank=2, max_rank=5), "max_rank is for rules"),
        (jc.RowScaledSpectral, dict(refine=-1), "must not be negative"),
        (jc.USVT, dict(eta=1.0), "between 0 and 1"),
        (jc.USVT, dict(bounds=(1.0, 0.0)), "below the second"),
        (jc.MCNNM, dict(cells="some"), "use 'all' or 'treated'"),
        (jc.MCNNM, dict(penalty=-1.0), "must not be negative"),
        (jc.MCNNM, dict(grid=1), "at least 2"),
        (jc.MCNNM, dict(patience=0), "at least 1"),
    ]
    for method, options, words in cases:
        with pytest.raises(ValueError, match=words):
            method(**options)
    y, d, _ = draw(17)
    with pytest.raises(jc.PatternError, match="rank 24 is not below"):
        jc.complete(jc.Panel(y, d), jc.RowScaledSpectral(rank=24))
    with pytest.raises(ValueError, match="cross-validation draws at random"):
        jc.complete(jc.Panel(y, d), jc.MCNNM())
