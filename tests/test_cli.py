"""The command as a user runs it."""

import subprocess
import sys

import pandas as pd
import pytest

from jcausal import cli

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments, cwd):
    command = [sys.executable, "-m", "jcausal.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)


def test_demo_on_the_psid_controls(tmp_path, repository_on_path):
    done = run("demo", "--out", "figures", "--seed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr and "#" not in done.stderr  # no bar without a terminal
    for words in (
        "ATT (matched 185 of 185): ",
        "95% interval",
        "second opinion, ",
        "; AIPW)",
        "adjusted by the BoostedTrees surface; plain means of the groups give ",
        "drift of the groups ",
        "prognostic score",
        "worth",
        "the experiment: 1,794 (standard error 671",
        "smd_after",
        "effective sample size",
        "some boxes",
        "years",
        " $: ",
        "surface, out of sample R2: controls ",
        "seed 1, float32, ",
    ):
        assert words in done.stdout, words
    folder = tmp_path / "figures"
    names = {"summary.txt", "effects.csv", "matched.csv", "boxes.csv", "balance.csv"}
    pictures = {"effects.png", "love.png", "boxes.png"}
    assert {f.name for f in folder.iterdir()} == names | pictures
    assert all((folder / name).read_bytes().startswith(PNG) for name in pictures)
    effects = pd.read_csv(folder / "effects.csv")
    assert len(effects) == 185 and effects["matched"].all()
    att = float(done.stdout.split("matched 185 of 185): ")[1].split(" ")[0].replace(",", ""))
    assert effects["effect"].mean() == pytest.approx(att, abs=1)
    assert -6000 < att < 6000  # far from the unadjusted difference of -15,205
    matched = pd.read_csv(folder / "matched.csv")
    controls = matched[matched["treated"] == 0]
    assert controls["weight"].sum() == pytest.approx(185, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--controls", "nsw"], "invalid choice: 'nsw'"),
        (["demo", "--seed", "x"], "'x' is no whole number"),
        (["demo", "--seed", "-1"], "is no whole number"),
        (["estimates"], "invalid choice: 'estimates'"),
        ([], "usage: jcausal"),
    ],
)
def test_mistakes_end_with_2_and_a_sentence(arguments, message, capsys):
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    assert status == 2
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err


def test_an_out_that_is_a_file_is_refused_before_any_work(tmp_path, capsys):
    file = tmp_path / "out"
    file.write_text("mine")
    assert cli.main(["demo", "--out", str(file)]) == 2
    assert "is a file: give --out a folder" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_files_are_written_whole_or_not_at_all(tmp_path):
    def fails(path):
        path.write_text("half")
        raise OSError("disk full")

    (tmp_path / "a.txt").write_text("before")
    writers = {"a.txt": lambda p: p.write_text("after"), "b.txt": fails}
    with pytest.raises(OSError, match="disk full"):
        cli.write_whole(tmp_path, writers)
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_the_bar_draws_only_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = cli.Bar(quiet=False)
    bar("boxes", 5, 10)
    assert f"[{'#' * 15}{'.' * 15}] 5/10 boxes" in capsys.readouterr().err
    cli.Bar(quiet=True)("boxes", 5, 10)
    assert capsys.readouterr().err == ""
