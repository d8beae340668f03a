"""Subclassification against R MatchIt, by hand, and what must change nothing."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared
from oracles.matchit_rules import strata_weights, subclass_strata
from test_cem import same_groups

import jcausal as jc
from jcausal.matching.strata._subclassification import _cut, _merged

GLM = jc.Propensity(penalty=0)  # maximum likelihood, as in R
FOLDER = Path(__file__).parent / "goldens" / "matching"
pytestmark = pytest.mark.x64


@pytest.fixture(scope="module")
def golden():
    return json.loads(gzip.decompress((FOLDER / "subclass.json.gz").read_bytes()))["subclasses"]


@pytest.fixture(scope="module")
def score():
    """The scores of R's logistic regression, which the cuts are made of."""
    return json.loads((FOLDER / "propensity.json").read_text())


@pytest.fixture(scope="module")
def lalonde():
    frame = pd.read_csv(shared("lalonde_matchit.csv")).drop(columns="rownames", errors="ignore")
    columns = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]
    return jc.Sample.from_frame(
        frame, treatment="treat", outcome="re78", covariates=columns, categorical=["race"]
    )


CASES = dict(default=(6, "att"), six=(6, "att"), ten=(10, "att"), ate=(6, "ate"), atc=(6, "atc"))


@pytest.mark.parametrize("name", CASES)
def test_strata_weights_and_estimates_are_those_of_matchit(name, golden, lalonde):
    groups, estimand = CASES[name]
    effects = jc.estimate(
        lalonde, jc.Subclassification(groups=groups, propensity=GLM), estimand=estimand
    )
    found, wanted = effects.matching, golden[name]
    assert same_groups(np.asarray(found.strata), np.array(wanted["stratum"]))
    weight = np.array(found.matched_weights(), float)
    for arm in (False, True):
        mine = np.asarray(lalonde.t) == arm
        weight[mine] /= weight[mine].mean()
    close(weight, wanted["weight"], rtol=1e-4, atol=1e-6)
    close(effects.average, wanted["estimate"], rtol=1e-4)
    assert found.caution == "" or found.caution.startswith("in the group propensity ")


@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_cuts_and_weights_by_hand(estimand, score, lalonde):
    t, scores = np.asarray(lalonde.t), np.array(score["converged_score"])
    base = dict(att=t, atc=~t, ate=np.ones_like(t))[estimand]
    for groups in (1, 3, 8):
        wanted = subclass_strata(scores, t, groups, estimand)
        assert (_cut(scores, base, groups) == wanted).all()
    effects = jc.estimate(
        lalonde, jc.Subclassification(groups=4, propensity=GLM), estimand=estimand
    )
    weight = strata_weights(subclass_strata(scores, t, 4, estimand), t, estimand)
    y = np.asarray(lalonde.y)
    means = [np.average(y[t == arm], weights=weight[t == arm]) for arm in (False, True)]
    close(effects.average, means[1] - means[0], rtol=1e-4)


def merged(group, t):
    """Groups after merging, with every unit of weight one."""
    t = np.asarray(t, bool)

    def has_both(of, count):
        return np.array([t[of == g].any() and (~t[of == g]).any() for g in range(count)])

    return _merged(np.asarray(group), has_both).tolist()


def test_a_group_that_lacks_an_arm_joins_its_smaller_neighbour():
    assert merged([0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 0, 1, 1]) == [0, 0, 0, 0, 1, 1, 1]
    assert merged([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 1]) == [0, 0, 0, 1, 1, 1]
    assert merged([0, 0, 1, 2, 2], [0, 1, 1, 0, 1]) == [0, 0, 0, 1, 1]  # equals: the lower
    assert merged([0, 1, 2, 3], [0, 0, 1, 1]) == [0, 0, 0, 0]
    assert merged([0, 0, 1], [0, 0, 0]) == [0, 0, 0]


def test_merged_groups_are_counted_and_nobody_is_lost():
    sample = jc.datasets.lalonde("psid")
    found = jc.match(sample, jc.Subclassification(groups=60))
    assert bool(found.matched.all()) and found.count < 60
    assert found.caution.startswith(f"{found.count} of 60 groups of the propensity score are left")
    assert found.strata_frame()["controls"].min() > 0


def test_groups_say_the_range_of_their_scores(lalonde):
    found = jc.match(lalonde, jc.Subclassification(groups=3))
    words = found.strata_frame()["rule"].tolist()
    assert len(words) == 3 and all(word.startswith("propensity 0") for word in words)
    assert found.describe(0).startswith(words[int(found.place[0])] + ": ")
    ends = [float(end) for word in words for end in word.removeprefix("propensity ").split(" to ")]
    assert ends == sorted(ends)
    text = jc.estimate(lalonde, jc.Subclassification(groups=1)).summary()
    assert "in the group propensity 0.0" in text and "treated still have a mean propensity" in text


def test_row_order_weights_and_padding(lalonde):
    one = draw_sample(5, n=120, p=2, category=4, id=np.arange(120))
    order = np.random.default_rng(0).permutation(120)
    base = jc.estimate(one, jc.Subclassification())
    close(jc.estimate(one.take(order), jc.Subclassification()).att, base.att, rtol=1e-4)
    weight = np.r_[np.ones(100), np.zeros(20)]
    x, t, y = (np.asarray(a) for a in (one.x, one.t, one.y))
    weighed = jc.Sample(x, t, y, kinds=one.schema.kinds, weight=weight)
    cut = one.take(np.arange(100))
    ours = np.asarray(jc.match(weighed, jc.Subclassification()).strata)[:100]
    assert same_groups(ours, np.asarray(jc.match(cut, jc.Subclassification()).strata))
    padded = jc.Sample(x, t, y, kinds=one.schema.kinds, valid=weight > 0)
    label = np.asarray(jc.match(padded, jc.Subclassification()).strata)
    assert (label[100:] == -1).all() and same_groups(label[:100], ours)


def test_what_cannot_be_is_refused(unchecked):
    sample = draw_sample(1)
    with pytest.raises(ValueError, match="groups is 0"):
        jc.Subclassification(groups=0)
    with pytest.raises(ValueError, match="propensity"):
        jc.Subclassification(propensity=0.5)
    with pytest.raises(ValueError, match="Subclassification matches rows of the sample"):
        jc.match(sample, jc.Subclassification(), at=[[0.0, 0.0, 0.0]])
