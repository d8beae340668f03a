"""Estimates by group from trials, effects and methods, beside loops over the groups."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.matching import RESULTS, Matcher, code


def trial(seed=0, groups=6, n=240, weight=False, **options):
    """A randomised trial with an effect of g in group g, in random order; labels beside it."""
    rng = np.random.default_rng(seed)
    group, t = np.arange(n) % groups, (np.arange(n) // groups) % 2 == 0
    order = rng.permutation(n)
    group, t = group[order], t[order]
    y = 5 + group * t + rng.normal(size=n) * (1 + t)
    w = rng.uniform(0.5, 2, n) if weight else None
    return jc.Sample(rng.normal(size=(n, 1)), t, y, weight=w, **options), group


@pytest.mark.parametrize("weight", [False, True])
def test_differences_in_means(weight):
    sample, group = trial(weight=weight)
    found = jc.GroupEstimates.from_trial(sample, by=group)
    y, t, w = (np.asarray(a, float) for a in (sample.y, sample.t, sample.weight))
    for g in range(6):
        mean, variance, freedom = [], [], []
        for arm in (0, 1):
            use = (group == g) & (t == arm)
            mean.append(np.average(y[use], weights=w[use]))
            size = w[use].sum() ** 2 / (w[use] ** 2).sum()
            spread = np.average((y[use] - mean[-1]) ** 2, weights=w[use])
            variance.append(spread / (size - 1))
            freedom.append(size - 1)
            assert found.effective[g, arm] == pytest.approx(size)
        assert found.value[g] == pytest.approx(mean[1] - mean[0], abs=1e-6)
        assert found.std_error[g] == pytest.approx(np.sqrt(sum(variance)), rel=1e-6)
        welch = sum(variance) ** 2 / sum(v**2 / f for v, f in zip(variance, freedom))
        assert found.df[g] == pytest.approx(welch, rel=1e-6)
        if not weight:  # as in any textbook
            parts = [y[(group == g) & (t == arm)] for arm in (0, 1)]
            assert found.std_error[g] ** 2 == pytest.approx(
                sum(p.var(ddof=1) / p.size for p in parts)
            )
    assert found.labels == tuple(range(6)) and found.halves is None


def test_halves_of_a_trial():
    """Halves of 10 + 10 of 20 + 20: their mean is the whole, and they differ by split and key."""
    sample, group = trial()
    found = jc.GroupEstimates.from_trial(sample, by=group, key=0, splits=3)
    assert found.halves.shape == (3, 2, 6)
    assert np.abs(found.halves.mean(1) - found.value).max() < 1e-6
    assert np.abs(found.halves[0] - found.halves[1]).min() > 0
    again = jc.GroupEstimates.from_trial(sample, by=group, key=0, splits=3)
    assert (again.halves == found.halves).all()
    other = jc.GroupEstimates.from_trial(sample, by=group, key=1, splits=3)
    assert (other.halves != found.halves).all()
    order = np.random.default_rng(2).permutation(sample.n)
    named, _ = trial(id=np.arange(240))
    moved = jc.GroupEstimates.from_trial(named.take(order), by=group[order], key=0, splits=3)
    first = jc.GroupEstimates.from_trial(named, by=group, key=0, splits=3)
    assert np.abs(moved.halves - first.halves).max() < 1e-6  # draws follow the ids


@pytest.mark.extended
def test_a_trial_from_beginning_to_end():
    sample, group = trial(n=1200)
    found = jc.allocate(sample, jc.TopK(2), by=group, key=0)
    assert found.chosen.tolist() == [False] * 4 + [True] * 2
    assert 0.5 < found.guaranteed_ratio < 1 and found.value.split is not None
    whole = jc.GroupEstimates.from_trial(sample, by=group)
    rho = 30 * np.sqrt(np.log(2 * 6 / 0.05) * (1 / 100 + 1 / 100) / 2)
    assert whole.hoeffding(30.0) == pytest.approx(np.full(6, rho))
    plain = jc.allocate(whole, jc.TopK(2), rho=whole.hoeffding(30.0) / 20)
    assert plain.value.split is None and "give key=" in plain.summary()
    assert found.rho[0] > whole.std_error[0] * 2.6  # the normal quantile for six groups


def test_groups_by_a_column():
    sample = draw_sample(4, n=90, category=3)
    found = jc.GroupEstimates.from_trial(sample, by=sample.schema.names[-1])
    table = pd.DataFrame(
        dict(g=sample.points[:, -1], t=np.asarray(sample.t), y=np.asarray(sample.y))
    )
    means = table.groupby(["g", "t"])["y"].mean().unstack()
    assert found.value == pytest.approx((means[True] - means[False]).to_numpy(), abs=1e-5)
    assert found.labels == sample.schema.levels[-1]


class Same(Matcher):
    """Each treated unit against all controls with the same first covariate."""

    outcome: object = None

    def arms(self, estimand, tau):
        return "control"

    @property
    def traceable(self):
        return False

    @property
    def cross_fits(self):
        return False

    def run(self, task, surfaces, progress):
        t, group = np.asarray(task.sample.t), np.asarray(task.sample.x)[:, 0]
        query = np.flatnonzero(t)
        same = (group[query, None] == group) & ~t
        rows = np.where(same, np.arange(t.size), -1)
        weights = same / np.maximum(same.sum(1, keepdims=True), 1)
        return jc.matching.Pairs(
            sample=task.sample,
            fold=task.fold,
            query=jnp.asarray(query),
            query_fold=jnp.zeros(query.size, jnp.int32),
            rows=jnp.asarray(rows),
            weights=jnp.asarray(weights, task.sample.x.dtype),
            status=jnp.asarray(np.where(same.any(1), 0, int(code(RESULTS.no_leaf_control)))),
            estimand="att",
        )


@pytest.mark.extended
def test_effects_and_intervals():
    """Averages by group as `cate` has them, with the errors of `interval`."""
    sample, group = trial(n=120)
    sample = jc.Sample(group[:, None], sample.t, sample.y)
    effects = jc.estimate(sample, Same())
    found = jc.GroupEstimates.from_effects(effects, by=group)
    table = effects.cate(by=group)
    assert found.value == pytest.approx(table["effect"].to_numpy(), abs=1e-5)
    bounds = jc.interval(effects, jc.AbadieImbens(), by=group)
    assert found.std_error == pytest.approx(np.asarray(bounds.std_error), abs=1e-6)
    first = jc.allocate(effects, jc.TopK(3), by=group, key=0)
    other = jc.allocate(bounds, jc.TopK(3), key=0)
    assert (first.chosen == other.chosen).all() and first.value.split == other.value.split
    assert first.estimates.halves.mean(1) == pytest.approx(np.tile(found.value, (20, 1)))
    for call, words in (
        (lambda: jc.allocate(effects, jc.TopK(3)), "by= is missing"),
        (lambda: jc.allocate(sample, jc.TopK(3)), "by= is missing"),
        (lambda: jc.allocate(bounds, jc.TopK(3), by=group), "an interval has its groups"),
        (lambda: jc.allocate(jc.interval(effects, jc.AbadieImbens()), jc.TopK(1)), "by group"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    lost = eqx.tree_at(lambda e: e.matching.status, effects, effects.matching.status.at[:].set(1))
    with pytest.raises(jc.DataError, match="6 of 6 groups have no matched query"):
        jc.allocate(lost, jc.TopK(1), by=group)


def test_a_method_with_halves():
    """A method that is the difference in means has the trial's estimates and halves."""
    sample, group = trial(n=120)
    sample = jc.Sample(group[:, None], sample.t, sample.y)
    found = jc.GroupEstimates.from_method(sample, Same(), by=group, splits=2, key=0)
    other = jc.GroupEstimates.from_trial(sample, by=group, splits=2, key=0)
    assert np.abs(found.value - other.value).max() < 1e-5
    assert found.halves.shape == (2, 2, 6) and np.abs(found.halves - other.halves).max() < 1e-5
    place = group.copy()
    place[np.flatnonzero((group == 0) & ~sample.t)[1:]] = 50  # one control for all of group 0
    alone = jc.Sample(place[:, None], sample.t, sample.y)
    with pytest.raises(jc.DataError, match="group 0 has no matched query in a half"):
        jc.GroupEstimates.from_method(alone, Same(), by=group, key=0)
    few = np.where(np.cumsum(sample.t & (group == 1)) == 1, 9, group)
    with pytest.raises(jc.DataError, match="std_error is NaN in group 9"):
        jc.GroupEstimates.from_method(sample, Same(), by=few, key=0)
    allocated = jc.allocate(found, jc.TopK(1, at_most=False))
    assert allocated.value.split is not None
    with pytest.raises(ValueError, match="halves, and the estimates have some"):
        jc.allocate(found, jc.TopK(1), key=0)
    with pytest.raises(ValueError, match="splits is -1"):
        jc.GroupEstimates.from_method(sample, Same(), by=group, splits=-1, key=0)


def test_thinned_halves_are_independent():
    """value +- std_error z: variance 2 std_error^2 each, no correlation, mean the value."""
    made = jc.GroupEstimates([1.0, 2.0], std_error=[0.5, 0.1])
    worlds = np.random.default_rng(0).normal(size=(3000, 2)) * [0.5, 0.1]
    sides = []
    for seed, noise in enumerate(worlds[:60]):
        one = jc.GroupEstimates(made.value + noise, std_error=made.std_error)
        sides.append(one.thinned(key=seed, splits=50).halves - made.value)
    sides = np.array(sides)
    assert np.abs(sides.mean(2).mean(1) - worlds[:60]).max() < 1e-12
    single = np.array(sides)[:, 0]
    assert np.std(single, axis=(0, 1)) == pytest.approx(np.sqrt(2) * made.std_error, rel=0.25)
    shared = np.corrcoef(single[:, 0, 0], single[:, 1, 0])[0, 1]
    assert abs(shared) < 0.45  # 3.5 standard errors of 60 worlds


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, t, g: (y, t & (g != 2), g), "group 2 has no treated unit \\(1 of 6 groups\\)"),
        (lambda y, t, g: (y, t | (g == 3), g), "group 3 has no control"),
        (
            lambda y, t, g: (y, t & ((g != 4) | (np.cumsum(t & (g == 4)) == 1)), g),
            "group 4 has only one treated unit",
        ),
        (lambda y, t, g: (y, t, np.where(g == 1, np.nan, g)), "by= is missing in 40 of 240"),
        (lambda y, t, g: (None, t, g), "no outcome"),
        (lambda y, t, g: (y, t, g[:-1]), "by has shape"),
    ],
)
def test_bad_trials(change, words):
    sample, group = trial()
    y, t, by = change(np.asarray(sample.y), np.asarray(sample.t), group.astype(float))
    other = jc.Sample(np.asarray(sample.x), t, y)
    with pytest.raises(ValueError, match=words):
        jc.GroupEstimates.from_trial(other, by=by if np.isnan(by).any() else by.astype(int))


def test_more_bad_input(unchecked):
    sample, group = trial(cluster=np.arange(240) // 4)
    with pytest.raises(ValueError, match="clusters: use effects"):
        jc.GroupEstimates.from_trial(sample, by=group)
    sample, group = trial()
    with pytest.raises(ValueError, match="splits is 0"):
        jc.GroupEstimates.from_trial(sample, by=group, splits=0, key=1)
    found = jc.GroupEstimates.from_trial(sample, by=group)
    for width, words in ((0.5, "wider interval"), (-1.0, "width is -1"), (np.inf, "width is inf")):
        with pytest.raises(ValueError, match=words):
            found.hoeffding(width)
    with pytest.raises(ValueError, match="delta is 0"):
        found.hoeffding(30.0, delta=0.0)
    with pytest.raises(ValueError, match="no counts by arm"):
        jc.GroupEstimates([1.0], std_error=[0.1]).hoeffding(3.0)
