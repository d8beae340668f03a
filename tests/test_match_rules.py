"""The rules of R Matching's matches, estimates and standard errors, against its results."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import DATA
from oracles import match_rules as rules

GOLDENS = Path(__file__).parent / "goldens" / "matching"
LALONDE = DATA / "lalonde_matchit.csv"
MATCHES = json.loads(gzip.decompress((GOLDENS / "match_lalonde.json.gz").read_bytes()))["matches"]
pytestmark = pytest.mark.skipif(not LALONDE.exists(), reason=f"{LALONDE.name} is not here")


@pytest.fixture(scope="module")
def lalonde():
    return pd.read_csv(LALONDE)


def with_ties(name):
    """Whether a call is for ATT, with all ties and the standard error of the default."""
    words = name.split()
    return "ties" in words and "no" not in words and words[-1] in ("plain", "adjusted", "4")


@pytest.mark.parametrize("name", [name for name in MATCHES if with_ties(name)])
def test_matches_with_ties_estimate_and_standard_error(name, lalonde):
    theirs, words = MATCHES[name], name.split()
    score = json.loads((GOLDENS / "propensity.json").read_text())
    race = np.asarray(lalonde.race, dtype=object)
    columns = [lalonde.age, lalonde.educ, race == "black", race == "hispan", lalonde.married]
    columns += [lalonde.nodegree, lalonde.re74, lalonde.re75]
    x = {
        "covariates": np.column_stack(columns).astype(float),
        "propensity": np.array(score["converged_score"])[:, None],
        "linear": np.array(score["converged_linear"])[:, None],
    }[words[0]]
    points = rules.scaled(x, 2 if "mahalanobis" in words else 1)
    m = 4 if words[-1] == "4" else 1
    treated, control, weight = rules.matches(points, np.asarray(lalonde.treat) == 1, m)
    their_order, our_order = (
        np.lexsort(pairs) for pairs in ((theirs["control"], theirs["treated"]), (control, treated))
    )
    np.testing.assert_array_equal(np.array(theirs["treated"])[their_order], treated[our_order])
    np.testing.assert_array_equal(np.array(theirs["control"])[their_order], control[our_order])
    np.testing.assert_allclose(np.array(theirs["weight"])[their_order], weight[our_order])
    covariates = x if "adjusted" in words else None
    found = rules.estimate(np.asarray(lalonde.re78), (treated, control, weight), covariates)
    np.testing.assert_allclose(found, (theirs["estimate"], theirs["se"]), rtol=1e-6)
