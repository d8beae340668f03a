"""Bootstraps against loops over units, Abadie and Imbens' variance, closed forms and coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy
from scipy.stats import norm, poisson
from test_infer import averaged

import jcausal as jc
from jcausal.data import step_key
from jcausal.inference import _linear_form
from jcausal.inference._average import Form
from jcausal.matching.boxes._edges import Edges

N = 48


def boxes(sample, half, query=None, estimand="ate"):
    """The box of each query: `half` ladder values on either side in the first column."""
    rows = jnp.arange(sample.n) if query is None else jnp.asarray(query)
    q, p = rows.shape[0], sample.p
    code = sample.codes[rows]
    wide = jnp.full((q, p - 1), sample.n, code.dtype)
    lower = jnp.concatenate([code[:, :1] - half, 0 * wide - 1], axis=1)
    upper = jnp.concatenate([code[:, :1] + half, wide], axis=1)
    fold = jnp.where(sample.valid, 0, -1)
    no_level = jnp.zeros((q, 0, 1), bool)
    zero = jnp.zeros(q, jnp.int32)
    edges = Edges(lower, upper, no_level)
    made = jc.matching.Boxes(sample, fold, rows, zero, sample.x[rows], edges, zero, "ate")
    asked = sample.t[rows] if estimand == "att" else sample.valid[rows]
    found = (made.sizes > 0).all(1)
    codes = [int(getattr(jc.RESULTS, name)._value) for name in ("matched", "no_control")]
    status = jnp.where(found, codes[0], codes[1])
    status = jnp.where(asked, status, int(jc.RESULTS.not_asked._value)).astype(jnp.int32)
    return jc.matching.Boxes(sample, fold, rows, zero, sample.x[rows], edges, status, estimand)


def sample_of(seed=0, weight=False, **options):
    rng = np.random.default_rng(seed + 100)
    weights = rng.integers(1, 4, N).astype(float) if weight else None
    return draw_sample(seed, n=N, p=2, weight=weights, **options)


def neighbour_noise(sample, k, y):
    """Half the squared gap to the nearest unit of the arm."""
    x, t = sample.points, np.asarray(sample.t)
    z = (x - x.mean(0)) / x.std(0)
    others = np.array([m for m in range(len(y)) if m != k and t[m] == t[k]])
    near = others[np.argmin(((z[others] - z[k]) ** 2).sum(1))]
    return (y[k] - y[near]) ** 2 / 2


def coefficients(effects):
    """c[q, k] of unit k's outcome in query q's term by loops, split in partners and own."""
    t, matching = np.asarray(effects.sample.t), effects.matching
    share = np.asarray(effects.share(), float)
    partner = np.zeros((len(share), len(t)))
    own = np.zeros_like(partner)
    for i, row in enumerate(np.asarray(matching.query)):
        if share[i] > 0:
            rows, weights = matching.group(i)
            for k, w in zip(rows, weights):
                if effects.effect == "group" or t[k] != t[row]:
                    partner[i, k] += share[i] * w * (1 if t[k] else -1)
            if effects.effect == "own":
                own[i, row] += share[i] * (1 if t[row] else -1)
    return partner, own


def scores_by_loops(effects, target, adjust=None):
    """s_k of every unit, random signs all +1."""
    sample = effects.sample
    t, y = np.asarray(sample.t), averaged(sample, adjust)
    weight = np.asarray(sample.weight, float)
    partner, own = coefficients(effects)
    n, matching, share = len(y), effects.matching, np.asarray(effects.share(), float)
    residual, lone, stands = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(len(share)):
        rows, _ = matching.group(i)
        for k in np.flatnonzero(partner[i] + own[i]):
            c = abs(partner[i, k] + own[i, k])
            arm = rows[t[rows] == t[k]]
            if len(arm) == 1:
                lone[k] += c
            else:
                gap = y[k] - np.average(y[arm], weights=weight[arm])
                p = weight[arm] / weight[arm].sum()
                square = (p**2).sum() / (p**2 * (1 - 2 * p + (p**2).sum())).sum()
                residual[k] += c * gap * np.sqrt(square / (1 - (p**2).sum()))
    queries, own_part = (np.abs(partner) > 0).sum(0), np.abs(own).sum(0)
    part = (queries > 1) | (queries * own_part > 0) | (target == "sample")
    for arm in (False, True):
        mine = np.flatnonzero((lone > 0) & part & (t == arm))
        if mine.size:
            noise = np.array([neighbour_noise(sample, k, y) for k in mine])
            stand_in = np.sqrt((lone[mine] ** 2 * noise).sum() / (lone[mine] ** 2).sum())
            mine = np.flatnonzero((lone > 0) & (t == arm))
            sign = np.where(residual[mine] < 0, -1, 1)
            stands[mine] = sign * lone[mine] * stand_in
    direction = np.where(t, 1, -1)
    if target == "sample":
        return (residual + stands) * direction, lone, lone
    whole = np.abs(partner + own).sum(0)
    square, whole = whole**2 - (partner**2).sum(0), np.where(whole > 0, whole, 1)
    left = np.sqrt(np.maximum(square, 0)) - own_part
    alone = np.sqrt(np.maximum(square - own_part**2, 0))
    scores = (residual * left + stands * alone) / whole * direction
    tau = np.nan_to_num(np.asarray(effects.ite, float))
    gap = share * (tau - (share * tau).sum())
    np.add.at(scores, np.asarray(matching.query), gap)
    return scores, lone, lone * (alone > 1e-6)


@pytest.mark.extended
@pytest.mark.parametrize("adjust", [None, wavy])
@pytest.mark.parametrize("target", ["population", "sample"])
@pytest.mark.parametrize(
    ("effect", "estimand", "half", "weight"),
    [("own", "att", 4, False), ("own", "ate", 1, False), ("group", "att", 2, True)],
)
def test_the_scores_equal_loops_over_groups(effect, estimand, half, weight, target, adjust):
    sample = sample_of(1, weight=weight)
    made = boxes(sample, half, estimand=estimand)
    effects = jc.estimate(sample, made, effect=effect, adjust=adjust)
    share, one = effects.share(), jnp.ones(N)
    parts, scale = _linear_form.parts_of(effects, share), jnp.ones(2)
    stand_in = _linear_form.stand_in_of(effects, parts, target)
    lone = _linear_form.LoneUnits(stand_in, one)
    queries = _linear_form.QueryGaps(effects.matching.query, Form(share, scale).gap(effects))
    found, pooled = _linear_form.scores_of(parts, scale, sample.t, lone, queries, target)
    expected, alone, used = scores_by_loops(effects, target, adjust)
    np.testing.assert_allclose(parts.lone, alone, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert bool(pooled) == bool(used.any())


@pytest.mark.extended
@pytest.mark.parametrize(("effect", "estimand"), [("own", "att"), ("own", "ate"), ("group", "ate")])
def test_the_expected_square_of_the_scores_is_that_of_the_proof(effect, estimand):
    """docs/proofs/bootstrap.md, (3) and (5), for groups that are the same: no draws are needed.

    Scores are linear in the outcomes, so that the sum of their squares has the expectation of the
    sum of the squares of that map. 5 blocks of 3 controls and 3 treated: r_k^2 counts 3 / 2.
    """
    x, t = np.repeat(np.arange(5.0), 6)[:, None], np.tile(np.arange(6) % 2 == 1, 5)
    sample = jc.Sample(x, t, np.arange(30.0))
    matching, one = boxes(sample, 0, estimand=estimand), jnp.ones(2)

    def of_outcomes(y):
        effects = jc.estimate(sample.with_outcome(y), matching, effect=effect, adjust=None)
        share = effects.share()
        parts, gap = _linear_form.parts_of(effects, share), Form(share, one).gap(effects)
        lone = _linear_form.LoneUnits(one * 0, jnp.ones(30))
        queries = _linear_form.QueryGaps(matching.query, gap)
        scores = _linear_form.scores_of(parts, one, sample.t, lone, queries, "population")[0]
        return scores, jnp.zeros(30).at[matching.query].add(gap)

    scores, gaps = jax.jit(jax.vmap(of_outcomes))(jnp.eye(30))
    effects = jc.estimate(sample, matching, effect=effect, adjust=None)
    share = effects.share()
    c, square = effects.coefficients(share), effects.coefficients(share, power=2)
    own = np.bincount(matching.query, share, 30) if effect == "own" else np.zeros(30)
    b = np.sqrt(c**2 - square + own**2) - own
    np.testing.assert_allclose(b**2 + 2 * b * own, c**2 - square, atol=1e-7)
    expected = (b**2 * 3 / 2 + 2 * b * own).sum()
    np.testing.assert_allclose((scores**2).sum() - (gaps**2).sum(), expected, rtol=1e-4)


@pytest.mark.extended
def test_pairs_that_are_each_others_partners_have_errors_of_the_right_size():
    """Both units of a pair are alone, queries and partners: V is 4 sigma^2 / N where effects are

    constant. Of 300 outcomes of 100 pairs the mean square error has an error of some 1%.
    """
    x, t = np.repeat(np.arange(100.0), 2)[:, None], np.tile([False, True], 100)
    sample = jc.Sample(x, t, np.zeros(200))
    matching = boxes(sample, 0, estimand="ate")

    def square(y, key):
        effects = jc.estimate(sample.with_outcome(y), matching, adjust=None, throw=False)
        return jc.interval(effects, jc.Bootstrap(draws=200), key=key).std_error ** 2

    y = jnp.asarray(np.random.default_rng(0).normal(size=(300, 200)) + t, jnp.float32)
    found = jax.jit(jax.vmap(square))(y, jax.random.split(jax.random.key(1), 300))
    np.testing.assert_allclose(found.mean(), 4 / 200, rtol=0.05)


def whole_weights(identity, valid, key, draws, weights):
    """w (draws, m) by sending the unit matrix through the kernel."""
    eye = jnp.eye(valid.shape[0])
    key = jax.random.fold_in(step_key(jax.random.key(key), "inte"), 0)
    return 1 + np.asarray(
        jc.kernels.bootstrap_sums(eye, identity, valid, key, draws=draws, weights=weights), float
    )


@pytest.mark.parametrize(
    "weights",
    [
        "poisson",
        *(pytest.param(w, marks=pytest.mark.extended) for w in ("multinomial", "bayesian")),
    ],
)
def test_the_error_is_that_of_the_draws_of_the_linear_form(weights):
    sample = sample_of(2)
    effects = jc.estimate(sample, boxes(sample, 8, estimand="att"))
    found = jc.interval(effects, jc.Bootstrap(draws=64, weights=weights), key=5)
    w = whole_weights(sample.row, sample.valid, 5, 64, weights)
    factor = dict(poisson=1, multinomial=N / (N - 1), bayesian=(N + 1) / (N - 1))[weights]
    draws = (w - 1) @ scores_by_loops(effects, "population")[0]
    np.testing.assert_allclose(found.std_error, np.sqrt(factor * (draws**2).mean()), rtol=1e-3)
    np.testing.assert_allclose(found.estimate, effects.att)
    np.testing.assert_allclose(found.upper - found.lower, 2 * 1.959964 * found.std_error, rtol=1e-4)
    assert str(found).endswith(f"population average, bootstrap, 64 {weights} draws)")


def test_a_cluster_is_drawn_whole():
    cluster = np.arange(N) % 11
    sample = sample_of(2, cluster=np.array(list("kjihgfedcba"))[cluster])
    effects = jc.estimate(sample, boxes(sample, 8, estimand="att"))
    codes = np.arange(11)
    identity = jnp.asarray(np.stack([0 * codes, codes], axis=1), jnp.uint32)
    scores = scores_by_loops(effects, "sample")[0]
    sums = np.array([scores[np.asarray(sample.cluster) == g].sum() for g in codes])
    for weights, factor in (("poisson", 1), ("multinomial", 11 / 10), ("bayesian", 12 / 10)):
        method = jc.Bootstrap(draws=64, weights=weights, target="sample")
        found = jc.interval(effects, method, key=5)
        w = whole_weights(identity, jnp.ones(11, bool), 5, 64, weights)
        draws = (w - 1) @ sums
        np.testing.assert_allclose(found.std_error, np.sqrt(factor * (draws**2).mean()), rtol=1e-3)


@pytest.mark.extended
@pytest.mark.parametrize("weights", ["poisson", "multinomial"])
def test_with_ids_the_order_of_the_rows_changes_only_the_order_of_a_sum(weights):
    order, names = np.random.default_rng(0).permutation(N), np.arange(N) + 1000
    base = sample_of(3, integers=True)
    errors = []
    for rows in (np.arange(N), order):
        x, t, y = base.points[rows], np.asarray(base.t)[rows], np.asarray(base.y)[rows]
        sample = jc.Sample(x, t, y, id=names[rows])
        effects = jc.estimate(sample, boxes(sample, 1, estimand="att"))
        average = jc.interval(effects, jc.Bootstrap(draws=64, weights=weights), key=1)
        units = jc.interval(effects, jc.GroupBootstrap(draws=64, weights=weights), key=1)
        errors.append((average.std_error, np.asarray(units.std_error)[np.argsort(sample.id)]))
    for a, b in zip(*errors):
        np.testing.assert_allclose(a, b, rtol=1e-3)


@pytest.mark.extended
def test_under_vmap_with_traced_keys_as_one_at_a_time():
    samples = [sample_of(seed) for seed in (0, 1)]
    x, t, y = (jnp.stack([getattr(s, name) for s in samples]) for name in "xty")
    averages = jc.Bootstrap(draws=40), jc.Bootstrap(draws=40, weights="bayesian", target="sample")
    labels = np.arange(N) % 2

    def errors(x, t, y, key):
        sample = jc.Sample(x, t, y)
        effects = jc.estimate(sample, boxes(sample, 7, estimand="att"), effect="group")
        whole = jnp.stack([jc.interval(effects, m, key=key).std_error for m in averages])
        parts = jc.interval(effects, averages[0], by=labels, key=key).std_error
        units = jc.interval(effects, jc.GroupBootstrap(draws=40), key=key).std_error
        return whole, parts, units

    keys = jax.random.split(jax.random.key(3), 2)
    many = jax.jit(jax.vmap(errors))(x, t, y, keys)
    for i, sample in enumerate(samples):
        alone = errors(sample.x, sample.t, sample.y, keys[i])
        for a, b in zip(many, alone):
            np.testing.assert_allclose(a[i], b, rtol=1e-3)
    matching = boxes(samples[0], 7)

    def multinomial(y):
        effects = jc.estimate(samples[0].with_outcome(y), matching)
        return jc.interval(effects, jc.GroupBootstrap(weights="multinomial"), key=0).std_error

    with pytest.raises(ValueError, match="multinomial weights list each group's units"):
        jax.jit(multinomial)(y[0])


def process(key, half):
    """Two treated to a control, tau(x) = 2 x with mean 1; boxes of 2 half + 1 units."""
    n, (k1, k2) = 120, jax.random.split(key)
    x, t = jax.random.uniform(k1, (n, 1)), jnp.arange(n) % 3 != 0
    y = x[:, 0] + 2 * t * x[:, 0] + 0.5 * jax.random.normal(k2, (n,))
    sample = jc.Sample(x, t, y)
    effects = jc.estimate(sample, boxes(sample, half, estimand="att"))
    return effects, (effects.share() * 2 * x[:, 0]).sum()


@pytest.mark.extended
def test_the_bootstrap_covers_population_and_sample_and_agrees_with_abadie_imbens():
    """2,000 data sets each: a share 0.019 off its value has a chance below 1e-4.

    half = 7: about five controls a box and ten treated. Leave-one-out residuals make the variance
    Abadie and Imbens' times at most E n / (n - 1), 1.3 for controls and 1.12 for treated, so the
    error (root mean square) 1 to 1.14 times theirs. half = 1: one control a box or two, shared.
    Lone controls take their noise from the nearest neighbour, as theirs does; units by twos count
    twice, n / (n - 1) = 2: 1 to 1.41. For ranks at the ends, the slope of x between neighbours and
    2,000 runs 3% are left; against the true spread 7%. A share of 95% rises with the error.
    """
    runs, names = 2000, ("population", "sample")
    ours = [jc.Bootstrap(draws=160, target=name) for name in names]
    theirs = [jc.AbadieImbens(target=name, variance_neighbors=2) for name in names]

    def one(key, half):
        k1, k2 = jax.random.split(key)
        effects, truth = process(k1, half)
        found = [jc.interval(effects, method, key=k2) for method in ours + theirs]
        bounds = [
            jnp.stack([getattr(i, end) for i in found]) for end in ("lower", "upper", "std_error")
        ]
        return *bounds, effects.att, truth

    mapped = jax.jit(lambda keys, half: jax.lax.map(lambda k: one(k, half), keys, batch_size=250))
    for half, largest in ((7, 1.14), (1, 1.41)):
        found = mapped(jax.random.split(jax.random.key(half), runs), half)
        lower, upper, error, att, truth = (np.asarray(a) for a in found)
        aims = np.stack([np.ones(runs), truth] * 2, axis=1)
        share = ((lower <= aims) & (aims <= upper)).mean(0)
        size = np.sqrt((error**2).mean(0))
        for i in (0, 1):
            assert 0.97 < size[i] / size[i + 2] < 1.03 * largest
            assert 0.931 < share[i] < 2 * norm.cdf(1.03 * 1.96 * largest) - 1 + 0.019
            assert 0.93 < size[i] / (att - aims[:, i]).std() < 1.07 * largest


@pytest.mark.extended
@pytest.mark.parametrize("weights", ["poisson", "multinomial", "bayesian"])
def test_the_variance_of_a_resampled_mean_has_its_closed_form(weights):
    """4,000 draws: the variance errs by 2.3% (kurtosis 3) to 3%; 8% is three of these.

    Two groups, of ranks 0 to 10 and 11 to 26: 5 and 10 controls, 6 treated each.
    """
    t = np.isin(np.arange(27), [0, 2, 4, 5, 7, 9, 12, 15, 17, 19, 21, 25])
    y = np.random.default_rng(1).normal(size=27) + 100
    sample = jc.Sample(np.stack([np.arange(27.0), y], axis=1), t, y)
    matching = boxes(sample, jnp.array([[5], [8]]), [5, 19], "att")
    assert np.asarray(matching.sizes).tolist() == [[5, 6], [10, 6]]
    group = np.arange(27) > 10
    s2 = np.array([[y[(t == a) & (group == g)].var() for a in (0, 1)] for g in (0, 1)])
    factor = dict(
        multinomial=[1 / 5, 1 / 10, 1 / 6], bayesian=[1 / 6, 1 / 11, 1 / 7], poisson=[0.258, 0.113]
    )[weights]
    if weights == "poisson":
        count = np.arange(1, 60)
        factor.append((poisson.pmf(count, 6) / count).sum() / (1 - np.exp(-6)))
    method = jc.GroupBootstrap(draws=4000, weights=weights)
    found = jc.interval(jc.estimate(sample, matching), method, key=2)
    mean0 = np.array(factor[:2]) * s2[:, 0]
    np.testing.assert_allclose(found.std_error**2 - s2[:, 1] * 6 / 5, mean0, rtol=0.08)
    both = jc.interval(jc.estimate(sample, matching, effect="group"), method, key=2)
    np.testing.assert_allclose(both.std_error**2, mean0 + factor[2] * s2[:, 1], rtol=0.08)
    assert not found.pooled.any() and found.target == "tau(x)"


@pytest.mark.parametrize("adjust", [None, pytest.param(wavy, marks=pytest.mark.extended)])
def test_resampled_means_equal_sums_over_members_with_weights(adjust):
    sample = sample_of(4, weight=True)
    effects = jc.estimate(sample, boxes(sample, 12, estimand="att"), adjust=adjust)
    found = jc.interval(effects, jc.GroupBootstrap(draws=70), key=3)
    key = step_key(jax.random.key(3), "inte")
    w = np.asarray(jc.kernels.resampling_weights(sample.row, key, start=0, blocks=3), float)[:, :70]
    y, t = averaged(sample, adjust), np.asarray(sample.t)
    variances, enough = np.asarray(effects.variances), 0
    for i in range(N):
        rows, weight = effects.matching.group(i)
        rows, weight = rows[~t[rows]], weight[~t[rows]]
        if not bool(effects.matched[i]) or len(rows) < 5:
            assert np.isnan(found.lower[i])
            continue
        enough += 1
        carried = w[rows] * weight[:, None]
        carried = carried[:, carried.sum(0) > 0]
        means = np.average(np.tile(y[rows, None], carried.shape[1]), axis=0, weights=carried)
        if int(effects.sizes[i, 1]) > 1:
            np.testing.assert_allclose(
                found.std_error[i] ** 2, means.var() + variances[i, 1], rtol=1e-3
            )
    assert enough > 10


@pytest.mark.extended
def test_queries_without_enough_units_are_counted_with_the_reason():
    sample = sample_of(5)
    effects = jc.estimate(sample, boxes(sample, 3, np.flatnonzero(np.asarray(sample.t)), "att"))
    few = np.asarray(effects.n_control) < 5
    assert 0 < few.sum() < len(few)
    found = jc.interval(effects, jc.GroupBootstrap(draws=32), key=0)
    frame = found.to_frame()
    assert (frame["lower"].isna() == few).all() and frame["estimate"].notna().all()
    assert (frame["reason"].str.contains("fewer than 5 units") == few).all()
    assert f"; {few.sum()} without bounds: fewer than 5 units in an arm" in str(found)
    larger = boxes(sample, 8, np.flatnonzero(np.asarray(sample.t)), "att")
    smoothed = jc.estimate(sample, larger, effect="group")
    both = jc.interval(smoothed, jc.GroupBootstrap(draws=32), key=0)
    small = (np.asarray(smoothed.sizes) < 5).any(1)
    assert (np.isnan(both.lower) == small).all() and 0 < small.sum() < len(small)


def test_what_a_bootstrap_cannot_do_is_refused(unchecked):
    sample = sample_of(6)
    effects = jc.estimate(sample, boxes(sample, 1, estimand="att"))
    with pytest.raises(ValueError, match="none of the .* matched queries has 5 units .*most is"):
        jc.interval(effects, jc.GroupBootstrap(), key=0)
    with pytest.raises(ValueError, match=r"jc.Bootstrap draws at random: give key="):
        jc.interval(effects, jc.Bootstrap())
    with pytest.raises(ValueError, match="GroupBootstrap draws at random"):
        jc.interval(effects, jc.GroupBootstrap())
    with pytest.raises(ValueError, match="weights is 'normal'"):
        jc.Bootstrap(weights="normal")
    with pytest.raises(ValueError, match="draws is 1"):
        jc.GroupBootstrap(draws=1)
    with pytest.raises(ValueError, match="target is 'all'"):
        jc.Bootstrap(target="all")
    together = sample_of(6, cluster=np.zeros(N))
    effects = jc.estimate(together, boxes(together, 9, estimand="att"))
    with pytest.raises(ValueError, match="the sample has 1 cluster: draws of fewer than 5"):
        jc.interval(effects, jc.Bootstrap(), key=0)
    with pytest.raises(ValueError, match="GroupBootstrap would ignore the sample's clusters"):
        jc.interval(effects, jc.GroupBootstrap(), key=0)
    with pytest.raises(ValueError, match="AbadieImbens would ignore the sample's clusters: use"):
        jc.interval(effects, jc.AbadieImbens())
    with pytest.raises(ValueError, match="no method knows them for single queries"):
        jc.interval(effects, jc.ConservativeNormal())


@pytest.mark.extended
def test_errors_are_right_when_a_tenth_of_the_units_weigh_twenty():
    """One group, 400 data sets of 120 units: the mean square of the error has a known value.

    It is the true variance S_2 / S_1^2 by arm, times n / (n - 1) with n the effective units. The
    error's square has a spread of sqrt(2 / n) at n = 12 or 8 in an arm, .5 at most with its draws:
    mean of 400 errs by .025, four of these are .1. The group's own variance is unbiased too.
    """
    t, heavy = np.arange(120) % 5 < 2, np.arange(120) % 10 < 1
    heavy |= np.arange(120) % 20 == 4
    heavy &= np.arange(120) % 20 != 10
    weight = np.where(heavy, 20.0, 1.0)
    x = np.arange(120.0)[:, None]
    base = jc.Sample(x, t, x[:, 0], weight=weight)
    matching = boxes(base, 130, estimand="att")
    share = [weight[t == a] / weight[t == a].sum() for a in (False, True)]
    square = np.array([(p**2).sum() for p in share])
    truth = (square / (1 - square)).sum()

    def one(key):
        effects = jc.estimate(
            base.with_outcome(jax.random.normal(key, (120,))), matching, effect="group"
        )
        method = jc.Bootstrap(draws=100, target="sample")
        found = jc.interval(effects, method, key=key).std_error ** 2
        return found, effects.att, effects.variances[0]

    keys = jax.random.split(jax.random.key(0), 400)
    found, att, variances = jax.jit(lambda k: jax.lax.map(one, k, batch_size=100))(keys)
    np.testing.assert_allclose(found.mean(), truth, rtol=0.1)
    np.testing.assert_allclose(variances.mean(0), 1, atol=0.1)
    np.testing.assert_allclose(att.var(), square.sum(), rtol=0.3)  # four of sqrt(2 / 400)
    effects = jc.estimate(base.with_outcome(np.sin(x[:, 0] ** 2)), matching, effect="group")
    np.testing.assert_allclose(effects.effective[0], 1 / square, rtol=1e-5)
    y = np.sin(x[:, 0] ** 2)
    for arm in (0, 1):
        mine = y[t == arm]
        expected = np.cov(mine, aweights=weight[t == arm])
        np.testing.assert_allclose(effects.variances[0, arm], expected, rtol=1e-4)
    largest = 2 * np.asarray(effects.variances[0]).max()
    found = jc.interval(effects, jc.ConservativeNormal())
    np.testing.assert_allclose(found.std_error[0] ** 2, largest * square.max(), rtol=1e-4)


@pytest.mark.extended
def test_five_units_of_which_one_weighs_most_are_too_few():
    """A weight of 200 or more to 1 is one unit: its variance is pooled, its residual stands in."""
    t = np.arange(12) % 2 == 0
    x, y = np.arange(12.0)[:, None], np.random.default_rng(0).normal(size=12)
    effects = []
    for heavy in (1, 10, 5000):
        sample = jc.Sample(x, t, y, weight=np.where(np.arange(12) == 1, heavy, 1.0))
        effects.append(jc.estimate(sample, boxes(sample, 20, estimand="att")))
    equal, some, most = effects
    np.testing.assert_array_equal(equal.effective, equal.sizes)
    assert jc.interval(equal, jc.GroupBootstrap(draws=32), key=0).unbounded.sum() == 0
    with pytest.raises(ValueError, match=r"has 5 effective units in every .* \(the most is 2.14\)"):
        jc.interval(some, jc.GroupBootstrap(draws=32), key=0)
    assert bool(most.alone[0, 0]) and np.isnan(most.variances[0, 0])
    assert bool(jc.interval(most, jc.Bootstrap(draws=32, target="sample"), key=0).pooled)
    alone = jc.interval(most, jc.ConservativeNormal())
    use = np.asarray(most.matched)
    assert alone.pooled[use].all() and (np.asarray(alone.std_error)[use] > 0).all()


def test_noise_is_looked_up_only_where_it_counts(unchecked):
    """The one treated unit has no neighbour of its arm, and under effect="own" no part in V."""
    t = np.arange(12) == 5
    x, y = np.arange(12.0)[:, None], np.random.default_rng(0).normal(size=12)
    sample = jc.Sample(x, t, y)
    effects = jc.estimate(sample, boxes(sample, 20, estimand="att"))
    with pytest.raises(ValueError, match="1 treated unit, too few"):
        jc.interval(effects, jc.Bootstrap(draws=32, target="sample"), key=0)
    assert jc.interval(effects, jc.Bootstrap(draws=32), key=0).unbounded
