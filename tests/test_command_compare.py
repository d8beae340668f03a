"""`jcausal compare`: the table of `jc.compare` in words, in a file and in a picture."""

import numpy as np
import pandas as pd
import pytest

import jcausal as jc
from jcausal import cli
from jcausal.cli._compare import _late, _listed, named_methods
from jcausal.cli._compared import agreement, printed
from jcausal.cli._terminal import UserError

ROLES = ("--treatment", "treat", "--outcome", "earnings")


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(0)
    age, income = rng.normal(40, 10, 120).round(), rng.lognormal(3, 1, 120).round(2)
    treat = (rng.uniform(size=120) < 0.3).astype(int)
    earnings = (0.1 * age + treat + rng.normal(size=120) / 3).round(3)
    return pd.DataFrame(dict(treat=treat, age=age, income=income, earnings=earnings))


@pytest.fixture(scope="module")
def file(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "people.csv"
    people.to_csv(path, index=False)
    return str(path)


def test_the_file_is_the_table_of_the_library(file, people, tmp_path, capsys):
    out, names = tmp_path / "out", "nearest-neighbors,iptw,overlap-weights"
    asked = ["--methods", names, "--level", "0.9", "--seed", "3", "--out", str(out)]
    assert cli.main(["compare", file, *ROLES, *asked]) == 0
    told = capsys.readouterr().out
    assert {f.name for f in out.iterdir()} == {"summary.txt", "compare.csv", "compare.png"}
    sample = jc.Sample.from_frame(people, treatment="treat", outcome="earnings")
    methods = dict(zip(names.split(","), (jc.NearestNeighbors(), jc.IPTW(), jc.OverlapWeights())))
    expected = jc.compare(sample, methods, level=0.9, key=3)
    written = pd.read_csv(out / "compare.csv", keep_default_na=True)
    same = expected.drop(columns=["seconds", "note"])
    pd.testing.assert_frame_equal(written[same.columns], same, check_dtype=False, rtol=1e-6)
    assert "overlap-weights: no estimate, " in told and "use --estimand ato" in " ".join(
        told.split()
    )
    assert "90% interval" in told and max(map(len, told.splitlines()[:-1])) <= 100


def test_a_table_for_parquet_and_clusters(people, tmp_path, capsys):
    path, out = tmp_path / "grouped.csv", tmp_path / "out"
    people.assign(town=np.arange(120) // 4).to_csv(path, index=False)
    asked = ["--cluster", "town", "--covariates", "age", "income", "--format", "parquet", "--quiet"]
    asked += ["--methods", "nearest-neighbors", "--estimand", "ate", "--out", str(out)]
    assert cli.main(["compare", str(path), *ROLES, *asked]) == 0
    row = pd.read_parquet(out / "compare.parquet").iloc[0]
    assert row["lower"] < row["estimate"] < row["upper"] and row["note"] == ""
    assert capsys.readouterr().out == ""


def test_names_of_methods():
    assert list(named_methods("default")) == list(jc.diagnostics.usual_methods())
    assert list(named_methods("default", "ato")) == ["overlap weights", "partially linear DML"]
    assert list(named_methods("all")) == list(cli.METHODS)
    assert list(named_methods("malts, cem")) == ["malts", "cem"]
    assert list(named_methods("default,malts"))[-1] == "malts"
    for words, hint in (
        ("nearest", "did you mean nearest-neighbors"),
        ("AHB", "did you mean ahb"),
        ("iptv", "did you mean iptw"),
        ("zzz", "say default, all, ahb"),
        (",", "names no method"),
    ):
        with pytest.raises(UserError, match=hint):
            named_methods(words)


def test_what_takes_many_minutes_is_listed_and_asked_by_name_alone(people):
    sample = jc.Sample.from_frame(people, treatment="treat", outcome="earnings")
    many = sample.take(np.resize(np.arange(sample.n), 4_001))
    assert _late("all", sample) == [] == _late("default", many)
    assert _late("all", many) == ["exact-ahb", "fast-ahb"]
    assert _late("all, exact-ahb", many) == ["fast-ahb"]
    table = _listed(["fast-ahb"], many)
    assert table["note"].item().endswith("on 4,001 rows: add it by --methods all,fast-ahb")
    assert not len(_listed([], many))


def test_mistakes_end_with_2_and_write_nothing(file, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli.main(["compare", file, *ROLES, "--methods", "ahp", "--out", out]) == 2
    assert "--methods ahp is no method; did you mean ahb" in capsys.readouterr().err
    asked = ["--treatment", "tread", "--outcome", "earnings", "--out", out]
    assert cli.main(["compare", file, *asked]) == 2
    assert "did you mean 'treat'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stopped_by_the_user(file, tmp_path, capsys, monkeypatch):
    def stop(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(jc, "compare", stop)
    assert cli.main(["compare", file, *ROLES, "--out", str(tmp_path / "out")]) == 130
    assert "nothing was written" in capsys.readouterr().err


def made(**changes):
    table = pd.DataFrame(
        dict(
            method=["first", "AHB", "far", "part", "none"],
            estimate=[1.0, 1.2, 9.0, 1.1, np.nan],
            lower=[0.5, 0.2, 8.0, -0.1, np.nan],
            upper=[1.5, 2.2, 10.0, 2.3, np.nan],
            matched=[1.0, 1.0, 1.0, 0.4, np.nan],
            effective_controls=[200.0, 300.0, 12.0, 90.0, np.nan],
            effective_treated=[80.0, 80.0, 80.0, 80.0, np.nan],
            largest_smd=[0.02, 0.4, 0.01, 0.0, np.nan],
            unbalanced=[0.0, 3.0, 0.0, 0.0, np.nan],
            drift=[np.nan, 0.05, np.nan, np.nan, np.nan],
            seconds=[1.0, 2.0, 3.0, 4.0, np.nan],
            note=["", "", "", "", "too coarse."],
        )
    )
    return table.assign(**changes)


def test_what_the_sentences_say():
    told = " ".join(agreement(made()).split())
    assert "Estimates go from 1 (first) to 9 (far)." in told
    assert (
        "2 of the 3 other intervals overlap that of AHB, not far. 3 of all 4 leave out 0." in told
    )
    assert "Fewer than 50 units of an arm, by their weights: far (12)." in told
    assert "Averages of a part of the queries alone: part (40%)." in told
    assert "|SMD| of 0.1 and more: AHB (3)." in told and "where it is small" in told
    few = agreement(made().iloc[[0]])
    assert few == ""
    assert "No method gives" in agreement(made().iloc[[4]])
    shown = printed(made(), "att", 0.9)
    assert "90% interval" in shown and "none: no estimate, too coarse." in shown
    assert "8 to 10" in shown and max(map(len, shown.splitlines())) <= 100
    assert "treated" in printed(made(), "ate", 0.9).splitlines()[0]
