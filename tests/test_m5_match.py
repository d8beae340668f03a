"""M5Match: candidates in the leaf, the subset that balances best, and what is said of it."""

import numpy as np
import pytest
from conftest import draw_sample
from oracles.subsets import best_subset

import jcausal as jc
from jcausal.matching import RESULTS, code
from jcausal.matching.trees import _subsets

TREE = jc.M5Tree(min_controls=20)
STATES = (RESULTS.matched, RESULTS.growing)


def draw_units(seed=0, n=160, **options):
    """Units on a grid with a category: ties, duplicates, exact matches."""
    return draw_sample(seed, n=n, p=2, integers=True, category=3, **options)


@pytest.fixture(scope="module")
def grown():
    """A sample with weights, and the tree of its controls."""
    weight = np.random.default_rng(0).integers(0, 3, 160).astype(float)
    sample = draw_units(weight=weight)
    return sample, jc.fit(sample, TREE)


def matched(sample, tree, **options):
    method = jc.M5Match(tree=TREE, **options)
    return jc.match(sample, method, surface=tree, honest=False)


def partners(pairs):
    """The group of each query by id, and its weights."""
    out = {}
    for i, row in enumerate(np.asarray(pairs.query)):
        rows, weights = pairs.group(i)
        out[pairs.sample.id[row]] = dict(zip(pairs.sample.id[rows], np.round(weights, 5).tolist()))
    return out


def by_hand(sample, tree, k, metric="weighted", balance="mean", weights=None):
    """The groups by sorting and trying, one query at a time."""
    leaf, t = np.asarray(tree.leaf(sample.x)), np.asarray(sample.t)
    low, high = (np.asarray(a, float) for a in tree.scale)
    x = (np.asarray(tree.features(sample.x), float) - low) / (high - low)
    slopes = np.asarray(tree.importance, float) if weights is None else weights
    sampling, points = np.asarray(sample.weight, float), sample.points
    out = {}
    for i in np.flatnonzero(t):
        w = slopes[leaf[i]]
        there = np.flatnonzero(~t & (leaf == leaf[i]) & (sampling > 0))
        scale = w if metric == "weighted" else 1.0
        z = (x * scale).astype(sample.x.dtype)  # distances are in the sample's type
        near = ((z[there] - z[i]) ** 2).sum(1)
        order = sorted(range(len(there)), key=lambda c: (near[c], *points[there[c]], there[c]))
        chosen = there[order[:k]]
        s = sampling[chosen] / sampling[chosen].mean()
        held = chosen[list(best_subset(w * (x[chosen] - x[i]), s, balance)[0])]
        share = sampling[held] / sampling[held].sum()
        out[i] = dict(zip([*held, i], [*np.round(share, 5), 1.0]))
    return out


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for i in ours:
        assert ours[i].keys() == theirs[i].keys(), i
        values = [ours[i][j] for j in theirs[i]]
        np.testing.assert_allclose(values, [*theirs[i].values()], atol=2e-5)


def test_groups_are_those_found_by_hand(grown):
    sample, tree = grown
    assert tree.leaves > 1
    same(partners(matched(sample, tree, k=5)), by_hand(sample, tree, 5))
    other = matched(sample, tree, k=5, metric="euclidean", balance="sum")
    same(partners(other), by_hand(sample, tree, 5, "euclidean", "sum"))
    own = np.array([1.0, 0.5, 2.0])
    wide = np.tile(own[np.asarray(tree.encoding.column)], (tree.leaves, 1))
    same(partners(matched(sample, tree, k=5, weights=own)), by_hand(sample, tree, 5, weights=wide))
    size = np.asarray(tree.controls, float)
    mean = np.tile(size @ np.asarray(tree.importance) / size.sum(), (tree.leaves, 1))
    found = matched(sample, tree, k=5, weights="global")
    same(partners(found), by_hand(sample, tree, 5, weights=mean))


@pytest.mark.extended
def test_both_engines_give_one_answer(grown):
    sample, tree = grown
    sums = dict(balance="sum", priority=2.0)
    for options in (dict(), dict(balance="sum"), dict(priority=1e4), sums):
        device = matched(sample, tree, k=6, engine="device", **options)
        with jc.solvers.SolverPool(1) as pool:
            solved = matched(sample, tree, k=6, engine="highs", pool=pool, **options)
        np.testing.assert_array_equal(device.rows, solved.rows)
    plain = matched(sample, tree, k=6)
    np.testing.assert_array_equal(matched(sample, tree, k=6, priority=1e7).rows, plain.rows)


@pytest.mark.extended
def test_beyond_sixteen_candidates_programs_take_over(grown):
    sample, tree = grown
    chosen = matched(sample, tree, k=17, engine="device")
    few = np.asarray(sample.t).nonzero()[0][:3]
    method = jc.M5Match(tree=TREE, k=17)
    auto = jc.match(sample, method, surface=tree, honest=False, query=few)
    np.testing.assert_array_equal(auto.rows, chosen.rows[:3])


@pytest.mark.extended
def test_row_order_changes_no_group(grown):
    plain, tree = grown
    names = np.random.default_rng(1).permutation(160)
    order = np.random.default_rng(2).permutation(160)
    fields = dict(kinds=plain.schema.kinds)
    t, y = np.asarray(plain.t), np.asarray(plain.y)
    sample = jc.Sample(plain.points, t, y, id=names, **fields)
    mixed = jc.Sample(plain.points[order], t[order], y[order], id=names[order], **fields)
    same(partners(matched(mixed, tree, k=6)), partners(matched(sample, tree, k=6)))


@pytest.mark.extended
def test_exact_twins_are_taken_together_and_alone(grown):
    sample, tree = grown
    pairs, leaf = matched(sample, tree, k=12), np.asarray(tree.leaf(sample.x))
    slopes, x = np.asarray(tree.importance), np.asarray(tree.features(sample.x))
    able = ~np.asarray(sample.t) & (np.asarray(sample.weight) > 0)
    seen = 0
    for i, row in enumerate(np.asarray(pairs.query)):
        twins = able & (leaf == leaf[row]) & (sample.points == sample.points[row]).all(1)
        alike = able & (leaf == leaf[row]) & ((x - x[row]) * slopes[leaf[row]] == 0).all(1)
        if 0 < alike.sum() <= 12:
            rows, weights = pairs.group(i)
            assert set(rows[:-1]) == set(np.flatnonzero(alike))
            np.testing.assert_allclose(weights[:-1].sum(), 1, rtol=1e-5)
            seen += twins.any()
            if (alike == twins).all():
                assert pairs.describe(i).endswith("alike in every covariate")
    assert seen > 5


@pytest.mark.extended
def test_a_leaf_without_controls_leaves_its_treated_unmatched(grown):
    whole, tree = grown
    leaf, t = np.asarray(tree.leaf(whole.x)), np.asarray(whole.t)
    kept = t | (leaf != leaf[t][0])
    sample = jc.Sample(
        whole.points[kept], t[kept], np.asarray(whole.y)[kept], kinds=whole.schema.kinds
    )
    pairs = matched(sample, tree, k=4)
    expected = leaf[t] == leaf[t][0]
    np.testing.assert_array_equal(~np.asarray(pairs.matched), expected)
    assert (np.asarray(pairs.status)[expected] == int(code(RESULTS.no_leaf_control))).all()
    effects = jc.estimate(sample, pairs)
    assert np.isnan(np.asarray(effects.ite)[expected]).all() and np.isfinite(float(effects.att))
    assert f"unmatched {expected.sum()}: its leaf holds no control" in effects.summary()
    assert len(pairs.unmatched()) == expected.sum()
    assert pairs.describe(0).startswith("its leaf holds no control")


@pytest.mark.extended
def test_honest_matching_cross_fits_and_says_so():
    sample = draw_units()
    plain = jc.estimate(sample, jc.M5Match(k=5, tree=TREE))
    assert "not honest" in plain.summary() and len(plain.surfaces) == 0
    np.testing.assert_allclose(plain.att, plain.ite[plain.matched].mean(), rtol=1e-4)
    f0 = np.asarray(plain.matching.guides[0](sample.x), float)[:, 0]
    y, t, pairs = np.asarray(sample.y, float), np.asarray(sample.t), plain.matching
    assert plain.adjusted and not jc.estimate(sample, pairs, adjust=None).adjusted
    for i, own in enumerate(np.asarray(pairs.query)):
        rows, weights = pairs.group(i)
        for effects, values in ((plain, y - f0), (plain.unadjusted, y)):
            partners = (weights * ~t[rows]) @ values[rows]
            np.testing.assert_allclose(effects.ite[i], values[own] - partners, atol=1e-4)
    rule = plain.matching.guides[0].rules()[int(plain.matching.place[0])]
    assert plain.matching.describe(0).startswith(rule)
    by_leaf = jc.interval(plain, jc.AbadieImbens(), by=plain.matching.places)
    leaves = np.unique(np.asarray(plain.matching.place))
    assert list(by_leaf.groups.label) == leaves.tolist()
    mean = [plain.ite[plain.matching.place == leaf].mean() for leaf in leaves]
    np.testing.assert_allclose(by_leaf.estimate, mean, rtol=1e-4, atol=1e-5)
    honest = jc.estimate(sample, jc.M5Match(k=5, tree=TREE, honest=True), key=0)
    pairs = honest.matching
    assert "not honest" not in honest.summary() and len(honest.surfaces) == 2
    assert set(np.asarray(pairs.fold)) == {0, 1}
    for i in np.flatnonzero(pairs.matched):
        rows, _ = pairs.group(i)
        assert (np.asarray(pairs.fold)[rows] == int(pairs.query_fold[i])).all()
    assert jc.interval(honest, jc.AbadieImbens()).std_error > 0


class Stopping(jc.solvers.SolverPool):
    """A pool that is stopped by the user in its fifth call."""

    calls = 0

    def solve(self, programs, **options):
        self.calls += 1
        if self.calls == 5:
            raise jc.Interrupted([])
        return super().solve(programs, **options)


@pytest.mark.extended
def test_ctrl_c_keeps_what_is_finished(grown, monkeypatch):
    """Three calls for four queries: the second four are stopped half-way."""
    monkeypatch.setattr(_subsets, "PROGRAMS", 4)
    sample, tree = grown
    with Stopping(1) as pool, pytest.raises(jc.Interrupted) as stopped:
        matched(sample, tree, k=3, engine="highs", pool=pool)
    found = stopped.value.found
    assert isinstance(found, jc.matching.Pairs)
    whole = matched(sample, tree, k=3)
    done, growing = (np.asarray(found.status) == int(code(k)) for k in STATES)
    assert done.sum() == 4 and growing.sum() == done.size - 4 > 4
    np.testing.assert_array_equal(np.asarray(found.rows)[done], np.asarray(whole.rows)[done])
    assert (np.asarray(found.rows)[growing] == -1).all()


def test_bad_options_and_queries_are_refused(grown, unchecked):
    for options, message in (
        (dict(k=0), "k is 0: engine 'auto' takes 1 to 64"),
        (dict(k=21, engine="device"), "k is 21: engine 'device' takes 1 to 20"),
        (dict(metric="cosine"), "metric is 'cosine': use 'weighted' or 'euclidean'"),
        (dict(balance="median"), "balance is 'median'"),
        (dict(engine="gurobi"), "engine is 'gurobi': use 'auto', 'device' or 'highs'"),
        (dict(priority="first"), "priority is 'first'"),
        (dict(priority=float("nan")), "priority is nan"),
        (dict(tolerance=0.0), "tolerance is 0.0"),
        (dict(weights="tree"), "weights is 'tree'"),
        (dict(weights=np.array([-1.0, 1.0])), "weights must be finite and not negative"),
    ):
        with pytest.raises(ValueError, match=message):
            jc.M5Match(**options)
    sample, tree = grown
    with pytest.raises(ValueError, match="it must hold one for each of the sample's 3"):
        matched(sample, tree, weights=np.ones(2))
    control = int(np.flatnonzero(~np.asarray(sample.t))[0])
    options = dict(surface=tree, honest=False)
    with pytest.raises(ValueError, match="1 of 1 queries are controls"):
        jc.match(sample, jc.M5Match(), query=[control], **options)
    with pytest.raises(ValueError, match="at= does not"):
        jc.match(sample, jc.M5Match(), at=np.zeros((1, 3)), **options)
    ridge = jc.fit(sample, jc.Ridge())
    with pytest.raises(ValueError, match="needs a tree, not RidgeSurface"):
        jc.match(sample, jc.M5Match(), surface=ridge, honest=False)
