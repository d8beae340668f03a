"""Treatments of any two values: named they are right, unnamed refused with the words to add."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jcausal as jc
from jcausal import cli

N = 12
D = np.arange(N) % 3 == 0
FRAME = pd.DataFrame(dict(t=D.astype(int), y=np.arange(N) * 1.0, a=np.arange(N) % 5))
PAIRS = [
    ("no", "yes", "yes"),
    ("yes", "no", "no"),
    ("0", "1", "1"),
    ("0", "1", 1),
    ("FALSE", "TRUE", "TRUE"),
    (-1, 1, 1),
    (1, 2, 2),
    (2, 1, 1.0),
    (1.5, 2.5, 2.5),
    (False, True, True),
    (False, True, "true"),
    (b"no", b"yes", b"yes"),
]
KINDS = {
    "pandas": lambda f: f,
    "category": lambda f: f.astype({"t": "category"}),
    "polars": lambda f: pl.DataFrame({c: f[c].to_list() for c in f}),
    "pyarrow": lambda f: pa.table({c: f[c].to_list() for c in f}),
    "dict": lambda f: {c: f[c].to_numpy() for c in f},
}
ROLES = dict(treatment="t", outcome="y")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("control", "value", "treated"), PAIRS)
def test_the_value_that_is_named_is_treated(kind, control, value, treated):
    frame = FRAME.assign(t=[value if d else control for d in D])
    sample = jc.Sample.from_frame(KINDS[kind](frame), treated=treated, **ROLES)
    np.testing.assert_array_equal(sample.t, D)
    found = jc.describe(KINDS[kind](frame), treated=treated, **ROLES)
    if kind in ("pandas", "category", "dict"):
        assert found.attrs["treated"] == D.sum()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            ["no", "yes"],
            "'no' and 'yes': say treated='yes' if that means treated, else treated='no'",
        ),
        (["0", "1"], "say treated='1' if"),
        (["FALSE", "TRUE"], "say treated='TRUE' if"),
        (["drug", "placebo"], "say treated='placebo' if that means treated, else treated='drug'"),
        ([-1, 1], "treatment 't' has other values than 0 and 1 .*-1, 1.: say treated=1 if"),
        ([1, 2], "say treated=2 if that means treated, else treated=1"),
        (["a", "b", "c"], "its 3 values are 'a', 'b', 'c': a treatment has two"),
    ],
)
def test_two_values_are_refused_with_the_words_to_add(values, words):
    frame = FRAME.assign(t=[values[i % len(values)] for i in range(N)])
    for make in KINDS.values():
        with pytest.raises(jc.DataError, match=words):
            jc.Sample.from_frame(make(frame), **ROLES)
    long = pd.DataFrame(dict(u=np.repeat(range(4), 3), m=np.tile(range(3), 4))).join(frame)
    with pytest.raises(jc.DataError, match=words) as told:
        jc.Panel.from_frame(long, unit="u", time="m", **ROLES)
    assert "--" not in str(told.value)


def test_arrays_say_which_comparison_to_pass():
    x, y = FRAME[["a"]].to_numpy(float), FRAME["y"].to_numpy()
    words = np.where(D, "yes", "no")
    with pytest.raises(jc.DataError, match=r"say np.asarray\(t\) == 'yes' if"):
        jc.Sample(x, words, y)
    with pytest.raises(jc.DataError, match=r"say np.asarray\(t\) == 2 if"):
        jc.Sample(x, D + 1, y)
    cells = np.where([[0, 0], [0, 1]], "yes", "no")
    with pytest.raises(jc.DataError, match=r"say np.asarray\(d\) == 'yes' if"):
        jc.Panel([[1.0, 2.0], [3.0, 5.0]], cells)
    with pytest.raises(jc.DataError, match=r"say np.asarray\(d\) == 2 if"):
        jc.Panel([[1.0, 2.0], [3.0, 5.0]], [[1, 1], [1, 2]])
    np.testing.assert_array_equal(jc.Sample(x, words == "yes", y).t, D)


def test_a_panel_takes_it_too():
    law = [0, 0, 0, 1]
    frame = pd.DataFrame(dict(u=["a", "a", "b", "b"], m=[1, 2, 1, 2], y=[5.0, 4.0, 6.0, 3.0]))
    words = frame.assign(t=["yes" if d else "no" for d in law])
    options = dict(unit="u", time="m", **ROLES)
    panel = jc.Panel.from_frame(words, treated="yes", **options)
    plain = jc.Panel.from_frame(frame.assign(t=law), **options)
    np.testing.assert_array_equal(panel.d, plain.d)
    holed = pd.concat([words, pd.DataFrame(dict(u=["b"], m=[3], y=[1.0], t=[None]))])
    with pytest.warns(UserWarning, match="1 of 5 rows have missing values"):
        held = jc.Panel.from_frame(holed, treated="yes", missing="drop", **options)
    np.testing.assert_array_equal(held.d, plain.d)


def test_a_wrong_name_and_gaps():
    words = FRAME.assign(t=np.where(D, "yes", "no"))
    with pytest.raises(jc.DataError, match="treated='YES': treatment 't' must hold it and one"):
        jc.Sample.from_frame(words, treated="YES", **ROLES)
    with pytest.raises(jc.DataError, match="its 1 values are yes"):
        jc.Sample.from_frame(words.assign(t="yes"), treated="yes", **ROLES)
    holed = words.assign(t=words["t"].where(words.index > 0, None))
    with pytest.raises(jc.DataError, match="column 't' is missing"):
        jc.Sample.from_frame(holed, treated="yes", **ROLES)
    with pytest.warns(UserWarning, match="dropped 1 of 12"):
        sample = jc.Sample.from_frame(holed, treated="yes", missing="drop", **ROLES)
    np.testing.assert_array_equal(sample.t, D[1:])


@pytest.mark.parametrize(
    ("values", "added", "words"),
    [
        (("no", "yes"), "yes", "say --treated yes if that means treated, else --treated no"),
        (("not yet", "in work"), "in work", "else --treated 'in work'"),
        ((1, 2), "2", "say --treated 2 if"),
        ((-1, 1), "1", "say --treated 1 if"),
        (("FALSE", "TRUE"), "TRUE", None),
        (("FALSE", "TRUE"), "1", None),
    ],
)
def test_the_command_says_its_own_words(values, added, words, tmp_path, capsys):
    path = tmp_path / "people.csv"
    FRAME.assign(t=[values[int(d)] for d in D]).to_csv(path, index=False)
    arguments = ["describe", str(path), "--treatment", "t", "--outcome", "y"]
    status = cli.main(arguments)
    told = capsys.readouterr()
    if words is None:
        assert status == 0 and f"arms: {D.sum()} treated" in told.out
    else:
        assert status == 2 and words in told.err
    assert cli.main([*arguments, "--treated", added]) == 0
    assert f"arms: {D.sum()} treated" in capsys.readouterr().out
