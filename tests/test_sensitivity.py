"""Sensitivity against published numbers, brute force, and biases that are known."""

import dataclasses
from itertools import product

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import close, draw_sample
from scipy.stats import binom

import jcausal as jc
from jcausal.diagnostics import e_value, omitted_variable_bounds
from jcausal.diagnostics._linear_parts import LinearParts, partial_r2
from jcausal.diagnostics._matched_sets import (
    MatchedSets,
    SetScores,
    largest_moments,
    matched_sets,
)
from jcausal.diagnostics._omitted_variable import scale_of
from jcausal.diagnostics._rosenbaum_bounds import gamma_bounds

# lead in the blood of children whose fathers work with it, and of neighbours (Rosenbaum 2002)
EXPOSED = """38 23 41 18 37 36 23 62 31 34 24 14 21 17 16 20 15 10 45 39 22 35 49 48 44 35 43 39 34
13 73 25 27"""
NEIGHBOURS = """16 18 18 24 19 11 10 15 16 18 18 13 19 10 16 16 24 13 9 14 21 19 7 18 19 12 11 22 25
16 13 11 13"""


def bounds_of(sets, binary=False, **options):
    return gamma_bounds(sets, jc.RosenbaumBounds(**options), binary, "ATT", "pandas")


def as_sets(*sets):
    """Sets as lists of outcomes, the first of each alone in its arm."""
    sizes = [len(one) for one in sets]
    start = np.cumsum([0, *sizes[:-1]])
    alone = np.isin(np.arange(sum(sizes)), start)
    return MatchedSets(np.concatenate(sets).astype(float), alone, start)


@pytest.fixture(scope="module")
def lead():
    return as_sets(*zip(map(int, EXPOSED.split()), map(int, NEIGHBOURS.split())))


def test_the_published_bounds_of_lead_in_blood(lead):
    """Rosenbaum (2002), tables 4.1 to 4.3: p-values and estimates."""
    found = bounds_of(
        lead, gamma=(1.0, 2.0, 3.0, 4.0, 4.25, 5.0), alternative="greater", exact=False
    )
    close(found.p_upper.round(4), [0, 0.0018, 0.0136, 0.0388, 0.0468, 0.0740])
    ends = [[15, 15], [10.25, 19.5], [8, 23], [6.5, 25], [6, 25], [5, 26.5]]
    close(found.estimate, ends, atol=1e-4)
    assert 4.25 < found.gamma_lost < 4.4 and found.statistic == "Wilcoxon signed rank"
    at = dict(gamma=(found.gamma_lost,), alternative="greater", exact=False)
    close(bounds_of(lead, **at).p_upper, [0.05], rtol=1e-6)
    turned = lead._replace(y=-lead.y)
    less = bounds_of(turned, gamma=(2.0, 3.0), alternative="less", exact=False)
    close(less.p_upper, found.p_upper[1:3])
    close(less.estimate, -found.estimate[1:3, ::-1], atol=1e-4)


def test_too_few_units_bound_nothing():
    """The signed ranks of four pairs lie 1.83 errors from their mean at most."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 2))
    four = jc.Sample(x, np.arange(8) % 2 == 1, rng.normal(size=8))
    pairs = jc.estimate(four, jc.OptimalMatching())
    bounds = jc.sensitivity(pairs, jc.RosenbaumBounds(gamma=(1.0,))).bounds
    assert bounds.tolist() == [[-np.inf, np.inf]]
    less = jc.sensitivity(pairs, jc.RosenbaumBounds(gamma=(1.0,), level=0.9))
    assert np.isfinite(less.bounds).all() and (less.estimate >= less.bounds[:, :1]).all()
    few = jc.estimate(four.take(np.arange(4)), jc.NearestNeighbors())
    with pytest.raises(ValueError, match="told by 4 units, since a regression on them has 4 coef"):
        jc.sensitivity(few, jc.OmittedVariable())


def test_few_pairs_by_every_assignment():
    """The tail of the signed ranks over all signs, with ties and a difference of 0."""
    sets = as_sets([5, 1], [2, 4], [9, 2], [3, 3], [7, 3], [1, 0], [4, 0], [8, 1])
    gap = np.diff(sets.y.reshape(-1, 2))[:, 0] * -1
    size = np.abs(gap)
    rank = np.array([(size < g).sum() + ((size == g).sum() + 1) / 2 for g in size])
    rank = rank[gap != 0]
    observed = rank[gap[gap != 0] > 0].sum()
    found = bounds_of(sets, gamma=(1.0, 1.7, 3.0), alternative="greater")
    for gamma, high, low in zip((1.0, 1.7, 3.0), found.p_upper, found.p_lower):
        for chance, told in ((gamma / (1 + gamma), high), (1 / (1 + gamma), low)):
            tail = sum(
                np.prod(np.where(signs, chance, 1 - chance))
                for signs in product([False, True], repeat=rank.size)
                if rank[np.array(signs)].sum() >= observed
            )
            close(told, tail, rtol=1e-9)
    doubled = bounds_of(sets, gamma=(1.7,)).p_upper
    close(doubled, [min(2 * found.p_upper[1], 1)])


def test_binary_pairs_are_mcnemars():
    sets = as_sets(*[[1, 0]] * 9, *[[0, 1]] * 2, *[[1, 1]] * 5, *[[0, 0]] * 7)
    found = bounds_of(sets, True, gamma=(1.0, 1.5, 2.0), alternative="greater")
    expected = [binom.sf(8, 11, g / (1 + g)) for g in (1.0, 1.5, 2.0)]
    close(found.p_upper, expected, rtol=1e-9)
    assert found.statistic == "McNemar" and np.isnan(found.estimate).all()


def test_the_worst_bias_of_a_set_by_every_confounder():
    """Largest mean over all u in {0, 1}^j of a set, and largest variance among the worst."""
    rng = np.random.default_rng(0)
    gamma = np.array([1.0, 1.3, 2.5, 6.0])
    for scores in (*np.sort(rng.normal(size=(6, 4)), 1), np.array([0, 0, 1, 1.0])):
        mean, variance = largest_moments([SetScores(scores[None], scores[:1])], gamma)
        for g, factor in enumerate(gamma):
            told = []
            for u in product([0, 1], repeat=4):
                chance = factor ** np.array(u)
                chance = chance / chance.sum()
                mu = float(chance @ scores)
                told.append((mu, float(chance @ scores**2) - mu**2))
            worst = max(mu for mu, _ in told)
            close(mean[g], worst, rtol=1e-9)
            close(variance[g], max(v for mu, v in told if mu > worst - 1e-9), atol=1e-9)


def test_sets_of_a_matching_are_its_groups():
    sample = draw_sample(3, n=60)
    matcher = jc.NearestNeighbors(ratio=2, replace=False, caliper={"x0": 1.2})
    effects = jc.estimate(sample, matcher)
    sets = matched_sets(effects)
    y, t = np.asarray(sample.y), np.asarray(sample.t)
    members = [
        sorted([float(v) for v in sets.y[a:b]])
        for a, b in zip(sets.start, np.append(sets.start[1:], sets.y.size))
    ]
    theirs = [
        sorted(np.asarray(y[effects.matching.group(i)[0]], float).tolist())
        for i in np.flatnonzero(np.asarray(effects.matched))
    ]
    assert sorted(members) == sorted(theirs)
    alone = np.asarray(effects.matching.query)[np.asarray(effects.matched)]
    close(np.sort(sets.y[sets.alone]), np.sort(y[alone]))
    found = jc.sensitivity(effects, jc.RosenbaumBounds(gamma=(1.0, 2.0)))
    assert found.statistic == "aligned ranks" and found.gamma_lost > 1
    assert found.estimate[1, 0] < found.estimate[0, 0] < found.estimate[1, 1]
    close(found.estimate[0], [2, 2], atol=1.2)
    controls = jc.Sample(sample.points, ~t, -y)
    turned = jc.sensitivity(
        jc.estimate(controls, matcher, estimand="atc"), jc.RosenbaumBounds(gamma=(1.0, 2.0))
    )
    close(turned.p_upper, found.p_upper, rtol=1e-5)
    close(turned.estimate, found.estimate, rtol=1e-4)


def test_strata_of_full_matching_are_sets():
    """Each has one unit of an arm: outcomes of sets around a control are turned round."""
    sample = draw_sample(2, n=50)
    effects = jc.estimate(sample, jc.FullMatching())
    sets = matched_sets(effects)
    stratum, t = effects.matching.unit_columns()["stratum"], np.asarray(sample.t)
    y, found = np.asarray(sample.y, float), []
    for k in np.unique(stratum[stratum >= 0]):
        rows = stratum == k
        side = 1 if t[rows].sum() == 1 else -1
        alone = rows & (t == (side == 1))
        assert alone.sum() == 1
        found.append((side * y[alone][0], sorted(side * y[rows & ~alone])))
    ends = np.append(sets.start[1:], sets.y.size)
    told = [
        (sets.y[a:b][sets.alone[a:b]][0], sorted(sets.y[a:b][~sets.alone[a:b]]))
        for a, b in zip(sets.start, ends)
    ]
    assert sorted(told) == sorted(found) and len({len(rest) for _, rest in told}) > 1
    assert jc.sensitivity(effects, jc.RosenbaumBounds()).gamma_lost > 1
    coarse = jc.estimate(sample, jc.Subclassification(groups=3))
    with pytest.raises(ValueError, match="sets are of several of both"):
        jc.sensitivity(coarse, jc.RosenbaumBounds())


def test_e_values_of_the_paper():
    """VanderWeele and Ding (2017): 3.9 (1.8 to 8.7): 7.26, 3.0; .80 (.71 to .91): 1.81, 1.43."""
    close(e_value(np.array([3.9, 1.8, 0.80, 0.91, 1.0])).round(2), [7.26, 3.0, 1.81, 1.43, 1])
    assert np.isnan(e_value(np.array([0.0, np.nan]))).all()


@pytest.mark.x64
def test_e_values_of_effects():
    sample = draw_sample(1, n=200)
    effects = jc.estimate(sample, jc.NearestNeighbors())
    found = jc.sensitivity(effects, jc.EValue())
    treated = np.asarray(sample.y, float)[np.asarray(sample.t)]
    bounds = jc.interval(effects, jc.AbadieImbens())
    told = [
        np.exp(0.91 * float(v) / treated.std(ddof=1))
        for v in (bounds.estimate, bounds.lower, bounds.upper)
    ]
    close([found.ratio, found.lower, found.upper], told, rtol=1e-4)
    close([found.estimate, found.bound], e_value(np.array(told[:2])), rtol=1e-4)
    risks = sample.with_outcome((np.asarray(sample.y) > 1).astype(float))
    ratio = jc.interval(
        jc.estimate(risks, jc.NearestNeighbors()), jc.AbadieImbens(), measure="ratio"
    )
    ours = jc.sensitivity(jc.estimate(risks, jc.NearestNeighbors()), jc.EValue())
    close([ours.ratio, ours.lower], [float(ratio.estimate), float(ratio.lower)], rtol=1e-6)
    weighted = jc.estimate(risks, jc.IPTW())
    y, t, w = (np.asarray(a, float) for a in (risks.y, risks.t, weighted.unit_weight))
    means = [np.average(y[t == a], weights=w[t == a]) for a in (0, 1)]
    close(jc.sensitivity(weighted, jc.EValue()).ratio, means[1] / means[0], rtol=1e-4)
    assert "risk ratio" in ours.summary() and len(ours.to_frame()) == 2
    none = dataclasses.replace(ours, lower=0.9)
    assert none.bound == 1 and "no effect already" in none.summary()


def test_the_published_darfur_example():
    """Cinelli and Hazlett (2020), section 5, and what their package sensemakr prints of it."""
    female = 0.00916428667504862 / 1.00916428667504862, 0.10903391
    found = omitted_variable_bounds(0.09731582, 0.02325654, 783, benchmarks={"female": female})
    close(found.robustness_value, 0.1387764, rtol=1e-5)
    close(found.robustness_value_significant, 0.07625797, rtol=1e-5)
    close(found.partial_r2, 0.02187309, rtol=1e-5)
    table = found.to_frame()
    close(table["r2_treatment"], [0.009164287, 0.018328573, 0.02749286], rtol=1e-6)
    close(table["r2_outcome"], [0.124640923, 0.249324064, 0.374050471], rtol=1e-5)
    close(table["adjusted"], [0.07522027, 0.05291517, 0.03039602], rtol=1e-4)
    close(table["std_error"], [0.02187333, 0.02035006, 0.01867006], rtol=1e-5)
    close(table["lower"], [0.032282966, 0.012968035, -0.006253282], rtol=1e-3)
    close(table["upper"], [0.11815758, 0.09286231, 0.06704533], rtol=1e-4)
    close(found.adjusted(found.partial_r2, 1.0), 0, atol=1e-9)
    close(found.adjusted(*[found.robustness_value] * 2), 0, atol=1e-9)
    least = found.robustness_value_significant
    close(found.adjusted(least, least) / found.adjusted_error(least, least), found.critical)
    half = omitted_variable_bounds(0.09731582, 0.02325654, 783, share=0.5)
    close(half.adjusted(*[half.robustness_value] * 2), 0.09731582 / 2)


def regression(features, y):
    slope = np.linalg.lstsq(features, y, rcond=None)[0]
    return slope, y - features @ slope


def test_a_regression_is_biased_by_its_bound():
    """Of least squares S is std_error sqrt(df), and the bound is the bias itself."""
    rng = np.random.default_rng(2)
    n = 80
    x, u = rng.normal(size=(2, n))
    d = 0.5 * x + 0.8 * u + rng.normal(size=n)
    y = d + x - 0.7 * u + rng.normal(size=n)
    ones = np.ones(n)
    short, left = regression(np.c_[d, x, ones], y)
    own = regression(np.c_[x, ones], d)[1]
    error = np.sqrt(left @ left / (n - 3) / (own @ own))
    parts = LinearParts(own / (own @ own), np.full(n, 1 / n), left)
    close(parts.coefficient @ y, short[0])
    close(scale_of(parts, np.nan), error * np.sqrt(n - 3))
    long = regression(np.c_[d, x, u, ones], y)[0]
    hidden = regression(np.c_[x, ones], u)[1]
    r_d = np.corrcoef(hidden, own)[0, 1] ** 2
    r_y = np.corrcoef(regression(np.c_[d, x, ones], u)[1], left)[0, 1] ** 2
    found = omitted_variable_bounds(short[0], error, n - 3)
    close(found.bias(r_d, r_y), abs(short[0] - long[0]), rtol=1e-9)


@pytest.mark.x64
def test_a_weighting_is_biased_within_its_bound():
    """Exact cells of x, ATT: the bias of leaving out u against Riesz representers and means."""
    rng = np.random.default_rng(3)
    n = 2000
    x, u = rng.integers(0, 3, n), rng.integers(0, 2, n)
    t = rng.random(n) < (0.2 + 0.15 * x + 0.3 * u)
    y = x + 2.0 * u + t + rng.normal(size=n)
    sample = jc.Sample(x[:, None].astype(float), t, y, kinds=["category"])
    effects = jc.estimate(sample, jc.CEM())

    def of_cells(cell):
        """ATT, Riesz representer (n,) and mean of the outcome by cell and arm (n,)."""
        e, mean = np.zeros(n), np.zeros(n)
        for k in np.unique(cell):
            e[cell == k] = t[cell == k].mean()
            for arm in (False, True):
                rows = (cell == k) & (t == arm)
                mean[rows] = y[rows].mean()
        alpha = np.where(t, 1, -e / (1 - e)) / t.mean()
        return (alpha * y).mean(), alpha, mean

    short, alpha, mean = of_cells(x)
    long, alpha_long, mean_long = of_cells(2 * x + u)
    close(effects.att, short, rtol=1e-4)
    r_y = ((mean_long - mean) ** 2).mean() / ((y - mean) ** 2).mean()
    r_d = 1 - (alpha**2).mean() / (alpha_long**2).mean()
    found = jc.sensitivity(effects, jc.OmittedVariable())
    exact = np.sqrt(((y - mean) ** 2).mean() * (alpha**2).mean())
    close(found.scale, exact, rtol=0.01)  # cells against a regression without products
    assert abs(short - long) <= found.bias(r_d, r_y) < 2 * abs(short - long)
    weighted = jc.sensitivity(jc.estimate(sample, jc.IPTW()), jc.OmittedVariable())
    close(weighted.scale, found.scale, rtol=1e-3)
    doubly = jc.sensitivity(
        jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), key=0), jc.OmittedVariable()
    )
    close(doubly.scale, found.scale, rtol=0.02)


@pytest.mark.x64
def test_partial_r2_by_leaving_each_covariate_out():
    sample = draw_sample(5, n=120, p=2, category=3, weight=np.random.default_rng(0).random(120) + 1)
    x, t, y = sample.points, np.asarray(sample.t, float), np.asarray(sample.y, float)
    mass = np.asarray(sample.weight, float)
    mass = mass / mass.sum()
    root = np.sqrt(mass)[:, None]
    columns = {"x0": x[:, :1], "x1": x[:, 1:2], "x2": (x[:, 2:] == np.arange(3)).astype(float)}

    def left(names, target, *more):
        features = np.column_stack([np.ones(120), *(columns[k] for k in names), *more])
        return (regression(root * features, root[:, 0] * target)[1] ** 2).sum()

    found = partial_r2(sample, mass)
    assert found.names == ("x0", "x1", "x2")
    for k, name in enumerate(found.names):
        others = [other for other in found.names if other != name]
        of_t = 1 - left(found.names, t) / left(others, t)
        of_y = 1 - left(found.names, y, t) / left(others, y, t)
        close([found.treatment[k], found.outcome[k]], [of_t, of_y], rtol=1e-4, atol=1e-7)
    close(found.left, left(found.names, y, t), rtol=1e-5)


METHODS = {
    "matching": jc.NearestNeighbors(),
    "regressions": jc.M5Model(jc.M5Tree(min_controls=30)),
    "boxes": jc.AHB(outcome=jc.Ridge()),
    "weights": jc.EntropyBalance(),
    "doubly robust": jc.AIPW(outcome=jc.Ridge()),
    "learner": jc.TLearner(outcome=jc.Ridge()),
}


@pytest.mark.x64
@pytest.mark.parametrize("name", METHODS)
def test_every_kind_of_effects_has_bounds(experiment, name):
    found = jc.estimate(experiment, METHODS[name], key=0)
    bounds = jc.sensitivity(found, jc.OmittedVariable(times=(1.0, 2.0)))
    assert 0 < bounds.robustness_value_significant + 1e-9 <= bounds.robustness_value < 1
    assert len(bounds.to_frame()) == 2 * 8 and "robustness value" in repr(bounds)
    assert 1 < jc.sensitivity(found, jc.EValue()).estimate < 4


def test_weights_of_zero_padding_and_order_change_nothing(experiment):
    rows = np.r_[np.arange(experiment.n), [0, 300]]
    x, t, y = (
        experiment.points[rows],
        np.asarray(experiment.t)[rows],
        np.asarray(experiment.y)[rows],
    )
    extra = np.arange(rows.size) >= experiment.n
    unweighted = jc.Sample(x, t, y, weight=np.where(extra, 0.0, 1.0))
    padded = jc.Sample(x, t, y, valid=~extra)
    turned = experiment.take(np.arange(experiment.n)[::-1])
    base = jc.sensitivity(jc.estimate(experiment, jc.IPTW()), jc.OmittedVariable())
    for other in (unweighted, padded, turned):
        found = jc.sensitivity(jc.estimate(other, jc.IPTW()), jc.OmittedVariable())
        close(found.scale, base.scale, rtol=1e-4)
        close(found.robustness_value, base.robustness_value, rtol=1e-3)


def test_missing_values_and_flags_go_with_their_number():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    x[::9, 0] = np.nan
    import pandas as pd

    frame = pd.DataFrame(
        dict(a=x[:, 0], b=x[:, 1], t=rng.random(100) < 0.4, y=rng.normal(size=100))
    )
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", missing="indicator")
    found = jc.sensitivity(jc.estimate(sample, jc.NearestNeighbors()), jc.OmittedVariable())
    assert set(found.benchmarks.name) == {"a", "b"}


def test_refusals_are_one_sentence(experiment, unchecked):
    pairs = jc.estimate(experiment, jc.NearestNeighbors(replace=False))
    cases = (
        ("x", jc.EValue(), {}, "sensitivity takes effects, not the text 'x'"),
        (pairs, jc.EValue, {}, "EValue is a class"),
        (pairs, jc.AbadieImbens(), {}, "no method for sensitivity"),
        (pairs, jc.OmittedVariable(benchmark="wage"), {}, "'wage' is no covariate: they are age"),
        (jc.estimate(experiment, jc.NearestNeighbors()), jc.RosenbaumBounds(), {}, "share no unit"),
        (jc.estimate(experiment, jc.IPTW()), jc.RosenbaumBounds(), {}, "IPTW makes none"),
        (jc.estimate(experiment, jc.M5Model()), jc.RosenbaumBounds(), {}, "regressions in leaves"),
        (pairs, jc.EValue(), dict(interval=3), "interval must be one of the average"),
    )
    for effects, method, options, words in cases:
        with pytest.raises(ValueError, match=words):
            jc.sensitivity(effects, method, **options)
    for wrong, words in (
        (lambda: jc.RosenbaumBounds(gamma=(0.5,)), "numbers from 1"),
        (lambda: jc.OmittedVariable(times=()), "numbers above 0"),
        (lambda: jc.OmittedVariable(share=0.0), "must lie above 0"),
        (lambda: jc.EValue(level=float("nan")), "level is nan"),
        (lambda: omitted_variable_bounds(1.0, 0.0, 30), "an error above 0"),
        (lambda: omitted_variable_bounds(1.0, 1.0, 30, benchmarks={"a": (1.0, 0.2)}), "out of"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_no_match_and_a_flat_outcome_are_refused(unchecked):
    sample = draw_sample(0)
    far = jc.match(sample, jc.NearestNeighbors(caliper={"x0": 1e-9}), throw=False)
    with pytest.raises(ValueError, match="no unit is matched"):
        jc.sensitivity(jc.estimate(sample, far, throw=False), jc.OmittedVariable())
    flat = sample.with_outcome(np.ones(sample.n))
    with pytest.raises(jc.DataError, match="the outcome never varies"):
        jc.sensitivity(jc.estimate(flat, jc.NearestNeighbors()), jc.OmittedVariable())
    weighted = draw_sample(0, weight=np.linspace(1, 2, 40))
    pairs = jc.estimate(weighted, jc.NearestNeighbors(replace=False))
    with pytest.raises(ValueError, match="unequal weights"):
        jc.sensitivity(pairs, jc.RosenbaumBounds())
    clusters = draw_sample(0, cluster=np.arange(40) // 4)
    pairs = jc.estimate(clusters, jc.NearestNeighbors(replace=False))
    with pytest.raises(ValueError, match="clusters"):
        jc.sensitivity(pairs, jc.RosenbaumBounds())


def test_it_is_told_that_tracing_is_not_for_it(experiment):
    def value(y):
        effects = jc.estimate(experiment.with_outcome(y), jc.IPTW(), throw=False)
        return jc.sensitivity(effects, jc.OmittedVariable()).scale

    with pytest.raises(ValueError, match="outside of jit and vmap"):
        jax.jit(value)(experiment.y)


def test_pictures(experiment, unchecked):
    effects = jc.estimate(experiment, jc.NearestNeighbors())
    found = jc.sensitivity(effects, jc.OmittedVariable(benchmark=["age", "black"]))
    ax = jc.plot.sensitivity(found, unit="$")
    assert ax.get_xlabel().startswith("share of what is left of the treatment")
    assert "($)" in ax.get_legend().get_title().get_text()
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told[0].startswith("estimate") and any("as strong as" in words for words in told)
    shares, values = found.contours(0.5, points=11)
    close(values[3, 4], found.adjusted(shares[4], shares[3]))
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        jc.plot.sensitivity(found, most=1.5)
    with pytest.raises(ValueError, match="OmittedBounds"):
        jc.plot.sensitivity(jc.sensitivity(effects, jc.EValue()))
    several = jc.balance(
        experiment, {"pairs": effects, "weights": jc.estimate(experiment, jc.IPTW())}
    )
    ax = jc.plot.love(several)
    assert [text.get_text() for text in ax.get_legend().get_texts()][1:3] == ["pairs", "weights"]
    drawn = ax.collections[2].get_offsets()
    names = [text.get_text() for text in ax.get_yticklabels()]
    alone = jc.balance(experiment, effects)["smd_after"].abs()
    close(drawn[:, 0], alone[names].to_numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="cannot be told apart"):
        jc.plot.love(jc.balance(experiment, effects, by=np.arange(experiment.n) % 8))
    with pytest.raises(ValueError, match="of several matchings by groups"):
        jc.plot.love(jc.balance(experiment, {"pairs": effects}, by="black"))
    plt.close("all")


def test_the_command_tells_it_in_a_line(experiment):
    from jcausal.reports import sensitivity_words

    found = jc.estimate(experiment, jc.IPTW())
    [line] = sensitivity_words(found, 0.95)
    assert line.startswith("sensitivity: robustness value ") and "as strong as" in line
    flat = jc.estimate(experiment.with_outcome(np.ones(experiment.n)), jc.NearestNeighbors())
    [line] = sensitivity_words(flat, 0.95, jc.interval(flat, jc.AbadieImbens()))
    assert line.startswith("no sensitivity to a variable that was left out: the outcome never")
