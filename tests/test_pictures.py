"""Every picture returns labelled axes, and refuses what it cannot draw."""

import re

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.cli import _report


@pytest.fixture(scope="module")
def effects(halves):
    train, test = halves
    return jc.estimate(test, jc.match(test, jc.FastAHB(), surface=jc.fit(train, jc.Ridge())))


def labelled(ax):
    plt.close(ax.figure)
    return bool(ax.get_xlabel()) and bool(ax.get_title())


def test_boxes(effects):
    ax = jc.plot.boxes(effects.matching, which=[0, 4], covariates=["age", "income 1975"])
    assert labelled(ax) and ax.get_ylabel() == "income 1975 ($)"
    assert len(ax.patches) == 2
    low, high = ax.get_xlim()
    assert low <= effects.matching.lower[[0, 4], 0].min() <= high
    assert labelled(jc.plot.boxes(effects.matching))
    with pytest.raises(ValueError, match="'race' is no covariate"):
        jc.plot.boxes(effects.matching, covariates=["age", "race"])
    with pytest.raises(ValueError, match="name two covariates"):
        jc.plot.boxes(effects.matching, covariates=["age"])
    with pytest.raises(ValueError, match="there is no query 999"):
        jc.plot.boxes(effects.matching, which=[999])
    plt.close("all")


def bent(x):
    """A surface that asks whether the first two are missing, and of the third and the fourth."""
    f0 = 9 * x[:, 4] + 9 * x[:, 5] + jnp.sin(2 * x[:, 2]) + 0.5 * x[:, 3]
    return jnp.stack([f0, f0 + 1], axis=1)


@pytest.mark.extended
def test_the_command_draws_the_boxes_that_its_text_tells_of(monkeypatch, tmp_path):
    """By the units' ids, in the covariates that bound them: the first two have many gaps."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 4)), columns=list("abcd"))
    frame.loc[rng.random(120) < 0.6, "a"] = np.nan
    frame.loc[rng.random(120) < 0.6, "b"] = np.nan
    frame = frame.assign(t=np.arange(120) % 3 == 0, y=rng.normal(size=120), who=np.arange(120))
    frame["who"] = [f"p{7 * k}" for k in frame["who"]]
    roles = dict(treatment="t", outcome="y", id="who", missing="indicator")
    sample = jc.Sample.from_frame(frame, **roles)
    found = jc.estimate(sample, jc.match(sample, jc.FastAHB(), surface=jc.Function(bent)))
    draw, drawn = jc.plot.boxes, []
    monkeypatch.setattr(jc.plot, "boxes", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    results = _report.Results(found, None, None, pd.DataFrame(), {}, [])
    _report.pictures(results, unit="")["boxes.png"](tmp_path / "boxes.png")
    told = re.findall(r"^  unit (p\d+): ", _report._groups_words(found), re.M)
    [ax] = drawn
    names = [frame.get_label() for frame in ax.patches]
    assert names == [f"unit {who}" for who in told] and len(told) == 3
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("c", "d")
    assert np.isnan(found.matching.lower[[_place(found, who) for who in told], :2]).any()


def _place(found, who):
    return found.matching.sample.id[np.asarray(found.matching.query)].tolist().index(who)


@pytest.mark.extended
def test_boxes_are_drawn_in_the_covariates_that_bound_them():
    """The surface knows of the third and the fifth alone; one query's box is asked for."""

    def third(x):
        return jnp.stack([jnp.sin(2 * x[:, 2]) + x[:, 4], x[:, 2] + x[:, 4]], axis=1)

    sample = draw_sample(0, n=200, p=5, names=list("abcde"), id=[f"p{k}" for k in range(200)])
    found = jc.match(sample, jc.FastAHB(), surface=jc.Function(third))
    ax = jc.plot.boxes(found, which=[1, 3])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("c", "e")
    ids = sample.id[np.asarray(found.query)[[1, 3]]]
    assert [frame.get_label() for frame in ax.patches] == [f"unit {who}" for who in ids]
    plt.close("all")


def beside(ax):
    """Whether the legend hides nothing of what is drawn."""
    ax.figure.canvas.draw()
    return not ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())


def test_the_legend_of_a_new_figure_stands_beside_what_is_drawn(effects):
    assert beside(jc.plot.boxes(effects.matching))
    _, given = plt.subplots()
    assert not beside(jc.plot.boxes(effects.matching, ax=given))
    plt.close("all")


def test_effects(effects):
    units = jc.interval(effects, jc.ConservativeNormal())
    average = jc.interval(effects, jc.AbadieImbens())
    _, given = plt.subplots()
    ax = jc.plot.effects(effects, interval=units, average=average, unit="$", ax=given)
    assert ax is given and labelled(ax) and ax.get_ylabel() == "effect ($)"
    offsets = ax.collections[1].get_offsets()
    assert (np.diff(offsets[:, 1]) >= 0).all() and len(offsets) == 93
    with pytest.raises(ValueError, match="not of these queries"):
        jc.plot.effects(effects, interval=average)
    plt.close("all")


def test_love(effects):
    table = jc.balance(effects.sample, effects.matching)
    ax = jc.plot.love(table)
    assert labelled(ax) and len(ax.get_yticklabels()) == 1 + 8
    with pytest.raises(ValueError, match="the table lacks"):
        jc.plot.love(table.drop(columns="smd_after"))
    plt.close("all")


@pytest.mark.extended
def test_boxes_need_two_ordered_covariates(surface):
    sample = jc.Sample(draw_sample(0).points[:, :1], draw_sample(0).t)
    found = jc.match(sample, jc.FastAHB(), surface=surface)
    with pytest.raises(ValueError, match="needs two covariates"):
        jc.plot.boxes(found)


@pytest.mark.extended
def test_boxes_are_drawn_where_they_are():
    """Edges of the rectangles against the boxes', but for those too thin to be seen."""
    sample = draw_sample(2, n=80)
    found = jc.match(sample, jc.FastAHB(), surface=wavy)
    first = [0, 1, 2]
    ax = jc.plot.boxes(found, which=first)
    a, b = sample.schema.ordered[:2]
    for i, frame in zip(first, ax.patches):
        wide = np.array([np.diff(ax.get_xlim())[0], np.diff(ax.get_ylim())[0]])
        off = np.abs(np.array(frame.get_xy()) - found.lower[i, [a, b]])
        assert (off < 0.01 * wide).all()
        size = np.array([frame.get_width(), frame.get_height()])
        assert (np.abs(size - (found.upper - found.lower)[i, [a, b]]) < 0.02 * wide).all()


@pytest.mark.extended
def test_tree():
    """Every leaf with its units and effect, every branch with its words; a cut-off node adds up."""
    data = jc.datasets.lalonde("psid")
    effects = jc.estimate(data, jc.M5Model(jc.M5Tree(min_controls=150)))
    found = effects.matching.trees[0]
    frame = found.to_frame(effects=effects)
    said = [text.get_text() for text in jc.plot.tree(found, effects=effects, depth=20).texts]
    boxes = [words for words in said if "controls\n" in words]
    assert len(boxes) == found.leaves == len(frame) and len(said) == 3 * found.leaves - 2
    for line, words in zip(frame.itertuples(), boxes):
        mean = jc.data.number_in_words(line.att) if line.matched else "none"
        expected = f"{line.controls:,} controls\n{line.treated:,} treated\nadj. R2 "
        assert words.startswith(expected) and words.endswith(f"ATT {mean}"), (words, mean)
    for part in ", ".join(frame["rule"]).split(", "):
        if " at most " in part and " above " not in part:
            assert part in said
    short = [text.get_text() for text in jc.plot.tree(found, effects=effects, depth=1).texts]
    boxes = [words.split("\n") for words in short if "controls\n" in words]
    assert len(boxes) == 2
    held = [int(next(w for w in words if "treated" in w).split()[0]) for words in boxes]
    assert sum(held) == 185
    with pytest.raises(ValueError, match="depth is 0: draw at least one level"):
        jc.plot.tree(found, depth=0)


def test_allocation():
    """Bars, the band between the ends of those that decide it, sums for every K."""
    value = np.array([0.5, 0.9, 0.2, 0.6, -0.1])
    found = jc.allocate(jc.GroupEstimates(value, label="abcde"), jc.TopK(2), rho=0.1)
    ax = jc.plot.allocation(found, unit="points")
    below = ax.figure.axes[1]
    assert ax.get_ylabel() == "effect (points)" and below.get_xlabel() == "K"
    assert ax.get_title() == "2 of 5 groups treated: at least 92.9% of the best value"
    assert {text.get_text() for text in ax.texts} == {"a", "d"}
    [band] = ax.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.5, 0.6))
    naive, least = (line.get_ydata() for line in below.lines[:2])
    assert naive == pytest.approx([0.9, 1.5, 2.0, 2.2, 2.1])
    assert least == pytest.approx([0.8, 1.3, 1.7, 1.8, 1.6])
    assert naive[1] == pytest.approx(found.value.naive)
    assert least[1] == pytest.approx(found.kept)
    sure = jc.plot.allocation(jc.allocate(value, jc.TopK(2), rho=0.01))
    assert labelled(sure) and not sure.patches
    plt.close("all")


def test_allocation_of_other_budgets_and_many_groups():
    knapsack = jc.Knapsack(2.0, cost=[1.0, 2.0, 1.5], exact=False)
    found = jc.allocate([0.5, 0.9, 0.2], knapsack, rho=0.1)
    ax = jc.plot.allocation(found)
    assert len(ax.figure.axes) == 1 and labelled(ax)
    _, (given, below) = plt.subplots(2)
    with pytest.raises(ValueError, match=r"below is for the values under jc.TopK"):
        jc.plot.allocation(found, ax=given, below=below)
    many = jc.allocate(np.random.default_rng(0).normal(size=3000), jc.TopK(9), rho=0.1)
    with pytest.raises(ValueError, match="beside an ax"):
        jc.plot.allocation(many, below=below)
    assert jc.plot.allocation(many, ax=given, below=below) is given and below.lines
    assert given.get_xlabel().endswith("(2,000 of 3,000 drawn)")
    plt.close("all")


def fractions(ax):
    """Ticks in sight of what is counted, that are no whole numbers."""
    ax.figure.canvas.draw()
    low, high = sorted(ax.get_xlim())
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert ticks
    return [tick for tick in ticks if tick != round(tick)]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 20, 150])
def test_what_is_counted_has_whole_ticks_and_legends_cover_nothing(k):
    value = np.linspace(0.2, 0.9, k)
    ax = jc.plot.allocation(jc.allocate(value, jc.TopK(max(1, k // 2)), rho=0.05))
    below = ax.figure.axes[1]
    assert not fractions(below) and not fractions(ax) and beside(below) and beside(ax)
    plt.close("all")
    found = jc.allocate(value, jc.Knapsack(1.0, cost=np.ones(k), exact=False), rho=0.05)
    alone = jc.plot.allocation(found)
    assert not fractions(alone) and beside(alone)
    plt.close("all")


@pytest.mark.extended
def test_few_effects_whole_years_and_singular_values_have_whole_ticks():
    sample = draw_sample(0)
    three = np.flatnonzero(np.asarray(sample.t))[:3]
    few = jc.match(sample, jc.FastAHB(), surface=jc.Function(wavy), query=three)
    assert not fractions(jc.plot.effects(jc.estimate(sample, few)))
    d = np.zeros((6, 4), bool)
    d[0, 2:] = d[1, 3:] = True
    y = np.random.default_rng(0).normal(size=(6, 4))
    panel = jc.Panel(y, d, time=[2001, 2002, 2003, 2004])
    assert not fractions(jc.plot.panel(jc.complete(panel, jc.TwoWayFixedEffects())))
    method = jc.MCNNM(penalty=0.1)
    assert not fractions(jc.plot.panel(jc.complete(panel, method, throw=False), show="spectrum"))
    plt.close("all")
