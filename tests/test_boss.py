"""BOSS: its subsets against all subsets, an integer program, and marginals counted by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample
from scipy.optimize import Bounds, LinearConstraint, milp

import jcausal as jc
from jcausal.matching.learned._annealing import cost_of
from jcausal.matching.learned._marginal_bins import marginal_bins

pytestmark = pytest.mark.x64


def parts(sample, bins=10, pairs=False):
    """Bins, rows of treated and of controls."""
    t = np.asarray(sample.t)
    treated = np.flatnonzero(t)
    return marginal_bins(sample, treated, bins, pairs), treated, np.flatnonzero(~t)


def counts(bins, rows):
    return np.bincount(bins.cell[rows].ravel(), minlength=bins.cells)


def chosen(matching):
    """The controls of the stratum."""
    rows, _ = matching.group(0)
    return rows[~np.asarray(matching.sample.t)[rows]]


def cost_found(matching, bins, treated):
    return cost_of(counts(bins, chosen(matching)), counts(bins, treated))


@pytest.mark.parametrize("pairs", [False, True])
def test_it_finds_the_best_of_all_subsets(pairs):
    for seed in range(3):
        sample = draw_sample(seed, n=15, p=2, integers=True, category=3)
        bins, treated, controls = parts(sample, pairs=pairs)
        best = min(
            cost_of(counts(bins, list(rows)), counts(bins, treated))
            for rows in combinations(controls, treated.size)
        )
        found = jc.match(sample, jc.BOSS(pairs=pairs, steps=2000), key=seed)
        close(1 + cost_found(found, bins, treated), 1 + best, rtol=1e-9)


def optimum(bins, treated, controls):
    """The least cost by an integer program: each square as a sum of its rising increments."""
    wanted = counts(bins, treated)
    member = np.zeros((bins.cells, controls.size))
    for i, row in enumerate(controls):
        member[bins.cell[row], i] = 1
    most, c, b = treated.size, controls.size, bins.cells
    price = np.concatenate([(2 * np.arange(1, most + 1) - 1) / max(w, 1) for w in wanted])
    cost = np.concatenate([np.zeros(c), price, price])
    over = np.kron(np.eye(b), np.ones(most))
    balance = LinearConstraint(np.hstack([member, -over, over]), wanted, wanted)
    size = np.concatenate([np.ones(c), np.zeros(2 * b * most)])
    whole = np.concatenate([np.ones(c), np.zeros(2 * b * most)])
    found = milp(
        cost,
        constraints=[balance, LinearConstraint(size[None], treated.size, treated.size)],
        integrality=whole,
        bounds=Bounds(0, 1),
        options=dict(time_limit=60),
    )
    assert found.status == 0
    return found.fun


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_what_an_integer_program_proves(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(60) < 15
    x = rng.normal(size=(60, 3)) + 0.7 * t[:, None]
    sample = jc.Sample(x, t, rng.normal(size=60))
    bins, treated, controls = parts(sample, bins=4)
    found = jc.match(sample, jc.BOSS(bins=4), key=0)
    close(1 + cost_found(found, bins, treated), 1 + optimum(bins, treated, controls), rtol=1e-6)


def test_twins_of_the_treated_are_balanced_perfectly():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3))
    every = np.concatenate([x, x, rng.normal(size=(60, 3)) - 1])
    t = np.arange(120) < 30
    sample = jc.Sample(every, t, rng.normal(size=120))
    found = jc.match(sample, jc.BOSS(bins=5), key=0)
    bins, treated, _ = parts(sample, 5)
    assert np.array_equal(counts(bins, chosen(found)), counts(bins, treated))
    assert found.sizes[0].tolist() == [30, 30] and "imbalance 0 over" in found.caution


def test_bins_are_those_counted_by_hand():
    sample = draw_sample(3, n=90, p=1, category=3)
    bins, treated, _ = parts(sample, 4)
    x = np.asarray(sample.x, float)
    cuts = np.quantile(x[treated, 0], [0.25, 0.5, 0.75])
    close(bins.cell[:, 0], (x[:, :1] > cuts).sum(1))
    assert np.array_equal(bins.cell[:, 1] - 4, x[:, 1]) and bins.cells == 7
    both, _, _ = parts(sample, 4, pairs=True)
    assert both.cell.shape == (90, 3)
    joint = {(a, b) for a, b in both.cell[:, :2].tolist()}
    assert len(np.unique(both.cell[:, 2])) == len(joint)


def test_missing_is_a_bin_and_a_constant_column_none():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(dict(t=np.arange(40) < 10, y=rng.normal(size=40), a=rng.normal(size=40)))
    frame.loc[frame.index % 4 == 0, "a"] = np.nan
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", missing="indicator")
    found = jc.match(sample, jc.BOSS(bins=3, steps=5000), key=0)
    gaps = frame["a"].isna().to_numpy()
    assert gaps[chosen(found)].sum() == gaps[:10].sum()
    one = sample.take(np.flatnonzero(~gaps))  # its flag is now constant
    assert jc.match(one, jc.BOSS(bins=3, steps=200), key=0).matched.all()


def test_the_order_of_rows_and_the_key():
    sample = draw_sample(2, n=200, p=3, id=np.arange(200))
    order = np.random.default_rng(0).permutation(200)
    method = jc.BOSS(steps=300, chains=4)
    one, again, other = (jc.match(sample, method, key=key) for key in (0, 0, 1))
    assert np.array_equal(chosen(one), chosen(again)) and set(chosen(one)) != set(chosen(other))
    turned = jc.match(sample.take(order), method, key=0)
    assert set(order[chosen(turned)]) == set(chosen(one))


def test_weights_and_duplicates():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.integers(0, 3, (30, 2)), 2, axis=0).astype(float)
    weight = np.where(np.arange(60) % 5 == 4, 0.0, rng.uniform(0.5, 2, 60))
    t, y = np.arange(60) < 16, rng.normal(size=60)
    sample = jc.Sample(x, t, y, weight=weight)
    effects = jc.estimate(sample, jc.BOSS(steps=500), key=0)
    rows = chosen(effects.matching)
    assert (weight[rows] > 0).all()
    expected = np.average(y[:16], weights=weight[:16]) - np.average(y[rows], weights=weight[rows])
    close(effects.att, expected, rtol=1e-4)


def test_one_control_and_too_few():
    one = jc.Sample([[1.0], [2.0]], [1, 0], [3.0, 1.0])
    assert float(jc.estimate(one, jc.BOSS(steps=3), key=0).att) == 2
    few = jc.Sample([[1.0], [2.0], [3.0]], [1, 1, 0], [3.0, 1.0, 2.0])
    with pytest.raises(jc.DataError, match="too few have a positive weight .1 for 2 treated"):
        jc.match(few, jc.BOSS(), key=0)
    assert jc.match(few, jc.BOSS(steps=3), query=[0], key=0).matched.all()


def test_bad_options_and_progress(unchecked):
    for options, words in (
        (dict(bins=1), "bins is 1"),
        (dict(chains=0), "chains is 0"),
        (dict(steps=0), "steps is 0"),
        (dict(pairs=3), "pairs is 3"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.BOSS(**options)
    sample, told = draw_sample(0), []
    with pytest.raises(ValueError, match="give key="):
        jc.match(sample, jc.BOSS())
    with pytest.raises(ValueError, match="more than max_bytes = 100"):
        jc.match(sample, jc.BOSS(max_bytes=100), key=0)
    with pytest.raises(ValueError, match="use estimand='att'"):
        jc.match(sample, jc.BOSS(), estimand="ate", key=0)
    jc.match(sample, jc.BOSS(steps=40), key=0, progress=lambda *each: told.append(each))
    assert told[-1][1:] == (40, 40) and told[0][0].startswith("swaps, imbalance")


def test_treated_of_weight_0_ask_for_no_control():
    """The subset is balanced against those who count, whatever the others' values are."""
    base = draw_sample(4, n=60, p=3)
    x, t, y = (np.asarray(a) for a in (base.points, base.t, base.y))
    none = t & (np.cumsum(t) % 3 == 0)
    found = [
        jc.estimate(jc.Sample(points, t, y, weight=~none), jc.BOSS(steps=200), key=0)
        for points in (x, np.where(none[:, None], 9.0, x))
    ]
    close(found[1].att, found[0].att, rtol=1e-6)
    assert found[0].sizes[0].tolist() == [int((t & ~none).sum())] * 2
    with pytest.raises(jc.DataError, match="no treated unit that is asked for has a weight"):
        jc.match(found[0].matching.sample, jc.BOSS(), query=np.flatnonzero(none), key=0)
