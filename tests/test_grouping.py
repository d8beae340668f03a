"""Groups of units beside pandas, scikit-learn and enumeration, their filters, and bad input."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

import jcausal as jc
from jcausal.allocation._k_means import k_means
from jcausal.data import deal


def sizes(grouping):
    return np.bincount(grouping.code, minlength=grouping.groups)


def test_quantiles_are_those_of_pandas():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=200), rng.integers(0, 12, 200).astype(float)):
        sample = jc.Sample(values[:, None], np.arange(200) % 2, values, names=["v"])
        found = jc.allocation.group(sample, jc.allocation.Quantiles("v", 15))
        seen = np.asarray(sample.points[:, 0])
        inner = np.unique(np.quantile(seen, np.arange(1, 15) / 15))
        expected = pd.cut(seen, [-np.inf, *inner, np.inf], labels=False)
        if len(np.unique(seen)) == 200:
            np.testing.assert_array_equal(expected, pd.qcut(seen, 15, labels=False))
        assert found.groups == len(np.unique(expected))
        np.testing.assert_array_equal(found.code, pd.factorize(expected, sort=True)[0])
        again = jc.allocation.group(sample, jc.allocation.Quantiles(values, 15))
        np.testing.assert_array_equal(again.code, found.code)
    assert found.label[0] == "0"


def test_columns_and_their_combinations():
    sample = draw_sample(1, n=120, p=2, integers=True, category=3)
    first, _, last = sample.schema.names
    one = jc.allocation.group(sample, jc.allocation.ByColumn(first))
    np.testing.assert_array_equal(one.code, sample.points[:, 0])
    assert one.label == ("0", "1", "2", "3")
    both = jc.allocation.group(sample, jc.allocation.ByColumn([first, last]))
    labels = pd.Series(both.labels)
    pairs = pd.Series(list(zip(sample.points[:, 0], sample.points[:, 2])))
    assert (labels.groupby(pairs).nunique() == 1).all() and both.groups == pairs.nunique()
    named = jc.allocation.group(sample, jc.allocation.ByColumn(np.array(["north", "south"] * 60)))
    assert named.label == ("north", "south") and named.labels[1] == "south"


def test_missing_values_are_a_group():
    frame = pd.DataFrame(dict(t=[0, 1] * 6, y=np.arange(12.0), age=[1.0, 2, 3, np.nan] * 3))
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", missing="indicator")
    for method in (jc.allocation.ByColumn("age"), jc.allocation.Quantiles("age", 3)):
        found = jc.allocation.group(sample, method)
        assert found.label[-1] == "missing" and sizes(found)[-1] == 3


def test_effects_are_differences_of_weighted_means():
    rng = np.random.default_rng(2)
    weight = rng.uniform(0.5, 2, 90)
    sample = draw_sample(2, n=90, p=1, weight=weight)
    labels = rng.integers(0, 4, 90)
    found = jc.allocation.group(sample, jc.allocation.ByColumn(labels))
    y, t = np.asarray(sample.y, float), np.asarray(sample.t)
    for g in range(4):
        means = [
            np.average(y[(labels == g) & (t == arm)], weights=weight[(labels == g) & (t == arm)])
            for arm in (False, True)
        ]
        assert found.effects[g] == pytest.approx(means[1] - means[0], rel=1e-5)
    frame = found.to_frame()
    assert frame["units"].sum() == 90 and frame["treated"].sum() == t.sum()


def test_filters_leave_out_small_and_uneven_groups_and_name_them():
    group = np.repeat(["fine", "few", "uneven", "small"], [20, 10, 40, 5])
    t = np.r_[np.arange(20) % 2, [1, 1] + [0] * 8, [1] * 5 + [0] * 35, [1, 1, 1, 0, 0]]
    sample = jc.Sample(np.arange(75.0)[:, None], t, np.arange(75.0))
    found = jc.allocation.group(sample, jc.allocation.ByColumn(group))
    kept = found.filtered()
    assert kept.label == ("fine",) and kept.sample.n == 20
    assert kept.left_out == (
        "few: 8 controls, 2 treated",
        "small: 2 controls, 3 treated",
        "uneven: 35 controls, 5 treated",
    )
    np.testing.assert_array_equal(kept.sample.points[:, 0], np.arange(20))
    wide = found.filtered(min_arm=2, treated_share=(0.1, 0.9), min_size=5)
    assert wide.groups == 4 and wide.left_out == ()
    assert found.filtered(min_size=30, treated_share=(0, 1)).label == ("uneven",)
    with pytest.raises(jc.DataError, match="none of 4 groups has 100 units in each arm"):
        found.filtered(min_arm=100)
    padded = sample.with_valid(jnp.arange(75) < 50)
    assert jc.allocation.group(padded, jc.allocation.ByColumn(group)).sample.n == 50


def test_k_means_finds_the_best_of_all_partitions():
    x = np.array([0.0, 0.1, 0.3, 1.0, 1.2, 1.3, 2.9, 3.0, 3.3, 3.4])
    cuts = [np.split(x, c) for c in combinations(range(1, 10), 2)]
    best = min(sum(((part - part.mean()) ** 2).sum() for part in parts) for parts in cuts)
    found = k_means(jnp.asarray(x)[:, None], jnp.ones(10), jax.random.key(0), k=3, tries=10)
    assert float(found.within) == pytest.approx(best, rel=1e-4)
    # a unit of weight 2 is two units; one of weight 0 is none
    weight = jnp.ones(10).at[0].set(2.0).at[9].set(0.0)
    heavy = k_means(jnp.asarray(x)[:, None], weight, jax.random.key(0), k=3, tries=10)
    copies = np.r_[0.0, x[:9]]
    cuts = [np.split(copies, c) for c in combinations(range(1, 10), 2)]
    best = min(sum(((part - part.mean()) ** 2).sum() for part in parts) for parts in cuts)
    assert float(heavy.within) == pytest.approx(best, rel=1e-4)


@pytest.mark.extended
def test_k_means_is_as_good_as_scikit_learn():
    sample = draw_sample(5, n=300, p=2)
    found = jc.allocation.group(sample, jc.allocation.KMeans(8), key=0)
    x = sample.points
    x = (x - x.mean(0)) / x.std(0)
    theirs = KMeans(8, n_init=10, random_state=0).fit(x).inertia_
    centre = np.stack([x[found.code == g].mean(0) for g in range(8)])
    ours = ((x - centre[found.code]) ** 2).sum()
    assert ours <= 1.03 * theirs
    assert (np.diff(centre[:, 0]) > 0).all()
    near = ((x[:, None] - centre) ** 2).sum(2).argmin(1)
    assert (near == found.code).mean() > 0.99
    only = jc.allocation.group(
        sample, jc.allocation.KMeans(8, covariates=[sample.schema.names[1]]), key=0
    )
    order = np.argsort(sample.points[:, 1])
    assert (np.diff(only.code[order]) >= 0).all()


def test_strata_of_the_propensity_are_those_of_scikit_learn():
    """Quantiles of cross-fitted chances; both penalties are beside the sum of the losses."""
    rng = np.random.default_rng(6)
    x, weight = rng.normal(size=(200, 3)), rng.uniform(0.5, 2, 200)
    t = rng.random(200) < 1 / (1 + np.exp(-x[:, 0]))
    sample = jc.Sample(x, t, x[:, 1], weight=weight)
    fold = np.asarray(deal(sample, 5, jax.random.key(0)))
    chance = np.zeros(200)
    for k in range(5):
        rest, here = fold != k, fold == k
        middle = np.average(x[rest], axis=0, weights=weight[rest])
        sd = np.average((x[rest] - middle) ** 2, axis=0, weights=weight[rest]) ** 0.5
        z = (x - middle) / sd
        model = LogisticRegression(C=1 / 5.0, tol=1e-10, max_iter=1000)
        model.fit(z[rest], t[rest], sample_weight=weight[rest])
        chance[here] = model.predict_proba(z[here])[:, 1]
    strata = jc.allocation.PropensityStrata(4, penalty=5.0)
    found = strata.divide(sample, jax.random.key(0))
    expected = np.argsort(np.argsort(chance)) // 50
    assert (found.code == expected).mean() >= 0.98  # weights differ a little from fold to fold


def test_strata_of_the_propensity_follow_what_drives_treatment():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 2))
    sample = jc.Sample(x, rng.random(400) < 1 / (1 + np.exp(-2 * x[:, 0])), x[:, 1])
    found = jc.allocation.group(sample, jc.allocation.PropensityStrata(5), key=0)
    assert (sizes(found) == 80).all()
    share = found.counts[:, 1] / sizes(found)
    assert (np.diff(share) > 0).all() and share[0] < 0.25 and share[-1] > 0.75


def test_clusters_of_effects_follow_the_effects():
    """The effect jumps at 0 in the first of four covariates: only its prediction is bimodal."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(400, 4))
    t = rng.random(400) < 0.5
    sample = jc.Sample(x, t, x[:, 1] + 20 * (x[:, 0] > 0) * t + 0.1 * rng.normal(size=400))
    surface = jc.Function(lambda x: jnp.stack([0 * x[:, 0], 20.0 * (x[:, 0] > 0)], 1))
    plain = jc.allocation.group(sample, jc.allocation.KMeans(2), key=0)
    true = np.asarray(surface(sample.x))[:, 1]
    for folds in (1, 2):
        found = jc.allocation.group(
            sample, jc.allocation.EffectKMeans(jc.Ridge(), 2, folds=folds), key=0
        )
        within = [
            sum(true[one.code == g].var() * (one.code == g).mean() for g in range(2))
            for one in (found, plain)
        ]
        assert within[0] < 0.8 * within[1]


def test_wrong_groups_are_refused(unchecked):
    sample = draw_sample(9, n=40, p=2, category=3)
    number, _, category = sample.schema.names
    for method, words in (
        (jc.allocation.ByColumn("height"), "'height' is no covariate"),
        (
            jc.allocation.ByColumn(np.arange(3)),
            r"by has shape \(3,\): give one label for each of 40",
        ),
        (jc.allocation.Quantiles(category, 3), "strata need numbers"),
        (jc.allocation.KMeans(3, covariates=["height"]), "'height' is no covariate"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.allocation.group(sample, method, key=0)
    with pytest.raises(jc.DataError, match="41 groups are asked of 40 distinct units"):
        jc.allocation.group(sample, jc.allocation.KMeans(41), key=0)
    with pytest.raises(ValueError, match="k-means draws at random"):
        jc.allocation.group(sample, jc.allocation.KMeans(3))
    with pytest.raises(ValueError, match="draws at random"):
        jc.allocation.group(sample, jc.allocation.PropensityStrata(3))
    alone = jc.allocation.group(sample, jc.allocation.ByColumn(np.asarray(sample.t)))
    with pytest.raises(
        jc.DataError, match=r"group 'False' has no treated or no controls .*\(2 of 2"
    ):
        _ = alone.effects
    design = draw_sample(9, n=40, p=1, y=False)
    with pytest.raises(jc.DataError, match="the sample has no outcome"):
        _ = jc.allocation.group(design, jc.allocation.Quantiles(design.schema.names[0], 2)).effects
    for make, words in (
        (lambda: jc.allocation.Quantiles(number, 1), "groups is 1"),
        (lambda: jc.allocation.KMeans(3, tries=0), "tries is 0"),
        (lambda: jc.allocation.PropensityStrata(3, folds=1), "folds is 1"),
        (lambda: jc.allocation.PropensityStrata(3, penalty=0.0), "penalty is 0"),
        (lambda: jc.allocation.EffectKMeans(jc.Ridge(), 3, folds=0), "folds is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="concrete samples"):
        jax.jit(lambda s: jc.allocation.group(s, jc.allocation.KMeans(3), key=0).code)(sample)
