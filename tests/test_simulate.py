"""Simulated data: the formulas recomputed in NumPy, both readings of the paper's, vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcausal as jc
from jcausal.simulate import _ahb

N = 4000


def box(x, joint):
    return (x > 0.5).all(1) if joint else (x > 0.5).sum(1)


# row: g and h from the covariates, for a joint (scripts) or a summed (paper) box
TABLE2 = {
    "none/const": lambda x, joint: (0 * x[:, 0], 1 + 0 * x[:, 0]),
    "box/const": lambda x, joint: (box(x, joint), 1 + 0 * x[:, 0]),
    "linear/const": lambda x, joint: (x.sum(1), 1 + 0 * x[:, 0]),
    "quad/const": lambda x, joint: ((x**2).sum(1), 1 + 0 * x[:, 0]),
    "quad/const+4": lambda x, joint: ((x[:, :2] ** 2).sum(1), 1 + 0 * x[:, 0]),
    "box/box": lambda x, joint: (x[:, 0] > 0.5, x[:, 1] > 0.5),
    "binary/const": lambda x, joint: (x[:, 0], 1 + 0 * x[:, 0]),
    "binary/binary+6": lambda x, joint: (x[:, 0], x[:, 1]),
    "mixed/const": lambda x, joint: (x[:, 0] + x[:, 1], 1 + 0 * x[:, 0]),
}
WIDTH = dict.fromkeys(TABLE2, 2) | {"quad/const+4": 6, "binary/binary+6": 8}


@pytest.mark.parametrize("row", list(TABLE2))
@pytest.mark.parametrize("reading", ["paper", "scripts"])
def test_outcomes_follow_the_printed_formulas(row, reading):
    data = jc.simulate.ahb_table2(row, key=1, n=N, reading=reading)
    sample, scale = data.sample, 3 if reading == "scripts" else 1
    x, t, y = (np.asarray(a, np.float64) for a in (sample.x, sample.t, sample.y))
    assert x.shape == (N, WIDTH[row])
    g, h = TABLE2[row](x, reading == "scripts")
    np.testing.assert_allclose(np.asarray(data.ite), scale * h, atol=1e-6)
    np.testing.assert_allclose(np.asarray(data.y1 - data.y0), scale * h, atol=1e-5)
    np.testing.assert_array_equal(y, np.where(t, data.y1, data.y0))
    noise = np.asarray(data.y0) - scale * g
    # mean and variance of 4,000 normal numbers, five standard errors
    assert abs(noise.mean()) < 5 * np.sqrt(0.1 / N)
    assert abs(noise.var() - 0.1) < 5 * 0.1 * np.sqrt(2 / N)
    assert float(data.att) == pytest.approx(scale * h[t == 1].mean(), rel=1e-5)


def test_arms_follow_the_propensity_of_either_reading():
    for reading, scale in (("paper", 1.0), ("scripts", 0.3)):
        shares, draws = [], []
        for seed in range(6):
            data = jc.simulate.ahb_table2("linear/const", key=seed, n=N, reading=reading)
            x, t = np.asarray(data.sample.x, float), np.asarray(data.sample.t)
            slope = _logit_slopes(x, t)
            draws.append(slope)
            shares.append(t.mean())
        spread = np.std(draws, axis=0)
        assert np.abs(draws).max() < scale + 0.8  # five standard errors of a slope
        if reading == "paper":  # one gamma for all runs: only the error of the fit is left
            assert spread.max() < 0.3
        assert 0.3 < np.mean(shares) < 0.75


def _logit_slopes(x, t):
    """Maximum likelihood by Newton's method, intercept fixed at 0 as in the process."""
    beta = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ beta))
        beta += np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]), x.T @ (t - p))
    return beta


def test_correlated_covariates_have_mean_correlation_of_seven_tenths():
    means = []
    for seed in range(12):
        x = np.asarray(jc.simulate.ahb_table6("box/box", key=seed, n=2000).sample.x)
        assert np.abs(x.var(0) - 1).max() < 5 * np.sqrt(2 / 2000)
        means.append(np.corrcoef(x.T)[np.triu_indices(8, 1)].mean())
    assert np.mean(means) == pytest.approx(0.7, abs=0.04)


@pytest.mark.extended
def test_the_other_tables_and_figures():
    for reading, widths in (("paper", (8, 20, 20)), ("scripts", (4, 20, 10))):
        found = (
            jc.simulate.ahb_table6("quad/quad", key=0, reading=reading),
            jc.simulate.ahb_table7("2 of 20", key=0, reading=reading),
            jc.simulate.ahb_table7("all", key=0, reading=reading),
        )
        assert tuple(data.sample.p for data in found) == widths
    shared = jc.simulate.ahb_table7("2 of 20", key=0, reading="scripts")
    x = np.asarray(shared.sample.x)
    np.testing.assert_allclose(np.asarray(shared.ite), 3 * x[:, :2].sum(1), rtol=1e-5)
    binary = jc.simulate.ahb_table5(5, key=0)
    assert binary.sample.schema.kinds == ("binary",) * 5 and float(binary.att) == 1
    for draw, law in ((jc.simulate.ahb_figure5, 0.5), (jc.simulate.ahb_figure6, 0.5)):
        data = draw(key=0, n=N)
        x = np.asarray(data.sample.x)
        assert x.mean() == pytest.approx(law, abs=0.03) and float(data.att) == 3
    g = ((x > 0.3) & (x < 0.8)).all(1)
    noise = np.asarray(data.y0) - g
    assert abs(noise.mean()) < 5 / np.sqrt(N) and noise.var() == pytest.approx(1, abs=0.12)


@pytest.mark.extended
def test_vmap_over_keys_draws_the_same_data_sets():
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.jit(jax.vmap(lambda key: jc.simulate.ahb_table2("mixed/const", key=key, n=50)))(keys)
    for k in range(3):
        one = jc.simulate.ahb_table2("mixed/const", key=keys[k], n=50)
        np.testing.assert_allclose(many.sample.x[k], one.sample.x)
        np.testing.assert_array_equal(many.sample.t[k], one.sample.t)
        np.testing.assert_allclose(many.ite[k], one.ite)


def test_each_arm_has_a_unit_in_the_smallest_sample():
    for seed in range(6):
        t = jc.simulate.ahb_figure6(key=seed, n=2).sample.t
        assert int(t.sum()) == 1
    assert _ahb.draw_arms(jnp.zeros(3), jax.random.key(0)).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jc.simulate.ahb_table2("cubic", key=0), "there is no row 'cubic': they are none"),
        (lambda: jc.simulate.ahb_table2("box/box", key=0, reading="mine"), "reading is 'mine'"),
        (lambda: jc.simulate.ahb_table7("all", key=0, reading="mine"), "reading is 'mine'"),
        (lambda: jc.simulate.ahb_table5(1, key=0), "starts at 2"),
        (lambda: jc.simulate.m5("s4", key=0), "there is no row 's4': they are s1/conf"),
        (lambda: jc.simulate.m5("s2", key=0, n=9, treated=9), "treated is 9 of 9 units"),
    ],
)
def test_mistakes(call, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call()


def bent(x):
    x1, x2, x3, _, _, x6, x7, x8, x9 = x.T[:9]
    return 5 * x1 + 3 * x2**2 + 4 * x3 * (x3 > 0) + 2 * x6 * x1 + 3 * x7 - 2 * x8 + x9


def pieces(x):
    x1, x2, x3, _, _, x6, x7 = x.T[:7]
    low = np.where(x6 == 0, 3 * x2, 4 - 3 * x2)
    high = np.where(x6 == 0, 8 + x2, 12 - x2)
    return np.where(x1 > 0, high, low) + 2 * x3 + 1.5 * x7


def leaf_effects(x):
    return np.where(x[:, 0] > 0, np.where(x[:, 5] == 0, 4, 8), np.where(x[:, 5] == 0, 1, 2))


# row: outcome without noise, effect, how far the treated's covariates are shifted
M5 = {
    "s1/conf": (bent, lambda x: np.full(len(x), 10), {0: 0.6, 1: 0.5, 2: 0.3, 5: 0.5}),
    "s1/rand": (bent, lambda x: np.full(len(x), 10), {}),
    "s2": (pieces, leaf_effects, {0: 0.5, 1: 0.5, 5: 0.5}),
    "s3": (
        lambda x: x[:, [0, 1, 2, 5, 6, 7, 8]] @ [3, -2, 1.5, 2, -1.5, 1, 0.5],
        lambda x: np.full(len(x), 10),
        {0: 1.5, 1: 1.0, 5: 1.0},
    ),
}


@pytest.mark.parametrize("row", list(M5))
def test_trees_processes_follow_their_formulas(row):
    control, effect, shift = M5[row]
    data = jc.simulate.m5(row, key=1)
    x, t, y = (np.asarray(a, np.float64) for a in (data.sample.x, data.sample.t, data.sample.y))
    n, treated = x.shape[0], 200
    assert x.shape == (20_000, 20) and t.sum() == treated
    assert data.sample.schema.kinds == ("number",) * 5 + ("binary",) * 15
    np.testing.assert_array_equal(np.asarray(data.ite), effect(x))
    np.testing.assert_allclose(np.asarray(data.y1 - data.y0), effect(x), atol=1e-4)
    np.testing.assert_array_equal(y, np.where(t, data.y1, data.y0))
    assert float(data.att) == pytest.approx(effect(x)[t == 1].mean(), rel=1e-5)
    noise = np.asarray(data.y0) - control(x)
    # five standard errors of a mean and a variance
    assert abs(noise.mean()) < 5 / np.sqrt(n) and abs(noise.var() - 1) < 5 * np.sqrt(2 / n)
    # a normal tilted by exp(a x) moves by a, a coin to a / (1 + e^-a); five standard errors
    for j in range(20):
        a = shift.get(j, 0.0)
        mean, sd = (a, 1.0) if j < 5 else (1 / (1 + np.exp(-a)), 0.5)
        assert abs(x[t == 1, j].mean() - mean) < 5 * sd / np.sqrt(treated)
        assert abs(x[:, j].mean() - (0 if j < 5 else 0.5)) < 5 * sd / np.sqrt(n)


@pytest.mark.extended
def test_trees_processes_are_drawn_in_one_vmapped_call():
    keys = jax.random.split(jax.random.key(0), 3)
    draw = lambda key: jc.simulate.m5("s2", key=key, n=60, treated=7)  # noqa: E731
    many = jax.jit(jax.vmap(draw))(keys)
    assert many.sample.t.sum(1).tolist() == [7, 7, 7]
    for k in range(3):
        one = draw(keys[k])
        np.testing.assert_allclose(many.sample.x[k], one.sample.x, atol=1e-6)
        np.testing.assert_array_equal(many.sample.t[k], one.sample.t)
        np.testing.assert_allclose(many.sample.y[k], one.sample.y, atol=1e-4)
