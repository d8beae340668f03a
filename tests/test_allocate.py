"""Allocations beside every set and every corner, and the guarantee on many random instances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.allocations import least_ratio, sets_of, sorted_pairs, top_ratio

import jcausal as jc

K = 12


def draw(seed, groups=K, low=0.0):
    """True effects, how far estimates may be off, and estimates within that."""
    rng = np.random.default_rng(seed)
    tau, rho = rng.uniform(low, 1, groups), rng.uniform(0.02, 0.25, groups)
    return tau, rho, tau + rho * rng.uniform(-1, 1, groups)


def many(exactly, bounds):
    """Allocations for rows of estimates, half-widths and budgets, in one call."""

    def one(value, rho, budget):
        method = jc.TopK(budget, at_most=not exactly)
        found = jc.allocate(jc.GroupEstimates(value), method, rho=rho, bounds=bounds)
        return found.chosen, found.guaranteed_ratio, found.paper_ratio, found.worst

    return jax.jit(jax.vmap(one))


@pytest.mark.x64
@pytest.mark.parametrize(
    ("exactly", "low"), [(True, 0.0), pytest.param(False, -0.6, marks=pytest.mark.extended)]
)
def test_the_guarantee_never_exceeds_the_truth_and_is_tight(exactly, low):
    """1e5 instances with errors anywhere within rho; equality where the worst case is true."""
    rng = np.random.default_rng(1)
    rows = 100_000
    tau, rho = rng.uniform(low, 1, (rows, K)), rng.uniform(0, 0.3, (rows, K))
    sign = rng.choice([-1.0, 1.0], (rows, K))
    error = np.where(rng.random((rows, 1)) < 0.5, rng.uniform(-1, 1, (rows, K)), sign)
    budget = rng.integers(1, K + 1, rows)
    bounds = (0.0, 1.0) if exactly else (None, None)
    with jax.enable_x64(True):
        found = many(exactly, bounds)(*map(jnp.asarray, (tau + rho * error, rho, budget)))
    chosen, sure, paper, worst = map(np.asarray, found)
    value, best = top_ratio(tau, chosen, budget, exactly)
    assert (sure * best <= value + 1e-12).all()
    said = ~np.isnan(paper)
    assert said.any() and (paper[said] * best[said] <= value[said] + 1e-12).all()
    assert (paper[said] <= sure[said] + 1e-12).all()
    value, best = top_ratio(worst, chosen, budget, exactly)
    assert np.abs(sure * best - value).max() < 1e-12
    assert 0.2 < np.mean(sure) < 0.95


@pytest.mark.x64
@pytest.mark.parametrize("at_most", [True, False])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.extended) for s in range(1, 5))]
)
def test_no_corner_is_worse_and_one_is_as_bad(seed, at_most):
    """Against every set of groups under every combination of lower and upper ends."""
    _, rho, value = draw(seed, groups=8)
    found = jc.allocate(value, jc.TopK(3, at_most=at_most), rho=rho, bounds=(0, 1))
    sets = sets_of(8, 3, exactly=not at_most)
    assert found.chosen.sum() == 3
    assert found.value.naive == pytest.approx((sets @ value).max(), abs=1e-12)
    least = least_ratio(found.chosen, sets, found.lower, found.upper)
    assert float(found.guaranteed_ratio) == pytest.approx(least, abs=1e-12)


def test_it_is_the_sum_over_sorted_pairs():
    for seed in range(20):
        _, rho, value = draw(seed, groups=30)
        found = jc.allocate(value, jc.TopK(9, at_most=False), rho=rho)
        kept, lost = sorted_pairs(value, rho, found.chosen)
        assert found.kept == pytest.approx(kept, abs=1e-12)
        assert found.lost == pytest.approx(lost, abs=1e-12)


def test_the_worst_errors_for_uniform_effects():
    """Effects i/M: swapping those within rho of the K-th loses rho^2 / ((1 - tau_K^2) / 2)."""
    groups, budget, rho = 2000, 600, 0.05
    tau = np.arange(1, groups + 1) / groups
    kth = tau[groups - budget]
    error = np.where((tau >= kth) & (tau < kth + rho), -rho, 0) + np.where(
        (tau < kth) & (tau >= kth - rho), rho, 0
    )
    found = jc.allocate(tau + error, jc.TopK(budget, at_most=False), rho=rho, bounds=(0, 1))
    best = np.sort(tau)[-budget:].sum()
    lost = 1 - tau[found.chosen].sum() / best
    assert lost == pytest.approx(rho**2 / ((1 - kth**2) / 2), rel=0.02)
    assert found.guaranteed_ratio <= 1 - lost
    for s in np.linspace(kth - rho, kth + rho, 41):  # no other level of swaps loses more
        error = np.where((tau >= kth) & (tau < s + rho), -rho, 0) + np.where(
            (tau < kth) & (tau >= s - rho), rho, 0
        )
        other = jc.allocate(tau + error, jc.TopK(budget, at_most=False), rho=rho).chosen
        assert 1 - tau[other].sum() / best <= lost + 2 / groups


instances = st.integers(0, 10_000)


@given(instances, st.integers(1, K))
def test_lemma_5(seed, budget):
    """Groups 2 rho above the K-th effect are chosen, none 2 rho below it."""
    rng = np.random.default_rng(seed)
    tau, rho = rng.uniform(0, 1, K), rng.uniform(0, 0.2)
    value = tau + rho * rng.choice([-1.0, 0.3, 1.0], K)
    chosen = jc.allocate(value, jc.TopK(budget, at_most=False), rho=rho).chosen
    kth = np.sort(tau)[-budget]
    assert abs(np.sort(value)[-budget] - kth) <= rho + 1e-12
    assert chosen[tau > kth + 2 * rho + 1e-12].all()
    assert not chosen[tau < kth - 2 * rho - 1e-12].any()


@given(instances, st.integers(1, K))
def test_claim_3_2(seed, budget):
    """V / V* >= 1 - 4 rho K0 / (V(A1) + (tau_K + 2 rho) K0)."""
    rng = np.random.default_rng(seed)
    tau, rho = rng.uniform(0, 1, K), rng.uniform(0.01, 0.2)
    value = tau + rho * rng.choice([-1.0, 0.3, 1.0], K)
    chosen = jc.allocate(value, jc.TopK(budget, at_most=False), rho=rho).chosen
    kth, best = np.sort(tau)[-budget], np.sort(tau)[-budget:].sum()
    far = tau > kth + 2 * rho
    near = budget - far.sum()
    bound = 1 - 4 * rho * near / (tau[far].sum() + (kth + 2 * rho) * near)
    assert tau[chosen].sum() / best >= bound - 1e-12


@given(instances)
def test_a_visible_gap_makes_it_sure(seed):
    rng = np.random.default_rng(seed)
    value = np.concatenate([rng.uniform(0.61, 1, 4), rng.uniform(0.2, 0.4, 5)])
    order = rng.permutation(9)
    found = jc.allocate(value[order], jc.TopK(4), rho=0.1)
    assert found.guaranteed_ratio == 1 and found.lost == 0 and not found.contested.any()
    wider = jc.allocate(value[order], jc.TopK(4), rho=0.21)
    assert wider.guaranteed_ratio < 1 and wider.contested.any()


def test_order_ties_and_scale():
    _, rho, value = draw(3)
    order = np.random.default_rng(0).permutation(K)
    first, other = (
        jc.allocate(v, jc.TopK(5), rho=r) for v, r in ((value, rho), (value[order], rho[order]))
    )
    assert (first.chosen[order] == other.chosen).all()
    assert first.guaranteed_ratio == pytest.approx(other.guaranteed_ratio, abs=1e-12)
    scaled = jc.allocate(8 * value, jc.TopK(5), rho=8 * rho)
    assert scaled.guaranteed_ratio == pytest.approx(first.guaranteed_ratio, abs=1e-12)
    shifted = jc.allocate(value + 1, jc.TopK(5), rho=rho)  # a ratio counts from 0
    assert shifted.lost == pytest.approx(first.lost, abs=1e-12)
    assert shifted.guaranteed_ratio > first.guaranteed_ratio
    tied = jc.allocate([0.5, 0.7, 0.5, 0.5], jc.TopK(2), rho=0.1)
    assert tied.chosen.tolist() == [True, True, False, False]


def test_at_most_spares_groups_that_may_be_harmed():
    value, rho = np.array([0.9, 0.3, -0.1, 0.05, -0.7]), 0.2
    found = jc.allocate(value, jc.TopK(4), rho=rho)
    assert found.chosen.tolist() == [True, True, False, False, False] and found.spend == 2
    assert found.lost == pytest.approx(0.25 + 0.1)  # the third and fourth may be worth that
    assert np.isnan(found.paper_ratio)
    forced = jc.allocate(value, jc.TopK(4, at_most=False), rho=rho)
    assert forced.chosen.sum() == 4
    harmless = jc.allocate(value[:4] + 0.1, jc.TopK(4), rho=rho, bounds=(0, None))
    assert harmless.chosen.tolist() == [True, True, False, True]
    nothing = jc.allocate([-1.0, 0.1], jc.TopK(1), rho=0.2)
    assert not nothing.chosen.any() and nothing.guaranteed_ratio == 0
    assert "nothing is chosen" in nothing.summary()
    hopeless = jc.allocate([-1.0, -2.0], jc.TopK(1), rho=0.2)
    assert hopeless.guaranteed_ratio == 1 and hopeless.lost == 0
    harm = jc.allocate([-1.0, 0.1, -0.9], jc.TopK(2, at_most=False), rho=0.2)
    assert harm.guaranteed_ratio == -np.inf and "no share" in harm.summary()


def test_robust_takes_the_largest_lower_ends():
    value, rho = np.array([1.0, 0.9, 0.8]), np.array([0.5, 0.1, 0.05])
    plain, robust = (jc.allocate(value, jc.TopK(1, robust=r), rho=rho) for r in (False, True))
    assert plain.chosen.tolist() == [True, False, False]
    assert robust.chosen.tolist() == [False, True, False]
    assert robust.kept == (value - rho).max()
    for seed in range(10):  # of all sets the one with the largest value in the worst case
        _, rho, value = draw(seed, groups=9)
        robust = jc.allocate(value, jc.TopK(4, robust=True, at_most=False), rho=rho)
        assert robust.kept == pytest.approx((sets_of(9, 4, True) @ (value - rho)).max())


@pytest.mark.extended
def test_values_without_the_winners_curse():
    """Over many worlds: naive too high, split right for choices by halves, shrunk right."""
    rng = np.random.default_rng(5)
    worlds, groups, budget, error = 4000, 20, 5, 0.5
    tau = rng.normal(1, 0.5, (worlds, groups))
    sides = tau[:, None] + np.sqrt(2) * error * rng.normal(size=(worlds, 2, groups))

    def one(halves):
        made = jc.GroupEstimates(
            halves.mean(0), std_error=jnp.full(groups, error), halves=halves[None]
        )
        found = jc.allocate(made, jc.TopK(budget, at_most=False))
        return found.chosen, found.value

    chosen, value = jax.jit(jax.vmap(one))(jnp.asarray(sides))
    truth = np.where(chosen, tau, 0).sum(1)
    tops = np.argsort(-sides, axis=2)[:, :, :budget]
    by_halves = np.take_along_axis(tau[:, None], tops, 2).sum(2).mean(1)

    def off(found, right):
        gap = np.asarray(found) - right
        return gap.mean() / (gap.std() / np.sqrt(worlds))

    assert off(value.naive, truth) > 20
    assert abs(off(value.split, by_halves)) < 4.5
    assert abs(np.mean(np.asarray(value.shrunk) - truth)) < 0.05 * np.mean(value.naive - truth)


def test_shrunk_value_and_reliability():
    """Posterior means and the share of variance, written out."""
    rng = np.random.default_rng(6)
    error = rng.uniform(0.1, 0.4, 30)
    value = rng.normal(1, 0.5, 30) + error * rng.normal(size=30)
    found = jc.allocate(jc.GroupEstimates(value, std_error=error), jc.TopK(6), key=3)
    between = value.var(ddof=1) - np.mean(error**2)
    mean = np.average(value, weights=1 / (between + error**2))
    posterior = (between * value + error**2 * mean) / (between + error**2)
    assert float(found.value.shrunk) == pytest.approx(posterior[found.chosen].sum())
    assert float(found.reliability) == pytest.approx(between / value.var(ddof=1))
    assert found.value.shrunk < found.value.naive and found.value.split < found.value.naive
    noise = jc.allocate(
        jc.GroupEstimates([1.0, 1.1, 0.9], std_error=[1.0, 1, 1]), jc.TopK(1), rho=0.5
    )
    assert noise.reliability == 0 and noise.value.shrunk == pytest.approx(1.0)
    exact = jc.allocate(jc.GroupEstimates([1.0, 3.0], std_error=[0.0, 0.0]), jc.TopK(1))
    assert exact.value.shrunk == 3 and exact.reliability == 1 and exact.guaranteed_ratio == 1


def test_rho_from_errors_holds_for_all_groups_at_once():
    """Quantiles beside SciPy's, and simultaneous coverage in 4,000 worlds."""
    stats = pytest.importorskip("scipy.stats", reason="SciPy's quantiles are the oracle")
    df = np.array([1.0, 2.9, 4.0, 17.2, 400.0, 1e9])
    made = jc.GroupEstimates(np.ones(6), std_error=np.full(6, 2.0), df=df)
    found = jc.allocate(made, jc.TopK(1), delta=0.1)
    whole = np.minimum(np.floor(df), 1000)
    assert found.rho == pytest.approx(2 * stats.t.isf(0.1 / 12, whole), rel=1e-9)
    plain = jc.allocate(
        jc.GroupEstimates(np.ones(6), std_error=np.full(6, 2.0)), jc.TopK(1), delta=0.1
    )
    assert plain.rho == pytest.approx(2 * stats.norm.isf(0.1 / 12), rel=1e-9)
    z = np.random.default_rng(0).normal(size=(4000, 6)) * 2
    missed = (np.abs(z) > plain.rho).any(1).mean()
    assert 0.07 < missed < 0.12


@pytest.mark.x64
def test_traced_as_concrete():
    """jit, vmap over budgets, grad beside differences, one trace, and NaN seen."""
    _, rho, value = draw(9)
    traces = []

    @jax.jit
    def ratio(value, budget):
        traces.append(None)
        found = jc.allocate(jc.GroupEstimates(value), jc.TopK(budget), rho=rho)
        return found.guaranteed_ratio, found.chosen

    with jax.enable_x64(True):
        x = jnp.asarray(value)
        sure, chosen = jax.vmap(ratio, (None, 0))(x, jnp.arange(1, K + 1))
        for k in range(1, K + 1):
            plain = jc.allocate(value, jc.TopK(k), rho=rho)
            assert (plain.chosen == chosen[k - 1]).all()
            assert float(sure[k - 1]) == pytest.approx(float(plain.guaranteed_ratio), abs=1e-12)
        ratio(x, 4), ratio(x + 1, 5)
        assert len(traces) == 2
        slope = jax.grad(lambda v: ratio(v, 4)[0])(x)
        steps = [
            (ratio(x.at[i].add(1e-6), 4)[0] - ratio(x.at[i].add(-1e-6), 4)[0]) / 2e-6
            for i in range(K)
        ]
        assert np.abs(np.asarray(steps) - slope).max() < 1e-6
        bad, none = ratio(x.at[3].set(jnp.nan), 4)
    assert np.isnan(bad) and not none.any()


def test_frame_and_summary():
    made = jc.GroupEstimates([0.9, 0.2, 0.6, 0.5], std_error=[0.05, 0.02, 0.04, 0.03], label="abcd")
    found = jc.allocate(made, jc.TopK(budget=2), key=0)
    frame = found.to_frame()
    assert list(frame["group"]) == list("abcd")
    assert frame["chosen"].tolist() == [True, False, True, False]
    assert frame["contested"].tolist() == [False, False, True, True]
    assert (frame["upper"] - frame["estimate"]).to_numpy() == pytest.approx(found.rho)
    assert frame.attrs["guaranteed_ratio"] == float(found.guaranteed_ratio)
    said = found.summary()
    for words in (
        "treated 2 of 4 groups (budget: at most 2 groups): 'a', 'c'",
        "value 1.5 naive (too high: chosen for it)",
        "split",
        "with probability 95%: at least 94.5% of the best value",
        "2 groups at the threshold decide it: 'c', 'd'",
        "reliability 0.98",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jc.TopK(0), "budget is 0: at least one"),
        (lambda: jc.TopK(2.5), "budget is 2.5: it must be a whole number"),
        (lambda: jc.allocate([0.1], jc.TopK(2), rho=0.1), "there are 1 groups"),
        (lambda: jc.allocate([0.1, np.nan], jc.TopK(1), rho=0.1), "value is NaN in group 1"),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1)), "give rho="),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1), rho=-1.0), "rho is -1 in group 0, 1"),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1), rho=np.ones(3)), "rho has shape"),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1), rho=0.1, delta=1.0), "delta is 1"),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1), rho=0.1, bounds=(1, 0)), "bounds are"),
        (lambda: jc.allocate([0.1, 2.2], jc.TopK(1), rho=0.1, bounds=(0, 1)), "more than rho"),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1), rho=0.1, by="a"), "by= is for effects"),
        (lambda: jc.allocate([0.1, 0.2], jc.TopK(1), rho=0.1, key=0), "no errors to draw halves"),
        (lambda: jc.GroupEstimates([[0.1]]), "one estimate a group"),
        (lambda: jc.GroupEstimates([0.1, 0.2], std_error=[0.1]), "std_error has shape"),
        (lambda: jc.GroupEstimates([0.1, 0.2], std_error=[0.1, -1]), "std_error is -1 in group 1"),
        (
            lambda: jc.GroupEstimates([0.1, 0.2], std_error=[np.inf, 1]),
            "std_error is inf in group 0",
        ),
        (lambda: jc.GroupEstimates([0.1, 0.2], df=[0, 1]), "df is 0 in group 0"),
        (lambda: jc.GroupEstimates([0.1, 0.2], label="aa"), "'a' stands for two groups"),
        (lambda: jc.GroupEstimates([0.1, 0.2], label="abc"), "3 labels for 2 groups"),
        (lambda: jc.GroupEstimates(["a", "b"]), "value holds text in 2 places, first 'a'"),
        (
            lambda: jc.GroupEstimates([0.1, 0.2], halves=np.array([[[0, 1], [0, np.nan]]])),
            "halves is NaN in group 1",
        ),
    ],
)
def test_bad_input(call, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call()


def test_bad_budget(unchecked):
    with pytest.raises(ValueError, match="int is no budget"):
        jc.allocate([0.1, 0.2], 1, rho=0.1)
