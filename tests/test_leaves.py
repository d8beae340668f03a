"""M5Model and Leaves: predictions as weights, adjoint, intervals, honesty, extrapolation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcausal as jc
from tests.test_m5_tree import CONTROLS, TREATED, draw

TREE = jc.M5Tree(min_controls=20)


@pytest.fixture(scope="module")
def sample():
    return draw(0)


@pytest.fixture(scope="module")
def effects(sample):
    return jc.estimate(sample, jc.M5Model(tree=TREE))


@pytest.fixture(scope="module")
def honest(sample):
    return jc.estimate(sample, jc.M5Model(tree=TREE, honest=True), key=0)


def design_of(sample, leaf, k, weight=None):
    """Rows of the controls of a leaf, outcomes and weights."""
    mine = (np.asarray(leaf) == k) & ~np.asarray(sample.t)
    x, y = np.asarray(sample.x, float), np.asarray(sample.y, float)
    w = np.ones(sample.n) if weight is None else weight
    return np.c_[np.ones(mine.sum()), x[mine]], y[mine], w[mine], np.flatnonzero(mine)


def by_least_squares(sample, leaf, weight=None):
    """y(0) of the treated, and their rows of weights over all units, by NumPy's lstsq."""
    x, treated = np.asarray(sample.x, float), np.flatnonzero(np.asarray(sample.t))
    weights = np.zeros((treated.size, sample.n))
    for k in np.unique(np.asarray(leaf)[treated]):
        a, _, w, rows = design_of(sample, leaf, k, weight)
        mine = np.asarray(leaf)[treated] == k
        root = np.sqrt(w)[:, None]
        projector = np.linalg.pinv(a * root, rcond=1e-6) * root.T
        at = np.c_[np.ones(mine.sum()), x[treated[mine]]]
        weights[np.ix_(mine, rows)] = at @ projector
    return weights @ np.asarray(sample.y, float), weights


def full_rank(matching):
    """Queries whose regression has a slope for every feature: there pinv leaves no choice."""
    return np.asarray(matching.design.rank)[np.asarray(matching.leaf)[np.asarray(matching.query)]]


def test_weights_are_those_of_the_least_squares_prediction(sample, effects):
    matching = effects.matching
    y0, weights = by_least_squares(sample, matching.leaf)
    sure = full_rank(matching) == 4
    assert sure.sum() > 20
    np.testing.assert_allclose(np.asarray(effects.y0)[sure], y0[sure], atol=2e-3)
    for i in np.flatnonzero(sure)[:5]:
        rows, share = matching.group(int(i))
        ours = np.zeros(sample.n)
        ours[rows] = share
        ours[int(matching.query[i])] -= 1
        np.testing.assert_allclose(ours, weights[i], atol=1e-4)
        assert share.sum() == pytest.approx(2, abs=1e-6)
    totals = np.asarray(matching.sums(jnp.ones((sample.n, 1))))[..., 0]
    np.testing.assert_allclose(totals, 1, atol=1e-4)
    np.testing.assert_allclose(matching.squares[:, 0][sure], (weights**2).sum(1)[sure], rtol=1e-3)
    assert np.asarray(effects.sizes)[:, 1].tolist() == [1] * TREATED
    assert matching.trees[0](sample.x)[matching.query, 0] == pytest.approx(
        np.asarray(effects.y0), abs=2e-3
    )


def test_sampling_weights_enter_the_regressions():
    sample = draw(3, weighted=True)
    effects = jc.estimate(sample, jc.M5Model(tree=TREE))
    weight = np.asarray(sample.weight, float)
    y0, weights = by_least_squares(sample, effects.matching.leaf, weight)
    sure = full_rank(effects.matching) == 4
    np.testing.assert_allclose(np.asarray(effects.y0)[sure], y0[sure], atol=2e-3)
    np.testing.assert_allclose(
        np.asarray(effects.matching.squares)[sure, 0], (weights[sure] ** 2).sum(1), rtol=2e-3
    )
    check_adjoint(effects.matching)
    treated = weight[np.asarray(sample.t)]
    assert float(effects.att) == pytest.approx(
        np.average(np.asarray(effects.ite), weights=treated), abs=1e-4
    )


def check_adjoint(matching):
    rng = np.random.default_rng(0)
    n, q = matching.sample.n, matching.query.shape[0]
    values = jnp.asarray(rng.normal(size=(n, 2)), jnp.float32)
    shares = jnp.asarray(rng.normal(size=(q, 2)), jnp.float32)
    for power in (1, 2):
        left = (np.asarray(matching.sums(values, power))[..., 0] * np.asarray(shares)).sum()
        right = (np.asarray(matching.spread(shares, power)) * np.asarray(values)[:, 0]).sum()
        assert left == pytest.approx(right, rel=2e-3, abs=2e-3)


def test_sums_and_spread_are_adjoint(effects, honest):
    check_adjoint(effects.matching)
    check_adjoint(honest.matching)


def test_leaf_effects_weigh_up_to_the_att(sample, effects):
    """Proposition 4.1: sum_s n_s / n ATT_s = mean of the units' effects."""
    table = effects.cate(effects.matching.leaf)
    assert len(table) > 3
    whole = np.average(table["effect"], weights=table["matched"])
    assert whole == pytest.approx(float(effects.att), abs=1e-5)
    assert np.asarray(effects.ite).mean() == pytest.approx(float(effects.att), abs=1e-5)
    frame = effects.matching.trees[0].to_frame(effects=effects)
    held = frame[frame["matched"] > 0]
    assert held["att"].to_numpy() == pytest.approx(table["effect"].to_numpy(), abs=1e-5)
    contributions = np.asarray(effects.contributions) @ np.asarray(sample.y)
    assert contributions == pytest.approx(float(effects.att), abs=1e-3)


def test_the_interval_holds_the_error_of_the_coefficients(sample, effects):
    leaf, treated = np.asarray(effects.matching.leaf), np.asarray(sample.t)
    x, between, error = np.asarray(sample.x, float), np.asarray(effects.ite), 0.0
    for k in np.unique(leaf[treated]):
        a, y, _, _ = design_of(sample, leaf, k)
        rank = int(effects.matching.design.rank[k]) + 1
        residual = y - a @ np.linalg.lstsq(a, y, rcond=1e-6)[0]
        sigma2 = (residual**2).sum() / (len(y) - rank)
        assert float(effects.matching.trees[0].sigma2[k]) == pytest.approx(sigma2, rel=1e-2)
        at = np.c_[np.ones((treated & (leaf == k)).sum()), x[treated & (leaf == k)]]
        shared = at @ np.linalg.pinv(a.T @ a, rcond=1e-9, hermitian=True) @ at.T * sigma2
        error += (shared.sum() - np.trace(shared)) / TREATED**2
    population = ((between - between.mean()) ** 2).sum() / TREATED**2
    found = jc.interval(effects, jc.AbadieImbens())
    assert float(found.error) ** 2 == pytest.approx(population + error, rel=2e-2)
    drawn = jc.interval(effects, jc.Bootstrap(draws=2000), key=1)
    assert float(drawn.error) == pytest.approx(float(found.error), rel=0.15)
    for method in (jc.AbadieImbens(target="sample"), jc.Bootstrap(target="sample", draws=500)):
        fixed = jc.interval(effects, method, key=1)
        assert 0.5 < float(fixed.error / found.error) < 1.5


def test_leaves_are_groups_and_differ_or_not(effects):
    table = jc.interval(effects, jc.AbadieImbens(), by=effects.matching.leaf)
    frame = table.to_frame()
    assert frame["queries"].sum() == TREATED
    test = jc.heterogeneity(table, min_queries=3)
    use = (frame["matched"] >= 3) & np.isfinite(frame["error"]) & (frame["error"] > 0)
    e, s = frame["estimate"][use], frame["error"][use]
    mean = np.average(e, weights=s**-2)
    assert test.statistic == pytest.approx((((e - mean) / s) ** 2).sum(), rel=1e-4)
    assert test.freedom == use.sum() - 1 and test.left_out == (~use).sum()
    assert f"{test.groups} groups" in str(test) and 0 <= test.p_value <= 1
    far = eqx.tree_at(lambda i: i.estimate, table, table.estimate + 100 * jnp.arange(len(frame)))
    assert jc.heterogeneity(far, min_queries=3).p_value < 1e-6
    with pytest.raises(ValueError, match="compares groups"):
        jc.heterogeneity(jc.interval(effects, jc.AbadieImbens()))
    with pytest.raises(ValueError, match="at least two are needed"):
        jc.heterogeneity(table, min_queries=1000)


def test_the_summary_says_what_it_is_and_who_is_extrapolated(sample, effects):
    said = effects.summary()
    assert "not honest: tree and effects use the same control outcomes" in said
    matching = effects.matching
    x, leaf = np.asarray(sample.x), np.asarray(matching.leaf)
    beyond = []
    for q in np.asarray(matching.query):
        controls = x[(leaf == leaf[q]) & ~np.asarray(sample.t)]
        beyond.append(((x[q] < controls.min(0)) | (x[q] > controls.max(0))).any())
    assert np.asarray(matching.extrapolated).tolist() == beyond
    assert f"extrapolated {sum(beyond)} of {TREATED}" in said
    assert effects.to_frame()["extrapolated"].tolist() == beyond
    frame = matching.to_frame("queries")
    assert (frame["outside"] != "").tolist() == beyond and (frame["rule"] != "").all()
    assert len(matching.to_frame("leaves")) == matching.trees[0].leaves
    units = matching.to_frame()
    assert units[units["treated"] == 0]["weight"].sum() == pytest.approx(TREATED, rel=1e-3)
    assert matching.describe(0).endswith("treated") and matching.reason(0) == "matched"
    after = jc.balance(sample, matching)["smd_after"].abs()
    assert after.max() < 0.15  # a regression reproduces what its controls vary in
    with pytest.raises(ValueError, match="use 'units', 'queries' or 'leaves'"):
        matching.to_frame("boxes")


def test_honest_trees_never_see_the_outcomes_that_are_averaged(sample, honest):
    assert "not honest" not in honest.summary() and "out of sample R2" in honest.summary()
    fold, treated = np.asarray(honest.matching.fold), np.asarray(sample.t)
    y = np.asarray(sample.y).copy()
    mine = np.flatnonzero((fold == 0) & ~treated)
    y[mine] = np.random.default_rng(0).permutation(y[mine])
    model = jc.M5Model(tree=TREE, honest=True)
    other = jc.estimate(sample.with_outcome(y), model, key=0)
    for one, two in zip(jax.tree.leaves(honest.matching.trees[0].nodes), _nodes(other, 0)):
        assert (np.asarray(one) == np.asarray(two)).all()
    leaf = np.asarray(honest.matching.leaf)
    for i in range(3):
        rows, _ = honest.matching.group(i)
        query = int(honest.matching.query[i])
        assert (fold[rows] == fold[query]).all() and (leaf[rows] == leaf[query]).all()
    with pytest.raises(jc.HonestyError, match="at least 2 folds"):
        jc.estimate(sample, model, folds=1, key=0)
    with pytest.raises(ValueError, match="repeats must be 1"):
        jc.estimate(sample, jc.M5Model(tree=TREE), repeats=2, key=0)


def _nodes(effects, k):
    return jax.tree.leaves(effects.matching.trees[k].nodes)


def test_a_tree_may_be_given_to_match(sample):
    tree = jc.fit(sample, TREE)
    model = jc.M5Model(tree=TREE)
    with pytest.raises(jc.HonestyError):
        jc.match(sample, model, surface=tree)
    given = jc.match(sample, model, surface=tree, honest=False)
    grown = jc.match(sample, model)
    assert not given.honest and not grown.honest
    assert (np.asarray(given.leaf) == np.asarray(grown.leaf)).all()
    np.testing.assert_allclose(
        jc.estimate(sample, given).y0, jc.estimate(sample, grown).y0, atol=2e-3
    )
    other = draw(1)
    assert jc.match(other, model, surface=tree).honest
    with pytest.raises(ValueError, match="needs a tree, not a Function"):
        jc.match(sample, model, surface=lambda x: jnp.zeros((len(x), 2)))


def test_a_leaf_without_controls_leaves_its_treated_unmatched(sample):
    tree = jc.fit(sample, TREE)
    leaf, treated = np.asarray(tree.leaf(sample.x)), np.asarray(sample.t)
    gone = int(np.bincount(leaf[treated]).argmax())
    valid = ~((leaf == gone) & ~treated)
    less = jc.Sample(sample.x, sample.t, sample.y, valid=valid)
    effects = jc.estimate(less, jc.match(less, jc.M5Model(tree=TREE), surface=tree))
    lost = leaf[treated] == gone
    assert (np.asarray(effects.matched) == ~lost).all()
    assert np.isnan(np.asarray(effects.ite)[lost]).all() and np.isfinite(float(effects.att))
    assert f"unmatched {lost.sum()}: its leaf holds no control" in effects.summary()
    status = np.asarray(effects.matching.status)[lost]
    assert (status == int(jc.RESULTS.no_leaf_control._value)).all()
    assert int(jc.RESULTS.no_leaf_control._value) == 7  # integers are stable


def test_what_it_cannot_answer_is_refused(sample, effects):
    model = jc.M5Model(tree=TREE)
    with pytest.raises(ValueError, match="estimand 'ate' asks for controls too"):
        jc.estimate(sample, model, estimand="ate")
    with pytest.raises(ValueError, match="1 of the queried are controls"):
        jc.estimate(sample, model, query=[0, CONTROLS])
    with pytest.raises(ValueError, match="at= has none"):
        jc.match(sample, model, at=[[0.0, 1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="use tau='b'"):
        jc.estimate(sample, model, tau="a")
    for method in (jc.ConservativeNormal(), jc.GroupBootstrap()):
        with pytest.raises(ValueError, match="regressions in leaves"):
            jc.interval(effects, method, key=0)


def test_many_data_sets_in_one_call():
    samples = [draw(seed) for seed in (0, 1)]
    model = jc.M5Model(tree=TREE)

    def att(x, t, y):
        effects = jc.estimate(jc.Sample(x, t, y), model, throw=False)
        return effects.att, jc.interval(effects, jc.AbadieImbens()).error

    stacked = [jnp.stack([getattr(s, name) for s in samples]) for name in ("x", "t", "y")]
    for sample, att_, error in zip(samples, *jax.jit(jax.vmap(att))(*stacked)):
        alone = jc.estimate(sample, model)
        assert float(att_) == pytest.approx(float(alone.att), abs=2e-3)
        assert float(error) == pytest.approx(
            float(jc.interval(alone, jc.AbadieImbens()).error), rel=2e-2
        )
