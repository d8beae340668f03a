"""Averages by group and risk ratios against single groups, formulas written out, and loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample, wavy
from test_infer import averaged, written_out

import jcausal as jc
from jcausal.cli._report import _group_words
from jcausal.matching.boxes._edges import Edges

AVERAGES = [jc.AbadieImbens(), jc.AbadieImbens(target="sample"), jc.Bootstrap(draws=40)]
N = 48


def binary_sample(seed=0):
    sample = draw_sample(seed, n=N)
    return sample.with_outcome((np.asarray(sample.y) > 0.7).astype(float))


@pytest.fixture(scope="module")
def effects(surface):
    sample = draw_sample(1, n=N)
    return jc.estimate(sample, jc.FastAHB(outcome=surface), folds=1)


@pytest.fixture(scope="module")
def risks(surface):
    return jc.estimate(binary_sample(), jc.FastAHB(outcome=surface, min_controls=4), folds=1)


@pytest.mark.extended
@pytest.mark.parametrize("method", AVERAGES, ids=lambda m: m.words + m.target)
def test_a_row_of_the_table_is_the_interval_of_that_group_alone(effects, surface, method):
    sample = effects.sample
    labels = np.array(["high", "low"] * (N // 2))
    labels[np.flatnonzero(np.asarray(sample.t))] = ["low", "high"] * 8
    found = jc.interval(effects, method, by=labels, key=7)
    frame, table = found.to_frame(), effects.cate(labels)
    columns = ["group", "queries", "matched", "estimate", "std_error", "lower", "upper"]
    assert frame.columns.tolist() == [*columns, "pooled", "level", "target"]
    assert (frame["group"] == table["group"]).all() and (frame["queries"] == table["queries"]).all()
    assert (frame["matched"] == table["matched"]).all()
    np.testing.assert_allclose(frame["estimate"], table["effect"], rtol=1e-5)
    assert f"2 95% intervals of {method.target} average by group" in str(found)
    for i, label in enumerate(frame["group"]):
        rows = np.flatnonzero((labels == label) & np.asarray(sample.t))
        matching = jc.match(sample, jc.FastAHB(), surface=surface, query=rows)
        alone = jc.interval(jc.estimate(sample, matching), method, key=7)
        # lone units elsewhere change what stands in for a lone unit here, nothing else
        tolerance = 0.5 if bool(alone.pooled) else 1e-4
        np.testing.assert_allclose(frame["std_error"][i], alone.std_error, rtol=tolerance)
        np.testing.assert_allclose(frame["estimate"][i], alone.estimate, rtol=1e-4)


@pytest.mark.x64
def test_one_variance_of_all_pairs_is_that_of_every_group():
    """A group of everybody has the error of the average; sets that share no unit add up."""
    effects = jc.estimate(draw_sample(1, n=N), jc.NearestNeighbors(ratio=2))
    method = jc.AbadieImbens(variance_neighbors=0)
    whole = jc.interval(effects, method).std_error
    close(jc.interval(effects, method, by=np.zeros(N)).std_error, whole)
    halves = jc.interval(effects, method, by=np.arange(N) % 2)
    assert (halves.std_error > whole).all() and (halves.std_error < 3 * whole).all()


def test_a_group_without_bounds_says_why(effects):
    labels = np.zeros(N)
    labels[np.flatnonzero(np.asarray(effects.sample.t))[0]] = 1
    table = jc.interval(effects, jc.AbadieImbens(), by=labels).to_frame()
    assert table["reason"].tolist()[0] == "" and "fewer than two" in table["reason"].tolist()[1]
    words = _group_words(table)
    assert "NaN" not in words and "\nnone: fewer than two matched queries" in words


@pytest.mark.extended
def test_labels_missing_single_and_unmatched(effects):
    sample = effects.sample
    treated = np.flatnonzero(np.asarray(sample.t))
    labels = np.zeros(N)
    labels[treated[0]], labels[treated[1:4]] = np.nan, 2.0
    labels[np.flatnonzero(~np.asarray(sample.t))] = 9  # controls are not queried: no row
    status = effects.matching.status.at[1:4].set(int(jc.RESULTS.no_control._value))
    boxes = effects.matching  # and a copy of it in which three queries are unmatched
    where = (boxes.fold, boxes.query, boxes.query_fold, boxes.point)
    edges = Edges(boxes.lower_code, boxes.upper_code, boxes.open)
    matching = jc.matching.Boxes(sample, *where, edges, status, "att")
    some = jc.estimate(sample, matching)
    frame = jc.interval(some, jc.AbadieImbens(), by=labels).to_frame()
    table = some.cate(labels)
    assert frame["group"].tolist()[:2] == [0.0, 2.0] and np.isnan(frame["group"][2])
    assert frame["matched"].tolist() == table["matched"].tolist() == [12, 0, 1]
    np.testing.assert_allclose(frame["estimate"], table["effect"], rtol=1e-5)
    assert frame["std_error"].isna().tolist() == [False, True, True]
    assert "1 without bounds: fewer than two matched queries" in str(
        jc.interval(some, jc.AbadieImbens(), by=labels)
    )
    sample_error = jc.interval(some, jc.AbadieImbens(target="sample"), by=labels).std_error
    assert np.isnan(sample_error).tolist() == [False, True, False]


def test_by_and_measure_that_do_not_fit_are_refused(effects, risks, unchecked):
    with pytest.raises(ValueError, match="one interval a query, and by= asks for averages"):
        jc.interval(effects, jc.ConservativeNormal(), by="x0")
    with pytest.raises(ValueError, match="GComputation gives one interval of all matched units"):
        jc.interval(effects, jc.GComputation(), by="x0")
    with pytest.raises(ValueError, match="one interval a query, and measure= asks"):
        jc.interval(effects, jc.GroupBootstrap(), measure="ratio", key=0)
    with pytest.raises(ValueError, match="measure is 'odds'"):
        jc.interval(effects, jc.AbadieImbens(), measure="odds")
    with pytest.raises(ValueError, match=r"no covariate 'z': .* \(n,\), such as frame\['z'\]"):
        jc.interval(effects, jc.AbadieImbens(), by="z")
    with pytest.raises(ValueError, match=f"0 or 1, and {N} of {N} are others .rows 0, 1"):
        jc.interval(effects, jc.AbadieImbens(), measure="ratio")
    with pytest.raises(ValueError, match="are others"):
        _ = effects.risk0
    sample = risks.sample
    certain = sample.with_outcome(np.asarray(sample.t, float))
    none = jc.estimate(certain, risks.matching, adjust=None)
    assert float(none.risk0) == 0 and float(none.risk1) == 1
    with pytest.raises(ValueError, match="risk0 is 0, so the risk ratio has no value"):
        _ = none.risk_ratio
    with pytest.raises(ValueError, match="risk0 is 0, so its logarithm"):
        jc.interval(none, jc.AbadieImbens(), measure="ratio")
    with pytest.raises(ValueError, match="risk0 is 0 in group 0 and 1 more"):
        jc.interval(none, jc.AbadieImbens(), measure="ratio", by=np.arange(N) % 2)
    assert "ratio none, since the first is 0" in none.summary()


@pytest.mark.parametrize("adjusted", [True, False])
def test_risks_are_means_over_the_matched(risks, adjusted):
    risks = risks if adjusted else risks.unadjusted
    low, high = np.nanmean(risks.y0), np.nanmean(risks.y1)
    found = [risks.risk0, risks.risk1, risks.risk_difference, risks.risk_ratio]
    np.testing.assert_allclose(found, [low, high, high - low, high / low], rtol=1e-5)
    np.testing.assert_allclose(risks.risk_difference, risks.att, rtol=1e-5)
    text = risks.summary()
    assert f"risk {low:.4g} without treatment" in text and f"ratio {high / low:.4g}" in text


@pytest.mark.parametrize("adjust", ["auto", pytest.param(None, marks=pytest.mark.extended)])
@pytest.mark.parametrize(
    "target", ["population", pytest.param("sample", marks=pytest.mark.extended)]
)
def test_the_ratio_varies_as_the_linear_form_of_its_logarithm(risks, target, adjust):
    """The delta method by hand: outcomes over their arm's risk, in the formula for differences."""
    risks = risks.unadjusted if adjust is None else risks
    low, high = float(risks.risk0), float(risks.risk1)
    by = np.where(np.asarray(risks.sample.t), high, low)
    scaled = risks.sample.with_outcome(np.asarray(risks.sample.y) / by)
    model = None if adjust is None else (lambda x: wavy(x) / jnp.array([low, high]))
    form = jc.estimate(scaled, risks.matching, adjust=model)
    variance = written_out(scaled, form, 1, target, averaged(risks.sample, adjust) / by)
    found = jc.interval(risks, jc.AbadieImbens(target=target), measure="ratio")
    np.testing.assert_allclose(found.std_error, np.sqrt(variance), rtol=2e-3)
    np.testing.assert_allclose(found.estimate, high / low, rtol=1e-5)
    width = np.exp(1.959964 * np.sqrt(variance))
    np.testing.assert_allclose(found.upper, high / low * width, rtol=5e-3)
    np.testing.assert_allclose(found.lower, high / low / width, rtol=5e-3)
    assert f"{target} risk ratio, Abadie-Imbens" in str(found) and str(found) in risks.summary(
        found
    )
    method = jc.Bootstrap(draws=40, target=target)
    drawn = jc.interval(risks, method, measure="ratio", key=0)
    np.testing.assert_allclose(
        drawn.std_error, jc.interval(form, method, key=0).std_error, rtol=1e-3
    )


@pytest.mark.extended
def test_ratios_by_group_and_under_jit(risks):
    labels = np.arange(N) % 2
    table = jc.interval(risks, jc.AbadieImbens(), by=labels, measure="ratio").to_frame()
    query = np.asarray(risks.matching.query)
    for group in (0, 1):
        mine = labels[query] == group
        ratio = np.mean(np.asarray(risks.y1)[mine]) / np.mean(np.asarray(risks.y0)[mine])
        np.testing.assert_allclose(table["estimate"][group], ratio, rtol=1e-5)

    def traced(y, adjust="auto"):
        sample = risks.sample.with_outcome(y)
        again = jc.estimate(sample, risks.matching, adjust=adjust, throw=False)
        made = jc.interval(again, jc.AbadieImbens(), by=labels, measure="ratio")
        return made.lower, made.upper, again.risk_ratio

    lower, upper, ratio = jax.jit(traced)(risks.sample.y)
    np.testing.assert_allclose(lower, table["lower"], rtol=1e-3)
    np.testing.assert_allclose(upper, table["upper"], rtol=1e-3)
    np.testing.assert_allclose(ratio, risks.risk_ratio, rtol=1e-5)
    assert np.isnan(jax.jit(traced)(risks.sample.y + 0.5)[2])
    certain = jnp.asarray(risks.sample.t, jnp.float32)
    assert np.isnan(jax.jit(partial(traced, adjust=None))(certain)[2])
