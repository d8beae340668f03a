"""jc.overlap: scores by arm, effective sizes, who is beyond the other arm, and the picture."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import close, draw_sample
from sklearn.tree import DecisionTreeClassifier

import jcausal as jc
from jcausal.surfaces import propensity_scores, shares_beyond


@pytest.fixture(scope="module")
def weighted():
    weight = np.random.default_rng(0).integers(0, 4, 160)
    return draw_sample(0, n=160, p=3, weight=weight), weight


@pytest.mark.x64
def test_the_table_by_hand(weighted):
    sample, weight = weighted
    found, t = jc.overlap(sample), np.asarray(sample.t)
    score = np.asarray(found.scores, np.float64)
    close(score, propensity_scores(sample), rtol=0, atol=0)
    table = found.to_frame()
    assert table.index.tolist() == ["controls", "treated"]
    for arm, word in ((False, "controls"), (True, "treated")):
        mine, copies = score[(t == arm) & (weight > 0)], np.repeat(score, weight)
        copies = copies[np.repeat(t, weight) == arm]
        row = table.loc[word]
        assert row["units"] == mine.size and row["min"] == mine.min() and row["max"] == mine.max()
        named = dict(q05=0.05, q25=0.25, median=0.5, q75=0.75, q95=0.95)
        for name, share in named.items():
            assert row[name] == np.quantile(copies, share, method="inverted_cdf")
        odds = np.where(t, 1, score / (1 - score)) * weight
        odds = odds[t == arm]
        close(row["effective"], odds.sum() ** 2 / (odds**2).sum(), rtol=1e-6)
    beyond = shares_beyond(found.scores, sample.t, sample.weight)
    close(table["beyond"], beyond, rtol=1e-5)


@pytest.mark.parametrize("estimand", ["atc", "ate"])
def test_the_weights_of_other_estimands(weighted, estimand):
    sample, weight = weighted
    found, t = jc.overlap(sample, estimand=estimand), np.asarray(sample.t)
    e = np.asarray(found.scores, np.float64)
    expected = np.where(t, (1 - e) / e, 1) if estimand == "atc" else 1 / np.where(t, e, 1 - e)
    close(found.weights, expected * weight, rtol=1e-6)
    assert f"weighted for {estimand.upper()} the controls" in str(found)


def test_copies_are_weights_and_padding_is_nobody(weighted):
    sample, weight = weighted
    rows = np.repeat(np.arange(160), weight)
    x, t = np.asarray(sample.points), np.asarray(sample.t)
    copied = jc.overlap(jc.Sample(x[rows], t[rows])).to_frame().drop(columns=["units", "effective"])
    plain = jc.overlap(sample).to_frame()[copied.columns]
    close(copied.drop(columns="beyond"), plain.drop(columns="beyond"), rtol=1e-3)
    used = np.arange(160) < 120
    padded = jc.overlap(sample.with_valid(jnp.asarray(used)))
    kept = jc.overlap(sample.take(np.arange(120)))
    close(padded.to_frame(), kept.to_frame(), rtol=1e-3)
    assert np.isnan(np.asarray(padded.scores)[120:]).all()


def test_the_words():
    experiment = jc.overlap(jc.datasets.lalonde("experiment"))
    said = str(experiment)
    assert said == experiment.summary() and "<table" in experiment._repr_html_()
    assert "260 controls: median 0.37" in said and "185 treated: median 0.4" in said
    assert "weighted for ATT the controls are as good as 218" in said and "rests" not in said
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    apart = jc.Sample(x, x[:, 1] > 0, names=["age", "pay", "size"])
    said = str(jc.overlap(apart))
    assert "'pay' tells them apart the most" in said and "above nearly all controls" in said
    assert "a weighted average rests on few controls" in said
    tree = jc.Propensity(classifier=DecisionTreeClassifier(random_state=0))
    split = (x[:, 1] + rng.normal(size=200) > 0) | (np.arange(200) < 3)
    low = jc.overlap(jc.Sample(x, split), propensity=tree, estimand="ate")
    assert np.isfinite(low.weights).all()  # a unit's own chance is 1 in a tree that knows it
    crossed = jc.Propensity(classifier=DecisionTreeClassifier(random_state=0), folds=2)
    wrong = jc.overlap(jc.Sample(x, split), propensity=crossed, key=0)
    assert "no weights for ATT: the chance is 0 or 1 for" in str(wrong)
    assert np.isnan(wrong.effective[0]) and wrong.effective[1] > 0


def test_frames_are_of_the_callers_kind():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(dict(a=rng.normal(size=50), t=np.arange(50) % 2))
    sample = jc.Sample.from_frame(pl.from_pandas(frame), treatment="t")
    table = jc.overlap(sample).to_frame()
    assert isinstance(table, pl.DataFrame) and table["arm"].to_list() == ["controls", "treated"]


def test_what_cannot_be_is_refused_in_a_sentence(unchecked):
    sample = draw_sample(3, n=40)
    for call, words in (
        (lambda: jc.overlap(np.zeros((3, 1))), "overlap takes a jc.Sample, not"),
        (lambda: jc.overlap(sample, propensity=0.1), "propensity takes a jc.Propensity, not"),
        (lambda: jc.overlap(sample, estimand="all"), "estimand is 'all': use 'att'"),
        (lambda: jc.overlap(sample, propensity=jc.Propensity(folds=2)), "give key= a JAX key"),
        (lambda: jc.overlap(sample.with_valid(~sample.t)), "there are no treated at all"),
        (lambda: jc.plot.overlap(sample), "plot.overlap takes a jc.diagnostics.Overlap, not"),
        (lambda: jc.plot.overlap(jc.overlap(sample), bins=0), "bins is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_the_picture_is_a_mirror_of_shares(weighted):
    sample, _ = weighted
    found = jc.overlap(sample)
    ax = jc.plot.overlap(found, bins=10)
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title().startswith("Overlap: ")
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(2, 10)
    close(heights.sum(1), [1, -1], rtol=1e-9)
    score, weights = found.of_arm(True)
    first = weights[score < 0.1].sum() / weights.sum()
    close(heights[0, 0] + 1, first + 1, rtol=1e-9)
    again = jc.plot.overlap(found, ax=ax)
    assert again is ax
    plt.close("all")
