"""GeneticMatching: its fitness, its matches and its balance, against SciPy, brute force and R."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared
from scipy.special import kolmogorov
from scipy.stats import ks_2samp, ttest_rel

import jcausal as jc
import jcausal.matching.learned._genetic_matching as genetic
from jcausal.matching.learned._balance_tests import is_gain, p_values, ranked
from jcausal.matching.learned._genetic_arms import many_values
from jcausal.matching.learned._genetic_pairs import pair_moments
from jcausal.matching.learned._match_points import match_points

pytestmark = pytest.mark.x64
GOLDEN = json.loads((Path(__file__).parent / "goldens/matching/genmatch.json").read_text())
R = GOLDEN["runs"]["with_replacement"]


def by_weights(monkeypatch, weights, seen=None):
    """Let the evolution end with given weights; `seen` gets their p-values by the program."""

    def evolve(grade, columns, plan, key, progress):
        given = np.ones(columns) if weights is None else np.asarray(weights, float)
        rest = np.exp(np.random.default_rng(0).normal(size=(plan.population - 1, columns)))
        p = grade(np.concatenate([given[None], rest]))
        if seen is not None:
            seen.append(p[0])
        return genetic.Evolved(given, np.sort(p[0]), np.sort(p[0]), 1)

    monkeypatch.setattr(genetic, "evolve", evolve)


def balance_of(sample, pairs, estimand="att"):
    """The p-values of some pairs, in float64."""
    task = jc.matching.make_task(sample, pairs.fold, estimand)
    points = match_points(sample, None, "sd", alike=True)
    rows, weights = np.asarray(pairs.rows), np.asarray(pairs.weights, float)
    return p_values(pair_moments(task, points, rows, weights), many_values(points))[0]


@pytest.fixture(scope="module")
def lalonde():
    """The 614 units of MatchIt with R's eight columns."""
    frame = pd.read_csv(shared("lalonde_matchit.csv"))
    for race in ("black", "hispan"):
        frame[race] = (frame["race"] == race).astype(int)
    return jc.Sample(frame[GOLDEN["covariates"]], frame["treat"], frame["re78"])


def test_the_fitness_is_that_of_scipy():
    sample = draw_sample(0, n=90, p=3)
    pairs = jc.match(sample, jc.GeneticMatching(population=8, generations=2), key=0)
    assert pairs.rows.shape[1] == 1  # no ties among normal draws
    x = np.asarray(sample.x, float)
    treated, control = x[np.asarray(pairs.query)], x[np.asarray(pairs.rows)[:, 0]]
    found, n = balance_of(sample, pairs), len(treated)
    close(found[:3], ttest_rel(treated, control).pvalue, rtol=1e-5)
    gap = [ks_2samp(treated[:, j], control[:, j]).statistic for j in range(3)]
    close(found[3:], kolmogorov(np.sqrt(n / 2) * np.array(gap)), rtol=1e-5)


def brute(sample, weights, ratio, replace, caliper):
    """Partners with weights, {query: {row: weight}}: distances one by one."""
    x, t = np.asarray(sample.x, float), np.asarray(sample.t)
    w = np.asarray(sample.weight, float)
    sd = np.sqrt(np.average((x - np.average(x, axis=0, weights=w)) ** 2, axis=0, weights=w))
    z, able = x / sd, [k for k in np.flatnonzero(~t) if w[k] > 0]
    queries, found = list(np.flatnonzero(t)), {}
    order = {k: (*x[k], k) for k in range(len(t))}
    able.sort(key=lambda k: order[k])

    def distance(i, k):
        gap = np.abs(z[i] - z[k])
        inside = caliper is None or (gap <= caliper * (1 + 1e-9)).all()
        return (weights * gap**2).sum() if inside else np.inf

    free = set(able)
    if not replace:
        centre = np.average(z[able], axis=0, weights=w[able])
        queries.sort(key=lambda i: (-round(((z[i] - centre) ** 2).sum(), 9), order[i]))
    for _ in range(1 if replace else ratio):
        for i in queries:
            d = np.array([distance(i, k) if k in free else np.inf for k in able])
            found.setdefault(i, {})
            if not np.isfinite(d).any():
                continue
            if replace:
                reach = np.sort(d)[min(ratio, np.isfinite(d).sum()) - 1] * (1 + 1e-5)
                found[i] = {k: w[k] for k, each in zip(able, d) if each <= reach}
            else:
                k = able[int((d <= d.min() * (1 + 1e-5)).argmax())]
                found[i][k] = w[k]
                free.remove(k)
    return {i: {k: v / sum(m.values()) for k, v in m.items()} for i, m in found.items()}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("ratio", "replace", "caliper"),
    [(1, True, None), (3, True, None), (2, True, 0.9), (1, False, None), (2, False, 0.9)],
)
def test_matches_and_fitness_are_those_of_a_brute_force(
    monkeypatch, ratio, replace, caliper, weighted
):
    weight = None
    if weighted:
        weight = np.random.default_rng(3).uniform(0.5, 2, 60)
        weight[::7] = 0
    sample, seen = draw_sample(2, n=60, p=3, integers=True, weight=weight), []
    weights = np.array([1.0, 0.3, 2.2])
    by_weights(monkeypatch, weights, seen)
    method = jc.GeneticMatching(population=5, ratio=ratio, replace=replace, caliper=caliper)
    pairs = jc.match(sample, method, key=0)
    expected = brute(sample, weights, ratio, replace, caliper)
    for i, query in enumerate(np.asarray(pairs.query)):
        rows, given = np.asarray(pairs.rows)[i], np.asarray(pairs.weights, float)[i]
        mine = {int(k): v for k, v in zip(rows, given) if v > 0}
        assert mine.keys() == expected[query].keys(), query
        close([1, *mine.values()], [1, *(expected[query][k] for k in mine)], rtol=1e-5)
    close(seen[0], balance_of(sample, pairs), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("integers", [False, True])
def test_many_columns_with_and_without_ties(monkeypatch, integers):
    sample, seen = draw_sample(4, n=50, p=17, integers=integers), []
    if integers:  # the second half of the units are twins of the first
        half = np.arange(50) % 25
        x, y = np.asarray(sample.x)[half], np.asarray(sample.y)
        x[:25, 0] += np.arange(25) % 2  # but for one column
        sample = jc.Sample(x, np.arange(50) < 20, y)
    by_weights(monkeypatch, None, seen)
    pairs = jc.match(sample, jc.GeneticMatching(population=5), key=0)
    close(seen[0], balance_of(sample, pairs), rtol=2e-3, atol=1e-5)


def test_both_arms_are_balanced_together(monkeypatch):
    sample, seen = draw_sample(5, n=70, p=2, category=3), []
    by_weights(monkeypatch, None, seen)
    pairs = jc.match(sample, jc.GeneticMatching(population=6), estimand="ate", key=0)
    close(seen[0], balance_of(sample, pairs, "ate"), rtol=2e-3, atol=1e-5)
    x, row = np.asarray(sample.x, float)[:, 0], np.asarray(pairs.rows)[:, 0]
    sign = np.where(np.asarray(sample.t), 1, -1)
    gap = sign * (x - x[row])
    close(balance_of(sample, pairs, "ate")[0], ttest_rel(gap, 0 * gap).pvalue, rtol=1e-5)


def test_the_weights_of_r_give_the_matches_of_r(monkeypatch, lalonde):
    by_weights(monkeypatch, R["weights"])
    pairs = jc.match(lalonde, jc.GeneticMatching(), key=0)
    assert int((np.asarray(pairs.weights) > 0).sum()) == R["matches"]
    close(float(jc.estimate(lalonde, pairs).att), R["estimate"], rtol=1e-5)
    # R's tests count each tied pair; ours each query once
    assert abs(balance_of(lalonde, pairs).min() - R["smallest_p"]) < 0.02


def test_it_balances_at_least_as_well_as_r_at_the_same_budget(lalonde):
    budget = dict(population=GOLDEN["pop.size"], generations=GOLDEN["max.generations"])
    for scaling in ("sd", "cholesky"):
        pairs = jc.match(lalonde, jc.GeneticMatching(**budget, scaling=scaling), key=0)
        assert balance_of(lalonde, pairs).min() > R["smallest_p"]
        plain = jc.match(lalonde, jc.NearestNeighbors())
        assert balance_of(lalonde, pairs).min() > 10 * balance_of(lalonde, plain).min()
    assert "balance was searched for" in jc.estimate(lalonde, pairs).summary()


def test_the_order_of_rows_and_the_key(lalonde):
    order = np.random.default_rng(0).permutation(lalonde.n)
    named = jc.Sample(
        lalonde.x, lalonde.t, lalonde.y, id=np.arange(lalonde.n), names=lalonde.schema.names
    )
    for method in (
        jc.GeneticMatching(population=10, generations=3, propensity=jc.Propensity()),
        jc.GeneticMatching(population=10, generations=2, replace=False),
    ):
        one, again, other = (jc.match(named, method, key=key) for key in (0, 0, 1))
        assert np.array_equal(one.rows, again.rows) and one.caution == again.caution
        assert one.caution != other.caution
        turned = jc.match(named.take(order), method, key=0)
        assert turned.caution == one.caution
        back = {int(order[q]): set(order[r[r >= 0]]) for q, r in _rows(turned)}
        assert back == {int(q): set(r[r >= 0]) for q, r in _rows(one)}


def _rows(pairs):
    return zip(np.asarray(pairs.query), np.asarray(pairs.rows))


def test_exact_columns_calipers_and_why_there_is_no_partner():
    sample = draw_sample(1, n=120, p=2, category=3, id=np.arange(120))
    method = jc.GeneticMatching(population=6, generations=2, exact="x2", caliper=0.4)
    pairs = jc.match(sample, method, key=0)
    x = np.asarray(sample.x, float)
    for q, rows in _rows(pairs):
        for k in rows[rows >= 0]:
            assert x[k, 2] == x[q, 2]
            assert (np.abs(x[k, :2] - x[q, :2]) <= 0.4001 * x[:, :2].std(0)).all()
    left = ~np.asarray(pairs.matched)
    assert left.any() and "caliper" in pairs.reason(int(left.argmax()))
    few = jc.Sample(x, ~np.asarray(sample.t), np.asarray(sample.y))  # more treated than controls
    alone = jc.match(few, jc.GeneticMatching(population=6, generations=1, replace=False), key=0)
    taken = np.asarray(alone.rows)[np.asarray(alone.matched)]
    assert np.unique(taken).size == taken.size == (~np.asarray(few.t)).sum()
    left = ~np.asarray(alone.matched)
    assert "taken" in alone.reason(int(left.argmax()))


def test_constant_columns_missing_values_and_one_control():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(dict(t=[1, 1, 1, 0], y=[3.0, 2, 1, 0], a=rng.normal(size=4)))
    frame.loc[0, "a"] = np.nan
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", missing="indicator")
    pairs = jc.match(sample, jc.GeneticMatching(population=4, generations=2), key=0)
    assert (np.asarray(pairs.rows) == 3).all() and "1 missing values" in pairs.caution
    x = np.array([[1.0, 0], [1, 1], [1, 0], [1, 1], [1, 1], [1, 1], [2, 3]])
    same = jc.Sample(x, [1, 0, 1, 0, 0, 0, 1], np.arange(7.0)).take(np.arange(6))
    pairs = jc.match(same, jc.GeneticMatching(population=4), key=0)
    assert np.asarray(pairs.rows).shape == (2, 4)  # all are as near


def test_duplicates_share_and_units_of_weight_0_are_no_partners():
    x = [[0.0], [0.0], [0.0], [1.0], [0.5]]
    sample = jc.Sample(x, [1, 0, 0, 0, 1], np.arange(5.0), weight=[1, 1, 3, 0, 1])
    pairs = jc.match(sample, jc.GeneticMatching(population=4, generations=1), key=0)
    close(pairs.weights, [[0.25, 0.75], [0.25, 0.75]])


def test_ranks_and_gains():
    p = np.array([[0.5, 0.2], [0.2, 0.9], [0.1, 1.0], [0.2, 0.5]])
    assert ranked(p).tolist() == [1, 0, 3, 2]
    assert is_gain(np.array([0.2, 0.6]), np.array([0.2, 0.5]))
    assert not is_gain(np.array([0.2001, 0.4]), np.array([0.2, 0.5]))


def test_bad_options_and_what_would_take_hours(monkeypatch, unchecked):
    sample = draw_sample(0)
    for options, words in (
        (dict(population=2), "population is 2"),
        (dict(caliper=-1.0), "caliper is -1"),
        (dict(scaling="none"), "scaling is 'none'"),
        (dict(propensity=3), "propensity"),
        (dict(max_bytes=10), "max_bytes is 10"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.GeneticMatching(**options)
    with pytest.raises(ValueError, match="exact names 'z', which is no covariate"):
        jc.match(sample, jc.GeneticMatching(exact="z"), key=0)
    with pytest.raises(ValueError, match="give key="):
        jc.match(sample, jc.GeneticMatching())
    with pytest.raises(ValueError, match="matches rows of the sample"):
        jc.match(sample, jc.GeneticMatching(), at=np.zeros((1, 3)), key=0)
    with pytest.raises(ValueError, match="hours on two cores: ask for fewer"):
        jc.match(sample, jc.GeneticMatching(generations=10**9), key=0)


def test_progress_is_told():
    told = []
    method = jc.GeneticMatching(population=5, generations=3, wait=9)
    jc.match(draw_sample(0), method, key=0, progress=lambda *each: told.append(each))
    assert [each[1:] for each in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[0][0].startswith("generations, smallest p-value")
