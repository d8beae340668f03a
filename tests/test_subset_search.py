"""The best subset of candidates: every subset on the device, and the same by integer programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.subsets import best_subset, draw_problem

import jcausal as jc
from jcausal import kernels
from jcausal.matching.trees._subset_program import SubsetObjective, measure, problem, solve_subsets
from jcausal_kernels.specs import NEAR_SPECS, SUBSET_SPECS

RANDOM = np.stack([draw_problem(seed, 6, 3) for seed in range(200)])
ONES = np.ones(RANDOM.shape[:2], bool)


def enumerated(d, weight, **options):
    """Who is chosen, in float64."""
    with jax.enable_x64(True):
        member = jnp.asarray(weight > 0)
        found = kernels.subset_search(jnp.asarray(d), member, weight=jnp.asarray(weight), **options)
        return np.asarray(found.chosen)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("implementation", ["reference", "auto"])
@pytest.mark.parametrize("spec", SUBSET_SPECS)
def test_the_subset_is_the_best_of_all(spec, implementation):
    rng = np.random.default_rng(spec.b)
    d = np.stack([draw_problem(seed, spec.k, spec.f) for seed in range(spec.b)])
    weight = rng.integers(1, 3, d.shape[:2]).astype(float)
    member = rng.random(d.shape[:2]) < 0.8
    member[0] = False
    arrays = (jnp.asarray(d), jnp.asarray(member))
    options = dict(alpha=spec.alpha, balance=spec.balance, max_bytes=spec.max_bytes)
    options |= dict(weight=jnp.asarray(weight), implementation=implementation)
    found = kernels.subset_search(*arrays, **options)
    for i in range(spec.b):
        s = np.where(member[i], weight[i], 0)
        chosen, a, b = best_subset(arrays[0][i], s, spec.balance, spec.alpha)
        assert np.flatnonzero(found.chosen[i]).tolist() == list(chosen)
        np.testing.assert_allclose([found.balance[i], found.reach[i]], [a, b], rtol=1e-4, atol=1e-6)


@pytest.mark.extended
@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize("balance", ["mean", "sum"])
def test_enumeration_brute_force_and_highs_agree(balance, alpha):
    weight = np.random.default_rng(0).integers(1, 4, ONES.shape).astype(float)
    weight[::2] = 1
    expected = np.zeros(ONES.shape, bool)
    for i, (d, s) in enumerate(zip(RANDOM, weight)):
        expected[i, list(best_subset(d / np.abs(d).max(), s, balance, alpha)[0])] = True
    found = enumerated(RANDOM, weight, balance=balance, alpha=alpha)
    np.testing.assert_array_equal(found, expected)
    problems = [problem(d, s, balance) for d, s in zip(RANDOM, weight)]
    with jc.solvers.SolverPool(1) as pool:
        solved = solve_subsets(problems, SubsetObjective(balance, alpha, 1e-5), pool)
    np.testing.assert_array_equal(solved, expected)


@pytest.mark.extended
def test_a_large_alpha_is_the_lexicographic_order():
    plain = enumerated(RANDOM, ONES * 1.0)
    np.testing.assert_array_equal(enumerated(RANDOM, ONES * 1.0, alpha=1e7), plain)
    few = [problem(d, np.ones(6), "mean") for d in RANDOM[:24]]
    with jc.solvers.SolverPool(1) as pool:
        solved = solve_subsets(few, SubsetObjective("mean", 1e4, 1e-5), pool)
    expected = enumerated(RANDOM, ONES * 1.0, alpha=1e4)[:24]
    np.testing.assert_array_equal(solved, expected)


@pytest.mark.extended
def test_programs_take_more_candidates_than_one_holds_in_order():
    d = np.stack([draw_problem(seed, 13, 2) for seed in range(4)])
    d[3, :11] = 0  # eleven exact matches: more than the order of one program
    expected = enumerated(d, np.ones(d.shape[:2]), balance="sum")
    with jc.solvers.SolverPool(1) as pool:
        rule = SubsetObjective("sum", None, 1e-5)
        solved = solve_subsets([problem(each, np.ones(13), "sum") for each in d], rule, pool)
    np.testing.assert_array_equal(solved, expected)
    assert expected[3].sum() == 11 + (d[3, 11:] == 0).all(1).sum()


def test_exact_matches_are_all_taken_and_equal_sets_settled_by_place():
    d = np.zeros((2, 6, 3))
    d[0, 4:] = 1
    d[1, :, 0] = [1, -1, 1, -1, 1, 1]  # pairs that cancel
    chosen = enumerated(d, np.ones((2, 6)))
    np.testing.assert_array_equal(chosen, [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]])
    apart = measure(problem(d[1], np.ones(6), "mean"), chosen[1], "mean")
    assert apart == (0, 1)


@pytest.mark.extended
def test_what_is_no_number_is_never_chosen_and_vmap_changes_nothing():
    d = jnp.asarray(RANDOM[:14], jnp.float32)
    member = jnp.ones(d.shape[:2], bool)
    spoiled = d.at[0, 2, 1].set(jnp.nan).at[1].set(jnp.inf)
    found = kernels.subset_search(spoiled, member)
    assert not found.chosen[0, 2] and found.chosen[0].any()
    assert not found.chosen[1].any() and np.isinf([found.balance[1], found.reach[1]]).all()
    without = kernels.subset_search(d, member.at[0, 2].set(False))
    np.testing.assert_array_equal(found.chosen[0], without.chosen[0])
    both = d.reshape(2, 7, *d.shape[1:])
    mapped = jax.vmap(kernels.subset_search)(both, member.reshape(2, 7, -1))
    plain = kernels.subset_search(d, member)
    np.testing.assert_array_equal(mapped.chosen.reshape(14, -1), plain.chosen)
    lowered = jax.jit(kernels.subset_search).trace(d, member)
    lowered.lower(lowering_platforms=("cuda",))


def test_options_that_are_none_are_refused(unchecked):
    d, member = jnp.zeros((1, 2, 1)), jnp.ones((1, 2), bool)
    for options, message in (
        (dict(balance="median"), "balance is 'median'"),
        (dict(implementation="pallas"), "use 'auto', 'reference' or 'xla'"),
        (dict(alpha=-1.0), "alpha is -1.0"),
        (dict(tolerance=-1.0), "tolerance is -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.subset_search(d, member, **options)
    with pytest.raises(ValueError, match="there are 21 candidates a query: use 1 to 20"):
        kernels.subset_search(jnp.zeros((1, 21, 1)), jnp.ones((1, 21), bool))


@pytest.mark.x64
@pytest.mark.parametrize(
    "implementation", [pytest.param("reference", marks=pytest.mark.extended), "auto"]
)
@pytest.mark.parametrize("spec", NEAR_SPECS)
def test_the_nearest_of_the_own_group(spec, implementation):
    rng = np.random.default_rng(spec.n)
    values = rng.integers(0, 4, (spec.n, spec.f)).astype(float)  # ties
    at = rng.integers(0, 4, (spec.q, spec.f)).astype(float)
    edges = np.sort(np.append(rng.integers(0, spec.n, spec.g), [0, spec.n]))
    group = rng.integers(0, spec.g + 1, spec.q)
    first, last = edges[group], edges[group + 1]
    arrays = map(jnp.asarray, (values, first, last, at))
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)
    rows, near = kernels.nearest_in_groups(*arrays, spec.k, **options)
    for i in range(spec.q):
        there = np.arange(first[i], last[i])
        distance = ((at[i] - values[there]) ** 2).sum(1)
        best = np.argsort(distance, kind="stable")[: spec.k]
        missing = spec.k - best.size
        np.testing.assert_array_equal(rows[i], [*there[best], *[spec.n] * missing])
        np.testing.assert_allclose(near[i], [*distance[best], *[np.inf] * missing])


def test_the_nearest_leave_out_what_is_no_number_and_refuse(unchecked):
    values = jnp.array([[0.0], [jnp.nan], [2.0], [jnp.inf]])
    first, last = jnp.zeros(2, int), jnp.full(2, 4)
    at = jnp.array([[1.5], [jnp.nan]])
    assert kernels.nearest_in_groups(values, first, last, at, 3)[0].tolist() == [[2, 0, 4], [4] * 3]
    none = kernels.nearest_in_groups(values, last, first, at, 2)[0]
    assert none.tolist() == [[4, 4], [4, 4]]
    mapped = jax.vmap(lambda x: kernels.nearest_in_groups(values, first, last, x, 1)[0])
    assert mapped(jnp.array([at, at - 1]))[:, 0, 0].tolist() == [2, 0]
    with pytest.raises(ValueError, match="at least one unit"):
        kernels.nearest_in_groups(values, first, last, at, 0)
    with pytest.raises(ValueError, match="use 'auto', 'reference' or 'xla'"):
        kernels.nearest_in_groups(values, first, last, at, 1, implementation="x")
