"""The arithmetic of `bench methods`: means, ranks, losses, what is left to ask."""

import argparse
import json

import numpy as np
import pandas as pd
import pytest

import jcausal as jc

methods = pytest.importorskip("bench.methods", reason="the bench is not part of the wheel")
tables = pytest.importorskip("bench._methods_tables", reason="the bench is not part of the wheel")
asking = pytest.importorskip("bench._methods_ask", reason="the bench is not part of the wheel")
sizes = pytest.importorskip("bench._methods_sizes", reason="the bench is not part of the wheel")


def record(row, seed, method, bias, unit, **more):
    known = dict(bias=bias, bias_matched=bias, size=2.0, unit_error=unit, unit_error_all=unit)
    known |= dict(unit_error_common=unit, covers=1.0, covers_all=1.0, length=1.0, matched=1.0)
    return dict(row=row, seed=seed, method=method, seconds=1.0, note="") | known | more


RECORDS = pd.DataFrame(
    [
        record("2: box/box", 0, "AHB", 0.6, 1.0),
        record("2: box/box", 1, "AHB", -0.8, 2.0, covers=0.0, matched=0.5),
        record("2: box/box", 0, "IPTW", 0.1, np.nan),
        record("2: box/box", 1, "IPTW", 0.1, np.nan),
        record("2: box/box", 0, "best counterfactual", 0.0, 0.0),
    ]
)


def test_means_over_runs_are_relative_to_the_effect():
    one = tables.by_row(RECORDS).set_index("method").loc["AHB"]
    assert one["runs"] == 2 and one["coverage"] == 0.5 and one["matched"] == 0.75
    assert one["bias"] == pytest.approx(-0.05)
    assert one["rmse"] == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 2))
    assert one["unit_error"] == pytest.approx(0.75)


def test_ranks_and_losses():
    table = tables.by_row(RECORDS)
    ranks = tables.ranked(table).set_index("method")
    assert ranks["ATT rank"].to_dict() == {"best counterfactual": 1, "IPTW": 2, "AHB": 3}
    assert np.isnan(ranks.loc["IPTW", "unit rank"]) and ranks.loc["AHB", "unit rank"] == 2
    said = tables.losses(table)
    assert "box/box, the ATT: IPTW 0.05, the best own AHB 0.354" in said
    assert "counterfactual" not in said and "single effects" not in said
    alone = tables.losses(table[table["method"] == "AHB"])
    assert alone.startswith("Nowhere")


def test_short_intervals_are_marked():
    runs = [record("r", k, "AHB", 0.1, 0.1, covers=float(k >= 40)) for k in range(200)]
    runs += [record("r", k, "IPTW", 0.1, 0.1, covers=float(k >= 12)) for k in range(200)]
    marked = tables.undercovering(tables.by_row(pd.DataFrame(runs))).set_index("method")
    assert marked["coverage"].to_dict() == {"AHB": 0.8, "IPTW": 0.94}
    assert marked["under"].to_dict() == {"AHB": "too short", "IPTW": ""}


def test_what_is_known_is_not_asked_again():
    jobs = [("real", "NHEFS", seed, ("AHB", "IPTW")) for seed in (0, 1)]
    left = methods._left(jobs, {("NHEFS", 0, "AHB")}, again=False)
    assert left == [("real", "NHEFS", 0, ("IPTW",)), ("real", "NHEFS", 1, ("AHB",))]
    assert len(methods._left(jobs, set(), again=True)) == 2


def test_a_record_by_hand():
    data = jc.simulate.ahb_table2("binary/const", key=0, n=200)
    case = asking.Case("ahb", "2: binary/const", 0, data.sample, data)
    weighted, matched = asking.ask(case, ("IPTW", "1-NN Mahalanobis"))
    t = np.asarray(data.sample.t)
    average = jc.estimate(data.sample, jc.IPTW())
    assert weighted["bias"] == pytest.approx(
        float(average.average) - np.asarray(data.ite)[t].mean()
    )
    effects = jc.estimate(data.sample, jc.NearestNeighbors())
    gap = np.abs(np.asarray(effects.ite) - np.asarray(data.ite)[t]).mean()
    assert matched["unit_error"] == pytest.approx(gap, rel=1e-6)
    assert matched["unit_error_common"] == pytest.approx(gap, rel=1e-6) and matched["common"] == 1
    assert "unit_error" not in weighted


def test_the_process_of_sizes():
    data = sizes.bent(sizes.Size(2_000, 3), 0)
    x, t, y = data.sample.points, np.asarray(data.sample.t), np.asarray(data.sample.y)
    rest = y - np.maximum(x[:, 0], 0) * t - x[:, 1] - np.minimum(x[:, 2], 0)
    assert abs(rest.mean()) < 0.1 and rest.std() == pytest.approx(1, abs=0.05)


@pytest.mark.extended
def test_a_page_goes_on_where_it_ended(tmp_path, capsys):
    words = dict(
        quick=False,
        parts=["ahb"],
        methods=["IPTW"],
        rows=["2: quad/const"],
        workers=1,
        out=tmp_path,
    )
    for runs, resume in ((1, False), (2, True)):
        methods.main(argparse.Namespace(**words, runs=runs, resume=resume))
    kept = json.loads((tmp_path / "methods-ahb.json").read_text())["records"]
    assert [(one["seed"], one["method"]) for one in kept] == [(0, "IPTW"), (1, "IPTW")]
    assert capsys.readouterr().out.count("seed 0") == 1
