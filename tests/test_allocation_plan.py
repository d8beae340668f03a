"""LEA's sample sizes, gamma, regularity and the claims, beside enumeration and worked examples."""

from math import exp, log, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import allocation as oracle

import jcausal as jc

SEEDS = st.integers(0, 10_000)
TRACED_REGULARITY = jax.jit(lambda tau, rho: jc.allocation.regularity(tau, rho=rho))
TRACED_SWAP = jax.jit(
    lambda tau, k, rho: jc.allocation.guarantee(tau, budget=k, rho=rho).swap_ratio
)


@pytest.mark.parametrize(
    ("effects", "budget", "mean_value", "c", "gamma"),
    [
        (jc.allocation.Beta(2.0, 2.0), 0.25, 0.1975, 1.5, 0.128),
        (jc.allocation.Beta(2.0, 2.0), 0.5, 0.3438, 1.5, 0.169),
        (jc.allocation.Beta(2.0, 2.0), 0.75, 0.4475, 1.5, 0.193),
        (jc.allocation.Beta(3.0, 3.0), 0.25, 0.1860, 1.875, 0.111),
        (jc.allocation.Beta(3.0, 3.0), 0.5, 0.3281, 1.875, 0.148),
        (jc.allocation.Beta(3.0, 3.0), 0.75, 0.4360, 1.875, 0.170),
        (jc.allocation.Beta(2.0, 4.0), 0.25, 0.1444, 2.109, 0.092),
        (jc.allocation.Beta(2.0, 4.0), 0.5, 0.2394, 2.109, 0.119),
        (jc.allocation.Beta(2.0, 4.0), 0.75, 0.3029, 2.109, 0.134),
        (jc.allocation.TruncatedNormal(0.5, 0.15), 0.5, 0.3097, 2.662, 0.121),
        (jc.allocation.TruncatedNormal(0.3, 0.2), 0.75, 0.2994, 2.138, 0.132),
        (jc.allocation.TruncatedNormal(0.7, 0.1), 0.25, 0.2064, 3.995, 0.080),
    ],
)
def test_worked_examples_of_gamma(effects, budget, mean_value, c, gamma):
    found = jc.allocation.TheoremGamma.of(effects, budget=budget)
    assert found.mean_value == pytest.approx(mean_value, abs=6e-5)
    assert found.c == pytest.approx(c, abs=6e-4)
    assert found.gamma == pytest.approx(gamma, abs=6e-4)


@pytest.mark.parametrize("budget", [0.2, 0.5, 0.9])
def test_gamma_of_the_uniform_is_the_corrected_formula(budget):
    threshold = 1 - budget
    found = jc.allocation.TheoremGamma.of(jc.allocation.Beta(), budget=budget)
    assert found.gamma == pytest.approx(sqrt((1 - threshold**2) / 16), rel=1e-9)


@pytest.mark.extended
def test_gamma_with_eps_solves_the_theorem():
    """8 c(rho) rho^2 = mean_value eps, and c(rho) of intervals of 2 rho is below the density's."""
    for effects, budget in ((jc.allocation.Beta(2.0, 2.0), 0.5), (np.linspace(0.1, 0.9, 40), 12)):
        found = jc.allocation.TheoremGamma.of(effects, budget=budget, eps=0.1)
        rho = found.gamma * sqrt(0.1)
        assert 8 * jc.allocation.regularity(effects, rho=rho) * rho**2 == pytest.approx(
            found.mean_value * 0.1, rel=1e-6
        )
    assert jc.allocation.TheoremGamma.of(jc.allocation.Beta(2.0, 2.0), budget=0.5, eps=0.1).c < 1.5


def hoeffding(treated, controls, rho):
    """The bound on P(|difference of means - effect| >= rho) for outcomes in [0, 1]."""
    return 2 * exp(-2 * rho**2 / (1 / treated + 1 / controls))


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_samples_are_as_many_as_hoeffding_needs(share):
    lea = jc.LEA(eps=0.05, delta=0.1, gamma=0.3)
    plan = lea.plan(40, treated_share=share)
    coarse, full = plan.coarse, plan.full
    assert lea.rho == pytest.approx(0.3 * sqrt(0.05)) == coarse.accuracy
    for need, rho in ((coarse, lea.rho), (full, 0.05)):
        assert 2 * exp(-2 * need.oracle * rho**2) <= 0.1 / 40
        assert 2 * exp(-2 * (need.oracle - 1) * rho**2) > 0.1 / 40
        assert hoeffding(need.treated, need.controls, rho) <= 0.1 / 40
        assert hoeffding(need.treated - 1, need.controls - 1, rho) > 0.1 / 40
        assert need.treated / need.trial == pytest.approx(share, abs=2 / need.trial)
    assert coarse.oracle_total == 40 * coarse.oracle
    assert coarse.trial_total == 40 * (coarse.treated + coarse.controls)
    assert plan.saving == pytest.approx(full.oracle / coarse.oracle, rel=0.01)


def test_units_of_the_trial_follow_the_outcomes_scale():
    lea = jc.LEA(eps=0.1)
    plain = lea.plan(30)
    wide = lea.plan(30, outcome_bounds=(0, 100), effect_range=100.0)
    narrow = lea.plan(30, outcome_bounds=(0, 100), effect_range=25.0)
    assert wide.coarse == plain.coarse
    assert narrow.coarse.treated == pytest.approx(16 * plain.coarse.treated, rel=0.01)
    assert narrow.coarse.oracle == plain.coarse.oracle


def test_figure_3_names_half_of_what_algorithm_1_asks():
    plan = jc.LEA(eps=0.02).plan(78)
    assert plan.in_figure3 == pytest.approx(78 * log(2 * 78 / 0.05) / 0.02)
    assert plan.coarse.oracle_total == pytest.approx(2 * plan.in_figure3, rel=1e-3)
    scripts = jc.LEA(eps=0.02, delta_split="none").plan(78).coarse.oracle
    assert scripts == int(np.ceil(2 * log(40) / 0.02))


def test_words_of_a_plan():
    theorem = jc.allocation.TheoremGamma(mean_value=0.3, c=1.5)
    plan = jc.LEA(eps=0.05, gamma=theorem).plan(78)
    assert "by the theorem, V*/M = 0.3 and c = 1.5" in plan.summary()
    assert "coarse estimates save nothing" in plan.summary()
    assert "times as many" in jc.LEA(eps=0.05).plan(78).summary()
    assert list(plan.to_frame()["oracle_total"]) == [
        plan.coarse.oracle_total,
        plan.full.oracle_total,
    ]
    assert "guarantees nothing" in jc.LEA(eps=0.1, delta_split="none").plan(5).summary()


def test_wrong_plans_are_refused(unchecked):
    for options in (dict(eps=0.0), dict(eps=1.0), dict(eps=float("nan"))):
        with pytest.raises(ValueError, match="eps is .*(between 0 and 1|finite)"):
            jc.LEA(**options)
    with pytest.raises(ValueError, match="delta is 1"):
        jc.LEA(eps=0.1, delta=1)
    for gamma in (0.0, -1.0, "theorem", float("inf")):
        with pytest.raises(ValueError, match="gamma is"):
            jc.LEA(eps=0.1, gamma=gamma)
    with pytest.raises(ValueError, match="delta_split is 'half'"):
        jc.LEA(eps=0.1, delta_split="half")
    lea = jc.LEA(eps=0.1)
    for bounds in ((0, float("inf")), (1, 1), (float("nan"), 1)):
        with pytest.raises(ValueError, match="smallest and the largest outcome"):
            lea.plan(3, outcome_bounds=bounds)
    with pytest.raises(ValueError, match="groups is 0"):
        lea.plan(0)
    with pytest.raises(ValueError, match="effect_range is 0"):
        lea.plan(3, effect_range=0.0)
    with pytest.raises(ValueError, match="treated_share is 1"):
        lea.plan(3, treated_share=1.0)
    with pytest.raises(ValueError, match="accuracy is 0"):
        lea.plan(3).need(0.0)


@pytest.mark.x64
@given(SEEDS)
def test_regularity_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    shapes = rng.uniform(size=24), rng.beta(0.3, 0.3, 24), np.round(rng.uniform(size=24), 1)
    rho = rng.uniform(0.01, 0.4)
    for values in shapes:
        expected = oracle.regularity(values, rho)
        assert jc.allocation.regularity(values, rho=rho) == pytest.approx(expected, rel=1e-12)
        traced = TRACED_REGULARITY(jnp.asarray(values), jnp.asarray(rho))
        assert float(traced) == pytest.approx(expected, rel=0.03)  # float32 may move an end


@pytest.mark.parametrize(
    "effects",
    [
        jc.allocation.Beta(2.0, 5.0),
        jc.allocation.Beta(0.5, 0.5),
        jc.allocation.Beta(0.4, 0.9),
        jc.allocation.Beta(0.5, 3.0),
        jc.allocation.Beta(1.0, 3.0),
        jc.allocation.Beta(),
        jc.allocation.TruncatedNormal(0.9, 0.3),
    ],
    ids=str,
)
def test_regularity_of_distributions_is_that_of_all_windows(effects):
    ends = np.linspace(0, 1, 401)
    mass = effects.cdf_at(ends)
    for rho in (0.05, 0.2):
        first = round(2 * rho * 400)
        best = max(((mass[gap:] - mass[:-gap]) / ends[gap]).max() for gap in range(first, 401))
        found = jc.allocation.regularity(effects, rho=rho)
        assert best * (1 - 1e-12) <= found <= best * 1.001
    assert mass[0] == 0 and mass[-1] == pytest.approx(1)
    middle = effects.quantile(0.3)
    assert effects.cdf(middle) == pytest.approx(0.3, abs=1e-9)
    grid = (np.arange(200_000) + 0.5) / 200_000
    some = np.array([effects.density(float(t)) for t in grid[500:199_500:1000]])
    assert (some >= 0).all()
    low, high = 0.2, 0.7
    weights = np.diff(effects.cdf_at(np.linspace(low, high, 20_001)))
    mean = (weights * (np.linspace(low, high, 20_001)[1:] - (high - low) / 40_000)).sum()
    assert effects.mean_between(low, high) == pytest.approx(mean, rel=1e-6)


def test_wrong_distributions_and_effects_are_refused(unchecked):
    for make in (
        lambda: jc.allocation.Beta(0.0, 1.0),
        lambda: jc.allocation.TruncatedNormal(0.5, 0.0),
    ):
        with pytest.raises(ValueError, match="positive number"):
            make()
    with pytest.raises(ValueError, match="almost no mass"):
        jc.allocation.TruncatedNormal(50.0, 1.0)
    with pytest.raises(ValueError, match="no largest value"):
        jc.allocation.TheoremGamma.of(jc.allocation.Beta(0.5, 0.5), budget=0.5)
    with pytest.raises(ValueError, match="give eps"):
        jc.allocation.TheoremGamma.of([0.1, 0.2], budget=1)
    with pytest.raises(jc.DataError, match=r"NaN or infinite in 1 of 2 groups \(row 1\)"):
        jc.allocation.regularity([0.1, np.nan], rho=0.1)
    with pytest.raises(jc.DataError, match=r"outside \[0, 1\] in 1 of 2 groups \(row 0\)"):
        jc.allocation.regularity([3.0, 0.1], rho=0.1)
    with pytest.raises(ValueError, match="rho is 0"):
        jc.allocation.regularity([0.3, 0.1], rho=0.0)
    for budget in (0, 3, 1.5):
        with pytest.raises(ValueError, match="budget is"):
            jc.allocation.guarantee([0.3, 0.1], budget=budget, rho=0.1)
    with pytest.raises(ValueError, match="the best effects are 0"):
        jc.allocation.guarantee([0.0, 0.0], budget=1, rho=0.1)


@pytest.mark.x64
@given(SEEDS)
def test_the_worst_case_is_that_of_all_choices_and_the_claims_lie_below(seed):
    rng = np.random.default_rng(seed)
    tau, k, rho = rng.uniform(size=9), int(rng.integers(1, 10)), rng.uniform(0.01, 0.25)
    found = jc.allocation.guarantee(tau, budget=k, rho=rho)
    assert found.worst_ratio == pytest.approx(oracle.worst_ratio(tau, k, rho), abs=1e-12)
    assert found.worst_ratio >= found.swap_ratio - 1e-12
    assert found.swap_ratio >= found.ratio - 1e-12
    assert found.ratio >= found.plain_ratio - 1e-12
    traced = TRACED_SWAP(*(jnp.asarray(a) for a in (tau, k, rho)))
    assert float(traced) == pytest.approx(found.swap_ratio, abs=1e-5)


def pushed(tau, k, rho, at):
    """Estimates that push the effects below `at` up and those of the best k down."""
    chosen = np.argsort(-tau, kind="stable")[:k]
    sign = np.ones(len(tau))
    sign[chosen] = -1
    far = np.abs(tau - at) > rho
    return np.where(far, tau, tau + sign * rho)


@pytest.mark.parametrize("k", [200, 600, 1500])
def test_uniform_effects_lose_a_quarter_of_what_the_paper_allows(k):
    """With rho = sqrt(eps (1 - tau_K^2) / 8) the worst loss is eps / 4, and errors attain it."""
    m, eps = 2000, 0.1
    tau = (np.arange(m) + 1) / m
    low = tau[m - k]
    rho = sqrt(eps * (1 - low**2) / 8)
    found = jc.allocation.guarantee(tau, budget=k, rho=rho)
    assert 1 - found.worst_ratio == pytest.approx(rho**2 / ((1 - low**2) / 2), abs=2e-3)
    assert 1 - found.worst_ratio == pytest.approx(eps / 4, abs=2e-3)
    best = np.sort(tau)[::-1][:k].sum()
    lost = []
    for at in low + rho * np.linspace(-1, 1, 41):
        estimates = pushed(tau, k, rho * (1 - 1e-9), at)
        assert np.abs(estimates - tau).max() <= rho
        lost.append(1 - tau[np.argsort(-estimates)[:k]].sum() / best)
    assert max(lost) <= 1 - found.worst_ratio + 1e-12
    assert max(lost) == pytest.approx(1 - found.worst_ratio, abs=2e-3)


@pytest.mark.extended
def test_the_swap_bound_is_four_times_the_worst_case_and_values_tend_to_their_distribution():
    tau = (np.arange(2000) + 1) / 2000
    one = jc.allocation.guarantee(tau, budget=600, rho=0.05)
    assert 1 - one.worst_ratio == pytest.approx(0.0099, abs=1e-4)
    assert 1 - one.swap_ratio == pytest.approx(0.0392, abs=3e-4)
    for effects in (
        jc.allocation.Beta(),
        jc.allocation.Beta(2.0, 3.0),
        jc.allocation.TruncatedNormal(0.6, 0.2),
    ):
        limit = jc.allocation.guarantee(effects, budget=0.3, rho=0.05)
        draws = effects.quantile_at((np.arange(1500) + 0.5) / 1500)
        many = jc.allocation.guarantee(draws, budget=450, rho=0.05)
        for name in ("ratio", "plain_ratio", "swap_ratio", "worst_ratio", "threshold", "near"):
            assert getattr(limit, name) == pytest.approx(getattr(many, name), abs=3e-3)


@given(SEEDS)
def test_lemma_5(seed):
    """The K-th estimate is near tau_K; clear effects are chosen, and clearly low ones are not."""
    rng = np.random.default_rng(seed)
    tau, k, rho = rng.uniform(size=30), int(rng.integers(1, 31)), rng.uniform(0.01, 0.2)
    estimates = tau + rng.choice([-rho, 0, rho], 30)
    order = np.argsort(-estimates)
    low = np.sort(tau)[::-1][k - 1]
    assert abs(estimates[order[k - 1]] - low) <= rho + 1e-12
    assert set(np.flatnonzero(tau > low + 2 * rho + 1e-12)) <= set(order[:k])
    assert not set(np.flatnonzero(tau < low - 2 * rho - 1e-12)) & set(order[:k])
    kept = tau[order[:k]].sum() / np.sort(tau)[::-1][:k].sum()
    assert kept >= jc.allocation.guarantee(tau, budget=k, rho=rho).worst_ratio - 1e-9


def test_conditions_name_what_holds():
    tau = np.linspace(0.05, 1, 40)
    found = jc.allocation.guarantee(tau, budget=12, rho=0.05)
    table = found.conditions(eps=0.03).set_index("claim")
    assert list(table.index) == ["3.2", "3.11", "4.1", "exact"]
    assert bool(table.loc["3.2", "holds"]) == (found.ratio >= 0.97)
    assert bool(table.loc["4.1", "holds"]) == (found.swap_ratio >= 0.97)
    assert bool(table.loc["exact", "holds"]) == (found.worst_ratio >= 0.97)
    assert table["holds"].nunique() == 2
    assert "claim 3.2 proves" in found.summary()
    assert jc.allocation.guarantee([0.9, 0.1], budget=1, rho=0.01).conditions(0.1)["holds"].all()
