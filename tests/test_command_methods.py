"""`jcausal estimate --method`: every method of the library, and its options."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

import jcausal as jc
from jcausal import cli
from jcausal.cli._main import _parser
from jcausal.cli._methods import METHODS, make_method, options_in_words, settable
from jcausal.cli._options import in_options

ROLES = ("--treatment", "treat", "--outcome", "earnings")
FILES = {"summary.txt", "effects.csv", "balance.csv", "effects.png", "love.png"}
FILES |= {"matched.csv", "groups.csv"}
BOXES = FILES | {"boxes.png"}
WRITTEN = dict.fromkeys(("ahb", "exact-ahb", "fast-ahb"), BOXES)
WRITTEN |= {
    word: {"summary.txt", "average.csv", "units.csv"}
    for word, kind in METHODS.items()
    if issubclass(kind, jc.effects.Estimator)
}
OTHERS = {"overlap-weights": "ato"}  # what is averaged over where it is not the treated


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(0)
    age, income = rng.normal(40, 10, 120).round(), rng.lognormal(3, 1, 120).round(2)
    treat = (rng.uniform(size=120) < 0.3).astype(int)
    earnings = (0.1 * age + treat + rng.normal(size=120) / 3).round(3)
    return pd.DataFrame(dict(treat=treat, age=age, income=income, earnings=earnings))


@pytest.fixture(scope="module")
def file(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("methods") / "people.csv"
    people.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def sample(people):
    return jc.Sample.from_frame(people, treatment="treat", outcome="earnings")


def test_every_public_method_is_known_by_its_name():
    assert {"ahb", "fast-ahb", "exact-ahb", "m5-model", "m5-match", "aipw"} <= set(METHODS)
    public = {v for v in vars(jc).values() if inspect.isclass(v)}
    assert {v for v in public if issubclass(v, jc.matching.Matcher)} <= set(METHODS.values())
    assert jc.M5Tree not in METHODS.values() and jc.Bootstrap not in METHODS.values()
    for word, kind in METHODS.items():
        assert word.replace("-", "") == kind.__name__.lower()


@pytest.mark.extended
@pytest.mark.parametrize("word", METHODS)
def test_every_method_runs_at_its_defaults(word, file, sample, tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["--method", word, "--estimand", OTHERS.get(word, "att"), "--out", str(out)]
    assert cli.main(["estimate", file, *ROLES, *asked]) == 0
    told = capsys.readouterr().out
    assert METHODS[word].__name__ in told and re.search("95% (posterior )?interval", told)
    assert {f.name for f in out.iterdir()} == WRITTEN.get(word, FILES)
    expected = jc.estimate(sample, METHODS[word](), key=0, estimand=OTHERS.get(word, "att"))
    if isinstance(expected, jc.effects.Average):
        assert "This method makes no groups" in told and expected.line() in told
        written = pd.read_csv(out / "average.csv")
        np.testing.assert_allclose(written["estimate"], float(expected.average), rtol=1e-6)
        units = pd.read_csv(out / "units.csv")
        np.testing.assert_allclose(units["propensity"], expected.propensity, rtol=1e-5)
    else:
        written = pd.read_csv(out / "effects.csv")
        np.testing.assert_allclose(written["effect"], expected.ite, rtol=1e-4, atol=1e-4)


def test_an_average_is_written_whole_or_not_at_all(file, sample, tmp_path, capsys):
    line = ["estimate", file, *ROLES, "--method", "aipw", "--surface", "ridge"]
    line += ["--option", "clip=0.2", "--level", "0.9", "--estimand", "ate"]
    assert cli.main([*line, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    method = jc.AIPW(outcome=jc.Ridge(), clip=0.2)
    expected = jc.estimate(sample, method, estimand="ate", key=0)
    assert expected.summary(0.9) in told and "no balance, groups, matched data" in told
    row = pd.read_csv(tmp_path / "out" / "average.csv").iloc[0]
    np.testing.assert_allclose([row["lower"], row["upper"]], expected.bounds(0.9), rtol=1e-6)
    assert cli.main([*line, "--repeats", "3", "--out", str(tmp_path / "none")]) == 2
    assert "--repeats is of groups" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_options_are_parsed_by_what_the_method_takes():
    settings = ["gamma0=2", "engine=highs", "time-limit=none", "max_distance=1.5", "gap=1e-3"]
    assert make_method("exact-ahb", None, settings) == jc.ExactAHB(
        gamma0=2, engine="highs", max_distance=1.5, gap=1e-3
    )
    tree = jc.M5Tree(max_depth=4, min_controls=9)
    settings = ["k=6", "honest=True", "tree.max_depth=4", "tree.min_controls=9", "priority=0.5"]
    assert make_method("m5-match", None, settings) == jc.M5Match(
        k=6, honest=True, tree=tree, priority=0.5
    )
    assert make_method("ahb", jc.Ridge(), []) == jc.AHB(outcome=jc.Ridge())


@pytest.mark.parametrize("word", METHODS)
def test_help_lists_the_options_with_defaults_that_the_command_takes(word, capsys):
    with pytest.raises(SystemExit):
        cli.main(["estimate", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"{word}: {options_in_words(word)}" in told
    listed = settable(word)
    settings = options_in_words(word).split(", ") if listed else []
    assert make_method(word, None, settings) == METHODS[word]()
    assert len(listed) == len(set(listed)) == len(settings)


def test_names_of_columns_have_commas_between_them():
    for text, names in (("none", None), ("race", ("race",)), ("race, sex", ("race", "sex"))):
        method = make_method("nearest-neighbors", None, [f"exact={text}"])
        assert method == jc.NearestNeighbors(exact=names)


def test_options_of_the_method_are_told_as_such():
    def told(words, method):
        return in_options(
            words, _parser().parse_args(["estimate", "x", *ROLES, "--method", method])
        )

    assert told("(honest=True cross-fits)", "m5-model") == "(--option honest=true cross-fits)"
    assert told("groups with min_treated=2.", "ahb") == "groups with --option min_treated=2."
    assert told("groups with min_treated=2.", "m5-model") == "groups with min_treated=2."
