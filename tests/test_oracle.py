"""Fast AHB equals its plain NumPy transcription, box by box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample
from oracles.fast_ahb import grow_box

import jcausal as jc
from jcausal.matching.boxes.fast._slab_points import lattice_offsets

PLAIN = dict(n=60, p=3)
CASES = {
    "numbers": (PLAIN, {}),
    "one covariate": (dict(n=60, p=1), {}),
    "ties and twins": (dict(n=60, p=3, integers=True), {}),
    "a category": (dict(n=60, p=3, category=3), {}),
    "ties and a category": (dict(n=60, p=3, integers=True, category=3), {}),
    "the paper's rule": (PLAIN, dict(tolerance=0.0, caliper=None)),
    "tolerance without a caliper": (PLAIN, dict(tolerance=0.02, caliper=None)),
    "control surface only": (PLAIN, dict(gamma1=0.0)),
    "weights of the surfaces": (PLAIN, dict(gamma0=0.5, gamma1=2.0, c=1.5)),
    "few levels": (PLAIN, dict(levels=3)),
    "larger groups": (PLAIN, dict(min_controls=4, min_treated=2)),
    "more points": (PLAIN, dict(points=7)),
}


def assert_same_boxes(sample, method, surface, query):
    found = jc.match(sample, method, surface=surface, query=query)
    x, categories = sample.points, sample.schema.categories.tolist()
    points = method.points or (3 if method.grid == "line" else 16)
    line = method.grid == "line"
    evaluate = jax.jit(lambda points: surface(points))
    even = np.tile(np.linspace(0, 1, points)[:, None], (1, sample.p))
    for i, row in enumerate(query):
        box = grow_box(
            x,
            np.asarray(sample.t),
            np.ones(sample.n, bool),
            categories,
            lambda points: evaluate(jnp.asarray(points, sample.x.dtype)),
            x[row].copy(),
            gamma=(method.gamma0, method.gamma1),
            c=method.c,
            tolerance=method.tolerance,
            caliper=np.inf if method.caliper is None else method.caliper,
            offsets=even if line else lattice_offsets(points, sample.p),
            line=line,
            levels=method.levels,
            minimum=(method.min_controls, method.min_treated),
        )
        assert box is not None
        low, high, opened, inside = box
        rows, _ = found.group(i)
        assert rows.tolist() == np.flatnonzero(inside).tolist(), f"group of query {row}"
        for j in low:
            assert found.lower[i, j] == low[j]
            assert found.upper[i, j] == high[j]
        for slot, j in enumerate(categories):
            assert set(np.flatnonzero(np.asarray(found.open[i, slot]))) == {
                int(v) for v in opened[j]
            }


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("grid", ["line", "lattice"])
def test_boxes_equal_the_transcription(grid, case, seed, surface):
    shape, options = CASES[case]
    sample = draw_sample(seed, **shape)
    method = jc.FastAHB(grid=grid, outcome=surface, **options)
    assert_same_boxes(sample, method, surface, np.arange(seed, sample.n, 6))


@pytest.mark.extended
def test_ridge_surface_through_its_closed_form():
    sample = draw_sample(5, n=60, p=3)
    ridge = jc.fit(draw_sample(6, n=80, p=3), jc.Ridge())
    method = jc.FastAHB(caliper=None)
    assert_same_boxes(sample, method, jc.Function(ridge), np.arange(0, 60, 4))
    ours = jc.match(sample, method, surface=ridge)
    plain = jc.match(sample, method, surface=jc.Function(ridge))
    assert (np.asarray(ours.lower) == np.asarray(plain.lower)).all()
    assert (np.asarray(ours.upper) == np.asarray(plain.upper)).all()


@pytest.mark.extended
def test_tree_surface_through_its_tables(halves, bart):
    test = halves[1]
    method = jc.FastAHB(levels=6)
    ours = jc.match(test, method, surface=bart)
    flat = jc.Function(bart.lean())
    method_flat = jc.FastAHB(levels=6, caliper=None)
    with_reach_off = jc.match(test, method_flat, surface=bart)
    plain = jc.match(test, method_flat, surface=flat)
    same = (with_reach_off.lower == plain.lower).all(1) & (with_reach_off.upper == plain.upper).all(
        1
    )
    assert same.mean() > 0.97  # float32 sums in another order may turn a near tie
    assert bool(ours.matched.all())


@pytest.mark.extended
def test_binary_data_give_exact_matching_on_what_matters():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (200, 5)).astype(float)
    t = rng.random(200) < 0.4
    surface = jc.Function(lambda v: jnp.stack([3 * v[:, 0] + 2 * v[:, 2]] * 2, axis=1))
    found = jc.match(jc.Sample(x, t), jc.FastAHB(), surface=surface)
    for i, row in enumerate(np.asarray(found.query)):
        exact = (x[:, [0, 2]] == x[row, [0, 2]]).all(1)
        assert found.group(i)[0].tolist() == np.flatnonzero(exact).tolist()


@pytest.mark.extended
def test_points_between_the_rungs_grow_like_units(surface):
    sample = draw_sample(8, n=60, p=3)
    at = np.array([[0.05, -0.1, 0.2], [9.0, 9.0, 9.0], [-9.0, 0.3, 0.1]])
    method = jc.FastAHB(outcome=surface)
    found = jc.match(sample, method, surface=surface, at=at)
    for i, point in enumerate(at):
        low, high, _, inside = grow_box(
            sample.points,
            np.asarray(sample.t),
            np.ones(60, bool),
            [],
            lambda v: surface(jnp.asarray(v, sample.x.dtype)),
            point.copy(),
            offsets=np.tile(np.linspace(0, 1, 3)[:, None], (1, 3)),
        )
        assert found.group(i)[0].tolist() == np.flatnonzero(inside).tolist()
        np.testing.assert_allclose(found.lower[i], [low[j] for j in range(3)])
        np.testing.assert_allclose(found.upper[i], [high[j] for j in range(3)])
