"""The command as a user runs it."""

import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pandas as pd
import pytest

from jcausal import cli
from jcausal.cli import _terminal

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments, cwd):
    command = [sys.executable, "-m", "jcausal.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)


@pytest.mark.extended
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
        "some groups",
        "years",
        " $: ",
        "surface, out of sample R2: controls ",
        "seed 1, float32, ",
    ):
        assert words in done.stdout, words
    folder = tmp_path / "figures"
    names = {"summary.txt", "effects.csv", "matched.csv", "groups.csv", "balance.csv"}
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


def as_terminal(monkeypatch):
    """Standard error as a terminal of 100 columns."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def test_the_bar_draws_only_on_a_terminal(capsys, monkeypatch):
    as_terminal(monkeypatch)
    bar = cli.Bar(quiet=False)
    bar("boxes", 5, 10)
    assert f"[{'#' * 8}{'.' * 8}] 5/10 boxes; 0 s in all" in capsys.readouterr().err
    with cli.Bar(quiet=True) as bar:
        bar("boxes", 5, 10)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with cli.Bar(quiet=False) as bar:
        bar("boxes", 5, 10)
    assert capsys.readouterr().err == ""


def test_the_bar_says_that_jax_compiles_and_goes_on_by_itself(capsys, monkeypatch):
    as_terminal(monkeypatch)
    event = "/jax/core/compile/backend_compile_duration"
    with cli.Bar(quiet=False) as bar:
        bar("reading", 0, 1)
        assert "compiling" not in capsys.readouterr().err
        jax.monitoring.record_scalar(event, 0.0)
        time.sleep(5 * _terminal.BEAT)
        assert "] reading (compiling); " in capsys.readouterr().err
        jax.monitoring.record_event_duration_secs(event, 0.1)
        capsys.readouterr()
        bar("reading", 0, 1)
        assert "compiling" not in capsys.readouterr().err
        jax.jit(lambda x: jnp.cos(x) * 3)(1.0)  # the names of the events are JAX's own
        bar.say("a note")
        assert re.search("\r +\ra note\n$", capsys.readouterr().err)
        bar("reading", 0, 1)
    capsys.readouterr()
    jax.monitoring.record_scalar(event, 0.0)
    time.sleep(2 * _terminal.BEAT)
    assert capsys.readouterr().err == ""


def test_the_time_left_is_foretold_from_what_is_done_of_the_stage():
    stage = _terminal.Stage("boxes", total=100, first=20, began=50.0, done=60, heard=58.0)
    assert stage.left(58.0) == pytest.approx(8.0)  # 40 more at 5 a second
    assert stage.left(61.0) == pytest.approx(5.0) and stage.left(90.0) == 0
    assert stage._replace(done=20).left(58.0) == 0
    assert stage._replace(heard=50.5).left(50.5) == 0


def test_after_the_boxes_come_the_effects():
    seen = []
    told = _terminal.until_effects(lambda *stage: seen.append(stage))
    told("partition 1 of 2: boxes", 5, 10)
    told("partition 1 of 2: boxes", 10, 10)
    told("training the surface", 1, 2)
    assert seen[0] == ("partition 1 of 2: boxes", 5, 10)
    assert seen[1] == ("partition 1 of 2: effects", 0, 1)
    assert seen[2] == ("training the surface", 1, 2)
