"""Statistics of balance against MatchIt's numbers and by brute force; several matchings, groups."""

import dataclasses
import gzip
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, shared

import jcausal as jc

GOLDENS = Path(__file__).parent / "goldens" / "balance.json.gz"
NAMES = {"Std. Mean Diff.": "smd", "Var. Ratio": "vr", "eCDF Mean": "ecdf_mean", "eCDF Max": "ks"}
OURS = {"raceblack": "race: black", "racehispan": "race: hispan", "racewhite": "race: white"}


@pytest.fixture(scope="module")
def golden():
    return json.loads(gzip.decompress(GOLDENS.read_bytes()))


@pytest.fixture(scope="module")
def weighting():
    """A weighting of lalonde_matchit, whose weights the tests replace."""
    frame = pd.read_csv(shared("lalonde_matchit.csv")).drop(columns="id")
    sample = jc.Sample.from_frame(frame, treatment="treat", outcome="re78", categorical=["race"])
    return jc.estimate(sample, jc.IPTW())


def weighted(average, weight, estimand="att"):
    weight = jc.data.to_device(np.asarray(weight, average.unit_weight.dtype))
    return dataclasses.replace(average, unit_weight=weight, estimand=estimand)


def our_label(name):
    parts = [OURS.get(part.removesuffix("²"), part.removesuffix("²")) for part in name.split(" * ")]
    return " * ".join(parts) + "^2" * name.endswith("²")


@pytest.mark.x64
@pytest.mark.parametrize("name", ["nearest", "replaced", "coarsened"])
def test_matchit_says_the_same(golden, weighting, name):
    """Means, SMD, VR, eCDF mean and max, of squares and interactions too; effective sizes."""
    told = golden[name]
    found = weighted(weighting, told["weight"], told["estimand"].lower())
    table = jc.balance(
        found.sample,
        found,
        statistics=["smd", "vr", "ks", "ecdf_mean"],
        squares=True,
        interactions=True,
        binary="std",
    )
    assert len(told["rows"]) == len(table) == 46
    ours = table.loc[[our_label(row) for row in told["rows"]]]
    for when in ("before", "after"):
        for theirs, mine in NAMES.items():
            expected = [np.nan if v is None else v for v in told[when][theirs]]
            # products of a share and a number have variance ratios; of two shares none
            close(ours[f"{mine}_{when}"], expected, rtol=2e-6, atol=1e-7, err_msg=theirs)
    close(ours["mean_control_matched"], told["after"]["Means Control"], rtol=2e-6)
    close(ours["mean_treated"], told["before"]["Means Treated"], rtol=2e-6)
    sizes = jc.diagnostics.sample_sizes(found.sample, found)
    for theirs, mine in {"All": "units", "Matched": "weighted", "Unmatched": "unweighted"}.items():
        assert sizes[mine].tolist() == told["sizes"][theirs]
    close(sizes["effective_after"], told["sizes"]["Matched (ESS)"], rtol=2e-6)
    close(table.attrs["ess_control_after"], told["sizes"]["Matched (ESS)"][0], rtol=2e-6)


@pytest.fixture(scope="module")
def mixed():
    """A number with gaps, a binary and a category, with sampling weights; and a matching."""
    rng = np.random.default_rng(0)
    n = 90
    number = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 9, n))
    frame = pd.DataFrame(dict(t=rng.random(n) < 0.4, number=number, smokes=rng.integers(0, 2, n)))
    frame["town"] = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    frame["w"] = rng.random(n) + 0.5
    frame["y"] = rng.normal(size=n)
    roles = dict(treatment="t", outcome="y", weight="w", categorical=["town"])
    sample = jc.Sample.from_frame(frame, **roles, missing="indicator")
    return sample, jc.match(sample, jc.CEM(bins=2))


def column_of(sample, label):
    """The values of one row of the table, and whether they are 0 and 1."""
    labels, columns, shares = jc.data.readable_columns(sample)
    parts = label.removesuffix("^2").split(" * ")
    values = np.prod([columns[:, labels.index(part)] for part in parts], axis=0)
    if label.endswith("^2"):
        values = values**2
    return values, all(shares[labels.index(part)] for part in parts)


def by_hand(x, t, w, before, share):
    """SMD for ATT, KS and mean gap of one column, by the formulas and one value after another."""
    use = ~np.isnan(x) & (before > 0)
    x, t, w, before = x[use], t[use], w[use], before[use]
    means = [np.average(x[t == a], weights=w[t == a]) for a in (False, True)]
    centre, total = np.average(x[t], weights=before[t]), before[t].sum()
    spread = (before[t] * (x[t] - centre) ** 2).sum() / (total - (before[t] ** 2).sum() / total)
    gaps = [
        abs(np.average(x[t] <= v, weights=w[t]) - np.average(x[~t] <= v, weights=w[~t]))
        for v in np.unique(x)
    ]
    scale = 1 if share else np.sqrt(spread)
    return (means[1] - means[0]) / scale, max(gaps), max(gaps) if share else np.mean(gaps)


@pytest.mark.x64
def test_every_row_by_brute_force(mixed):
    sample, matching = mixed
    asked = dict(statistics=["smd", "ks", "ecdf_mean"], squares=True, interactions=True)
    table = jc.balance(sample, matching, **asked)
    assert "number^2" in table.index and "smokes^2" not in table.index
    plain = ["number", "number missing", "smokes", "town: a", "town: b", "town: c"]
    apart = [
        {"number", "number missing"},
        *({f"town: {a}", f"town: {b}"} for a, b in combinations("abc", 2)),
    ]
    pairs = [p for p in combinations(table.index[:6], 2) if set(p) not in apart]
    assert sorted(table.index[:6]) == sorted(plain)
    assert table.index[6:].tolist() == ["number^2", *(" * ".join(p) for p in pairs)]
    t, before = np.asarray(sample.t), np.asarray(sample.weight, float)
    after = np.asarray(matching.matched_weights(), float)
    for label, row in table.iterrows():
        x, share = column_of(sample, label)
        for when, weight in (("before", before), ("after", after)):
            found = [row[f"{name}_{when}"] for name in ("smd", "ks", "ecdf_mean")]
            close(found, by_hand(x, t, weight, before, share), atol=1e-6)


def test_several_in_one_frame_are_what_each_is_alone(mixed):
    sample, cem = mixed
    several = {
        "CEM": cem,
        "weights": jc.estimate(sample, jc.IPTW()),
        "guided": jc.estimate(sample, jc.AHB(outcome=jc.Ridge(), min_controls=2), key=0),
    }
    table = jc.balance(sample, several)
    assert list(table.columns[:2]) == ["method", "covariate"] and table.columns[-1] == "ok"
    assert table.groupby("method", sort=False).size().tolist() == [6, 6, 7]
    for name, one in several.items():
        alone = jc.balance(sample, one).reset_index()
        ours = table[table["method"] == name].drop(columns="method").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours[alone.columns], alone)
    assert table["covariate"][12] == "prognostic score"
    sizes = jc.diagnostics.sample_sizes(sample, several)
    assert sizes["method"].tolist() == [name for name in several for _ in range(2)]
    unmatched = int((~np.asarray(cem.matched)).sum())
    assert sizes["reasons"][1].startswith(f"{unmatched}: ") == (unmatched > 0)


@pytest.mark.x64
def test_groups_are_parts_of_the_sample(mixed):
    """Each group's table is that of its own units, but for the SMD's denominator."""
    sample, cem = mixed
    table = jc.balance(sample, cem, by="town", statistics=["smd", "ks"])
    whole = jc.balance(sample, cem)
    assert list(table.columns[:2]) == ["group", "covariate"]
    assert table["group"].drop_duplicates().tolist() == ["a", "b", "c"]
    number = whole.loc["number"]
    scale = (number["mean_treated"] - number["mean_control"]) / number["smd_before"]
    town, t = sample.points[:, sample.schema.names.index("town")], np.asarray(sample.t)
    x, w = sample.points[:, 0], np.asarray(cem.matched_weights(), float)
    for code, label in enumerate("abc"):
        use = (town == code) & ~np.isnan(x)
        means = [np.average(x[use & (t == a)], weights=w[use & (t == a)]) for a in (0, 1)]
        row = table[(table["group"] == label) & (table["covariate"] == "number")]
        close(row["smd_after"], (means[1] - means[0]) / scale, rtol=1e-5)
    strata = jc.balance(sample, cem, by="stratum")
    held = strata[strata["covariate"] == "town: b"]
    inside = held[held["mean_treated_matched"].notna() & held["mean_control_matched"].notna()]
    assert len(inside) and (inside["smd_after"].abs() < 1e-9).all()  # exact within strata
    labels = np.where(town == 0, "first", "other")
    assert set(jc.balance(sample, cem, by=labels)["group"]) == {"first", "other"}


def median_gap(column):
    """Weighted medians' difference: a statistic of a user's own."""
    found = []
    for values, weight in column.arms:
        place = np.searchsorted(np.cumsum(weight) / weight.sum(), 0.5)
        found.append(values[min(place, len(values) - 1)])
    return found[1] - found[0]


def test_a_statistic_of_ones_own(weighting):
    table = jc.balance(weighting.sample, weighting, statistics=["smd", median_gap])
    assert list(table.columns[4:]) == [
        *("smd_before", "smd_after", "median_gap_before", "median_gap_after", "ok")
    ]
    x, t = weighting.sample.points[:, 0], np.asarray(weighting.sample.t)
    low = [np.sort(x[t == a])[int(np.ceil(0.5 * (t == a).sum())) - 1] for a in (0, 1)]
    assert table.loc["age", "median_gap_before"] == low[1] - low[0]


def test_padding_row_order_and_thresholds(mixed):
    sample, cem = mixed
    turned = sample.take(np.arange(sample.n)[::-1])
    one, two = (
        jc.balance(s, m, squares=True)
        for s, m in ((sample, cem), (turned, jc.match(turned, jc.CEM(bins=2))))
    )
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)  # weights are float32
    wide = jc.balance(sample, cem, threshold=5.0, statistics=["smd"])
    assert wide["ok"].all() and "ok" not in jc.balance(sample, cem, statistics=["ks"])


def test_bad_input_is_one_sentence(mixed, weighting, unchecked):
    sample, cem = mixed
    for options, words in (
        (dict(statistics=["sdm"]), "there is no statistic 'sdm'"),
        (dict(statistics="smd"), "write a list"),
        (dict(statistics=[]), "statistics is empty"),
        (dict(statistics=["ks", "ks"]), "holds 'ks' twice"),
        (dict(statistics=[lambda c: 0.0]), "give words or functions with a name"),
        (dict(binary="sd"), "use 'raw' or 'std'"),
        (dict(by="leaf"), "no covariate and no group of this matching: use one of 'stratum'"),
        (dict(by=[1, 2]), "by has shape"),
        (dict(threshold=0), "must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.balance(sample, cem, **options)
    with pytest.raises(ValueError, match="empty mapping"):
        jc.balance(sample, {})
    with pytest.raises(ValueError, match="balance of 'x' takes a jc.matching.Matching"):
        jc.balance(sample, {"x": sample})
    with pytest.raises(ValueError, match="named 1"):
        jc.balance(sample, {1: cem})
    with pytest.raises(ValueError, match="other rows"):
        jc.balance(sample, {"CEM": cem, "weights": weighting})


def test_no_matched_units_have_no_balance():
    sample = draw_sample(0, n=30)
    far = jc.match(sample, jc.NearestNeighbors(caliper={"x0": 1e-9}), throw=False)
    table = jc.balance(sample, far)
    assert table["smd_after"].isna().all() and not table["ok"].any()
    assert table["smd_before"].notna().all()
