"""Knapsacks, floors and caps beside every set of groups; estimates of groups beside SciPy's."""

import numpy as np
import pytest
from oracles.allocations import all_sets, least_ratio, within

import jcausal as jc


def draw(seed, groups, low=-0.2):
    """Estimates, half-widths and costs."""
    rng = np.random.default_rng(seed)
    return rng.uniform(low, 1, groups), rng.uniform(0.02, 0.2, groups), rng.uniform(1, 5, groups)


def best_of(sets, value, able):
    """The largest sum over the sets of groups that may be treated."""
    return (sets[~(sets & ~able).any(1)] @ value).max()


@pytest.mark.parametrize("seed", range(6))
def test_unequal_costs_beside_every_set(seed):
    value, rho, cost = draw(seed, 15)
    budget = 0.35 * cost.sum()
    found = jc.allocate(value, jc.Knapsack(budget, cost=cost), rho=rho)
    sets = within(cost, budget)
    best = best_of(sets, value, value - rho > 0)
    assert found.value.naive == pytest.approx(best, abs=1e-9) and found.gap < 1e-6
    assert found.spend <= budget * (1 + 1e-9)
    worst = np.where(found.chosen, value - rho, value + rho)
    assert found.lost == pytest.approx((sets @ worst).max() - worst[found.chosen].sum(), abs=1e-6)
    half = jc.allocate(value, jc.Knapsack(budget, cost=cost, exact=False), rho=rho)
    assert half.spend <= budget and best / 2 <= half.value.naive <= best + 1e-9
    assert half.value.naive + half.gap >= best - 1e-9
    assert half.guaranteed_ratio <= found.guaranteed_ratio + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_no_corner_is_worse_for_unequal_costs(seed):
    value, rho, cost = draw(seed, 8, low=0.2)
    budget = 0.4 * cost.sum()
    found = jc.allocate(value, jc.Knapsack(budget, cost=cost), rho=rho)
    least = least_ratio(found.chosen, within(cost, budget), value - rho, value + rho)
    assert found.guaranteed_ratio == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_floors_and_caps_beside_every_set(seed):
    value, rho, cost = draw(seed, 14)
    category = np.array(list("abcabcaabbccab"))
    limits = dict(floor={"a": 2, "c": 1}, cap={"b": 1})
    budget = 0.4 * cost.sum()
    fair = jc.Knapsack(budget, cost=cost, category=category, only_positive=False, **limits)
    found = jc.allocate(value, fair, rho=rho)
    sets = within(cost, budget, category, **limits)
    assert found.value.naive == pytest.approx((sets @ value).max(), abs=1e-9)
    held = {c: int(found.chosen[category == c].sum()) for c in "abc"}
    assert held["a"] >= 2 and held["c"] >= 1 and held["b"] <= 1
    assert "2 floors, 1 caps" in found.summary()
    robust = jc.Knapsack(
        budget, cost=cost, category=category, only_positive=False, robust=True, **limits
    )
    kept = jc.allocate(value, robust, rho=rho).kept
    assert kept == pytest.approx((sets @ (value - rho)).max(), abs=1e-9)


def test_fractional_bound_is_the_linear_program():
    optimize = pytest.importorskip(
        "scipy.optimize", reason="SciPy's linear programs are the oracle"
    )
    category = np.array(list("aabbcc"))
    for seed in range(5):
        value, _, cost = draw(seed, 6)
        budget = 0.45 * cost.sum()
        rows, limits = [cost], [budget]
        plain = optimize.linprog(-value, np.array(rows), limits, bounds=(0, 1))
        assert jc.Knapsack(budget, cost=cost).fractional(value) == pytest.approx(-plain.fun)
        rows += [-1.0 * (category == "a"), 1.0 * (category == "b")]
        limits += [-1, 1]
        fair = optimize.linprog(-value, np.array(rows), limits, bounds=(0, 1))
        made = jc.Knapsack(budget, cost=cost, category=category, floor={"a": 1}, cap={"b": 1})
        assert made.fractional(value) == pytest.approx(-fair.fun, abs=1e-7)


def test_equal_costs_are_the_largest_k():
    value, rho, _ = draw(4, 12)
    one = jc.allocate(value, jc.TopK(5), rho=rho)
    two = jc.allocate(value, jc.Knapsack(5), rho=rho)
    assert (one.chosen == two.chosen).all()
    assert one.guaranteed_ratio == pytest.approx(two.guaranteed_ratio, abs=1e-6)
    assert len(all_sets(3)) == 8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jc.Knapsack(0.0), "budget is 0.0: it must be finite"),
        (lambda: jc.Knapsack(1.0, cost=[1, 0.0]), "cost is 0 at 1 of 2 groups"),
        (lambda: jc.Knapsack(1.0, cost=[1, np.nan]), "cost is nan at 1 of 2 groups"),
        (lambda: jc.Knapsack(1.0, cap={"a": 1}), "give category="),
        (lambda: jc.Knapsack(1.0, category=["a"]), "give one of them"),
        (lambda: jc.Knapsack(1.0, category=["a"], cap={"b": 1}), "'b', which is no category"),
        (lambda: jc.Knapsack(1.0, category=["a"], floor={"a": 2}), "and it has 1 groups"),
        (
            lambda: jc.Knapsack(1.0, category=["a", "a"], floor={"a": 2}, cap={"a": 1}),
            "above its cap of 1",
        ),
        (lambda: jc.Knapsack(1.0, category=["a"], cap={"a": 0.5}), "a whole number"),
        (lambda: jc.Knapsack(1.0, category=["a"], cap={"a": 1}, exact=False), "take exact=True"),
        (lambda: jc.Knapsack(1.0, exact=False, time_limit=1.0), "are for exact=True"),
        (lambda: jc.Knapsack(1.0, time_limit=0.0), "time_limit is 0"),
        (lambda: jc.Knapsack(1.0, node_limit=0), "node_limit is 0"),
        (
            lambda: jc.allocate([0.5, 0.2], jc.Knapsack(2.0, cost=[1.0]), rho=0.1),
            "cost has 1 entries for 2 groups",
        ),
        (
            lambda: jc.allocate([0.5, 0.2], jc.Knapsack(1.0, cost=[2.0, 3.0]), rho=0.1),
            "the cheapest costs 2",
        ),
        (
            lambda: jc.allocate(
                [0.5, -0.2], jc.Knapsack(2.0, category=["a", "b"], floor={"b": 1}), rho=0.1
            ),
            "no choice of groups meets the floors",
        ),
    ],
)
def test_bad_knapsacks(call, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call()


def trial(seed=0, groups=5, n=200, weight=None):
    """A randomised trial whose effect is the number of the group."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % groups
    t = rng.random(n) < 0.5
    y = group * t + rng.normal(size=n) * (1 + 0.3 * group)
    x = np.stack([group, rng.normal(size=n)], axis=1)
    return jc.Sample(x, t, y, names=["group", "other"], weight=weight)


def test_estimates_of_a_trial_beside_scipy():
    stats = pytest.importorskip("scipy.stats", reason="SciPy's Welch test is the oracle")
    sample = trial()
    found = jc.GroupEstimates.from_trial(sample, by="group")
    y, t, group = (np.asarray(a, float) for a in (sample.y, sample.t, sample.points[:, 0]))
    for g in range(5):
        arms = [y[(group == g) & (t == arm)] for arm in (1, 0)]
        said = stats.ttest_ind(*arms, equal_var=False)
        assert found.value[g] == pytest.approx(arms[0].mean() - arms[1].mean(), abs=1e-6)
        assert found.value[g] / found.error[g] == pytest.approx(said.statistic, rel=1e-5)
        assert found.freedom[g] == pytest.approx(said.df, rel=1e-5)
        assert found.effective[g].tolist() == [arms[1].size, arms[0].size]
    doubled = jc.GroupEstimates.from_trial(trial(weight=np.full(200, 2.0)), by="group")
    assert doubled.error == pytest.approx(found.error)
    chosen = jc.allocate(sample, jc.TopK(2), by="group", key=1)
    assert chosen.estimates.value == pytest.approx(found.value) and chosen.value.split is not None
    assert [chosen.estimates.labels[i] for i in np.flatnonzero(chosen.chosen)] == [3, 4]


def test_halves_of_a_trial_average_to_the_whole():
    """Where an arm of a group has an even number of units, each half holds as many."""
    group = np.repeat(np.arange(3), 16)
    t = np.tile([True, False], 24)
    y = np.random.default_rng(0).normal(size=48)
    sample = jc.Sample(group[:, None], t, y, names=["group"])
    found = jc.GroupEstimates.from_trial(sample, by="group", key=0, splits=7)
    assert found.halves.shape == (7, 2, 3)
    np.testing.assert_allclose(found.halves.mean(1), np.tile(found.value, (7, 1)), atol=1e-6)
    assert np.ptp(found.halves, axis=0).min() > 0
    again = jc.GroupEstimates.from_trial(sample, by="group", key=0, splits=7)
    assert (again.halves == found.halves).all()
    thinned = jc.GroupEstimates(found.value, error=found.error).thinned(key=2)
    np.testing.assert_allclose(thinned.halves.mean(1), np.tile(found.value, (20, 1)), atol=1e-6)


def test_estimates_of_a_matching_method():
    sample = trial(1, groups=3, n=240)
    method = jc.FastAHB(outcome=jc.Ridge())
    effects = jc.estimate(sample, method, key=0)
    table = jc.interval(effects, jc.AbadieImbens(), by="group")
    found = jc.GroupEstimates.from_effects(effects, by="group")
    same = jc.GroupEstimates.from_effects(table)
    assert found.labels == same.labels
    np.testing.assert_array_equal(found.value, np.asarray(table.estimate, float))
    np.testing.assert_array_equal(found.error, same.error)
    whole = jc.GroupEstimates.from_method(sample, method, by="group", splits=2, key=0)
    np.testing.assert_array_equal(whole.value, found.value)
    assert whole.halves.shape == (2, 2, 3)
    chosen = jc.allocate(effects, jc.TopK(1), by="group")
    assert chosen.chosen.argmax() == np.argmax(found.value)


def test_hoeffding_s_width_and_its_coverage():
    rng = np.random.default_rng(3)
    group, t = np.arange(400) % 4, np.arange(400) // 4 % 2 == 0
    missed = 0
    for _ in range(200):
        y = (rng.random(400) < 0.5 + 0.1 * t).astype(float)
        made = jc.GroupEstimates.from_trial(jc.Sample(group[:, None], t, y), by=group)
        wide = made.hoeffding(1.0, delta=0.2)
        missed += bool((np.abs(made.value - 0.1) > wide).any())
    assert missed <= 40
    assert wide[0] == pytest.approx(np.sqrt(np.log(8 / 0.2) * (2 / 50) / 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jc.allocate(trial(), jc.TopK(1)), "by= is missing"),
        (lambda: jc.GroupEstimates.from_trial(trial(n=12), by="group"), "takes two in each arm"),
        (
            lambda: jc.GroupEstimates.from_trial(trial().take(np.arange(9)), by="group"),
            "takes two in each arm",
        ),
        (lambda: jc.GroupEstimates.from_trial(trial(), by="nobody"), "nobody"),
        (lambda: jc.GroupEstimates.from_trial(trial(), by="group", splits=0), "splits is 0"),
        (lambda: jc.GroupEstimates([0.1, 0.2]).hoeffding(1.0), "no counts by arm"),
        (lambda: jc.GroupEstimates([0.1, 0.2]).thinned(key=0), "no errors to draw halves"),
        (
            lambda: jc.GroupEstimates.from_trial(trial(), by="group").hoeffding(0.0),
            "width is 0",
        ),
        (
            lambda: jc.GroupEstimates.from_trial(trial(), by="group").hoeffding(0.1),
            "estimates exceed 0.1",
        ),
    ],
)
def test_bad_estimates(call, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call()
