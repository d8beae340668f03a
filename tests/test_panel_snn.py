"""Synthetic nearest neighbours beside a pseudo-inverse cell by cell; anchors; refusals."""

import jax
import numpy as np
import pytest
from conftest import close
from oracles import latent_factors as oracle

import jcausal as jc
from jcausal.panels._anchor_bicliques import anchors_of, biclique

N, M = 14, 18


def draw(seed, starts, noise=0.1):
    """Rank 2 about a level of 3; unit i is treated from starts[i] on, the others never."""
    rng = np.random.default_rng(seed)
    y = 3 + rng.normal(size=(N, 2)) @ rng.normal(size=(2, M))
    start = np.full(N, M)
    start[: len(starts)] = starts
    d = np.arange(M) >= start[:, None]
    return y + noise * rng.normal(size=(N, M)), d, start


@pytest.mark.x64
def test_staggered_cells_are_those_of_a_pseudo_inverse():
    """Anchors: units untreated at j, times before the unit's start, found from the definition."""
    y, d, start = draw(0, [12, 12, 8, 15])
    panel = jc.Panel(y, d)
    found = jc.complete(panel, jc.SyntheticNearestNeighbors(rank=3, fit_tolerance=0.02))
    y = np.asarray(panel.y, float)
    expected, fits = np.full(y.shape, np.nan), np.zeros(2, int)
    for i, j in np.argwhere(d):
        rows, columns = np.flatnonzero(start > j), np.arange(start[i])
        value, (fit, span) = oracle.synthetic_neighbor(y, i, j, rows, columns, 3)
        passed = fit <= 0.02, span <= 0.1
        fits += [not passed[0], passed[0] and not passed[1]]
        expected[i, j] = value if all(passed) else np.nan
    assert np.isfinite(expected[d]).any()
    close(np.where(d, found.y0, np.nan), expected, rtol=1e-4)
    close(found.effect, y - expected, atol=1e-3)
    details = found.completed.details
    lost = [int(details[f"cells {word}"]) for word in ("that do not fit", "out of span")]
    assert lost == fits.tolist()
    blocks = {(int(start[i]), int((start > j).sum())) for i, j in np.argwhere(d)}
    assert (
        int(details["anchor blocks"]) == len(blocks) < d.sum()
        and int(details["fewest anchor rows"]) == 10
    )
    assert int(details["fewest anchor columns"]) == 8


def test_a_panel_of_low_rank_is_completed_exactly():
    """Rank 3 with its level; the fit at anchor columns is the outcome itself."""
    y, d, start = draw(1, [12, 9], noise=0.0)
    found = jc.complete(jc.Panel(y + 2.0 * d, d), jc.SyntheticNearestNeighbors(rank=3))
    close(found.effect[d], 2.0, atol=1e-4)
    for i in (0, 1):
        close(found.y0[i, : start[i]], y[i, : start[i]], atol=1e-4)
    assert np.isnan(found.y0[2:]).all() and int(found.rank[0]) == 3
    more = jc.complete(jc.Panel(y + 2.0 * d, d), jc.SyntheticNearestNeighbors(rank=9))
    assert int(more.rank[0]) == 3  # what is rounding is never inverted


def test_rules_for_the_rank():
    y, d, _ = draw(2, [12])
    panel = jc.Panel(y, d)
    s = np.linalg.svd(np.asarray(panel.y, float)[1:, :12], compute_uv=False)
    b = 12 / 13
    omega = 0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43
    share = np.cumsum(s**2) / (s**2).sum()
    cases = {
        jc.SyntheticNearestNeighbors(): (s > omega * np.median(s)).sum(),
        jc.SyntheticNearestNeighbors(rank="energy"): np.argmax(share >= 0.99) + 1,
        jc.SyntheticNearestNeighbors(rank="energy", energy=0.999): np.argmax(share >= 0.999) + 1,
    }
    for method, rank in cases.items():
        found = jc.complete(panel, method)
        assert int(found.rank[0]) == rank and int(found.rank[1]) == -1
        close(found.singular_values[0], s, rtol=1e-4, atol=1e-5)


def test_anchors_of_nested_patterns_are_the_largest():
    """Rows seen up to a time of their own, in any order, against all sets of rows."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        block = np.arange(10) < rng.integers(0, 11, (7, 1))
        block = block[:, rng.permutation(10)]
        rows, columns = biclique(block, np.arange(7), np.arange(10))
        found = min(rows.size, columns.size), rows.size * columns.size
        assert found == oracle.largest_biclique(block)


@pytest.mark.extended
def test_anchors_of_any_pattern_were_all_observed():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        block = rng.random((8, 9)) < 0.7
        rows, columns = biclique(block, np.arange(8), np.arange(9))
        assert block[np.ix_(rows, columns)].all()
        found.append(min(rows.size, columns.size) / oracle.largest_biclique(block)[0])
    assert min(found) > 0.5 and np.mean(found) > 0.85
    use = rng.random((N, M)) < 0.6
    targets = np.argwhere(~use)
    groups = anchors_of(use, targets)
    assert sorted(map(tuple, np.concatenate([g.targets for g in groups]))) == [*map(tuple, targets)]
    for group in groups:
        for i, j in group.targets:
            assert use[group.rows, j].all() and use[i, group.columns].all()


@pytest.mark.extended
def test_the_order_of_units_and_times_does_not_matter():
    y, d, _ = draw(5, [12, 12, 8])
    rng = np.random.default_rng(0)
    p = rng.permutation(N)
    method = jc.SyntheticNearestNeighbors(rank=3)
    one, two = (jc.complete(jc.Panel(a, b), method) for a, b in ((y, d), (y[p], d[p])))
    close(two.effect, np.asarray(one.effect)[p], rtol=1e-4)
    q = np.concatenate([rng.permutation(8), np.arange(8, M)])  # treatment stays absorbing
    turned = jc.complete(jc.Panel(y[:, q], d[:, q]), method)
    close(turned.effect, np.asarray(one.effect)[:, q], rtol=1e-4)


def test_cells_that_cannot_be_told_are_counted():
    """Unit 0 is always treated; at time 15 nobody is untreated; unit 1 is unlike the others."""
    y, d, _ = draw(6, [0, 12, 10])
    y[1] = np.random.default_rng(0).normal(size=M)
    mask = np.ones_like(d)
    mask[:, 15] = d[:, 15]
    found = jc.complete(jc.Panel(y, d, mask=mask), jc.SyntheticNearestNeighbors(rank=2))
    details = found.completed.details
    assert int(details["cells without anchors"]) == M + 2  # unit 0, and time 15 of units 1 and 2
    assert int(details["cells that do not fit"]) == 5
    assert np.flatnonzero(np.asarray(found.identified)).tolist() == [2]
    assert np.isnan(found.unit_effect[1]) and np.isnan(found.y0[1]).all()
    assert "1 without an untreated cell" in found.summary()
    assert "25 of 32 treated cells have no effect" in found.summary()
    alone = np.zeros_like(d)
    alone[1, 12:] = True
    with pytest.raises(jc.PatternError, match="no unit's effect is identified by synthetic"):
        jc.complete(jc.Panel(y, alone), jc.SyntheticNearestNeighbors(rank=2))


@pytest.mark.extended
def test_proposition_99():
    """Between the published synthetic DiD (-15.6) and difference in differences (-27.3)."""
    panel = jc.datasets.prop99()
    assert "SyntheticNearestNeighbors" in panel.completers()
    found = jc.complete(panel, jc.SyntheticNearestNeighbors())
    assert -27.3 < float(found.att) < -15.6
    assert found.event_study()["event"].tolist() == list(range(-19, 12))


def test_what_does_not_fit_is_refused(unchecked):
    cases = [
        (dict(rank="gap"), "use 'median', 'energy'"),
        (dict(rank=0), "at least 1"),
        (dict(energy=0.9), "rank='energy' only"),
        (dict(rank="energy", energy=1.5), "above 0, at most 1"),
        (dict(span_tolerance=-1.0), "must not be negative"),
    ]
    for options, words in cases:
        with pytest.raises(ValueError, match=words):
            jc.SyntheticNearestNeighbors(**options)
    y, _, _ = draw(7, [12])
    constant = np.zeros((N, M), bool)
    constant[:3] = True
    with pytest.raises(jc.PatternError, match="no unit is seen both"):
        jc.complete(jc.Panel(y, constant), jc.SyntheticNearestNeighbors())
    method = jc.SyntheticNearestNeighbors()
    traced = jax.jit(lambda y: jc.complete(jc.Panel(y, constant), method, throw=False).att)
    with pytest.raises(ValueError, match="needs concrete arrays"):
        traced(y)
