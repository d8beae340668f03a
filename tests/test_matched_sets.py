"""Which units make a matched set, against a brute force over the groups."""

from itertools import combinations

import numpy as np
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.matching._matched_sets import in_digits, of_digits

METHODS = {
    "pairs": (jc.NearestNeighbors(replace=False, caliper=0.3), True),
    "sets of three": (jc.NearestNeighbors(replace=False, ratio=2, caliper=0.5), True),
    "with replacement": (jc.NearestNeighbors(), False),
    "strata": (jc.Subclassification(3), True),
    "cells": (jc.CEM(), True),
    "full": (jc.FullMatching(), True),
}


def sets_by_hand(matching):
    """Groups with their query as sets of rows; None where two overlap and are not the same."""
    found = set()
    for i in np.flatnonzero(np.asarray(matching.matched)):
        rows, weight = matching.group(int(i))
        found.add(frozenset(rows[weight != 0].tolist()) | {int(np.asarray(matching.query)[i])})
    return None if any(a & b for a, b in combinations(found, 2)) else found


@pytest.mark.x64
@pytest.mark.parametrize("estimand", ["att", "ate"])
@pytest.mark.parametrize("name", METHODS)
def test_the_sets_are_those_of_the_groups(name, estimand):
    method, apart = METHODS[name]
    if estimand == "ate" and getattr(method, "replace", True) is False:
        pytest.skip("partners without replacement are for one arm")
    sample = draw_sample(1, n=150, p=2, weight=1.0 + np.arange(150) % 3)
    matching = jc.match(sample, method, estimand=estimand)
    label, wanted = matching.matched_sets(), sets_by_hand(matching)
    assert (wanted is not None) == apart == (label is not None)
    if apart:
        assert {frozenset(np.flatnonzero(label == k).tolist()) for k in range(label.max() + 1)} == (
            wanted
        )


def test_numbers_of_sets_are_exact_in_float32_beyond_what_it_can_count():
    number = np.array([0, 5, 1023, 1024, 2**24 + 1, 2**25 + 77])
    brought = (in_digits(number) * 0.3).astype(np.float32).astype(float)
    assert of_digits(np.vstack([brought, np.zeros(3)])).tolist() == [*number.tolist(), -1]
