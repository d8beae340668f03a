"""jit, vmap and grad: the same boxes, one trace a shape, bounded memory, codes for bad rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.matching.boxes.fast._batch_loop import advance


def arrays(seeds, n=40):
    samples = [draw_sample(seed, n=n) for seed in seeds]
    return tuple(jnp.stack([getattr(s, name) for s in samples]) for name in "xty")


@pytest.mark.extended
@pytest.mark.x64
def test_vmap_over_data_sets_with_ridge_equals_one_at_a_time():
    x, t, y = arrays(range(3))

    def att(x, t, y):
        sample = jc.Sample(x, t, y)
        effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=0, throw=False)
        return effects.att, effects.matched.sum(), effects.contributions

    many = jax.jit(jax.vmap(att))(x, t, y)
    for i in range(3):
        alone = jc.estimate(draw_sample(i), jc.FastAHB(outcome=jc.Ridge()), key=0)
        np.testing.assert_allclose(many[0][i], alone.att, rtol=1e-3)
        assert int(many[1][i]) == int(alone.matched.sum())
        np.testing.assert_allclose(many[2][i], alone.contributions, atol=1e-5)


@pytest.mark.extended
def test_the_traced_boxes_are_the_host_boxes(surface):
    sample = draw_sample(3, n=40, category=3)
    levels = {"x3": ["a", "b", "c"]}

    def traced(x, t):
        again = jc.Sample(x, t, kinds=sample.schema.kinds, levels=levels)
        found = jc.match(again, jc.FastAHB(), surface=surface, throw=False)
        return found.lower, found.upper, found.open, found.matched

    lower, upper, opened, matched = jax.jit(traced)(sample.x, sample.t)
    host = jc.match(sample, jc.FastAHB(), surface=surface)
    rows = np.asarray(host.query)
    assert np.asarray(matched).tolist() == np.asarray(sample.t).tolist()
    np.testing.assert_allclose(lower[rows, :3], host.lower[:, :3], rtol=1e-6)
    np.testing.assert_allclose(upper[rows, :3], host.upper[:, :3], rtol=1e-6)
    assert (np.asarray(opened[rows]) == np.asarray(host.open)).all()


@pytest.mark.parametrize("method", [jc.AHB(), jc.FastAHB()])
def test_boxes_that_leave_jit_and_vmap_count_their_units(method):
    """What is laid out for the kernels when boxes are made goes where they go."""
    x, t, _ = arrays(range(2))
    surface = jc.Function(wavy)

    def boxes(x, t):
        return jc.match(jc.Sample(x, t), method, surface=surface, throw=False)

    many = jax.jit(jax.vmap(boxes))(x, t)
    for i in range(2):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], many)
        codes, arm = np.asarray(one.sample.codes), np.asarray(one.sample.t)
        low, high = np.asarray(one.lower_code)[:, None], np.asarray(one.upper_code)[:, None]
        inside = ((low <= codes) & (codes <= high)).all(2)
        counts = np.stack([(inside & ~arm).sum(1), (inside & arm).sum(1)], axis=1)
        np.testing.assert_array_equal(one.sizes, counts)


@pytest.mark.extended
def test_gradient_of_the_att_is_the_contributions(surface):
    sample = draw_sample(4, n=40)
    matching = jc.match(sample, jc.FastAHB(), surface=surface)
    for adjust in ("auto", None):
        effects = jc.estimate(sample, matching, adjust=adjust)

        def att(y, adjust=adjust):
            return jc.estimate(sample.with_outcome(y), matching, adjust=adjust, throw=False).att

        np.testing.assert_allclose(jax.grad(att)(sample.y), effects.contributions, atol=1e-5)

    method = jc.FastAHB(outcome=jc.Ridge())

    def through_everything(y, adjust):
        again = sample.with_outcome(y)
        return jc.estimate(again, method, key=0, adjust=adjust, throw=False).att

    whole = jc.estimate(sample, method, key=0)
    gradient = jax.grad(through_everything)(sample.y, None)
    np.testing.assert_allclose(gradient, whole.contributions, atol=1e-5)
    # adjusted, the model moves with the outcomes: twice the outcomes are twice the effect
    gradient = jax.grad(through_everything)(sample.y, "auto")
    np.testing.assert_allclose(gradient @ sample.y, whole.att, rtol=1e-3)
    assert np.abs(gradient - whole.contributions).max() > 1e-3


@pytest.mark.extended
@pytest.mark.x64
def test_gradients_are_finite_and_alike_with_and_without_jit():
    sample = draw_sample(5, n=120)
    x, y, t = sample.x, sample.y, sample.t
    method = jc.AHB(outcome=jc.Ridge())

    def att(x, y):
        return jc.estimate(jc.Sample(x, t, y), method, key=0, throw=False).att

    eager, compiled = (how(jax.grad(att, (0, 1)))(x, y) for how in (lambda f: f, jax.jit))
    for one, other in zip(eager, compiled):
        assert float(jnp.abs(one).max()) > 1e-3
        np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(eager[1] @ y, att(x, y), rtol=1e-3)


@pytest.mark.parametrize("arms", ["control", pytest.param("both", marks=pytest.mark.extended)])
def test_the_gradient_of_a_fit_follows_the_training_rows(arms):
    """Also where one arm is not fitted."""
    sample = draw_sample(6, n=60, p=4)
    t, y, way = sample.t, sample.y, jnp.asarray(np.random.default_rng(0).normal(size=(60, 4)))

    def foretold(x):
        return jc.fit(jc.Sample(x, t, y), jc.Ridge(), arms=arms, key=0)(x)[:5, 0].sum()

    slope = float((jax.jit(jax.grad(foretold))(sample.x) * way).sum())
    step = 1e-2
    rise = float(foretold(sample.x + step * way) - foretold(sample.x - step * way)) / (2 * step)
    assert slope == pytest.approx(rise, rel=2e-2)


@pytest.mark.extended
def test_one_trace_a_shape_whatever_the_names_and_numbers():
    traces = []

    def counted(x):
        traces.append(x.shape)
        return wavy(x)

    surface = jc.Function(counted)
    jc.match(draw_sample(0), jc.FastAHB(), surface=surface)
    first = len(traces)
    assert first > 0
    size = advance._cached._cache_size()
    jc.match(
        draw_sample(0, names=["a", "b", "c"], units=["$", "", ""]), jc.FastAHB(), surface=surface
    )
    jc.match(draw_sample(1), jc.FastAHB(gamma1=0.5, c=1.3, tolerance=0.02), surface=surface)
    jc.match(draw_sample(1, n=39), jc.FastAHB(caliper=None), surface=surface)
    assert len(traces) == first
    assert advance._cached._cache_size() == size
    jc.match(draw_sample(1), jc.FastAHB(levels=7), surface=surface)
    size = advance._cached._cache_size()
    jc.match(draw_sample(1, n=39), jc.FastAHB(levels=5, tolerance=0.02), surface=surface)
    assert advance._cached._cache_size() == size
    ridge = [jc.fit(draw_sample(s, n=50 + s), jc.Ridge()) for s in range(3)]
    jc.match(draw_sample(0), jc.FastAHB(), surface=ridge[0])
    size = advance._cached._cache_size()
    for other in ridge[1:]:
        jc.match(draw_sample(0), jc.FastAHB(), surface=other)
    assert advance._cached._cache_size() == size


def widest(jaxpr):
    """The largest number of elements of any array inside a jaxpr."""
    sizes = [np.prod(v.aval.shape) for eqn in jaxpr.eqns for v in eqn.outvars]
    inner = [
        widest(getattr(sub, "jaxpr", sub))
        for eqn in jaxpr.eqns
        for value in eqn.params.values()
        for sub in (value if isinstance(value, tuple | list) else [value])
        if hasattr(sub, "eqns") or hasattr(getattr(sub, "jaxpr", None), "eqns")
    ]
    return max([1, *sizes, *inner])


@pytest.mark.extended
def test_nothing_is_n_by_n():
    n = 6000
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(n, 2)), jnp.float32)
    t, y = jnp.asarray(rng.random(n) < 0.5), jnp.asarray(rng.normal(size=n), jnp.float32)

    def everything(x, t, y):
        sample = jc.Sample(x, t, y)
        effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=0, throw=False)
        bounds = jc.interval(effects, jc.AbadieImbens())
        return effects.att, effects.contributions, bounds.lower

    jaxpr = jax.make_jaxpr(everything)(x, t, y)
    assert n < widest(jaxpr.jaxpr) < n * n / 4


@pytest.mark.extended
def test_bad_rows_become_codes_under_tracing():
    x, t, y = (a[0] for a in arrays([5]))

    def run(x, y):
        method = jc.FastAHB(outcome=jc.Function(wavy))
        effects = jc.estimate(jc.Sample(x, t, y), method, folds=1, throw=False)
        return effects.matching.status, effects.att

    status, att = jax.jit(run)(x.at[3, 1].set(jnp.nan), y)
    asked = np.asarray(t)
    assert np.unique(np.asarray(status)[asked]).tolist() == [4]
    assert np.isnan(float(att))
    _, att = jax.jit(run)(x, y.at[int(np.argmax(t))].set(jnp.inf))
    assert np.isnan(float(att))
    status, att = jax.jit(run)(x, y)
    assert np.isfinite(float(att)) and set(np.asarray(status).tolist()) == {0, 6}


def test_what_cannot_be_traced_says_so():
    x, t, y = (a[0] for a in arrays([6]))
    method = jc.FastAHB(outcome=jc.BART())
    with pytest.raises(ValueError, match="BART runs on the host and cannot be used under jit"):
        jax.jit(lambda v: jc.estimate(jc.Sample(v, t, y), method, key=0, throw=False).att)(x)
    with pytest.raises(ValueError, match="BART runs on the host and cannot be fitted under jit"):
        jax.jit(lambda v: jc.fit(jc.Sample(v, t, y), jc.BART(), key=0)(v))(x)
    ridge = jc.FastAHB(outcome=jc.Ridge())
    with pytest.raises(ValueError, match="pass throw=False"):
        jax.jit(lambda v: jc.estimate(jc.Sample(v, t, y), ridge, key=0).att)(x)
    with pytest.raises(jc.DataError, match="name its levels"):
        jax.jit(lambda v: jc.Sample(v, t, kinds=["category"] * 3).x)(x)


@pytest.mark.extended
def test_splits_under_tracing_divide_by_validity():
    x, t, y = (a[0] for a in arrays([7]))

    def parts(key):
        train, test = jc.split(jc.Sample(x, t, y), key=key)
        found = jc.match(test, jc.FastAHB(), surface=jc.fit(train, jc.Ridge()), throw=False)
        return train.valid, test.valid, found.sizes.sum(1), found.matched

    train, test, sizes, matched = jax.jit(parts)(jax.random.key(0))
    assert not np.asarray(train & test).any() and np.asarray(train | test).all()
    assert (np.asarray(matched) == np.asarray(test & t)).all()
    assert (np.asarray(sizes)[np.asarray(matched)] <= int(test.sum())).all()


def test_results_are_pytrees(surface):
    effects = jc.estimate(draw_sample(8), jc.FastAHB(outcome=surface), folds=1)
    leaves, tree = jax.tree.flatten(effects)
    again = jax.tree.unflatten(tree, leaves)
    assert float(again.att) == float(effects.att)
    np.testing.assert_allclose(jax.jit(lambda e: e.att)(effects), effects.att, rtol=1e-6)


@pytest.mark.extended
@pytest.mark.x64
def test_the_working_dtype_is_the_users():
    x, t, y = (np.asarray(a[0]) for a in arrays([9]))
    wide = bool(jax.config.jax_enable_x64)
    sample = jc.Sample(x.astype(np.float64), t, y)
    effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=0)
    expected = jnp.float64 if wide else jnp.float32
    assert sample.x.dtype == effects.att.dtype == effects.contributions.dtype == expected
    narrow = jc.Sample(x.astype(np.float32), t, y.astype(np.float32))
    assert narrow.x.dtype == jnp.float32
