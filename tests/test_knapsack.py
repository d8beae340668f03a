"""Knapsacks, floors and caps beside every set of groups."""

from fractions import Fraction

import numpy as np
import pytest
from oracles.allocations import least_ratio, within

import jcausal as jc


@pytest.fixture(scope="module")
def pool():
    with jc.solvers.SolverPool(1) as solver:
        yield solver


def draw(seed, groups):
    """Estimates, half-widths, costs and three categories."""
    rng = np.random.default_rng(seed)
    whole = seed % 2 == 0
    cost = rng.integers(1, 9, groups).astype(float) if whole else rng.uniform(0.2, 3, groups)
    value = cost * rng.uniform(0.3, 1.2, groups)
    return value, 0.15 * cost * rng.uniform(0.2, 1, groups), cost, np.arange(groups) % 3


@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all_sets(seed, pool):
    """The choice, its guarantee and the fractional bound, M = 15."""
    value, rho, cost, _ = draw(seed, 15)
    budget = float(np.round(cost.sum() * (0.2 + 0.05 * seed), 3))
    found = jc.allocate(value, jc.Knapsack(budget, cost=cost, pool=pool), rho=rho)
    sets = within(cost, budget)
    assert found.value.naive == pytest.approx((sets @ value).max(), rel=1e-9)
    assert found.spend == pytest.approx(cost[found.chosen].sum()) and found.spend <= budget + 1e-9
    best = (sets @ found.worst).max()
    assert found.kept + found.lost == pytest.approx(best, rel=1e-7)
    assert found.kept + found.lost >= best * (1 - 1e-12)
    fraction = jc.Knapsack(budget, cost=cost).fractional(value)
    assert fraction >= found.value.naive - 1e-9
    quick = jc.allocate(value, jc.Knapsack(budget, cost=cost, exact=False), rho=rho)
    assert quick.value.naive >= 0.5 * found.value.naive
    assert quick.value.naive + quick.gap == pytest.approx(fraction, rel=1e-12)
    assert quick.spend <= budget + 1e-9
    assert quick.guaranteed_ratio <= least(quick, sets) + 1e-9


def least(found, sets):
    """V / V* at the worst effects of an allocation."""
    return found.worst[found.chosen].sum() / (sets @ found.worst).max()


def test_no_corner_is_worse(pool):
    for seed in range(4):
        value, rho, cost, category = draw(seed, 8)
        limits = dict(category=category, floor={1: 1}, cap={0: 1})
        knapsack = jc.Knapsack(0.5 * cost.sum(), cost=cost, pool=pool, **limits)
        found = jc.allocate(value, knapsack, rho=rho)
        sets = within(cost, 0.5 * cost.sum(), **limits)
        worst = least_ratio(found.chosen, sets, found.lower, found.upper)
        assert float(found.guaranteed_ratio) == pytest.approx(worst, abs=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_floors_and_caps(seed, pool):
    value, rho, cost, category = draw(seed, 12)
    limits = dict(category=category, floor={2: 2, 0: 1}, cap={1: 1, 0: 3})
    budget = 0.5 * cost.sum()
    for robust in (False, True):
        knapsack = jc.Knapsack(budget, cost=cost, robust=robust, pool=pool, **limits)
        found = jc.allocate(value, knapsack, rho=rho)
        sets, aim = within(cost, budget, **limits), value - rho if robust else value
        assert aim[found.chosen].sum() == pytest.approx((sets @ aim).max(), rel=1e-9)
        assert found.kept + found.lost == pytest.approx((sets @ found.worst).max(), rel=1e-7)
        assert any((found.chosen == one).all() for one in sets)
    whole, part = (sets @ value).max(), knapsack.fractional(value)
    assert whole - 1e-9 <= part <= jc.Knapsack(budget, cost=cost).fractional(value) + 1e-9


def test_unit_costs_are_the_largest(pool):
    value, rho, _, category = draw(1, 15)
    first = jc.allocate(value, jc.Knapsack(5.0, pool=pool), rho=rho)
    other = jc.allocate(value, jc.TopK(5), rho=rho)
    assert (first.chosen == other.chosen).all()
    assert float(first.guaranteed_ratio) == pytest.approx(float(other.guaranteed_ratio), abs=1e-8)
    each = jc.Knapsack(6.0, category=category, floor={0: 2, 1: 2, 2: 2}, pool=pool)
    fair = jc.allocate(value, each, rho=rho).chosen
    for c in range(3):  # with two of each it is the two largest of each
        top = np.argsort(-np.where(category == c, value, -1))[:2]
        assert fair[top].all()


def test_floors_take_what_is_worth_least(pool):
    value, category = np.array([1.0, 0.9, -0.4, -0.2]), list("aabb")
    limits = dict(category=category, floor={"b": 1}, pool=pool)
    with pytest.raises(jc.DataError, match="only_positive=False"):
        jc.allocate(value, jc.Knapsack(2.0, **limits), rho=0.1)
    found = jc.allocate(value, jc.Knapsack(2.0, only_positive=False, **limits), rho=0.1)
    assert found.chosen.tolist() == [True, False, False, True]
    assert "1 floors" in found.summary()
    made = jc.GroupEstimates([1.0, 0.9, 0.3, 0.2], std_error=[0.05] * 4)
    with pytest.raises(jc.DataError, match="in a half of the data"):
        jc.allocate(made, jc.Knapsack(2.0, **limits), rho=0.22, key=0)


def test_halves_are_solved_too(pool):
    value, rho, cost, _ = draw(2, 10)
    halves = np.random.default_rng(1).normal(value, 0.5, (2, 2, 10))
    made = jc.GroupEstimates(value, std_error=rho / 3, halves=halves)
    found = jc.allocate(made, jc.Knapsack(15.0, cost=cost, pool=pool), rho=rho)
    sets, total = within(cost, 15.0), 0.0
    for one, other in [(h[i], h[1 - i]) for h in halves for i in (0, 1)]:
        able = sets[:, one - np.sqrt(2) * rho <= 0].sum(1) == 0
        total += other[sets[able][np.argmax(sets[able] @ one)]].sum()
    assert found.value.split == pytest.approx(total / 4)


def test_a_set_that_costs_a_hair_too_much_is_not_taken(pool):
    """Less than HiGHS sees: two groups of 1 and 1 + 1e-10 on a budget of 2."""
    cost = np.array([1.0, 1 + 1e-10, 0.5])
    found = jc.allocate([1.0, 1.0, 0.1], jc.Knapsack(2.0, cost=cost, pool=pool), rho=0.01)
    paid = sum(Fraction(c) for c in cost[found.chosen])
    assert paid <= 2 and found.value.naive == pytest.approx(1.1)


def test_a_limit_leaves_a_set_and_its_gap():
    rng = np.random.default_rng(3)
    cost = rng.integers(1000, 2000, 60).astype(float)
    value = cost + rng.integers(0, 5, 60)
    with jc.solvers.SolverPool(1) as solver:
        knapsack = jc.Knapsack(31_111.0, cost=cost, node_limit=1, pool=solver)
        found = jc.allocate(value, knapsack, rho=5.0)
    assert found.spend <= 31_111 and found.gap >= 0
    assert found.value.naive + found.gap <= knapsack.fractional(value) + 1e-6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jc.Knapsack(0.0), "budget is 0"),
        (lambda: jc.Knapsack(1.0, cost=[1.0, -1.0]), "cost is -1 at 1 of 2 groups \\(row 1\\)"),
        (lambda: jc.Knapsack(1.0, cost=[1.0, np.nan]), "cost is nan"),
        (lambda: jc.Knapsack(1.0, cost=[[1.0]]), "cost has shape"),
        (lambda: jc.Knapsack(1.0, cap={"a": 1}), "give category="),
        (lambda: jc.Knapsack(1.0, category="ab"), "give one of them"),
        (lambda: jc.Knapsack(1.0, category=["a", "b"], cap={"c": 1}), "no category: they are 'a'"),
        (lambda: jc.Knapsack(1.0, category=["a", "b"], cap={"a": -1}), "whole number"),
        (lambda: jc.Knapsack(1.0, category=["a", "b"], floor={"a": 2}), "and it has 1 groups"),
        (
            lambda: jc.Knapsack(9.0, category=list("aa"), floor={"a": 2}, cap={"a": 1}),
            "above its cap",
        ),
        (
            lambda: jc.Knapsack(1.0, category=["a", "b"], cap={"a": 1}, exact=False),
            "take exact=True",
        ),
        (lambda: jc.Knapsack(1.0, exact=False, time_limit=1.0), "are for exact=True"),
        (lambda: jc.Knapsack(1.0, time_limit=0.0), "time_limit is 0"),
        (lambda: jc.Knapsack(1.0, node_limit=0), "node_limit is 0"),
        (lambda: jc.allocate([1.0], jc.Knapsack(1.0, cost=[2.0]), rho=0.1), "costs more than"),
        (lambda: jc.allocate([1.0], jc.Knapsack(1.0, cost=[1.0, 1.0]), rho=0.1), "2 entries for 1"),
    ],
)
def test_bad_input(call, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call()


def test_it_is_not_traced():
    import jax

    with pytest.raises(ValueError, match="allocate outside of jit"):
        jax.jit(lambda v: jc.allocate(jc.GroupEstimates(v), jc.Knapsack(1.0), rho=0.1).kept)(
            np.ones(3)
        )


@pytest.mark.parametrize(
    ("budget", "cost", "value", "best"),
    [
        (0.3, [0.1] * 3, [3.0, 2.0, 1.0], 6.0),
        (0.3, [0.1, 0.2], [1.0, 1.0], 2.0),
        (0.7, [0.1] * 7 + [5.0], [1.0] * 7 + [90.0], 7.0),
        (1e9 + 0.3, [1e9, 0.1, 0.1, 0.1], [5.0, 1.0, 1.0, 1.0], 8.0),
    ],
)
def test_rounding_of_sums_of_costs_loses_no_group(budget, cost, value, best):
    """.1 + .1 + .1 is more than .3 in floating point."""
    for exact in (False, True):
        knapsack = jc.Knapsack(budget, cost=cost, exact=exact)
        found = jc.allocate(value, knapsack, rho=0.0)
        assert np.asarray(value)[found.chosen].sum() == best, exact
    assert knapsack.fractional(np.array(value)) >= best


def test_a_group_beyond_the_budget_is_not_taken():
    found = jc.allocate([1.0] * 4, jc.Knapsack(0.3, cost=[0.1] * 4, exact=False), rho=0.0)
    assert found.chosen.tolist() == [True, True, True, False]
    found = jc.allocate([1.0, 2.0], jc.Knapsack(1.0, cost=[1.0, 1.0001], exact=False), rho=0.0)
    assert found.chosen.tolist() == [True, False]
