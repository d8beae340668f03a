"""Regressions on matched data and randomisation, against dense algebra and enumeration."""

from itertools import combinations, product

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample, wavy
from scipy.stats import t as student
from test_bootstrap import boxes

import jcausal as jc
from jcausal.inference._cluster_robust import lifted, orthonormal, satterthwaite

PAIRS = jc.NearestNeighbors(replace=False, metric="euclidean")


def dense(x, w, y, cluster, correction):
    """Coefficients, their covariance, and M, by whole matrices."""
    q = np.linalg.inv(x.T @ (w[:, None] * x))
    beta = q @ x.T @ (w * y)
    m = np.eye(len(y)) - x @ q @ x.T @ np.diag(w)
    e, meat, roots = y - x @ beta, np.zeros_like(q), {}
    for g in np.unique(cluster):
        rows = np.flatnonzero(cluster == g)
        size, turn = np.linalg.eigh((m @ m.T)[np.ix_(rows, rows)])
        root = np.where(size > 1e-8, np.maximum(size, 1e-12) ** -0.5, 0)
        roots[g] = (turn * root) @ turn.T if correction == "CR2" else np.eye(len(rows))
        score = x[rows].T @ (w[rows] * (roots[g] @ e[rows]))
        meat += np.outer(score, score)
    g, (n, p) = len(roots), x.shape
    scale = g / (g - 1) * (n - 1) / (n - p) if correction == "CR1" else 1
    return beta, scale * q @ meat @ q, (m, roots, q)


@pytest.mark.parametrize("correction", ["CR0", "CR1", "CR2"])
@pytest.mark.parametrize("clusters", [3, 7, 40])
def test_cluster_robust_errors_equal_dense_algebra(correction, clusters):
    rng = np.random.default_rng(clusters)
    x = np.column_stack([np.ones(40), rng.normal(size=(40, 2))])
    w, y, cluster = rng.uniform(0.5, 2, 40), rng.normal(size=40), np.arange(40) % clusters
    _, covariance, (m, roots, q) = dense(x, w, y, cluster, correction)
    design = orthonormal(np.column_stack([x, x[:, 1] - x[:, 2]]), w, cluster)  # one too many
    contrast, picked = np.array([0, 1, 0, 1]) @ design.turn, np.array([0, 1, 0])
    scores = design.weight * lifted(design, y - design.x @ design.coefficients(y), correction)
    found = (design.by_cluster(scores * (design.x @ contrast)) ** 2).sum()
    close(found, picked @ covariance @ picked, rtol=1e-8)
    if correction == "CR2":
        parts = []
        for g in np.unique(cluster):
            rows = np.flatnonzero(cluster == g)
            parts.append(m[rows].T @ roots[g] @ (w[rows] * (x[rows] @ q @ picked)))
        gram = np.stack(parts) @ np.stack(parts).T
        close(satterthwaite(design, contrast), np.trace(gram) ** 2 / (gram**2).sum(), rtol=1e-8)


@pytest.mark.x64
@pytest.mark.parametrize("cluster", ["sets", "units"])
@pytest.mark.parametrize("correction", ["CR1", "CR2"])
def test_the_sandwich_is_that_of_the_weighted_regression(cluster, correction):
    weight = np.arange(60) % 3 + 1.0
    sample = draw_sample(0, n=60, p=2, weight=weight)
    effects = jc.estimate(sample, PAIRS)
    found = jc.interval(effects, jc.Sandwich(cluster=cluster, correction=correction))
    w = np.asarray(effects.matching.matched_weights(), float)
    rows = np.flatnonzero(w)
    label = effects.matching.matched_sets() if cluster == "sets" else np.arange(60)
    x = np.column_stack([np.ones(rows.size), np.asarray(sample.t)[rows]])
    y = np.asarray(sample.y, float)[rows]
    beta, covariance, _ = dense(x, w[rows], y, label[rows], correction)
    close(effects.att, beta[1], rtol=1e-5)
    close(found.std_error, np.sqrt(covariance[1, 1]), rtol=1e-4)
    if correction == "CR2":
        half = student.ppf(0.975, float(found.df)) * float(found.std_error)
        close(found.upper - found.estimate, half, rtol=1e-4)


def test_adjusted_effects_add_what_is_foretold_of_the_queries():
    """By loops: c_k times the residual's distance from its arm's mean, and v_k (h_k - mean h)."""
    sample = draw_sample(1, n=60, p=2)
    effects = jc.estimate(sample, boxes(sample, 8), adjust=jc.Function(wavy))
    found = jc.interval(effects, jc.Sandwich(correction="CR0", cluster="units"))
    t, y = np.asarray(sample.t), np.asarray(sample.y, float)
    f = np.asarray(wavy(sample.x), float)
    r, c = y - f[np.arange(60), t.astype(int)], np.asarray(effects.contributions, float)
    score = np.zeros(60)
    for arm in (False, True):
        mine = t == arm
        score[mine] = c[mine] * (r[mine] - np.average(r[mine], weights=np.abs(c[mine])))
    v, h = np.asarray(effects.share(), float), f[:, 1] - f[:, 0]
    score += v * (h - v @ h)
    close(found.std_error, np.sqrt((score**2).sum()), rtol=1e-4)
    assert np.isnan(float(found.df)) or np.isinf(float(found.df))


@pytest.mark.parametrize("weights", ["poisson", "multinomial", "bayesian"])
@pytest.mark.parametrize("estimand", ["att", "ate"])
def test_the_weighted_bootstrap_has_the_moments_of_its_contributions(weights, estimand):
    sample = draw_sample(2, n=60, p=2)
    groups = boxes(sample, 8, estimand=estimand)
    effects = jc.estimate(sample, groups, adjust=jc.Function(wavy))
    found = jc.interval(effects, jc.WeightedBootstrap(draws=20_000, weights=weights), key=0)
    t, y = np.asarray(sample.t), np.asarray(sample.y, float)
    f = np.asarray(wavy(sample.x), float)
    r, c = y - f[np.arange(60), t.astype(int)], np.asarray(effects.contributions, float)
    v = np.asarray(effects.share(), float)
    score = c * r + v * (f[:, 1] - f[:, 0] - float(effects.average))
    close(score.sum(), 0, atol=1e-5)
    close(found.std_error, np.sqrt((score**2).sum()), rtol=0.03)  # six errors of 20,000 draws


def test_randomisation_by_enumeration():
    """All assignments within four sets: the p-value and the interval of a grid of effects."""
    rng = np.random.default_rng(3)
    sizes, treated = (3, 3, 4, 3), (1, 1, 2, 1)
    group = np.repeat(np.arange(4), sizes)
    t = np.concatenate([np.arange(n) < k for n, k in zip(sizes, treated)])
    y = rng.normal(size=13) + 2 * t
    sample = jc.Sample(group[:, None].astype(float), t, y, kinds=["category"])
    effects = jc.estimate(sample, jc.CEM(), adjust=None)
    found = jc.interval(effects, jc.Randomisation(draws=20_000, level=0.8), key=0)
    assert found.target == "constant effect" and "p " in str(found)

    def statistic(z, values):
        gaps = [
            values[z & (group == g)].mean() - values[~z & (group == g)].mean() for g in range(4)
        ]
        return np.average(gaps, weights=treated)

    every = []
    picks = [list(combinations(range(n), k)) for n, k in zip(sizes, treated)]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for chosen in product(*picks):
        z = np.zeros(13, bool)
        for start, some in zip(starts, chosen):
            z[start + np.array(some)] = True
        every.append(z)
    seen = statistic(t, y)
    close(found.estimate, seen, rtol=1e-5)

    def p_value(tau):
        drawn = np.array([statistic(z, y - tau * t) for z in every])
        return (np.abs(drawn) >= abs(statistic(t, y - tau * t)) - 1e-9).mean()

    close(found.p_value, p_value(0.0), atol=0.012)  # four errors of 20,000 draws at most
    taus = np.linspace(seen - 4, seen + 4, 161)
    kept = taus[[p_value(tau) > 0.2 for tau in taus]]
    assert abs(float(found.lower) - kept[0]) < 0.15 and abs(float(found.upper) - kept[-1]) < 0.15


def test_randomisation_follows_identities_and_the_model():
    sample = draw_sample(4, n=60, p=2, id=np.arange(60))
    turn = np.random.default_rng(0).permutation(60)
    turned = sample.take(turn)
    found, again = (
        jc.interval(jc.estimate(s, PAIRS), jc.Randomisation(draws=200), key=1)
        for s in (sample, turned)
    )
    close(found.estimate, again.estimate, rtol=1e-5)
    assert abs(float(found.std_error) / float(again.std_error) - 1) < 0.3  # pairs follow ids
    adjusted = jc.estimate(sample, PAIRS, adjust=jc.Function(wavy))
    bounds = jc.interval(adjusted, jc.Randomisation(draws=200), key=1)
    close(bounds.estimate, adjusted.att, rtol=1e-4)


@pytest.mark.x64
def test_g_computation_equals_the_regression_written_out():
    sample = draw_sample(5, n=90, p=2, weight=np.arange(90) % 2 + 1.0)
    effects = jc.estimate(sample, PAIRS)
    found = jc.interval(effects, jc.GComputation())
    w, t = np.asarray(effects.matching.matched_weights(), float), np.asarray(sample.t, float)
    rows, label = np.flatnonzero(w), effects.matching.matched_sets()
    share, query = np.asarray(effects.share(), float), np.asarray(effects.matching.query)
    z = sample.points - share @ sample.points[query]
    x = np.column_stack([np.ones(90), t, z, t[:, None] * z])[rows]
    beta, covariance, _ = dense(x, w[rows], np.asarray(sample.y)[rows], label[rows], "CR2")
    close(found.estimate, beta[1], rtol=1e-4)
    close(found.std_error, np.sqrt(covariance[1, 1]), rtol=1e-4)


@pytest.mark.parametrize("measure", ["difference", "ratio", "odds_ratio"])
def test_risks_by_logistic_regression_and_the_delta_method(measure):
    """Against a fit by an optimiser and numerical derivatives of the measure."""
    from scipy.optimize import minimize

    base = draw_sample(6, n=150, p=2)
    sample = base.with_outcome((np.asarray(base.y) > 0.5).astype(float))
    effects = jc.estimate(sample, PAIRS)
    found = jc.interval(effects, jc.GComputation(cluster="units"), measure=measure)
    w, t = np.asarray(effects.matching.matched_weights(), float), np.asarray(sample.t, float)
    rows, y = np.flatnonzero(w), np.asarray(sample.y, float)
    share, query = np.asarray(effects.share(), float), np.asarray(effects.matching.query)

    def columns(arm):
        arm = np.broadcast_to(arm, 150).astype(float)[:, None]
        return np.column_stack([np.ones(150), arm, sample.points, arm * sample.points])

    x = columns(t)[rows]

    def loss(beta):
        eta = x @ beta
        return (w[rows] * (np.logaddexp(0, eta) - y[rows] * eta)).sum()

    beta = minimize(loss, np.zeros(6), method="BFGS", options=dict(gtol=1e-7)).x
    chance = 1 / (1 + np.exp(-x @ beta))
    score = x * (w[rows] * (y[rows] - chance))[:, None]
    bread = np.linalg.inv(x.T @ ((w[rows] * chance * (1 - chance))[:, None] * x))
    g = rows.size
    covariance = bread @ (score.T @ score) @ bread * g / (g - 1) * (g - 1) / (g - 6)

    def value(b):
        risk = [share @ (1 / (1 + np.exp(-columns(a) @ b)))[query] for a in (0, 1)]
        if measure == "difference":
            return risk[1] - risk[0]
        odds = [r / (1 - r) if measure == "odds_ratio" else r for r in risk]
        return np.log(odds[1] / odds[0])

    slope = np.array([(value(beta + h) - value(beta - h)) / 2e-5 for h in 1e-5 * np.eye(6)])
    expected = value(beta) if measure == "difference" else np.exp(value(beta))
    close(found.estimate, expected, rtol=1e-4)
    close(found.std_error, np.sqrt(slope @ covariance @ slope), rtol=1e-3)
    words = dict(difference="average", ratio="risk ratio", odds_ratio="odds ratio")
    assert found.target == f"population {words[measure]}"


def test_the_odds_ratio_of_groups_varies_as_its_linear_form():
    """A small change of one outcome moves the logarithm as the scale says."""
    base = draw_sample(7, n=80, p=2)
    sample = base.with_outcome((np.asarray(base.y) > 0.5).astype(float))
    effects = jc.estimate(sample, boxes(sample, 30, estimand="att"))
    found = jc.interval(effects, jc.AbadieImbens(target="sample"), measure="odds_ratio")
    risk = float(effects.risk0), float(effects.risk1)
    odds = [r / (1 - r) for r in risk]
    close(found.estimate, odds[1] / odds[0], rtol=1e-4)
    plain = jc.interval(effects, jc.AbadieImbens(target="sample"), measure="ratio")
    assert float(found.std_error) > float(plain.std_error)


def test_bounds_for_all_groups_are_those_of_the_largest_draw():
    sample = draw_sample(8, n=90, p=2)
    effects = jc.estimate(sample, boxes(sample, 12))
    by = np.arange(90) % 4
    method = jc.Bootstrap(draws=4000)
    one = jc.interval(effects, method, by=by, key=0)
    every = jc.interval(effects, method, by=by, simultaneous=True, key=0)
    close(every.std_error, one.std_error, rtol=1e-6)
    quantile = np.asarray((every.upper - every.estimate) / every.std_error)
    close(quantile, quantile[0], rtol=1e-4)
    assert 2.2 < quantile[0] < 2.8  # 2.49 for four that are independent, less where they share
    with pytest.raises(ValueError, match="AbadieImbens makes none"):
        jc.interval(effects, jc.AbadieImbens(), by=by, simultaneous=True)
    with pytest.raises(ValueError, match="they need groups, by="):
        jc.interval(effects, method, simultaneous=True, key=0)


@pytest.mark.parametrize(
    "method", [jc.Sandwich(), jc.GComputation(), jc.Randomisation(draws=200), jc.AbadieImbens()]
)
def test_they_move_with_shift_and_scale(method):
    sample = draw_sample(9, n=60, p=2)
    other = sample.with_outcome(np.asarray(sample.y) * 100 + 500)
    found, scaled = (jc.interval(jc.estimate(s, PAIRS), method, key=0) for s in (sample, other))
    for name in ("estimate", "std_error", "lower", "upper"):
        close(getattr(scaled, name), 100 * np.asarray(getattr(found, name)), rtol=1e-3, atol=0.1)


def test_what_they_cannot_do_is_refused(unchecked):
    sample = draw_sample(10, n=60, p=2)
    effects = jc.estimate(sample, boxes(sample, 8))
    with pytest.raises(ValueError, match="needs matched sets, and some units are in two groups"):
        jc.interval(effects, jc.Randomisation(), key=0)
    with pytest.raises(ValueError, match="cluster is 'sets', and some units are in two groups"):
        jc.interval(effects, jc.Sandwich(cluster="sets"))
    with pytest.raises(ValueError, match="no model adjusts these effects"):
        jc.interval(effects, jc.WeightedBootstrap(), key=0)
    with pytest.raises(ValueError, match="cluster is 'sample', and the sample has none"):
        jc.interval(effects, jc.GComputation(cluster="sample"))
    with pytest.raises(ValueError, match="draws is 0"):
        jc.Randomisation(draws=0)
    with pytest.raises(ValueError, match="risks are of outcomes that are 0 or 1"):
        jc.interval(effects, jc.GComputation(model="logistic"))
    with pytest.raises(ValueError, match="measure is 'odds'"):
        jc.interval(effects, jc.AbadieImbens(), measure="odds")
    uneven = jc.matching.Pairs(
        sample=sample,
        fold=jnp.zeros(60, int),
        query=jnp.asarray(np.flatnonzero(np.asarray(sample.t))[:2]),
        query_fold=jnp.zeros(2, int),
        rows=jnp.asarray(np.flatnonzero(~np.asarray(sample.t))[:4].reshape(2, 2)),
        weights=jnp.array([[0.3, 0.7], [0.5, 0.5]]),
        status=jnp.zeros(2, int),
        estimand="att",
    )
    with pytest.raises(ValueError, match="units of these groups weigh differently"):
        jc.interval(jc.estimate(sample, uneven), jc.Randomisation(), key=0)
    one = draw_sample(10, n=60, p=2, cluster=np.zeros(60))
    pairs = jc.estimate(one, PAIRS)
    for method in (jc.Sandwich(), jc.GComputation()):
        with pytest.raises(ValueError, match="of one cluster"):
            jc.interval(pairs, method)
    with pytest.raises(ValueError, match="units are in clusters"):
        jc.interval(pairs, jc.Randomisation(), key=0)
    separated = sample.with_outcome(np.asarray(sample.x[:, 0] > 0).astype(float))
    with pytest.raises(ValueError, match="without error"):
        jc.interval(jc.estimate(separated, PAIRS), jc.GComputation())
    flat = jc.estimate(sample.with_outcome(jnp.ones(60)), PAIRS)
    for method in (jc.Sandwich(), jc.GComputation(model="linear"), jc.Randomisation(draws=100)):
        found = jc.interval(flat, method, key=0)
        close(found.upper - found.lower, 0, atol=1e-4)


def test_a_rare_level_that_tells_the_outcome_is_counted_and_no_more():
    """Its units' outcomes are certain: the estimate is that without them, weighed together."""
    rng = np.random.default_rng(11)
    t = np.arange(200) % 2 == 0
    level = np.where(np.arange(200) < 4, 1.0, 0.0)
    x = np.column_stack([rng.normal(size=200), level])
    y = np.where(level == 1, 1.0, rng.random(200) < 0.4 + 0.1 * t)
    sample = jc.Sample(x, t, y)
    effects = jc.estimate(sample, jc.NearestNeighbors(replace=False, exact=["x1"]))
    found = jc.interval(effects, jc.GComputation(interactions=False))
    assert "4 outcomes foretold without error" in found.method
    rest = jc.Sample(x[4:, :1], t[4:], y[4:])
    kept = jc.estimate(rest, jc.NearestNeighbors(replace=False))
    fewer = jc.interval(kept, jc.GComputation(interactions=False))
    close(found.estimate, float(fewer.estimate) * 98 / 100, rtol=2e-3)
    assert 0.9 < float(found.std_error) / float(fewer.std_error) < 1.05


@pytest.mark.extended
def test_intervals_of_pairs_cover_the_effect():
    """300 samples of 60 pairs on x, noise 1: between 90.5% and 99% of 95% intervals hold it."""
    rng, runs = np.random.default_rng(12), 300
    methods = {
        "sandwich": jc.Sandwich(),
        "g-computation": jc.GComputation(),
        "randomisation": jc.Randomisation(draws=199),
        "abadie-imbens": jc.AbadieImbens(),
    }
    covered = dict.fromkeys(methods, 0)
    for run in range(runs):
        x = np.repeat(rng.normal(size=(60, 1)), 2, axis=0)
        t = np.arange(120) % 2 == 0
        sample = jc.Sample(x, t, 2 * x[:, 0] + t + rng.normal(size=120))
        effects = jc.estimate(sample, PAIRS)
        for name, method in methods.items():
            found = jc.interval(effects, method, key=run)
            covered[name] += bool((found.lower <= 1) & (found.upper >= 1))
    share = {name: count / runs for name, count in covered.items()}
    print(share)
    assert all(0.905 < one < 0.99 for one in share.values()), share  # 3.5 sd of .0126


@pytest.mark.extended
def test_few_clusters_are_covered_by_their_degrees_of_freedom():
    """Six clusters with an effect of their own on the outcome, each of one arm: 400 samples."""
    rng, runs = np.random.default_rng(13), 400
    covered = dict(CR1=0, CR2=0)
    cluster = np.repeat(np.arange(6), 10)
    t = cluster % 2 == 0
    for _ in range(runs):
        y = rng.normal(size=6)[cluster] + 0.5 * rng.normal(size=60)
        sample = jc.Sample(np.ones((60, 1)) * (np.arange(60) % 2)[:, None], t, y, cluster=cluster)
        effects = jc.estimate(sample, jc.CEM())
        for correction in covered:
            found = jc.interval(effects, jc.Sandwich(correction=correction))
            covered[correction] += bool((found.lower <= 0) & (found.upper >= 0))
    share = {name: count / runs for name, count in covered.items()}
    print(share)
    assert 0.92 < share["CR2"] < 0.98 and share["CR1"] < share["CR2"]
