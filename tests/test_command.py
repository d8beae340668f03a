"""`jcausal estimate` and `jcausal describe` on files: the same as Python, and every bad input."""

import os
import signal

import numpy as np
import pandas as pd
import pytest

import jcausal as jc
from jcausal import cli
from jcausal.cli import _files, _text

ROLES = ("--treatment", "treat", "--outcome", "earnings")


@pytest.fixture(scope="module")
def people():
    """300 people with a category, a weight, a cluster, an id and numbers of many digits."""
    rng = np.random.default_rng(5)
    age, town = rng.normal(40, 10, 300), rng.choice(["north", "south", "west"], 300)
    treat = (rng.uniform(size=300) < 0.4).astype(int)
    return pd.DataFrame(
        dict(
            name=[f"p{k}" for k in range(300)],
            treat=treat,
            age=age,
            income=np.round(rng.lognormal(3, 1, 300), 2),
            town=town,
            school=np.arange(300) // 5,
            share=rng.uniform(0.5, 2, 300),
            earnings=0.1 * age + treat + (town == "west") + rng.normal(size=300) / 3,
        )
    )


@pytest.fixture(scope="module")
def file(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "people.csv"
    people.to_csv(path, index=False)
    return path


OPTIONS = (
    *("--covariates", "age", "income", "town", "--categorical", "town", "--weight", "share"),
    *("--cluster", "school", "--id", "name", "--surface", "ridge", "--seed", "3"),
)


@pytest.fixture(scope="module")
def sample(people):
    return jc.Sample.from_frame(
        people,
        treatment="treat",
        outcome="earnings",
        covariates=["age", "income", "town"],
        categorical=["town"],
        weight="share",
        cluster="school",
        id="name",
    )


@pytest.fixture(scope="module")
def in_python(sample):
    return jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=3)


def same(written, expected):
    """Equal in every bit once both have the same types; missing and empty words are one."""
    assert list(written.columns) == list(expected.columns)
    for name in expected:
        ours, theirs = expected[name], written[name]
        if ours.dtype.kind == "f":
            np.testing.assert_array_equal(theirs.to_numpy(ours.dtype), ours.to_numpy())
        else:
            assert [str(v) for v in theirs] == [str(v) for v in ours], name


@pytest.mark.extended
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_command_and_python_agree_to_the_last_digit(
    file, people, in_python, ending, tmp_path, capsys
):
    source = file
    if ending == "parquet":
        source = tmp_path / "people.parquet"
        people.to_parquet(source)
    out = tmp_path / "out"
    arguments = ["estimate", str(source), *ROLES, *OPTIONS, "--out", str(out), "--format", ending]
    assert cli.main([*arguments, "--by", "town"]) == 0
    printed = capsys.readouterr().out

    def back(name):
        path = out / f"{name}.{ending}"
        if ending == "parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, **_text.EXACT)

    same(back("effects"), in_python.to_frame())
    assert "no intervals for single units: jc.ConservativeNormal would ignore" in printed
    same(back("matched"), in_python.matching.to_frame())
    same(back("groups"), in_python.matching.describe_frame())
    same(back("balance"), jc.balance(in_python.sample, in_python).reset_index())
    average = jc.interval(in_python, jc.Bootstrap(), key=3)
    assert f"{average}" in printed and in_python.matching.describe(0).split(";")[0]
    groups = jc.interval(in_python, jc.Bootstrap(), by="town", key=3).to_frame()
    same(back("effects by town"), groups)
    assert (out / "summary.txt").read_text().strip() in printed
    pictures = {"effects.png", "love.png", "boxes.png"}
    assert pictures < {f.name for f in out.iterdir()}
    assert all((out / p).read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for p in pictures)


@pytest.mark.extended
def test_the_method_its_knobs_and_what_is_averaged_are_options(file, sample, tmp_path):
    knobs = ["--method", "fast-ahb"]
    for setting in ("c=1.2", "levels=7", "min-controls=3"):
        knobs += ["--option", setting]
    asked = [*knobs, "--adjust", "none", "--support", "common", "--estimand", "atc"]
    arguments = ["estimate", str(file), *ROLES, *OPTIONS, *asked]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
    method = jc.FastAHB(c=1.2, levels=7, min_controls=3, outcome=jc.Ridge())
    expected = jc.estimate(sample, method, estimand="atc", adjust=None, support="common", key=3)
    assert not expected.adjusted and not expected.matched.all()
    same(pd.read_csv(tmp_path / "effects.csv", **_text.EXACT), expected.to_frame())


def mistakes(folder):
    """Arguments and the words of the one sentence that they end with."""
    good = str(folder / "people.csv")
    frame = pd.read_csv(good)

    def written(name, change):
        path = folder / name
        change(frame.copy()).to_csv(path, index=False)
        return str(path)

    (folder / "empty.csv").write_text("")
    (folder / "blank.csv").write_text("\n\n")
    (folder / "header.csv").write_text("treat,earnings,age\n")
    (folder / "twice.csv").write_text("treat,earnings,age,age\n1,2,3,4\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 no more")
    (folder / "people.doc").write_bytes(b"x")
    (folder / "broken.csv.zip").write_bytes(b"no archive")
    (folder / "broken.csv.xz").write_bytes(b"no archive")
    (folder / "binary.csv").write_bytes(b"treat,earnings\n\xff\xfe\x00,1\n")
    ages = ["--covariates", "age"]
    gaps = written("gaps.csv", lambda f: f.assign(age=f["age"].where(f.index > 1)))
    one = written("one.csv", lambda f: f.assign(treat=1))
    three = written("three.csv", lambda f: f.assign(treat=f.index % 3))
    minus = written("minus.csv", lambda f: f.assign(share=f["share"].where(f.index != 7, -1.0)))
    infinite = written("infinite.csv", lambda f: f.assign(age=f["age"].where(f.index > 0, np.inf)))
    constant = written("constant.csv", lambda f: f.assign(age=4.0))
    return [
        (["estimate", good, "--treatment", "treatt", "--outcome", "earnings"], "mean 'treat'?"),
        (["estimate", good, "--treatment", "treat", "--outcome", "Earning"], "mean 'earnings'?"),
        (["estimate", good, *ROLES, "--covariates", "zzz"], "no column 'zzz'"),
        (["estimate", good, *ROLES, *ages, "--weight", "shares"], "did you mean 'share'?"),
        (["estimate", good, *ROLES, *ages, "--by", "town"], "--by 'town' is no covariate: age"),
        (["estimate", str(folder / "peple.csv"), *ROLES], "did you mean people.csv?"),
        (["describe", str(folder / "no" / "file.csv")], "there is no file"),
        (["estimate", str(folder), *ROLES], "is a folder"),
        (["estimate", str(folder / "empty.csv"), *ROLES], "is empty"),
        (["describe", str(folder / "blank.csv")], "is empty"),
        (["estimate", str(folder / "header.csv"), *ROLES], "has 3 columns and no rows"),
        (["estimate", str(folder / "twice.csv"), *ROLES], "'age' stands twice"),
        (["estimate", str(folder / "broken.parquet"), *ROLES], "is no Parquet file"),
        (["estimate", str(folder / "binary.csv"), *ROLES], "is no CSV file that can be read"),
        (["estimate", str(folder / "people.doc"), *ROLES], "ends in none of .csv, .tsv"),
        (["describe", str(folder / "broken.csv.zip")], "is no CSV file that can be read"),
        (["describe", str(folder / "broken.csv.xz")], "is no CSV file that can be read"),
        (["describe", good, "--treated", "1"], "--treated needs --treatment"),
        (["describe", infinite], "'age' is infinite in 1 of 300 rows"),
        (["estimate", good, *ROLES, "--covariates", "town"], "text in 300 places"),
        (["estimate", good, *ROLES, "--covariates", "age", "treat"], "two roles"),
        (["estimate", good, *ROLES, *ages, "--categorical", "town"], "not among the covariates"),
        (["estimate", good, *ROLES, *ages, "--treated", "yes"], "its 2 values are 0, 1"),
        (["estimate", gaps, *ROLES, *ages], "(null or NaN) in 2 of 300 rows"),
        (["estimate", one, *ROLES, *ages], "is 1 in all 300 rows"),
        (["estimate", three, *ROLES, *ages], "values other than 0 and 1"),
        (["estimate", minus, *ROLES, *ages, "--weight", "share"], "negative in 1 of 300 rows"),
        (["estimate", constant, *ROLES, *ages], "is 4 in all 300 rows"),
        (["estimate", good, *ROLES, *ages, "--folds", "0"], "whole number of at least 1"),
        (["estimate", good, *ROLES, *ages, "--folds", "200"], "use at most"),
        (["estimate", good, *ROLES, *ages, "--folds", "1"], "at least 2 folds"),
        (["estimate", good, *ROLES, *ages, "--level", "95"], "between 0 and 1"),
        (["estimate", good, *ROLES, *ages, "--method", "magic"], "invalid choice: 'magic'"),
        (
            ["estimate", good, *ROLES, *ages, "--option", "gamma0=-1", "--surface", "ridge"],
            "--option: gamma0",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--option", "gamma1=nan"],
            "--option: gamma1 is nan: it must be",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--option", "levels=7"],
            "--option levels=7 names no option of --method ahb; the options of ahb are gamma0=none",
        ),
        (["estimate", good, *ROLES, *ages, "--option", "gamma0"], "has no value, write NAME=VALUE"),
        (
            ["estimate", good, *ROLES, *ages, "--option", "bins=many"],
            "is of the wrong kind, write a whole number; the options of ahb are gamma0=none",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--option", "bins=1.5"],
            "--option bins=1.5 is of the wrong kind",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--option", "bins=8", "--option", "bins=9"],
            "--option bins is given twice",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--method", "exact-ahb", "--option", "scale=own"],
            "write sd, variance or none; the options of exact-ahb are gamma0=3",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--method", "m5-match", "--option", "tree.depth=3"],
            "names no option of --method m5-match; the options of m5-match are k=10, tree.min_con",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--method", "m5-model", "--option", "honest=2"],
            "write true or false; the options of m5-model are",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--method", "m5-model", "--surface", "ridge"],
            "--surface is no option of --method m5-model",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--method", "aipw", "--by", "age"],
            "--by is of groups, and --method aipw makes none",
        ),
        (
            ["estimate", good, *ROLES, *ages, "--method", "aipw", "--option", "clip=0.7"],
            "--option: clip is 0.7",
        ),
        (["estimate", good, *ROLES, *ages, "--adjust", "ridge"], "invalid choice: 'ridge'"),
        (["estimate", good, *ROLES, *ages, "--support", "own"], "invalid choice: 'own'"),
        (["estimate", good, "--outcome", "earnings"], "required: --treatment"),
        (["describe", good, "--treatment", "treet"], "did you mean 'treat'?"),
    ]


def test_every_mistake_ends_with_2_and_one_sentence(file, tmp_path, capsys):
    for arguments, words in mistakes(file.parent):
        try:
            status = cli.main(
                [*arguments, *(["--out", str(tmp_path / "o")] * (arguments[0] == "estimate"))]
            )
        except SystemExit as stop:
            status = stop.code
        told = capsys.readouterr().err
        assert status == 2 and words in told, (arguments, told)
        assert "Traceback" not in told
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("treated", [1, 2, 3])
def test_folds_that_cannot_be_are_told_by_what_the_command_can_do(
    people, treated, tmp_path, capsys
):
    few = people.assign(treat=(people.index < treated).astype(int)).head(40)
    few.to_csv(tmp_path / "few.csv", index=False)
    line = ["estimate", str(tmp_path / "few.csv"), *ROLES, "--covariates", "age"]
    line += ["--surface", "ridge", "--out", str(tmp_path / "out")]
    told = []
    for folds in ("1", str(treated + 1)):
        assert cli.main([*line, "--folds", folds]) == 2
        told.append(capsys.readouterr().err)
    assert "--folds is 1, and the surface would be trained on the outcomes" in told[0]
    assert "use at least 2 folds." in told[0]
    can = "there is 1 in all: give a file with more rows of that arm."
    assert (can if treated == 1 else f"use at most {treated} folds (--folds {treated}).") in told[1]
    for words in ("surface trained on", "method's outcome", "folds=", "key"):
        assert not any(words in one for one in told), words


def test_clusters_that_leave_a_fold_without_an_arm_are_told_by_options(people, tmp_path, capsys):
    halves = people.head(40).assign(treat=np.arange(40) // 20, half=np.arange(40) // 20)
    halves.to_csv(tmp_path / "halves.csv", index=False)
    line = ["estimate", str(tmp_path / "halves.csv"), *ROLES, "--covariates", "age"]
    line += ["--cluster", "half", "--surface", "ridge", "--out", str(tmp_path / "out")]
    assert cli.main(line) == 2
    told = capsys.readouterr().err
    assert "cluster 'half' is one label for all treated and one for all controls" in told


@pytest.mark.extended
def test_missing_values_are_dropped_with_a_note(people, tmp_path, capsys):
    gaps = people.assign(age=people["age"].where(people.index > 4))
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    arguments = ["estimate", str(tmp_path / "gaps.csv"), *ROLES, *OPTIONS, "--missing", "drop"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "jcausal: note: dropped 5 of 300 rows" in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "out" / "effects.csv")["id"]) <= set(people["name"][5:])


def test_treated_names_the_value_that_means_treated(people, tmp_path, capsys):
    words = people.assign(treat=np.where(people["treat"] == 1, "yes", "no"))
    words.to_csv(tmp_path / "words.csv", index=False)
    arguments = ["describe", str(tmp_path / "words.csv"), "--treatment", "treat"]
    assert cli.main(arguments) == 2
    assert "holds text in 300 places" in capsys.readouterr().err
    assert cli.main([*arguments, "--treated", "yes"]) == 0
    assert f"arms: {people['treat'].sum()} treated" in capsys.readouterr().out


def test_describe_tells_what_would_stop_an_estimate(people, tmp_path, capsys):
    odd = people.assign(age=people["age"].where(people.index > 4), flat=1.0)
    odd.loc[odd["treat"] == 0, "income"] += 1e4
    odd.to_parquet(tmp_path / "odd.parquet")
    assert cli.main(["describe", str(tmp_path / "odd.parquet"), *ROLES, "--id", "name"]) == 0
    told = capsys.readouterr().out
    treated = int(people["treat"].sum())
    for words in (
        "300 rows, 295 without a missing value",
        f"arms: {treated} treated, {300 - treated} controls",
        "text: name town under --categorical",
        "constant: flat",
        "missing values: age",
        "thin overlap (below 0.5): income",
        f"{treated} treated beyond all controls, or in a level without one: income",
    ):
        assert words in told, words
    assert "name" not in told.split("\n\n")[1].split()  # an id is no covariate


@pytest.mark.extended
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_leaves_no_file(file, tmp_path, monkeypatch, capsys, stop):
    out = tmp_path / "out"
    real = _files.table_writer

    def killing(table, parquet):
        write = real(table, parquet)

        def half(path):
            write(path)
            os.kill(os.getpid(), stop)

        return half

    monkeypatch.setattr("jcausal.cli._files.table_writer", killing)
    assert cli.main(["estimate", str(file), *ROLES, *OPTIONS, "--out", str(out)]) == 130
    assert "stopped; nothing was written" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.extended
@pytest.mark.parametrize(
    "method", [["ahb"], ["fast-ahb", "--option", "levels=20"]], ids=lambda m: m[0]
)
def test_a_million_rows(method, tmp_path, capsys):
    rng = np.random.default_rng(0)
    n = 1_000_000
    frame = pd.DataFrame(dict(treat=(rng.uniform(size=n) < 2e-4).astype(int)))
    frame["age"], frame["income"] = rng.integers(18, 90, n), rng.lognormal(3, 1, n).astype("f4")
    frame["y"] = 0.01 * frame["age"] + frame["treat"] + rng.normal(size=n)
    path = tmp_path / "million.parquet"
    frame.to_parquet(path)
    roles = [str(path), "--treatment", "treat", "--outcome", "y"]
    assert cli.main(["describe", *roles]) == 0
    assert "1,000,000 rows" in capsys.readouterr().out
    arguments = ["estimate", *roles, "--surface", "ridge", "--method", *method]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    treated = int(frame["treat"].sum())
    assert f"matched {treated} of {treated}" in capsys.readouterr().out
    effects = pd.read_csv(tmp_path / "out" / "effects.csv")
    # the own noise has sd 1, a box of an intercept and a slope of .01 adds little
    assert abs(effects["effect"].mean() - 1) < 4.5 / np.sqrt(treated)


@pytest.mark.extended
def test_names_that_clash_and_names_that_no_file_can_have(people, tmp_path):
    odd = people.rename(columns={"share": "weight", "income": "x/1000"})
    odd["name"] = [f"{k:04d}" for k in range(300)]
    odd.set_index("name").to_parquet(tmp_path / "odd.parquet")  # the id is the frame's index
    odd.to_csv(tmp_path / "odd.csv", index=False)
    for source in ("odd.parquet", "odd.csv"):
        out = tmp_path / source.replace(".", " ")
        arguments = ["estimate", str(tmp_path / source), *ROLES, "--covariates", "x/1000", "weight"]
        arguments += ["--surface", "ridge", "--id", "name", "--by", "x/1000", "--out", str(out)]
        assert cli.main(arguments) == 0
        matched = pd.read_csv(out / "matched.csv", dtype={"id": str})
        treated = int(people["treat"].sum())
        assert matched.loc[matched["treated"] == 0, "weight"].sum() == pytest.approx(
            treated, rel=1e-4
        )
        kept = odd.set_index("name").loc[matched["id"], "weight"]
        np.testing.assert_allclose(matched["weight (covariate)"], kept)
        assert (out / "effects by x_1000.csv").exists()


def test_describe_reads_what_estimate_reads(people):
    odd = people.assign(
        day=pd.Timestamp("2020-01-01"),
        yes=pd.array([True, False, None] * 100, dtype="boolean"),
        both=[1, "a"] * 150,
        none=np.nan,
    )
    table = jc.describe(odd, treatment="treat")
    assert table.loc[["day", "yes", "both", "none", "town"], "kind"].tolist() == [
        *("time", "binary", "mixed", "number", "text")
    ]
    assert table.loc["yes", "missing"] == 100 and table.loc["none", "missing"] == 300
    with pytest.raises(jc.DataError, match="weight is negative in 1 of 300 rows"):
        jc.describe(odd.assign(share=-odd["share"].where(odd.index == 0, -1)), weight="share")
    with pytest.raises(jc.DataError, match="there is no column 'no'"):
        jc.describe(odd, treatment="no")
