"""The doubly robust average against its formula, by simulation, and in words."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample

import jcausal as jc
from jcausal.data import as_key, step_key
from jcausal.effects.estimators._aipw import AIPW, aipw_of, estimate_aipw
from jcausal.surfaces import (
    fitted_chances,
    tells_apart,
)


def dealt(n, folds=2):
    return jnp.arange(n, dtype=jnp.int32) % folds


@pytest.mark.extended
def test_a_weight_of_two_is_two_rows_and_a_weight_of_none_is_none():
    base = draw_sample(3, n=90)
    weight = np.arange(90) % 3
    x, t, y = (np.asarray(a) for a in (base.x, base.t, base.y))
    heavy = jc.Sample(x, t, y, weight=weight)
    rows = np.repeat(np.arange(90), weight)
    copies, fold = jc.Sample(x[rows], t[rows], y[rows]), np.asarray(dealt(90))
    chance = fitted_chances(heavy, jnp.asarray(fold), 2).chance
    close(chance[rows], fitted_chances(copies, jnp.asarray(fold[rows]), 2).chance, atol=1e-5)
    predicted = jnp.stack([heavy.x[:, 1], heavy.x[:, 0]], axis=1)
    for estimand in ("att", "atc", "ate"):
        one = aipw_of(heavy, jnp.asarray(fold), predicted, estimand)
        two = aipw_of(copies, jnp.asarray(fold[rows]), predicted[rows], estimand)
        close(one.average, two.average, rtol=1e-4)


def by_hand(sample, average, clip):
    """The Hajek formulas in float64, from the chances and predictions that were used."""
    use = np.asarray(average.fold) >= 0
    y, w, e, f = (
        np.asarray(a, np.float64)[use]
        for a in (sample.y, sample.weight, average.propensity, average.predicted)
    )
    t, n = np.asarray(sample.t)[use], use.sum()
    kept = n - (w == 0).sum()

    def mean(weight, values):
        middle = (weight * values).sum() / weight.sum()
        return middle, weight * (values - middle) / weight.sum()

    up, down = np.maximum(e, clip), np.maximum(1 - e, clip)
    if average.estimand == "att":
        parts = [mean(w * t, y - f[:, 0]), mean(w * ~t * (1 - down) / down, y - f[:, 0])]
    elif average.estimand == "atc":
        parts = [mean(w * t * (1 - up) / up, y - f[:, 1]), mean(w * ~t, y - f[:, 1])]
    else:
        parts = [mean(w * t / up, y - f[:, 1]), mean(w * ~t / down, y - f[:, 0])]
    value, moves = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
    if average.estimand == "ate":
        gain = mean(w, f[:, 1] - f[:, 0])
        value, moves = value + gain[0], moves + gain[1]
    return value, moves * kept, use


@pytest.mark.x64
@pytest.mark.parametrize(
    "estimand", ["att", *(pytest.param(e, marks=pytest.mark.extended) for e in ("atc", "ate"))]
)
@pytest.mark.parametrize("clusters", [False, True])
def test_the_average_and_its_error_are_the_formula(estimand, clusters):
    rng = np.random.default_rng(4)
    weight, valid = rng.random(150) * (np.arange(150) % 9 > 0), np.arange(150) % 7 > 0
    label = rng.integers(0, 20, 150) if clusters else None
    drawn = draw_sample(4, n=150)
    t = np.asarray(drawn.x[:, 0]) + rng.normal(size=150) > 0
    sample = jc.Sample(drawn.x, t, drawn.y, weight=weight, valid=valid, cluster=label)
    predicted = jnp.stack([sample.x[:, 0] + 5, sample.x[:, 1] + 6], axis=1)
    found = aipw_of(sample, dealt(150, 3), predicted, estimand, clip=0.3)
    value, influence, use = by_hand(sample, found, 0.3)
    np.testing.assert_allclose(found.average, value, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(found.influence)[use], influence, atol=1e-4)
    assert (np.asarray(found.influence)[~use] == 0).all()
    n = (use & (weight > 0)).sum()
    assert int(found.counts.sum()) == n
    if clusters:
        names = np.unique(label[use & (weight > 0)])
        sums = np.array([influence[label[use] == one].sum() for one in names])
        variance = (sums**2).sum() / n**2 * len(names) / (len(names) - 1)
    else:
        variance = np.mean(influence[weight[use] > 0] ** 2) / n
    np.testing.assert_allclose(found.std_error, np.sqrt(variance), rtol=1e-3)
    low, high = found.bounds(0.9)
    np.testing.assert_allclose(high - low, 2 * 1.644854 * np.sqrt(variance), rtol=1e-3)
    e, t = np.asarray(found.propensity), np.asarray(sample.t)
    weighed = dict(att=~t, atc=t, ate=np.ones(150, bool))[estimand] & (weight > 0) & use
    assert int(found.clipped) == (weighed & (np.where(t, e, 1 - e) < 0.3)).sum() > 0
    assert f"{int(found.clipped)} units stand for" in str(found)


@pytest.mark.extended
def test_clusters_of_one_row_are_rows_and_copies_of_a_sample_add_nothing():
    sample = draw_sample(5, n=60)
    predicted = jnp.zeros((60, 2))
    plain = aipw_of(sample, dealt(60), predicted, "ate")
    alone = draw_sample(5, n=60, cluster=np.arange(60))
    error = aipw_of(alone, dealt(60), predicted, "ate").std_error
    np.testing.assert_allclose(error, plain.std_error * np.sqrt(60 / 59), rtol=1e-4)
    rows = np.tile(np.arange(60), 4)
    copied = jc.Sample(sample.x[rows], sample.t[rows], sample.y[rows], cluster=rows)
    again = aipw_of(copied, dealt(60)[rows], predicted[rows], "ate")
    np.testing.assert_allclose(again.average, plain.average, rtol=1e-4)
    np.testing.assert_allclose(again.std_error, error, rtol=1e-3)


@pytest.mark.extended
def test_padding_and_row_order_change_nothing():
    sample = draw_sample(6, n=70, category=3)
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    fold = np.asarray(dealt(70))
    levels, kinds = {"x3": ["a", "b", "c"]}, sample.schema.kinds
    order = np.random.default_rng(0).permutation(70)
    junk = np.r_[order, order[:9]]
    padded = jc.Sample(
        x[junk], t[junk], y[junk], valid=np.arange(79) < 70, kinds=kinds, levels=levels
    )
    predicted = jnp.stack([sample.x[:, 0], sample.x[:, 1]], axis=1)
    wrong = predicted[junk].at[70:].set(jnp.nan)
    for estimand in ("att", "ate"):
        one = aipw_of(sample, jnp.asarray(fold), predicted, estimand)
        two = aipw_of(padded, jnp.asarray(fold[junk]), wrong, estimand)
        close([two.average, two.std_error], [one.average, one.std_error], rtol=2e-5)
        close(np.asarray(two.influence)[:70], np.asarray(one.influence)[order], atol=1e-4)
        assert (np.asarray(two.influence)[70:] == 0).all()
        close(two.propensity[:70], one.propensity[order], atol=1e-5)
        assert np.isnan(np.asarray(two.propensity)[70:]).all()


@pytest.mark.extended
@pytest.mark.x64
def test_the_effect_on_controls_is_that_on_treated_with_the_arms_swapped():
    sample = draw_sample(7, n=80)
    other = jc.Sample(sample.x, ~np.asarray(sample.t), sample.y)
    predicted = jnp.stack([sample.x[:, 0], jnp.full(80, jnp.nan)], axis=1)
    att = aipw_of(sample, dealt(80), predicted, "att")
    atc = aipw_of(other, dealt(80), predicted[:, ::-1], "atc")
    np.testing.assert_allclose(-atc.average, att.average, rtol=1e-4)
    np.testing.assert_allclose(atc.std_error, att.std_error, rtol=1e-4)
    np.testing.assert_allclose(atc.effective[::-1], att.effective, rtol=1e-4)
    np.testing.assert_allclose(atc.beyond[::-1], att.beyond, rtol=1e-4)


@pytest.mark.extended
def test_with_one_chance_for_all_the_three_averages_are_a_mix():
    rng = np.random.default_rng(8)
    t = np.arange(80) % 4 // 2 == 0  # both arms alike in both folds
    x = np.arange(80)[:, None] // 4 % 2  # tells nothing of the treatment
    sample = jc.Sample(x, t, rng.normal(size=80) + t)
    predicted = jnp.asarray(rng.normal(size=(80, 2)), sample.x.dtype)
    found = {e: aipw_of(sample, dealt(80), predicted, e) for e in ("att", "atc", "ate")}
    np.testing.assert_allclose(found["ate"].propensity, 0.5, atol=1e-6)
    mix = 0.5 * (found["att"].average + found["atc"].average)
    np.testing.assert_allclose(found["ate"].average, mix, rtol=1e-4)
    np.testing.assert_allclose(found["ate"].effective, [40, 40], rtol=1e-4)


def runs(one, count):
    """`one` of each key, in one vmapped program."""
    return jax.tree.map(
        np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count))
    )


@pytest.mark.extended
def test_either_model_alone_makes_the_average_right():
    """400 data sets of 2,000 units; the mean within four of its standard errors of the truth.

    What a wrong model leaves behind falls as 1 / n: with 500 units and no outcome model at all the
    ATE is off by .06, a quarter of its standard deviation.
    """

    def one(key):
        a, b, c = jax.random.split(key, 3)
        x = jax.random.normal(a, (2000, 2))
        linear = jax.random.uniform(b, (2000,)) < jax.nn.sigmoid(0.8 * x[:, 0] - 0.5)
        bent = jax.random.uniform(b, (2000,)) < jax.nn.sigmoid(0.7 * x[:, 0] ** 2 - 1)
        base = jnp.square(x[:, 0]) + 2 * x[:, 0]
        right, nothing = jnp.stack([base, base + 1], axis=1), jnp.zeros((2000, 2))
        found = []
        for t, predicted in ((bent, right), (linear, nothing), (bent, nothing)):
            sample = jc.Sample(x, t, base + t + jax.random.normal(c, (2000,)))
            for estimand in ("att", "atc", "ate"):
                found.append(aipw_of(sample, dealt(2000), predicted, estimand).average)
        return jnp.stack(found).reshape(3, 3)

    found = runs(one, 400)
    away = (found.mean(0) - 1) / (found.std(0) / 20)
    assert np.abs(away[:2]).max() < 4, away
    assert np.abs(away[2]).min() > 20, away  # with both wrong it is far off, so the test can tell


@pytest.mark.extended
def test_intervals_cover_the_truth():
    """400 data sets of 600 units, linear truth, Ridge: the rates are good to 1.1 points (1 sd)."""
    method = AIPW(jc.Ridge())

    def one(key):
        a, b, c, d = jax.random.split(key, 4)
        x = jax.random.normal(a, (600, 3))
        t = jax.random.uniform(b, (600,)) < jax.nn.sigmoid(x[:, 0] - 0.5 * x[:, 1])
        y = x @ jnp.array([1.0, 2.0, -1.0]) + t * (1 + x[:, 2]) + jax.random.normal(c, (600,))
        sample = jc.Sample(x, t, y)
        found = [estimate_aipw(sample, method, e, 2, d) for e in ("att", "ate")]
        return jnp.stack([jnp.stack([f.average, f.std_error]) for f in found])

    found = runs(one, 400)  # x2 is independent of the treatment: both averages are 1
    average, error = found[..., 0], found[..., 1]
    covered = (np.abs(average - 1) < 1.96 * error).mean(0)
    assert ((covered > 0.9) & (covered < 0.98)).all(), covered
    ratio = error.mean(0) / average.std(0)
    assert ((ratio > 0.85) & (ratio < 1.15)).all(), ratio


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_jit_gives_what_the_host_gives(estimand):
    sample = draw_sample(9, n=90, cluster=np.arange(90) // 3)
    key, method = jax.random.key(1), AIPW(jc.Ridge())
    host = estimate_aipw(sample, method, estimand, 3, key)
    traced = eqx.filter_jit(lambda s, k: estimate_aipw(s, method, estimand, 3, k))(sample, key)
    for name in ("average", "std_error", "influence", "propensity", "effective", "beyond", "slope"):
        close(getattr(traced, name), getattr(host, name), rtol=1e-3, atol=1e-4)
    assert (np.asarray(traced.fold) == np.asarray(host.fold)).all()
    assert str(traced) == str(host)


@pytest.mark.extended
def test_folds_and_surfaces_are_those_of_a_matching_method_with_that_key():
    sample = draw_sample(10, n=60)
    effects = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), key=7, folds=2)
    key = jax.random.fold_in(step_key(as_key(7, "estimate"), "estimate"), 0)
    told = []
    report = lambda stage, done, total: told.append((stage, done, total))  # noqa: E731
    found = estimate_aipw(sample, AIPW(jc.Ridge()), "ate", 2, key, report)
    fold = np.asarray(effects.matching.fold)
    assert (np.asarray(found.fold) == fold).all()
    for k, surface in enumerate(effects.surfaces):
        rows = fold == k
        close(found.predicted[rows], np.asarray(surface(sample.x))[rows], rtol=1e-4, atol=1e-5)
    assert told == [("training the surface", k, 2) for k in range(2)]
    given = estimate_aipw(sample, AIPW(effects.surfaces[0].lean()), "att", 1, None)
    assert np.isfinite(float(given.average))


@pytest.mark.x64
def test_the_experiment_agrees_with_its_difference_of_means(experiment):
    found = estimate_aipw(experiment, AIPW(jc.Ridge()), "att", 2, jax.random.key(0))
    assert abs(float(found.average) - 1794) < 400 and 550 < float(found.std_error) < 800
    assert found.notes() == [] and float(found.beyond.max()) < 0.2
    assert found.summary().startswith(f"ATT: {found.line()}\n260 controls and 185 treated, ")


@pytest.mark.extended
def test_arms_that_do_not_overlap_are_told_with_the_covariate():
    rng = np.random.default_rng(11)
    x = rng.normal(size=(200, 3))
    sample = jc.Sample(x, x[:, 1] > 0, x[:, 0], names=["age", "pay", "size"])
    predicted = jnp.zeros((200, 2))
    for estimand, who in (("att", "treated have a higher"), ("atc", "controls have a lower")):
        text = str(aipw_of(sample, dealt(200), predicted, estimand))
        assert f"% of the {who} chance of treatment than nearly all" in text
        assert "'pay' tells them apart the most" in text
    chances = fitted_chances(sample, dealt(200), 2)
    assert tells_apart(sample.schema, np.asarray(chances.slope)) == "pay"
    calm = jc.Sample(x, rng.random(200) < 0.5, x[:, 0])
    assert "apart" not in str(aipw_of(calm, dealt(200), predicted, "ate"))


def test_an_empty_arm_is_nan_under_jit_and_a_sentence_outside():
    sample = draw_sample(12, n=40)
    alone = sample.with_valid(~sample.t)
    predicted = jnp.zeros((40, 2))
    made = eqx.filter_jit(lambda s: aipw_of(s, dealt(40), predicted, "att"))(alone)
    assert np.isnan(float(made.average)) and np.isnan(float(made.std_error))
    with pytest.raises(jc.DataError, match="there are no treated at all"):
        aipw_of(alone, dealt(40), predicted, "att")
    with pytest.raises(jc.DataError, match="there are no treated at all"):
        fitted_chances(alone, dealt(40, 1), 1)


@pytest.mark.extended
def test_wrong_input_is_refused_in_a_sentence(unchecked):
    sample, fold, predicted = draw_sample(13, n=40), dealt(40), jnp.zeros((40, 2))
    bad = predicted.at[3, 0].set(jnp.nan).at[5, 0].set(jnp.inf)
    with pytest.raises(jc.DataError, match=r"without the treatment for 2 of 40 units \(rows 3 and"):
        aipw_of(sample, fold, bad, "att")
    assert np.isfinite(float(aipw_of(sample, fold, bad, "atc").average))
    traced = jax.jit(lambda f: aipw_of(sample, fold, f, "att").average)(bad)
    assert np.isnan(float(traced))
    for options, words in (
        (dict(estimand="all"), "estimand is 'all': use 'att', 'atc' or 'ate'"),
        (dict(clip=0.5), "clip is 0.5: it must be at least 1e-06 and under 0.5"),
    ):
        with pytest.raises(ValueError, match=words):
            aipw_of(sample, fold, predicted, **options)
    for make, words in (
        (lambda: AIPW(jc.Ridge(), clip=0.0), "clip is 0.0"),
        (lambda: AIPW(jc.Ridge(), propensity=jc.Ridge()), "propensity takes a jc.Propensity, not"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="level is 1.5"):
        aipw_of(sample, fold, predicted).bounds(1.5)
    with pytest.raises(jc.DataError, match="the sample has no outcome"):
        aipw_of(draw_sample(13, n=40, y=False), fold, predicted)
    with pytest.raises(jc.HonestyError, match="with folds=1 the surface would be trained"):
        estimate_aipw(sample, AIPW(jc.Ridge()), "att", 1, None)
