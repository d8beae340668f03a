"""Coarsened exact matching against R MatchIt, a pandas groupby, and what must change nothing."""

import gzip
import json
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared

import jcausal as jc
from jcausal.matching.strata._coarsening import Tally, bins_of_values

GOLDEN = Path(__file__).parent / "goldens" / "matching" / "cem.json.gz"
NUMERIC = ["age", "educ", "married", "nodegree", "re74", "re75"]
pytestmark = pytest.mark.x64


@pytest.fixture(scope="module")
def golden():
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


@pytest.fixture(scope="module")
def lalonde():
    frame = pd.read_csv(shared("lalonde_matchit.csv"))
    frame = frame[["treat", *NUMERIC[:2], "race", *NUMERIC[2:], "re78"]]
    return jc.Sample.from_frame(frame, treatment="treat", outcome="re78", categorical=["race"])


def every(rule):
    """A rule for the numbers; those of 0 and 1 are matched exactly anyway."""
    return {name: rule for name in ("age", "educ", "re74", "re75")}


RULES = dict(sturges="sturges", scott="scott", fd="fd", q5="quantile", six=6, sturges_ate="sturges")


@pytest.mark.parametrize("name", [*RULES, "sturges_atc", "edges"])
def test_strata_and_weights_are_those_of_matchit(name, golden, lalonde):
    wanted = golden["strata"][name]
    bins = RULES.get(name, "sturges")
    if name == "edges":
        bins = {k: v for k, v in golden["edges"].items() if k in every(0)}
    estimand = name.partition("_")[2] or "att"
    found = jc.match(lalonde, jc.CEM(bins=bins), estimand=estimand)
    theirs = np.array(wanted["stratum"])
    assert same_groups(np.asarray(found.strata), theirs)
    weight = np.array(found.matched_weights(), float)
    for arm in (False, True):
        mine = np.asarray(lalonde.t) == arm
        weight[mine] *= (weight[mine] > 0).sum() / weight[mine].sum()
    close(weight, wanted["weight"], rtol=1e-4, atol=1e-6)


def same_groups(one, other):
    """Whether two labellings, -1 for none, part the units alike."""
    pairs = {(a, b) for a, b in zip(one.tolist(), other.tolist()) if a >= 0 or b >= 0}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and all(
        a >= 0 and b >= 0 for a, b in pairs
    )


@pytest.mark.parametrize("rule", ["sturges", "scott", "fd"])
def test_the_number_of_bins_is_that_of_r(rule, golden, lalonde):
    points = np.asarray(lalonde.points)
    for name in NUMERIC:
        values, counts = np.unique(points[:, lalonde.schema.names.index(name)], return_counts=True)
        found = bins_of_values(np, Tally(values, counts), rule)
        assert found[-1] + 1 == golden["bins"][name][rule], name


def brute(sample, bins):
    """Groups by a pandas groupby over bins of equal width, made by pandas."""
    points = pd.DataFrame(np.asarray(sample.points))
    for j, kind in enumerate(sample.schema.kinds):
        if kind == "number":
            low, high = points[j].min(), points[j].max()
            edges = low + (high - low) / bins * np.arange(bins + 1)
            edges[0], edges[-1] = -np.inf, np.inf
            points[j] = pd.cut(points[j], edges, right=False, labels=False)
    group = points.groupby(list(points), dropna=False).ngroup()
    t = np.asarray(sample.t)
    both = group.map(lambda g: bool(t[group == g].any() and (~t[group == g]).any()))
    return np.where(both, group, -1)


@pytest.mark.parametrize("seed", range(4))
def test_strata_are_those_of_a_groupby(seed):
    sample = draw_sample(seed, n=150, p=3, category=3)
    found = jc.match(sample, jc.CEM(bins=3))
    assert same_groups(np.asarray(found.strata), brute(sample, 3))
    ite = np.asarray(jc.estimate(sample, found).ite)
    label, y, t = brute(sample, 3), np.asarray(sample.y), np.asarray(sample.t)
    for i, row in enumerate(np.flatnonzero(t)):
        mates = (label == label[row]) & ~t
        if label[row] < 0:
            assert np.isnan(ite[i]) and not bool(found.matched[i])
        else:
            close(ite[i], y[row] - y[mates].mean(), rtol=1e-4, atol=1e-5)


def test_an_edge_belongs_to_the_bin_above():
    tally = Tally(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.ones(5, int))
    assert bins_of_values(np, tally, [1, 3]).tolist() == [0, 1, 1, 2, 2]
    assert bins_of_values(np, tally, 2).tolist() == [0, 0, 1, 1, 1]
    assert bins_of_values(np, tally, "q2").tolist() == [0, 0, 1, 1, 1]
    assert bins_of_values(np, tally, "exact").tolist() == [0, 1, 2, 3, 4]
    tenths = Tally(np.arange(11) / 10, np.ones(11, int))
    edges = np.arange(1, 10) * 0.1  # of which the third is above .3
    wanted = np.searchsorted(edges, tenths.values, side="right")
    assert bins_of_values(np, tenths, 10).tolist() == wanted.tolist()


def test_freedman_diaconis_where_the_quartiles_are_equal():
    values, counts = np.array([0.0, 1.0, 2.0, 50.0]), np.array([90, 4, 4, 2])
    units = np.repeat(values, counts)
    low, high = np.quantile(units, [1 / 16, 15 / 16])  # the first that differ
    wanted = np.ceil(50 / ((high - low) / (1 - 1 / 8) * 100 ** (-1 / 3)))
    assert high > low and np.quantile(units, 7 / 8) == 0
    found = bins_of_values(np, Tally(values, counts), "fd")
    assert found[-1] == wanted - 1


@pytest.mark.parametrize("rule", ["sturges", "scott", "fd", "quantile", 5])
def test_under_jit_the_strata_are_the_same(rule):
    sample = draw_sample(3, n=80, p=2, category=3, integers=True, weight=1.0 + np.arange(80) % 3)

    def ite(y):
        made = sample.with_outcome(y)
        return jc.estimate(made, jc.CEM(bins=rule), estimand="ate", throw=False).ite

    wanted = jc.estimate(sample, jc.CEM(bins=rule), estimand="ate").ite
    close(jax.jit(ite)(sample.y), wanted, rtol=1e-4, atol=1e-5)


def test_under_jit_of_covariates_with_padding_and_gaps():
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 5, 60), np.zeros(60)], axis=1).astype(float)
    x[::7, 0], x[::7, 1] = 2, 1
    options = dict(
        kinds=["number", "category"],
        levels={"x1": ["observed", "missing"]},
        flags={"x0": "x1"},
        valid=np.arange(60) < 55,
    )
    t, y = np.arange(60) % 3 == 0, rng.normal(size=60)

    def ite(x, y):
        made = jc.Sample(x, t, y, **options)
        return jc.estimate(made, jc.CEM(bins=3), estimand="ate", throw=False).ite

    wanted = np.full(60, np.nan)
    wanted[:55] = jc.estimate(jc.Sample(x, t, y, **options), jc.CEM(bins=3), estimand="ate").ite
    close(jax.jit(ite)(x, y), wanted, rtol=1e-4, atol=1e-5)


def test_missing_values_match_missing_ones_only():
    frame = pd.DataFrame(
        dict(
            age=[20, 30, np.nan, np.nan, 30, 24.0],
            race=["a", None, "a", "a", None, "a"],
            t=[1, 0, 1, 0, 1, 0],
            y=range(6),
        )
    )
    sample = jc.Sample.from_frame(
        frame, treatment="t", outcome="y", categorical=["race"], missing="indicator"
    )
    found = jc.match(sample, jc.CEM(bins={"age": [25]}))
    label = np.asarray(found.strata)
    assert label[0] == label[5] and label[1] == label[4] and label[2] == label[3]
    assert len(set(label)) == 3
    words = [found.describe(i) for i in range(3)]
    assert words[0].startswith("age at most 24, race a: ")
    assert words[1].startswith("age missing, race a: ")
    assert words[2].startswith("age 30, race missing: ")


def test_row_order_and_names_of_levels_change_nothing():
    one = draw_sample(5, n=120, p=2, category=4, id=np.arange(120))
    order = np.random.default_rng(0).permutation(120)
    base = jc.estimate(one, jc.CEM(bins=4))
    turned = jc.estimate(one.take(order), jc.CEM(bins=4))
    close(turned.att, base.att, rtol=1e-5)
    x = np.asarray(one.points).copy()
    x[:, -1] = 3 - x[:, -1]
    renamed = jc.Sample(x, one.t, one.y, kinds=one.schema.kinds)
    close(jc.estimate(renamed, jc.CEM(bins=4)).att, base.att, rtol=1e-5)


def test_duplicates_constants_and_one_control():
    x = np.stack([np.repeat([0.0, 1.0], 7), np.full(14, 3.0)], axis=1)
    x[-2:, 1] = 4
    t = np.ones(14, bool)
    t[[0, -1]] = False
    whole = jc.Sample(x, t, np.arange(14.0), names=["sex", "same"])
    sample = whole.take(np.r_[0:6, 7:12])  # in which "same" is the same
    effects = jc.estimate(sample, jc.CEM())
    assert int(effects.matched.sum()) == 5 and effects.matching.describe(0).startswith("not sex:")
    assert "of the 5 queries in strata alone, not of the 5 others" in effects.summary()
    weight = np.asarray(effects.matching.matched_weights())
    close(weight[0], 5, rtol=1e-6)


def test_no_stratum_with_both_arms_says_so():
    sample = jc.Sample([[0.0], [0.0], [1.0]], [0, 0, 1], [1.0, 2.0, 3.0])
    with pytest.raises(jc.MatchError, match="its stratum holds no unit of the other arm"):
        jc.estimate(sample, jc.CEM())
    found = jc.match(sample, jc.CEM(), throw=False)
    assert not found.matched.any() and found.count == 0


def test_sixty_columns_of_a_thousand_levels():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 1000, (50, 60)).astype(float)
    x = few[rng.integers(0, 50, 3000)]
    sample = jc.Sample(x, np.arange(3000) % 2 == 0, rng.normal(size=3000), kinds=["category"] * 60)
    found = jc.match(sample, jc.CEM())
    assert found.count == 50 and bool(found.matched.all())
    assert same_groups(np.asarray(found.strata), np.unique(x, axis=0, return_inverse=True)[1])


def test_units_without_weight_are_no_partners():
    x, t = [[0.0], [0.0], [1.0], [1.0]], [1, 0, 1, 0]
    sample = jc.Sample(x, t, [1.0, 2.0, 3.0, 4.0], weight=[1.0, 0.0, 1.0, 1.0])
    found = jc.match(sample, jc.CEM())
    assert np.asarray(found.matched).tolist() == [False, True]


def test_weights_weigh_the_means():
    x, t = [[0.0]] * 4 + [[1.0]], [1, 0, 0, 0, 0]
    weight = [1.0, 1.0, 3.0, 0.0, 1.0]
    sample = jc.Sample(x, t, [1.0, 2.0, 3.0, 10.0, 0.0], weight=weight)
    close(jc.estimate(sample, jc.CEM()).att, 1 - 2.75, rtol=1e-6)


@pytest.mark.parametrize(
    ("bins", "said"),
    [
        ("sturgis", "bins is 'sturgis'"),
        (0, "at least 1 bin"),
        (2.5, "bins is 2.5"),
        (True, "bins is True"),
        ({"x0": [2, 1]}, "finite numbers that rise"),
        ({"x0": "twenty"}, r"bins\['x0'\] is 'twenty'"),
        ([1, 2], r"bins is \[1, 2\]"),
    ],
)
def test_rules_that_cannot_be_are_refused(bins, said, unchecked):
    with pytest.raises(ValueError, match=said):
        jc.CEM(bins=bins)


def test_rules_of_columns_that_are_not_there():
    sample = draw_sample(1, category=3)
    with pytest.raises(jc.DataError, match="bins names 'age', which is no column: x0"):
        jc.match(sample, jc.CEM(bins={"age": 3}))
    with pytest.raises(jc.DataError, match="bins names 'x3', a category"):
        jc.match(sample, jc.CEM(bins={"x3": 3}))
    with pytest.raises(jc.DataError, match=r"points has shape \(1, 2\): give \(m, 4\)"):
        jc.match(sample, jc.CEM(), at=[[0.0, 0.0]])


def test_wide_bins_are_named():
    sample = jc.datasets.lalonde("psid")
    text = jc.estimate(sample, jc.CEM()).summary()
    assert text.startswith("ATT (matched 116 of 185)")
    assert "one bin of income 1974 and income 1975 holds nearly all queries" in text
    exact = jc.match(sample, jc.CEM(bins="exact"))
    assert int(exact.matched.sum()) < 116 and "one bin" not in exact.caution
