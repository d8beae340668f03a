"""What tells levels apart without asking the surface everywhere, and which covariates it sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcausal as jc
from jcausal.surfaces import as_surface, in_one_shape
from jcausal.surfaces.tree_sums import TreeSum


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    n = 300
    x = np.column_stack([rng.normal(size=(n, 3)), rng.integers(0, 3, n), rng.integers(0, 9, n)])
    t = rng.uniform(size=n) < 0.5
    y = x[:, 0] + (x[:, 3] == 1) + (x[:, 4] > 5) * (1 + t) + 0.3 * rng.normal(size=n)
    return jc.Sample(x, t, y, kinds=["number"] * 3 + ["category"] * 2)


def surfaces(sample):
    from sklearn.ensemble import RandomForestRegressor

    trees = jc.Trees(RandomForestRegressor(30, max_depth=4, min_samples_leaf=5, random_state=0))
    models = (jc.Ridge(), jc.BoostedTrees(rounds=40), trees)
    return [jc.fit(sample, model, key=1) for model in models]


@pytest.mark.extended
def test_changes_to_levels_are_those_of_an_evaluation(sample):
    rng = np.random.default_rng(1)
    centre = jnp.asarray(np.asarray(sample.x)[:40])
    column = jnp.asarray(rng.integers(3, 5, 40))
    level = jnp.asarray(rng.integers(0, np.where(column == 3, 3, 9)[:, None], (40, 6)))
    there = jnp.repeat(centre[:, None], 6, axis=1)
    moving = jnp.arange(5) == column[:, None, None]
    there = jnp.where(moving, level[:, :, None], there).astype(centre.dtype)
    for surface in surfaces(sample):
        for one in (surface, surface.lean(), as_surface(surface.__call__)):
            found = one.level_changes(centre, column, level, jnp.ones((40, 6), bool))
            whole = one(there.reshape(-1, 5)).reshape(40, 6, 2) - one(centre)[:, None]
            np.testing.assert_allclose(found, whole, atol=2e-5)


@pytest.mark.extended
def test_an_arm_that_was_not_fitted_has_no_changes(sample):
    centre, column = jnp.asarray(np.asarray(sample.x)[:4]), jnp.full(4, 3)
    level = jnp.tile(jnp.arange(3), (4, 1))
    for model in (jc.Ridge(), jc.BoostedTrees(rounds=5)):
        surface = model.fit(sample, jax.random.key(0), "control")
        found = np.asarray(surface.level_changes(centre, column, level, level >= 0))
        assert np.isfinite(found[..., 0]).all() and np.isnan(found[..., 1]).all()


@pytest.mark.extended
@pytest.mark.parametrize("tables", [2**26, pytest.param(0, marks=pytest.mark.extended)])
@pytest.mark.parametrize("masks", [2**28, pytest.param(0, marks=pytest.mark.extended)])
def test_a_covariate_that_is_not_seen_changes_nothing(sample, tables, masks, monkeypatch):
    init = TreeSum.__init__

    def small(self, trees, cuts, offset):
        budgets = dict(max_pair_bytes=tables, max_set_bytes=tables, max_mask_bytes=masks)
        init(self, trees, cuts, offset, **budgets)

    monkeypatch.setattr(TreeSum, "__init__", small)
    blind = np.array(sample.x)
    blind[:, 1] = np.arange(300) < 2  # too few to split off
    part = jc.Sample(blind, sample.t, sample.y, kinds=sample.schema.kinds)
    for surface in surfaces(part):
        line = getattr(surface, "slope", surface.arms.slope if hasattr(surface, "arms") else 0)
        seen = np.asarray(surface.sees(5))
        assert seen[[0, 3, 4]].all() and seen[1] == bool(np.any(line))
        if not seen[1]:
            moved = jnp.asarray(blind).at[:, 1].set(jnp.arange(300.0)).astype(sample.x.dtype)
            assert (surface(moved) == surface(jnp.asarray(blind, sample.x.dtype))).all()
    assert not seen[1]  # the forest has no line


@pytest.mark.extended
def test_sums_of_trees_of_one_shape_are_the_same_functions(sample):
    from sklearn.ensemble import RandomForestRegressor

    found = []
    for depth, count in ((2, 10), (9, 30), (6, 20)):
        estimator = RandomForestRegressor(count, max_depth=depth, random_state=0)
        found.append(jc.fit(sample, jc.Trees(estimator), key=depth).lean())
    wide = in_one_shape(found)
    assert len({str(jax.tree.map(jnp.shape, surface)) for surface in wide}) == 1
    assert len({jax.tree.structure(surface) for surface in wide}) == 1
    x, j = sample.x[:50], jnp.array([[0, 1, 2]])
    at = jnp.stack([x[:, :3], x[::-1, :3]], axis=2)
    for own, other in zip(found, wide):
        np.testing.assert_allclose(other(x), own(x), atol=1e-6)
        np.testing.assert_allclose(other.along(x, j, at), own.along(x, j, at), atol=1e-6)
