"""Intervals of single queries against loops and closed forms, invariances, and coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample, wavy
from scipy.stats import norm
from test_bootstrap import boxes
from test_infer import averaged

import jcausal as jc

N = 80


def effects_of(seed=0, *, effect="group", adjust=None, half=20, estimand="ate", **options):
    sample = draw_sample(seed, n=N, p=2, **options)
    adjusting = jc.Function(wavy) if adjust else None
    groups = boxes(sample, half, estimand=estimand)
    return jc.estimate(sample, groups, effect=effect, adjust=adjusting)


def arms_of(effects, i, adjust):
    """Outcomes and weights of both arms of a group."""
    y, t = averaged(effects.sample, adjust), np.asarray(effects.sample.t)
    rows, weights = effects.matching.group(i)
    return [(y[rows[t[rows] == a]], weights[t[rows] == a]) for a in (0, 1)]


@pytest.mark.parametrize("effect", ["group", "own"])
def test_noise_normal_by_hand(effect):
    effects = effects_of(effect=effect, weight=np.arange(N) % 3 + 1.0)
    found = jc.interval(effects, jc.NoiseNormal(variance=2.0, level=0.9))
    t = np.asarray(effects.sample.t)
    for i in np.flatnonzero(np.asarray(effects.matched)):
        shares = [(w / w.sum()) ** 2 for _, w in arms_of(effects, i, None)]
        each = [share.sum() for share in shares]
        if effect == "own":
            each[int(t[i])] = 1.0
        close(found.std_error[i], np.sqrt(2 * sum(each)), rtol=1e-5)
        width = 2 * norm.ppf(0.95) * np.sqrt(2 * sum(each))
        close(found.upper[i] - found.lower[i], width, rtol=1e-4)


def test_the_noise_of_each_folds_surface_is_used():
    sample = draw_sample(1, n=N, p=2)
    effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), effect="group", key=0)
    found = jc.interval(effects, jc.NoiseNormal())
    fold = np.asarray(effects.matching.query_fold)
    noise = np.stack([np.asarray(s.noise) for s in effects.surfaces])[fold]
    close(found.std_error**2, (noise / np.asarray(effects.effective)).sum(1), rtol=1e-5)
    own = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
    one = np.asarray(own.surfaces[0].noise)
    assert np.isnan(one).any()  # one arm fitted: it stands for both
    assert np.isfinite(jc.interval(own, jc.NoiseNormal()).std_error).all()


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("adjust", [None, "surface"])
def test_the_spread_of_subsamples_has_its_closed_form(rescale, adjust):
    effects = effects_of(2, adjust=adjust)
    found = jc.interval(effects, jc.Subsampling(draws=4000, rescale=rescale), key=0)
    usable = np.flatnonzero(np.isfinite(np.asarray(found.lower)))
    assert usable.size > 20
    ratio = []
    for i in usable:
        total = 0.0
        for y, _ in arms_of(effects, i, adjust):
            n, b = len(y), int(np.ceil(len(y) ** 0.7))
            total += y.var(ddof=1) * (1 / n if rescale else (n - b) / (n * b))
        ratio.append(float(found.std_error[i]) / np.sqrt(total))
    # the sd of 4,000 draws errs by 1.2%; five of its errors, and the mean over shared draws
    assert np.abs(np.array(ratio) - 1).max() < 0.06
    few = np.asarray(effects.effective).min(1) < 8
    assert np.isnan(np.asarray(found.lower)[few]).all() and few.sum() == found.unbounded.sum()


def test_subsamples_by_brute_force():
    """All subsamples of small arms listed: the quantiles of their means."""
    from itertools import combinations

    rng = np.random.default_rng(0)
    y = np.concatenate([rng.exponential(size=8), rng.exponential(size=8)])
    t = np.arange(16) >= 8
    sample = jc.Sample(np.arange(16.0)[:, None], t, y)
    effects = jc.estimate(sample, boxes(sample, 40), effect="group")
    found = jc.interval(effects, jc.Subsampling(draws=20_000, level=0.8), key=0)
    gaps = []
    for arm in (y[:8], y[8:]):
        means = [np.mean(pick) for pick in combinations(arm, 5)]
        gaps.append(np.sqrt(5 / 3) * (np.array(means) - arm.mean()))
    both = (gaps[1][None] - gaps[0][:, None]).ravel()
    effect = y[8:].mean() - y[:8].mean()
    close(found.lower[0], effect - np.quantile(both, 0.9), atol=0.03)
    close(found.upper[0], effect - np.quantile(both, 0.1), atol=0.03)


@pytest.mark.parametrize("weights", ["poisson", "multinomial"])
def test_quantiles_of_the_group_bootstrap_are_those_of_its_draws(weights):
    effects = effects_of(3)
    normal, quantiles = (
        jc.interval(effects, jc.GroupBootstrap(draws=2000, weights=weights, bounds=b), key=0)
        for b in ("normal", "quantiles")
    )
    close(quantiles.std_error, normal.std_error, rtol=6e-2)  # 2,000 draws: a covariance of 2%
    known = np.isfinite(np.asarray(normal.lower))
    inside = np.asarray(quantiles.upper - quantiles.lower)[known]
    width = np.asarray(normal.upper - normal.lower)[known]
    assert 0.95 < np.median(inside / width) < 1.05
    i = int(np.flatnonzero(known)[0])
    rng, (y0, y1) = np.random.default_rng(1), [y for y, _ in arms_of(effects, i, None)]
    drawn = [rng.choice(y1, (20_000, len(y1))).mean(1) - rng.choice(y0, (20_000, len(y0))).mean(1)][
        0
    ]
    if weights == "multinomial":
        low, high = np.quantile(drawn, (0.025, 0.975))
        scale = high - low
        close(quantiles.lower[i], low, atol=0.06 * scale)
        close(quantiles.upper[i], high, atol=0.06 * scale)


METHODS = [
    jc.ConservativeNormal(),
    jc.GroupBootstrap(draws=64),
    jc.GroupBootstrap(draws=64, bounds="quantiles"),
    jc.Subsampling(draws=64),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("effect", ["group", "own"])
def test_they_move_with_shift_and_scale_of_the_outcome(method, effect):
    sample = draw_sample(4, n=N, p=2)
    groups = boxes(sample, 25)
    found = jc.interval(jc.estimate(sample, groups, effect=effect), method, key=0)
    other = sample.with_outcome(np.asarray(sample.y) * 1000 + 5000)
    scaled = jc.interval(jc.estimate(other, groups, effect=effect), method, key=0)
    for name in ("estimate", "lower", "upper", "std_error"):
        close(getattr(scaled, name), 1000 * np.asarray(getattr(found, name)), rtol=2e-3, atol=2)


@pytest.mark.parametrize("method", [METHODS[2], METHODS[3]])
def test_the_order_of_rows_changes_nothing(method):
    sample = draw_sample(5, n=N, p=2, id=np.arange(N))
    turn = np.random.default_rng(0).permutation(N)
    turned = sample.take(turn)
    found, again = (
        jc.interval(jc.estimate(s, boxes(s, 25), effect="own"), method, key=0)
        for s in (sample, turned)
    )
    close(again.lower, np.asarray(found.lower)[turn], rtol=1e-4, atol=1e-5)


def test_posterior_quantiles_are_those_of_the_draws(bart, halves):
    effects = jc.estimate(halves[1], jc.match(halves[1], jc.AHB(), surface=bart))
    method = jc.PosteriorQuantiles(surface=bart, level=0.9)
    found = jc.interval(effects, method)
    rows = np.asarray(effects.matching.query)
    both = np.asarray(bart.draws(halves[1].x[rows]))
    drawn = both[..., 1] - both[..., 0]
    close(found.estimate, drawn.mean(0), rtol=1e-4, atol=0.1)
    close(found.lower, np.quantile(drawn, 0.05, axis=0), rtol=1e-4, atol=0.1)
    close(found.upper, np.quantile(drawn, 0.95, axis=0), rtol=1e-4, atol=0.1)


def test_group_size_gives_the_width_it_is_asked_for():
    """Where every group has the same arms, n for n units the width is that of now."""
    effects = effects_of(6, half=200)
    size = np.asarray(effects.effective)[0]
    s = np.asarray(effects.variances)[0]
    n = 50
    width = 2 * norm.ppf(0.975) * np.sqrt(s.sum() / n)
    found = jc.group_size(effects, width * (1 + 1e-6))
    assert found.units == n and found.present == size.min() and found.least == 0
    own = jc.group_size(effects_of(6, half=200, effect="own"), 0.01)
    assert own.units == np.inf and "own outcome alone" in str(own)


def test_an_outcome_without_variance_has_intervals_of_width_0():
    sample = draw_sample(7, n=N, p=2).with_outcome(np.ones(N))
    effects = jc.estimate(sample, boxes(sample, 30), effect="group")
    for method in METHODS:
        found = jc.interval(effects, method, key=0)
        known = np.isfinite(np.asarray(found.lower))
        assert known.any() and (np.asarray(found.upper - found.lower)[known] == 0).all()


def test_what_they_cannot_do_is_refused(unchecked):
    effects = effects_of(8, half=1)
    with pytest.raises(ValueError, match="none of the .* has 8 units in every arm"):
        jc.interval(effects, jc.Subsampling(), key=0)
    with pytest.raises(ValueError, match="jc.Subsampling draws at random: give key="):
        jc.interval(effects_of(8), jc.Subsampling())
    with pytest.raises(ValueError, match="draws is 0"):
        jc.Subsampling(draws=0)
    with pytest.raises(ValueError, match="variance is -1"):
        jc.NoiseNormal(variance=-1.0)
    with pytest.raises(ValueError, match="variance is 'bart'"):
        jc.NoiseNormal(variance="bart")
    with pytest.raises(ValueError, match="no surface was trained"):
        jc.interval(effects, jc.NoiseNormal())
    with pytest.raises(ValueError, match="there is no surface"):
        jc.interval(effects, jc.PosteriorQuantiles())
    with pytest.raises(ValueError, match="level is 1"):
        jc.interval(effects, jc.NoiseNormal(variance=1.0, level=1.0))
    with pytest.raises(ValueError, match="bounds is 'both'"):
        jc.GroupBootstrap(bounds="both")
    together = effects_of(8, cluster=np.arange(N) // 8)
    for method in (jc.Subsampling(), jc.NoiseNormal(variance=1.0)):
        with pytest.raises(ValueError, match="clusters"):
            jc.interval(together, method, key=0)
    ridge = jc.estimate(draw_sample(8, n=N), jc.AHB(outcome=jc.Ridge()), key=0)
    with pytest.raises(ValueError, match="RidgeSurface keeps no draws"):
        jc.interval(ridge, jc.PosteriorQuantiles())
    with pytest.raises(ValueError, match="width is 0"):
        jc.group_size(effects, 0.0)


def test_quantiles_run_under_jit():
    sample = draw_sample(9, n=N, p=2)
    groups = boxes(sample, 25)
    method = jc.GroupBootstrap(draws=64, bounds="quantiles")
    plain = jc.interval(jc.estimate(sample, groups, effect="own"), method, key=0)

    def bounds(y):
        effects = jc.estimate(sample.with_outcome(y), groups, effect="own", throw=False)
        found = jc.interval(effects, method, key=0)
        return found.lower, found.upper

    lower, upper = jax.jit(bounds)(jnp.asarray(sample.y))
    close(lower, plain.lower, rtol=1e-3, atol=1e-4)
    close(upper, plain.upper, rtol=1e-3, atol=1e-4)


@pytest.mark.extended
@pytest.mark.parametrize("n", [8, 20])
def test_coverage_of_a_flat_surface(n):
    """400 samples whose groups hold n of each arm: no drift, so that noise alone is covered."""
    rng, runs = np.random.default_rng(0), 400
    methods = {
        "known": jc.NoiseNormal(variance=1.0),
        "conservative": jc.ConservativeNormal(),
        "bootstrap": jc.GroupBootstrap(draws=400),
        "bootstrap quantiles": jc.GroupBootstrap(draws=400, bounds="quantiles"),
        "subsampling": jc.Subsampling(draws=400),
        "wide subsampling": jc.Subsampling(draws=400, rescale=False),
    }
    covered = dict.fromkeys(methods, 0)
    x, t = np.arange(2.0 * n)[:, None], np.arange(2 * n) % 2 == 0
    for run in range(runs):
        sample = jc.Sample(x, t, rng.normal(size=2 * n) + t)
        effects = jc.estimate(sample, boxes(sample, 4 * n, query=[0]), effect="group")
        for name, method in methods.items():
            found = jc.interval(effects, method, key=run)
            covered[name] += bool((found.lower[0] <= 1) & (found.upper[0] >= 1))
    share = {name: count / runs for name, count in covered.items()}
    print(n, share)
    assert 0.906 <= share["known"] <= 0.994  # four sd of .011
    assert share["conservative"] > 0.93 and share["subsampling"] > 0.87
    assert share["bootstrap"] > 0.87 and share["bootstrap quantiles"] > 0.86
