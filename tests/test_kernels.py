"""One battery for every kernel and implementation: values, tails, dtypes, vmap, grad, NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcausal import kernels
from jcausal_kernels.specs import BOX_SPECS, DRAW_SPECS, SLAB_SPECS

IMPLEMENTATIONS = ["reference", "xla", "auto"]
QUICK = [*(pytest.param(i, marks=pytest.mark.extended) for i in IMPLEMENTATIONS[:-1]), "auto"]


def box_problem(spec, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, spec.heights, (spec.n, spec.p)).astype(np.int32)
    odd = np.random.default_rng(9).random(codes.shape)
    codes[odd < 0.1] = kernels.MISSING
    codes[odd > 0.98] = -1 - codes[odd > 0.98] % 3
    level = rng.integers(0, spec.levels, (spec.n, spec.c)).astype(np.int32)
    arm = rng.random(spec.n) < 0.4
    third = spec.heights // 3
    lower = rng.integers(-1, max(2 * third, 1), (spec.q, spec.p)).astype(np.int32)
    upper = lower + rng.integers(-1, max(3 * third - 1, 1), (spec.q, spec.p)).astype(np.int32)
    far = rng.random(lower.shape)
    lower[far < 0.05], upper[far > 0.95] = -kernels.MISSING, kernels.MISSING
    lower[far > 0.98] = spec.heights + 7
    opened = rng.random((spec.q, spec.c, spec.levels)) < 0.6
    units = kernels.Units(jnp.array(codes), jnp.array(level), jnp.array(arm))
    heights = kernels.CodedBoxes(jnp.array(lower), jnp.array(upper), jnp.array(opened))
    values = rng.normal(size=(spec.n, spec.d)).astype(dtype)
    return units, heights, values


def brute_members(units, heights):
    member = np.ones((heights.lower.shape[0], units.arm.shape[0]), bool)
    codes, levels = np.asarray(units.codes), np.asarray(units.levels)
    for q in range(member.shape[0]):
        for k in range(member.shape[1]):
            member[q, k] = (
                all(
                    codes[k, j] == kernels.MISSING
                    or heights.lower[q, j] <= codes[k, j] <= heights.upper[q, j]
                    for j in range(codes.shape[1])
                )
                and (codes[k] >= 0).all()
            )
            member[q, k] &= all(heights.open[q, c, levels[k, c]] for c in range(levels.shape[1]))
    return member


def fast_members(units, heights):
    """The same by broadcasting; checked against the loops on the small shapes."""
    codes, levels = np.asarray(units.codes), np.asarray(units.levels)
    lower, upper, opened = (np.asarray(a) for a in heights)
    member = (lower[:, None] <= codes) & (codes <= upper[:, None]) | (codes == kernels.MISSING)
    member = member.all(2) & (codes >= 0).all(1)
    for c in range(levels.shape[1]):
        member &= opened[:, c][:, levels[:, c]]
    return member


def test_brute_force_agrees_with_itself():
    units, heights, _ = box_problem(BOX_SPECS[1])
    assert (brute_members(units, heights) == fast_members(units, heights)).all()
    assert (np.asarray(kernels.membership(units, heights)) == fast_members(units, heights)).all()


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("spec", BOX_SPECS)
def test_box_sums_weights_and_counts(spec, implementation):
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    units, heights, values = box_problem(spec, dtype=dtype)
    member, arm = fast_members(units, heights), np.asarray(units.arm)
    expected = np.stack(
        [member @ np.where((arm == a)[:, None], values, 0).astype(float) for a in (0, 1)], axis=1
    )
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)
    out = kernels.box_sums(units, heights, jnp.asarray(values), **options)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, expected, atol=tolerance * np.sqrt(spec.n), rtol=tolerance)
    v = np.random.default_rng(1).normal(size=(spec.q, 2, spec.d)).astype(dtype)
    spread = kernels.box_weights(units, heights, jnp.asarray(v), **options)
    back = np.where(arm[:, None], member.T @ v[:, 1].astype(float), member.T @ v[:, 0])
    np.testing.assert_allclose(spread, back, atol=tolerance * np.sqrt(spec.q), rtol=tolerance)
    left, right = (np.asarray(out) * v).sum(), (values * np.asarray(spread)).sum()
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3)
    counts = kernels.box_counts(units, heights, max_bytes=spec.max_bytes)
    assert counts.dtype == jnp.int32
    assert (np.asarray(counts) == np.stack([(member & (arm == a)).sum(1) for a in (0, 1)], 1)).all()


@pytest.mark.extended
@pytest.mark.parametrize("implementation", QUICK)
def test_gradient_is_the_adjoint_also_under_vmap_and_jit(implementation):
    spec = BOX_SPECS[2]
    units, heights, values = box_problem(spec)
    values = jnp.stack([values, 2 * values, -values])
    v = jax.random.normal(jax.random.key(0), (spec.q, 2, spec.d))
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)

    def total(x):
        return (kernels.box_sums(units, heights, x, **options) * v).sum()

    adjoint = kernels.box_weights(units, heights, v, **options)
    for gradient in jax.jit(jax.vmap(jax.grad(total)))(values):
        np.testing.assert_allclose(gradient, adjoint, rtol=1e-5, atol=1e-5)

    def back(w):
        return (kernels.box_weights(units, heights, w, **options) * values[0]).sum()

    sums = kernels.box_sums(units, heights, values[0], **options)
    np.testing.assert_allclose(jax.grad(back)(v), sums, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", QUICK)
@pytest.mark.parametrize("poison", [np.nan, pytest.param(np.inf, marks=pytest.mark.extended)])
def test_a_value_that_is_not_finite_spoils_its_own_boxes_only(implementation, poison):
    spec = BOX_SPECS[2]
    units, heights, values = box_problem(spec)
    member, arm = fast_members(units, heights), np.asarray(units.arm)
    k = int(np.argmax(member.sum(0)))
    values[k] = poison
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)
    out = np.asarray(kernels.box_sums(units, heights, jnp.asarray(values), **options))
    spoiled = np.isnan(out).all(2)
    assert (spoiled[:, int(arm[k])] == member[:, k]).all()
    assert not spoiled[:, 1 - int(arm[k])].any()


@pytest.mark.parametrize("poison", [np.nan, pytest.param(np.inf, marks=pytest.mark.extended)])
def test_a_share_that_is_not_finite_spoils_its_own_units_only(poison):
    units, heights, _ = box_problem(BOX_SPECS[2])
    member, arm = fast_members(units, heights), np.asarray(units.arm)
    i = int(np.argmax(member.sum(1)))
    v = jnp.ones((member.shape[0], 2, 2)).at[i, 1, 0].set(poison)
    for implementation in IMPLEMENTATIONS:
        out = kernels.box_weights(units, heights, v, max_bytes=2**12, implementation=implementation)
        assert (np.isnan(np.asarray(out)).all(1) == (member[i] & arm)).all()


@pytest.mark.extended
def test_a_bound_of_the_ladders_changes_no_result_and_is_checked():
    spec = BOX_SPECS[3]
    units, heights, values = box_problem(spec)
    expected = np.asarray(kernels.box_counts(units, heights))
    for ladder in (None, 6, 64, 65, 5000, 2**31 - 1):
        count = jax.jit(lambda u, r, bound=ladder: kernels.box_counts(u, r, ladder=bound))
        assert (np.asarray(count(units, heights)) == expected).all()
    with pytest.raises(ValueError, match="ladder is 5, but there is a code 5"):
        kernels.box_sums(units, heights, jnp.asarray(values), ladder=5)


@pytest.mark.extended
def test_counts_map_over_units_and_over_boxes():
    units, heights, _ = box_problem(BOX_SPECS[2])
    expected = np.asarray(kernels.box_counts(units, heights))
    turned = units._replace(arm=~units.arm)
    both = jax.tree.map(lambda *a: jnp.stack(a), units, turned)
    out = np.asarray(jax.vmap(lambda u: kernels.box_counts(u, heights, max_bytes=2**12))(both))
    assert (out[0] == expected).all() and (out[1] == expected[:, ::-1]).all()
    pairs = jax.tree.map(lambda a: jnp.stack([a, a[::-1]]), heights)
    out = np.asarray(jax.vmap(lambda r: kernels.box_counts(units, r))(pairs))
    assert (out[0] == expected).all() and (out[1] == expected[::-1]).all()


def nested_boxes(n):
    """Codes that grow along the units, and boxes that hold more and more of them."""
    codes = jnp.arange(n, dtype=jnp.int32)[:, None] // 1000
    upper = jnp.array([0, 3, 40, 500, n], jnp.int32)[:, None]
    units = kernels.Units(codes, jnp.zeros((n, 0), jnp.int32), jnp.arange(n) % 3 == 0)
    return units, kernels.CodedBoxes(0 * upper, upper, jnp.zeros((5, 0, 1), bool))


@pytest.mark.parametrize("kind", ["offset", pytest.param("cancelling", marks=pytest.mark.extended)])
def test_sums_of_float32_lose_nothing_as_units_grow(kind):
    n = 1_000_000
    units, heights = nested_boxes(n)
    values = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    if kind == "offset":
        values += np.float32(1e6)
    else:  # small whole numbers, between large ones that cancel
        place = np.arange(n)[:, None]
        values = np.where((place < 20_000) | (place >= n - 20_000), 0, np.abs(values) // 0.3)
        values += np.where(place < 3000, 2.0**24, 0) - np.where(place >= n - 3000, 2.0**24, 0)
    values = values.astype(np.float32)
    out = np.asarray(kernels.box_sums(units, heights, jnp.asarray(values)), float)
    codes, arm = np.asarray(units.codes)[:, 0], np.asarray(units.arm)
    for i, top in enumerate(np.asarray(heights.upper)[:, 0]):
        for a in (0, 1):
            rows = values[(codes <= top) & (arm == a)].astype(float)
            np.testing.assert_allclose(out[i, a], rows.sum(0), rtol=5e-7)


@pytest.mark.parametrize("name", ["box_sums", "box_weights", "box_counts"])
def test_kernels_lower_for_another_platform(name):
    units, heights, values = box_problem(BOX_SPECS[2])
    extra = dict(box_sums=values, box_weights=np.ones((129, 2, 3), np.float32)).get(name)
    arguments = () if extra is None else (jnp.asarray(extra),)
    traced = jax.jit(lambda *a: getattr(kernels, name)(*a, max_bytes=2**12)).trace(
        units, heights, *arguments
    )
    words = "stablehlo.popcnt" if name == "box_counts" else "stablehlo.shift_right_logical"
    assert words in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert words not in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.extended
@pytest.mark.parametrize(
    "name", ["box_sums", pytest.param("box_weights", marks=pytest.mark.extended)]
)
def test_no_array_is_boxes_by_units(name):
    n = 20_000
    rng = np.random.default_rng(0)
    codes = jnp.asarray(rng.integers(0, 9, (n, 3)), jnp.int32)
    units = kernels.Units(codes, jnp.zeros((n, 0), jnp.int32), codes[:, 0] > 3)
    heights = kernels.CodedBoxes(codes - 1, codes + 1, jnp.zeros((n, 0, 1), bool))
    argument = jnp.ones((n, 1)) if name == "box_sums" else jnp.ones((n, 2, 1))
    call = jax.jit(lambda v: getattr(kernels, name)(units, heights, v, max_bytes=2**22))
    memory = call.lower(argument).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2 * 2**22 < n * n / 8  # as bits, too


def test_wrong_columns_and_names_are_refused(unchecked):
    units, heights, values = box_problem(BOX_SPECS[1])
    with pytest.raises(ValueError, match="ordered and 0 category"):
        kernels.box_sums(units, heights._replace(lower=heights.lower[:, :1]), jnp.asarray(values))
    with pytest.raises(ValueError, match="implementation is"):
        kernels.box_sums(units, heights, jnp.asarray(values), implementation="pallas")


def slab_problem(spec, seed=0):
    rng = np.random.default_rng(seed)
    category = np.arange(spec.p) >= spec.p - spec.c
    lower = np.where(
        category, rng.integers(0, 3, (spec.m, spec.p)), rng.normal(size=(spec.m, spec.p))
    )
    upper = np.where(category, lower, lower + rng.random((spec.m, spec.p)))
    column = rng.integers(0, spec.p, spec.m)
    rows = np.arange(spec.m)
    start = np.where(category[column], lower[rows, column], upper[rows, column])
    stop = np.where(category[column], (start + 1) % 3, start + rng.random(spec.m))
    slabs = kernels.Slabs(
        *(jnp.asarray(a, jnp.float32) for a in (lower, upper)),
        jnp.asarray(column),
        *(jnp.asarray(a, jnp.float32) for a in (start, stop)),
    )
    return slabs, jnp.asarray(rng.random((spec.g, spec.p)), jnp.float32), jnp.asarray(category)


def wave(x):
    return jnp.stack([jnp.sin(x).sum(1), (x**2).sum(1)], axis=1)


@pytest.mark.parametrize("implementation", QUICK)
@pytest.mark.parametrize("spec", SLAB_SPECS)
def test_grid_variance(spec, implementation):
    slabs, offsets, category = slab_problem(spec)
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)
    out = kernels.grid_variance(wave, slabs, offsets, category, **options)
    lower, upper, column, start, stop = (np.asarray(a) for a in slabs)
    for i in range(spec.m):
        points = []
        for g in range(spec.g):
            point = lower[i] + np.asarray(offsets[g]) * (upper[i] - lower[i])
            point = np.where(category, lower[i], point)
            j, share = column[i], float(offsets[g, column[i]])
            share = float(share >= 0.5) if category[j] else share
            point[j] = start[i] + share * (stop[i] - start[i])
            points.append(point)
        values = np.asarray(wave(jnp.asarray(np.array(points), jnp.float32)), float)
        np.testing.assert_allclose(out[i], values.var(0), rtol=1e-3, atol=1e-5)


def test_grid_variance_maps_and_refuses(unchecked):
    slabs, offsets, category = slab_problem(SLAB_SPECS[1])
    many = jax.tree.map(lambda a: jnp.stack([a, a]), slabs)
    out = jax.vmap(lambda s: kernels.grid_variance(wave, s, offsets, category))(many)
    np.testing.assert_allclose(out[0], out[1])
    with pytest.raises(ValueError, match="offsets have 1 columns"):
        kernels.grid_variance(wave, slabs, offsets[:, :1], category)
    with pytest.raises(ValueError, match="implementation is"):
        kernels.grid_variance(wave, slabs, offsets, category, implementation="cuda")


KINDS = [
    "poisson",
    *(pytest.param(w, marks=pytest.mark.extended) for w in ("multinomial", "bayesian")),
]


def draw_problem(spec, dtype=np.float32):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(spec.n, spec.d)).astype(dtype)
    valid = np.arange(spec.n) >= spec.padding
    values[~valid] = np.nan
    identity = rng.permutation(5 * spec.n)[: 2 * spec.n].reshape(spec.n, 2).astype(np.uint32)
    return values, identity, valid


@pytest.mark.x64
@pytest.mark.parametrize(
    "implementation", [pytest.param("reference", marks=pytest.mark.extended), "auto"]
)
@pytest.mark.parametrize("weights", KINDS)
@pytest.mark.parametrize("spec", DRAW_SPECS)
def test_bootstrap_sums_are_sums_under_weights(spec, weights, implementation):
    """The weights are read off by drawing the unit matrix; rows in any order draw the same."""
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    tolerance = (1e-9 if dtype == np.float64 else 1e-5) * spec.n
    values, identity, valid = draw_problem(spec, dtype)
    key = jax.random.key(4)
    options = dict(draws=spec.draws, weights=weights, implementation=implementation)
    options["max_bytes"] = spec.max_bytes

    def draw(rows, values):
        arrays = [jnp.asarray(a[rows]) for a in (values, identity, valid)]
        return np.asarray(kernels.bootstrap_sums(*arrays, key, **options))

    every = np.arange(spec.n)
    w = (draw(every, np.eye(spec.n, dtype=dtype)) + 1)[:, valid]
    count = spec.n - spec.padding
    if weights == "bayesian":
        assert (w >= -tolerance).all()
    else:
        np.testing.assert_allclose(w, np.round(w), atol=tolerance)
    if weights != "poisson":
        np.testing.assert_allclose(w.sum(1), count, atol=tolerance)
    out = draw(every, values)
    assert out.dtype == dtype and out.shape == (spec.draws, spec.d)
    np.testing.assert_allclose(out, (w - 1) @ values[valid].astype(float), atol=tolerance)
    mixed = np.random.default_rng(0).permutation(spec.n)
    np.testing.assert_allclose(draw(mixed, values), out, atol=tolerance)
    spoiled = values.copy()
    spoiled[-1, 0] = np.nan
    assert (np.isnan(draw(every, spoiled)) == (np.arange(spec.d) == 0)).all()


@pytest.mark.parametrize("weights", KINDS)
def test_resampling_weights_have_their_moments(weights):
    """20,000 draws of ten weights: 5 standard errors each, of 65 numbers: chance below 1e-4."""
    n, draws = 10, 20_000
    identity = jnp.stack([jnp.arange(n), jnp.arange(n)], axis=1).astype(jnp.uint32)
    every, key = jnp.ones(n, bool), jax.random.key(1)
    w = 1 + np.asarray(
        kernels.bootstrap_sums(jnp.eye(n), identity, every, key, draws=draws, weights=weights),
        float,
    )
    variance = dict(poisson=1, multinomial=1 - 1 / n, bayesian=(n - 1) / (n + 1))[weights]
    covariance = dict(poisson=0, multinomial=-1 / n, bayesian=-1 / (n + 1))[weights]
    expected = np.where(np.eye(n, dtype=bool), variance, covariance)
    gap = w - 1
    np.testing.assert_array_less(np.abs(gap.mean(0)), 5 * np.sqrt(variance / draws))
    products = gap[:, :, None] * gap[:, None]
    error = products.std(0) / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(products.mean(0) - expected), 5 * error)
    if weights == "poisson":
        shares = [(np.round(w) == j).mean() for j in range(5)]
        expected = np.exp(-1) / np.array([1, 1, 2, 6, 24])
        np.testing.assert_allclose(shares, expected, atol=5 * np.sqrt(0.25 / w.size))


@pytest.mark.extended
@pytest.mark.parametrize("weights", KINDS)
def test_bootstrap_sums_map_and_have_their_weights_as_gradient(weights):
    values, identity, valid = (jnp.asarray(a) for a in draw_problem(DRAW_SPECS[1]))
    values = jnp.nan_to_num(values)

    def draw(values, key):
        return kernels.bootstrap_sums(values, identity, valid, key, draws=33, weights=weights)

    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.jit(jax.vmap(draw))(jnp.stack([values, 2 * values]), keys)
    np.testing.assert_allclose(many[1], draw(2 * values, keys[1]), atol=1e-5)
    assert not np.allclose(many[1], 2 * many[0])
    gradient = jax.grad(lambda v: draw(v, keys[0])[3, 0])(values)
    w = draw(jnp.eye(values.shape[0]), keys[0])[3]
    np.testing.assert_allclose(gradient[:, 0], jnp.where(valid, w, 0), atol=1e-5)


@pytest.mark.extended
def test_no_array_of_weights_is_whole_and_options_are_refused(unchecked):
    n = 50_000
    identity = jnp.zeros((n, 2), jnp.uint32).at[:, 1].set(jnp.arange(n, dtype=jnp.uint32))
    arguments = identity, jnp.ones(n, bool), jax.random.key(0)
    for weights in ("bayesian", "multinomial"):
        call = jax.jit(
            lambda v, kind=weights: kernels.bootstrap_sums(
                v, *arguments, draws=1000, weights=kind, max_bytes=2**22
            )
        )
        memory = call.lower(jnp.ones((n, 1))).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 2**24 < 4 * n * 1000
    with pytest.raises(ValueError, match="weights is 'normal'"):
        kernels.bootstrap_sums(jnp.ones((n, 1)), *arguments, draws=3, weights="normal")
    with pytest.raises(ValueError, match="implementation is 'cuda'"):
        kernels.bootstrap_sums(jnp.ones((n, 1)), *arguments, draws=3, implementation="cuda")
    with pytest.raises(ValueError, match="draws is 0"):
        kernels.bootstrap_sums(jnp.ones((n, 1)), *arguments, draws=0)
    with pytest.raises(ValueError, match="use 'poisson' or 'bayesian'"):
        kernels.resampling_weights(identity, arguments[2], start=0, blocks=1, weights="multinomial")
