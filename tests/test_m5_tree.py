"""The M5 tree beside a plain recursion, planted thresholds, invariances, and bad input."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles.m5_tree import adjusted_r2, grow

import jcausal as jc


def draw(seed, n=260, noise=0.3):
    """Three covariates, one of few values, and an outcome that bends at 0."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=n), rng.integers(0, 4, n), rng.normal(size=n)])
    y = np.where(x[:, 0] > 0, 3 * x[:, 2], -2 * x[:, 2]) + x[:, 1] + noise * rng.normal(size=n)
    return x, np.arange(n) % 5 == 0, y


def parts(tree, x):
    """The partition as sorted tuples of rows."""
    leaf = np.asarray(tree.leaf(jnp.asarray(x)))
    return sorted(tuple(np.flatnonzero(leaf == k)) for k in np.unique(leaf))


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("split_search", ["best", "first_passing"])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_tree_of_a_plain_recursion(seed, split_search):
    x, t, y = draw(seed)
    sample = jc.Sample(x, t, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jc.TreeWarning)
        tree = jc.fit(sample, jc.M5Tree(split_search=split_search))
    x = np.asarray(sample.x, float)
    controls = np.flatnonzero(~t)
    leaves = grow(x[~t], np.asarray(sample.y, float)[~t], 8, split_search)
    expected = sorted(tuple(controls[rows]) for rows, _ in leaves)
    leaf = np.asarray(tree.leaf(sample.x))
    assert sorted(tuple(np.flatnonzero((leaf == k) & ~t)) for k in range(tree.leaves)) == expected
    cuts = {(f, round(float(c), 4)) for _, path in leaves for f, c, _ in path}
    nodes = tree.nodes
    inner = np.asarray(nodes.feature) >= 0
    mine = zip(np.asarray(nodes.feature)[inner], np.asarray(nodes.threshold, float)[inner])
    assert {(int(f), round(c, 4)) for f, c in mine} == cuts
    for k in range(tree.leaves):
        rows = np.flatnonzero((leaf == k) & ~t)
        r2 = adjusted_r2(x[rows], np.asarray(sample.y, float)[rows])
        assert float(tree.adjusted_r2[k]) == pytest.approx(r2, abs=1e-4)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize(
    "options",
    [
        dict(max_depth=1),
        dict(split_search="best", min_controls=20),
        dict(criterion="residual_variance", min_controls=14),
    ],
    ids=lambda options: next(iter(options)),
)
def test_weights_and_categories_beside_the_recursion(options):
    """One column a level, of which one is not counted; units count once, deviations by weight."""
    x, t, y = draw(8, n=300)
    rng = np.random.default_rng(9)
    level, weight = rng.choice(list("abc"), 300), rng.integers(0, 4, 300).astype(float)
    y = y + 2 * x[:, 2] * (level == "b")
    frame = pd.DataFrame(dict(u=x[:, 0], c=level, v=x[:, 2], t=t, y=y, w=weight))
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", weight="w", categorical=["c"])
    tree = jc.fit(sample, jc.M5Tree(**options))
    encoded = np.asarray(tree.features(sample.x), float)
    assert encoded.shape[1] == 5
    use = np.flatnonzero(~t & (weight > 0))
    leaves = grow(
        encoded[use],
        np.asarray(sample.y, float)[use],
        options.get("min_controls", 10),
        options.get("split_search", "first_passing"),
        depth=options.get("max_depth", 30),
        w=weight[use],
        free=4,
        criterion=options.get("criterion", "adjusted_r2"),
    )
    assert len(leaves) > 1
    leaf = np.asarray(tree.leaf(sample.x))[use]
    mine = sorted(tuple(use[leaf == k]) for k in range(tree.leaves))
    assert mine == sorted(tuple(use[rows]) for rows, _ in leaves)
    for k in range(tree.leaves):
        at = use[leaf == k]
        r2 = adjusted_r2(encoded[at], np.asarray(sample.y, float)[at], weight[at], 4)
        assert float(tree.adjusted_r2[k]) == pytest.approx(r2, abs=1e-4)


@pytest.mark.extended
def test_planted_thresholds_are_found():
    """Steps are what the reduction of deviations sees; the slopes turn at the second one."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (600, 2))
    y = np.select([x[:, 0] <= -0.3, x[:, 0] <= 0.5], [x[:, 1], 10 - x[:, 1]], 30 + 2 * x[:, 1])
    sample = jc.Sample(x, np.arange(600) % 10 == 0, y + 0.01 * rng.normal(size=600))
    tree = jc.fit(sample, jc.M5Tree(min_controls=60))
    cuts = np.asarray(tree.nodes.threshold)[np.asarray(tree.nodes.feature) == 0]
    assert np.abs(cuts - 0.5).min() < 0.02
    assert np.abs(cuts + 0.3).min() < 0.02


@pytest.mark.extended
def test_rows_and_monotone_scales_do_not_matter():
    """The reductions look at ranks only; a regression sees a linear map of all covariates."""
    x, t, y = draw(4)
    tree = jc.fit(jc.Sample(x, t, y), jc.M5Tree())
    order = np.random.default_rng(0).permutation(y.size)
    other = jc.fit(jc.Sample(x[order], t[order], y[order]), jc.M5Tree())
    assert parts(other, x) == parts(tree, x)
    mapped = x * [2.0, -1.0, 0.5] + [3.0, 1.0, -2.0]
    assert parts(jc.fit(jc.Sample(mapped, t, y), jc.M5Tree()), mapped) == parts(tree, x)


@pytest.mark.extended
def test_the_bound_of_the_regressions_error():
    """Mean squared residual <= (1 - adjusted R2) (n - p - 1)/(n - 1) variance: an equality here."""
    x, t, y = draw(5)
    sample = jc.Sample(x, t, y)
    tree = jc.fit(sample, jc.M5Tree())
    leaf = np.asarray(tree.leaf(sample.x))
    f0 = np.asarray(tree(sample.x))[:, 0]
    for k in range(tree.leaves):
        rows = np.flatnonzero((leaf == k) & ~t)
        n, slack = rows.size, 1 - float(tree.adjusted_r2[k])
        bound = slack * (n - 4) / (n - 1) * y[rows].var()
        assert ((y[rows] - f0[rows]) ** 2).mean() <= bound * (1 + 1e-3) + 1e-5


@pytest.mark.extended
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ("few", None, "min_controls = 8"),
        ("all", "equal", "all their outcomes are 2"),
        ("all", "line", "raises the adjusted R2"),
    ],
)
def test_one_leaf_warns_and_says_why(x, y, words):
    covariates, t, outcome = draw(6, n=17 if x == "few" else 200)
    if y == "equal":
        outcome = np.full(t.size, 2.0)
    if y == "line":
        outcome = covariates @ [1.0, 2.0, 3.0]
    with pytest.warns(jc.TreeWarning, match=words):
        tree = jc.fit(jc.Sample(covariates, t, outcome), jc.M5Tree())
    assert tree.leaves == 1


@pytest.mark.extended
@pytest.mark.x64
def test_constant_and_collinear_covariates_are_as_in_the_recursion():
    """A linear map of another, and one that is the same for all controls: regressions bear both."""
    x, t, y = draw(7)
    x = np.round(256 * x) / 256  # so that the linear map is exact in float32
    odd = np.where(t, np.random.default_rng(7).normal(size=t.size), 1)
    x = np.column_stack([x, 2 * x[:, 0] + 1, odd])
    sample = jc.Sample(x, t, y)
    tree = jc.fit(sample, jc.M5Tree(min_controls=20))
    x, y = np.asarray(sample.x, float), np.asarray(sample.y, float)
    controls, leaf = np.flatnonzero(~t), np.asarray(tree.leaf(sample.x))
    leaves = grow(x[~t], y[~t], 20)
    expected = sorted(tuple(controls[rows]) for rows, _ in leaves)
    mine = [np.flatnonzero((leaf == k) & ~t) for k in range(tree.leaves)]
    assert sorted(map(tuple, mine)) == expected and tree.leaves > 2
    f0 = np.asarray(tree(sample.x))[:, 0]
    for rows in mine:
        design = np.column_stack([np.ones(rows.size), x[rows]])
        plain = design @ np.linalg.lstsq(design, y[rows], rcond=None)[0]
        np.testing.assert_allclose(f0[rows], plain, atol=2e-3)
    assert np.isfinite(f0).all()
    splits, _ = jitted(jc.M5Tree(min_controls=20), x, t, y)
    inner = np.asarray(tree.nodes.feature) >= 0
    assert [f for f, _ in splits] == sorted(np.asarray(tree.nodes.feature)[inner].tolist())


def test_words_frame_and_wrong_options(unchecked):
    x, t, y = draw(8)
    frame = pd.DataFrame(x, columns=["age", "visits", "income"]).assign(t=t, y=y)
    told = dict(treatment="t", outcome="y", units={"age": "years"})
    sample = jc.Sample.from_frame(frame, **told)
    tree = jc.fit(sample, jc.M5Tree())
    rules, frame = tree.rules(), tree.to_frame(sample)
    assert len(rules) == tree.leaves == len(frame)
    assert any("age" in rule and "years" in rule for rule in rules)
    assert frame["controls"].sum() == (~t).sum() and frame["treated"].sum() == t.sum()
    for options in (dict(min_controls=0), dict(max_depth=-1), dict(bins=1)):
        with pytest.raises(ValueError, match="it must"):
            jc.M5Tree(**options)
    for options in (dict(split_search="all"), dict(criterion="r2")):
        with pytest.raises(ValueError, match="use"):
            jc.M5Tree(**options)


@pytest.mark.extended
def test_trees_of_many_data_sets_in_one_call():
    sets = [draw(seed, n=120) for seed in range(3)]
    x, t, y = (jnp.asarray(np.stack(a)) for a in zip(*sets))
    t = t.at[:].set(t[0])

    def leaves(x, t, y):
        tree = jc.fit(jc.Sample(x, t, y), jc.M5Tree(min_controls=12))
        return tree.leaf(x), tree(x)[:, 0]

    found, f0 = jax.vmap(leaves)(x, t, y)
    for k in range(3):
        tree = jc.fit(jc.Sample(x[k], t[k], y[k]), jc.M5Tree(min_controls=12))
        one = np.asarray(tree.leaf(x[k]))
        pairs = set(zip(one.tolist(), np.asarray(found[k]).tolist()))
        assert len(pairs) == tree.leaves
        np.testing.assert_allclose(f0[k], np.asarray(tree(x[k]))[:, 0], atol=2e-2)


@pytest.mark.extended
def test_samples_of_other_covariates_are_refused(unchecked):
    data = jc.datasets.lalonde("experiment")
    tree = jc.fit(data, jc.M5Tree(min_controls=60))
    x, names = np.asarray(data.x), data.schema.names
    other = jc.Sample(x[:, ::-1], data.t, data.y, names=names[::-1])
    for call in (
        lambda: tree.count(other, treated=True),
        lambda: tree.to_frame(other),
        lambda: jc.match(other, jc.M5Model(), surface=tree, honest=False),
        lambda: jc.match(other, jc.M5Match(), surface=tree, honest=False),
    ):
        with pytest.raises(ValueError, match="tree was grown on the covariates age, .*same order"):
            call()
    with pytest.raises(ValueError, match="M5Tree is a class"):
        jc.fit(data, jc.M5Tree)
    with pytest.raises(ValueError, match="fit takes a jc.Sample, not a ndarray"):
        jc.fit(x, jc.M5Tree())
    for options in (dict(max_depth=2.5), dict(bins=2.5), dict(min_controls=2.5)):
        with pytest.raises(ValueError, match="whole number"):
            jc.M5Tree(**options)
    found = jc.match(data, jc.M5Model(), surface=tree, honest=False)
    with pytest.raises(IndexError, match="there is no query 1000000"):
        found.describe(10**6)


def jitted(method, x, t, y):
    """Features and thresholds of the splits, and the predictions, of a tree grown under jit."""

    @jax.jit
    def grow(x, y):
        tree = jc.fit(jc.Sample(x, t, y), method)
        return tree.nodes.feature, tree.nodes.threshold, tree(x)[:, 0]

    feature, threshold, values = grow(jnp.asarray(x), jnp.asarray(y))
    used = np.asarray(feature) >= 0
    return sorted(zip(np.asarray(feature)[used].tolist(), np.asarray(threshold)[used])), values


@pytest.mark.extended
@pytest.mark.parametrize("many", [60, 540])
@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("far_away", [10.0, 1e3, 1e5])
def test_far_values_hide_no_split(far_away, collinear, many):
    """As with 999 for "unknown": the sums about one unit have lost the digits of those far off."""
    rng = np.random.default_rng(0)
    n = 600
    u, v, w = rng.uniform(size=n), rng.normal(size=n), rng.uniform(size=n)
    far = rng.permutation(n) < many
    x = np.column_stack([np.where(far, far_away * (1 + u), u), v, w])
    x = np.column_stack([x, 1.1 * x[:, 0] + 1]) if collinear else x
    y = np.where(far, 20, 8 * u * np.where(v > 0, 1, -1)) + 3 * (v > 0) + 0.2 * rng.normal(size=n)
    t = np.arange(n) >= n - 30
    method = jc.M5Tree(min_controls=20, max_depth=2)
    tree = jc.fit(jc.Sample(x, t, y), method)
    used = np.asarray(tree.nodes.feature) >= 0
    own = sorted(zip(np.asarray(tree.nodes.feature)[used].tolist(), tree.nodes.threshold[used]))
    splits, values = jitted(method, x, t, y)
    assert [f for f, _ in splits] == [f for f, _ in own] and len(own) == 3
    np.testing.assert_allclose([c for _, c in splits], [float(c) for _, c in own], rtol=1e-4)
    control = ~t & ~far
    assert np.std((np.asarray(values) - y)[control]) < 0.35


@pytest.mark.extended
def test_bins_leave_few_values_as_they_are():
    """A coin with a tenth of zeros: no quantile of four bins stands at its one cut."""
    rng = np.random.default_rng(1)
    n = 400
    coin, z = rng.random(n) > 0.1, rng.normal(size=n)
    y = 20 * coin + np.where(coin, 3 * z, -5 * z) + 0.1 * rng.normal(size=n)
    x, t = np.column_stack([coin, z]).astype(float), np.arange(n) >= n - 20
    method = jc.M5Tree(min_controls=15, max_depth=1, bins=4)
    tree = jc.fit(jc.Sample(x, t, y), method)
    splits, values = jitted(method, x, t, y)
    assert int(tree.nodes.feature[0]) == 0 == splits[0][0] and splits[0][1] == 0.5
    np.testing.assert_allclose(values, tree(jnp.asarray(x))[:, 0], atol=1e-3)
    assert np.std((np.asarray(values) - y)[~t]) < 0.15


@pytest.mark.extended
def test_levels_must_be_those_of_the_tree():
    rng = np.random.default_rng(2)
    c, x = rng.choice(list("abc"), 200), rng.normal(size=200)
    frame = pd.DataFrame(dict(c=c, x=x, t=np.arange(200) % 4 == 0, y=x + (c == "b")))
    words = dict(treatment="t", outcome="y", categorical=["c"])
    tree = jc.fit(jc.Sample.from_frame(frame, **words), jc.M5Tree(min_controls=20))
    fewer = jc.Sample.from_frame(frame[frame["c"] != "a"], **words)
    with pytest.raises(
        ValueError, match="knows 'c' as a category of a, b, c, the sample as .* b, c"
    ):
        jc.match(fewer, jc.M5Model(), surface=tree, honest=False)


@pytest.mark.extended
def test_one_leaf_says_that_no_cut_is_allowed():
    rng = np.random.default_rng(3)
    x = np.column_stack([np.arange(60) < 5, np.arange(60) % 20 == 7]).astype(float)
    t = np.arange(60) % 6 == 0
    with pytest.warns(
        jc.TreeWarning, match="no cut leaves min_controls = 12 of them on both sides"
    ):
        jc.fit(jc.Sample(x, t, rng.normal(size=60)), jc.M5Tree(min_controls=12))
