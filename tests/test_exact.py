"""Exact AHB beside every box there is, and its engines beside each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy
from oracles.exact_ahb import best_box

import jcausal as jc
from jcausal.matching.boxes.exact import _branch_and_bound
from jcausal.matching.boxes.exact._branch_and_bound import SearchLimits, search
from jcausal.matching.boxes.exact._integer_programs import (
    PlacesAround,
    big_m_program,
    ladder_program,
    objective,
)

ENGINES = ("device", "highs", "auto")
FREE = SearchLimits(10**9, None, 0.0)


def costs(sample, method, point):
    """What each unit adds to the objective of a box around a point, from the formula."""
    f = np.asarray(wavy(jnp.asarray(sample.x)), float)
    weight = np.asarray(sample.weight, float)
    weight = weight / weight[weight > 0].mean()
    share = weight / weight.sum()
    sd = np.sqrt(share @ (f - share @ f) ** 2 / (1 - share @ share))
    at = np.asarray(wavy(jnp.asarray(point, sample.x.dtype)[None]), float)[0]
    distance = np.abs(f - at) / sd @ np.array([method.gamma0, method.gamma1])
    return distance - method.beta, weight


def check_against_every_box(sample, method, boxes, categories=()):
    x, t = np.asarray(sample.points), np.asarray(sample.t)
    minimum = (method.min_controls, method.min_treated)
    for i, query in enumerate(np.asarray(boxes.query)):
        cost, weight = costs(sample, method, boxes.point[i])
        best = best_box(x, t, cost, boxes.point[i], categories, minimum, weight)
        assert bool(boxes.matched[i]) == (best is not None)
        if best is None:
            continue
        rows = boxes.group(i)[0]
        assert (cost * weight)[rows].sum() == pytest.approx(boxes.objective[i], abs=1e-4)
        assert boxes.proven[i]
        assert abs(boxes.objective[i] - best[0]) <= boxes.gap[i] + 2e-5  # float32 predictions
        assert query in rows or query < 0


@pytest.mark.x64
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.extended) for s in range(1, 4))]
)
def test_the_box_is_the_best_of_all_boxes(seed, engine):
    """Integers: twins, ties and shared edges; an arm that binds; a category."""
    sample = draw_sample(seed, n=12, p=2, integers=True, category=3 if seed % 2 else 0)
    for options in (dict(), dict(min_controls=5), dict(min_controls=3, min_treated=3, beta=0.3)):
        method = jc.ExactAHB(engine=engine, floor=0.0, **options)
        boxes = jc.match(sample, method, surface=jc.Function(wavy), estimand="ate")
        check_against_every_box(sample, method, boxes, (2,) if seed % 2 else ())


@pytest.mark.extended
def test_three_covariates_points_and_weights():
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 3, 11).astype(float)
    sample = draw_sample(9, n=11, p=3, weight=weight)
    method = jc.ExactAHB(floor=0.0, min_controls=2)
    at = np.concatenate([rng.normal(size=(4, 3)), np.asarray(sample.points)[:2]])
    boxes = jc.match(sample, method, surface=jc.Function(wavy), at=at)
    check_against_every_box(sample, method, boxes)


def random_problem(rng, n=14, c=2, spread=3):
    """Places around a start, with ties and twins, and the start itself among them."""
    away = rng.integers(-spread, spread + 1, (n, c))
    away[0] = 0
    count = np.eye(2, dtype=int)[rng.integers(0, 2, n)]
    return PlacesAround(away, rng.normal(0.3, 1, n), count, np.array([rng.integers(0, 4), 0]))


def solve(arounds, formulation):
    programs, decoders = zip(*(formulation(each) for each in arounds))
    with jc.solvers.SolverPool(2) as pool:
        solutions = pool.solve(programs)
    return [
        objective(each, decode(solution.values)) if solution.values is not None else None
        for each, decode, solution in zip(arounds, decoders, solutions)
    ]


@pytest.mark.extended
@pytest.mark.x64
def test_ladder_and_big_m_programs_and_the_search_agree():
    """300 random problems, of which some have no box that holds enough."""
    rng = np.random.default_rng(0)
    arounds = [random_problem(rng, c=1 + k % 3, n=6 + k % 9) for k in range(300)]
    possible = [each for each in arounds if each.units[:, 0].sum() >= each.minimum[0]]
    assert 0 < len(possible) < 300
    ladder, big_m = solve(arounds, ladder_program), solve(arounds, big_m_program)
    found = {}
    for c in (1, 2, 3):
        for m in range(4):
            alike = [
                k
                for k, each in enumerate(arounds)
                if ladder[k] is not None and each.away.shape[1] == c and each.minimum[0] == m
            ]
            for k, one in search([arounds[i] for i in alike], FREE):
                found[alike[k]] = one
    for k, each in enumerate(arounds):
        if each.units[:, 0].sum() < each.minimum[0]:
            assert ladder[k] is None
            assert big_m[k] is None
            continue
        assert ladder[k] == pytest.approx(big_m[k], abs=1e-9)
        assert found[k].ended == "optimal"
        slack = found[k].objective - found[k].bound
        assert abs(found[k].objective - ladder[k]) <= slack + 1e-9
        assert slack < (1e-9 if jnp.zeros(0).dtype == jnp.float64 else 1e-5)


@pytest.mark.extended
def test_all_binary_is_enumerated():
    """Eight binary covariates: a place is one of 256, and every unit's group must be the best."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2, (60, 8)).astype(float)
    sample = jc.Sample(x, np.arange(60) % 2 == 0)
    method = jc.ExactAHB(floor=0.0)
    boxes = jc.match(sample, method, surface=jc.Function(wavy))
    check_against_every_box(sample, method, boxes)


@pytest.mark.extended
def test_binary_boxes_are_exact_matches_on_what_matters():
    """Fast and exact boxes coincide, and hold the units alike in the two columns that matter."""
    rng = np.random.default_rng(6)
    x = rng.integers(0, 2, (80, 6)).astype(float)
    sample = jc.Sample(x, np.arange(80) % 2 == 0)
    steep = jc.Function(lambda x: jnp.stack([9 * x[:, 0] + 5 * x[:, 1], 7 * x[:, 0] + x[:, 1]], 1))
    exact = jc.match(sample, jc.ExactAHB(gamma0=9.0, gamma1=9.0), surface=steep)
    fast = jc.match(sample, jc.FastAHB(caliper=0.1), surface=steep)
    for i, query in enumerate(np.asarray(exact.query)):
        alike = np.flatnonzero((x[:, :2] == x[query, :2]).all(1))
        np.testing.assert_array_equal(exact.group(i)[0], alike)
        np.testing.assert_array_equal(fast.group(i)[0], alike)


@pytest.mark.extended
def test_limits_leave_a_valid_box_its_gap_and_how_it_ended():
    sample = draw_sample(11, n=60, p=5)
    whole = jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy))
    assert whole.proven.all()
    for engine in ("device", "highs"):
        few = jc.ExactAHB(engine=engine, max_nodes=1)
        boxes = jc.match(sample, few, surface=jc.Function(wavy))
        assert boxes.matched.all()
        assert (np.asarray(boxes.sizes) >= 1).all()
        left = ~boxes.proven
        assert left.any() or engine == "highs"
        assert set(boxes.describe_frame().search[left]) <= {"node limit"}
        assert (boxes.objective >= whole.objective - whole.gap).all()
        assert (boxes.proof.bound <= whole.objective + 1e-6).all()
        assert (boxes.gap >= 0).all()


@pytest.mark.extended
def test_a_time_limit_ends_with_what_is_known(monkeypatch):
    monkeypatch.setattr(_branch_and_bound, "ROUND", 1e-9)
    sample = draw_sample(11, n=150, p=5)
    method = jc.ExactAHB(engine="device", time_limit=1e-9)
    boxes = jc.match(sample, method, surface=jc.Function(wavy))
    late = boxes.describe_frame().search == "time limit"
    assert late.sum() > 10
    np.testing.assert_array_equal(late, ~boxes.proven)
    assert boxes.matched.all()
    assert (boxes.gap[late] > 0).all()


@pytest.mark.extended
def test_a_gap_is_kept():
    sample = draw_sample(12, n=120, p=4)
    best = jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy))
    near = jc.match(sample, jc.ExactAHB(gap=2.0, engine="device"), surface=jc.Function(wavy))
    assert near.proven.all()
    assert (near.objective <= best.objective + 2.0).all()
    assert (near.gap <= 2.001).all()
    assert near.proof.nodes.sum() < best.proof.nodes.sum()


@pytest.mark.extended
def test_bounds_hold_beside_a_gap_and_a_limit():
    """Nodes that the gap closed and nodes that the limit put aside: no best box is below either."""
    sample = draw_sample(12, n=120, p=4)
    best = jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy))
    for nodes in (3, 10, 40):
        for gap in (0.5, 2.0, 5.0):
            few = jc.ExactAHB(gap=gap, engine="device", max_nodes=nodes)
            boxes = jc.match(sample, few, surface=jc.Function(wavy))
            assert (boxes.proof.bound <= best.objective + 1e-9).all()
            assert (boxes.gap[boxes.proven] <= gap + 1e-3).all()


@pytest.mark.extended
def test_nodes_that_do_not_fit_on_the_device_wait_on_the_host(monkeypatch):
    sample = draw_sample(13, n=150, p=6)
    whole = jc.match(sample, jc.ExactAHB(engine="device"), surface=jc.Function(wavy))
    monkeypatch.setattr(_branch_and_bound, "WAITING", 800)
    tight = jc.match(sample, jc.ExactAHB(engine="device"), surface=jc.Function(wavy))
    np.testing.assert_allclose(tight.objective, whole.objective, atol=1e-3)
    assert tight.proven.all()


def test_too_few_controls_for_one_query_only():
    """Within .5 of the covariate one query has no control; the others have theirs."""
    x = np.array([0.0, 0.1, 0.2, 5.0, 9.0, 9.1])[:, None]
    t = np.array([True, False, False, True, False, True])
    sample = jc.Sample(x, t, names=["dose"])
    method = jc.ExactAHB(max_distance={"dose": 0.5})
    boxes = jc.match(sample, method, surface=jc.Function(wavy))
    assert boxes.matched.tolist() == [True, False, True]
    assert "too few controls" in boxes.unmatched().reason[0]
    assert np.isnan(boxes.objective[1])


@pytest.mark.extended
def test_candidates_prune_and_the_group_is_all_units_in_the_box():
    sample = draw_sample(14, n=200, p=2)
    free = jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy))
    every = jc.match(sample, jc.ExactAHB(candidates=200), surface=jc.Function(wavy))
    np.testing.assert_allclose(every.objective, free.objective, atol=1e-3)
    few = jc.match(sample, jc.ExactAHB(candidates=10), surface=jc.Function(wavy))
    assert (np.asarray(few.sizes).sum(1) > 20).any()
    assert (few.proof.left_out == 180).all()
    assert (free.proof.left_out == 0).all()
    within = jc.match(sample, jc.ExactAHB(max_distance=1.0), surface=jc.Function(wavy))
    assert (within.proof.left_out > 0).all()


@pytest.mark.extended
def test_the_summary_tells_what_is_proven_and_what_was_left_out(experiment):
    few = jc.ExactAHB(gamma1=0.0, candidates=30, max_nodes=50, engine="device", outcome=jc.Ridge())
    effects = jc.estimate(experiment, few, key=0)
    proven, all_of_them = int(effects.matching.proven.sum()), effects.matching.query.shape[0]
    assert 0 < proven < all_of_them
    words = effects.summary()
    assert f"boxes shown to be the best: {proven} of {all_of_them} (the others are within" in words
    assert "units were not looked at for each" in words
    fast = jc.estimate(experiment, jc.FastAHB(outcome=jc.Ridge()), key=0)
    assert "shown to be the best" not in fast.summary()
    with pytest.raises(ValueError, match="only jc.ExactAHB proves"):
        _ = fast.matching.gap


def test_it_does_not_run_under_tracing():
    def att(y):
        sample = jc.Sample(np.arange(8.0)[:, None], np.arange(8) % 2 == 0, y)
        method = jc.ExactAHB(outcome=jc.Ridge())
        return jc.estimate(sample, method, key=0, throw=False).att

    with pytest.raises(ValueError, match="ExactAHB runs on the host"):
        jax.jit(att)(jnp.arange(8.0))


def test_nan_predictions_are_seen():
    sample = draw_sample(15, n=30)
    broken = jc.Function(lambda x: wavy(x) / (x[:, :1] > x[:, :1].min()))
    with pytest.raises(jc.MatchError, match="the surface gave NaN"):
        jc.match(sample, jc.ExactAHB(), surface=broken)


@pytest.mark.extended
def test_ctrl_c_keeps_what_is_finished(monkeypatch):
    sample = draw_sample(16, n=90, p=3)
    whole = jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy), estimand="ate")
    monkeypatch.setattr(_branch_and_bound, "TOGETHER", (16,))
    calls, real = [], _branch_and_bound.box_search

    def stop_later(*args, **options):
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(_branch_and_bound, "box_search", stop_later)
    with pytest.raises(jc.Interrupted) as stopped:
        jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy), estimand="ate")
    boxes = stopped.value.found
    done = boxes.proven
    assert 0 < done.sum() < done.size
    np.testing.assert_array_equal(boxes.objective[done], whole.objective[done])
    assert (np.asarray(boxes.status)[~done & ~np.asarray(boxes.matched)] != 0).all()


@pytest.mark.extended
def test_ctrl_c_keeps_boxes_that_were_left_to_the_programs(monkeypatch):
    """Queries at their limit wait for integer programs when the search is stopped."""
    sample = draw_sample(16, n=90, p=3)
    monkeypatch.setattr(_branch_and_bound, "TOGETHER", (16,))
    calls, real = [], _branch_and_bound.box_search

    def stop_later(*args, **options):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(_branch_and_bound, "box_search", stop_later)
    method = jc.ExactAHB(max_nodes=2)
    with pytest.raises(jc.Interrupted) as stopped:
        jc.match(sample, method, surface=jc.Function(wavy), estimand="ate")
    boxes = stopped.value.found
    limited = boxes.describe_frame().search == "node limit"
    assert limited.any()
    assert np.asarray(boxes.matched)[limited].all()
    assert np.isfinite(boxes.gap[limited]).all()


@pytest.mark.extended
def test_rows_levels_and_the_outcome_s_unit_do_not_matter():
    sample = draw_sample(17, n=80, p=2, category=3)
    first = jc.match(sample, jc.ExactAHB(), surface=jc.Function(wavy))
    order = np.random.default_rng(0).permutation(80)
    x, t = np.asarray(sample.points), np.asarray(sample.t)
    other = jc.Sample(x[order], t[order], kinds=["number", "number", "category"])
    scaled = jc.Function(lambda x: 1000 * wavy(x) + 5)
    second = jc.match(other, jc.ExactAHB(), surface=scaled)
    back = np.argsort(order)[np.asarray(first.query)]
    place = [np.flatnonzero(np.asarray(second.query) == row)[0] for row in back]
    np.testing.assert_allclose(second.objective[place], first.objective, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(scale="range"), "use 'sd', 'variance' or 'none'"),
        (dict(engine="gpu"), "use 'auto', 'device' or 'highs'"),
        (dict(gamma0=-1.0), "gamma0 is -1.0: it must not be negative"),
        (dict(gamma1=np.nan), "gamma1 is nan"),
        (dict(gamma0=0.0, gamma1=0.0), "one must be positive"),
        (dict(beta=0.0), "must be worth something"),
        (dict(beta=np.inf), "beta is inf"),
        (dict(floor=-0.1), "floor is -0.1"),
        (dict(gap=np.nan), "gap is nan"),
        (dict(max_distance=-1.0), "max_distance is -1.0: it must be at least 0"),
        (dict(max_distance=np.nan), "max_distance is nan"),
        (dict(min_controls=0), "at least 1"),
        (dict(candidates=0), "at least 1, or None"),
        (dict(max_nodes=0), "at least 1"),
        (dict(time_limit=0.0), "above 0 or None"),
    ],
)
def test_wrong_options_are_refused(options, words, unchecked):
    with pytest.raises(ValueError, match=words):
        jc.ExactAHB(**options)


@pytest.mark.extended
@pytest.mark.parametrize(
    ("distance", "words"),
    [
        ({"age": 1.0}, "'age', which is no covariate"),
        ({"x2": 1.0}, "a category has no distances"),
        ({"x1": -1.0}, "it must be at least 0"),
    ],
)
def test_wrong_distances_are_refused(distance, words):
    sample = draw_sample(18, n=30, p=2, category=2)
    with pytest.raises(ValueError, match=words):
        jc.match(sample, jc.ExactAHB(max_distance=distance), surface=jc.Function(wavy))
