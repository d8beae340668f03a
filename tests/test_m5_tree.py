"""The M5 tree against a recursion in NumPy, on planted trees, at its corners, and in words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcausal as jc
from jcausal.match.tree import _words
from tests.oracles import m5_tree as oracle

CONTROLS, TREATED = 200, 40


def columns(rng, n):
    """A binary, a few whole numbers, and two numbers; the first rows show every value."""
    x = np.stack(
        [rng.integers(0, 2, n), rng.integers(0, 9, n), rng.normal(size=n), rng.normal(size=n)], 1
    )
    x[:9, 1], x[:2, 0] = np.arange(9), (0, 1)
    return x.astype(np.float32).astype(float)


def draw(seed, *, ties=False, weighted=False):
    """Controls first; outcomes that are linear by pieces, or small whole numbers."""
    rng = np.random.default_rng(seed)
    n = CONTROLS + TREATED
    x, t = columns(rng, n), np.arange(n) >= CONTROLS
    y = np.where(x[:, 1] > 4, 3 - 2 * x[:, 2], x[:, 2]) + x[:, 0] * (x[:, 3] > 0.3) * 2
    y = np.round(y) if ties else y + rng.normal(size=n) / 2
    weight = rng.choice([0.5, 1.0, 3.0], n) if weighted else None
    return jc.Sample(x, t, y.astype(np.float32), weight=weight)


def of_controls(sample):
    use = ~np.asarray(sample.t)
    return tuple(np.asarray(a, float)[use] for a in (sample.x, sample.y, sample.weight))


def walk(tree):
    """Splits in the oracle's order."""
    nodes, out, stack = tree.nodes, [], [0]
    while stack:
        i = stack.pop()
        if int(nodes.feature[i]) >= 0:
            out.append((int(nodes.feature[i]), float(nodes.threshold[i])))
            stack += [int(nodes.right[i]), int(nodes.left[i])]
    return out


@pytest.mark.filterwarnings("ignore::jcausal.TreeWarning")
@pytest.mark.parametrize("search", ["best", "first_passing"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_split_by_split_as_the_recursion(seed, ties, search):
    sample = draw(seed, ties=ties)
    check_against_oracle(sample, search, "adjusted_r2")


@pytest.mark.filterwarnings("ignore::jcausal.TreeWarning")
def test_weights_and_the_other_criterion_as_the_recursion():
    check_against_oracle(draw(3, weighted=True), "first_passing", "adjusted_r2")
    check_against_oracle(draw(4), "first_passing", "residual_variance")


def check_against_oracle(sample, search, criterion):
    x, y, w = of_controls(sample)
    model = jc.M5Tree(split_search=search, criterion=criterion)
    tree = jc.fit(sample, model)
    expected = oracle.grow(x, y, w, minimum=10, free=4, search=search, criterion=criterion)
    found, wanted = walk(tree), oracle.splits(expected)
    assert [f for f, _ in found] == [f for f, _ in wanted]
    np.testing.assert_allclose([c for _, c in found], [c for _, c in wanted], rtol=1e-6, atol=1e-6)
    leaf = np.asarray(tree.leaf(sample.x))[: CONTROLS]
    for k, one in enumerate(oracle.leaves(expected)):
        assert np.array_equal(np.flatnonzero(leaf == k), one.rows)
        prediction = np.asarray(tree(sample.x))[one.rows, 0]
        np.testing.assert_allclose(prediction, one.predict(x[one.rows]), atol=2e-4)
    assert tree.leaves == len(oracle.leaves(expected)) == len(tree.rules())


def test_many_values_are_sorted_once_and_bins_bound_the_thresholds():
    rng = np.random.default_rng(0)
    n = 640
    x = rng.normal(size=(n, 2)).astype(np.float32)
    t = np.arange(n) >= 600
    y = (np.where(x[:, 0] > 0.3, 4 + 2 * x[:, 1], -x[:, 1]) + rng.normal(size=n) / 4).astype(float)
    sample = jc.Sample(x, t, y)
    expected = oracle.grow(*of_controls(sample), minimum=60, free=2, search="first_passing")
    tree = jc.fit(sample, jc.M5Tree(min_controls=60))
    assert walk(tree)[0] == pytest.approx(oracle.splits(expected)[0], abs=1e-6)
    assert [f for f, _ in walk(tree)] == [f for f, _ in oracle.splits(expected)]
    binned = jc.fit(sample, jc.M5Tree(min_controls=60, bins=16))
    ordered = np.sort(x[:600, 0])
    edges = [(ordered[k * 600 // 16 - 1 : k * 600 // 16 + 2]).mean() for k in range(1, 16)]
    for feature, cut in walk(binned):
        if feature == 0:
            assert np.abs(cut - np.array(edges)).min() < 0.02
    assert abs(walk(binned)[0][1] - 0.3) < 0.15


def test_planted_thresholds_are_found():
    rng = np.random.default_rng(1)
    n = CONTROLS + TREATED
    x, t = columns(rng, n), np.arange(n) >= CONTROLS
    slope = np.where(x[:, 1] > 3, 2.0, -2.0)
    y = 20 * (x[:, 1] > 3) + slope * x[:, 2] + rng.normal(size=n) / 100
    tree = jc.fit(jc.Sample(x, t, y), jc.M5Tree(min_controls=60))
    assert walk(tree) == [(1, 3.5)]
    np.testing.assert_allclose(np.asarray(tree.coef)[:, 2], [-2, 2], atol=0.01)
    assert (np.asarray(tree.adjusted_r2) > 0.999).all()


def test_rows_in_another_order_and_other_units_change_nothing():
    sample = draw(5)
    order = np.random.default_rng(0).permutation(sample.n)
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    tree = jc.fit(sample, jc.M5Tree())
    turned = jc.fit(jc.Sample(x[order], t[order], y[order]), jc.M5Tree())
    assert walk(tree) == walk(turned)
    np.testing.assert_allclose(tree.coef, turned.coef, atol=1e-5)
    scaled = x * np.array([1, 10, 0.5, 100]) + np.array([0, 3, -1, 50])
    other = jc.Sample(scaled, t, y)
    changed = jc.fit(other, jc.M5Tree())
    assert (np.asarray(tree.leaf(sample.x)) == np.asarray(changed.leaf(other.x))).all()
    np.testing.assert_allclose(tree(sample.x)[:, 0], changed(other.x)[:, 0], atol=1e-3)
    np.testing.assert_allclose(tree.importance, changed.importance, rtol=1e-3, atol=1e-3)


def test_a_monotone_scale_of_a_covariate_moves_no_cut_of_largest_reduction():
    sample = draw(6)
    x = np.asarray(sample.x).copy()
    x[:, 2] = np.exp(x[:, 2])
    bent = jc.Sample(x, sample.t, sample.y)
    model = jc.M5Tree(max_depth=1)
    trees = [jc.fit(one, model) for one in (sample, bent)]
    assert trees[0].leaves == 2
    leaves = [np.asarray(tree.leaf(s.x)) for tree, s in zip(trees, (sample, bent))]
    controls = ~np.asarray(sample.t)
    assert (leaves[0][controls] == leaves[1][controls]).all()


def test_one_leaf_says_why():
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(30, 4)), np.arange(30) >= 19
    y = x[:, 0] + rng.normal(size=30)
    told = r"one leaf of 19 controls: a split needs two children of min_controls = 10 \(2\(p \+ 1\)"
    with pytest.warns(jc.TreeWarning, match=told):
        tree = jc.fit(jc.Sample(x, t, y), jc.M5Tree())
    assert tree.leaves == 1 and tree.rules() == ["everybody"]
    n = CONTROLS + TREATED
    x, t = columns(rng, n), np.arange(n) >= CONTROLS
    linear = 10 * x[:, 2] + rng.normal(size=n)
    with pytest.warns(jc.TreeWarning, match=r"does not raise .* Try split_search='first_passing'"):
        jc.fit(jc.Sample(x, t, linear), jc.M5Tree(split_search="best"))
    with pytest.warns(jc.TreeWarning, match="all their outcomes are 3"):
        tree = jc.fit(jc.Sample(x, t, np.full(n, 3.0)), jc.M5Tree())
    assert (np.asarray(tree.coef) == 0).all() and np.allclose(tree(tree_points(x))[:, 0], 3)
    with pytest.warns(jc.TreeWarning, match="max_depth is 0"):
        jc.fit(draw(0), jc.M5Tree(max_depth=0))


def tree_points(x):
    return jnp.asarray(x, jnp.float32)


def test_constant_and_collinear_covariates_share_slopes():
    sample = draw(7)
    x, y = np.asarray(sample.x, float), np.asarray(sample.y, float)
    constant = np.where(np.asarray(sample.t), 1.0, 0.0)  # among the controls
    twice = np.stack([constant, x[:, 1], x[:, 2], 3 * x[:, 2] + 1], axis=1)
    doubled = jc.fit(jc.Sample(twice, sample.t, y), jc.M5Tree(min_controls=40, max_depth=1))
    slopes = np.asarray(doubled.coef)
    assert doubled.leaves == 2 and (slopes[:, 0] == 0).all()
    np.testing.assert_allclose(slopes[:, 2], 3 * slopes[:, 3], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(doubled.fits.rank), 2)
    leaf = np.asarray(doubled.leaf(tree_points(twice)))
    for k in (0, 1):
        mine = (leaf == k) & ~np.asarray(sample.t)
        design = np.c_[np.ones(mine.sum()), x[mine][:, 1:3]]
        fitted = design @ np.linalg.lstsq(design, y[mine], rcond=None)[0]
        ours = np.asarray(doubled(tree_points(twice[mine])))[:, 0]
        np.testing.assert_allclose(ours, fitted, atol=1e-4)
    gram = np.asarray(doubled.gram_inverse)
    assert gram.shape == (doubled.leaves, 5, 5) and np.allclose(gram, gram.swapaxes(1, 2))


def test_the_bound_on_residuals_holds_in_every_leaf():
    """Theorem 3.1: mean squared residual <= (1 - adjusted R2) (n - p - 1) / (n - 1) variance."""
    sample = draw(8)
    tree = jc.fit(sample, jc.M5Tree())
    x, y, _ = of_controls(sample)
    leaf = np.asarray(tree.leaf(sample.x))[:CONTROLS]
    residual = y - np.asarray(tree(sample.x))[:CONTROLS, 0]
    assert tree.leaves > 2
    for k in range(tree.leaves):
        mine = leaf == k
        n, epsilon = mine.sum(), 1 - float(tree.adjusted_r2[k])
        bound = epsilon * (n - 4 - 1) / (n - 1) * y[mine].var()
        assert (residual[mine] ** 2).mean() <= bound * (1 + 1e-4) + 1e-9
        if int(tree.fits.rank[k]) == 4:
            design = np.c_[np.ones(n), x[mine]]
            inverse = np.linalg.inv(design.T @ design)
            np.testing.assert_allclose(tree.gram_inverse[k], inverse, rtol=2e-2, atol=1e-3)


def test_under_jit_and_vmap_the_same_tree():
    samples = [draw(seed) for seed in (0, 1)]
    model = jc.M5Tree(min_controls=20)

    def grown(x, t, y):
        tree = jc.fit(jc.Sample(x, t, y), model)
        return tree.leaf(x), tree(x)[:, 0], tree.controls

    stacked = [jnp.stack([getattr(s, name) for s in samples]) for name in ("x", "t", "y")]
    for sample, leaf, f0, controls in zip(samples, *jax.jit(jax.vmap(grown))(*stacked)):
        tree = jc.fit(sample, model)
        assert (np.asarray(tree.leaf(sample.x)) == np.asarray(leaf)).all()
        np.testing.assert_allclose(tree(sample.x)[:, 0], f0, atol=2e-3)
        assert np.asarray(controls)[: tree.leaves].tolist() == tree.controls.tolist()
        assert np.asarray(controls)[tree.leaves :].sum() == 0


def test_categories_are_read_whatever_their_order_and_missing_values_by_name():
    rng = np.random.default_rng(3)
    n = CONTROLS + TREATED
    region, age = rng.integers(0, 3, n), rng.integers(20, 60, n).astype(float)
    t = np.arange(n) >= CONTROLS
    y = 10 * (region == 1) + np.where(region == 1, 1, -1) * age / 5 + rng.normal(size=n) / 9
    kinds, names = ["number", "category"], ["age", "region"]
    trees = []
    for labels, turn in ((["north", "south", "west"], [0, 1, 2]), (["west", "north", "south"], [1, 2, 0])):
        x = np.stack([age, np.array(turn)[region]], axis=1)
        sample = jc.Sample(
            x, t, y, kinds=kinds, names=names, units=["years", ""], levels={"region": labels}
        )
        trees.append((jc.fit(sample, jc.M5Tree(min_controls=30, max_depth=1)), sample))
    (one, first), (two, second) = trees
    assert one.rules() == two.rules() == ["region not south", "region south"]
    np.testing.assert_allclose(one(first.x)[:, 0], two(second.x)[:, 0], atol=1e-3)


def test_levels_in_words():
    x = np.stack([np.arange(9.0), np.arange(9) % 2, np.arange(9) % 3], axis=1)
    schema = jc.Sample(
        x,
        np.arange(9) % 2,
        kinds=["number", "category", "category"],
        names=["age", "age missing", "region"],
        levels={"age missing": ["observed", "missing"], "region": ["north", "south", "west"]},
        flags={"age": "age missing"},
    ).schema
    assert [_words.levels(schema, 1, {k: v}) for k in (0, 1) for v in (True, False)] == [
        "age known",
        "age missing",
        "age missing",
        "age known",
    ]
    assert _words.levels(schema, 2, {0: False, 2: False}) == "region not north or west"
    assert _words.levels(schema, 2, {0: False, 2: True}) == "region west"


def test_words_frame_and_picture():
    sample = draw(0)
    x = np.asarray(sample.x)
    named = jc.Sample(
        x, sample.t, sample.y, names=["ill", "rooms", "age", "income"], units=["", "", "years", "$"]
    )
    tree = jc.fit(named, jc.M5Tree())
    frame = tree.to_frame(named)
    assert frame["controls"].sum() == CONTROLS and frame["treated"].sum() == TREATED
    assert frame["treated"].tolist() == tree.treated.tolist()
    assert frame["controls"].tolist() == tree.controls.tolist()
    assert list(frame["rule"]) == tree.rules()
    rooms = next(rule for rule in tree.rules() if "rooms" in rule)
    assert "rooms at most" in rooms or "rooms above" in rooms
    ax = jc.plot.tree(tree)
    said = " ".join(text.get_text() for text in ax.texts)
    assert "controls" in said and f"{tree.leaves} leaves" in ax.get_title()
    with pytest.raises(ValueError, match="depth is 0"):
        jc.plot.tree(tree, depth=0)


def test_units_of_weight_zero_and_padding_are_left_out():
    sample = draw(9)
    weight, valid = np.ones(sample.n), np.ones(sample.n, bool)
    weight[10:13], valid[13:15] = 0, False
    kept = np.setdiff1d(np.arange(sample.n), np.arange(10, 15))
    light = jc.Sample(sample.x, sample.t, sample.y, weight=weight, valid=valid)
    one, two = jc.fit(light, jc.M5Tree()), jc.fit(sample.take(kept), jc.M5Tree())
    assert walk(one) == walk(two) and one.controls.sum() == CONTROLS - 5


def test_a_tree_is_a_surface_of_controls():
    sample = draw(0)
    with pytest.raises(ValueError, match="controls only"):
        jc.fit(sample, jc.M5Tree(), arms="treated")
    tree = jc.fit(sample, jc.M5Tree())
    assert np.isnan(np.asarray(tree.noise)[1]) and np.isnan(tree(sample.x)[:, 1]).all()
    assert float(tree.r2(sample)[0]) > 0.7
    centre, at = sample.x[:3], jnp.linspace(-1.0, 1.0, 4) * jnp.ones((3, 1, 1))
    ways = tree.lean().along(centre, jnp.full((1, 1), 2), at)
    for k in range(4):
        moved = centre.at[:, 2].set(at[:, 0, k])
        np.testing.assert_allclose(
            ways[:, 0, k, 0], tree(moved)[:, 0] - tree(centre)[:, 0], atol=1e-4
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(min_controls=0), "min_controls is 0"),
        (dict(max_depth=-1), "max_depth is -1"),
        (dict(split_search="all"), "split_search is 'all'"),
        (dict(criterion="aic"), "criterion is 'aic'"),
        (dict(bins=1), "bins is 1"),
    ],
)
def test_wrong_options_are_refused(options, words, unchecked):
    with pytest.raises(ValueError, match=words):
        jc.M5Tree(**options)
