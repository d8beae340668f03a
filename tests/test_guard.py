"""Generated tables: every verb gives what plain arrays give, or one sentence that names the fault.

Data stay the same and their dress changes (kinds of frame, dtypes, roles, gaps, names, orders),
so that what is expected is known from NumPy arrays; or one thing is spoiled, and a word of jcausal
must say what. Nothing of another library's may reach a user.
"""

import contextlib
import functools
import io
import traceback
import warnings
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import duckdb
import hypothesis
import jaxtyping
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import strategies as st

import jcausal as jc
from jcausal.cli import main

SETTINGS = functools.partial(
    hypothesis.settings,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
N, GAPS = 40, (3, 11, 12)
METHOD = jc.AHB(outcome=jc.Ridge(), min_controls=2)
RNG = np.random.default_rng(0)
ROLES = ("t", "y", "a", "b", "c", "w", "id", "cluster")
BASE = dict(
    t=[int(i % 3 == 0) for i in range(N)],
    a=[float(v) / 4 for v in RNG.permutation(N) - 17],
    b=[int(v) for v in RNG.integers(0, 9, N)],
    c=[("red", "green", "blue")[v] for v in RNG.integers(0, 3, N)],
    w=[(0.5, 1.0, 2.0)[v] for v in RNG.integers(0, 3, N)],
    id=[int(v) + 100 for v in RNG.permutation(N)],
    cluster=[int(v) for v in np.arange(N) % 12],
)
BASE["y"] = [round(2 * a + b + 3 * t, 2) for a, b, t in zip(BASE["a"], BASE["b"], BASE["t"])]
ODD = ("$rent", "a b", "mean of y", "x_1^2", "ö", "%", "t=1", "Unit", "1", "b missing", "effect")
KINDS = ("pandas", "polars", "lazy", "pyarrow", "duckdb", "dict")
DRESS = {
    "t": ("int", "bool", "float", "nullable", "words", "minus one"),
    "y": ("float", "float32", "decimal", "object"),
    "a": ("float", "float32", "float16", "decimal", "object", "nullable"),
    "b": ("int", "int8", "uint64", "float", "object", "nullable"),
    "c": ("words", "category", "unused level", "numbers"),
    "w": ("float", "float32"),
    "id": ("int", "words", "numbers as words"),
    "cluster": ("int", "words", "float"),
}
SPOILS = (
    *("infinite", "complex", "lists", "a word", "one arm", "three arms", "double id"),
    *("negative weight", "no column", "outcome of words", "dates", "no rows", "double name"),
    *("a gap", "all gaps", "no weight at all"),
)


class Case(NamedTuple):
    """A table: its kind, what each column is dressed as, gaps, names, orders, what is spoiled.

    `verbs`: whether all verbs are asked, or the sample alone.
    """

    kind: str
    dress: dict[str, str]
    roles: tuple[str, ...]
    gap: tuple[str, str] | None
    names: dict[str, str]
    order: tuple[str, ...]
    index: str
    spoil: str | None
    verbs: bool


@st.composite
def cases(draw, spoiled=False):
    roles = [r for r in ROLES if r in ("t", "y", "a", "b") or draw(st.booleans())]
    if "cluster" in roles and "id" in roles:
        roles.remove(draw(st.sampled_from(["cluster", "id"])))
    dress = {r: draw(st.sampled_from(DRESS[r])) for r in roles}
    gaps = [None, ("a", "drop"), ("y", "drop"), ("b", "indicator"), ("t", "drop")]
    gap = draw(st.sampled_from(gaps + ([("c", "indicator")] if "c" in roles else [])))
    if gap == ("c", "indicator"):  # "missing" then stands behind the levels, whatever they are
        dress["c"] = dress["c"].replace("unused level", "category")
    odd = draw(st.permutations(ODD)) if draw(st.booleans()) else list(roles)
    return Case(
        kind=draw(st.sampled_from(KINDS)),
        dress=dress,
        roles=tuple(roles),
        gap=gap,
        names=dict(zip(roles, odd)),
        order=tuple(draw(st.permutations(roles))),
        index=draw(st.sampled_from(["plain", "shuffled", "words", "double"])),
        spoil=draw(st.sampled_from(SPOILS)) if spoiled else None,
        verbs=draw(st.integers(0, 7)) == 0,
    )


def values_of(case, role):
    """The column as a list of Python values, None for a gap."""
    values, dress = list(BASE[role]), case.dress[role]
    if role == "t":
        values = {
            "bool": [bool(v) for v in values],
            "nullable": [bool(v) for v in values],
            "float": [float(v) for v in values],
            "words": [("no", "yes")[v] for v in values],
            "minus one": [2 * v - 1 for v in values],
        }.get(dress, values)
    elif dress == "decimal":
        values = [Decimal(str(v)) for v in values]
    elif dress in ("words", "numbers as words"):
        values = [f"k{v}" if dress == "words" and role != "c" else str(v) for v in values]
    elif dress == "numbers":
        values = [("blue", "green", "red").index(v) for v in values]
    elif dress == "float":
        values = [float(v) for v in values]
    if case.gap is not None and case.gap[0] == role:
        values = [None if i in GAPS else v for i, v in enumerate(values)]
    return values


NUMBERS = dict(
    int="int64", int8="int8", uint64="uint64", float="float64", float32="float32", float16="float16"
)


def pandas_column(case, role):
    values, dress = values_of(case, role), case.dress[role]
    if dress == "nullable":
        return pd.Series(values, dtype={"t": "boolean", "a": "Float64", "b": "Int64"}[role])
    if dress in ("category", "unused level"):
        levels = ["blue", "green", "red"] + ["white"] * (dress == "unused level")
        return pd.Series(pd.Categorical(values, categories=levels))
    if dress in NUMBERS and None not in values:
        return pd.Series(np.array(values, NUMBERS[dress]))
    if dress in NUMBERS and dress.startswith("float"):
        return pd.Series(np.array([np.nan if v is None else v for v in values], NUMBERS[dress]))
    return pd.Series(values, dtype=object)


def frame_of(case):
    """The table in its kind."""
    columns = {case.names[r]: pandas_column(case, r) for r in case.order}
    frame = pd.DataFrame(columns)
    index = dict(
        shuffled=np.random.default_rng(1).permutation(N),
        words=[f"row {i}" for i in range(N)],
        double=np.arange(N) // 2,
    )
    if case.kind == "pandas":
        return frame.set_axis(index[case.index]) if case.index in index else frame
    if case.kind == "dict":
        return {name: values_of(case, r) for r, name in ((r, case.names[r]) for r in case.order)}
    table = pa.table({name: arrow(frame[name]) for name in frame})
    if case.kind in ("polars", "lazy"):
        return pl.from_arrow(table).lazy() if case.kind == "lazy" else pl.from_arrow(table)
    return duckdb.from_arrow(table) if case.kind == "duckdb" else table


def arrow(column):
    if column.dtype == np.float16:
        column = column.astype(np.float32)
    return pa.array(column, from_pandas=True)


def options_of(case):
    """The words for `from_frame`."""
    role = dict(treatment="t", outcome="y", weight="w", id="id", cluster="cluster")
    options = {word: case.names[r] for word, r in role.items() if r in case.roles}
    if case.dress["t"] in ("words", "minus one"):
        options["treated"] = "yes" if case.dress["t"] == "words" else 1
    covariates = [case.names[r] for r in "abc" if r in case.roles]
    options |= dict(covariates=covariates)
    if "c" in case.roles:
        options["categorical"] = [case.names["c"]]
    return options | dict(missing="error" if case.gap is None else case.gap[1])


@functools.cache
def expected(roles, gap, id_as, cluster_as):
    """The sample and its effects from plain arrays."""
    lost = GAPS if gap is not None and gap[1] == "drop" else ()
    rows = np.array([i for i in range(N) if i not in lost])
    covariates = [r for r in "abc" if r in roles]
    levels = ["blue", "green", "red"]
    columns = {r: [levels.index(v) for v in BASE["c"]] if r == "c" else BASE[r] for r in covariates}
    kinds = {"a": "number", "b": "number", "c": "category"}
    flags = {}
    if gap is not None and gap[1] == "indicator":
        name, place = gap[0], covariates.index(gap[0])
        column = np.array(columns[name], float)
        column[list(GAPS)] = 3 if name == "c" else 0
        columns[name] = column
        if name == "c":
            flags = {"c": "c"}
        else:
            flag = np.isin(np.arange(N), GAPS).astype(float)
            columns["b missing"] = flag
            covariates.insert(place + 1, "b missing")
            kinds["b missing"], flags = "category", {"b": "b missing"}
    x = np.array([columns[r] for r in covariates], float).T[rows]
    named = dict(int=lambda v: v, words=lambda v: f"k{v}", float=float)
    named["numbers as words"] = str
    extra = dict(weight=np.array(BASE["w"])[rows]) if "w" in roles else {}
    if "id" in roles:
        extra["id"] = [named[id_as](BASE["id"][i]) for i in rows]
    if "cluster" in roles:
        extra["cluster"] = [named[cluster_as](BASE["cluster"][i]) for i in rows]
    t, y = (np.array(BASE[r], float)[rows] for r in "ty")
    words = dict(kinds=[kinds[r] for r in covariates], names=covariates, flags=flags)
    sample = jc.Sample(x, t, y, **extra, **words)
    effects = jc.estimate(sample, METHOD, key=0)
    return sample, effects, interval_of(effects)


def interval_of(effects):
    """Whole clusters are drawn where there are some."""
    if effects.sample.cluster is None:
        return jc.interval(effects, jc.AbadieImbens())
    return jc.interval(effects, jc.Bootstrap(draws=50), key=0)


def words_of_ours(error):
    """Whether an error was raised by jcausal itself, in a class that users may expect."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = Path(jc.__file__).parent in Path(last).parents
    return ours and isinstance(error, ValueError | TypeError | RuntimeError | KeyError)


def quietly(call):
    """Without checks of annotations, and whatever is warned of."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def check_equal(case):
    sample = jc.Sample.from_frame(frame_of(case), **options_of(case))
    id_as, cluster_as = case.dress.get("id"), case.dress.get("cluster")
    roles = tuple(r for r in ROLES if r in case.roles)
    plain, effects, interval = expected(roles, case.gap, id_as, cluster_as)
    fields = ["x", "t", "y", "weight", "codes", "cluster"]
    if case.dress.get("c") != "unused level":  # which stays a level, in kinds that declare it
        fields.append("heights")
    for field in fields:
        np.testing.assert_array_equal(getattr(sample, field), getattr(plain, field))
    if case.verbs:
        check_verbs(case, sample, effects, interval)


def check_verbs(case, sample, effects, interval):
    found = jc.estimate(sample, METHOD, key=0)
    told, wanted = interval_of(found), interval
    near = 2e-5 if case.dress.get("c") == "unused level" else 0  # one more level rounds otherwise
    for one, other in (
        (found.att, effects.att),
        (found.ite, effects.ite),
        (told.lower, wanted.lower),
        (told.upper, wanted.upper),
    ):
        np.testing.assert_allclose(one, other, rtol=near, atol=near)
    plain = effects.sample
    (train, test), (train_plain, test_plain) = (jc.split(one, key=1) for one in (sample, plain))
    np.testing.assert_array_equal(test.x, test_plain.x)
    surface, same = (jc.fit(one, jc.Ridge(), key=2) for one in (train, train_plain))
    np.testing.assert_allclose(surface(test.x), same(test.x), rtol=near, atol=near)
    boxes, wanted = (
        jc.match(one, jc.AHB(), surface=by, throw=False)
        for one, by in ((test, surface), (test_plain, same))
    )
    np.testing.assert_array_equal(boxes.status, wanted.status)
    np.testing.assert_array_equal(boxes.sizes, wanted.sizes)
    assert found.summary().splitlines()[0] == effects.summary().splitlines()[0]
    home = {"lazy": "polars", "dict": "pandas"}.get(case.kind, case.kind)
    roles = {k: v for k, v in options_of(case).items() if k not in ("id", "cluster", "missing")}
    described = jc.describe(frame_of(case), **roles)
    for table in (found.to_frame(), jc.balance(sample, found), described):
        assert home in type(table).__module__, (home, type(table))
    assert repr(sample) and sample._repr_html_()


def run_guard(examples):
    @SETTINGS(max_examples=examples)
    @hypothesis.given(cases())
    def guard(case):
        quietly(lambda: check_equal(case))

    guard()


@pytest.mark.extended
def test_any_dress_gives_what_plain_arrays_give():
    run_guard(100)


@pytest.mark.extended
def test_any_dress_gives_what_plain_arrays_give_2000():
    run_guard(2000)


def spoil(case, frame, options):
    """One thing that cannot be right, the frame with it, and words of which one must be told."""
    names, kind = case.names, case.spoil
    frame, options = frame.copy(), dict(options)

    def put(role, values):
        frame[names[role]] = pd.Series(values, dtype=object).to_numpy()

    some, told = list(BASE["a"]), names["a"]
    if kind == "infinite":
        some[2] = np.inf
        frame[names["a"]] = some
    elif kind == "complex":
        frame[names["a"]] = np.array(some) * 1j
    elif kind == "lists":
        put("a", [[v, v] for v in some])
    elif kind == "a word":
        some[2] = "seven"
        put("a", some)
    elif kind in ("one arm", "three arms"):
        frame[names["t"]] = 1 if kind == "one arm" else np.arange(N) % 3
        told = names["t"]
        options.pop("treated", None)
    elif kind == "double id":
        frame[names["b"]] = 5
        options["id"], told = names["b"], names["b"]
        options["covariates"] = [names["a"]]
        options.pop("cluster", None), options.pop("categorical", None)
    elif kind in ("negative weight", "no weight at all"):
        frame["mass"] = 0.0 if kind == "no weight at all" else np.arange(N) - 3.0
        options["weight"], told = "mass", "weight"
    elif kind == "no column":
        options["covariates"], told = [names["a"], "absent"], "absent"
    elif kind == "outcome of words":
        put("y", [f"u{v}" for v in BASE["y"]])
        told = names["y"]
    elif kind == "dates":
        frame[names["a"]] = pd.date_range("2020-01-01", periods=N)
    elif kind == "no rows":
        frame, told = frame.iloc[:0], "row"
    elif kind == "double name":
        frame = pd.concat([frame, frame[[names["a"]]]], axis=1)
    elif kind in ("a gap", "all gaps"):
        some = [None if i == 2 or kind == "all gaps" else v for i, v in enumerate(some)]
        frame[names["a"]] = some
        options["missing"] = "error"
    return frame, options, told


def check_spoiled(case):
    plain = case._replace(kind="pandas", gap=None)
    frame, options, told = spoil(case, frame_of(plain), options_of(plain))
    if case.kind in ("polars", "pyarrow") and case.spoil not in ("complex", "double name"):
        try:
            table = pa.table({name: arrow(frame[name]) for name in frame})
        except pa.ArrowException:
            return  # the library of frames refuses to hold it
        frame = pl.from_arrow(table) if case.kind == "polars" else table
    error = error_of(lambda: jc.estimate(jc.Sample.from_frame(frame, **options), METHOD, key=0))
    assert error is not None, f"{case.spoil} passed unseen"
    assert words_of_ours(error), f"{type(error).__name__}: {error}"
    assert told in str(error), f"{told!r} is not in: {error}"
    assert "\n" not in str(error) and str(error).endswith("."), str(error)


def error_of(call):
    """What a call raises, or None."""
    try:
        call()
    except Exception as error:
        return error
    return None


def run_spoiled(examples):
    @SETTINGS(max_examples=examples)
    @hypothesis.given(cases(spoiled=True))
    def guard(case):
        quietly(lambda: check_spoiled(case))

    guard()


def test_what_is_spoiled_is_told_in_one_sentence():
    run_spoiled(100)


@pytest.mark.extended
def test_what_is_spoiled_is_told_in_one_sentence_1000():
    run_spoiled(1000)


def command_words(case, options, file, out):
    words = ["estimate", str(file), "--out", str(out), "--quiet", "--no-cache"]
    words += ["--surface", "ridge", "--option", "min_controls=2", "--missing", options["missing"]]
    for name in ("treatment", "outcome", "weight", "id", "cluster", "treated"):
        if name in options:
            words += [f"--{name}={options[name]}"]
    for name in ("covariates", "categorical"):
        if options.get(name):
            words += [f"--{name}", *options[name]]
    return words


def check_command(case, folder):
    """The files say what plain arrays say, or nothing is written and one sentence told."""
    plain = case._replace(kind="pandas", index="plain")
    frame, options = frame_of(plain), options_of(plain)
    if case.spoil:
        frame, options, _ = spoil(case, frame_of(plain._replace(gap=None)), options)
    file, out = folder / "data.csv", folder / "out"
    frame.to_csv(file, index=False)
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        code = main(command_words(case, options, file, out))
    if case.spoil:
        assert code == 2 and not out.exists(), case.spoil
        last = told.getvalue().strip().splitlines()[-1]
        words = [*case.names.values(), "absent", "mass", "--", "row", "arm", "column"]
        assert any(word in last for word in words), last
        return
    assert code == 0, told.getvalue()
    id_as = "int" if case.dress.get("id") == "numbers as words" else case.dress.get("id")
    cluster_as = "int" if case.dress.get("cluster") == "float" else case.dress.get("cluster")
    roles = tuple(r for r in ROLES if r in case.roles)
    effects = expected(roles, case.gap, id_as, cluster_as)[1]
    table = pd.read_csv(out / "effects.csv")
    np.testing.assert_allclose(table["effect"], effects.ite, rtol=1e-4, atol=1e-6)


def run_command(examples, folder, spoiled):
    count = iter(range(10**6))

    @SETTINGS(max_examples=examples)
    @hypothesis.given(cases(spoiled=spoiled))
    def guard(case):
        place = folder / str(next(count))
        place.mkdir()
        quietly(lambda: check_command(case, place))

    guard()


@pytest.mark.parametrize("spoiled", [pytest.param(False, marks=pytest.mark.extended), True])
def test_the_command_on_any_table(tmp_path, spoiled):
    run_command(6, tmp_path, spoiled)


@pytest.mark.extended
@pytest.mark.parametrize("spoiled", [False, True])
def test_the_command_on_any_table_100(tmp_path, spoiled):
    run_command(100, tmp_path, spoiled)


TIMES = {
    "int": lambda m: list(range(m)),
    "year": lambda m: [2001 + k for k in range(m)],
    "words": lambda m: [f"week {k + 1}" for k in range(m)],
    "months": lambda m: [f"2019-{k + 1}" for k in range(m)],
    "dates": lambda m: [d.date() for d in pd.date_range("2020-01-31", periods=m, freq="D")],
}


@st.composite
def panels(draw):
    n, m = 8, 12
    return dict(
        kind=draw(st.sampled_from(["pandas", "polars", "pyarrow", "duckdb"])),
        time=draw(st.sampled_from(list(TIMES))),
        order=draw(st.integers(0, 5)),
        treat=draw(st.sampled_from(["int", "bool", "words"])),
        lost=draw(st.booleans()),
        shape=(n, m),
    )


def check_panel(case):
    n, m = case["shape"]
    rng = np.random.default_rng(0)
    y = np.round(rng.normal(size=(n, m)), 3)
    d = (np.arange(n)[:, None] >= 5) & (np.arange(m) >= 8)
    mask = np.ones((n, m), bool)
    mask[2, 3] = not case["lost"]
    i, j = np.nonzero(mask)
    times = TIMES[case["time"]](m)
    frame = pd.DataFrame(
        dict(
            unit=[f"u{k}" for k in i],
            time=[times[k] for k in j],
            y=y[i, j],
            law={"int": d[i, j].astype(int), "bool": d[i, j]}.get(case["treat"]),
        )
    )
    if case["treat"] == "words":
        frame["law"] = np.where(d[i, j], "on", "off")
    frame = frame.sample(frac=1, random_state=case["order"])
    if case["kind"] != "pandas":
        table = pa.table({name: pa.array(frame[name].tolist()) for name in frame})
        frame = {"polars": pl.from_arrow, "duckdb": duckdb.from_arrow}.get(
            case["kind"], lambda table: table
        )(table)
    options = dict(unit="unit", time="time", outcome="y", treatment="law")
    if case["treat"] == "words":
        options["treated"] = "on"
    panel = jc.Panel.from_frame(frame, **options)
    plain = jc.Panel(y, d, mask=mask)
    for field in ("y", "d", "mask"):
        np.testing.assert_array_equal(getattr(panel, field), getattr(plain, field))
    found, wanted = (jc.complete(p, jc.TwoWayFixedEffects()) for p in (panel, plain))
    assert float(found.att) == float(wanted.att)
    assert case["kind"] in type(found.to_frame()).__module__
    assert case["kind"] in type(found.event_study()).__module__


def test_any_panel_gives_what_plain_arrays_give():
    @SETTINGS(max_examples=40)
    @hypothesis.given(panels())
    def guard(case):
        quietly(lambda: check_panel(case))

    guard()
