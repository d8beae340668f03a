"""Effects: adjoints, estimands, contributions and the invariances that must hold."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy
from hypothesis import given
from hypothesis import strategies as st

import jcausal as jc

SEEDS = st.integers(0, 10_000)


class Turned(eqx.Module):
    """`wavy` for columns in another order: arrays, so that no example is a new trace."""

    back: jnp.ndarray

    def __call__(self, x):
        return wavy(x[:, self.back])


class Rescaled(eqx.Module):
    """`wavy` of values that were moved along the second covariate, code by code."""

    moved: jnp.ndarray
    values: jnp.ndarray

    def __call__(self, x):
        return wavy(x.at[:, 1].set(jnp.interp(x[:, 1], self.moved, self.values)))


class Levelled(eqx.Module):
    """`wavy` plus an effect of each level."""

    effect: jnp.ndarray

    def __call__(self, x):
        return wavy(x[:, :2]) + self.effect[x[:, 2].astype(int)][:, None]


class Scaled(eqx.Module):
    """`wavy` as it is for outcomes that were multiplied and shifted."""

    shift: jnp.ndarray
    factor: jnp.ndarray

    def __call__(self, x):
        return self.shift + self.factor * wavy(x)


def same_averages(first, second):
    """Adjusted and by plain means."""
    np.testing.assert_allclose(first.average, second.average, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first.plain_average, second.plain_average, rtol=1e-4, atol=1e-5)


def arms_swapped(x):
    return wavy(x)[:, ::-1]


def stairs(v):
    f0 = 2 * v[:, 0] + (v[:, 1] > 1.5)
    return jnp.stack([f0, f0 + 3], axis=1)


@pytest.fixture(scope="module")
def matched(surface):
    sample = draw_sample(11, n=60, p=3, weight=np.random.default_rng(1).random(60) + 0.5)
    return sample, jc.match(sample, jc.FastAHB(min_treated=2), surface=surface, estimand="ate")


@pytest.mark.x64
def test_sums_and_weights_are_adjoint_and_equal_brute_force(matched):
    sample, matching = matched
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(sample.n, 2)), sample.x.dtype)
    weight, treated = np.asarray(sample.weight), np.asarray(sample.t)
    for power in (1, 2):
        sums = np.asarray(matching.sums(values, power))
        for i in range(0, 60, 7):
            rows, shares = matching.group(i)
            for arm in (0, 1):
                mine = rows[treated[rows] == arm]
                expected = (weight[mine, None] ** power * np.asarray(values)[mine]).sum(0)
                np.testing.assert_allclose(sums[i, arm], expected, rtol=1e-4, atol=1e-4)
                np.testing.assert_allclose(shares[treated[rows] == arm].sum(), 1, rtol=1e-5)
    v = jnp.asarray(rng.normal(size=60), sample.x.dtype)
    ones = np.asarray(matching.sums(jnp.ones((60, 1), sample.x.dtype)))[..., 0]
    means = np.asarray(matching.sums(values[:, :1]))[..., 0] / ones
    spread = np.asarray(matching.unit_weights(v))
    for arm in (0, 1):
        left = (np.asarray(v) * means[:, arm]).sum()
        right = (spread * np.asarray(values[:, 0]))[treated == arm].sum()
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3)
    squares = np.zeros(60)
    for i in range(60):
        rows, shares = matching.group(i)
        squares[rows] += (float(v[i]) * shares) ** 2
    np.testing.assert_allclose(matching.unit_weights(v, 2), squares, rtol=1e-3, atol=1e-5)
    assert [i for i, _, _ in matching.groups(limit=4)] == [0, 1, 2, 3]


def parts_of_the_outcome(sample):
    """What `wavy` leaves of each outcome, by the unit's own arm, and both its predictions."""
    both, t = np.asarray(wavy(sample.x), float), np.asarray(sample.t).astype(int)
    return np.asarray(sample.y, float) - both[np.arange(sample.n), t], both


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("adjust", ["auto", None])
@pytest.mark.parametrize("effect", ["group", "own"])
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_every_average_is_linear_in_the_outcomes(estimand, effect, adjust, surface):
    sample = draw_sample(12, n=50, weight=np.random.default_rng(2).random(50) + 0.1)
    effects = jc.estimate(
        sample,
        jc.FastAHB(outcome=surface),
        folds=2,
        key=0,
        estimand=estimand,
        effect=effect,
        adjust=adjust,
    )
    average, query = getattr(effects, estimand), np.asarray(effects.matching.query)
    weight = np.asarray(sample.weight)[query]
    values, both = np.asarray(sample.y, float), np.zeros((sample.n, 2))
    if adjust == "auto":
        values, both = parts_of_the_outcome(sample)
    known = np.average((both[:, 1] - both[:, 0])[query], weights=weight)
    c = np.asarray(effects.contributions, float)
    np.testing.assert_allclose(c @ values + known, average, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(c.sum(), 0, atol=1e-5)
    expected = np.average(np.asarray(effects.ite), weights=weight)
    np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adjust", ["auto", pytest.param(None, marks=pytest.mark.extended)])
def test_unit_effects_by_brute_force(matched, adjust):
    sample, matching = matched
    y, t, w = (np.asarray(a) for a in (sample.y, sample.t, sample.weight))
    values, both = (y, np.zeros((60, 2))) if adjust is None else parts_of_the_outcome(sample)
    for effect in ("group", "own"):
        effects = jc.estimate(sample, matching, effect=effect, adjust=adjust)
        for i in range(0, 60, 5):
            rows, _ = matching.group(i)
            mean = [np.average(values[r], weights=w[r]) for r in (rows[~t[rows]], rows[t[rows]])]
            own = int(matching.query[i])
            mean = [a + b for a, b in zip(mean, both[own])]
            if effect == "own":
                mean[int(t[own])] = y[own]
            np.testing.assert_allclose(effects.ite[i], mean[1] - mean[0], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(effects.y0[i], mean[0], rtol=1e-3, atol=1e-4)
            counts = (~t[rows]).sum(), t[rows].sum()
            assert (int(effects.n_control[i]), int(effects.n_treated[i])) == counts


def test_averages_over_an_arm_that_was_not_queried_are_refused(surface):
    effects = jc.estimate(draw_sample(0), jc.FastAHB(outcome=surface), folds=1)
    assert np.isfinite(float(effects.att))
    for name in ("atc", "ate"):
        with pytest.raises(ValueError, match=f"match with estimand='{name}'"):
            getattr(effects, name)
    at = jc.match(draw_sample(0), jc.FastAHB(), surface=surface, at=np.zeros((2, 3)))
    points = jc.estimate(at.sample, at)
    assert points.ite.shape == (2,)
    with pytest.raises(ValueError, match="treated queries"):
        _ = points.att
    assert "effects at 2 points" in points.summary()


@pytest.mark.extended
@given(SEEDS)
def test_unit_order_changes_nothing(seed):
    surface = jc.Function(wavy)
    sample = draw_sample(seed, n=40)
    order = np.random.default_rng(seed).permutation(40)
    mixed = jc.Sample(
        sample.points[order], np.asarray(sample.t)[order], np.asarray(sample.y)[order]
    )
    first = jc.estimate(sample, jc.FastAHB(outcome=surface), folds=1)
    second = jc.estimate(mixed, jc.FastAHB(outcome=surface), folds=1)
    same_averages(first, second)
    place = {int(k): i for i, k in enumerate(order[np.asarray(second.matching.query)])}
    for i, row in enumerate(np.asarray(first.matching.query)):
        assert (first.matching.lower[i] == second.matching.lower[place[int(row)]]).all()
        assert (first.matching.upper[i] == second.matching.upper[place[int(row)]]).all()


@given(SEEDS)
def test_covariate_order_changes_nothing(seed):
    sample = draw_sample(seed, n=40)
    order = np.random.default_rng(seed).permutation(3)
    back = np.argsort(order)
    turned = jc.Sample(sample.points[:, order], sample.t, sample.y)
    plain, mixed = jc.Function(Turned(jnp.arange(3))), jc.Function(Turned(jnp.asarray(back)))
    first = jc.match(sample, jc.FastAHB(), surface=plain)
    second = jc.match(turned, jc.FastAHB(), surface=mixed)
    assert (first.lower[:, order] == second.lower).all()
    assert (first.upper[:, order] == second.upper).all()


@pytest.mark.extended
@given(SEEDS, st.floats(-50, 50), st.sampled_from([1e-3, 0.5, 2.54, 1e4]), st.booleans())
def test_affine_rescaling_of_a_covariate_changes_no_group(seed, shift, factor, integers):
    sample = draw_sample(seed, n=40, integers=integers)
    points = sample.points
    scaled = points * [1, factor, 1] + [0, shift, 0]
    # the surface reads heights, so that rounding of the rescaled values cannot move it
    values, moved = (jnp.asarray(np.sort(x[:, 1]), sample.x.dtype) for x in (points, scaled))
    plain, f = jc.Function(Rescaled(values, values)), jc.Function(Rescaled(moved, values))
    first = jc.match(sample, jc.FastAHB(), surface=plain)
    second = jc.match(jc.Sample(scaled, sample.t), jc.FastAHB(), surface=f)
    same = [
        first.group(i)[0].tolist() == second.group(i)[0].tolist() for i in range(len(first.lower))
    ]
    assert np.mean(same) >= 0.9  # interpolation between heights is exact only up to float32


@pytest.mark.extended
@given(SEEDS)
def test_duplicated_units_change_no_box_and_no_average(seed):
    sample = draw_sample(seed, n=30)
    twice = np.tile(np.arange(30), 2)
    copied = jc.Sample(
        sample.points[twice], np.asarray(sample.t)[twice], np.asarray(sample.y)[twice]
    )
    method = jc.FastAHB(outcome=jc.Function(wavy))
    first, second = (jc.estimate(s, method, folds=1) for s in (sample, copied))
    half = first.matching.query.shape[0]
    assert (first.matching.lower == second.matching.lower[:half]).all()
    same_averages(first, second)


@pytest.mark.extended
@given(SEEDS)
def test_a_weight_of_two_is_a_duplicated_row(seed):
    rng = np.random.default_rng(seed)
    sample = draw_sample(seed, n=30)
    weight = np.empty(30, int)
    for arm in (True, False):  # as many copies in every example, so that shapes stay
        rows = np.flatnonzero(np.asarray(sample.t) == arm)
        weight[rows] = rng.permutation(np.repeat([1, 2], len(rows) // 2))
    weighted = jc.Sample(sample.points, sample.t, sample.y, weight=weight)
    copies = np.repeat(np.arange(30), weight)
    copied = jc.Sample(
        sample.points[copies], np.asarray(sample.t)[copies], np.asarray(sample.y)[copies]
    )
    method = jc.FastAHB(outcome=jc.Function(wavy))
    for estimand in ("att", "atc", "ate"):
        first, second = (
            jc.estimate(s, method, folds=1, estimand=estimand) for s in (weighted, copied)
        )
        same_averages(first, second)


@pytest.mark.extended
@given(SEEDS)
def test_renamed_levels_change_no_group(seed):
    sample = draw_sample(seed, n=45, p=2, category=4)
    turn = np.random.default_rng(seed).permutation(4)
    points = sample.points.copy()
    points[:, 2] = turn[points[:, 2].astype(int)]
    effect = np.array([0.0, 0.7, 1.1, -0.4])
    plain = jc.Function(Levelled(jnp.asarray(effect)))
    renamed = jc.Function(Levelled(jnp.asarray(effect[np.argsort(turn)])))
    kinds = sample.schema.kinds
    first = jc.match(sample, jc.FastAHB(), surface=plain)
    second = jc.match(jc.Sample(points, sample.t, kinds=kinds), jc.FastAHB(), surface=renamed)
    for i in range(first.query.shape[0]):
        assert first.group(i)[0].tolist() == second.group(i)[0].tolist()


@pytest.mark.extended
@given(SEEDS, st.floats(-1e3, 1e3), st.sampled_from([-3.0, 0.01, 7.0]), st.booleans())
def test_outcomes_may_be_shifted_and_scaled(seed, shift, factor, adjusted):
    sample = draw_sample(seed, n=40)
    found = jc.match(sample, jc.FastAHB(min_treated=2), surface=jc.Function(wavy))
    other = sample.with_outcome(shift + factor * np.asarray(sample.y, float))
    models = [
        jc.Function(Scaled(jnp.asarray(a), jnp.asarray(b)))
        for a, b in ((0.0, 1.0), (shift, factor))
    ]
    first, second = (
        jc.estimate(s, found, adjust=model if adjusted else None)
        for s, model in zip((sample, other), models)
    )
    scale = abs(factor)
    np.testing.assert_allclose(
        second.ite, factor * first.ite, atol=3e-3 * scale + 1e-6 * abs(shift)
    )
    for method in (jc.AbadieImbens(), jc.AbadieImbens(target="sample"), jc.ConservativeNormal()):
        a, b = jc.interval(first, method), jc.interval(second, method)
        np.testing.assert_allclose(
            b.std_error, scale * a.std_error, rtol=2e-2, atol=1e-3 * scale + 1e-4 * abs(shift)
        )


@pytest.mark.extended
@given(SEEDS)
def test_swapped_arms_turn_att_into_minus_atc(seed):
    sample = draw_sample(seed, n=40)
    swapped = jc.Sample(sample.points, ~np.asarray(sample.t), sample.y)
    plain, turned = jc.Function(wavy), jc.Function(arms_swapped)
    first = jc.estimate(sample, jc.FastAHB(outcome=plain), folds=1, estimand="att")
    second = jc.estimate(swapped, jc.FastAHB(outcome=turned), folds=1, estimand="atc")
    np.testing.assert_allclose(first.att, -second.atc, rtol=1e-4, atol=1e-5)
    plain = -second.plain_average
    np.testing.assert_allclose(first.plain_average, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.extended
@given(SEEDS)
def test_noise_free_discrete_outcomes_have_no_error(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (120, 3)).astype(float)
    t = rng.permutation(120) < 48
    f0 = 2.0 * x[:, 0] + (x[:, 1] == 2)
    surface = jc.Function(stairs)
    paper = jc.FastAHB(outcome=surface, tolerance=1e-6, caliper=1e-3)
    effects = jc.estimate(jc.Sample(x, t, f0 + 3 * t), paper, folds=1)
    exact = [
        (f0[effects.matching.group(i)[0]] == f0[int(r)]).all()
        for i, r in enumerate(effects.matching.query)
    ]
    assert np.mean(exact) > 0.9  # the others have no exact partner
    np.testing.assert_allclose(np.asarray(effects.ite)[exact], 3, atol=1e-5)


@pytest.mark.extended
def test_queries_without_a_match_are_counted_and_named(surface):
    sample = draw_sample(13, n=30)
    impossible = jc.FastAHB(min_controls=21, outcome=surface)
    with pytest.raises(jc.MatchError, match="none of the 10 queries has a match: too few controls"):
        jc.estimate(sample, impossible, folds=1)
    effects = jc.estimate(sample, impossible, folds=1, throw=False)
    assert np.isnan(np.asarray(effects.ite)).all() and np.isnan(float(effects.att))
    assert "unmatched 10: too few controls" in effects.summary()
    clusters = np.repeat([0, 1, 2], [14, 8, 8])
    largest = np.bincount(clusters[~np.asarray(sample.t)]).max()
    dealt = jc.FastAHB(min_controls=int(largest), outcome=surface)
    some = jc.estimate(draw_sample(13, n=30, cluster=clusters), dealt, folds=3, key=0, throw=False)
    lost = int((~some.matched).sum())
    assert 0 < lost < 10
    assert np.isnan(np.asarray(some.ite)[~np.asarray(some.matched)]).all()
    assert np.isfinite(float(some.att))
    assert f"matched {10 - lost} of 10" in some.summary()
    table = some.unmatched()
    assert table.loc["queries"].tolist() == [10 - lost, lost]
    frame = some.to_frame()
    assert frame["reason"].str.startswith("too few controls").sum() == lost
    assert frame.attrs["share_matched"] == some.share_matched
    assert len(some.matching.unmatched()) == lost


def test_a_group_needs_controls_that_carry_weight(surface):
    plain = draw_sample(15, n=40)
    weight = np.where(np.arange(40) % 2, 1.0, 0.0)
    sample = jc.Sample(plain.points, plain.t, plain.y, weight=weight)
    effects = jc.estimate(sample, jc.FastAHB(outcome=surface), folds=1)
    controls = np.asarray(effects.totals)[:, 0, 0]
    assert (controls > 0).all()
    assert np.isfinite(float(effects.att))
    counted = (np.asarray(effects.share()) > 0).sum()
    assert counted == (np.asarray(sample.t) & (weight > 0)).sum()


def test_cate_by_column_and_by_labels(experiment):
    effects = jc.estimate(experiment, jc.FastAHB(outcome=jc.Ridge()), key=0)
    table = effects.cate("black")
    assert table["queries"].sum() == 185 and table["group"].tolist() == [0, 1]
    pooled = (table["effect"] * table["matched"]).sum() / table["matched"].sum()
    np.testing.assert_allclose(pooled, effects.att, rtol=1e-4)
    assert len(effects.cate("age")) == 4
    labels = np.where(np.asarray(experiment.t), "t", "c")
    np.testing.assert_allclose(effects.cate(labels)["effect"], [effects.att], rtol=1e-4)
    with pytest.raises(ValueError, match="no covariate 'sex'"):
        effects.cate("sex")


def test_a_flat_surface_opens_everything_or_nothing():
    sample = draw_sample(14, n=30)
    flat = jc.Function(lambda x: jnp.zeros((x.shape[0], 2)))
    everything = jc.match(sample, jc.FastAHB(), surface=flat)
    assert (np.asarray(everything.sizes).sum(1) == 30).all()
    paper = jc.match(sample, jc.FastAHB(tolerance=0.0), surface=flat)
    assert (np.asarray(paper.sizes)[:, 0] >= 1).all() and np.asarray(paper.sizes).sum() < 300


def test_two_units_and_one_covariate():
    sample = jc.Sample([[1.0], [3.0]], [0, 1], [10.0, 14.0])
    surface = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1))
    effects = jc.estimate(sample, jc.FastAHB(outcome=surface), folds=1)
    assert float(effects.unadjusted.att) == 4
    assert float(effects.att) == 2  # the surface foretells 2 of it
    assert effects.matching.lower.tolist() == [[1]] and effects.matching.upper.tolist() == [[3]]
    with pytest.raises(ValueError, match="is 1 (control|treated) unit, too few for"):
        jc.interval(effects, jc.ConservativeNormal())
    with pytest.raises(
        ValueError, match="is 1 treated unit, too few for a variance from the nearest 1"
    ):
        jc.interval(effects, jc.AbadieImbens())


def test_a_matching_of_other_rows_is_refused(surface):
    found = jc.match(draw_sample(0), jc.FastAHB(), surface=surface)
    for other in (draw_sample(0, n=20), draw_sample(1)):
        with pytest.raises(ValueError, match="made on other rows"):
            jc.estimate(other, found)


def test_bad_options_fail_at_construction_or_at_the_door(surface, unchecked):
    for options, message in (
        (dict(grid="dots"), "grid is 'dots'"),
        (dict(points=1), "points is 1"),
        (dict(gamma0=-1.0), "must not be negative"),
        (dict(gamma0=0.0, gamma1=0.0), "one must be positive"),
        (dict(c=0.0), "c must be positive"),
        (dict(tolerance=-0.1), "tolerance and caliper must not"),
        (dict(levels=0), "levels is 0"),
        (dict(min_controls=0), "min_controls and min_treated must be"),
    ):
        with pytest.raises(ValueError, match=message):
            jc.FastAHB(**options)
    sample, method = draw_sample(0), jc.FastAHB()
    for options, message in (
        (dict(), "a surface is needed"),
        (dict(surface=surface, estimand="itt"), "estimand is 'itt'"),
        (dict(surface=surface, query=[99]), "query names row 99"),
        (dict(surface=surface, query=[]), "at least one row"),
        (dict(surface=surface, query=[True]), "a mask of shape"),
        (dict(surface=surface, query=[0], at=np.zeros((1, 3))), "exclude each other"),
        (dict(surface=surface, at=np.zeros((1, 2))), r"it must be \(q, 3\)"),
        (dict(surface=surface, at=np.full((1, 3), np.nan)), "'x0' is not finite in 1 points"),
    ):
        with pytest.raises(ValueError, match=message):
            jc.match(sample, method, **options)
    with pytest.raises(ValueError, match="effect is 'c'"):
        jc.estimate(sample, method, effect="c", key=0)
    nan = jc.Function(lambda x: jnp.full((x.shape[0], 2), jnp.nan))
    with pytest.raises(jc.MatchError, match="14 of 14 queries failed .* the surface gave NaN"):
        jc.match(sample, method, surface=nan)


def test_words(surface, unchecked):
    frame_x = np.array([[23, 9, 0, 500.5], [31, 11, 1, 2100], [40, 12, 0, 9000], [25, 10, 0, 0.0]])
    sample = jc.Sample(
        frame_x,
        [1, 0, 0, 1],
        names=["age", "education", "married", "income 1974"],
        units=["years", "", "", "$"],
    )
    found = jc.match(sample, jc.FastAHB(min_controls=1), surface=surface, query=[0])
    words = found.describe(0)
    assert words.endswith("treated") and "control" in words
    boxes = found.describe_frame()
    assert boxes.loc[0, "age lower"] == found.lower[0, 0]
    units = found.to_frame()
    assert set(units["id"]) <= {0, 1, 2, 3} and (units["weight"] > 0).all()


@pytest.mark.extended
@pytest.mark.parametrize(
    "level",
    [
        1.0,
        pytest.param(0.0, marks=pytest.mark.extended),
        pytest.param(-2.5, marks=pytest.mark.extended),
    ],
)
def test_an_outcome_that_never_varies_is_told(level):
    """In the summary, which the command prints, and by the doubly robust average; else nowhere."""
    sample = draw_sample(0, n=60, y=False)
    words = f"beware: the outcome is {level:g} in all 60 rows, so that an effect of 0 tells nothing"
    flat = sample.with_outcome(np.full(60, level))
    effects = jc.estimate(flat, jc.match(flat, jc.FastAHB(), surface=jc.Function(wavy)))
    assert effects.summary(jc.interval(effects, jc.AbadieImbens())).count(words) == 1
    assert str(effects).count(words) == 1
    aside = jc.estimate(flat, jc.FastAHB(outcome=jc.Function(wavy)), key=0)
    assert str(aside).count("beware: the outcome") == 1
    assert words in str(jc.estimate(flat, jc.AIPW(outcome=jc.Ridge()), key=0))
    one = np.full(60, level)
    one[7] += 1e-3
    other = sample.with_outcome(one)
    found = jc.estimate(other, jc.match(other, jc.FastAHB(), surface=jc.Function(wavy)))
    assert "in all 60 rows" not in str(found)


def test_only_an_interval_of_these_effects_is_printed(surface, unchecked):
    sample = draw_sample(2, n=60)
    effects = jc.estimate(sample, jc.match(sample, jc.AHB(), surface=surface))
    told = jc.interval(effects, jc.AbadieImbens())
    assert "95% interval" in effects.summary(told)
    other = jc.estimate(effects.sample.with_outcome(5 * effects.sample.y), effects.matching)
    for wrong, words in (
        (0.95, "interval is a float: pass what jc.interval"),
        (jc.AbadieImbens(), "interval is an AbadieImbens: pass"),
        (jc.interval(effects, jc.ConservativeNormal()), "interval holds .* estimates, of groups"),
        (jc.interval(other, jc.AbadieImbens()), "interval is of other effects: its estimate is"),
    ):
        with pytest.raises(ValueError, match=words):
            effects.summary(wrong)
