"""Boosted surfaces: truth of one tree and of the cuts, invariances, lines, honest noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample

import jcausal as jc
from jcausal.surfaces import BoostedTrees, evaluate_along
from jcausal.surfaces.boosted_trees import _binned_tree, _boosting, _evaluation
from jcausal.surfaces.boosted_trees._binned_tree import (
    BoostingSettings,
    binned,
    cut_points,
    grow,
    histograms,
    sums_by_products,
    tree_values,
)

SMALL = BoostedTrees(ensemble=3, rounds=12, depth=2, bins=16, patience=12)
N = 80


def bent(x):
    """f0 and f1 of the points: bends, a jump and an interaction."""
    f0 = np.sin(2 * x[:, 0]) + 2 * (x[:, 1] > 0.3)
    return np.stack([f0, f0 + 1 + x[:, 0] * (x[:, 2] > 0)], axis=1)


def bent_sample(seed, n=N, noise=0.3, **options):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, 3)), rng.random(n) < 0.5
    y = bent(x)[np.arange(n), t.astype(int)] + noise * rng.normal(size=n)
    return jc.Sample(x, t, y, **options)


def remade(sample, rows: slice | np.ndarray = slice(None), **changes):
    """The same units again, some of them, or changed."""
    arrays = dict(x=sample.points, t=sample.t, y=sample.y, weight=sample.weight, id=np.arange(N))
    x, t, y, weight, id = (np.asarray(changes.get(name, a))[rows] for name, a in arrays.items())
    return jc.Sample(x, t, y, weight=weight, id=id)


def settings(dtype=float, **changes):
    given = dict(learning_rate=0.5, penalty=1.0, least=3.0, share=1.0) | changes
    numbers = {name: jnp.asarray(value, dtype) for name, value in given.items()}
    return BoostingSettings(**numbers, patience=jnp.int32(5))


def fit(sample, model=SMALL, **options):
    return jc.fit(sample, model, key=0, **options)


@pytest.fixture(scope="module")
def sample():
    return remade(bent_sample(0), weight=np.random.default_rng(1).random(N) + 0.5)


@pytest.fixture(scope="module")
def small(sample):
    return fit(sample)


def brute_tree(z, y, w, depth, rate, penalty, least):
    """One tree by trying every midpoint of every feature in every node: values at the rows."""
    value = np.zeros(len(y))

    def score(rows):
        return (w[rows] * y[rows]).sum() ** 2 / (w[rows].sum() + penalty)

    def divide(rows, left):
        best, sides = 0.0, None
        for j in range(z.shape[1] if left else 0):
            for cut in np.unique(z[:, j])[:-1]:
                low, high = rows[z[rows, j] <= cut], rows[z[rows, j] > cut]
                if min(w[low].sum(), w[high].sum()) < least:
                    continue
                gain = score(low) + score(high) - score(rows)
                if gain > best + 1e-9:
                    best, sides = gain, (low, high)
        if sides is None:
            value[rows] = rate * (w[rows] * y[rows]).sum() / (w[rows].sum() + penalty)
            return
        for side in sides:
            divide(side, left - 1)

    divide(np.arange(len(y)), depth)
    return value


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_tree_is_that_of_exhaustive_search(depth, seed):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 12, (60, 3)).astype(float)
    w = rng.integers(1, 4, 60).astype(float)
    y = np.sin(z[:, 0]) + (z[:, 1] > 5) * z[:, 2] + rng.normal(size=60)
    bins = binned(jnp.asarray(z), cut_points(jnp.asarray(z), jnp.asarray(w), 16))
    tree = grow(bins, jnp.asarray(y), jnp.asarray(w), settings(), depth, 16)
    ours = tree_values(bins, tree, depth)
    close(ours, brute_tree(z, y, w, depth, 0.5, 1.0, 3.0), atol=1e-5)
    assert len(np.unique(np.round(ours, 5))) > depth
    times = w.astype(int)
    again = binned(jnp.asarray(z), cut_points(jnp.asarray(z), jnp.asarray(w), 16))
    repeated = jnp.asarray(np.repeat(np.asarray(again), times, axis=1))
    ones = jnp.ones(times.sum())
    other = grow(repeated, jnp.asarray(np.repeat(y, times)), ones, settings(), depth, 16)
    close(tree_values(bins, other, depth), ours, atol=1e-5)


@pytest.mark.x64
def test_a_node_without_a_split_keeps_its_rows_together():
    z, y = jnp.arange(6.0)[:, None], jnp.asarray([1.0, 2, 3, 4, 5, 6])
    bins = binned(z, cut_points(z, jnp.ones(6), 8))
    tree = grow(bins, y, jnp.ones(6), settings(least=4.0, penalty=0.0), 2, 8)
    close(tree_values(bins, tree, 2), np.full(6, 0.5 * 3.5), rtol=1e-6)


@pytest.mark.x64
def test_cuts_are_midpoints_or_even_by_weight_and_way():
    few = jnp.asarray([[3.0], [1.0], [1.0], [7.0], [np.nan], [9.0]])
    weight = jnp.asarray([1.0, 1, 2, 1, 0, 0])
    assert cut_points(few, weight, 4)[0].tolist() == [2.0, 5.0, np.inf]
    rng = np.random.default_rng(0)
    z = np.stack([rng.exponential(size=3000) ** 2, rng.integers(0, 2, 3000)], 1)
    cuts = np.asarray(cut_points(jnp.asarray(z), jnp.ones(3000), 32))
    real = cuts[0][np.isfinite(cuts[0])]
    assert len(real) >= 24 and (np.diff(real) > 0).all() and np.isin(real, z).sum() == 0
    value = np.sort(z[:, 0]).astype(cuts.dtype)
    measure = (np.arange(1, 3001) / 3000 + (value - value[0]) / np.ptp(value)) / 2
    inside = np.searchsorted(real, value)
    wide = [np.ptp(measure[inside == one]) for one in range(len(real) + 1)]
    assert max(wide) < 1 / 32 + 1e-4  # values in one bin are that near to each other
    assert cuts[1].tolist() == [0.5] + [np.inf] * 30
    doubled = np.repeat(z, 2, axis=0)
    close(
        cut_points(jnp.asarray(doubled), jnp.ones(6000), 32),
        cut_points(jnp.asarray(z), jnp.full(3000, 2.0), 32),
        rtol=0,
    )


@pytest.mark.x64
def test_histograms_by_products_are_those_by_scattering(monkeypatch):
    rng = np.random.default_rng(0)
    bins = jnp.asarray(rng.integers(0, 8, (3, 101)), jnp.uint8)
    node, values = jnp.asarray(rng.integers(0, 2, 101) * 8), jnp.asarray(rng.normal(size=(101, 2)))
    ours = histograms(bins, node, values, 16)
    expected = np.zeros((3, 16, 2))
    for f in range(3):
        np.add.at(expected[f], np.asarray(bins[f]) + np.asarray(node), np.asarray(values))
    close(ours, expected, atol=1e-5)
    monkeypatch.setattr(
        _binned_tree, "BYTES", 3 * 16 * 8 * 20
    )  # several blocks, the last one short
    place = node + bins.astype(jnp.int32)
    close(sums_by_products(place, values, 16), expected, atol=1e-5)
    lowered = jax.jit(lambda b, n, v: histograms(b, n, v, 16)).trace(bins, node, values)
    assert "scatter" not in lowered.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.extended
def test_bends_jumps_and_lines_are_found():
    points = np.random.default_rng(9).normal(size=(2000, 3))
    train, truth = bent_sample(0, n=800), bent(points)
    surface = fit(train, BoostedTrees())
    x = jnp.asarray(points, train.x.dtype)
    error = np.sqrt(np.square(surface(x) - truth).mean(0))
    lines = np.sqrt(np.square(jc.fit(train, jc.Ridge())(x) - truth).mean(0))
    assert (error < 0.4 * lines).all() and (error < 0.4).all() and (lines > 0.6).all()
    assert (surface.noise > 0.07).all() and (surface.noise < 0.09 + 0.4**2).all()
    rng = np.random.default_rng(2)
    y = train.points @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=800)
    straight = fit(jc.Sample(train.points, train.t, y), BoostedTrees())
    far = jnp.asarray(3 * points, train.x.dtype)
    off = np.asarray(straight(far)) - (3 * points @ [1.0, -2.0, 0.5])[:, None]
    assert np.sqrt(np.square(off).mean()) < 0.15  # also far from the rows it was trained on


@pytest.mark.extended
@pytest.mark.x64
def test_noise_is_out_of_sample_and_nothing_is_found_in_noise():
    rng = np.random.default_rng(3)
    x, t, y = rng.normal(size=(900, 5)), rng.random(900) < 0.5, 2 * rng.normal(size=900)
    surface = fit(jc.Sample(x[:600], t[:600], y[:600]), BoostedTrees())
    of_arms = np.array([y[:600][~t[:600]].var(), y[:600][t[:600]].var()])
    assert (np.abs(surface.noise / of_arms - 1) < 0.05).all()
    r2 = surface.r2(jc.Sample(x[600:], t[600:], y[600:]))
    assert (np.abs(r2) < 0.06).all()


@pytest.mark.extended
@pytest.mark.x64
def test_noise_is_the_error_on_fresh_rows_not_on_those_trained_on():
    train = bent_sample(5, n=1200, noise=1.0)
    surface = fit(train, BoostedTrees(rounds=100))

    def errors(sample):
        off = np.square(np.asarray(surface(sample.x)) - np.asarray(sample.y)[:, None])
        t = np.asarray(sample.t)
        return np.array([off[~t, 0].mean(), off[t, 1].mean()])

    outside = errors(bent_sample(6, n=4000, noise=1.0))
    assert (np.abs(surface.noise / outside - 1) < 0.15).all()
    assert (errors(train) < 0.95 * np.minimum(outside, surface.noise)).all()


@pytest.mark.x64
def test_row_order_weight_units_and_unused_rows_do_not_matter(sample, small):
    x = sample.x
    assert int(small.arms.grown.min()) > 0
    turned = np.random.default_rng(3).permutation(N)
    close(fit(remade(sample, turned))(x), small(x), atol=1e-4)
    threefold = remade(sample, weight=3 * sample.weight)
    close(fit(threefold)(x), small(x), atol=1e-4)
    some = np.arange(N) % 20 > 0
    nothing = remade(sample, weight=np.where(some, sample.weight, 0))
    fewer = fit(remade(sample, some))
    close(fit(nothing)(x), fewer(x), atol=1e-4)
    assert fewer.trained.row.shape == (some.sum(), 2)
    assert not np.allclose(fewer(x), small(x), atol=1e-3)


@pytest.mark.x64
def test_outcomes_in_other_units_and_arms_with_other_names(sample, small):
    scaled = fit(remade(sample, y=4 * sample.y + 100))
    close(scaled(sample.x), 4 * small(sample.x) + 100, atol=1e-3)
    close(scaled.noise, 16 * small.noise, rtol=1e-3)
    swapped = fit(remade(sample, t=~sample.t))
    close(swapped(sample.x)[:, ::-1], small(sample.x), atol=1e-4)


@pytest.mark.extended
def test_levels_may_be_renamed_and_reordered():
    first = draw_sample(2, n=N, p=2, category=3)
    y = np.asarray(first.y) + 3 * (first.points[:, 2] == 1)
    turned = first.points.copy()
    turned[:, 2] = (turned[:, 2] + 1) % 3
    one = jc.Sample(first.points, first.t, y, kinds=first.schema.kinds)
    two = jc.Sample(turned, first.t, y, kinds=first.schema.kinds)
    close(fit(one)(one.x), fit(two)(two.x), atol=1e-4)
    alone = jc.Sample(first.points[:, 2:], first.t, y, kinds=["category"])
    assert len(np.unique(np.round(fit(alone)(alone.x)[:, 0], 4))) > 1


@pytest.mark.extended
@pytest.mark.x64
def test_vmap_and_padding_equal_separate_fits_and_a_bad_row_is_nan():
    samples = [bent_sample(seed) for seed in (1, 2, 3)]
    at, pad = samples[0].x, [(0, 9), (0, 0)]

    def run(x, t, y, valid):
        x, y = jnp.where(valid[:, None], x, jnp.nan), jnp.where(valid, y, jnp.nan)
        surface = jc.fit(jc.Sample(x, t, y, valid=valid), SMALL, key=0)
        return surface(at), surface.noise

    columns = [[jnp.pad(getattr(s, c), pad[: getattr(s, c).ndim]) for s in samples] for c in "xty"]
    valid = jnp.tile(jnp.arange(N + 9) < N, (3, 1))
    x, t, y = (jnp.stack(c) for c in columns)
    bad = int(np.flatnonzero(~np.asarray(samples[2].t))[0])
    values, noise = jax.jit(jax.vmap(run))(x, t, y.at[2, bad].set(jnp.inf), valid)
    assert np.isnan(values[2, :, 0]).all() and np.isnan(noise[2, 0])
    for k, one in enumerate(samples[:2]):
        alone = fit(one)
        close(values[k], alone(at), atol=1e-4)
        close(noise[k], alone.noise, rtol=1e-4)
    close(values[2, :, 1], fit(samples[2])(at)[:, 1], atol=1e-4)


@pytest.mark.extended
def test_an_arm_that_cannot_be_divided_is_nan_under_tracing():
    sample = bent_sample(1)
    t = jnp.arange(N) == 3
    found = jax.jit(lambda y: fit(jc.Sample(sample.x, t, y))(sample.x))(sample.y)
    assert np.isfinite(found[:, 0]).all() and np.isnan(found[:, 1]).all()
    alone = jax.jit(lambda y: fit(jc.Sample(sample.x, t, y), arms="treated").noise)(sample.y)
    assert np.isnan(alone).all()


@pytest.mark.extended
@pytest.mark.parametrize("arm", [0, 1])
def test_one_arm_only(sample, small, arm):
    word = ("control", "treated")[arm]
    surface = fit(sample, arms=word)
    values = np.asarray(surface(sample.x))
    close(values[:, arm], small(sample.x)[:, arm], atol=1e-5)
    assert np.isnan(values[:, 1 - arm]).all() and np.isnan(surface.noise[1 - arm])
    assert len(surface.trained.row) == (np.asarray(sample.t) == bool(arm)).sum()
    traced = jax.jit(lambda y: fit(sample.with_outcome(y), arms=word)(sample.x))(sample.y)
    close(traced, values, atol=1e-4)
    j, at = jnp.arange(3)[None], jnp.zeros((N, 3, 40), sample.x.dtype)
    assert np.isnan(surface.along(sample.x, j, at)[..., 1 - arm]).all()


@pytest.mark.x64
@pytest.mark.parametrize("points", [3, pytest.param(40, marks=pytest.mark.extended)])
def test_lines_are_those_of_the_surface(points, sample, small, monkeypatch):
    monkeypatch.setattr(_evaluation, "BYTES", 20_000)  # several blocks of rows
    rng = np.random.default_rng(0)
    at = jnp.asarray(rng.normal(size=(N, 3, points)), sample.x.dtype)
    every, own = jnp.arange(3)[None], jnp.asarray(rng.integers(0, 3, (N, 3)))
    for j in (every, own):
        ours = small.lean().along(sample.x, j, at)
        close(ours, evaluate_along(small, sample.x, j, at), atol=1e-5)
        assert float(jnp.abs(ours).max()) > 0.5
    some = jnp.asarray(rng.random((N, 3)) < 0.5)
    wanted = small.along(sample.x, every, at, some)[some]
    close(wanted, small.along(sample.x, every, at)[some], atol=1e-5)
    assert small.lean().trained is None


@pytest.mark.extended
def test_lines_beside_categories_and_on_a_slope():
    rng = np.random.default_rng(4)
    first = draw_sample(3, n=200, p=3, category=3)
    y = first.points @ [1.0, 2.0, 0.0, 0.0] + 2 * (first.points[:, 3] == 1) * first.points[:, 2]
    sample = jc.Sample(first.points, first.t, y, kinds=first.schema.kinds)
    surface = fit(sample, BoostedTrees(rounds=30, bins=16))
    assert float(jnp.abs(surface.arms.slope).min(1).max()) > 0
    at = jnp.asarray(rng.normal(size=(200, 3, 64)), sample.x.dtype)
    j = jnp.asarray([[2, 0, 1]])
    close(surface.along(sample.x, j, at), evaluate_along(surface, sample.x, j, at), atol=1e-4)
    slope = jax.grad(lambda x: surface(x).sum())(sample.x)
    close(slope[:, :3], np.broadcast_to(surface.arms.slope.sum(0)[:3], (200, 3)), rtol=1e-5)


@pytest.mark.extended
def test_many_rows_are_seen_a_window_at_a_time(monkeypatch):
    monkeypatch.setattr(_boosting, "WINDOW", 128)
    train, points = bent_sample(7, n=1000), np.random.default_rng(8).normal(size=(500, 3))
    surface = fit(train, BoostedTrees(bins=33))
    error = np.sqrt(np.square(surface(jnp.asarray(points, train.x.dtype)) - bent(points)).mean(0))
    assert (error < 0.45).all()
    order = np.random.default_rng(9).permutation(1000)
    one = jc.Sample(train.points, train.t, train.y, id=np.arange(1000))
    two = jc.Sample(
        train.points[order], np.asarray(train.t)[order], np.asarray(train.y)[order], id=order
    )
    model = BoostedTrees(rounds=20, bins=33)
    close(fit(one, model)(train.x), fit(two, model)(train.x), atol=1e-4)


@pytest.mark.extended
def test_clusters_are_held_out_whole():
    """An outcome that is the cluster's own number cannot be foretold for another cluster."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(12), 40)
    x = np.stack([cluster + 0.1 * rng.normal(size=480), rng.normal(size=480)], 1)
    y, t = rng.normal(size=12)[cluster], rng.random(480) < 0.5
    together = fit(jc.Sample(x, t, y, cluster=cluster), BoostedTrees(rounds=60))
    apart = fit(jc.Sample(x, t, y), BoostedTrees(rounds=60))
    assert (apart.noise < 0.3 * together.noise).all()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (dict(ensemble=1), "ensemble is 1: it must be a whole number, at least 2"),
        (dict(rounds=0), "rounds is 0"),
        (dict(depth=7), "depth is 7: it must be a whole number, at least 1 and at most 6"),
        (dict(patience=1.5), "patience is 1.5"),
        (dict(bins=257), "bins is 257"),
        (dict(learning_rate=0.0), "learning_rate is 0.0: it must be over 0 and at most 1"),
        (dict(share=float("nan")), "share is nan"),
        (dict(least=0.0), "least is 0.0: it must be positive"),
        (dict(penalty=-1.0), "penalty is -1.0: it must not be negative"),
    ],
)
def test_bad_hyperparameters_are_refused(option, words, unchecked):
    with pytest.raises(ValueError, match=words):
        BoostedTrees(**option)


def test_what_cannot_be_fitted_says_so(sample):
    with pytest.raises(ValueError, match="BoostedTrees draws at random: give key="):
        jc.fit(sample, SMALL)
    lonely = remade(sample, t=np.arange(N) == 3)
    with pytest.raises(jc.DataError, match="the 1 treated rows .* cannot be divided"):
        fit(lonely)
    assert np.isfinite(fit(lonely, arms="control").noise[0])
    halves = jc.Sample(sample.points, sample.t, sample.y, cluster=np.asarray(sample.t))
    with pytest.raises(jc.DataError, match="in several clusters"):
        fit(halves)


@pytest.mark.parametrize(
    "rows",
    [2, pytest.param(3, marks=pytest.mark.extended), pytest.param(5, marks=pytest.mark.extended)],
)
def test_a_few_rows_are_enough_and_a_constant_is_itself(rows):
    x, t = np.arange(2.0 * rows)[:, None], np.arange(2 * rows) % 2 == 0
    surface = fit(jc.Sample(x, t, np.full(2 * rows, 7.0)))
    close(surface(jnp.asarray(x, surface.noise.dtype)), np.full((2 * rows, 2), 7.0), rtol=1e-6)
    close(surface.noise, [0, 0], atol=1e-9)
