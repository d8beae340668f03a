"""Results print as their summaries, stand in a notebook with a table, and never fail to print."""

from html.parser import HTMLParser

import duckdb
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.inference._interval import Groups

ODD = "<script>alert('$x$')</script> & $y$"


@pytest.fixture(scope="module")
def results():
    """One of each kind of result, with the words that it is to print as (None: looked at below)."""
    sample = draw_sample(0, n=60, names=["age", ODD, "pay"])
    effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
    rng = np.random.default_rng(0)
    d = np.zeros((12, 10))
    d[3, 7:] = 1
    panel = jc.Panel(rng.normal(size=(12, 10)), d, unit=[f"u{i}" for i in range(11)] + [ODD])
    completion = jc.complete(panel, jc.TwoWayFixedEffects())
    average = jc.interval(effects, jc.AbadieImbens())
    second = effects.second_opinion()
    by = np.arange(60) // 30
    groups = jc.interval(effects, jc.AbadieImbens(), by=by)
    estimates = jc.GroupEstimates([0.5, 0.9, 0.2], std_error=[0.1, 0.2, 0.1], label=["a", ODD, "c"])
    allocation = jc.allocate(estimates, jc.TopK(2))
    plan = jc.LEA(eps=0.04).plan(40)
    tau = np.linspace(0, 1, 20)
    new = jc.allocation.rebudget(tau, jc.allocation.Slide(), budget=5, rho=0.01, eps=0.1)
    sure = jc.allocation.guarantee(tau, budget=5, rho=0.01)
    return dict(
        sample=(sample, None),
        effects=(effects, effects.summary()),
        matching=(effects.matching, None),
        surface=(effects.surfaces[0], None),
        second=(second, second.summary()),
        average=(average, None),
        groups=(groups, None),
        panel=(panel, panel.summary()),
        completion=(completion, completion.summary()),
        placebos=(jc.placebo(completion), None),
        heterogeneity=(jc.heterogeneity(groups, min_queries=2), None),
        estimates=(estimates, None),
        allocation=(allocation, allocation.summary()),
        plan=(plan, plan.summary()),
        rebudget=(new, new.summary()),
        guarantee=(sure, sure.summary()),
        grouping=(jc.allocation.group(sample, jc.allocation.Quantiles("age", 3)), None),
    )


WORDS = dict(
    sample="60 units: 20 treated, 40 controls\noutcome: mean ",
    matching="Boxes for ATT: matched 20 of 20 queries among 60 units\nquery 0: ",
    surface="RidgeSurface, trained on 20 rows; sd around it: controls ",
    average="; population average, Abadie-Imbens)",
    groups="2 95% intervals of population average by group (Abadie-Imbens)",
    placebos="; 11 placebos over units with standard deviation ",
    heterogeneity=" on 1 degrees of freedom, p ",
    estimates=f'estimates of 3 groups, 0.2 to 0.9, with errors; the largest are of "{ODD}", ',
    grouping="60 units in 3 groups of 20 to 20 units",
)
NAMES = [*WORDS, *("effects", "second", "panel", "completion", "allocation", "plan", "rebudget")]


@pytest.mark.parametrize("name", [*NAMES, "guarantee"])
def test_a_result_prints_as_its_summary(results, name):
    result, words = results[name]
    assert repr(result) == str(result) == f"{result}"
    assert "no summary" not in str(result)
    if words is None:
        assert WORDS[name] in str(result)
    else:
        assert str(result) == words


def test_intervals_by_group_print_their_table(results):
    """Numbers as `to_frame` has them, labels as they are; what is not there is "none"."""
    found = results["groups"][0]
    _, names, *rows = [line.split() for line in str(found).split("\n")]
    assert names == ["group", "matched", "estimate", "std_error", "lower", "upper"]
    for said, row in zip(rows, found.to_frame().itertuples(), strict=True):
        assert said[:4] == [str(row.group), str(row.matched), "of", str(row.queries)]
        words = [jc.data.number_in_words(v) for v in (row.estimate, row.std_error)]
        assert said[4:] == [*words, *map(jc.data.number_in_words, (row.lower, row.upper))]


def test_many_groups_print_the_first_and_many_queries_their_range():
    estimate = jnp.array([-1.5, np.nan, *np.linspace(0, 2, 23)])
    numbers = dict(estimate=estimate, std_error=estimate, lower=estimate - 1, upper=estimate + 1)
    numbers |= dict(pooled=jnp.zeros(25, bool), level=0.95, target="tau(x)", method="mine")
    assert str(jc.inference.Interval(**numbers)).endswith(
        " of tau(x) (mine); estimates from -1.5 to 2, median width 2"
    )
    groups = Groups(jnp.full(25, 3), jnp.full(25, 2), (np.datetime64("2020-01-01"), *range(24)))
    said = str(jc.inference.Interval(**numbers, groups=groups)).split("\n")
    assert len(said) == 2 + 20 + 1 and said[-1].startswith("... and 5 more groups")
    assert " ".join(said[2].split()) == "2020-01-01 2 of 3 -1.5 -1.5 -2.5 -0.5"
    assert said[3].split() == ["0", "2", "of", "3", *["none"] * 4]


class Page(HTMLParser):
    """Tags, the text between them, and the rows of tables."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.rows = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.words.append(data)
        if self.tags[-1][0] in ("td", "th") and data.strip():
            self.rows[-1][-1] = data


def table_of(result):
    """Its table in a notebook: columns by name, of words."""
    names, *rows = Page(result._repr_html_()).rows
    return dict(zip(names, zip(*rows, strict=True), strict=True))


WITHOUT_TABLE = {"surface", "rebudget", "guarantee"}


@pytest.mark.parametrize("name", [n for n in NAMES if n != "heterogeneity"])
def test_a_notebook_shows_the_summary_and_a_table_with_every_name_escaped(results, name):
    result, _ = results[name]
    html = result._repr_html_()
    page = Page(html)
    assert "<script>" not in html and "no table" not in html
    assert "script" not in {tag for tag, _ in page.tags}
    assert str(result) in "".join(page.words)
    assert page.tags[0] == ("div", {"class": "tex2jax_ignore mathjax_ignore"})
    assert ("table" in {tag for tag, _ in page.tags}) == (name not in WITHOUT_TABLE)


def test_the_tables_hold_the_first_rows(results):
    def shown(name):
        return table_of(results[name][0])

    def same(words, numbers):
        np.testing.assert_allclose(np.array(words, float), numbers, atol=1e-5)

    effects, sample = results["effects"][0], results["sample"][0]
    same(shown("effects")["effect"], effects.ite[:10])
    assert "10 of 20 rows" in effects._repr_html_()
    same(shown("sample")[ODD], sample.points[:10, 1])
    assert shown("matching")["group"][0] == effects.matching.describe(0)
    assert shown("panel")["unit"] == ("u0",) * 10
    assert shown("estimates")["group"] == ("a", ODD, "c")
    same(shown("groups")["estimate"], results["groups"][0].estimate)


@pytest.mark.extended
def test_tunings_trees_and_functions_print():
    sample = draw_sample(1, n=60)
    tuning = jc.tune(sample, jc.FastAHB(outcome=wavy), {"caliper": [0.316, 0.447]}, folds=1)
    assert str(tuning).startswith("best of 2 settings: caliper ")
    assert table_of(tuning)["caliper"] == ("0.316", "0.447")
    tree = jc.fit(draw_sample(0, n=200), jc.M5Tree(min_controls=20))
    assert str(tree).split("\n")[1:] == tree.rules()[:10]
    assert table_of(tree)["rule"] == tuple(tree.rules()[:10])
    assert str(jc.Function(wavy)).startswith("Function, not trained; ")


@pytest.mark.parametrize("name", ["sample", "effects", "matching", "average", "completion"])
def test_under_a_trace_and_by_the_dozen_results_print_as_pytrees(results, name):
    result, seen = results[name][0], []

    def look(result):
        seen.extend([repr(result), str(result), result._repr_html_()])
        return jnp.zeros(())

    jax.jit(look)(result)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), result)
    look(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), many))
    for words in seen:
        assert f"{type(result).__name__}(" in words and "no summary" not in words
        assert "<table" not in words
    half = jax.tree.map(lambda leaf: None, result)
    assert repr(half).startswith(f"{type(result).__name__}(")
    assert "(no summary can be made: " in repr(half) and "no table can be made" in (
        half._repr_html_()
    )


def test_a_panel_without_a_treated_cell_prints():
    panel = jc.Panel(np.ones((4, 3)), np.eye(4, 3)).take([3])
    assert "Panel(" in repr(panel) and "none of the 3 observed cells is treated" in repr(panel)


def frame():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=40), np.arange(40) % 2
    return dict(t=t, y=x + t + rng.normal(size=40), age=x, town=list("abcde") * 8)


KINDS = dict(
    pandas=pd.DataFrame, polars=pl.DataFrame, pyarrow=pa.Table, duckdb=duckdb.DuckDBPyRelation
)


def as_kind(kind, data):
    if kind in ("pandas", "polars"):
        return KINDS[kind](data)
    return pa.table(data) if kind == "pyarrow" else duckdb.from_arrow(pa.table(data))


def columns(table):
    """A frame of any kind as lists, an index with a name first."""
    if isinstance(table, pd.DataFrame):
        table = table.reset_index() if table.index.name is not None else table
        return table.to_dict("list")
    if isinstance(table, pl.DataFrame):
        return table.to_dict(as_series=False)
    return (table if isinstance(table, pa.Table) else table.to_arrow_table()).to_pydict()


def everything(kind):
    """Every frame that is made of a frame."""
    data = as_kind(kind, frame())
    sample = jc.Sample.from_frame(data, treatment="t", outcome="y", categorical=["town"])
    effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
    average, half = jc.AbadieImbens(), jc.allocation.Quantiles("age", 2)
    by = jc.interval(effects, average, by="town")
    trial = jc.GroupEstimates.from_trial(sample, by="town")
    tuning = jc.tune(sample, jc.FastAHB(outcome=wavy), {"caliper": [0.316, 0.447]}, folds=1)
    tree = jc.fit(sample, jc.M5Tree(min_controls=4))
    long = {"u": list("aabbccdd"), "m": [1, 2] * 4, "y": np.arange(8.0) ** 2, "d": [0, 1, *[0] * 6]}
    roles = dict(unit="u", time="m", outcome="y", treatment="d")
    panel = jc.Panel.from_frame(as_kind(kind, long), **roles)
    found = jc.complete(panel, jc.TwoWayFixedEffects())
    placebos = jc.placebo(found)
    return {
        "describe": jc.describe(data, treatment="t", outcome="y"),
        "sample": sample.to_frame(),
        "matched": effects.matching.to_frame(),
        "boxes": effects.matching.describe_frame(),
        "effects": effects.to_frame(),
        "cate": effects.cate("town"),
        "unmatched": effects.unmatched(),
        "balance": jc.balance(sample, effects),
        "balance of several": jc.balance(sample, {"boxes": effects, "again": effects.matching}),
        "balance by group": jc.balance(sample, effects, by="town", squares=True),
        "sizes": jc.diagnostics.sample_sizes(sample, effects),
        "sensitivity": jc.sensitivity(effects, jc.OmittedVariable()).to_frame(),
        "E-values": jc.sensitivity(effects, jc.EValue()).to_frame(),
        "average": jc.interval(effects, average).to_frame(),
        "units": jc.interval(effects, jc.ConservativeNormal()).to_frame(),
        "by": by.to_frame(),
        "allocation of a trial": jc.allocate(trial, jc.TopK(1)).to_frame(),
        "allocation of intervals": jc.allocate(
            jc.GroupEstimates.from_effects(by), jc.TopK(1)
        ).to_frame(),
        "grouping": jc.allocation.group(sample, half).to_frame(),
        "tuning": tuning.table,
        "tree": tree.to_frame(sample),
        "panel": panel.to_frame(),
        "completion": found.to_frame(),
        "unit": found.unit_frame(),
        "events": found.event_study(),
        "cohorts": found.cohort_average(),
        "placebos": placebos.to_frame(),
        "interval of placebos": placebos.interval().to_frame(),
    }


@pytest.fixture(scope="module")
def in_pandas():
    return everything("pandas")


@pytest.mark.extended
@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_of_the_kind_that_came_in_with_the_same_values(kind, in_pandas):
    for name, table in everything(kind).items():
        assert isinstance(table, KINDS[kind]), name
        ours, theirs = columns(table), columns(in_pandas[name])
        assert list(ours) == [str(column) for column in theirs], name
        for column, values in ours.items():
            for one, other in zip(values, theirs[column], strict=True):
                assert one == other or (pd.isna(one) and pd.isna(other)), (name, column)


@pytest.mark.extended
@pytest.mark.parametrize("kind", KINDS)
def test_the_love_plot_takes_every_kind_of_table(kind, in_pandas):
    import matplotlib.pyplot as plt

    from jcausal.data import like

    ax = jc.plot.love(like(kind, in_pandas["balance"]))
    whole = jc.plot.love(in_pandas["balance"])
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        text.get_text() for text in whole.get_yticklabels()
    ]
    np.testing.assert_array_equal(
        ax.collections[-1].get_offsets(), whole.collections[-1].get_offsets()
    )
    plt.close("all")
