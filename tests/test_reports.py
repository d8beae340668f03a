"""Reports: what stands in the page is what was computed, and no word of a user breaks it."""

import html
import json
import re

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import close, draw_sample, wavy
from methods import METHODS, SURFACE

import jcausal as jc
from jcausal.cli import main
from jcausal.reports import _render
from jcausal.reports._charts import axis_over, forest
from jcausal.reports._documentation import described
from jcausal.reports._render import as_json, compact
from jcausal.reports._unit_rows import MEMBERS

EVIL = "</script><script>alert(1)</script>"


def page_of(found, tmp_path, **options):
    return jc.report(found, tmp_path / "report.html", **options).read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'id="data-units">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def effects():
    sample = draw_sample(3, n=90, p=2, category=3, id=[f"u{k}" for k in range(90)])
    return jc.estimate(sample, jc.FastAHB(outcome=jc.Function(wavy)), key=0)


@pytest.fixture(scope="module")
def page(effects, tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    return page_of(effects, path, unit="kg", key=0, method=jc.FastAHB(), by=["x2"])


@pytest.mark.x64
def test_the_answer_and_the_ways_to_it(effects, page):
    bounds = jc.interval(effects, jc.AbadieImbens())
    words = [jc.data.number_in_words(float(v)) for v in (bounds.estimate, bounds.lower)]
    assert f"{words[0]} kg (95% interval {words[1]} to" in page
    plain = jc.data.number_in_words(float(effects.unadjusted.average))
    assert re.search(rf'plain means</th>\s*<td class="number">{re.escape(plain)}</td>', page)
    second = jc.data.number_in_words(float(effects.second_opinion().average))
    assert f'second opinion (AIPW)</th><td class="number">{second}</td>' in page
    assert "the average effect of the treatment on the outcome among the treated (ATT)" in page
    assert "Otsu" not in page and "Morucci" in page  # sources of what was used alone


@pytest.mark.x64
def test_groups_by_a_covariate_cost_nothing_anew_and_are_the_same(effects, page):
    table = jc.interval(effects, jc.AbadieImbens(), by="x2").to_frame()
    once = jc.reports.measure(effects, jc.AbadieImbens(), by=["x2"]).groups["x2"]
    pd.testing.assert_frame_equal(table, once)
    drawn = jc.Bootstrap(draws=40)
    same = jc.reports.measure(effects, drawn, by=["x2"], key=3).groups["x2"]
    close(jc.interval(effects, drawn, by="x2", key=3).to_frame()["std_error"], same["std_error"])
    for value in table["estimate"]:
        assert f">{jc.data.number_in_words(value)}</td>" in page


@pytest.mark.x64
def test_units_and_their_groups_are_in_the_data(effects, page):
    data, matching = data_of(page), effects.matching
    columns = {one["name"]: one["values"] for one in data["columns"]}
    asked = np.flatnonzero(np.asarray(matching.asked))
    ids = matching.sample.id[np.asarray(matching.query)[asked]]
    assert columns["id"] == ids.tolist()
    close(columns["effect"], effects.ite[asked], rtol=1e-5)
    groups, units = data["groups"], data["units"]
    for place, k in enumerate(groups["of"][:5]):
        rows, weight = matching.group(int(asked[k]))
        told = [units["id"][m] for m in groups["members"][place]]
        assert told[0] == ids[k] and len(told) == min(rows.size, MEMBERS + 1)
        assert set(told) <= set(matching.sample.id[rows])
        assert sum(groups["size"][place]) == rows.size
        mine = {matching.sample.id[r]: w for r, w in zip(rows, weight)}
        close(groups["weights"][place], [mine[one] for one in told], rtol=1e-4)
        assert groups["words"][place] == matching.describe(int(asked[k]))
    first = units["covariates"][0]
    row = {one: k for k, one in enumerate(matching.sample.id)}
    close(first["values"], matching.sample.points[[row[one] for one in units["id"]], 0], rtol=1e-5)


def test_no_word_breaks_the_page(tmp_path):
    frame = pd.DataFrame(dict(t=[0, 1] * 12, y=range(24), a=np.arange(24) % 5))
    frame[EVIL] = [EVIL, "b & <i>c</i>", None] * 8
    frame["who"] = [f"{EVIL}{k}" for k in range(24)]
    roles = dict(treatment="t", outcome="y", id="who", missing="indicator", categorical=[EVIL])
    sample = jc.Sample.from_frame(frame, **roles)
    found = jc.estimate(sample, jc.NearestNeighbors())
    made = page_of(found, tmp_path, treatment=EVIL, outcome="<b>", unit="<u>", title=EVIL)
    assert made.count("<script") == 2 and "alert(1)" in made and "<i>c" not in made
    assert f"<h1>{html.escape(EVIL)}</h1>" in made
    assert data_of(made)["units"]["id"][0].startswith(EVIL)
    assert EVIL in [one["name"] for one in data_of(made)["units"]["covariates"]]


def test_who_is_unmatched_and_why(tmp_path):
    x = np.r_[np.arange(20), 40.0, 41.0]
    sample = jc.Sample(x[:, None], np.r_[np.arange(20) % 2, 1, 1], x, names=["dose"])
    found = jc.estimate(sample, jc.CEM(bins=4))
    made = page_of(found, tmp_path, by=[])
    left = int((~np.asarray(found.matched)).sum())
    assert left and f"{found.matched.sum()} of 12 matched" in made
    assert f'<td class="number">{left}</td>' in made and "its stratum holds no unit" in made
    assert "Who was kept and who was dropped" in made


def test_an_average_has_its_page(tmp_path):
    sample = draw_sample(1, n=80)
    found = jc.estimate(sample, jc.IPTW())
    made = page_of(found, tmp_path, method=jc.IPTW(), level=0.9)
    low, high = (jc.data.number_in_words(float(v)) for v in found.bounds(0.9))
    assert f"(90% interval {low} to {high})" in made and "Lunceford" in made
    data = data_of(made)
    assert data["groups"] is None and len(data["columns"][0]["values"]) == 80
    assert "Balance before and after weighting" in made
    assert "Balance before" not in page_of(
        jc.estimate(sample, jc.AIPW(jc.Ridge()), key=0), tmp_path
    )


def test_a_posterior_has_its_page_without_what_weights_have(tmp_path):
    bart = jc.BART(trees=5, chains=1, burn=5, draws=8, thin=1)
    found = jc.estimate(draw_sample(1, n=60), jc.BARTEffect(bart=bart, arms="together"), key=0)
    page = page_of(found, tmp_path, level=0.9)
    assert "90%, quantiles of the posterior" in page and "influence" not in page
    assert "effective:" not in page
    columns = {one["name"]: one["values"] for one in data_of(page)["columns"]}
    close(columns["lower"], found.units_frame(0.9)["lower"], rtol=1e-5)


def test_panels_and_allocations_have_theirs(tmp_path):
    found = jc.complete(jc.datasets.prop99(), jc.TwoWayFixedEffects())
    made = page_of(found, tmp_path, treatment="the tax", unit="packs")
    assert "What did the tax do to" in made and "Borusyak" in made
    assert f"{jc.data.number_in_words(float(found.average))} packs" in made
    data = data_of(made)
    place = data["columns"][0]["values"].index("California")
    close(
        data["series"]["observed"][place],
        np.asarray(found.panel.y)[found.panel.unit == "California"][0],
    )
    chosen = jc.allocate([0.9, 0.2, 0.6, 0.5], jc.TopK(2), rho=0.1)
    made = page_of(chosen, tmp_path)
    assert "2 of 4 groups" in made and "at least 92.9% of the best value is sure" in made
    assert data_of(made)["columns"][0]["values"] == ["0", "1", "2", "3"]


def test_what_is_refused(effects, tmp_path, unchecked):
    path = tmp_path / "r.html"
    with pytest.raises(ValueError, match="report takes what jc.estimate, jc.complete"):
        jc.report(effects.sample, path)
    with pytest.raises(ValueError, match="level is 0.9, and interval= has its own, 0.95"):
        jc.report(effects, path, interval=jc.AbadieImbens(), level=0.9)
    average = jc.estimate(effects.sample, jc.IPTW())
    with pytest.raises(ValueError, match="by= is nothing to the report of an Average"):
        jc.report(average, path, by=["x0"])
    with pytest.raises(ValueError, match="interval= is nothing to the report of an Average"):
        jc.report(average, path, interval=jc.AbadieImbens())
    with pytest.raises(ValueError, match="jit and vmap"):
        jax.jit(lambda e: jc.report(e, path))(effects)
    with pytest.raises(ValueError, match="no covariate 'race'"):
        jc.report(effects, path, by=["race"])
    assert not path.exists() and not list(tmp_path.iterdir())


def test_numbers_of_a_page():
    assert compact(np.array([1.0, np.nan, 1 / 3, np.inf, 123456789.0])) == [
        1,
        None,
        0.333333,
        None,
        123457000,
    ]
    assert compact(np.array(["a", None, ""], object)) == ["a", None, None]
    assert as_json({"a": "</b>&"}) == '{"a":"\\u003c/b\\u003e\\u0026"}'
    over = axis_over([3.0, 47.0])
    assert over.place(over.low) == 0 and over.place(over.high) == 100 and over.place(np.nan) is None
    assert [label for _, label in over.ticks] == ["20", "40"]
    drawn = forest(["a"], np.array([[1.0, 0.0, 2.0]]), "effect")
    assert drawn.rows[0].mid == pytest.approx(
        (drawn.rows[0].low + drawn.rows[0].high) / 2, abs=1e-2
    )
    assert axis_over([5.0, 5.0]).low < 5 < axis_over([5.0, 5.0]).high


def test_what_documentation_says_of_a_method():
    told = described(jc.NearestNeighbors(ratio=3))
    assert told.name == "NearestNeighbors" and told.options == "ratio=3"
    assert told.source.startswith("Rubin (1973)") and "Example" not in told.source
    assert described(object()).source == "" and described(jc.AIPW).options == ""


def test_the_group_of_a_unit_and_effects_along_a_covariate(effects):
    matching = effects.matching
    i = int(np.flatnonzero(np.asarray(effects.matched))[2])
    table = jc.reports.group_table(effects, i)
    rows, _ = matching.group(i)
    assert sorted(table["id"]) == sorted(matching.sample.id[rows]) and table["query"].iloc[0]
    assert (
        table["query"].sum() == 1
        and table["treated"].tolist()[1:].index(1) == (table["treated"] == 0).sum()
    )
    close(table.groupby("treated")["weight"].sum(), [1, 1], rtol=1e-5)
    along = jc.reports.bounds_table(effects, "x0")
    close(along["effect"], effects.cate("x0")["effect"], rtol=1e-6)
    assert (along["box_lower"] <= along["box_upper"]).all() and along["share"].between(0, 1).all()
    with pytest.raises(ValueError, match="is a category"):
        jc.reports.bounds_table(effects, "x2")


def test_the_order_of_rows_changes_no_group_table(effects):
    sample, turned = effects.sample, effects.sample.take(np.arange(90)[::-1])
    again = jc.estimate(turned, jc.NearestNeighbors(ratio=4))
    first = jc.estimate(sample, jc.NearestNeighbors(ratio=4))
    q = len(first.matching.query)
    for i in (0, 7, q - 1):
        one, other = jc.reports.group_table(first, i), jc.reports.group_table(again, q - 1 - i)
        assert one["id"].tolist() == other["id"].tolist()


@pytest.mark.extended
def test_bounds_are_those_that_most_groups_have():
    """By hand: three boxes at the value 1, two of which are [0, 2]."""
    sample = draw_sample(5, n=60, p=2, integers=True)
    found = jc.estimate(sample, jc.FastAHB(outcome=jc.Function(wavy)), key=0)
    table = jc.reports.bounds_table(found, "x0")
    edges, query = found.matching.edges(), np.asarray(found.matching.query)
    for row in table.itertuples():
        mine = np.asarray(found.matched) & (sample.points[query, 0] == row.group)
        pairs = [tuple(p) for p in np.stack([edges.lower[mine, 0], edges.upper[mine, 0]], 1)]
        most = max(map(pairs.count, pairs))
        assert pairs.count((row.box_lower, row.box_upper)) == most
        assert row.share == pytest.approx(most / len(pairs)) and row.matched == len(pairs)


def test_the_command_writes_a_report(tmp_path, capsys):
    frame = jc.datasets.lalonde("experiment").to_frame()
    frame.to_csv(tmp_path / "jobs.csv", index=False)
    words = [
        "estimate",
        str(tmp_path / "jobs.csv"),
        "--treatment",
        "treated",
        "--outcome",
        "outcome",
    ]
    words += ["--method", "cem", "--out", str(tmp_path / "out"), "--option", "bins=4"]
    assert main([*words, "--report", str(tmp_path / "none" / "r.html")]) == 2
    assert "which is no folder" in capsys.readouterr().err
    assert main([*words, "--report", str(tmp_path / "r.html")]) == 0
    assert f"report: {tmp_path / 'r.html'}" in capsys.readouterr().out
    made = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "What did treated do to outcome?" in made and "--support common" in made
    average = ["--method", "iptw", "--quiet", "--report", str(tmp_path / "a.html")]
    assert main([*words[:6], *average, "--out", str(tmp_path / "out")]) == 0
    assert "Lunceford" in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.extended
@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)
def test_every_method_has_a_report(row, tmp_path):
    sample = draw_sample(6, n=120, p=3, category=3, weight=np.arange(120) % 3 + 1.0)
    if row.name in ("m5-match", "m5-model", "cem", "flame", "dame", "boss", "optimal-matching"):
        sample = draw_sample(6, n=200, p=2)
    method = row.make(SURFACE)
    found = jc.estimate(sample, method, estimand=row.estimands[0], key=0)
    made = page_of(found, tmp_path, method=method, key=0)
    assert type(method).__name__ in made
    counted = found.matching.asked if isinstance(found, jc.effects.Effects) else found.fold >= 0
    assert len(data_of(made)["columns"][0]["values"]) == int(np.asarray(counted).sum())


def test_polars_and_clusters(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(dict(t=[0, 1, 0] * 30, y=rng.normal(size=90), a=rng.normal(size=90)))
    frame = frame.with_columns(home=pl.Series(np.arange(90) // 3))
    sample = jc.Sample.from_frame(frame, treatment="t", outcome="y", cluster="home")
    found = jc.estimate(sample, jc.NearestNeighbors(ratio=2))
    with pytest.raises(ValueError, match="key"):
        page_of(found, tmp_path)
    assert "Bootstrap" in page_of(found, tmp_path, key=1) and "30 clusters" in page_of(
        found, tmp_path, key=1
    )


@pytest.mark.extended
def test_partitions_group_effects_and_points(tmp_path):
    plain = draw_sample(3, n=90, p=2)
    method = jc.FastAHB(outcome=jc.Function(wavy))
    several = jc.estimate(plain, method, key=0, repeats=2, effect="group", estimand="ate")
    made = page_of(several, tmp_path)
    assert "Of 2 random partitions" in made and "spread of partitions included" in made
    points = jc.match(plain, method, at=np.zeros((2, 2)), surface=jc.Function(wavy))
    with pytest.raises(ValueError, match="these effects are at points"):
        page_of(jc.estimate(plain, points, effect="group"), tmp_path)


def test_without_jinja2_the_error_names_the_extra(effects, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_render, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "jcausal\[report\]"'):
        jc.report(effects, tmp_path / "r.html")
    words = ["estimate", "jobs.csv", "--treatment", "t", "--outcome", "y", "--out", str(tmp_path)]
    assert main([*words, "--report", str(tmp_path / "r.html")]) == 2
    assert "reports need jinja2" in capsys.readouterr().err
