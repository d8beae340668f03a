"""Names with dollars, backslashes, tags, other scripts, of any length: in pictures and files."""

import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import cbook
from matplotlib.text import Text

import jcausal as jc
from jcausal import cli
from jcausal.cli import _write
from jcausal.plot._text import plain

ODD = [
    "rent ($) #rooms ($)",
    "$0-$50k",
    r"$\frac{a}$",
    r"\$x\$",
    r"a_b^c\d%e{f",
    "<b>&amp;</b>",
    "家賃 θ €",
    "a name that is very long " * 8,
]


def drawn_words(ax):
    """Every text of the picture as it is drawn; none is read as a formula."""
    ax.figure.canvas.draw()
    said = [text.get_text() for text in ax.figure.findobj(Text) if text.get_text()]
    plt.close(ax.figure)
    for words in said:
        assert not cbook.is_math_text(words) or "mathdefault" in words, words
    return [cbook.is_math_text(words) or words.replace(r"\$", "$") for words in said]


def shown(name):
    """What a picture shows of a name that is not too long."""
    return plain(name, 40).replace(r"\$", "$")


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    n = 80
    found = pd.DataFrame({name: rng.normal(size=n) for name in ODD[:2]})
    found[ODD[4]] = np.array(ODD, object)[np.arange(n) % len(ODD)]
    found["t"] = np.arange(n) % 2
    found["y"] = found[ODD[0]] + 2 * found["t"] + rng.normal(size=n)
    return found


@pytest.fixture(scope="module")
def effects(frame):
    units = {ODD[0]: "$", ODD[1]: "$/m$^2$"}
    sample = jc.Sample.from_frame(
        frame, treatment="t", outcome="y", categorical=[ODD[4]], units=units
    )
    return jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)


@pytest.mark.parametrize("name", ODD)
def test_words_stand_in_a_picture_as_they_are(name):
    _, ax = plt.subplots()
    ax.set_title(plain(name, 10_000))
    with pytest.warns(match="Glyph") if name == ODD[6] else cbook.contextlib.nullcontext():
        ax.figure.canvas.draw()
    assert ax.title._preprocess_math(ax.get_title()) == (name, False)
    plt.close(ax.figure)


def test_long_words_lose_their_middle():
    assert plain("x" * 60) == "x" * 60
    cut = plain("begin " + "x" * 100 + " end")
    assert len(cut) <= 60 and cut.startswith("begin x") and cut.endswith("x end") and " ... " in cut
    assert len(plain("家" * 100, 40)) <= 20  # each as broad as two letters
    assert "\n" in plain("word " * 12, wrap=True)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_of_effects_balance_and_boxes_draw_odd_names(effects):
    table = jc.balance(effects.sample, effects)
    said = drawn_words(jc.plot.love(table))
    assert set(map(shown, table.index)) <= set(said)
    said = drawn_words(jc.plot.boxes(effects.matching))
    assert {f"{ODD[0]} ($)", f"{ODD[1]} ($/m$^2$)"} <= set(said)
    assert "effect ($_{1}$)" in drawn_words(jc.plot.effects(effects, unit="$_{1}$"))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_of_trees_draw_odd_names(frame):
    rng = np.random.default_rng(0)
    x, level = rng.normal(size=400), np.arange(400) % 3
    names = [ODD[0], ODD[1]]
    sample = jc.Sample(
        np.stack([x, level], 1),
        np.arange(400) % 8 == 0,
        5 * (level == 1) + np.where(x > 0, 3 * x, 0) + rng.normal(size=400) / 9,
        names=names,
        kinds=["number", "category"],
        levels={names[1]: [ODD[1], ODD[2], ODD[6]]},
    )
    tree = jc.fit(sample, jc.M5Tree(min_controls=20))
    assert tree.leaves > 2
    said = " ".join(drawn_words(jc.plot.tree(tree, depth=20))).replace("\n", " ")
    assert f"{ODD[0]} at most" in said and f"{ODD[1]} {ODD[1]}" in said


@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_of_panels_draw_odd_names():
    rng = np.random.default_rng(0)
    d = np.zeros((8, 8))
    d[1, 5:] = 1
    panel = jc.Panel(rng.normal(size=(8, 8)), d, unit=ODD, time=ODD, outcome=ODD[0])
    found = jc.complete(panel, jc.TwoWayFixedEffects())
    said = drawn_words(jc.plot.panel(found))
    assert f"{ODD[1]}: two-way fixed effects" in said and ODD[0] in said
    assert {plain(v, 20).replace(r"\$", "$") for v in ODD} <= set(said)
    said = drawn_words(jc.plot.panel(found, show="effects"))
    assert f"effect on {ODD[0]}" in said and ODD[1] in said
    assert f"{ODD[0]}: observed - without treatment" in drawn_words(
        jc.plot.panel(found, show="gaps")
    )


@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_of_allocations_draw_odd_names():
    value = 10 + np.linspace(0.4, 0.5, len(ODD))
    found = jc.allocate(jc.GroupEstimates(value, label=ODD), jc.TopK(4), rho=1.0)
    said = drawn_words(jc.plot.allocation(found, unit="$a$"))
    assert {plain(v, 24).replace(r"\$", "$") for v in ODD} <= set(said)
    assert {"effect ($a$)", "value ($a$)"} <= set(said)


def test_a_love_plot_of_very_many_rows_draws_those_that_differ_most():
    before = np.linspace(0, 1, 3000)
    table = pd.DataFrame(dict(smd_before=before, smd_after=before / 2))
    ax = jc.plot.love(table)
    assert ax.get_title().endswith("(120 of 3,000 rows)")
    assert [text.get_text() for text in ax.get_yticklabels()] == [str(k) for k in range(2880, 3000)]
    assert ax.figure.get_size_inches()[1] < 60
    plt.close(ax.figure)


ROLES = ("--treatment", "t", "--outcome", "y", "--categorical", ODD[4], "--surface", "ridge")


@pytest.fixture(scope="module")
def file(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "odd.csv"
    frame.to_csv(path, index=False)
    return str(path)


def test_the_command_writes_everything_of_odd_names(file, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["estimate", file, *ROLES, "--by", ODD[1], ODD[4], "--out", str(out)]
    assert cli.main(arguments) == 0
    told = capsys.readouterr()
    assert {"effects.png", "love.png", "boxes.png"} < {f.name for f in out.iterdir()}
    assert (out / "effects by _0-_50k.csv").exists()
    labels = pd.read_csv(out / "balance.csv")["covariate"].tolist()
    assert ODD[0] in labels and f"{ODD[4]}: {ODD[2]}" in labels
    assert told.err.count("the pictures' font lacks letters") == 1 and "Glyph" not in told.err


def broken(*_, **__):
    plt.figure()
    raise ValueError("no\npicture")


def test_a_picture_that_fails_costs_nothing_else(file, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = ["estimate", file, *ROLES, "--out", str(out)]
    assert cli.main(arguments) == 0
    whole = {f.name: f.read_bytes() for f in out.iterdir()}
    assert "love.png" in whole
    capsys.readouterr()
    monkeypatch.setattr(jc.plot, "love", broken)
    open_before = plt.get_fignums()
    assert cli.main(arguments) == 1
    told = capsys.readouterr()
    assert "ATT (matched" in told.out
    assert told.err.endswith(
        f"jcausal: could not draw love.png (ValueError: no picture); everything else is in {out}.\n"
    )
    del whole["love.png"]  # the older one showed other numbers
    assert {f.name: f.read_bytes() for f in out.iterdir()} == whole
    assert plt.get_fignums() == open_before


def failing(word):
    def write(path):
        path.write_text("half")
        raise OSError(word)

    return write


def text(words):
    return lambda path: path.write_text(words)


def test_a_full_disk_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(_write.UserError, match="nothing was written to .*: disk full"):
        cli.write_whole(tmp_path, {"a.txt": text("after"), "b.txt": failing("disk full")})
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"
    deep = tmp_path / "new" / "folder"
    with pytest.raises(_write.UserError, match="disk full"):
        cli.write_whole(deep, {"b.txt": failing("disk full")})
    assert not deep.parent.exists()
    drawn = {"b.png": failing("disk full"), "c.png": failing("no"), "d.png": failing("disk full")}
    told = cli.write_whole(deep, {"a.txt": text("a")}, drawn)
    said = "could not draw b.png, d.png (OSError: disk full); c.png (OSError: no); everything else "
    assert told.startswith(said)
    assert [f.name for f in deep.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("stop", [OSError("held by another program"), KeyboardInterrupt()])
@pytest.mark.parametrize("moves", range(5))
def test_a_move_that_is_stopped_midway_is_taken_back(tmp_path, monkeypatch, stop, moves):
    """Two old files and a new one take five moves; each may be the one that fails."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("before")
    (tmp_path / "mine").write_text("mine")
    left, real = [moves], _write.Path.replace

    def replace(self, target):
        left[0] -= 1
        if left[0] == -1:
            raise stop
        return real(self, target)

    monkeypatch.setattr(_write.Path, "replace", replace)
    wanted = _write.UserError if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(wanted):
        cli.write_whole(tmp_path, {name: text("after") for name in ("a", "new", "b")})
    kept = {f.name: f.read_text() for f in tmp_path.iterdir()}
    assert kept == dict(a="before", b="before", mine="mine")


def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path):
    (tmp_path / "b.txt").mkdir()
    (tmp_path / "b.txt" / "mine").write_text("mine")
    with pytest.raises(_write.UserError, match=r"b.txt is a folder there; give --out another"):
        cli.write_whole(tmp_path, {"a.txt": text("a"), "b.txt": text("b")})
    assert [f.name for f in tmp_path.iterdir()] == ["b.txt"]
    assert (tmp_path / "b.txt" / "mine").read_text() == "mine"


@pytest.mark.parametrize("command", ["demo", "estimate"])
def test_what_cannot_be_written_is_told_before_any_work(
    command, file, tmp_path, capsys, monkeypatch
):
    def full(**_):
        raise OSError(30, os.strerror(30))

    def unused(*_, **__):
        raise AssertionError("work was begun")

    for module in ("_demo", "_estimate"):
        monkeypatch.setattr(f"jcausal.cli.{module}.jc.estimate", unused)
    monkeypatch.setattr("jcausal.cli._write.tempfile.TemporaryFile", full)
    arguments = ["demo"] if command == "demo" else ["estimate", file, *ROLES]
    assert cli.main([*arguments, "--out", str(tmp_path / "deep" / "out")]) == 2
    said = f"no file can be written to {tmp_path} (Read-only file system): give --out another"
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    if command == "estimate":
        monkeypatch.setattr("jcausal.cli._write.find_spec", lambda name: None)
        assert cli.main([*arguments, "--format", "parquet", "--out", str(tmp_path)]) == 2
        assert "--format parquet needs pyarrow" in capsys.readouterr().err


def test_file_names_that_are_long_or_differ_in_case_alone():
    from jcausal.cli._report import _file_name

    name = _file_name("effects by " + "家賃" * 100, [])
    assert len(name.encode()) <= 160 and name.startswith("effects by 家賃")
    assert _file_name("effects by Age", ["effects by age"]) == "effects by Age 1"


def test_letters_that_standard_output_cannot_take(tmp_path, file, capsys, monkeypatch):
    import io
    import sys

    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert cli.main(["describe", file, "--treatment", "t", "--outcome", "y"]) == 0
    narrow.seek(0)
    assert "80 rows" in narrow.read()
    cli._terminal.tell("家 rent")
    narrow.seek(0)
    assert narrow.read().endswith("\\u5bb6 rent\n")
