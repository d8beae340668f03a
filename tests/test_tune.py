"""Tuning beside a brute force over groups, and all that it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.matching.boxes import _tune

SURFACE = jc.Function(wavy)
FAST = jc.FastAHB(outcome=SURFACE)
RESULTS = ["loss", "error", "alone", "unmatched", "controls"]


class Spy(jc.surfaces.OutcomeModel):
    """Linear surfaces that write down which rows and arms they were trained on."""

    seen: list = eqx.field(static=True)
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def fit(self, sample, key, arms):
        self.seen.append((np.flatnonzero(np.asarray(sample.valid)), arms, key))
        return jc.Ridge().fit(sample, None, arms)


@pytest.fixture
def judged(monkeypatch):
    """The task and the boxes of every setting that is judged."""
    kept, judge = [], _tune._judged
    monkeypatch.setattr(_tune, "_judged", lambda *a: (kept.append(a), judge(*a))[1])
    return kept


def brute(sample, boxes):
    """Loss, its standard error, who is alone, unmatched and how many controls: unit by unit."""
    y, w, t = (np.asarray(a, float) for a in (sample.y, sample.weight, sample.t))
    fold, matched = np.asarray(boxes.fold), np.asarray(boxes.matched)
    lost, weight, alone, controls, labels = [], [], [], [], []
    for i, unit in enumerate(np.asarray(boxes.query)):
        if w[unit] == 0:
            continue
        rows = boxes.group(i)[0] if matched[i] else np.array([], int)
        if matched[i]:
            controls.append((t[rows] == 0).sum())
        mates = rows[(t[rows] == t[unit]) & (rows != unit)]
        alone.append(mates.size == 0)
        if not mates.size:
            mates = np.flatnonzero((fold == fold[unit]) & (t == t[unit]) & (w > 0))
            mates = mates[mates != unit]
        lost.append((y[unit] - np.average(y[mates], weights=w[mates])) ** 2)
        weight.append(w[unit])
        labels.append(unit if sample.cluster is None else int(sample.cluster[unit]))
    lost, weight, labels = map(np.array, (lost, weight, labels))
    loss = np.average(lost, weights=weight)
    sums = np.array([(weight * (lost - loss))[labels == g].sum() for g in np.unique(labels)])
    error = np.sqrt((sums**2).sum() * sums.size / (sums.size - 1)) / weight.sum()
    return [loss, error, np.mean(alone), 1 - matched.mean(), np.median(controls)]


def check_rows(sample, tuning, judged):
    assert len(judged) == len(tuning.table)
    for (_, boxes), (_, row) in zip(judged, tuning.table.iterrows()):
        expected = brute(sample, boxes)
        np.testing.assert_allclose(row[RESULTS].to_numpy(float), expected, rtol=1e-5, atol=1e-12)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize(("integers", "weighted"), [(True, True), (False, False)])
def test_the_loss_is_that_of_a_brute_force(judged, integers, weighted):
    """Twins, a category, weights of which some are 0, folds, groups that lack units."""
    rng = np.random.default_rng(1)
    weight = rng.choice([0, 0.5, 1, 40], 48, p=[0.1, 0.4, 0.4, 0.1]) if weighted else None
    sample = draw_sample(3, n=48, p=2, integers=integers, category=3 * integers, weight=weight)
    grid = dict(caliper=[0.0, 0.447], min_treated=[1, 6])
    tuning = jc.tune(sample, FAST, grid, folds=2, key=4)
    check_rows(sample, tuning, judged)
    assert tuning.chosen == int(tuning.table["loss"].argmin())
    assert tuning.table["alone"].max() > 0.05
    assert tuning.table["alone"].nunique() > 1 or integers


@pytest.mark.extended
def test_a_heavy_unit_keeps_its_companions_mean(judged):
    """One weight a million times the others: its own outcome is left out to the last digit."""
    weight = np.ones(48)
    weight[::9] = 1e6
    sample = draw_sample(5, n=48, p=2, weight=weight)
    check_rows(sample, jc.tune(sample, FAST, dict(caliper=[0.22, 0.7]), key=1), judged)


@pytest.mark.extended
def test_clusters_stay_whole_and_make_the_error(judged):
    sample = draw_sample(6, n=48, p=2, cluster=np.arange(48) // 4)
    tuning = jc.tune(sample, FAST, dict(c=[1.1, 2.0]), key=0)
    check_rows(sample, tuning, judged)
    task, _ = judged[0]
    fold = np.asarray(task.fold).reshape(12, 4)
    assert (fold == fold[:, :1]).all()


@pytest.mark.extended
def test_padding_is_not_judged(judged):
    base = draw_sample(7, n=48, p=2)
    y = np.where(np.arange(48) < 46, base.y, 1e6)
    sample = jc.Sample(base.points, base.t, y, valid=np.arange(48) < 46)
    tuning = jc.tune(sample, FAST, dict(caliper=[0.316, 0.55]), key=2)
    check_rows(sample, tuning, judged)
    assert judged[0][0].query.tolist() == list(range(46)) and tuning.table["loss"].max() < 100


def pairs(n=12):
    """A treated unit and its control twin at 0, 10, 20, ...; the outcome is the place."""
    x = np.repeat(10.0 * np.arange(n), 2)
    return jc.Sample(x[:, None], np.arange(2 * n) % 2, x)


@pytest.mark.extended
def test_the_own_outcome_is_left_out():
    """Boxes with nobody else of the unit's arm do not win: they foretell the mean of the others.

    So does a box that holds everybody: the two settings lose the same.
    """
    place = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1))
    method = jc.FastAHB(outcome=place, c=1e9)
    tuning = jc.tune(pairs(), method, dict(caliper=[0.0, 0.447, None]), folds=1)
    place = 10.0 * np.arange(12)
    others = np.mean((place - (place.sum() - place) / 11) ** 2)
    table = tuning.table
    np.testing.assert_allclose(table["loss"], [others, table["loss"][1], others], rtol=1e-6)
    assert table["alone"].tolist() == [1, 0, 0] and table["controls"].tolist() == [1, 2, 12]
    assert table["loss"][1] < others / 10 and tuning.best.caliper == 0.447


@pytest.mark.extended
def test_surfaces_are_trained_once_a_fold_and_never_on_the_fold(judged):
    spy, folds = Spy([]), 3
    sample = draw_sample(8, n=48, p=2)
    jc.tune(sample, jc.FastAHB(outcome=spy), dict(gamma1=[0, 1], c=[1, 2]), folds=folds, key=0)
    fold = np.asarray(judged[0][0].fold)
    assert len(spy.seen) == folds and len(judged) == 4
    for k, (rows, arms, _) in enumerate(spy.seen):
        np.testing.assert_array_equal(rows, np.flatnonzero(fold != k))
        assert arms == "both"
    assert not (jax.random.key_data(spy.seen[0][2]) == jax.random.key_data(spy.seen[1][2])).all()


@pytest.mark.extended
def test_only_arms_that_some_setting_looks_at_are_trained():
    spy = Spy([])
    sample = draw_sample(8, n=48, p=2)
    jc.tune(sample, jc.FastAHB(outcome=spy, gamma1=0), dict(gamma0=[1, 2]), key=0)
    assert [arms for _, arms, _ in spy.seen] == ["control"] * 2


def test_no_outcome_shapes_the_boxes_of_its_own_fold(judged):
    sample = draw_sample(9, n=48, p=2)
    method = jc.FastAHB(outcome=jc.Ridge())
    jc.tune(sample, method, dict(c=[1.1]), key=0)
    task, before = judged[0]
    y = np.asarray(sample.y).copy()
    y += np.where(np.asarray(task.fold) == 0, 5 * np.asarray(sample.x)[:, 1], 0)
    jc.tune(sample.with_outcome(y), method, dict(c=[1.1]), key=0)
    after = judged[1][1]
    mine = np.asarray(before.query_fold) == 0
    same = (np.asarray(before.lower_code) == np.asarray(after.lower_code)).all(1)
    same &= (np.asarray(before.upper_code) == np.asarray(after.upper_code)).all(1)
    assert same[mine].all() and not same[~mine].all()


@pytest.mark.extended
def test_settings_in_their_order():
    sample = draw_sample(10, n=48, p=2)
    grid = dict(c=np.array([1.1, 2.0]), levels=(None, 4))
    tuning = jc.tune(sample, FAST, grid, folds=1)
    assert list(tuning.table.columns) == ["c", "levels", *RESULTS]
    order = list(zip(tuning.table["c"], tuning.table["levels"]))
    assert order == [(1.1, None), (1.1, 4), (2.0, None), (2.0, 4)]
    listed = [{}, dict(levels=4), dict(levels=4, c=2.0)]
    tuning = jc.tune(sample, FAST, listed, folds=1)
    order = list(zip(tuning.table["levels"], tuning.table["c"]))
    assert order == [(None, 1.1), (4, 1.1), (4, 2.0)]


@pytest.mark.parametrize("points", [[3, None], [None, 3]])
def test_of_equal_settings_the_earlier_wins(points):
    """On a line None stands for 3 points."""
    tuning = jc.tune(draw_sample(11, n=48, p=2), FAST, dict(points=points), folds=1)
    assert tuning.table["loss"].nunique() == 1
    assert tuning.chosen == 0 and tuning.best.points == points[0]


@pytest.mark.extended
def test_one_key_one_table_and_the_best_is_ready():
    sample = draw_sample(12, n=48, p=2)
    method = jc.FastAHB(outcome=jc.Ridge(), min_controls=2)
    grid, told = dict(caliper=[0.22, 0.63]), []
    first = jc.tune(sample, method, grid, key=0, progress=lambda *a: told.append(a))
    again = jc.tune(sample, method, grid, key=jax.random.key(0))
    other = jc.tune(sample, method, grid, key=1)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    assert not first.table.equals(other.table)
    stages = {stage for stage, _, _ in told}
    assert {"training the surface", "setting 2 of 2: boxes, fold 1 of 2"} <= stages
    assert first.best.min_controls == 2
    assert first.best.caliper == grid["caliper"][first.chosen]
    assert float(jc.estimate(sample, first.best, key=0).share_matched) > 0
    words = str(first)
    assert words.startswith(f"best of 2 settings: caliper = {first.best.caliper}; loss ")
    assert "controls in the median box" in words


@pytest.mark.extended
def test_exact_boxes_are_tuned_too(judged):
    sample = draw_sample(13, n=24, p=2)
    method = jc.ExactAHB(outcome=SURFACE, engine="device")
    tuning = jc.tune(sample, method, dict(gamma0=[1, 3], beta=[1.0, 2.0]), folds=1)
    check_rows(sample, tuning, judged)
    assert list(tuning.table.columns) == ["gamma0", "beta", *RESULTS, "proven"]
    assert tuning.table["proven"].tolist() == [1.0] * 4
    assert isinstance(tuning.best, jc.ExactAHB) and tuning.best.engine == "device"


@pytest.mark.extended
def test_a_setting_that_matches_nobody_does_not_win():
    """Pure noise is best foretold by the mean, which is what units without a box get."""
    rng = np.random.default_rng(0)
    sample = jc.Sample(rng.normal(size=(48, 2)), np.arange(48) % 2, rng.normal(size=48))
    tuning = jc.tune(sample, FAST, [dict(min_controls=25), dict(caliper=0.1)], folds=1)
    assert tuning.table["unmatched"].tolist() == [1, 0] and tuning.table["alone"][0] == 1
    assert np.isnan(tuning.table["controls"][0])
    assert tuning.table["loss"][0] < tuning.table["loss"][1] and tuning.chosen == 1
    with pytest.raises(jc.MatchError, match="none of the 2 settings matches anybody"):
        jc.tune(sample, FAST, dict(min_controls=[25, 26]), folds=1)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "the grid is empty: give at least one field"),
        ([], "the grid is empty: give at least one setting"),
        (dict(c=[1.1], caliper=[]), "'caliper' is an empty list"),
        (dict(slacks=[0.1]), "'slacks', which is no field of FastAHB: they are gamma0, gamma1, c"),
        ([dict(c=1.2), dict(beta=2.0)], "'beta', which is no field of FastAHB"),
        (dict(c=[1.1, 0]), r"setting 2 \(c = 0\) is none for FastAHB: c must be positive"),
        ([dict(points=1)], r"setting 1 \(points = 1\) is none for FastAHB: points is 1"),
        (dict(tolerance=[0.1, np.nan]), r"setting 2 \(tolerance = nan\) holds NaN for 'tolerance'"),
        (dict(c=["much"]), r"setting 1 \(c = 'much'\) is none for FastAHB"),
        (dict(grid="line"), "the grid's 'grid' is 'line': give a list of values"),
        (dict(c=1.1), "the grid's 'c' is 1.1: give a list of values"),
        ([1.1], "setting 1 is 1.1: give a mapping"),
        ("c", "the grid is of type str"),
        (dict(outcome=[SURFACE]), "names 'outcome', and surfaces are fitted once"),
    ],
)
def test_bad_grids(unchecked, grid, words):
    with pytest.raises(ValueError, match=words):
        jc.tune(draw_sample(14), FAST, grid, folds=1)


@pytest.mark.extended
def test_refusals(unchecked):
    sample, grid = draw_sample(15, n=48, p=2), dict(c=[1.1, 1.5])
    ridge = jc.FastAHB(outcome=jc.Ridge())
    with pytest.raises(jc.DataError, match="no outcome"):
        jc.tune(draw_sample(15, y=False), ridge, grid, key=0)
    with pytest.raises(ValueError, match="Ridge cannot be tuned: use jc.FastAHB"):
        jc.tune(sample, jc.Ridge(), grid, key=0)
    with pytest.raises(ValueError, match="tune draws at random: give key="):
        jc.tune(sample, ridge, grid)
    with pytest.raises(ValueError, match="folds is 0"):
        jc.tune(sample, FAST, grid, folds=0)
    with pytest.raises(jc.HonestyError, match="with folds=1"):
        jc.tune(sample, ridge, grid, folds=1)
    trained = jc.FastAHB(outcome=jc.fit(sample, jc.Ridge()))
    with pytest.raises(jc.HonestyError, match="were used to train"):
        jc.tune(sample, trained, grid, folds=1)
    with pytest.raises(jc.DataError, match="2 of each are needed"):
        jc.tune(sample, FAST, grid, folds=12, key=0)
    nothing = jc.FastAHB(outcome=jc.Function(lambda x: jnp.full((x.shape[0], 2), jnp.nan)))
    with pytest.raises(jc.MatchError, match="the surface gave NaN"):
        jc.tune(sample, nothing, grid, folds=1)


def test_traced_values_are_refused():
    sample = draw_sample(16)
    x, t, y = sample.x, sample.t, sample.y

    def loss(x, c, grid):
        method = jc.FastAHB(outcome=SURFACE, c=c)
        return jc.tune(jc.Sample(x, t, y), method, grid, folds=1).chosen

    for traced in (
        jax.jit(lambda x: loss(x, 1.1, dict(caliper=[0.316]))),
        jax.jit(lambda x: loss(sample.x, x[0, 0], dict(caliper=[0.316]))),
    ):
        with pytest.raises(ValueError, match="cannot be used under jit"):
            traced(x)
    with pytest.raises(ValueError, match="the grid holds traced values"):
        jax.jit(lambda c: jc.tune(sample, FAST, dict(c=[c]), folds=1).chosen)(1.1)
