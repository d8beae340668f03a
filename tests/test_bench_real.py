"""The arithmetic of the bench of real data: questions, peers, coverage, the command's seconds."""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample

import jcausal as jc

data = pytest.importorskip("bench._real_data", reason="the bench is not part of the wheel")
peers = pytest.importorskip("bench._real_peers", reason="the bench is not part of the wheel")
coverage = pytest.importorskip("bench._coverage", reason="the bench is not part of the wheel")
averages = pytest.importorskip("bench.coverage", reason="the bench is not part of the wheel")
units = pytest.importorskip("bench._coverage_units", reason="the bench is not part of the wheel")
real = pytest.importorskip("bench.real", reason="the bench is not part of the wheel")
speed = pytest.importorskip("bench._real_speed", reason="the bench is not part of the wheel")

LINEAR = jc.FastAHB(outcome=jc.Ridge())


def there(name):
    """Skip where a file is not beside the repository."""
    return pytest.mark.skipif(not (data.DATA / name).exists(), reason=f"{name} is not there")


def question(**changes):
    """A question about a small sample."""
    asked = data.Question("q", draw_sample(0), "2", (2.0, 2.5), (1.0, 3.0))
    return asked._replace(**changes)


def answer(att, error=1.0, **more):
    return peers.normal(att, error)._replace(**more)


@there("nhefs.csv.gz")
def test_nhefs_is_that_of_the_book():
    table = data.nhefs()
    sample = table.sample()
    assert sample.n == 1566 and int(sample.t.sum()) == 403
    kinds = dict(zip(sample.schema.names, sample.schema.kinds))
    assert {name for name, kind in kinds.items() if kind == "binary"} == {"sex", "race"}
    assert {name for name, kind in kinds.items() if kind == "category"} == set(table.categorical)
    assert peers.difference(sample, 0).att == pytest.approx(2.5406, abs=1e-4)
    words = table.words(Path("nhefs.csv"))
    assert words[:5] == ["nhefs.csv", "--treatment", "qsmk", "--outcome", "wt82_71"]
    assert words[words.index("--covariates") + 1 : words.index("--categorical")] == list(data.NHEFS)


@there("rhc.csv.gz")
def test_right_heart_catheterisation_has_nothing_of_later_days():
    table = data.rhc()
    assert len(table.covariates) == 53 and {"surv2md1", "das2d3pc"} < set(table.covariates)
    assert not {"death", "t3d30", "dth30", "swang1", "ptid", "sadmdte"} & set(table.covariates)
    assert int(table.frame["wtkilo1"].isna().sum()) == 515 and table.frame["wtkilo1"].min() > 0
    sample = table.sample()
    assert sample.n == 5735 and int(sample.t.sum()) == 2184
    rates = [float(np.asarray(sample.y)[np.asarray(sample.t) == arm].mean()) for arm in (1, 0)]
    assert rates == pytest.approx([0.3800, 0.3064], abs=1e-4)
    assert {"wtkilo1 missing", "adld3p missing", "urin1 missing"} < set(sample.schema.names)


@there("twins.csv.gz")
def test_of_twins_both_outcomes_are_known():
    sample, att = data.twins()
    frame = pd.read_csv(data.DATA / "twins.csv.gz")
    heavier = np.asarray(sample.t)
    died0, died1 = (np.asarray(frame[name] != data.ALIVE) for name in ("days0", "days1"))
    np.testing.assert_array_equal(np.asarray(sample.y), np.where(heavier, died1, died0))
    assert att == pytest.approx(died1[heavier].mean() - died0[heavier].mean())
    assert peers.difference(sample, 0).lower > 0 > att  # confounded as drawn
    assert data.twins()[1] == att != data.twins(1)[1]


def test_sets_that_are_not_there_are_skipped_with_the_reason(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(data, "DATA", tmp_path)
    found = list(data.questions(["nhefs", "psid", "rhc"]))
    assert [one.source for one in found] == ["psid"] * 3
    said = capsys.readouterr().out
    assert "nhefs: skipped, nhefs.csv.gz is not in ../shared/data" in said and "rhc" in said
    effect, *placebos = found
    assert effect.published == (1794.34, 1794.34) and effect.accept == (900, 2700)
    assert all(one.published == (0, 0) and one.truth.startswith("0") for one in placebos)


def test_features_are_levels_but_the_first_and_gaps_at_the_mean():
    frame = pd.DataFrame(
        dict(t=[0, 1, 0, 1], y=[1.0, 2, 3, 4], c=list("abca"), z=[1.0, 2, np.nan, 6])
    )
    sample = jc.Sample.from_frame(
        frame, treatment="t", outcome="y", categorical=["c"], missing="indicator"
    )
    found = {tuple(column) for column in peers.featured(sample).points.T}
    # level c is the row with the gap: its column and the flag are one
    assert found == {(0, 1, 0, 0), (0, 0, 1, 0), (1, 2, 3, 6)}


def test_regression_is_least_squares_with_hc1():
    sample = draw_sample(3, n=80, p=2, category=3)
    t, y = np.asarray(sample.t, float), np.asarray(sample.y, float)
    x = np.column_stack([np.ones(80), t, peers.featured(sample).points])
    bread = np.linalg.inv(x.T @ x)
    slope = bread @ x.T @ y
    rest = y - x @ slope
    variance = bread @ (x.T * rest**2) @ x @ bread * 80 / (80 - x.shape[1])
    one = peers.regression(sample, 0)
    assert one.att == pytest.approx(slope[1], rel=1e-6)
    assert one.error == pytest.approx(np.sqrt(variance[1, 1]), rel=1e-6)
    assert one.upper - one.lower == pytest.approx(2 * 1.959964 * one.error)


def test_difference_and_weighting_by_hand():
    sample = draw_sample(5, n=90)
    t, y = np.asarray(sample.t), np.asarray(sample.y, float)
    one = peers.difference(sample, 0)
    assert one.att == pytest.approx(y[t].mean() - y[~t].mean())
    assert one.error == pytest.approx(np.sqrt(y[t].var(ddof=1) / 30 + y[~t].var(ddof=1) / 60))
    weighted, own = peers.weighting(sample, 0), peers.m5.weighting(sample, 0)
    assert weighted.att == pytest.approx(own.att, abs=1e-6) and weighted.att != one.att


def test_the_score_stands_apart_from_the_covariates():
    table = pd.DataFrame(
        dict(smd_before=[-0.5, 0.2, -0.4], smd_after=[0.1, 0.1, 0.0]),
        index=["prognostic score", "age", "sex"],
    )
    found = peers.balance(table)
    assert (found["score_before"], found["score_after"]) == (-0.5, 0.1)
    assert (found["smd_before"], found["smd_after"]) == pytest.approx((0.3, 0.05))
    assert np.isnan(peers.balance(table.iloc[1:])["score_before"])


@pytest.mark.extended
def test_matched_groups_are_told_with_their_interval():
    sample = draw_sample(1, n=60)
    one = peers.by_matching(LINEAR)(sample, 0)
    effects = jc.estimate(sample, LINEAR, key=0)
    assert one.att == pytest.approx(float(effects.att), rel=1e-6) and one.matched == 1
    assert one.lower < one.att < one.upper and one.seconds > 0 and one.smd_before > 0


def test_a_line_tells_medians_and_how_many_hold():
    found = [answer(2.0, 0.1, second=1.0), answer(5.0, 0.2, second=3.0), answer(2.4, 0.3)]
    assert [peers.holds(one, (2.0, 2.5)) for one in found] == [True, False, True]
    row, kept = peers.line(question(), "M", found, "")
    assert row["estimate"] == 2.4 and row["interval"] == "1.81 to 2.99"
    assert row["intervals that hold it"] == row["estimates that agree"] == "2 of 3"
    assert row["mean error"] == pytest.approx(0.2) and row["second opinion"] == 2
    assert (row["5%"], row["95%"]) == pytest.approx((2.04, 4.74))
    assert len(kept["answers"]) == 3 and kept["answers"][1]["att"] == 5
    without, _ = peers.line(question(published=None, accept=None), "M", found[:1], "")
    assert "intervals that hold it" not in without and np.isnan(without["5%"])
    assert peers.line(question(), "M", [], "why")[0] == dict(method="M", note="why")


def test_methods_that_draw_are_asked_many_times_and_slow_ones_apart(monkeypatch):
    asked = []

    def ask(sample, seed):
        asked.append(seed)
        return answer(1.0)

    made = dict(one=peers.Method(ask), many=peers.Method(ask, draws=True))
    made["slow"] = peers.Method(ask, draws=True, apart=True)
    monkeypatch.setattr(peers, "methods", lambda: made)
    monkeypatch.setattr(peers, "apart", lambda q, m, seed, limit: "late" if seed else answer(1.0))
    few = question(partitions=2)
    for asked_of, name, wanted in ((few, "one", [0]), (few, "many", [0, 1])):
        asked.clear()
        found, note = peers.answers(asked_of, name, 5, 1.0)
        assert asked == wanted and len(found) == len(wanted) and note == ""
    found, note = peers.answers(question(), "slow", 5, 1.0)
    assert len(found) == 1 and note == "partition 2: late"
    made["refusing"] = peers.Method(lambda sample, seed: jc.Sample(sample.x, sample.t[:3]))
    assert peers.answers(question(), "refusing", 1, 1.0)[1].startswith("partition 1: DataError: ")


@pytest.mark.extended
def test_a_process_of_its_own_answers_or_is_ended(monkeypatch, repository_on_path):
    monkeypatch.chdir(Path(peers.__file__).parents[1])
    effect = next(data.questions(["psid"]))
    one = peers.apart(effect, "difference of means", 0, 120)
    assert one.att == pytest.approx(-15204.78, abs=0.01) and one.seconds > 0
    assert peers.apart(effect, "difference of means", 0, 0.01) == "no answer in 0 s"
    assert "'no such method'" in peers.apart(effect, "no such method", 0, 120)


@pytest.mark.extended
def test_processes_treat_as_they_say_and_know_their_average_effect():
    for name, process in coverage.PROCESSES.items():
        sample = coverage.draw(process, 4000, jax.random.key(0))
        assert 0.15 < float(sample.t.mean()) < 0.6 and sample.p == process.p, name
        own = np.asarray(process.effect(sample.x))[np.asarray(sample.t)].mean()
        assert coverage.truth(name) == pytest.approx(own, abs=0.06), name
    assert coverage.truth("linear") == pytest.approx(1)
    assert coverage.truth("quad, heterogeneous") > 1.55  # 1.5 without confounding


@pytest.mark.extended
@pytest.mark.x64
def test_every_reading_of_the_effects_has_every_interval():
    sample, key = draw_sample(1, n=60), jax.random.key(0)
    ask = coverage.Study(
        lambda _: (sample, jnp.asarray(2.0)), 60, 3, coverage.Case(LINEAR), coverage.BOTH
    )
    found = coverage.measure(ask, key)
    assert list(found) == ["adjusted/Abadie-Imbens/sample", "adjusted/Abadie-Imbens/population"]
    effects = jc.estimate(sample, LINEAR, key=key)
    for name, interval in coverage.BOTH.items():
        bounds = jc.interval(effects, interval)
        wanted = [bounds.estimate, bounds.std_error, bounds.lower, bounds.upper, 2]
        np.testing.assert_allclose(found[f"adjusted/{name}"], wanted, rtol=1e-5)


@pytest.mark.extended
@pytest.mark.x64
def test_data_sets_together_are_those_one_by_one(monkeypatch):
    def differ(study, key):
        sample, target = study.make(key)
        shares = [jnp.where(sample.t == arm, 1, 0) for arm in (True, False)]
        mean1, mean0 = ((share * sample.y).sum() / share.sum() for share in shares)
        gap, error = mean1 - mean0, 0.1 + jnp.abs(sample.y[0])
        return {"adjusted/i/sample": jnp.stack([gap, error, gap - error, gap + error, target])}

    monkeypatch.setattr(coverage, "measure", differ)
    monkeypatch.setattr(coverage, "MAX_BYTES", 2 * 16 * 2 * 40**2)  # two at a time

    def make(key):
        data = jc.simulate.ahb_table2("box/box", key=key, n=40)
        return data.sample, data.att

    ask = coverage.Study(make, 40, 2, coverage.Case(LINEAR), {})
    keys = jax.random.split(jax.random.key(40), 5)
    both = [way(ask, keys)["adjusted/i/sample"] for way in (coverage.together, coverage.one_by_one)]
    assert both[0].shape == (5, 5) and np.unique(both[0]).size == 25
    np.testing.assert_allclose(*both, rtol=1e-5)
    records = coverage.records_of(ask, dict(data="d"), 5)
    estimate, error, _, _, target = both[0].T
    found = pd.DataFrame(records)
    np.testing.assert_allclose(found["bias"], estimate - target, atol=1e-5)
    np.testing.assert_array_equal(found["covered"], np.abs(estimate - target) <= error)
    assert set(found["n"]) == {40} and set(found["target"]) == {"sample"}


def test_the_table_of_coverage_by_hand():
    about = dict(data="d", n=5, method="M", reading="adjusted", interval="i", target="population")
    bias, covered = [0.1, -0.1, 0.3, 0.1], [1, 1, 0, 1]
    records = pd.DataFrame(dict(bias=bias, covered=covered, error=0.2, seconds=1.0)).assign(**about)
    [line] = coverage.table(records).to_dict("records")
    assert line["coverage of 95%"] == "0.750 (0.217)" and line["93% to 97%"] == "yes"
    assert line["bias"] == pytest.approx(0.1) and line["rmse"] == pytest.approx(0.03**0.5)
    assert line["mean error / sd"] == pytest.approx(0.2 / np.std(bias, ddof=1))
    [line] = coverage.table(pd.concat([records] * 40)).to_dict("records")
    assert (line["sets"], line["93% to 97%"]) == (160, "no")


def test_coverage_of_units_goes_by_runs():
    covered = np.array([1.0, 1.0, 0.0, 1.0, np.nan])
    seen = pd.DataFrame(dict(seed=[0, 0, 1, 1, 1], covered=covered))
    mean, error = units.clustered(seen)
    assert mean == 0.75
    assert error == pytest.approx(np.sqrt(2 * (0.5**2 + 0.5**2)) / 4)  # sums .5 and -.5


def test_coverage_is_refused_on_either_side_and_over_all_rows():
    assert coverage.outside(950, 1000) == 1
    assert coverage.outside(890, 1000) < 1e-4 > coverage.outside(1000, 1000)
    assert coverage.outside(928, 1000) > 0.1
    p_values = np.array([0.0049, 0.5, 0.0051, 0.001])
    np.testing.assert_array_equal(coverage.refused(p_values), [False, False, False, True])
    np.testing.assert_array_equal(coverage.refused(p_values[[1, 2]]), [False, False])
    np.testing.assert_array_equal(coverage.refused(np.array([0.009])), [True])


def test_parts_are_chosen_by_name_or_by_beginning():
    assert averages.chosen(None, False) == list(averages.PARTS)
    assert averages.chosen(["trees-300", "figure9"], True) == ["figure9", "trees-300"]
    assert set(averages.QUICK) < set(averages.PARTS)
    assert averages.chosen(["m5"], False) == list(averages.ROWS)
    assert list(averages.ROWS.values()) == ["s1/conf", "s1/rand", "s2", "s3"]


def test_a_part_is_run_alone_with_all_its_rows():
    asked = argparse.Namespace(quick=False, runs=None, partitions=20, limit=60, sets=["nhefs"])
    asked.methods = list(real.METHODS)
    for part in averages.AVERAGES:
        head, job, columns = averages._jobs(part, asked)
        assert head and callable(job) and len({len(column) for column in columns}) == 1, part
    assert len(averages._jobs("table2-paper", asked)[2][0]) == 9
    assert averages._jobs("trees-1000", asked)[2][1] == [1000] * 5
    words = "python -m bench real --parts estimates --sets nhefs --limit 60"
    assert real.command(asked, "estimates") == words


def test_a_process_is_timed_its_memory_seen_and_its_failure_told(tmp_path):
    hold = "import time; x = bytearray(300_000_000); x[::4096] = b'1' * len(x[::4096])"
    one = speed.run_apart([sys.executable, "-c", f"{hold}; time.sleep(.3)"], tmp_path, 60)
    assert one.words == "" and 0.3 < one.seconds < 60 and 0.3 < one.memory < 1
    failed = speed.run_apart([sys.executable, "-c", "raise SystemExit('no file')"], tmp_path, 60)
    assert failed.words == "no file"
    late = speed.run_apart([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.5)
    assert late.words == "no answer in 0 s" and late.seconds == 0.5
    told = "import os; raise SystemExit(os.environ['XDG_CACHE_HOME'])"
    assert speed.run_apart([sys.executable, "-c", told], tmp_path, 60).words == str(tmp_path)


def test_both_runs_of_a_work_are_timed_apart(tmp_path, monkeypatch):
    done = []
    monkeypatch.setitem(speed.PYTHON, "a work", lambda: lambda: done.append(1))
    speed.main("a work", str(tmp_path / "told"))
    first, second = json.loads((tmp_path / "told").read_text())
    assert len(done) == 2 and first >= 0 and second >= 0
    assert set(speed.QUICK) < set(speed.WORKS)
