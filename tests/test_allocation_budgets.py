"""What coarse estimates prove of counts, and budgets that give way, beside enumeration."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import allocation as oracle

import jcausal as jc

SEEDS = st.integers(0, 10_000)
CLOSE = 1e-9


def coarse(seed, m=30, rho=None):
    """Effects, estimates within rho of them, and rho."""
    rng = np.random.default_rng(seed)
    tau = rng.uniform(size=m) if seed % 2 else rng.choice([0.3, 0.5, 0.52, 0.8], m)
    tau = np.clip(tau + 0.01 * rng.normal(size=m), 0, 1)
    rho = rng.uniform(0.02, 0.2) if rho is None else rho
    return tau, tau + rng.uniform(-rho, rho, m), rho


@given(SEEDS)
def test_counts_and_distribution_functions_lie_within_their_bounds(seed):
    """Claims 3.13 and 3.14, for intervals of any place and length."""
    tau, estimates, rho = coarse(seed)
    rng = np.random.default_rng(seed + 1)
    low, high = np.sort(rng.uniform(-0.1, 1.1, (2, 50)), axis=0)
    for first in (low, np.full(50, -np.inf)):
        true = ((tau >= first[:, None]) & (tau <= high[:, None])).sum(1)
        bounds = jc.allocation.count_bounds(estimates, first, high, rho=rho)
        assert (bounds.least <= true).all() and (true <= bounds.most).all()
    one = jc.allocation.count_bounds(estimates, float(low[0]), float(high[0]), rho=rho)
    assert one.most == ((estimates >= low[0] - rho) & (estimates <= high[0] + rho)).sum()
    assert (np.asarray(jc.allocation.count_bounds(estimates, high, low, rho=rho).least) >= 0).all()


@given(SEEDS)
def test_mass_at_the_threshold_is_not_below_the_true_one(seed):
    tau, estimates, rho = coarse(seed)
    ordered = np.sort(tau)[::-1]
    found = jc.allocation.threshold_mass(estimates, budget=np.arange(1, 31), rho=rho)
    for k in range(1, 31):
        low = ordered[k - 1]
        assert ((tau >= low) & (tau <= low + 2 * rho)).sum() <= found.most[k - 1]
        at = np.sort(estimates)[::-1][k - 1]
        inside = ((estimates >= at) & (estimates <= at + 2 * rho)).sum()
        assert found.inside[k - 1] == inside
        one = jc.allocation.threshold_mass(estimates, budget=k, rho=rho)
        assert one.heavy == (inside > 1.6 * 2 * rho * 30) == bool(found.heavy[k - 1])


@given(SEEDS)
def test_what_is_proven_is_the_worst_corner_and_no_truth_is_below(seed):
    tau, estimates, rho = coarse(seed, m=8)
    order = np.argsort(-estimates, kind="stable")
    for budget in (1, 3, 6, 8):
        kept = jc.allocation.rebudget(
            estimates, jc.allocation.Accept(), budget=budget, rho=rho, eps=0.1
        )
        expected = oracle.worst_of_box(estimates, budget, budget, rho)
        assert kept.ratio == pytest.approx(expected, abs=1e-12)
        true = tau[order[:budget]].sum() / np.sort(tau)[::-1][:budget].sum()
        assert kept.ratio <= true + CLOSE
        assert 1 - kept.eps * kept.claimed <= kept.ratio + CLOSE
        assert kept.kappa == pytest.approx((1 - kept.ratio) / 0.1)
        more = jc.allocation.rebudget(
            estimates, jc.allocation.Overspend(), budget=budget, rho=rho, eps=0.1
        )
        worst = [oracle.worst_of_box(estimates, c, budget, rho) for c in range(budget, 9)]
        enough = [budget + i for i, ratio in enumerate(worst) if ratio >= 0.9]
        assert more.budget == min(enough) and more.found
        assert more.ratio == pytest.approx(worst[more.budget - budget], abs=1e-12)
        best = np.sort(tau)[::-1][:budget].sum()
        assert tau[order[: more.budget]].sum() >= 0.9 * best - CLOSE


@given(SEEDS)
def test_sliding_takes_the_nearest_budget_that_passes(seed):
    tau, estimates, rho = coarse(seed, rho=0.03 + 0.01 * (seed % 4))
    order, eps = np.argsort(-estimates, kind="stable"), 0.05
    proven = {
        k: jc.allocation.rebudget(estimates, jc.allocation.Accept(), budget=k, rho=rho, eps=eps)
        for k in range(1, 31)
    }
    fine = dict(
        certified=[k for k in proven if proven[k].ratio >= 1 - eps],
        claim=[k for k in proven if proven[k].claimed <= 1 + CLOSE],
        heavy=[
            k
            for k in proven
            if not jc.allocation.threshold_mass(estimates, budget=k, rho=rho).heavy
        ],
    )
    assert set(fine["claim"]) <= set(fine["certified"])
    for k in fine["certified"]:
        kept = tau[order[:k]].sum() / np.sort(tau)[::-1][:k].sum()
        assert kept >= 1 - eps - CLOSE
    for test, budgets in fine.items():
        for under in (False, True):
            for asked in (4, 15, 27):
                allowed = [k for k in budgets if k <= asked or not under]
                method = jc.allocation.Slide(under=under, test=test)
                found = jc.allocation.rebudget(estimates, method, budget=asked, rho=rho, eps=eps)
                assert found.found == bool(allowed)
                nearest = min(allowed, key=lambda k: (abs(k - asked), k), default=asked)
                assert found.budget == nearest == found.against
                assert f"{nearest}" in found.summary()


def test_reach_and_most_end_the_search():
    tau = np.where(np.arange(40) < 20, 0.55, 0.45)
    asked = dict(budget=10, rho=0.05, eps=0.01)
    far = jc.allocation.rebudget(tau, jc.allocation.Slide(), **asked)
    assert far.found and far.budget == 20
    near = jc.allocation.rebudget(tau, jc.allocation.Slide(reach=3), **asked)
    assert not near.found and near.budget == 10 and "No budget near 10" in near.words
    few = jc.allocation.rebudget(tau, jc.allocation.Overspend(most=1), **asked)
    assert not few.found and few.budget == 10 and "Not even 1 groups" in few.words
    none = jc.allocation.rebudget(
        [0.9, 0.1], jc.allocation.Overspend(), budget=1, rho=0.01, eps=0.05
    )
    assert none.found and none.budget == 1 and none.claimed == 0
    assert (
        jc.allocation.rebudget(
            [0.1, 0.1, 0.1], jc.allocation.Overspend(), **asked | dict(budget=1)
        ).claimed
        == np.inf
    )


def test_two_spikes_defeat_every_budget_and_three_eps_more_are_enough():
    """Half of the effects at 1/2 - 2 eps, half at 1/2 + 2 eps, and errors that hide which."""
    m, eps, rho = 20_000, 0.01, 0.05
    rng = np.random.default_rng(4)
    tau = np.where(np.arange(m) < m // 2, 0.5 - 2 * eps, 0.5 + 2 * eps)
    estimates = 0.5 + rng.uniform(-1, 1, m) * (rho - 2 * eps)
    assert np.abs(estimates - tau).max() <= rho
    value = np.cumsum(tau[np.argsort(-estimates)])
    best = np.cumsum(np.sort(tau)[::-1])
    budgets = np.arange(200, int(0.75 * m), 199)
    assert (value[budgets - 1] < (1 - eps) * best[budgets - 1]).all()
    some = budgets[budgets >= 0.2 * m]  # chance moves a value by less than .2 eps from here on
    more = np.array([ceil(k * (1 + 3 * eps)) for k in some])
    assert (value[more - 1] >= (1 - 1.2 * eps) * best[some - 1]).all()
    small = m // 2
    accepted = jc.allocation.rebudget(
        estimates, jc.allocation.Accept(kappa=4.0), budget=small, rho=rho, eps=eps
    )
    assert not accepted.found and "more may be lost" in accepted.summary()
    # errors may be worse than at random: up to the whole 8 eps between the spikes
    worst = jc.allocation.guarantee(tau, budget=small, rho=rho)
    assert 1 - worst.worst_ratio == pytest.approx(8 * eps, abs=1e-2)


def test_wrong_budgets_are_refused(unchecked):
    t = [0.9, 0.5, 0.4]
    asked = dict(budget=1, rho=0.05, eps=0.1)
    for change, words in (
        (dict(budget=0), "budget is 0 of 3"),
        (dict(budget=4), "budget is 4 of 3"),
        (dict(rho=0.0), "rho is 0"),
        (dict(rho=float("nan")), "rho is nan"),
        (dict(eps=1.0), "eps is 1"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.allocation.rebudget(t, jc.allocation.Slide(), **asked | change)
    with pytest.raises(jc.DataError, match=r"NaN or infinite in 1 of 3 groups \(row 2\)"):
        jc.allocation.rebudget([0.9, 0.5, float("nan")], jc.allocation.Accept(), **asked)
    with pytest.raises(jc.DataError, match="by more than rho = 0.05 in 1 of 2 groups"):
        jc.allocation.rebudget([1.2, 0.5], jc.allocation.Accept(), **asked)
    for make, words in (
        (lambda: jc.allocation.Slide(test="safe"), "test is 'safe'"),
        (lambda: jc.allocation.Slide(reach=-1), "reach is -1"),
        (lambda: jc.allocation.Overspend(most=-1), "most is -1"),
        (lambda: jc.allocation.Accept(kappa=0.0), "kappa is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="rho is -1"):
        jc.allocation.count_bounds(t, 0.0, 1.0, rho=-1.0)
    with pytest.raises(ValueError, match="budget is 4"):
        jc.allocation.threshold_mass(t, budget=np.array([1, 4]), rho=0.1)
