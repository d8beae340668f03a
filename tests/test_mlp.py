"""The neural surface: truth, invariances, one trace for many data sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.data import hold_out, step_key
from jcausal.surfaces._network import NetworkRows, _batch, _by_arm

SMALL = jc.MLP(width=8, depth=1, ensemble=2, epochs=4)
N = 64


def bent(x):
    """f0 and f1 of the points: smooth, far from linear, another effect on either side of 0."""
    f0 = np.sin(2 * x[:, 0]) + 0.5 * x[:, 1] ** 2
    return np.stack([f0, f0 + 1 + x[:, 0] * (x[:, 2] > 0)], axis=1)


def bent_sample(seed, n=N, noise=0.3, **options):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, 3)), rng.random(n) < 0.5
    y = bent(x)[np.arange(n), t.astype(int)] + noise * rng.normal(size=n)
    return jc.Sample(x, t, y, **options)


def remade(sample, rows=slice(None), **changes):
    """The same units again, some of them, or changed."""
    arrays = dict(x=sample.points, t=sample.t, y=sample.y, weight=sample.weight, id=np.arange(N))
    given = {name: np.asarray(changes.get(name, a))[rows] for name, a in arrays.items()}
    return jc.Sample(**given)


def close(one, two, tolerance=2e-3):
    """Equal but for what some steps of training make of rounding."""
    np.testing.assert_allclose(one, two, atol=tolerance * float(np.nanstd(np.asarray(two))))


@pytest.fixture(scope="module")
def sample():
    return remade(bent_sample(0), weight=np.random.default_rng(1).random(N) + 0.5)


@pytest.fixture(scope="module")
def small(sample):
    return jc.fit(sample, SMALL, key=0)


@pytest.mark.extended
def test_a_bent_function_is_found_where_lines_fail():
    points = np.random.default_rng(9).normal(size=(2000, 3))
    train, truth = bent_sample(0, n=600), bent(points)
    surface = jc.fit(train, jc.MLP(), key=0)
    x = jnp.asarray(points, train.x.dtype)
    error = np.sqrt(np.square(surface(x) - truth).mean(0))
    lines = np.sqrt(np.square(jc.fit(train, jc.Ridge())(x) - truth).mean(0))
    assert (error < 0.4 * lines).all() and (error < 0.4).all() and (lines > 0.8).all()
    # between the true noise and that plus the error of one member
    assert (surface.noise > 0.05).all() and (surface.noise < 0.09 + 0.4**2).all()


@pytest.mark.extended
@pytest.mark.x64
def test_surface_is_the_mean_of_members_and_noise_their_held_out_error(sample, small):
    members = small.members(sample.x)
    assert members.shape == (2, N, 2) and float(jnp.abs(members[0] - members[1]).max()) > 0.01
    np.testing.assert_allclose(small(sample.x), members.mean(0), rtol=1e-6)
    assert small(sample.x).dtype == sample.x.dtype
    again = jc.fit(sample, SMALL, key=0)
    assert (np.asarray(again.members(sample.x)) == np.asarray(members)).all()
    key, noise = step_key(jax.random.key(0), "fit"), []
    for k in range(2):
        held = np.asarray(hold_out(sample, 0.2, step_key(jax.random.fold_in(key, k), "held")))
        for arm in (0, 1):
            assert held[np.asarray(sample.t) == arm].sum() == round(
                0.2 * (np.asarray(sample.t) == arm).sum()
            )
            mine = held & (np.asarray(sample.t) == arm)
            square = np.square(np.asarray(sample.y - members[k, :, arm])[mine])
            noise.append(np.average(square, weights=np.asarray(sample.weight)[mine]))
    np.testing.assert_allclose(small.noise, np.reshape(noise, (2, 2)).mean(0), rtol=1e-4)


@pytest.mark.x64
def test_row_order_weight_units_and_unused_rows_do_not_matter(sample, small):
    x = sample.x
    turned = np.random.default_rng(3).permutation(N)
    close(jc.fit(remade(sample, turned), SMALL, key=0)(x), small(x))
    threefold = remade(sample, weight=3 * sample.weight)
    close(jc.fit(threefold, SMALL, key=0)(x), small(x))
    some = np.arange(N) % 20 > 0
    nothing = remade(sample, weight=np.where(some, sample.weight, 0))
    fewer = jc.fit(remade(sample, some), SMALL, key=0)
    close(jc.fit(nothing, SMALL, key=0)(x), fewer(x))
    assert fewer.trained.row.shape == (some.sum(), 2)


@pytest.mark.x64
def test_outcomes_in_other_units_and_arms_with_other_names(sample, small):
    x = sample.x
    scaled = jc.fit(remade(sample, y=4 * sample.y + 100), SMALL, key=0)
    close(scaled(x), 4 * small(x) + 100)
    np.testing.assert_allclose(scaled.noise, 16 * small.noise, rtol=1e-2)
    swapped = jc.fit(remade(sample, t=~sample.t), SMALL, key=0)
    close(swapped(x)[:, ::-1], small(x))


@pytest.mark.extended
def test_levels_may_be_renamed_and_reordered():
    first = draw_sample(2, n=N, p=2, category=3)
    turned = first.points.copy()
    turned[:, 2] = (turned[:, 2] + 1) % 3
    second = jc.Sample(turned, first.t, first.y, kinds=first.schema.kinds)
    close(jc.fit(first, SMALL, key=0)(first.x), jc.fit(second, SMALL, key=0)(second.x))
    alone = jc.Sample(first.points[:, 2:], first.t, first.y, kinds=["category"])
    values = np.asarray(jc.fit(alone, SMALL, key=0)(alone.x))
    assert len(np.unique(values[:, 0])) == 3  # levels without any number still matter


@pytest.mark.extended
@pytest.mark.x64
def test_vmap_and_padding_equal_separate_fits_and_a_bad_row_is_nan():
    samples = [bent_sample(seed) for seed in (1, 2, 3)]
    model = jc.MLP(width=8, depth=1, ensemble=2, epochs=4, batch=16)  # more rows than a batch
    at = samples[0].x
    pad = [(0, 9), (0, 0)]

    def run(x, t, y, valid):
        x, y = jnp.where(valid[:, None], x, jnp.nan), jnp.where(valid, y, jnp.nan)
        surface = jc.fit(jc.Sample(x, t, y, valid=valid), model, key=0)
        return surface(at), surface.noise

    columns = [[jnp.pad(getattr(s, c), pad[: getattr(s, c).ndim]) for s in samples] for c in "xty"]
    valid = jnp.tile(jnp.arange(N + 9) < N, (3, 1))
    x, t, y = (jnp.stack(c) for c in columns)
    values, noise = jax.jit(jax.vmap(run))(x, t, y.at[2, 5].set(jnp.inf), valid)
    assert np.isnan(values[2]).all() and np.isnan(noise[2]).all()
    for k, one in enumerate(samples[:2]):
        alone = jc.fit(one, model, key=0)
        close(values[k], alone(at))
        np.testing.assert_allclose(noise[k], alone.noise, rtol=2e-2)


@pytest.mark.parametrize("size", [8, 64])
def test_a_batch_holds_rows_of_each_arm_and_all_of_a_small_one(size):
    rng = np.random.default_rng(0)
    n = 40
    t, weight = jnp.asarray(np.arange(n) < 12), jnp.asarray(rng.random(n) < 0.8, jnp.float32)
    row = jnp.stack([jnp.zeros(n), jnp.arange(n)], 1).astype(jnp.uint32)
    rows = NetworkRows(jnp.arange(n, dtype=jnp.float32)[:, None], jnp.zeros(n), t, weight, row)
    found = jax.jit(lambda r: _batch(r, _by_arm(r), jax.random.key(1), size))(rows)
    for arm in (0, 1):
        block = slice(arm * size, (arm + 1) * size)
        used = np.asarray(found.weight[block]) > 0
        mine = np.asarray(found.z[block, 0]).astype(int)[used]
        there = np.flatnonzero((np.asarray(t) == arm) & (np.asarray(weight) > 0))
        assert set(mine) <= set(there)
        assert len(mine) == min(size, len(there))
        if len(there) <= size:
            assert sorted(mine) == there.tolist()


@pytest.mark.extended
def test_one_arm_only_and_lines_and_slopes(sample, small):
    control = jc.fit(sample, SMALL, arms="control", key=0)
    values = np.asarray(control(sample.x))
    assert np.isfinite(values[:, 0]).all() and np.isnan(values[:, 1]).all()
    assert np.isnan(control.noise).tolist() == [False, True]
    j = jnp.asarray(np.arange(N) % 3)
    at = jnp.stack([sample.x[:, 0], sample.x[:, 1] + 1], axis=1)
    moved = np.repeat(np.asarray(sample.x)[:, None], 2, axis=1)
    moved[np.arange(N), :, np.asarray(j)] = at
    there = small(jnp.asarray(moved.reshape(2 * N, -1))).reshape(N, 2, 2)
    change = there - small(sample.x)[:, None]
    ours = small.lean().along(sample.x, j[:, None], at[:, None])[:, 0]
    np.testing.assert_allclose(ours, change, atol=1e-5 * float(jnp.abs(there).max()))
    assert small.lean().trained is None
    slope = jax.grad(lambda x: small(x).sum())(sample.x)[:, 1]
    step = np.array([0, 1e-2, 0], sample.x.dtype)
    change = (small(sample.x + step) - small(sample.x - step)).sum(1) / 2e-2
    np.testing.assert_allclose(slope, change, atol=1e-2 * float(jnp.abs(slope).max()))


@pytest.mark.extended
def test_estimates_with_it_also_under_jit_and_grad():
    sample = draw_sample(4)
    method = jc.FastAHB(outcome=SMALL)
    effects = jc.estimate(sample, method, key=0)
    assert effects.share_matched == 1 and np.isfinite(float(effects.att))

    def att(y):
        again = jc.Sample(sample.x, sample.t, y)
        found = jc.estimate(again, method, key=0, throw=False)
        return found.att, found.r2

    value, r2 = jax.jit(att)(sample.y)
    np.testing.assert_allclose(value, effects.att, rtol=1e-3)
    np.testing.assert_allclose(r2, effects.r2, atol=1e-2)
    gradient = jax.eval_shape(jax.grad(lambda y: att(y)[0]), sample.y)  # traced, not compiled
    assert gradient.shape == (40,)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (dict(width=0), "width is 0: it must be a whole number"),
        (dict(epochs=2.5), "epochs is 2.5: it must be a whole number"),
        (dict(patience=0), "patience is 0"),
        (dict(held=1.0), "held is 1.0: it must lie between 0 and 1"),
        (dict(learning_rate=0.0), "learning_rate is 0.0: it must be positive"),
        (dict(learning_rate=float("nan")), "learning_rate is nan"),
        (dict(weight_decay=-1.0), "weight_decay is -1.0: it must not be negative"),
    ],
)
def test_bad_hyperparameters_are_refused(option, words, unchecked):
    with pytest.raises(ValueError, match=words):
        jc.MLP(**option)


def test_what_cannot_be_trained_says_so(sample):
    with pytest.raises(ValueError, match="MLP draws at random: give key="):
        jc.fit(sample, SMALL)
    lonely = remade(sample, t=np.arange(N) == 3)
    with pytest.raises(jc.DataError, match="the 1 treated rows .* cannot be divided"):
        jc.fit(lonely, SMALL, key=0)
    assert np.isfinite(jc.fit(lonely, SMALL, arms="control", key=0).noise[0])
    halves = jc.Sample(sample.points, sample.t, sample.y, cluster=np.asarray(sample.t))
    with pytest.raises(jc.DataError, match="in several clusters"):
        jc.fit(halves, SMALL, key=0)
    wild = jc.MLP(width=8, depth=1, ensemble=2, epochs=4, learning_rate=1e30)
    with pytest.raises(ValueError, match="the training diverged: choose a learning_rate below"):
        jc.fit(sample, wild, key=0)
