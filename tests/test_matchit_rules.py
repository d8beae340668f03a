"""The rules that MatchIt's matches were found to follow, against its matches themselves."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import DATA
from oracles import matchit_rules as rules

GOLDENS = Path(__file__).parent / "goldens" / "matching"
LALONDE = DATA / "lalonde_matchit.csv"
NUMERIC = ["age", "educ", "married", "nodegree", "re74", "re75"]
pytestmark = pytest.mark.skipif(not LALONDE.exists(), reason=f"{LALONDE.name} is not here")


def golden(name):
    return json.loads(gzip.decompress((GOLDENS / f"{name}.json.gz").read_bytes()))


NEAREST = golden("nearest")["matches"]
CEM = golden("cem")
SUBCLASS = golden("subclass")["subclasses"]


@pytest.fixture(scope="module")
def lalonde():
    return pd.read_csv(LALONDE)


@pytest.fixture(scope="module")
def points(lalonde):
    x, of_factor = rules.columns_of(lalonde, NUMERIC, ["race"])
    t = treated_of(lalonde)
    score = np.array(json.loads((GOLDENS / "propensity.json").read_text())["matchit_score"])
    return {
        "mahalanobis": rules.mahalanobis_points(x, t),
        "robust_mahalanobis": rules.robust_points(np.delete(x, 6, axis=1)),  # one level is enough
        "scaled_euclidean": rules.scaled_points(x, t, of_factor),
        "euclidean": rules.euclidean_points(x, of_factor),
        "score": score[:, None],
        "linear": np.log(score / (1 - score))[:, None],
    }


def treated_of(frame):
    return np.asarray(frame.treat) == 1


@pytest.mark.parametrize("kind", ["mahalanobis", "scaled_euclidean", "euclidean"])
def test_the_distances(kind, lalonde, points):
    t, theirs = treated_of(lalonde), golden("distances")
    found = rules.distances(points[kind], np.flatnonzero(t), np.flatnonzero(~t))
    np.testing.assert_allclose(found[:3, :5], theirs["corner"][kind], rtol=1e-9)
    np.testing.assert_allclose(found.mean(1), theirs["row_means"][kind], rtol=1e-9)
    np.testing.assert_allclose(found.mean(0), theirs["column_means"][kind], rtol=1e-9)


def as_asked(name, lalonde, points):
    """Distances (inf where not allowed), the order and the matches of one call of MatchIt."""
    words, theirs = name.split(), NEAREST[name]
    t, kind, atc = treated_of(lalonde), words[0], "atc" in words
    focal, partners = np.array(theirs["focal"]), np.flatnonzero(t if atc else ~t)
    score = points["linear" if kind == "linear" else "score"][:, 0]
    columns = {"distance": score} | {v: np.asarray(lalonde[v]) for v in NUMERIC}
    calipers = [(columns[v], width) for v, width in theirs.get("caliper", {}).items()]
    exact = ["race"] if "exact" in words else []
    exact = [np.asarray(lalonde[v], object) for v in exact + ["married"] * ("two" in words)]
    distance = rules.distances(points[kind], focal, partners)
    distance[~rules.allowed(focal, partners, calipers, exact)] = np.inf
    named = [word for word in ("largest", "smallest", "data") if word in words]
    by_score = kind in ("score", "linear") or "caliper" in words
    usual = ("smallest" if atc else "largest") if by_score else "data"
    order = rules.order_of(score[focal], named[0] if named else usual)
    places = pd.Series(np.arange(len(partners)), index=partners)
    rows = places.reindex(np.array(theirs["rows"]).ravel(), fill_value=-1)
    return distance, order, np.asarray(rows).reshape(len(focal), -1)


@pytest.mark.parametrize("name", list(NEAREST))
def test_every_match_is_the_nearest_that_was_free(name, lalonde, points):
    distance, order, rows = as_asked(name, lalonde, points)
    replace = "replace" in name.split()
    assert rules.excess(distance, rows, order, replace) <= 1e-12
    if replace:
        ours = rules.nearest_with_replacement(distance, rows.shape[1])
    else:
        ours = rules.nearest_without_replacement(distance, order, rows.shape[1])
    assert rules.excess(distance, ours, order, replace) == 0
    assert ((ours >= 0) == (rows >= 0)).all() or not replace


@pytest.mark.parametrize(
    "name", ["mahalanobis default 1", "mahalanobis default 3", "euclidean default 3"]
)
def test_of_equally_near_partners_the_first_row_is_taken(name, lalonde, points):
    distance, order, rows = as_asked(name, lalonde, points)
    ours = rules.nearest_without_replacement(distance, order, rows.shape[1])
    np.testing.assert_array_equal(ours, rows)


def test_another_distance_another_order_and_a_wider_caliper_are_told_apart(lalonde, points):
    distance, order, rows = as_asked("mahalanobis default 1", lalonde, points)
    t = treated_of(lalonde)
    x, _ = rules.columns_of(lalonde, NUMERIC, ["race"])
    other = rules.points_of(x, np.cov(x.T))
    other = rules.distances(other, np.flatnonzero(t), np.flatnonzero(~t))
    assert rules.excess(other, rows, order, False) > 0.01
    assert rules.excess(distance, rows, order[::-1], False) > 0.01
    distance, order, rows = as_asked("score caliper", lalonde, points)
    wider = rules.distances(points["score"], np.flatnonzero(t), np.flatnonzero(~t))
    assert rules.excess(wider, rows, order, False) == np.inf


def test_a_caliper_is_in_sd_of_the_whole_sample(lalonde, points):
    widths = NEAREST["score caliper age"]["caliper"]
    np.testing.assert_allclose(widths["distance"], 0.2 * points["score"].std(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(widths["age"], 0.5 * lalonde.age.std(), rtol=1e-12)


def same_partition(one, two):
    """Whether two labellings, -1 for none, put the same units together."""
    one, two = np.array(one), np.array(two)
    held = one >= 0
    pairs = len(set(zip(one[held], two[held])))
    return (held == (two >= 0)).all() and pairs == len(set(one[held])) == len(set(two[held]))


@pytest.mark.parametrize("name", list(CEM["strata"]))
def test_coarsened_strata_and_their_weights(name, lalonde):
    rule, t = name.split("_")[0], treated_of(lalonde)
    each = [CEM["edges"][v] if rule == "edges" else 6 if rule == "six" else rule for v in NUMERIC]
    numeric = [np.asarray(lalonde[v], float) for v in NUMERIC]
    race = np.asarray(lalonde.race, dtype=str)
    found = rules.cem_strata(numeric, [race], t, each)
    assert same_partition(CEM["strata"][name]["stratum"], found)
    estimand = name.split("_")[1] if "_" in name else "att"
    weight = rules.strata_weights(found, t, estimand)
    np.testing.assert_allclose(weight, CEM["strata"][name]["weight"], rtol=1e-12, atol=1e-12)


def test_the_number_of_bins(lalonde):
    for name in NUMERIC:
        x = np.asarray(lalonde[name], float)
        for rule in ("sturges", "scott", "fd"):
            assert rules.bins_of(x, rule) == CEM["bins"][name][rule]


@pytest.mark.parametrize("name", list(SUBCLASS))
def test_subclasses_and_their_weights(name, lalonde, points):
    theirs, t = SUBCLASS[name], treated_of(lalonde)
    estimand = name if name in ("ate", "atc") else "att"
    found = rules.subclass_strata(points["score"][:, 0], t, len(theirs["cuts"]) - 1, estimand)
    np.testing.assert_array_equal(found + 1, theirs["stratum"])
    weight = rules.strata_weights(found, t, estimand)
    np.testing.assert_allclose(weight, theirs["weight"], rtol=1e-12, atol=1e-12)
    y = np.asarray(lalonde.re78)
    effect = np.average(y[t], weights=weight[t]) - np.average(y[~t], weights=weight[~t])
    np.testing.assert_allclose(effect, theirs["estimate"], rtol=1e-10)


def test_a_caliper_on_the_score_itself_is_truncated_there(lalonde, points):
    """Why the matches above go by mahvars: differences under 1 count as 0, and all are allowed."""
    theirs, t = golden("nearest")["truncated"]["linear caliper"], treated_of(lalonde)
    focal, partners = np.array(theirs["focal"]), np.flatnonzero(~t)
    distance = rules.distances(points["linear"], focal, partners)
    rows = np.array(theirs["rows"])
    places = np.where(rows < 0, -1, np.searchsorted(partners, rows))
    order = rules.order_of(points["linear"][focal, 0], "largest")
    allowed = np.where(distance < 1, 0, np.inf)  # not which partner: only who could have one
    assert rules.excess(allowed, places, order, False) == 0
    assert theirs["caliper"]["distance"] < 0.4
