"""What the pictures of distributions, groups and effects draw are the numbers, also odd ones."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample

import jcausal as jc
from jcausal.plot._along import smoothed


@pytest.fixture(scope="module")
def effects():
    frame = pd.DataFrame(dict(t=np.arange(120) % 3 == 0, region=list("abc") * 40))
    rng = np.random.default_rng(0)
    frame = frame.assign(y=rng.normal(size=120), dose=rng.normal(size=120), w=rng.random(120) + 0.5)
    frame.loc[::7, "dose"] = np.nan
    frame.loc[::11, "region"] = None
    roles = dict(
        treatment="t", outcome="y", categorical=["region"], missing="indicator", weight="w"
    )
    sample = jc.Sample.from_frame(frame, units={"dose": "$ of 1982 in $"}, **roles)
    return jc.estimate(sample, jc.NearestNeighbors(ratio=3))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def arm_weights(effects, arm, when):
    after = np.asarray(effects.matching.matched_weights(), float)
    weight = after if when == "after" else np.asarray(effects.sample.weight, float)
    return weight * (np.asarray(effects.sample.t) == arm)


CURVES = [(arm, when) for arm in (True, False) for when in ("before", "after")]


def test_distribution_functions_are_those_of_the_weights(effects):
    ax = jc.plot.distribution(effects, "dose", show="ecdf")
    values = effects.sample.points[:, effects.sample.schema.names.index("dose")]
    assert ax.get_xlabel() == r"dose (\$ of 1982 in \$)"
    for (arm, when), line in zip(CURVES, ax.lines, strict=True):
        weight = np.where(np.isnan(values), 0, arm_weights(effects, arm, when))
        x, share = line.get_data()
        for at in (1, len(x) // 2, -1):
            close(share[at], weight[values <= x[at]].sum() / weight.sum(), rtol=1e-6)
        gap = arm_weights(effects, arm, when)[np.isnan(values)].sum()
        told = 100 * gap / arm_weights(effects, arm, when).sum()
        assert line.get_label().endswith(f"{when}, {told:.3g}% missing")
    assert len({(line.get_linestyle(), line.get_linewidth()) for line in ax.lines}) == 4  # in grey


def test_densities_hold_all_the_weight_and_bars_are_shares(effects):
    ax = jc.plot.distribution(effects, "dose")
    for line in ax.lines:
        x, density = line.get_data()
        assert (density >= 0).all()
        close(density.sum() * (x[1] - x[0]), 1, rtol=1e-6)
    ax = jc.plot.distribution(effects, "region")
    j = effects.sample.schema.names.index("region")
    codes, levels = effects.sample.points[:, j], effects.sample.schema.levels[j]
    assert (
        [one.get_text() for one in ax.get_xticklabels()]
        == list(levels)
        == ["a", "b", "c", "missing"]
    )
    for k, (arm, when) in enumerate(CURVES):
        weight = arm_weights(effects, arm, when)
        for level, bar in enumerate(ax.patches[4 * k : 4 * k + 4]):
            close(
                bar.get_height(), weight[codes == level].sum() / weight.sum(), rtol=1e-6, atol=1e-12
            )
    with pytest.raises(ValueError, match="is a category, whose levels have no order"):
        jc.plot.distribution(effects, "region", show="ecdf")
    with pytest.raises(ValueError, match="there is no covariate 'race'"):
        jc.plot.distribution(effects, "race")


def test_distributions_of_weightings_and_of_few_values():
    sample = draw_sample(2, n=200, p=2, integers=True)
    average = jc.estimate(sample, jc.IPTW())
    weight = np.asarray(average.unit_weight, float) * ~np.asarray(sample.t)
    ax = jc.plot.distribution(average, "x0")
    shares = [weight[sample.points[:, 0] == v].sum() / weight.sum() for v in range(4)]
    close(ax.lines[-1].get_ydata(), shares, rtol=1e-5)
    with pytest.raises(ValueError, match="no difference of two weighted means"):
        jc.plot.distribution(jc.estimate(sample, jc.AIPW(jc.Ridge()), key=0), "x0")


@pytest.mark.x64
def test_forest(effects):
    table = jc.interval(effects, jc.AbadieImbens(), by="region")
    average = jc.interval(effects, jc.AbadieImbens())
    ax = jc.plot.forest(table, average=average, unit="kg", of="region")
    assert (
        ax.get_xlabel() == "average effect (kg)" and ax.get_title() == "Average effects by region"
    )
    frame = table.to_frame()
    ends = np.array([part[:, 0] for part in ax.collections[0].get_segments()])
    close(ends, frame[["lower", "upper"]].to_numpy(), rtol=1e-6)
    close(ax.collections[1].get_offsets()[:, 0], frame["estimate"], rtol=1e-6)
    names = [one.get_text() for one in ax.get_yticklabels()]
    assert names == [f"{g} ({m})" for g, m in zip(frame["group"], frame["matched"])]
    close(ax.lines[1].get_xdata()[0], average.estimate, rtol=1e-6)
    with pytest.raises(ValueError, match="plot.forest draws groups"):
        jc.plot.forest(average)


@pytest.mark.x64
def test_along_a_covariate(effects):
    j = effects.sample.schema.names.index("dose")
    known = ~np.isnan(effects.sample.points[np.asarray(effects.matching.query), j])
    which = np.flatnonzero(known & np.asarray(effects.matched))[[1, 4]].tolist()
    ax = jc.plot.along(effects, "dose", which=which, unit="kg")
    points = ax.collections[0].get_offsets()
    close(np.sort(points[:, 1]), np.sort(np.asarray(effects.ite)[known]), rtol=1e-6)
    grid, _ = ax.lines[0].get_data()
    for i, frame in zip(which, ax.patches, strict=True):
        held = effects.sample.points[effects.matching.group(i)[0], j]
        left, right = frame.get_x(), frame.get_x() + frame.get_width()
        close(
            [left, right], np.clip([np.nanmin(held), np.nanmax(held)], grid[0], grid[-1]), rtol=1e-6
        )
    with pytest.raises(ValueError, match="is a category"):
        jc.plot.along(effects, "region")
    gone = int(np.flatnonzero(~known)[0])
    with pytest.raises(ValueError, match=f"query {gone} has no match, or a missing value"):
        jc.plot.along(effects, "dose", which=[gone])


def test_the_smooth_line_is_a_kernel_mean_and_stops_where_nobody_is():
    rng = np.random.default_rng(1)
    x = np.r_[rng.normal(size=50), 30.0]
    y, w = rng.normal(size=51), rng.random(51) + 0.5
    grid = np.linspace(x.min(), x.max(), 40)
    width = 0.3 * np.sqrt(np.average((x - np.average(x, weights=w)) ** 2, weights=w))
    for value, at in zip(smoothed(x, y, w, grid), grid):
        kernel = w * np.exp(-0.5 * ((x - at) / width) ** 2)
        if kernel.sum() > 0.5 * w.mean():
            assert value == pytest.approx((kernel * y).sum() / kernel.sum())
        else:
            assert np.isnan(value)
    assert np.isnan(smoothed(x, y, w, grid)).any()


def test_parallel_coordinates(effects):
    matching, sample = effects.matching, effects.sample
    ax = jc.plot.parallel(effects, 2)
    shown = [name for name in sample.schema.names if not name.endswith(" missing")]
    assert [one.get_text().split(" (")[0] for one in ax.get_xticklabels()] == shown
    own = next(line for line in ax.lines if line.get_linewidth() == 2.4)
    row = int(matching.query[2])
    for k, name in enumerate(shown):
        j = sample.schema.names.index(name)
        column, value = sample.points[:, j], sample.points[row, j]
        low, high = np.nanmin(column), np.nanmax(column)
        if name == "region":
            low, high = 0, len(sample.schema.levels[j]) - 1
        place = -0.12 if np.isnan(value) else (value - low) / (high - low)
        assert own.get_ydata()[k] == pytest.approx(place)
    assert len(matching.group(2)[0]) == sum(
        len(line.get_xdata()) > 0 for line in ax.lines if line.get_linewidth() == 0.7
    )
    boxes = jc.match(draw_sample(4, n=60), jc.FastAHB(), surface=jc.Function(lambda x: x[:, :2]))
    bars = [part for part in jc.plot.parallel(boxes, 1).collections]
    span = np.ptp(boxes.sample.points, axis=0)
    least = boxes.sample.points.min(0)
    for j, bar in enumerate(bars):
        ends = bar.get_segments()[0][:, 1]
        wanted = (np.array([boxes.lower[1, j], boxes.upper[1, j]]) - least[j]) / span[j]
        close(ends, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(IndexError, match="there is no query 999"):
        jc.plot.parallel(boxes, 999)
