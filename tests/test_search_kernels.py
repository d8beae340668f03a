"""The kernels of Exact AHB: branch and bound over boxes, and the nearest units of either arm."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcausal import kernels
from jcausal_kernels.box_bounds import judge
from jcausal_kernels.box_cells import LaneProblems, none
from jcausal_kernels.specs import PAIR_SPECS, SEARCH_SPECS


def draw_problems(spec, seed=0):
    """Cells around starts, with ties; the first cell of each problem is the start itself."""
    rng = np.random.default_rng(seed)
    away = rng.integers(-spec.heights, spec.heights + 1, (spec.n, spec.w, spec.c))
    away[0] = 0
    cost = rng.integers(-40, 60, (spec.n, spec.w))
    units = rng.integers(0, 2, (spec.n, spec.w, 2))
    arrays = (away, cost, units, np.arange(spec.w))
    return kernels.box_problems(*map(jnp.asarray, arrays))


def one_of(problems, k):
    """A problem by itself."""
    fields = [a[:, k : k + 1] for a in problems._replace(query=problems.query[None])]
    return kernels.BoxProblems(*fields)._replace(query=jnp.zeros(1, int))


def closed(problems, minimum, capacity=96, lanes=2, **options):
    """A search that has ended."""
    w = problems.query.shape[0]
    state = kernels.start_search(problems, w, capacity, lanes)
    state = kernels.box_search(problems, state, minimum, steps=10_000, **options)
    assert not state.size.any()
    return state


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("spec", SEARCH_SPECS)
def test_the_search_finds_the_least_of_all_boxes(spec):
    problems, minimum = draw_problems(spec), jnp.asarray(spec.minimum)
    state = closed(problems, minimum)
    for k in range(spec.w):
        one = one_of(problems, k)
        start = kernels.start_search(one, 1, 96, 2)
        options = dict(steps=1, implementation="reference")
        every = kernels.box_search(one, start, minimum, **options)
        assert int(state.best[k]) == int(every.best[0])
        if int(every.best[0]) == none(problems.cost.dtype):
            continue
        away, (down, up) = np.asarray(problems.away[:, k]), np.asarray(state.reach[k])
        held = ((away >= -down) & (away <= up)).all(1)
        assert np.asarray(problems.cost[:, k])[held].sum() == int(state.best[k])
        assert (np.asarray(problems.units[:, k])[held].sum(0) >= spec.minimum).all()


def between(inner, outer):
    """Every reach between two."""
    edges = [range(low, high + 1) for low, high in zip(inner.ravel(), outer.ravel())]
    return [np.reshape(reach, inner.shape) for reach in itertools.product(*edges)]


@pytest.mark.extended
def test_no_box_that_is_better_is_bounded_away_or_cut_off():
    """Every box of random nodes: docs/proofs/box_bounds.md, lemmas 1 to 3 and 7, theorem 1."""
    rng, (n, g, k, c) = np.random.default_rng(0), (14, 5, 16, 2)
    away, cost = rng.integers(-3, 4, (n, g, c)), rng.integers(-40, 60, (n, g))
    units, best, minimum = rng.integers(0, 2, (n, g, 2)), rng.integers(-60, 60, g), [2, 2]
    problems = kernels.box_problems(*map(jnp.asarray, (away, cost, units, np.arange(g))))
    lanes = LaneProblems(*(getattr(problems, name) for name in LaneProblems._fields))
    reaches = rng.integers(0, 4, (2, g, k, 2, c)).astype(np.int32)
    inner, outer = reaches.min(0), reaches.max(0)
    bound = np.full((g, k), -(2**30))
    nodes = kernels.BoxNodes(*map(jnp.asarray, (inner, outer, bound)))
    judged = jax.jit(judge)(lanes, nodes, jnp.asarray(best), jnp.asarray(minimum))
    mattered = 0
    for i, j in np.ndindex(g, k):
        costs = {}
        for reach in between(inner[i, j], outer[i, j]):
            held = ((away[:, i] >= -reach[0]) & (away[:, i] <= reach[1])).all(1)
            if (units[held, i].sum(0) >= minimum).all():
                costs[tuple(reach.ravel())] = cost[held, i].sum()
        least = min(costs.values(), default=None)
        if least is None or least >= best[i]:
            assert least is None or not judged.alive[i, j] or judged.nodes.bound[i, j] <= least
            continue
        mattered += 1
        assert judged.alive[i, j] and judged.nodes.bound[i, j] <= least
        tight, outside = (np.asarray(each[i, j]) for each in judged.nodes[:2])
        kept = {tuple(reach.ravel()) for reach in between(tight, outside)}
        assert any(costs[reach] == least for reach in kept & set(costs))
        if not judged.at[i, j]:
            assert judged.total[i, j] == least
    assert mattered > 10


def test_problems_that_share_a_query_share_its_best_box():
    spec = SEARCH_SPECS[2]
    problems, minimum = draw_problems(spec), jnp.asarray(spec.minimum)
    apart = np.asarray(closed(problems, minimum).best)
    together = closed(problems._replace(query=jnp.array([0, 0, 1, 1, 1])), minimum)
    assert together.best[:2].tolist() == [apart[:2].min(), apart[2:].min()]


@pytest.mark.extended
def test_rounds_batches_and_padding_change_nothing():
    spec = SEARCH_SPECS[2]
    problems, minimum = draw_problems(spec, 3), jnp.asarray(spec.minimum)
    whole = closed(problems, minimum)
    np.testing.assert_array_equal(closed(problems, minimum, lanes=1).best, whole.best)
    state = kernels.start_search(problems, spec.w, 96, 1)
    rounds = 0
    while state.size.any():
        state = kernels.box_search(problems, state, minimum, steps=1)
        rounds += 1
    assert rounds > 3
    np.testing.assert_array_equal(state.best, whole.best)
    wide = [jnp.pad(a, [(0, 5), *[(0, 0)] * (a.ndim - 1)]) for a in problems[:3]]
    padded = closed(kernels.box_problems(*wide, problems.query), minimum)
    np.testing.assert_array_equal(padded.best, whole.best)


def test_the_limit_puts_nodes_aside_and_slack_closes_early():
    spec = SEARCH_SPECS[2]
    problems, minimum = draw_problems(spec, 4), jnp.asarray([0, 0])
    whole = closed(problems, minimum)
    few = closed(problems, minimum, limit=1)
    assert (few.visited <= whole.visited).all()
    least = jnp.minimum(few.best, few.lost)
    assert (least <= whole.best).all()
    assert (few.lost < whole.best).any()
    near = closed(problems, minimum, tolerance=30)
    assert (near.best <= whole.best + 30).all()
    assert int(near.visited.sum()) < int(whole.visited.sum())


@pytest.mark.extended
def test_a_full_store_of_nodes_stops_the_search():
    rng = np.random.default_rng(1)
    away = jnp.asarray(rng.integers(-20, 21, (60, 1, 4)))
    cost = jnp.asarray(rng.integers(-40, 60, (60, 1)))
    units = jnp.ones((60, 1, 2), int)
    problems = kernels.box_problems(away, cost, units, jnp.zeros(1, int))
    state = kernels.start_search(problems, 1, 32, 1)
    state = kernels.box_search(problems, state, jnp.zeros(2, int), steps=10_000)
    assert 16 < int(state.size[0]) <= 32


def test_the_search_lowers_for_another_platform_and_refuses(unchecked):
    problems = draw_problems(SEARCH_SPECS[1])
    state, minimum = kernels.start_search(problems, 3, 96, 2), jnp.asarray([1, 1])

    def go(problems, state):
        return kernels.box_search(problems, state, minimum, steps=5)

    jax.jit(go).trace(problems, state).lower(lowering_platforms=("cuda",))
    with pytest.raises(ValueError, match="2 lanes need 64"):
        kernels.start_search(problems, 3, 63, 2)
    with pytest.raises(ValueError, match="use 'auto', 'reference' or 'xla'"):
        kernels.box_search(problems, state, minimum, steps=1, implementation="pallas")


@pytest.mark.x64
@pytest.mark.parametrize(
    "implementation", [pytest.param("reference", marks=pytest.mark.extended), "auto"]
)
@pytest.mark.parametrize("spec", PAIR_SPECS)
def test_prune_pairs_finds_the_nearest_of_either_arm(spec, implementation):
    rng = np.random.default_rng(spec.n)
    values = rng.integers(0, 9, (spec.n, spec.s)).astype(float)  # ties
    at = rng.integers(0, 9, (spec.q, spec.s)).astype(float)
    arm, member = rng.random(spec.n) < 0.4, rng.random(spec.n) < 0.9
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)
    arrays = map(jnp.asarray, (values, arm, member, at))
    rows, near = kernels.prune_pairs(*arrays, spec.d, **options)
    distance = np.abs(at[:, None] - values).sum(-1)
    for i in range(spec.q):
        for a in (0, 1):
            there = np.flatnonzero(member & (arm == a))
            best = there[np.argsort(distance[i, there], kind="stable")][: spec.d]
            missing = spec.d - best.size
            np.testing.assert_array_equal(rows[i, a], [*best, *[spec.n] * missing])
            expected = [*distance[i, best], *[np.inf] * missing]
            np.testing.assert_allclose(near[i, a], expected)


@pytest.mark.extended
def test_prune_pairs_leaves_out_what_is_no_number_and_refuses(unchecked):
    values = jnp.array([[0.0], [jnp.nan], [2.0], [jnp.inf]])
    arm, member = jnp.zeros(4, bool), jnp.ones(4, bool)
    rows, _ = kernels.prune_pairs(values, arm, member, jnp.array([[0.5], [jnp.nan]]), 3)
    assert rows[:, 0].tolist() == [[0, 2, 4], [4, 4, 4]]
    mapped = jax.vmap(lambda at: kernels.prune_pairs(values, arm, member, at, 3)[0])
    np.testing.assert_array_equal(mapped(jnp.array([[[0.5]], [[1.9]]]))[:, 0, 0, 0], [0, 2])
    with pytest.raises(ValueError, match="at least one unit an arm"):
        kernels.prune_pairs(values, arm, member, jnp.zeros((1, 1)), 0)
    with pytest.raises(ValueError, match="use 'auto', 'reference' or 'xla'"):
        kernels.prune_pairs(values, arm, member, jnp.zeros((1, 1)), 1, implementation="x")
