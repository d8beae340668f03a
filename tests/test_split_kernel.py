"""The kernel of splits: values, ties, padding, dtypes, vmap, platforms; and segmented scans."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcausal import kernels
from jcausal.matching.trees._grow import order_of
from jcausal_kernels.specs import SPLIT_SPECS

IMPLEMENTATIONS = ["reference", "histogram", "sorted", "steps", "auto"]


def problem(spec, seed=0, weighted=True):
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, spec.heights, (spec.n, spec.p)).astype(np.int32)
    node = rng.integers(-1, spec.nodes + 1, spec.n).astype(np.int32)  # some are in none
    y = rng.integers(0, 3, spec.n) if spec.few else rng.normal(size=spec.n)
    weight = rng.choice([0.5, 1.0, 4.0], spec.n) if weighted else np.ones(spec.n)
    return codes, node, (5 + y).astype(dtype), weight.astype(dtype)


def scan(*arrays, **options):
    return kernels.split_scan(*(jnp.asarray(a) for a in arrays), **options)


def spread(y, w):
    mean = (w * y).sum() / w.sum()
    return np.sqrt((w * (y - mean) ** 2).sum() / w.sum())


def brute(codes, node, y, w, spec, steps):
    """Every cut, one at a time: level, cut, next code and sd."""
    y, w = y.astype(float), w.astype(float)
    level = np.zeros((spec.nodes, spec.p))
    cut, above, sd = level.astype(int), level.astype(int), np.zeros(spec.nodes)
    for k in range(spec.nodes):
        rows = np.flatnonzero(node == k)
        sd[k] = spread(y[rows], w[rows]) if rows.size else 0
        for j in range(spec.p):
            values = np.unique(codes[rows, j])
            for low, high in itertools.pairwise(values):
                left = codes[rows, j] <= low
                if min(left.sum(), (~left).sum()) < spec.minimum or sd[k] == 0:
                    continue
                parts = [(y[rows[s]], w[rows[s]]) for s in (left, ~left)]
                kept = sum(v.sum() * spread(u, v) for u, v in parts) / w[rows].sum()
                share = max(np.round((1 - kept / sd[k]) * steps), 0) / steps
                if share > level[k, j]:
                    level[k, j], cut[k, j], above[k, j] = share, low, high
    return level, cut, above, sd


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("spec", SPLIT_SPECS)
def test_every_cut_by_brute_force(spec, implementation):
    codes, node, y, w = problem(spec)
    exact = jax.config.jax_enable_x64
    options = dict(nodes=spec.nodes, heights=spec.heights, minimum=spec.minimum)
    out = scan(codes, node, y, w, **options, implementation=implementation)
    level, cut, above, sd = brute(codes, node, y, w, spec, 2**30 if exact else 2**16)
    assert out.score.dtype == y.dtype
    np.testing.assert_allclose(out.sd, sd, rtol=1e-5)
    np.testing.assert_allclose(out.level, level, atol=1e-8 if exact else 4e-5)
    none = np.asarray(out.level) == 0
    assert (np.asarray(out.score)[none] == -np.inf).all()
    np.testing.assert_allclose(
        np.asarray(out.score)[~none], (np.asarray(out.level) * sd[:, None])[~none], rtol=1e-5
    )
    if exact or spec.few:
        assert (np.asarray(out.cut) == cut).all() and (np.asarray(out.above) == above).all()


def test_of_equal_cuts_the_lowest_is_taken_whatever_the_order():
    codes = np.array([[0], [1], [2], [3]], np.int32)
    y = np.array([0.0, 1.0, 1.0, 0.0], np.float32)  # cuts after code 0 and code 2 are alike
    for implementation in IMPLEMENTATIONS:
        for turn in ([0, 1, 2, 3], [3, 1, 0, 2]):
            out = scan(
                codes[turn],
                np.zeros(4, np.int32),
                y[turn],
                nodes=1,
                heights=4,
                minimum=1,
                implementation=implementation,
            )
            assert out.cut.tolist() == [[0]] and out.above.tolist() == [[1]]


@pytest.mark.extended
def test_weights_of_one_need_not_be_given_and_covariates_may_differ_in_codes():
    spec = SPLIT_SPECS[2]
    codes, node, y, w = problem(spec, weighted=False)
    codes[:, 0] %= 2
    many = np.arange(spec.n, dtype=np.int32)[::-1, None]
    codes = np.concatenate([codes[:, :1], many, codes[:, 1:]], axis=1)
    options = dict(nodes=spec.nodes, minimum=spec.minimum)
    one = scan(codes, node, y, w, **options, heights=300, implementation="sorted")
    heights = (2, 300, 7, 7)
    assert kernels.with_many_values(heights) == [1]
    order = kernels.sorted_order(jnp.asarray(codes[:, 1:2]), jnp.asarray(node))
    for kept in (None, order):
        two = scan(codes, node, y, **options, heights=heights, order=kept)
        assert (np.asarray(one.cut) == np.asarray(two.cut)).all()
        np.testing.assert_allclose(one.level, two.level, atol=2e-5)


@pytest.mark.extended
def test_many_data_sets_at_once():
    spec = SPLIT_SPECS[2]
    sets = [problem(spec, seed) for seed in range(3)]
    options = dict(nodes=spec.nodes, heights=spec.heights, minimum=spec.minimum)

    def level(codes, node, y, w):
        return scan(codes, node, y, w, **options).level

    together = jax.jit(jax.vmap(level))(*(jnp.stack(a) for a in zip(*sets)))
    for out, one in zip(together, sets):
        np.testing.assert_allclose(out, level(*one), atol=2e-5)


def test_it_lowers_for_another_platform_without_a_scatter_add():
    spec = SPLIT_SPECS[2]
    options = dict(nodes=spec.nodes, heights=spec.heights, minimum=spec.minimum)
    traced = jax.jit(lambda *a: kernels.split_scan(*a, **options)).trace(
        *map(jnp.asarray, problem(spec))
    )
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    for part in text.split("stablehlo.scatter")[1:]:
        assert "stablehlo.add" not in part.split("stablehlo.return")[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(nodes=0), "nodes is 0"),
        (dict(heights=(2, 2)), "for each of the 3 covariates"),
        (dict(implementation="fast"), "implementation is 'fast'"),
    ],
)
def test_wrong_options_are_refused(options, words, unchecked):
    spec = SPLIT_SPECS[2]
    given = dict(nodes=spec.nodes, heights=spec.heights, minimum=1) | options
    with pytest.raises(ValueError, match=words):
        scan(*problem(spec), **given)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_segmented_sums(n):
    rng = np.random.default_rng(n)
    values = rng.integers(-5, 9, (n, 2))
    new = rng.random(n) < 0.1
    out = np.asarray(kernels.segmented_scan(jnp.add, jnp.asarray(new), jnp.asarray(values), 0))
    start = np.maximum.accumulate(np.where(new, np.arange(n), 0))
    before = np.concatenate([np.zeros((1, 2)), values.cumsum(0)])
    assert (out == values.cumsum(0) - before[start]).all()


@pytest.mark.x64
@pytest.mark.parametrize("heights", [7, 2**28])
def test_units_by_code(heights):
    """As one number, and where that would overflow by a stable sort."""
    codes = np.random.default_rng(0).integers(0, 7, (3, 50))
    found = order_of(jnp.asarray(codes, jnp.int32), heights)
    np.testing.assert_array_equal(found, np.argsort(codes, axis=1, kind="stable"))


@pytest.mark.extended
def test_long_sums_keep_their_digits():
    """300,000 outcomes of 0 and 1: added up one by one in float32 the squares drift by 1 in 200."""
    rng = np.random.default_rng(1)
    n = 300_000
    codes = np.column_stack([rng.integers(0, 2, n), rng.integers(0, 9, n), rng.permutation(n)])
    y = rng.random(n) < np.where(codes[:, 0] == 1, 0.105, 0.1)
    options = dict(nodes=1, heights=(2, 9, n), minimum=50)
    arrays = codes.astype(np.int32), np.zeros(n, np.int32)
    near = scan(*arrays, ((y - 0.1) / 0.3).astype(np.float32), **options)
    with jax.enable_x64(True):
        exact = scan(*arrays, (y - 0.1) / 0.3, **options)
    np.testing.assert_allclose(near.sd, exact.sd, rtol=1e-5)
    np.testing.assert_allclose(near.level, exact.level, atol=1.5 / 2**16)
    assert np.asarray(near.level)[0].argmax() == np.asarray(exact.level)[0].argmax() == 0
