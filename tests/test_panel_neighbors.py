"""Neighbours among units and times beside loops, the choice of radii, what cannot be told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close
from oracles import latent_factors as oracle

import jcausal as jc
from jcausal.panels._neighbor_pairs import QUANTILES, chosen_radii, neighbor_fit

N, M = 20, 24
FIT = jax.jit(neighbor_fit)
CHOSEN = jax.jit(chosen_radii, static_argnums=3)


def draw(seed, observed=1.0):
    n, m = N, M
    rng = np.random.default_rng(seed)
    arms = [rng.normal(size=(n, 1)) * rng.normal(size=m) + a for a in (0, 1)]
    d = rng.random((n, m)) < rng.uniform(0.35, 0.65, (n, 1))
    y = np.where(d, arms[1], arms[0]) + 0.3 * rng.normal(size=(n, m))
    return y, d, rng.random((n, m)) < observed


@pytest.mark.x64
@pytest.mark.parametrize("turned", [False, pytest.param(True, marks=pytest.mark.extended)])
@pytest.mark.parametrize("radii", [(0.7, 0.9), (np.inf, np.inf)])
def test_sums_over_pairs_are_those_of_loops(turned, radii):
    """Distances of random outcomes are no nearer to a radius than rounding, so sets are equal."""
    y, d, mask = draw(0, observed=0.9)
    use = ~d & mask
    if turned:
        y, use = y.T, use.T
    found = FIT(jnp.asarray(y), jnp.asarray(use), *(jnp.asarray(r) for r in radii))
    cells = list(np.ndindex(y.shape))
    expected = [oracle.neighbors(y, use, *radii, i, j) for i, j in cells]
    close([found[i, j] for i, j in cells], expected, atol=2e-5)
    assert np.isnan(expected).any() == np.isfinite(radii[0])


def test_no_cell_sees_itself():
    y, d, _ = draw(1)
    use = jnp.asarray(d)
    i, j = np.argwhere(d)[7]
    other = y.copy()
    other[i, j] = 50
    one, two = (FIT(jnp.asarray(a), use, jnp.asarray(1.0), jnp.asarray(2.0)) for a in (y, other))
    assert float(one[i, j]) == pytest.approx(float(two[i, j]), abs=1e-3)


@pytest.mark.x64
def test_radii_have_the_least_error_on_held_out_cells():
    """All cells of the arm are drawn, so that the errors do not depend on the draw."""
    y, d, _ = draw(2)
    found = CHOSEN(jnp.asarray(y), jnp.asarray(d), (None, None), 480, jax.random.key(0))
    cells = np.argwhere(d)
    grids = []
    for side, turn in enumerate((y, y.T)):
        use = d if side == 0 else d.T
        far = [
            oracle._distance(turn, use, cell[side], k, cell[1 - side])
            for cell in cells
            for k in range(len(turn))
            if k != cell[side]
        ]
        far = np.asarray(far)
        grids.append(np.quantile(far[np.isfinite(far)], QUANTILES))
    best = np.unravel_index(np.argmin(found.error), found.error.shape)
    close([found.row, found.column], [grids[k][best[k]] for k in (0, 1)], rtol=1e-4)
    for k, j in ((2, 3), (4, 4), (7, 6)):
        guess = np.array([oracle.neighbors(y, d, grids[0][k], grids[1][j], *c) for c in cells])
        guess = np.where(np.isnan(guess), y[d].mean(), guess)
        close(found.error[k, j], ((y[d] - guess) ** 2).mean(), rtol=2e-3)


@pytest.mark.extended
def test_one_radius_alone_is_chosen():
    y, d, _ = draw(2)
    given = (None, jnp.asarray(0.8))
    arrays = (jnp.asarray(y), jnp.asarray(d), given, jax.random.key(0))
    found = jax.eval_shape(lambda *a: chosen_radii(*a[:3], 50, a[3]), *arrays)
    assert found.error.shape == (len(QUANTILES), 1)
    method = jc.DoublyRobustNeighbors(column_radius=0.8)
    with pytest.raises(ValueError, match="DoublyRobustNeighbors, which chooses a radius, draws"):
        jc.complete(jc.Panel(y, d), method)


@pytest.mark.extended
@pytest.mark.x64
def test_neighbours_beat_the_baseline_where_effects_move():
    """Over 32 panels: in one, few of the neighbours that its radii allow may be left."""

    def one(key):
        data = jc.simulate.low_rank_panel(key=key, n=N, m=M, rank=1)
        panel = jc.Panel(data.panel.y, data.panel.d)
        found = jc.complete(panel, jc.DoublyRobustNeighbors(), key=key, throw=False)
        means = jc.complete(panel, jc.UnitMeans(), throw=False)
        errors = [jnp.nanmean((a.effect - data.effect) ** 2) for a in (found, means)]
        return *errors, jnp.isnan(found.effect).mean()

    keys = jax.random.split(jax.random.key(0), 32)
    mine, theirs, lost = (float(a.mean()) for a in jax.jit(jax.vmap(one))(keys))
    assert mine < 0.4 * theirs and lost < 0.1
    data = jc.simulate.low_rank_panel(key=0, n=N, m=M, rank=1)
    told = jc.complete(data.panel, jc.DoublyRobustNeighbors(), key=0).summary()
    assert "row radius" in told and "cells without a pair" in told


def test_cells_without_a_pair_are_counted():
    """Unit 2 is never treated, unit 5 always, and nobody is near another at radius 0."""
    y, d, mask = draw(3)
    d[2], d[5] = False, True
    method = jc.DoublyRobustNeighbors(row_radius=np.inf, column_radius=np.inf)
    found = jc.complete(jc.Panel(y, d, mask=mask), method)
    assert np.flatnonzero(~np.asarray(found.identified)).tolist() == [2, 5]
    assert np.isnan(found.y1[2]).all() and np.isnan(found.y0[5]).all()
    assert np.isfinite(found.y0[2]).mean() > 0.8 and np.isnan(found.unit_effect[2])
    assert "1 without a treated cell, 1 without an untreated cell" in found.summary()
    none = jc.DoublyRobustNeighbors(row_radius=0.0, column_radius=0.0)
    lost = jc.complete(jc.Panel(y, d), none, throw=False)
    assert lost.completed.details["cells without a pair"].tolist() == [(N - 1) * M, (N - 1) * M]
    with pytest.raises(jc.PatternError, match="no unit's effect is identified by doubly robust"):
        jc.complete(jc.Panel(y, d), none)


@pytest.mark.extended
def test_order_many_panels_and_gradients():
    sets = [draw(seed) for seed in (4, 5)]
    y, d = (jnp.asarray(np.stack(a)) for a in list(zip(*sets))[:2])
    method = jc.DoublyRobustNeighbors(row_radius=2.0, column_radius=2.0)

    def effect(y, d):
        return jc.complete(jc.Panel(y, d), method, throw=False).effect

    many = jax.jit(jax.vmap(effect))(y, d)
    close(many[1], effect(y[1], d[1]), atol=1e-4)
    rng = np.random.default_rng(0)
    p, q = rng.permutation(N), rng.permutation(M)
    close(effect(y[0][p][:, q], d[0][p][:, q]), np.asarray(many[0])[p][:, q], atol=1e-4)
    way = jnp.asarray(rng.normal(size=(N, M)))

    @jax.jit
    @jax.value_and_grad
    def total(y):
        """All are neighbours, so that the effect is linear in y."""
        every = jc.DoublyRobustNeighbors(row_radius=np.inf, column_radius=np.inf)
        found = jc.complete(jc.Panel(y, d[0]), every, throw=False).effect
        return (way * jnp.where(jnp.isfinite(found), found, 0)).sum()

    slope = float((total(y[0])[1] * way).sum())
    assert slope == pytest.approx(float(total(y[0] + way)[0] - total(y[0])[0]), rel=1e-4)


def test_what_does_not_fit_is_refused(unchecked):
    cases = [
        (dict(row_radius=-1.0), "row_radius is -1.0: it must not be negative"),
        (dict(held_out=0), "at least 1"),
    ]
    for options, words in cases:
        with pytest.raises(ValueError, match=words):
            jc.DoublyRobustNeighbors(**options)
    with pytest.raises(jc.PatternError, match="treatment is absorbing"):
        jc.complete(jc.datasets.prop99(), jc.DoublyRobustNeighbors(), key=0)
