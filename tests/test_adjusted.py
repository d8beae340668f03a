"""Adjusted effects, drift and the second opinion: exact cases, linearity, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample, wavy

import jcausal as jc


def truth(x):
    """Both outcomes, curved."""
    f0 = jnp.sin(2 * x[:, 0]) + x[:, 1] ** 2
    return jnp.stack([f0, f0 + 1 + x[:, 0]], axis=1)


def noiseless(seed, n=60, **options):
    sample = draw_sample(seed, n=n, **options)
    both = np.asarray(truth(sample.x), float)
    return sample.with_outcome(np.where(sample.t, both[:, 1], both[:, 0])), both


METHODS = {
    "AHB": lambda f: jc.AHB(outcome=f),
    "FastAHB": lambda f: jc.FastAHB(outcome=f),
    "ExactAHB": lambda f: jc.ExactAHB(outcome=f, max_nodes=2000),
}


@pytest.mark.extended
@pytest.mark.parametrize("effect", ["group", "own"])
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
@pytest.mark.parametrize("name", METHODS)
def test_with_the_true_surface_and_no_noise_effects_are_exact_whatever_the_groups(
    name, estimand, effect
):
    sample, both = noiseless(1, n=40)
    effects = jc.estimate(
        sample, METHODS[name](jc.Function(truth)), key=0, estimand=estimand, effect=effect
    )
    assert effects.adjusted
    exact = (both[:, 1] - both[:, 0])[np.asarray(effects.matching.query)]
    close(effects.ite, exact, atol=2e-5)
    assert not np.allclose(effects.unadjusted.ite, exact, atol=1e-2)


def test_any_groups_are_exact_with_the_true_surface():
    sample, both = noiseless(2)
    query = np.flatnonzero(sample.t)
    controls = np.flatnonzero(~np.asarray(sample.t))
    rows = np.random.default_rng(0).choice(controls, (query.size, 4))
    pairs = jc.matching.Pairs(
        sample=sample,
        fold=jnp.zeros(sample.n, int),
        query=jnp.asarray(query),
        query_fold=jnp.zeros(query.size, int),
        rows=jnp.asarray(rows),
        weights=jnp.full(rows.shape, 0.25),
        status=jnp.zeros(query.size, int),
        estimand="att",
    )
    effects = jc.estimate(sample, pairs, adjust=truth)
    close(effects.ite, (both[:, 1] - both[:, 0])[query], atol=2e-5)
    assert not jc.estimate(sample, pairs).adjusted


@pytest.mark.extended
@pytest.mark.parametrize("estimand", ["att", pytest.param("ate", marks=pytest.mark.extended)])
def test_a_constant_surface_changes_nothing(estimand):
    sample = draw_sample(3, n=50)
    flat = jc.Function(lambda x: jnp.full((x.shape[0], 2), 7.0))
    effects = jc.estimate(sample, jc.AHB(outcome=flat), key=0, estimand=estimand)
    close(effects.ite, effects.unadjusted.ite, atol=1e-5)
    close(effects.drift, np.zeros(len(effects.drift)), atol=1e-6)


def test_a_shift_that_the_surface_knows_changes_no_effect():
    sample = draw_sample(4, n=50)
    g = 3 * np.asarray(sample.x)[:, 0] ** 2

    def shifted(x):
        return wavy(x) + 3 * x[:, :1] ** 2

    boxes = jc.match(sample, jc.AHB(), surface=jc.Function(wavy))
    plain = jc.estimate(sample, boxes, adjust=wavy)
    moved = jc.estimate(sample.with_outcome(np.asarray(sample.y) + g), boxes, adjust=shifted)
    close(plain.ite, moved.ite, atol=2e-5)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("effect", ["group", "own"])
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_an_adjusted_effect_by_hand(estimand, effect):
    weight = np.random.default_rng(1).random(50) + 0.2
    sample = draw_sample(5, n=50, weight=weight)
    effects = jc.estimate(
        sample, jc.AHB(outcome=jc.Ridge()), key=2, estimand=estimand, effect=effect
    )
    y, t = np.asarray(sample.y, float), np.asarray(sample.t).astype(int)
    f = np.array(effects.prognosis.units, float)
    for a in (0, 1):  # an arm that was not fitted
        f[:, a] = f[:, 1 - a] if np.isnan(f[:, a]).all() else f[:, a]
    residual = y - f[np.arange(50), t]
    for i, row in enumerate(np.asarray(effects.matching.query)):
        rows, share = effects.matching.group(i)
        level = [f[row, a] + (share * residual[rows])[t[rows] == a].sum() for a in (0, 1)]
        if effect == "own":
            level[t[row]] = y[row]
        close(effects.ite[i], level[1] - level[0], atol=2e-5)
        other = 1 - t[row]
        drift = (share * f[rows, other])[t[rows] == other].sum() - f[row, other]
        sd = np.sqrt(np.average((y - np.average(y, weights=weight)) ** 2, weights=weight))
        close(effects.drift[i], drift / sd, atol=2e-5)


@pytest.mark.extended
@pytest.mark.x64
def test_the_att_is_linear_given_the_model():
    sample = draw_sample(6, n=60, weight=np.random.default_rng(2).random(60) + 0.1)
    effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
    c = np.asarray(effects.contributions, float)
    f0 = np.asarray(effects.prognosis.units, float)[:, 0]
    close(effects.att, c @ (np.asarray(sample.y, float) - f0), rtol=1e-4)
    close(effects.plain_average, effects.unadjusted.att, rtol=1e-4)
    close(c, effects.unadjusted.contributions, atol=1e-7)


@pytest.mark.extended
def test_the_gradient_holds_the_weight_of_every_outcome_through_the_model_too():
    sample = draw_sample(7, n=40)
    boxes = jc.match(sample, jc.AHB(), surface=jc.Function(wavy))

    def att(y, adjust):
        one = eqx.tree_at(lambda s: s.y, sample, y)
        return jc.estimate(one, boxes, adjust=adjust, key=0, throw=False).att

    fixed = jax.grad(att)(sample.y, wavy)
    close(fixed, jc.estimate(sample, boxes).contributions, atol=1e-6)
    slope = np.asarray(jax.grad(att)(sample.y, jc.Ridge()), float)
    assert not np.allclose(slope, fixed, atol=1e-3)
    y, step = np.asarray(sample.y), np.random.default_rng(0).normal(size=40).astype(np.float32)
    gap = att(y + step, jc.Ridge()) - att(y - step, jc.Ridge())
    close(gap, 2 * slope @ step, rtol=1e-3, atol=1e-4)  # the ATT is linear in y, model and all


@pytest.mark.extended
def test_a_gradient_takes_trees_that_were_trained_as_given():
    sample = draw_sample(7, n=40)
    method = jc.AHB(outcome=jc.BoostedTrees(rounds=3))

    def att(y):
        one = eqx.tree_at(lambda s: s.y, sample, y)
        return jc.estimate(one, method, key=0, throw=False).att

    close(jax.grad(att)(sample.y), jc.estimate(sample, method, key=0).contributions, atol=1e-5)


@pytest.mark.extended
def test_intervals_take_the_residuals(experiment):
    effects = jc.estimate(experiment, jc.AHB(outcome=jc.Ridge()), key=0)
    made = experiment.with_outcome(np.asarray(effects.residual))
    same = jc.estimate(made, effects.matching, adjust=None)
    for method in (jc.AbadieImbens(target="sample"), jc.Bootstrap(target="sample", draws=200)):
        one, two = (jc.interval(e, method, key=1) for e in (effects, same))
        close(one.std_error, two.std_error, rtol=1e-3)


@pytest.mark.extended
def test_partitions_widen_the_interval(experiment):
    method = jc.AHB(outcome=jc.Ridge())
    effects = jc.estimate(experiment, method, key=0, repeats=3)
    runs = effects.partitions.runs
    each = [jc.interval(run, jc.AbadieImbens()) for run in runs]
    middle = np.median([float(run.att) for run in runs])
    expected = np.median(
        [float(i.std_error) ** 2 + (float(i.estimate) - middle) ** 2 for i in each]
    )
    found = jc.interval(effects, jc.AbadieImbens())
    close(found.estimate, middle, rtol=1e-6)
    close(found.std_error, np.sqrt(expected), rtol=1e-5)
    assert "spread of partitions" in str(found)
    table = jc.interval(effects, jc.AbadieImbens(), by="without degree").to_frame()
    assert (table["std_error"] > 0).all()


@pytest.mark.extended
def test_the_second_opinion_is_aipw_of_the_same_folds_and_surface(experiment):
    effects = jc.estimate(experiment, jc.AHB(outcome=jc.Ridge()), key=4)
    second = effects.second_opinion()
    alone = jc.estimate(experiment, jc.AIPW(outcome=jc.Ridge()), key=4)
    close(second.average, alone.average, rtol=1e-5)
    close(second.std_error, alone.std_error, rtol=1e-5)
    assert "second opinion" in effects.summary()
    assert jc.estimate(experiment, jc.M5Match()).second_opinion() is None
    some = jc.estimate(experiment, jc.AHB(outcome=jc.Ridge()), key=4, query=[0, 1])
    assert some.second_opinion() is None


@pytest.mark.extended
def test_the_summary_says_when_the_opinions_differ():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 2))
    t = rng.random(800) < 1 / (1 + np.exp(1 - x[:, 0]))
    y = 3 * x[:, 0] + 0.1 * rng.normal(size=800)
    sample = jc.Sample(x, t, y)
    blind = jc.Function(lambda x: jnp.stack([x[:, 1], x[:, 1]], axis=1))  # to the confounder
    effects = jc.estimate(sample, jc.AHB(outcome=blind), key=0)
    text = effects.summary(jc.interval(effects, jc.AbadieImbens()))
    second = effects.second_opinion()
    assert abs(float(second.average)) < 0.5 * abs(float(effects.att))
    assert "joint standard errors" in text


@pytest.mark.extended
def test_balance_begins_with_the_prognostic_score(experiment):
    effects = jc.estimate(experiment, jc.AHB(outcome=jc.Ridge()), key=0)
    table = jc.balance(experiment, effects)
    assert table.index[0] == "prognostic score"
    f0 = np.asarray(effects.prognosis.units, float)[:, 0]
    t = np.asarray(experiment.t)
    expected = (f0[t].mean() - f0[~t].mean()) / f0[t].std(ddof=1)
    close(table["smd_before"].iloc[0], expected, rtol=1e-4)
    weight = np.asarray(effects.matching.matched_weights(), float)
    after = f0[t].mean() - np.average(f0[~t], weights=weight[~t])
    close(table["smd_after"].iloc[0], after / f0[t].std(ddof=1), rtol=1e-3, atol=1e-4)
    whole = jc.estimate(experiment, jc.AHB(outcome=jc.Ridge()), key=0, estimand="ate")
    assert jc.balance(experiment, whole.matching).index[:2].tolist() == [
        "prognostic score, untreated",
        "prognostic score, treated",
    ]
    bare = jc.estimate(experiment, jc.M5Model())
    assert jc.balance(experiment, bare).index[0] == "age"


@pytest.mark.extended
def test_m5_match_is_adjusted_by_its_leaf(experiment):
    effects = jc.estimate(experiment, jc.M5Match())
    assert effects.adjusted and "not honest" in effects.summary()
    tree = effects.matching.guides[0]
    f0 = np.asarray(tree(experiment.x), float)[:, 0]
    y = np.asarray(experiment.y, float)
    rows, share = effects.matching.group(3)
    row = int(effects.matching.query[3])
    partners = rows != row
    expected = y[row] - f0[row] - share[partners] @ (y - f0)[rows[partners]]
    close(effects.ite[3], expected, rtol=1e-3)


@pytest.mark.extended
def test_common_support_leaves_out_who_has_no_like(unchecked):
    sample = draw_sample(8, n=60, p=2)
    x = np.clip(sample.points, -1, 1)
    treated = np.flatnonzero(sample.t)
    x[treated[0], 0], x[treated[1], 1] = 50.0, -60.0
    sample = jc.Sample(x, sample.t, sample.y)
    method = jc.AHB(outcome=jc.Ridge())
    whole = jc.estimate(sample, method, key=0)
    assert "2 treated lie outside" in whole.summary() and "x0 1, x1 1" in whole.summary()
    kept = jc.estimate(sample, method, key=0, support="common")
    assert "ATT on common support (matched 18 of 20)" in kept.summary()
    assert "second opinion, over all units, " in kept.summary()
    assert "over all units" not in whole.summary()
    out = np.isin(np.asarray(kept.matching.query), treated[:2])
    assert np.isnan(np.asarray(kept.ite)[out]).all() and not np.asarray(kept.matched)[out].any()
    close(kept.att, np.asarray(whole.ite)[~out].mean(), rtol=1e-4)
    with pytest.raises(ValueError, match="support is 'some'"):
        jc.estimate(sample, method, key=0, support="some")


@pytest.mark.extended
@pytest.mark.parametrize(
    ("adjust", "words"),
    [
        ("surfaces", "use 'auto', 'surface', None"),
        (3, "adjust is an int: write adjust=jc.BoostedTrees.*or use 'surface'"),
        (jc.Ridge, "is a class: write"),
        ("surface", "these Pairs have none"),
        (jc.Ridge(), "give key="),
    ],
)
def test_bad_models(adjust, words, experiment, unchecked):
    import dataclasses

    pairs = jc.estimate(experiment, jc.M5Match()).matching
    pairs = dataclasses.replace(pairs, prognosis=None)
    with pytest.raises(ValueError, match=words):
        jc.estimate(experiment, pairs, adjust=adjust)


@pytest.mark.extended
def test_a_surface_that_gives_nan_is_told(experiment):
    pairs = jc.estimate(experiment, jc.M5Match()).matching

    def broken(x):
        f = jnp.where(x[:, :1] > 40, jnp.nan, x[:, :1])
        return jnp.concatenate([f, f], axis=1)

    with pytest.raises(jc.MatchError, match="surface gave NaN"):
        jc.estimate(experiment, pairs, adjust=broken)
    with pytest.raises(ValueError, match="regressions in leaves"):
        jc.estimate(experiment, jc.M5Model(), adjust=jc.Ridge(), key=0)


def test_surfaces_that_have_seen_the_outcomes_adjust_only_when_told(halves):
    train, _ = halves
    surface = jc.fit(train, jc.Ridge())
    boxes = jc.match(train, jc.AHB(), surface=surface, honest=False)
    assert not jc.estimate(train, boxes).adjusted
    assert jc.estimate(train, boxes, adjust="surface").adjusted


@pytest.mark.extended
def test_few_clusters_are_warned_of_and_fewer_refused():
    for count, words in ((7, "7 clusters"), (3, "fewer than 5")):
        sample = draw_sample(9, n=63, cluster=np.arange(63) % count)
        effects = jc.estimate(sample, jc.AHB(outcome=jc.Function(wavy)), folds=1)
        if count < 5:
            with pytest.raises(ValueError, match=words):
                jc.interval(effects, jc.Bootstrap(draws=50), key=0)
        else:
            with pytest.warns(UserWarning, match=words):
                jc.interval(effects, jc.Bootstrap(draws=50), key=0)
