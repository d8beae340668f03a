"""Intervals against the formulas written out, and coverage with a declared error rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy
from scipy.stats import norm

import jcausal as jc


def averaged(sample, adjust):
    """What groups average: outcomes, or what `wavy` leaves of them by the unit's own arm."""
    y, t = np.asarray(sample.y, float), np.asarray(sample.t).astype(int)
    if adjust is None:
        return y
    return y - np.asarray(wavy(sample.x), float)[np.arange(sample.n), t]


def written_out(sample, effects, neighbors, target, y):
    """Abadie and Imbens' variance by loops, of what the groups average."""
    x, t = sample.points, np.asarray(sample.t)
    z = (x - x.mean(0)) / x.std(0)
    n, matching = len(y), effects.matching
    coefficient = np.zeros((matching.query.shape[0], n))
    share = np.asarray(effects.share())
    for i, own in enumerate(np.asarray(matching.query)):
        rows, weights = matching.group(i)
        sign = 1 if t[own] else -1
        for k, w in zip(rows, weights):
            if t[k] != t[own]:
                coefficient[i, k] -= sign * share[i] * w
        coefficient[i, own] += sign * share[i]
    c = coefficient.sum(0)
    sigma = np.zeros(n)
    for k in np.flatnonzero(c):
        others = np.array([m for m in range(n) if m != k and t[m] == t[k]])
        distance = ((z[others] - z[k]) ** 2).sum(1)
        limit = np.sort(distance)[neighbors - 1]
        near = others[distance <= limit * (1 + 1e-5) + 1e-12]
        sigma[k] = len(near) / (len(near) + 1) * (y[k] - y[near].mean()) ** 2
    if target == "sample":
        return (c**2 * sigma).sum()
    tau = np.asarray(effects.ite, float)
    square = (coefficient**2).sum(0)
    average = (share * tau).sum()
    return (share**2 * (tau - average) ** 2).sum() + ((c**2 - square) * sigma).sum()


@pytest.mark.extended
@pytest.mark.parametrize("adjust", ["auto", None])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("target", ["population", "sample"])
@pytest.mark.parametrize(("neighbors", "estimand"), [(1, "att"), (3, "ate")])
def test_abadie_imbens_equals_the_formula(neighbors, estimand, target, integers, adjust, surface):
    sample = draw_sample(3, n=50, integers=integers)
    effects = jc.estimate(
        sample, jc.FastAHB(outcome=surface), folds=1, estimand=estimand, adjust=adjust
    )
    method = jc.AbadieImbens(variance_neighbors=neighbors, target=target, level=0.9)
    found = jc.interval(effects, method)
    variance = written_out(sample, effects, neighbors, target, averaged(sample, adjust))
    np.testing.assert_allclose(found.std_error, np.sqrt(variance), rtol=1e-3)
    width = norm.ppf(0.95) * np.sqrt(variance)
    np.testing.assert_allclose(found.upper - found.lower, 2 * width, rtol=1e-3)
    assert found.target == f"{target} average" and "90% interval" in str(found)


@pytest.mark.parametrize("adjust", ["auto", pytest.param(None, marks=pytest.mark.extended)])
def test_conservative_normal_by_hand(surface, adjust):
    sample, method = draw_sample(4, n=60), jc.FastAHB(outcome=surface, min_controls=2)
    for effect in ("group", "own"):
        effects = jc.estimate(sample, method, folds=1, effect=effect, adjust=adjust)
        found = jc.interval(effects, jc.ConservativeNormal())
        y, t = averaged(sample, adjust), np.asarray(sample.t)
        pools = {0: [], 1: []}
        groups = [effects.matching.group(i)[0] for i in range(effects.matching.query.shape[0])]
        for rows in groups:
            for arm in (0, 1):
                mine = y[rows[t[rows] == arm]]
                if len(mine) > 1:
                    pools[arm].append((mine.var(ddof=1), len(mine) - 1))
        pooled = {
            arm: sum(v * f for v, f in pool) / sum(f for _, f in pool)
            for arm, pool in pools.items()
            if pool
        }
        for i, rows in enumerate(groups):
            arms = [y[rows[t[rows] == arm]] for arm in (0, 1)]
            s = [v.var(ddof=1) if len(v) > 1 else pooled[a] for a, v in enumerate(arms)]
            total = max(2 * s[0], 2 * s[1], sum(s)) / min(len(arms[0]), len(arms[1]))
            total += s[1] if effect == "own" else 0
            np.testing.assert_allclose(found.std_error[i], np.sqrt(total), rtol=2e-3)
            assert bool(found.pooled[i]) == (min(len(arms[0]), len(arms[1])) == 1)
    assert len(found.to_frame()) == len(groups) and found.to_frame()["target"][0] == "tau(x)"


@pytest.mark.extended
def test_abadie_imbens_covers_the_average():
    """2,000 data sets: at 95% a share outside 93.1% to 96.9% has a chance below 1e-4."""
    runs, n = 2000, 150

    def one(key):
        k1, k2, k3 = jax.random.split(key, 3)
        x = jax.random.uniform(k1, (n, 1))
        t = jnp.arange(n) % 3 == 0
        effect = 1 + jax.random.normal(k3, (n,))
        y = x[:, 0] + t * effect + 0.5 * jax.random.normal(k2, (n,))
        surface = jc.Function(lambda v: jnp.stack([v[:, 0], v[:, 0]], axis=1))
        method = jc.FastAHB(outcome=surface, levels=4)
        effects = jc.estimate(jc.Sample(x, t, y), method, folds=1, throw=False)
        bounds = jc.interval(effects, jc.AbadieImbens(variance_neighbors=2))
        return (bounds.lower <= 1) & (bounds.upper >= 1), bounds.std_error, effects.att

    covered, error, att = jax.lax.map(
        jax.jit(one), jax.random.split(jax.random.key(0), runs), batch_size=250
    )
    share = float(covered.mean())
    assert 0.931 < share < 0.969, share
    ratio = float(error.mean() / att.std())
    assert 0.9 < ratio < 1.1, ratio


def test_bad_intervals_are_refused(surface, unchecked):
    effects = jc.estimate(draw_sample(5), jc.FastAHB(outcome=surface), folds=1)
    with pytest.raises(ValueError, match="level is 95"):
        jc.interval(effects, jc.AbadieImbens(level=95.0))
    with pytest.raises(ValueError, match="no interval method"):
        jc.interval(effects, "normal")
    with pytest.raises(ValueError, match="target is 'all'"):
        jc.AbadieImbens(target="all")
    with pytest.raises(ValueError, match="at least 1"):
        jc.AbadieImbens(variance_neighbors=-1)
    with pytest.raises(ValueError, match="scale is"):
        jc.ConservativeNormal(scale="both")
