"""Methods side by side: each row is what the method itself says, refusals are told."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import close, draw_sample, wavy

import jcausal as jc

METHODS = {
    "boxes": jc.AHB(outcome=jc.Function(wavy)),
    "neighbours": jc.NearestNeighbors(),
    "weights": jc.IPTW(),
    "two models": jc.AIPW(outcome=jc.Ridge()),
}


def test_rows_are_what_the_methods_say():
    sample = draw_sample(3, n=150, p=2)
    table = jc.compare(sample, METHODS, key=1).set_index("method")
    assert list(table.index) == list(METHODS) and (table["note"] == "").all()
    for name in ("boxes", "neighbours"):
        effects = jc.estimate(sample, METHODS[name], key=1)
        bounds = jc.interval(effects, jc.AbadieImbens(), key=1)
        row = table.loc[name]
        close(row[["estimate", "lower", "upper"]], [bounds.estimate, bounds.lower, bounds.upper])
        balance = jc.balance(sample, effects)
        smd = balance.loc[["x0", "x1"], "smd_after"].abs()
        close(row["largest_smd"], smd.max(), rtol=1e-5)
        assert row["unbalanced"] == (smd >= 0.1).sum() and row["matched"] == 1
        close(row["effective_controls"], balance.attrs["ess_control_after"], rtol=1e-5)
    for name in ("weights", "two models"):
        average = jc.estimate(sample, METHODS[name], key=1)
        close(table.loc[name, "estimate"], average.average)
        close(table.loc[name, "upper"], average.bounds(0.95)[1])
    assert np.isnan(table.loc["two models", "largest_smd"])
    assert np.isfinite(table.loc["boxes", "drift"]) and np.isfinite(table.loc["boxes", "plain"])
    assert "truth" not in table


def test_with_a_truth_errors_are_told():
    data = jc.simulate.ahb_table2("box/box", key=0)
    table = jc.compare(data, {"neighbours": jc.NearestNeighbors(), "weights": jc.IPTW()})
    t, ite = np.asarray(data.sample.t), np.asarray(data.ite, float)
    row = table.set_index("method").loc["neighbours"]
    close(row["truth"], ite[t].mean(), rtol=1e-5)
    close(row["error"], row["estimate"] - ite[t].mean(), rtol=1e-4)
    assert row["covers"] == (row["lower"] <= row["truth"] <= row["upper"])
    effects = jc.estimate(data.sample, jc.NearestNeighbors())
    close(row["unit_error"], np.abs(np.asarray(effects.ite, float) - ite[t]).mean(), rtol=1e-4)


def test_a_refusal_is_a_note_and_the_others_stand():
    x = np.linspace(-1, 1, 80)
    sample = jc.Sample(x[:, None], x > 0, x)
    table = jc.compare(sample, {"CEM": jc.CEM(), "neighbours": jc.NearestNeighbors()})
    assert np.isnan(table.loc[0, "estimate"])
    assert "its stratum holds no unit of the other arm" in table.loc[0, "note"]
    assert np.isfinite(table.loc[1, "estimate"])
    wrong = jc.compare(sample, {"overlap": jc.OverlapWeights()})
    assert "use estimand='ato'" in wrong.loc[0, "note"]


def test_with_clusters_matchings_keep_their_rows():
    sample = draw_sample(3, n=90, p=2, cluster=np.arange(90) // 3)
    row = jc.compare(sample, {"neighbours": jc.NearestNeighbors()}, key=1).loc[0]
    effects = jc.estimate(sample, jc.NearestNeighbors(), key=1)
    bounds = jc.interval(effects, jc.Bootstrap(), key=1)
    close(row[["estimate", "lower", "upper"]], [bounds.estimate, bounds.lower, bounds.upper])
    assert row["note"] == ""


def test_an_interval_that_is_refused_costs_no_row(monkeypatch):
    from jcausal.diagnostics import _compare

    def refuse(*given, **options):
        raise ValueError("none fits.")

    sample, methods = draw_sample(3, n=90, p=2), {"neighbours": jc.NearestNeighbors()}
    whole = jc.compare(sample, methods).loc[0]
    monkeypatch.setattr(_compare, "interval", refuse)
    row = jc.compare(sample, methods).loc[0]
    assert row["note"] == "no interval: none fits." and np.isnan(row["upper"])
    assert row["estimate"] == whole["estimate"] and row["largest_smd"] == whole["largest_smd"]


def test_an_extra_that_is_missing_is_a_note(monkeypatch):
    from jcausal.diagnostics import _compare

    def lacks(*given, **options):
        raise ImportError('needs econml: pip install "jcausal[forest]".')

    monkeypatch.setattr(_compare, "estimate", lacks)
    row = jc.compare(draw_sample(3, n=90, p=2), {"neighbours": jc.NearestNeighbors()}).loc[0]
    assert np.isnan(row["estimate"]) and row["note"].startswith("needs econml")


def test_frames_progress_and_bad_input(unchecked):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(dict(a=rng.normal(size=60), t=np.arange(60) % 2, y=rng.normal(size=60)))
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y")
    told = []
    methods = {"one": jc.NearestNeighbors(), "two": jc.IPTW()}
    table = jc.compare(sample, methods, progress=lambda *each: told.append(each))
    assert isinstance(table, pl.DataFrame) and table["method"].to_list() == ["one", "two"]
    assert [one for one in told if ": " not in one[0]] == [("one", 0, 2), ("two", 1, 2)]
    with pytest.raises(ValueError, match="methods\\['x'\\] is no method"):
        jc.compare(sample, {"x": jc.Ridge()})
    with pytest.raises(jc.DataError, match="no outcome"):
        jc.compare(draw_sample(0, n=30, p=1, y=False))
    with pytest.raises(ValueError, match="compare"):
        jc.compare(frame)


def test_the_usual_methods_answer_on_the_experiment():
    table = jc.compare(jc.datasets.lalonde("experiment"), key=0)
    assert len(table) == 9 and (table["note"] == "").all()
    matched = table[table["method"] != "CEM"]
    assert matched["estimate"].between(900, 2700).all()


def test_the_usual_methods_of_those_alike_in_both_arms_answer():
    table = jc.compare(draw_sample(1, n=120, p=2), estimand="ato", key=0)
    assert np.isfinite(table["estimate"]).all() and (table["note"] == "").all()


def test_the_picture_has_a_line_a_method():
    import matplotlib.pyplot as plt

    table = pd.DataFrame(
        dict(method=["a", "b"], estimate=[1.0, np.nan], lower=[0.0, np.nan], upper=[2.0, np.nan])
    )
    ax = jc.plot.compare(table, truth=1.5, unit="$")
    assert [one.get_text() for one in ax.get_yticklabels()] == ["a", "b (none)"]
    assert ax.get_xlabel() == "effect, $"
    with pytest.raises(jc.DataError, match="no column lower, upper"):
        jc.plot.compare(table.drop(columns=["lower", "upper"]))
    plt.close("all")
