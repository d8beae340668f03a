"""Inputs that once gave a wrong number or an unnamed crash."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.data import deal

METHOD = jc.FastAHB(outcome=jc.Ridge())


@pytest.mark.parametrize("treated", [37, 49, 83, 101, 143])
def test_a_covariate_constant_within_an_arm_has_no_slope_there(treated):
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=300), rng.integers(0, 2, 300)], axis=1)
    t = np.arange(300) < treated
    x[t, 1] = 1
    fitted = jc.fit(jc.Sample(x, t, 100 + x[:, 0] + t), jc.Ridge())
    np.testing.assert_allclose(fitted.slope[:, 1], [1, 0], atol=1e-3)


def test_a_trained_surface_as_outcome_is_checked():
    sample = draw_sample(0, n=60)
    with pytest.raises(jc.HonestyError, match="were used to train"):
        jc.estimate(sample, jc.FastAHB(outcome=jc.fit(sample, jc.Ridge())), key=0)


@pytest.mark.extended
def test_folds_of_many_clusters_stay_even_after_a_split_and_under_jit():
    sample = draw_sample(1, n=200, cluster=np.arange(200) + 1000)
    _, test = jc.split(sample, key=0)
    assert np.bincount(np.asarray(deal(test, 2, jax.random.key(0)))).tolist() == [50, 50]

    def dealt(cluster):
        again = jc.Sample(sample.x, sample.t, cluster=cluster)
        return deal(again, 2, jax.random.key(0))

    fold = jax.jit(dealt)(jnp.arange(200) + 1000)
    assert np.bincount(np.asarray(fold)).tolist() == [100, 100]


@pytest.mark.extended
def test_traced_padding_may_hold_anything():
    sample = draw_sample(2, n=40)
    valid = jnp.arange(48) < 40

    def att(fill):
        x = jnp.concatenate([sample.x, jnp.full((8, 3), fill)])
        t = jnp.concatenate([sample.t, jnp.ones(8, bool)])
        y = jnp.concatenate([sample.y, jnp.full(8, fill)])
        padded = jc.Sample(x, t, y, valid=valid)
        found = jc.estimate(padded, METHOD, key=0, throw=False)
        return jnp.array([found.att, found.plain_average, jnp.nanmean(jnp.abs(found.drift))])

    values = [np.asarray(jax.jit(att)(fill)) for fill in (0.0, jnp.nan)]
    assert np.isfinite(values).all()
    np.testing.assert_allclose(*values, rtol=1e-5)


@pytest.mark.extended
def test_a_category_in_a_padding_row_may_be_anything():
    x = np.array([[0.0, 0], [1, 1], [2, 2], [3, 0], [np.nan, np.nan]])
    t, y, valid = [0, 1, 0, 1, 0], [1.0, 2, 3, 4, np.nan], [True] * 4 + [False]
    sample = jc.Sample(x, t, y, valid=valid, kinds=["number", "category"])
    effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Function(wavy)), folds=1)
    assert len(jc.balance(sample, effects.matching)) == 1 + 4
    assert effects.cate("x1")["queries"].sum() == 2
    assert effects.unmatched().index.tolist() == ["queries", "x0", "x1: 0", "x1: 1", "x1: 2"]


@pytest.mark.extended
def test_group_variances_keep_their_digits():
    rng = np.random.default_rng(0)
    x = np.repeat([0.0, 1.0], 40)[:, None]
    t = np.tile([0, 1], 40)
    y = np.where(x[:, 0] == 0, -1e4, 1e4) + 0.1 * rng.normal(size=80)
    step = jc.Function(lambda v: jnp.stack([v[:, 0] * 1e4] * 2, axis=1))
    sample = jc.Sample(x, t, y)
    effects = jc.estimate(sample, jc.FastAHB(outcome=step), folds=1)
    seen = np.asarray(sample.y, float)
    for i, own in enumerate(np.asarray(effects.matching.query)):
        for arm in (0, 1):
            mine = seen[(x[:, 0] == x[own, 0]) & (t == arm)]
            np.testing.assert_allclose(effects.variances[i, arm], mine.var(ddof=1), rtol=1e-3)


@pytest.mark.extended
def test_integer_ladders_tie_alike_under_jit():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 61, (60, 2)).astype(np.float32)
    t = np.arange(60) % 3 == 0
    surface = jc.Function(lambda v: wavy(v / 20))
    host = jc.match(jc.Sample(x, t), jc.FastAHB(), surface=surface)

    def traced(x):
        found = jc.match(jc.Sample(x, t), jc.FastAHB(), surface=surface, throw=False)
        return found.lower, found.upper

    lower, upper = jax.jit(traced)(jnp.asarray(x))
    rows = np.asarray(host.query)
    assert (np.asarray(lower)[rows] == host.lower).all()
    assert (np.asarray(upper)[rows] == host.upper).all()


@pytest.mark.extended
def test_gradients_by_weight_are_finite():
    sample = draw_sample(4, n=40)

    def att(weight):
        weighted = jc.Sample(sample.x, sample.t, sample.y, weight=weight)
        return jc.estimate(weighted, METHOD, key=0, throw=False).att

    gradient = jax.grad(att)(jnp.ones(40))
    assert np.isfinite(np.asarray(gradient)).all()
    assert float(jnp.abs(gradient).sum()) > 0


def test_ids_and_labels_keep_all_their_digits():
    ids = 2**53 + np.arange(6)
    frame = pd.DataFrame(
        dict(t=[0, 1] * 3, y=np.arange(6.0), who=ids, area=[1000001, 1000002] * 3, x=range(6))
    )
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", id="who", categorical=["area"])
    assert sample.id.tolist() == ids.tolist()
    assert sample.schema.levels[0] == ("1000001", "1000002")
    with pytest.raises(jc.DataError, match="a level label twice"):
        jc.Sample(
            sample.points,
            sample.t,
            kinds=sample.schema.kinds,
            names=["a", "b"],
            levels={"a": ["one", "one"]},
        )


def test_a_matching_knows_its_treatments_and_weights():
    sample = draw_sample(5, n=40)
    found = jc.match(sample, jc.FastAHB(), surface=jc.Function(wavy))
    flipped = np.asarray(sample.t).copy()
    flipped[:5] = ~flipped[:5]
    for other in (
        jc.Sample(sample.points, flipped, sample.y),
        jc.Sample(sample.points, sample.t, sample.y, weight=np.arange(1, 41)),
    ):
        for verb in (jc.estimate, jc.balance):
            with pytest.raises(ValueError, match="made on other rows"):
                verb(other, found)


@pytest.mark.extended
def test_a_bad_outcome_under_tracing_is_a_code_and_spares_other_boxes():
    sample = draw_sample(6, n=40)
    method = jc.FastAHB(outcome=jc.Function(wavy))

    def run(y):
        effects = jc.estimate(jc.Sample(sample.x, sample.t, y), method, folds=1, throw=False)
        return effects.matching.status, effects.ite, effects.att

    status, ite, att = jax.jit(run)(sample.y.at[int(np.argmin(sample.t))].set(jnp.nan))
    status = np.asarray(status)
    assert (status == 4).any()
    assert (status == 0).any()
    assert np.isfinite(np.asarray(ite)[status == 0]).all()
    assert np.isnan(float(att))


@pytest.mark.extended
def test_rows_keys_and_points_at_the_door():
    sample = draw_sample(7, n=40)
    surface = jc.Function(wavy)

    def some(x):
        again = jc.Sample(x, sample.t, sample.y)
        return jc.match(again, jc.FastAHB(), surface=surface, query=[1, 3], throw=False).matched

    assert np.asarray(jax.jit(some)(sample.x)).tolist() == [True, True]
    with pytest.raises(ValueError, match="at holds no point"):
        jc.match(sample, jc.FastAHB(), surface=surface, at=np.zeros((0, 3)))

    def keyed(key):
        again = jc.Sample(sample.x, sample.t, sample.y)
        return jc.estimate(again, METHOD, key=key, throw=False).att

    many = jax.vmap(keyed)(jnp.arange(3))
    alone = jc.estimate(sample, METHOD, key=2).att
    np.testing.assert_allclose(many[2], alone, rtol=1e-3)


@pytest.mark.extended
def test_intervals_of_more_boxes_than_a_bucket_holds():
    """2,100 queries are padded to 2,560 boxes; the shares under vmap have to follow."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (4200, 1)).astype(float)
    t = np.arange(4200) % 2 == 0
    sample = jc.Sample(x, t, x[:, 0] + t + rng.normal(size=4200), names=["x"])
    boxes = jc.match(sample, jc.FastAHB(), surface=wavy)
    effects = jc.estimate(sample, boxes)
    whole = jc.interval(effects, jc.AbadieImbens())
    for label, one in ((None, jc.interval(effects, jc.Bootstrap(draws=50), key=0)), ("x", None)):
        found = one or jc.interval(effects, jc.AbadieImbens(), by=label)
        assert np.isfinite(np.asarray(found.std_error)).all()
    ones = jnp.ones((2100, 2))
    alone = np.asarray(boxes.scatter(ones))
    many = np.asarray(jax.vmap(boxes.scatter)(jnp.stack([ones, 2 * ones])))
    np.testing.assert_allclose(many, [alone, 2 * alone], rtol=1e-6)
    assert abs(float(whole.estimate) - 1) < 4 * float(whole.std_error)


def test_a_nan_at_a_member_ends_the_search():
    x = np.arange(12.0).reshape(6, 2)

    def hole(points):
        level = jnp.where(points[:, 0] == 10, jnp.nan, points[:, 0])
        return jnp.stack([level, points[:, 0]], axis=1)

    sample = jc.Sample(x, [1, 0, 0, 0, 1, 0])
    for minimum in (1, 4):
        boxes = jc.match(sample, jc.FastAHB(min_controls=minimum), surface=hole, throw=False)
        assert (np.asarray(boxes.status) == int(jc.RESULTS.surface_nan._value)).all()


def test_flat_surfaces_open_everything_with_and_without_a_caliper():
    sample = draw_sample(5)
    flat = jc.Function(lambda x: jnp.zeros((x.shape[0], 2)))
    for caliper in (None, 0.0, 0.4):
        boxes = jc.match(sample, jc.FastAHB(caliper=caliper), surface=flat)
        assert (np.asarray(boxes.sizes).sum(1) == sample.n).all(), caliper


@pytest.mark.extended
def test_hyperparameters_can_be_mapped_over():
    sample = draw_sample(6)
    calipers = jnp.array([0.1, 0.5, 1.4])

    def sizes(caliper):
        method = jc.FastAHB(caliper=caliper)
        boxes = jc.match(sample, method, surface=wavy, throw=False, query=np.arange(10))
        return boxes.sizes

    together = jax.vmap(sizes)(calipers)
    for caliper, theirs in zip(calipers, together):
        np.testing.assert_array_equal(sizes(float(caliper)), theirs)


def test_bad_points_are_counted_without_padding():
    points = np.zeros((9, 3))
    points[8, 0] = np.nan
    with pytest.raises(jc.DataError, match="not finite in 1 points .row 8."):
        jc.match(draw_sample(0), jc.FastAHB(), surface=wavy, at=points)


def test_nobody_asked_for_and_nobody_matched():
    sample = draw_sample(7)
    with pytest.raises(ValueError, match="queries the treated rows, and there is none"):
        jc.match(sample.with_valid(~sample.t), jc.FastAHB(), surface=wavy)
    boxes = jc.match(sample, jc.FastAHB(min_controls=1000), surface=wavy, throw=False)
    effects = jc.estimate(sample, boxes)
    assert np.isnan(float(jc.interval(effects, jc.AbadieImbens()).std_error))


def test_a_matching_brings_its_own_queries():
    sample = draw_sample(8)
    boxes = jc.match(sample, jc.FastAHB(), surface=wavy)
    for more in (dict(repeats=3), dict(estimand="ate"), dict(query=np.arange(3))):
        with pytest.raises(ValueError, match="are the matching's own"):
            jc.estimate(sample, boxes, **more)


@pytest.mark.extended
def test_objects_of_another_kind_are_told_by_name(unchecked):
    sample = jc.datasets.lalonde("experiment")
    effects = jc.estimate(sample, jc.M5Model(jc.M5Tree(min_controls=60)))
    matching = effects.matching
    for call, words in (
        (lambda: jc.estimate(sample.points, jc.M5Model()), "estimate takes a jc.Sample, not a nda"),
        (lambda: jc.estimate(sample, jc.M5Model), "M5Model is a class"),
        (lambda: jc.balance(sample, sample), "balance takes a jc.matching.Matching, not a Sample"),
        (lambda: jc.balance("x", matching), "balance takes a jc.Sample, not the text 'x'"),
        (
            lambda: jc.interval(matching, jc.AbadieImbens()),
            "takes a jc.effects.Effects, not a Leaves",
        ),
        (lambda: jc.interval(effects, jc.AbadieImbens), "AbadieImbens is a class"),
        (
            lambda: jc.heterogeneity(effects),
            "heterogeneity takes a jc.inference.Interval, not an Effects",
        ),
        (lambda: jc.placebo(effects), "placebo takes a jc.panels.Completion, not an Effects"),
        (lambda: jc.plot.tree(matching), "plot.tree takes a jc.matching.Tree, not a Leaves"),
        (lambda: jc.plot.boxes(matching), "the groups of Leaves are no boxes"),
        (
            lambda: jc.plot.effects(matching),
            "plot.effects takes a jc.effects.Effects, not a Leaves",
        ),
        (lambda: jc.plot.love(effects), "plot.love takes jc.balance's table, not Effects"),
        (lambda: jc.plot.panel(effects), "plot.panel takes a jc.panels.Completion, not an Effects"),
        (
            lambda: jc.plot.allocation(effects),
            "plot.allocation takes a jc.allocation.Allocation, not an Eff",
        ),
        (lambda: jc.M5Match(tree=jc.Ridge()), "M5Match.tree=. takes a jc.M5Tree, not a Ridge"),
        (lambda: jc.M5Model(tree=jc.M5Tree), "M5Model.tree=. takes a jc.M5Tree, not the class"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(jc.DataError, match="the path of the file of health indicators is None"):
        jc.datasets.diabetes(None)
