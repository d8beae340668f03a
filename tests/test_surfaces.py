"""Surfaces equal their libraries' predictions, and `along` the surface itself."""

import functools

import bartz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler

import jcausal as jc
from jcausal.surfaces import evaluate_along
from jcausal.surfaces._bart import as_posterior, cut_points, nan_ended, split_rhat
from jcausal.surfaces.tree_sums import TreeSum, _leaf_masks, from_heaps
from jcausal.surfaces.tree_sums._tree_arrays import merge


@pytest.mark.x64
def test_ridge_equals_scikit_learn(halves):
    train, test = halves
    penalty = 0.1
    ours = np.asarray(jc.fit(train, jc.Ridge(penalty=penalty))(test.x))
    for arm in (0, 1):
        rows = np.asarray(train.t) == arm
        scaler = StandardScaler().fit(train.points[rows])
        model = SklearnRidge(alpha=penalty * rows.sum())
        model.fit(scaler.transform(train.points[rows]), np.asarray(train.y)[rows])
        theirs = model.predict(scaler.transform(test.points))
        np.testing.assert_allclose(ours[:, arm], theirs, atol=2e-4 * np.ptp(theirs))


def test_small_penalty_is_least_squares_and_weights_count_as_copies():
    sample = draw_sample(1, n=50, p=2)
    weight = np.random.default_rng(0).integers(1, 4, 50)
    weighted = jc.Sample(sample.points, sample.t, sample.y, weight=weight)
    copies = np.repeat(np.arange(50), weight)
    copied = jc.Sample(
        sample.points[copies], np.asarray(sample.t)[copies], np.asarray(sample.y)[copies]
    )
    one, two = jc.fit(weighted, jc.Ridge(penalty=1e-6)), jc.fit(copied, jc.Ridge(penalty=1e-6))
    np.testing.assert_allclose(one.slope, two.slope, rtol=1e-3, atol=1e-4)
    treated = np.asarray(sample.t)
    exact = LinearRegression().fit(
        sample.points[treated], np.asarray(sample.y)[treated], weight[treated]
    )
    np.testing.assert_allclose(one.slope[:, 1], exact.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one.noise[1], two.noise[1], rtol=1e-3)


def test_levels_may_be_renamed_and_reordered():
    sample = draw_sample(2, n=60, p=2, category=3)
    turned = sample.points.copy()
    turned[:, 2] = (turned[:, 2] + 1) % 3
    other = jc.Sample(turned, sample.t, sample.y, kinds=sample.schema.kinds)
    first, second = jc.fit(sample, jc.Ridge()), jc.fit(other, jc.Ridge())
    np.testing.assert_allclose(first(sample.x), second(other.x), rtol=1e-4, atol=1e-4)


@pytest.mark.extended
@pytest.mark.x64
def test_bart_equals_bartz(experiment):
    """The merged, tabulated sum of trees against bartz's own predictions."""
    features = np.asarray(experiment.points, np.float32)
    y = np.asarray(experiment.y, np.float32)
    cuts = cut_points(features, 64)
    with jax.enable_x64(False):  # bartz refuses wider integers
        fitted = bartz.Bart(
            features.T,
            (y - y.mean()) / y.std(),
            binner=functools.partial(bartz.prepcovars.GivenSplitsBinner, xinfo=nan_ended(cuts)),
            num_trees=40,
            num_chains=2,
            num_chain_devices=None,
            n_burn=100,
            n_save=25,
            printevery=None,
            seed=1,
        )
        posterior = as_posterior(fitted, cuts, float(y.mean()), float(y.std()), 2)
        theirs = np.asarray(fitted.predict(features.T, kind="mean")) * y.std() + y.mean()
    ours = np.asarray(posterior.mean()(jnp.asarray(features)))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.ptp(theirs))
    walked = TreeSum(
        from_heaps(
            posterior.var.reshape(-1, posterior.var.shape[2]),
            posterior.cut.reshape(-1, posterior.var.shape[2]),
            posterior.leaf.reshape(-1, posterior.leaf.shape[2]) / posterior.var.shape[0],
        ),
        cuts,
        posterior.offset,
        max_pair_bytes=0,
    )
    np.testing.assert_allclose(walked(jnp.asarray(features)), theirs, atol=1e-5 * np.ptp(theirs))
    assert walked.pair_tables.value.shape == (1,)


@pytest.mark.extended
@pytest.mark.x64
def test_the_mean_of_the_draws_is_the_surface(halves, bart):
    x = halves[1].x
    draws, surface = bart.draws(x), bart(x)
    assert draws.shape == (40, x.shape[0], 2)
    np.testing.assert_allclose(draws.mean(0), surface, atol=1e-5 * float(np.ptp(surface)))
    assert (np.asarray(draws.std(0)) > 0).all()
    assert bart.chains == 2 and np.isfinite(bart.rhat).all() and (bart.noise > 0).all()
    spread = np.asarray(halves[0].y).std()
    assert (np.sqrt(bart.noise) < 1.5 * spread).all() and (np.sqrt(bart.noise) > 0.2 * spread).all()


def test_merging_trees_changes_nothing_but_their_number():
    rng = np.random.default_rng(0)
    var, cut = rng.integers(0, 3, (300, 4)), rng.integers(0, 3, (300, 4))
    cut[:, 2:] *= cut[:, 1:2] > 0
    trees = from_heaps(var, cut, rng.normal(size=(300, 8)))
    merged = merge(trees)
    assert len(merged.var) < 300
    np.testing.assert_allclose(merged.value.sum(), trees.value.sum())


def random_heaps(rng, count, slots, features, cuts):
    """Random trees, some of a single leaf and some full, with their leaves' values."""
    var = rng.integers(0, features, (count, slots))
    cut = rng.integers(1, cuts + 1, (count, slots)) * (rng.uniform(size=(count, slots)) < 0.9)
    cut[: count // 8] = 0
    cut[:, 0] = 0
    for node in range(2, slots):
        cut[:, node] *= cut[:, node // 2] > 0
    cut[count // 8 : count // 4, 1:] = rng.integers(
        1, cuts + 1, (count // 4 - count // 8, slots - 1)
    )
    return from_heaps(var, cut, rng.normal(size=(count, 2 * slots)))


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("depth", [3, 7])
@pytest.mark.parametrize(
    ("budgets", "platform"),
    [
        ((0, 0, 0), "cpu"),
        ((0, 0, 2**28), "cpu"),
        ((0, 0, 2**28), "others"),
        ((0, 2**24, 0), "cpu"),
        ((0, 2**12, 2**28), "cpu"),
        ((2**26, 2**24, 2**28), "cpu"),
    ],
)
def test_tables_masks_and_walks_equal_a_walk_by_hand(depth, budgets, platform, monkeypatch):
    """Trees of up to 8 leaves are tables or masks; of up to 128, walks as well.

    Budgets: of the tables over all bins, of those over the bins told apart, of the masks.
    """
    if platform == "others":
        monkeypatch.setattr(_leaf_masks, "_by_platform", lambda one, blocked, *a: blocked(*a))
    rng = np.random.default_rng(depth)
    features, points = 4, np.array([6, 5, 4, 2])
    trees = random_heaps(rng, 60, 1 << depth, features, 2)
    cuts = np.full((features, 6), np.inf)
    for f, count in enumerate(points):
        cuts[f, :count] = np.sort(rng.normal(size=count))
    names = ("max_pair_bytes", "max_set_bytes", "max_mask_bytes")
    forest = TreeSum(trees, cuts, 0.5, **dict(zip(names, budgets)))
    tabled = 1 << (len(forest.set_tables.value) - 1).bit_length()
    taken = 4 * tabled + forest.set_tables.step.nbytes
    assert (tabled > 1) == (budgets[1] > 0) and taken <= max(1024, 2 * budgets[1])
    if not budgets[1]:
        assert (forest.walked.depth > 0) == (depth == 7 or budgets[2] == 0)

    def by_hand(x):
        bins, total = (cuts < x[:, None]).sum(1), 0.5
        for var, cut, child, value in zip(*trees):
            at = 1
            while child[at]:
                at = child[at] + int(bins[var[at]] >= cut[at])
            total += value[at]
        return total

    x = rng.normal(size=(40, features)).astype(np.float32)
    np.testing.assert_allclose(forest(jnp.asarray(x)), [by_hand(row) for row in x], atol=2e-4)
    for moving in (rng.integers(0, features, (40, 2)), np.array([[2, 0, 3]])):
        count = moving.shape[1]
        at = rng.normal(size=(40, count, 3)).astype(np.float32)
        lines = np.repeat(x[:, None], count * 3, axis=1).reshape(40, count, 3, features)
        places = np.broadcast_to(moving, (40, count))[..., None, None]
        np.put_along_axis(lines, np.broadcast_to(places, (*at.shape, 1)), at[..., None], axis=3)
        theirs = np.array([by_hand(row) for row in lines.reshape(-1, features)]).reshape(at.shape)
        home = np.array([by_hand(row) for row in x])[:, None, None]
        for max_bytes in (2**26, 2**12):
            ours = forest.lines(*map(jnp.asarray, (x, moving, at)), max_bytes)
            np.testing.assert_allclose(ours, theirs - home, atol=2e-4)


@pytest.mark.extended
@pytest.mark.parametrize("made", ["bart", "ridge", "function"])
def test_along_and_slab_variance_equal_the_surface(made, halves, bart):
    train, test = halves
    surface = dict(
        bart=lambda: bart,
        ridge=lambda: jc.fit(train, jc.Ridge()),
        function=lambda: jc.Function(lambda x: jnp.stack([x[:, 0] ** 2, x[:, 6] - x[:, 1]], 1)),
    )[made]()
    rng = np.random.default_rng(0)
    m = 300
    centre = test.x[rng.integers(0, test.n, m)]
    j = jnp.asarray(rng.integers(0, 8, m))
    spread = np.asarray(test.x).std(0)[np.asarray(j)]
    lo = centre[jnp.arange(m), j] + jnp.asarray(rng.normal(size=m) * spread, centre.dtype)
    hi = lo + jnp.asarray(np.abs(rng.normal(size=m)) * spread, centre.dtype)
    at = jnp.stack([lo, (lo + hi) / 2, hi], axis=1)
    full = np.asarray(evaluate_along(surface, centre, j[:, None], at[:, None]))[:, 0]
    short = np.asarray(surface.along(centre, j[:, None], at[:, None]))[:, 0]
    scale = 2e-6 * max(np.abs(full).max(), float(jnp.abs(surface(centre)).max()))
    np.testing.assert_allclose(short, full, atol=20 * scale)
    pair = jnp.array([[3, 0]])
    ends = jnp.stack([centre[:, pair[0]], jnp.broadcast_to(test.x[:1, pair[0]], (m, 2))], axis=2)
    whole = np.asarray(evaluate_along(surface, centre, pair, ends))
    np.testing.assert_allclose(surface.along(centre, pair, ends), whole, atol=20 * scale)
    variance = np.asarray(surface.slab_variance(centre, lo, hi, j, 3))
    np.testing.assert_allclose(variance, full.var(1), rtol=1e-2, atol=(20 * scale) ** 2)
    jitted = jax.jit(lambda x: surface.lean()(x))(centre)
    np.testing.assert_allclose(jitted, surface(centre), rtol=1e-5, atol=scale)
    mapped = jax.vmap(lambda x: surface.lean()(x[None])[0])(centre)
    np.testing.assert_allclose(mapped, surface(centre), rtol=1e-5, atol=scale)


@pytest.mark.extended
def test_one_arm_only(halves):
    for model in (jc.Ridge(), jc.BART(trees=5, chains=2, burn=5, draws=5, thin=1)):
        control = jc.fit(halves[0], model, arms="control", key=0)
        values = np.asarray(control(halves[1].x))
        assert np.isfinite(values[:, 0]).all() and np.isnan(values[:, 1]).all()
        assert jc.match(halves[1], jc.FastAHB(gamma1=0.0), surface=control).matched.all()
        with pytest.raises(jc.MatchError, match="the surface gave NaN"):
            jc.match(halves[1], jc.FastAHB(), surface=control)


def test_bad_models_are_refused(halves, unchecked):
    with pytest.raises(ValueError, match="give key="):
        jc.fit(halves[0], jc.BART())
    with pytest.raises(ValueError, match="arms is 'all'"):
        jc.fit(halves[0], jc.Ridge(), arms="all")
    with pytest.raises(ValueError, match="penalty is 0"):
        jc.Ridge(penalty=0.0)
    with pytest.raises(ValueError, match="trees is 0"):
        jc.BART(trees=0)
    with pytest.raises(ValueError, match=r"returned shape \(3,\) for 3 points"):
        jc.Function(lambda x: x[:, 0])(jnp.ones((3, 2)))


def test_rhat_is_one_for_chains_that_agree_and_large_for_others():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 500))
    assert abs(split_rhat(draws) - 1) < 0.02
    assert split_rhat(draws + np.arange(4)[:, None]) > 1.5


@pytest.mark.parametrize(
    "model",
    [jc.Ridge(), pytest.param(jc.BoostedTrees(), marks=pytest.mark.extended)],
    ids=["ridge", "trees"],
)
def test_points_of_another_width_are_refused(halves, model, unchecked):
    surface = jc.fit(halves[0], model, key=0)
    x = np.asarray(halves[1].x)
    assert surface(x).shape == (halves[1].n, 2)
    for wrong in (x[:, :-1], np.concatenate([x, x[:, :1]], axis=1)):
        with pytest.raises(ValueError, match=rf"a surface takes \(m, {x.shape[1]}\), one row a"):
            surface(wrong)
