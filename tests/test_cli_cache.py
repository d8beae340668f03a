"""Compiled programs that the command keeps between runs."""

import os
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jcausal import cli
from jcausal.cli import _cache

COUNTED = """
import collections, sys
from jax import monitoring
from jcausal import cli
seen = collections.Counter()
monitoring.register_event_listener(lambda event, **_: seen.update([event.rsplit("/", 1)[-1]]))
assert cli.main(sys.argv[1:]) == 0
print(seen["compile_requests_use_cache"], seen["cache_hits"])
"""


def counted(place, *arguments, **besides):
    """The programs that a process of the command asked for, and those that it found kept."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env = plain | {"XDG_CACHE_HOME": str(place), "MPLBACKEND": "Agg"} | besides
    words = [sys.executable, "-c", COUNTED, *arguments, "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return tuple(int(word) for word in done.stdout.split())


def kept(place):
    folder = place / "jcausal"
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.exists() else set()


@pytest.mark.extended
def test_the_next_run_compiles_nothing_and_float64_is_apart(tmp_path, repository_on_path):
    rng = np.random.default_rng(0)
    age, treat = rng.normal(size=200), rng.uniform(size=200) < 0.4
    people = pd.DataFrame(dict(treat=treat * 1, age=age, income=age + treat + rng.normal(size=200)))
    people.to_csv(tmp_path / "people.csv", index=False)
    words = ["estimate", str(tmp_path / "people.csv"), "--treatment", "treat"]
    words += ["--outcome", "income", "--surface", "ridge", "--out"]
    place = tmp_path / "cache"
    asked, _ = counted(place, *words, str(tmp_path / "one"))
    first = kept(place)
    assert asked > 0 and len(first) > 0
    again, found = counted(place, *words, str(tmp_path / "two"))
    assert again == found > 0 and kept(place) == first
    one, two = ((tmp_path / name / "effects.csv").read_bytes() for name in ("one", "two"))
    assert one == two
    wide, found = counted(place, *words, str(tmp_path / "wide"), JAX_ENABLE_X64="1")
    assert found < wide and kept(place) > first
    assert "float64" in (tmp_path / "wide" / "summary.txt").read_text()
    (tmp_path / "file").write_text("mine")
    _, found = counted(tmp_path / "file", *words, str(tmp_path / "three"))
    assert found == 0  # where nothing can be kept the numbers are the same
    assert (tmp_path / "three" / "effects.csv").read_bytes() == one


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A cache folder of a user who told JAX nothing."""
    before = getattr(jax.config, _cache.FOLDER)
    jax.config.update(_cache.FOLDER, None)
    compilation_cache.reset_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    jax.config.update(_cache.FOLDER, before)
    compilation_cache.reset_cache()


def compile_one():
    def small(x):
        return 2 * x + 1

    assert float(jax.jit(small)(3.0)) == 7


def test_small_programs_are_kept_and_settings_come_back(place):
    before = dict(jax.config.values)
    with _cache.kept_programs(keep=True):
        compile_one()
    mine = kept(place)
    assert any(name.startswith("jit_small-") for name in mine)
    assert dict(jax.config.values) == before
    jax.jit(lambda x: x - 5)(1.0)  # after the command nothing is kept
    assert kept(place) == mine


def test_no_cache_writes_nothing(place):
    with _cache.kept_programs(keep=False):
        compile_one()
    assert not place.exists()


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_that_cannot_be_is_no_error(named, place, monkeypatch, tmp_path, recwarn):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file") if named else "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "no home"))
    with _cache.kept_programs(keep=True):
        compile_one()
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and not recwarn.list
    assert (_cache.cache_place() is None) == (not named)


def test_a_folder_that_may_not_be_written_is_no_error(place, monkeypatch, recwarn):
    (place / "jcausal").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with _cache.kept_programs(keep=True):
        compile_one()
    assert kept(place) == set() and not recwarn.list


def test_a_full_disk_is_no_error(place, monkeypatch, recwarn):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("jax._src.compilation_cache.put_executable_and_time", full)
    with _cache.kept_programs(keep=True):
        compile_one()
    assert kept(place) == set() and not recwarn.list


def test_a_jax_that_is_noisy_keeps_nothing(place, monkeypatch, capsys):
    monkeypatch.setattr("jax.__version_info__", (0, 10, 1))
    with _cache.kept_programs(keep=True):
        compile_one()
    assert not place.exists() and cli.main([]) == 2
    assert "kept nowhere" in capsys.readouterr().out


def test_the_folder_that_jax_was_told_stands(place, tmp_path):
    jax.config.update(_cache.FOLDER, str(tmp_path / "theirs"))
    assert _cache.cache_place() == str(tmp_path / "theirs")
    with _cache.kept_programs(keep=True):
        assert getattr(jax.config, _cache.FOLDER) == str(tmp_path / "theirs")
    assert not place.exists()


def test_a_broken_program_is_compiled_anew_without_a_word(place, recwarn):
    with _cache.kept_programs(keep=True):
        compile_one()
    name = next(name for name in kept(place) if name.startswith("jit_small-"))
    (place / "jcausal" / name).write_bytes(b"half")
    with _cache.kept_programs(keep=True):
        compile_one()
    assert (place / "jcausal" / name).stat().st_size > 1_000 and not recwarn.list


def test_what_was_not_used_for_long_goes_and_then_the_longest_unused(place, monkeypatch):
    folder = place / "jcausal"
    folder.mkdir(parents=True)
    for days, name in ((0, "now"), (3, "days"), (20, "weeks"), (40, "months")):
        (folder / name).write_bytes(b"0" * 100)
        os.utime(folder / name, (time.time() - days * 86_400,) * 2)
    with _cache.kept_programs(keep=True):
        assert kept(place) == {"now", "days", "weeks"}
    monkeypatch.setattr(_cache, "MOST", 250)
    with _cache.kept_programs(keep=True):
        assert kept(place) == {"now", "days"}


@pytest.mark.parametrize("command", [[], ["demo"], ["estimate"], ["describe"]])
def test_help_tells_the_folder(command, place, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0 and f"kept in {place / 'jcausal'}" in told
    assert ("--no-cache" in told) == bool(command)
