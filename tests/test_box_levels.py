"""Level boxes: every implementation beside a loop over all levels, and what must not matter."""

from importlib import import_module
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close

from jcausal import kernels
from jcausal_kernels.specs import LEVEL_SPECS, LevelSpec

EXTENDED = {
    name: pytest.param(name, marks=pytest.mark.extended) for name in ("reference", "xla", "sort")
}
IMPLEMENTATIONS = [EXTENDED["reference"], EXTENDED["xla"], "auto", EXTENDED["sort"]]
TUNED = ["xla", EXTENDED["sort"]]
UNITS = ("cells", "values", "arm", "weight")


def level_problem(spec, seed=0):
    """Arrays in NumPy's float64 whose levels survive float32 exactly."""
    rng = np.random.default_rng(seed)
    s = spec.d * spec.cells
    grid = rng.integers(0, 2**12, spec.levels) / 2**10
    lines = grid[rng.integers(0, spec.levels, (spec.q, s))]
    lines[rng.random(lines.shape) < spec.never] = np.inf
    cells = rng.integers(0, spec.cells, (spec.n, spec.d)) + np.arange(spec.d) * spec.cells
    weight = rng.integers(1, 4, spec.n).astype(float)
    weight[rng.random(spec.n) < spec.nobody] = -1
    return dict(
        lines=lines,
        cells=cells,
        values=rng.normal(size=(spec.n, 2)),
        arm=rng.random(spec.n) < 0.4,
        weight=weight,
        home=rng.normal(size=(spec.q, 2)),
        noise=np.array([0.7, 1.3]),
        use=rng.random((spec.q, 2)) + 0.1,
        minimum=np.array(spec.minimum),
        share=np.array([1.0, 0.25]),
    )


def grouped(problem):
    """The kernel's arguments."""
    units = kernels.LevelUnits(*(problem[name] for name in UNITS))
    rule = kernels.LevelRule(*(problem[name] for name in kernels.LevelRule._fields))
    return problem["lines"], units, rule


def solve(problem, dtype=None, **options):
    """The kernel's answer, as NumPy arrays."""
    dtype = dtype or (np.float64 if jax.config.jax_enable_x64 else np.float32)
    arrays = {}
    for name, each in problem.items():
        kind = np.int32 if name in ("cells", "minimum") else bool if name == "arm" else dtype
        arrays[name] = jnp.asarray(np.asarray(each, kind))
    found = kernels.box_levels(*grouped(arrays), **options)
    assert found.counts.dtype == jnp.int32 and found.level.dtype == found.cost.dtype == dtype
    return kernels.Levels(*map(np.asarray, found))


def rows_of(problem, rows):
    """The same units in another order, or some of them."""
    return problem | {name: problem[name][rows] for name in UNITS}


def levels_of(problem, i):
    """delta of every unit; infinite for who is nobody."""
    inside = problem["lines"][i][problem["cells"]] if problem["cells"].size else None
    n = len(problem["arm"])
    delta = np.zeros(n) if inside is None else inside.max(1)
    return np.where(problem["weight"] > 0, delta, np.inf)


def cost_of(problem, i, member):
    """The cost of one box, and its counts."""
    cost, counts = 0.0, []
    for a in (0, 1):
        rows = np.flatnonzero(member & (problem["arm"] == a))
        counts.append(len(rows))
        if len(rows) < problem["minimum"][a]:
            cost = np.inf
        use = problem["use"][i, a]
        if use > 0 and len(rows) == 0:
            cost = np.inf
        elif use > 0:
            w = problem["weight"][rows]
            drift = (w * (problem["values"][rows, a] - problem["home"][i, a])).sum() / w.sum()
            number = w.sum() ** 2 / (w**2).sum() / problem["share"][a]
            cost += use * (drift**2 + problem["noise"][a] / number)
    return cost, counts


def best(problem, i, near=1e-6):
    """The largest box within a millionth of the least cost, and if it is the last of all."""
    delta = levels_of(problem, i)
    every = [(u, *cost_of(problem, i, delta <= u)) for u in np.unique(delta[delta < np.inf])]
    least = min((cost for _, cost, _ in every), default=np.inf)
    fine = [box for box in every if box[1] <= least * (1 + near) and box[1] < np.inf]
    level, _, counts = fine[-1] if fine else (np.nan, np.inf, [0, 0])
    return level, least, counts, bool(fine) and level == every[-1][0] != every[0][0]


def agree(found, problem, tolerance):
    for i in range(len(problem["lines"])):
        level, cost, counts, _ = best(problem, i)
        np.testing.assert_allclose(found.cost[i], cost, rtol=tolerance)
        assert found.counts[i].tolist() == counts
        np.testing.assert_array_equal(found.level[i], level)


def same(a, b, **tolerance):
    np.testing.assert_array_equal(a.level, b.level)
    np.testing.assert_array_equal(a.counts, b.counts)
    np.testing.assert_allclose(a.cost, b.cost, **({"rtol": 1e-5} | tolerance))


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("spec", LEVEL_SPECS)
def test_the_level_is_the_best_of_all(spec, implementation):
    problem = level_problem(spec)
    tolerance = 1e-11 if jax.config.jax_enable_x64 else 2e-5
    found = solve(problem, max_bytes=spec.max_bytes, implementation=implementation)
    assert found.level.shape == (spec.q,) and found.counts.shape == (spec.q, 2)
    agree(found, problem, tolerance)


def test_the_specs_reach_every_branch():
    """Levels that are chosen and not, in the middle and at the end, more lines than units."""
    found = [best(level_problem(spec), i) for spec in LEVEL_SPECS for i in range(spec.q)]
    chosen = sum(np.isfinite(level) for level, *_ in found)
    last = sum(last for *_, last in found)
    assert chosen > 60 and chosen < len(found) - 5 and 3 < last < chosen - 30
    assert any(spec.d * spec.cells > spec.n > 9 for spec in LEVEL_SPECS)


@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_weights_and_shares_by_their_formula(implementation):
    """Two controls of weights 1 and 3, one box: mean 2.5, number 1.6, one of two drawn."""
    problem = dict(
        lines=np.array([[0.5]]),
        cells=np.zeros((2, 1), int),
        values=np.array([[1.0, np.nan], [3.0, np.inf]]),
        arm=np.zeros(2, bool),
        weight=np.array([1.0, 3.0]),
        home=np.array([[2.0, np.nan]]),
        noise=np.array([4.0, np.nan]),
        use=np.array([[2.0, 0.0]]),
        minimum=np.array([2, 0]),
        share=np.array([0.5, 0.0]),
    )
    found = solve(problem, implementation=implementation)
    assert found.level == 0.5 and found.counts.tolist() == [[2, 0]]
    number = 4.0**2 / 10 / 0.5
    np.testing.assert_allclose(found.cost, [2 * (0.5**2 + 4 / number)], rtol=1e-6)
    for scale in (1e-30, 1e30):
        same(solve(problem | dict(weight=problem["weight"] * scale)), found)
    few = solve(problem | dict(minimum=np.array([3, 0])), implementation=implementation)
    assert np.isnan(few.level) and few.cost == np.inf and few.counts.tolist() == [[0, 0]]


SPEC = LevelSpec(n=120, q=8, d=3, cells=5, levels=40, max_bytes=2**20, never=0.05, nobody=0.1)


@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_an_arm_that_no_query_uses_may_be_anything(implementation):
    problem = level_problem(SPEC)
    problem["use"][:, 1] = 0
    clean = solve(problem, implementation=implementation)
    agree(clean, problem, 1e-5)
    for poison in (np.nan, np.inf):
        spoiled = {name: np.array(each) for name, each in problem.items()}
        spoiled["values"][:, 1] = spoiled["home"][:, 1] = spoiled["noise"][1] = poison
        spoiled["values"][problem["arm"], 0] = poison  # not the unit's own arm
        spoiled["values"][problem["weight"] <= 0] = poison  # nobody's
        same(solve(spoiled, implementation=implementation), clean, rtol=0)


@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("poison", [np.nan, pytest.param(np.inf, marks=pytest.mark.extended)])
def test_what_is_no_number_makes_nan_of_the_queries_it_touches(implementation, poison):
    problem = level_problem(SPEC)
    problem["use"][4:, 0] = 0
    clean = solve(problem, implementation=implementation)
    assert np.isfinite(clean.level).all()

    def touched(name, at, value=poison):
        spoiled = np.array(problem[name])
        spoiled[at] = value
        found = solve(problem | {name: spoiled}, implementation=implementation)
        bad = np.isnan(found.level)
        assert (np.isnan(found.cost) == bad).all() and not found.counts[bad].any()
        same(*(kernels.Levels(*(a[~bad] for a in each)) for each in (found, clean)), rtol=0)
        return np.flatnonzero(bad).tolist()

    own = [0, 1, 2, 3]
    unit = np.flatnonzero(~problem["arm"] & (problem["weight"] > 0))[0]
    reached = [i for i in own if levels_of(problem, i)[unit] < np.inf]
    assert touched("values", (unit, 0)) == reached and len(reached) > 1
    assert touched("values", (unit, 1)) == []
    assert touched("home", (2, 0)) == [2] and touched("home", (5, 0)) == []
    assert touched("noise", 0) == own
    assert touched("use", (3, 1)) == [3] and touched("use", (3, 1), -1) == [3]
    assert touched("share", 0, 0) == own and touched("share", 0, np.nan) == own
    assert touched("lines", (6, 0), np.nan) == [6] and touched("lines", (6, 0), -np.inf) == [6]
    assert touched("weight", unit) == list(range(8))


@pytest.mark.x64
@pytest.mark.parametrize("implementation", TUNED)
def test_a_cell_that_is_never_opened_and_one_that_is_not_there(implementation):
    problem = level_problem(SPEC)
    options = dict(implementation=implementation)
    k = 17
    nobody = np.where(np.arange(120) == k, 0, problem["weight"])
    expected = solve(problem | dict(weight=nobody), **options)
    for column, cell in ((1, -1), (2, 10**6)):
        outside = np.array(problem["cells"])
        outside[k, column] = cell
        same(solve(problem | dict(cells=outside), **options), expected, rtol=0)
    same(solve(rows_of(problem, np.arange(120) != k), **options), expected)
    closed = solve(problem | dict(lines=np.full_like(problem["lines"], np.inf)), **options)
    assert np.isnan(closed.level).all() and (closed.cost == np.inf).all()


@pytest.mark.x64
@pytest.mark.parametrize("implementation", TUNED)
def test_the_order_of_units_columns_and_queries_does_not_matter(implementation):
    problem = level_problem(SPEC)
    found = solve(problem, implementation=implementation)
    mixed = np.random.default_rng(1).permutation(120)
    same(solve(rows_of(problem, mixed), implementation=implementation), found)
    turned = problem | dict(cells=problem["cells"][:, ::-1])
    same(solve(turned, implementation=implementation), found, rtol=0)
    order = np.random.default_rng(2).permutation(8)
    turned = problem | {name: problem[name][order] for name in ("lines", "home", "use")}
    for small in (1, 2**20):
        again = solve(turned, implementation=implementation, max_bytes=small)
        same(again, kernels.Levels(*(each[order] for each in found)))


@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_ties_twins_and_one_arm(implementation):
    """Level sets stay whole; equal costs take the larger box; a missing arm allows no level."""
    problem = level_problem(SPEC)
    twice = solve(rows_of(problem, np.repeat(np.arange(120), 2)), implementation=implementation)
    halved = solve(problem | dict(noise=problem["noise"] / 2), implementation=implementation)
    same(twice._replace(counts=twice.counts // 2), halved)
    assert not (twice.counts % 2).any()
    exact = problem | dict(noise=np.zeros(2), values=np.ones((120, 2)), home=np.ones((8, 2)))
    found = solve(exact, implementation=implementation)
    largest = [max(d[d < np.inf]) for d in (levels_of(exact, i) for i in range(8))]
    np.testing.assert_array_equal(found.level, largest)
    assert (found.cost == 0).all()
    alone = problem | dict(arm=np.zeros(120, bool), minimum=np.zeros(2, int))
    assert np.isnan(solve(alone, implementation=implementation).level).all()
    alone["use"] = problem["use"] * [1, 0]
    agree(solve(alone, implementation=implementation), alone, 1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_more_noise_takes_a_larger_box_around_the_smaller(implementation):
    problem = level_problem(SPEC) | dict(use=np.tile([1.0, 0.0], (8, 1)), weight=np.ones(120))
    found = [
        solve(problem | dict(noise=np.full(2, v)), implementation=implementation)
        for v in (0.01, 1, 100, 1e4)
    ]
    for small, large in pairwise(found):
        assert (small.level <= large.level).all() and (small.counts <= large.counts).all()
    assert (found[0].counts.sum(1) < 20).any() and (found[-1].counts.sum(1) > 50).all()


def two_controls(lines, values):
    """One query at 0, and two controls in cells of their own."""
    return dict(
        lines=np.array([lines]),
        cells=np.array([[0], [1]]),
        values=np.stack([values, values], 1),
        arm=np.zeros(2, bool),
        weight=np.ones(2),
        home=np.zeros((1, 2)),
        noise=np.zeros(2),
        use=np.array([[1.0, 0.0]]),
        minimum=np.array([1, 0]),
        share=np.ones(2),
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_millionth_is_no_difference_and_more_is(implementation):
    """Costs that differ by four parts in ten million, and by four in a million."""
    step = 2.0**-23
    for steps, count in ((4, 2), (32, 1)):
        problem = two_controls([0.5, 1.5], np.array([1, 1 + steps * step]))
        found = solve(problem, implementation=implementation)
        assert found.counts.tolist() == [[count, 0]] and found.level == count - 0.5


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_minus_zero_is_zero_and_levels_below_zero_are_levels(implementation):
    """The first control alone would be better, but both are opened at the same level."""
    for lines in ([-0.0, 0.0], [0.0, -0.0], [-1.5, -1.5]):
        found = solve(two_controls(lines, np.array([0.0, 1.0])), implementation=implementation)
        assert found.counts.tolist() == [[2, 0]] and found.level == lines[0]
    lower = level_problem(SPEC)
    lower["lines"] -= 2
    agree(solve(lower, implementation=implementation), lower, 2e-5)


def large_problem(n=100_000, q=3):
    """A million and a little: predictions in steps of 1/16, which float32 holds exactly."""
    rng = np.random.default_rng(5)
    cells, d = 24, 4
    x = rng.integers(0, cells, (n, d))
    values = 1e6 + x.sum(1) / 16
    at = rng.integers(0, cells, (q, d))
    lines = np.abs(np.arange(cells) - at[:, :, None]) / 16.0
    home = 1e6 + at.sum(1) / 16
    return dict(
        lines=lines.reshape(q, d * cells),
        cells=x + np.arange(d) * cells,
        values=np.stack([values, values], 1),
        arm=rng.random(n) < 0.1,
        weight=rng.integers(1, 9, n) / 3,
        home=np.stack([home, home], 1),
        noise=np.array([0.5, 0.5]),
        use=np.ones((q, 2)),
        minimum=np.ones(2),
        share=np.ones(2),
    )


@pytest.mark.extended
@pytest.mark.parametrize("implementation", TUNED)
def test_float32_loses_nothing_on_a_large_sample_far_from_zero(implementation):
    problem = large_problem()
    single = solve(problem, np.float32, implementation=implementation)
    with jax.enable_x64(True):
        double = solve(problem, np.float64, implementation=implementation)
    agree(double, problem, 1e-9)
    same(single, double, rtol=2e-5)


@pytest.mark.extended
@pytest.mark.parametrize(("chunk", "error"), [(1024, 1.2e-5), (16, 5e-7)])
def test_rounding_grows_with_a_chunk_and_not_with_the_sample(monkeypatch, chunk, error):
    """The worst for a sum in one direction: as many times the same number."""
    monkeypatch.setattr(import_module("jcausal_kernels.box_levels"), "CHUNK", chunk)
    n = 300_000 + chunk  # a trace of its own
    problem = two_controls([0.5], np.full(n, 0.1))
    problem |= dict(cells=np.zeros((n, 1)), arm=np.zeros(n, bool), weight=np.ones(n))
    found = solve(problem, np.float32)
    close(np.sqrt(found.cost), [np.float32(0.1)], rtol=error)
    assert found.counts.tolist() == [[n, 0]]


@pytest.mark.extended
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_maps_compiles_and_has_no_gradient(implementation):
    problem = level_problem(SPEC)
    one = {name: jnp.asarray(each) for name, each in problem.items()}
    other = one | dict(home=one["home"] + 1, weight=one["weight"][::-1], lines=2 * one["lines"])

    def call(p):
        return kernels.box_levels(*grouped(p), implementation=implementation)

    both = jax.tree.map(lambda *a: jnp.stack(a), one, other)
    mapped = jax.jit(jax.vmap(call))(both)
    for i, each in enumerate((one, other)):
        plain = jax.jit(call)(each)
        same(kernels.Levels(*(np.asarray(a[i]) for a in mapped)), plain)
        assert np.isfinite(plain.level).all()
    slope = jax.grad(lambda h: call(one | dict(home=h)).cost.sum())(one["home"])
    assert not np.asarray(slope).any()


def test_on_cuda_it_lowers_without_a_scatter_and_on_cpu_without_a_sort_of_units():
    problem = {name: jnp.asarray(each) for name, each in level_problem(SPEC).items()}
    traced = jax.jit(kernels.box_levels).trace(*grouped(problem))
    assert "stablehlo.scatter" in traced.lower(lowering_platforms=("cpu",)).as_text()
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.scatter" not in text and "stablehlo.sort" in text


@pytest.mark.extended
@pytest.mark.parametrize("implementation", TUNED)
def test_memory_stays_within_the_budget(implementation):
    problem = {name: jnp.asarray(e) for name, e in large_problem(n=20_000, q=2000).items()}
    problem["minimum"] = problem["minimum"].astype(jnp.int32)

    def call(*arrays):
        return kernels.box_levels(*arrays, max_bytes=2**23, implementation=implementation)

    memory = jax.jit(call).lower(*grouped(problem)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2 * 2**23 < 4 * 20_000 * 2000


def test_bad_shapes_and_names_are_refused(unchecked):
    problem = level_problem(SPEC)
    with pytest.raises(ValueError, match="one row a unit"):
        solve(problem | dict(weight=np.ones(3)))
    with pytest.raises(ValueError, match="one a query"):
        solve(problem | dict(home=np.ones((3, 2))))
    with pytest.raises(ValueError, match="implementation is 'pallas'"):
        solve(problem, implementation="pallas")
