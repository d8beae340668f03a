"""Nearest neighbours against R MatchIt's matches and R Matching's estimates, up to ties."""

import numpy as np
import pytest
from conftest import DATA, close
from oracles import match_rules, matchit_rules
from test_match_rules import MATCHES
from test_matchit_rules import (  # noqa: F401
    LALONDE,
    NEAREST,
    NUMERIC,
    as_asked,
    golden,
    lalonde,
    points,
    treated_of,
)

import jcausal as jc

pytestmark = [
    pytest.mark.skipif(not LALONDE.exists(), reason=f"{LALONDE.name} is not in {DATA}"),
    pytest.mark.x64,
]
METRICS = ("mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean")


def sample_of(frame, scores, kind, order):
    """The sample in an order of rows; scores and ranks need columns of their own."""
    frame = frame.iloc[order].copy()
    frame["score"] = scores["score"][order, 0]
    frame["linear"] = scores["linear"][order, 0]
    names = [*NUMERIC, "race"]
    if kind == "robust_mahalanobis":  # the golden ranks all levels but one
        race = np.asarray(frame.race, dtype=object)
        frame["hispan"], frame["white"] = (race == "hispan") * 1, (race == "white") * 1
        names = [*NUMERIC, "hispan", "white"]
    return jc.Sample.from_frame(
        frame,
        treatment="treat",
        outcome="re78",
        covariates=[*names, "score", "linear"] if kind in ("score", "linear") else names,
        categorical=["race"] if "race" in names else [],
    )


def metric_of(kind, frame):
    """The metric of a golden; a score is one column of the sample."""
    if kind in METRICS:
        return kind
    place = len(NUMERIC) + 3 + (kind == "linear")  # behind the levels of race
    return lambda columns: columns[:, [place]]


def limits_of(words, kind, theirs):
    """Calipers and exact columns as we are told them."""
    exact = ["race"] if "exact" in words else []
    exact += ["married"] if "two" in words else []
    widths = theirs.get("caliper", {})
    named = {kind if name == "distance" else name: width for name, width in widths.items()}
    return dict(exact=exact, caliper=named or None, caliper_unit="raw")


@pytest.mark.parametrize("name", [n for n in NEAREST if "mahalanobis caliper" not in n])
def test_matches_are_as_near_as_those_of_matchit(name, lalonde, points):  # noqa: F811
    distance, order, theirs = as_asked(name, lalonde, points)
    words = name.split()
    kind, replace, atc = words[0], "replace" in words, "atc" in words
    t = treated_of(lalonde)
    focal, partners = np.flatnonzero(t != atc), np.flatnonzero(t == atc)
    turned = np.concatenate([focal[order], partners])  # the order of rows is that of the matching
    sample = sample_of(lalonde, points, kind, turned)
    method = jc.NearestNeighbors(
        metric=metric_of(kind, lalonde),
        ratio=theirs.shape[1],
        replace=replace,
        ties="first",
        order="data",
        **limits_of(words, kind, NEAREST[name]),
    )
    found = jc.match(sample, method, estimand="atc" if atc else "att", throw=False)
    rows = np.full((focal.size, theirs.shape[1]), -1)
    given = np.asarray(found.rows)
    place_of = np.searchsorted(partners, turned)
    rows[order, : given.shape[1]] = np.where(given >= 0, place_of[given], -1)
    # scaled by n - 1 and not by n - 2, and binaries by n: a relative difference of 1 / n at most
    slack = (
        2
        / len(lalonde)
        * np.nanmax(np.where(rows >= 0, distance[np.arange(focal.size)[:, None], rows], 0))
    )
    slack = slack if kind == "scaled_euclidean" else 1e-9
    assert matchit_rules.excess(distance, rows, order, replace) <= slack
    assert (rows == theirs).all(1).mean() > (0.7 if theirs.shape[1] == 1 else 0.4)
    if replace:
        ours, golden_ = (
            np.sort(np.where(r >= 0, distance[np.arange(focal.size)[:, None], r], -1))
            for r in (rows, theirs)
        )
        close(ours, golden_, rtol=1e-9 + slack, atol=1e-9 + slack)


@pytest.mark.parametrize("caliper", [None, 0.2])
def test_the_propensity_is_that_of_matchit(caliper, lalonde, points):  # noqa: F811
    """The metric's own fit, on the logit: as near as MatchIt's linear.logit to the fit's digits."""
    name = "linear caliper" if caliper else "linear replace 1"
    distance, order, theirs = as_asked(name, lalonde, points)
    sample = sample_of(lalonde, points, "mahalanobis", np.arange(len(lalonde)))
    method = jc.NearestNeighbors(
        metric="propensity",
        caliper=caliper,
        replace=caliper is None,
        ties="first",
        propensity=jc.Propensity(penalty=0),
    )
    found = np.asarray(jc.match(sample, method).rows)[:, :1]
    partners = np.flatnonzero(~treated_of(lalonde))
    rows = np.where(found >= 0, np.searchsorted(partners, found), -1)
    assert matchit_rules.excess(distance, rows, order, caliper is None) < 2e-3
    assert (rows == theirs).mean() > 0.6


EXACT = ["covariates inverse variance ties plain", "covariates mahalanobis ties plain"]


@pytest.mark.parametrize("name", [*EXACT, "covariates inverse variance ties plain ate"])
def test_ties_give_the_estimate_of_r_matching(name, lalonde):  # noqa: F811
    race = np.asarray(lalonde.race, dtype=object)
    columns = [lalonde.age, lalonde.educ, race == "black", race == "hispan", lalonde.married]
    columns += [lalonde.nodegree, lalonde.re74, lalonde.re75]
    x = np.column_stack(columns).astype(float)
    if "mahalanobis" in name:
        metric = np.linalg.inv(np.cov(x, rowvar=False))
    else:
        metric = np.diag(1 / x.var(0, ddof=1))
    sample = jc.Sample(x, lalonde.treat, lalonde.re78)
    estimand = "ate" if name.endswith("ate") else "att"
    effects = jc.estimate(sample, jc.NearestNeighbors(metric=metric), estimand=estimand)
    close(effects.average, MATCHES[name]["estimate"], rtol=1e-6)
    assert match_rules.TOLERANCE > 1e-9  # theirs; no two distances here lie between
