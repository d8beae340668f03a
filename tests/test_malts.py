"""Stretch and MALTS: the loss by hand, planted covariates found, the nearest by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample

import jcausal as jc
from jcausal.matching.learned import _stretch_loss as loss

pytestmark = pytest.mark.x64


def planted(n=800, seed=0, **options):
    """Two numbers and a category matter, six columns are noise; the effect is 1 + x0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    level, noise = rng.integers(0, 4, n), rng.integers(0, 4, n)
    t = rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))
    y = 2 * x[:, 0] + x[:, 1] ** 2 + 3 * (level == 2) + t * (1 + x[:, 0])
    y = y + 0.5 * rng.normal(size=n)
    columns = np.column_stack([x, level, noise])
    kinds = ["number"] * 6 + ["category"] * 2
    return jc.Sample(columns, t, y, kinds=kinds, id=np.arange(n), **options), 1 + x[:, 0]


@pytest.fixture(scope="module")
def learnt():
    sample, effect = planted()
    return sample, effect, jc.fit(sample, jc.Stretch(), key=0)


def small(n=30, seed=1):
    rng = np.random.default_rng(seed)
    dtype = jnp.zeros(()).dtype
    arm = np.where(np.arange(n) < n - 3, rng.integers(0, 2, n), -1)
    weight = np.where(arm < 0, 0, rng.uniform(0.5, 2, n))
    features = rng.normal(size=(n, 4))
    rows = loss.StretchRows(
        jnp.asarray(features, dtype),
        jnp.asarray([0, 1, 2, 2]),
        jnp.asarray(arm),
        jnp.asarray(rng.normal(size=n), dtype),
        jnp.asarray(weight, dtype),
    )
    number = jnp.asarray(0.3, dtype)
    return rows, loss.StretchSettings(number, number, jnp.asarray(n - 3), 8, 5)


def loss_by_hand(stretch, rows, some, penalty, count):
    """The published loss, unit by unit."""
    features, column, arm, y, w = (np.asarray(a, float) for a in rows)
    z = features * stretch[column.astype(int)]
    total = 0.0
    for i in some:
        others = [k for k in range(len(z)) if arm[k] == arm[i] and k != i]
        kernel = np.array([w[k] * np.exp(-((z[i] - z[k]) ** 2).sum()) for k in others])
        error = (y[i] - kernel @ y[others] / kernel.sum()) ** 2
        total += w[i] / w[arm == arm[i]].sum() * error
    return count / len(some) * total + penalty * np.sqrt((stretch**2).sum())


def test_the_loss_is_that_of_the_paper_and_its_gradient_that_of_differences():
    rows, settings = small()
    some, stretch = np.arange(8), np.array([0.5, 1.2, 0.8])
    dtype = rows.y.dtype
    given = jnp.asarray(stretch, dtype)
    found, slope = jax.value_and_grad(loss.stretch_loss)(given, rows, jnp.asarray(some), settings)
    penalty = float(settings.penalty)

    def by_hand(s):
        return loss_by_hand(s, rows, some, penalty, 27)

    close(found, by_hand(stretch), rtol=1e-4)
    step = 1e-5 * np.eye(3)
    numeric = [(by_hand(stretch + h) - by_hand(stretch - h)) / 2e-5 for h in step]
    close(slope, numeric, rtol=2e-3, atol=1e-4)


def test_it_finds_what_was_planted_and_leaves_the_noise(learnt):
    sample, _, surface = learnt
    stretch = surface.by_covariate(sample.p)
    assert stretch[[0, 1, 6]].min() > 5 * np.delete(stretch, [0, 1, 6]).max()
    assert surface.r2(sample).min() > 0.9
    told = surface.rules()
    assert {line.split(":")[0] for line in told[:3]} == {"x0", "x1", "x6"}
    assert "between levels" in str(surface)


def test_its_predictions_are_kernel_averages(learnt):
    sample, _, surface = learnt
    z = surface.embedded(sample.x)[:5]
    points, arm = np.asarray(surface.points, float), np.asarray(surface.arm)
    square = ((z[:, None] - points) ** 2).sum(2)
    expected = []
    for a in (0, 1):
        kernel = np.exp(-square) * np.asarray(surface.weight, float) * (arm == a)
        expected.append(kernel @ np.asarray(surface.y, float) / kernel.sum(1))
    close(surface(sample.x[:5]), np.stack(expected, axis=1), rtol=1e-3, atol=1e-3)
    control = jc.fit(sample, jc.Stretch(steps=2), arms="control", key=0)
    assert np.isnan(np.asarray(control(sample.x[:5]))).all(0).tolist() == [False, True]


def test_groups_are_the_nearest_by_the_metric_of_their_fold(learnt):
    sample, _, surface = learnt
    pairs = jc.match(sample, jc.MALTS(k=4), surface=surface, honest=False)
    assert pairs.caution.startswith("not honest") and not pairs.prognosis.adjusts
    z, t = surface.embedded(sample.x), np.asarray(sample.t)
    for query, rows in zip(np.asarray(pairs.query)[:40], np.asarray(pairs.rows)):
        distance = np.where(t, np.inf, ((z[query] - z) ** 2).sum(1))
        close(np.sort(distance[rows]), np.sort(distance)[:4], rtol=1e-6, atol=1e-12)


def test_effects_are_nearer_than_by_all_covariates_alike():
    sample, effect = planted()
    truth = effect[np.asarray(sample.t)]
    found = jc.estimate(sample, jc.MALTS(), key=0)
    plain = jc.estimate(sample, jc.NearestNeighbors(ratio=10))
    errors = [np.abs(np.asarray(e.ite) - truth).mean() for e in (found, plain)]
    assert errors[0] < 0.5 * errors[1]
    assert found.adjusted and "stretch a standard deviation" in found.summary()
    own = jc.estimate(sample, jc.MALTS(), key=0, adjust=None)
    assert not own.adjusted and np.isfinite(own.att)


def test_the_order_of_rows_and_of_levels_changes_nothing():
    sample, _ = planted(300)
    model = jc.Stretch(steps=40, train_rows=150)
    order = np.random.default_rng(0).permutation(sample.n)
    one, two = (jc.fit(s, model, key=0) for s in (sample, sample.take(order)))
    assert np.array_equal(one.stretch, two.stretch) and (np.asarray(one.weight) > 0).sum() == 150
    assert not np.array_equal(one.stretch, jc.fit(sample, model, key=1).stretch)
    x = np.asarray(sample.x).copy()
    x[:, 6] = np.array([2, 0, 3, 1])[x[:, 6].astype(int)]
    renamed = jc.Sample(x, sample.t, sample.y, kinds=sample.schema.kinds, id=np.arange(sample.n))
    close(jc.fit(renamed, model, key=0).stretch, one.stretch, rtol=1e-2, atol=1e-3)


def test_weights_duplicates_constant_columns_and_missing_values():
    sample, _ = planted(200)
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    weight = np.where(np.arange(200) < 20, 0.0, 1.0)
    weighted = jc.Sample(x, t, y, weight=weight, kinds=sample.schema.kinds)
    surface = jc.fit(weighted, jc.Stretch(steps=5), key=0)
    assert (np.asarray(surface.weight) > 0).sum() == 180
    pairs = jc.match(weighted, jc.MALTS(k=3), surface=surface, honest=False)
    assert (np.asarray(pairs.rows) >= 20).all()
    twice = jc.Sample(np.repeat(x[:50], 2, 0), np.repeat(t[:50], 2), np.repeat(y[:50], 2))
    assert np.isfinite(jc.estimate(twice, jc.MALTS(stretch=jc.Stretch(steps=5)), key=0).att)
    same = sample.take(np.flatnonzero(x[:, 7] == 1))  # one level alone is left
    assert np.isfinite(jc.estimate(same, jc.MALTS(stretch=jc.Stretch(steps=5)), key=0).att)
    frame = pd.DataFrame(dict(t=t.astype(int), y=y, a=x[:, 0], b=x[:, 1]))
    frame.loc[:30, "a"] = np.nan
    gaps = jc.Sample.from_frame(frame, treatment="t", outcome="y", missing="indicator")
    effects = jc.estimate(gaps, jc.MALTS(stretch=jc.Stretch(steps=5)), key=0)
    assert np.isfinite(effects.att) and "31 missing values" in effects.summary()


def test_one_control_and_an_unlike_surface():
    x, t = np.arange(12.0)[:, None], np.arange(12) > 0
    alone = jc.Sample(x, t, np.arange(12.0))
    with pytest.raises(jc.DataError, match="there is 1 control row"):
        jc.fit(alone, jc.Stretch(), key=0)
    surface = jc.fit(jc.Sample(x, np.arange(12) > 5, np.arange(12.0)), jc.Stretch(steps=2), key=0)
    pairs = jc.match(alone, jc.MALTS(k=3), surface=surface, honest=False)
    assert (np.asarray(pairs.rows)[:, 0] == 0).all() and bool(pairs.matched.all())
    with pytest.raises(ValueError, match="MALTS needs a stretch, not Function"):
        jc.match(alone, jc.MALTS(), surface=jc.Function(lambda x: jnp.zeros((len(x), 2))))


def test_bad_options(unchecked):
    for model, options, words in (
        (jc.Stretch, dict(train_rows=1), "train_rows is 1"),
        (jc.Stretch, dict(learning_rate=0.0), "learning_rate is 0"),
        (jc.Stretch, dict(penalty=-1.0), "penalty is -1"),
        (jc.MALTS, dict(k=0), "k is 0"),
        (jc.MALTS, dict(stretch=jc.Ridge()), "stretch"),
    ):
        with pytest.raises(ValueError, match=words):
            model(**options)
    sample = draw_sample(0)
    with pytest.raises(ValueError, match="a surface is needed"):
        jc.match(sample, jc.MALTS())
    surface = jc.fit(sample, jc.Stretch(steps=2), key=0)
    with pytest.raises(jc.DataError, match="points has shape"):
        jc.match(sample, jc.MALTS(), surface=surface, honest=False, at=np.zeros((1, 2)))
