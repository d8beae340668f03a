"""The bench's own arithmetic: errors, verdicts, placebos."""

import numpy as np
import pandas as pd
import pytest

import jcausal as jc

table2 = pytest.importorskip("bench._table2", reason="the bench is not part of the wheel")
engines = pytest.importorskip("bench._engines", reason="the bench is not part of the wheel")
cdc = pytest.importorskip("bench._m5_cdc", reason="the bench is not part of the wheel")
lalonde = pytest.importorskip("bench._lalonde", reason="the bench is not part of the wheel")
m5 = pytest.importorskip("bench._m5_methods", reason="the bench is not part of the wheel")
pruned = pytest.importorskip("bench._pruned", reason="the bench is not part of the wheel")
simulated = pytest.importorskip("bench._m5_simulated", reason="the bench is not part of the wheel")
stacks = pytest.importorskip("bench._stacks", reason="the bench is not part of the wheel")
tables = pytest.importorskip("bench._tables", reason="the bench is not part of the wheel")


def test_errors_against_the_matched_and_against_all():
    run = table2.Run(None, np.array([2.0, 2.0, 4.0, 4.0]), None)
    hat, matched = np.array([3.0, 2.0, 4.0, np.nan]), np.array([True, True, True, False])
    found = table2.errors(run.ite, hat, matched)
    att, mean = 3.0, 3.0  # of all treated; of the matched estimates
    assert found["matched"] == 0.75
    assert found["error"] == pytest.approx((1 + 0 + 0) / 3 / att)
    assert found["error_all"] == pytest.approx((1 + 0 + 0 + abs(mean - 4)) / 4 / att)
    assert found["att"] == pytest.approx((mean - 8 / 3) / att)
    assert found["att_all"] == pytest.approx((mean - 3) / att)


@pytest.mark.parametrize(
    ("other", "mean", "word"),
    [
        (0.5, 0.01, "better"),
        (0.049, 0.01, "better"),
        (0.5, 0.05, "as good"),
        (0.5, 0.055, "as good"),
        (0.5, 0.2, "worse by"),
    ],
)
def test_verdicts_take_the_better_reading(other, mean, word):
    spread = np.tile([-0.01, 0.01], 50)  # sd of a 10-run mean about .0032
    frames = [
        pd.DataFrame(dict(reading=r, row="box/box", method="BART", error=m + spread))
        for r, m in (("paper", other), ("scripts", mean))
    ]
    told = table2.verdict(pd.concat(frames), "box/box", "BART", 0.05)
    assert told.startswith(word)


def test_placebos_have_no_effect_by_construction():
    sample = jc.datasets.lalonde("psid")
    experiment = jc.datasets.lalonde("experiment")
    effect, untreated, earlier = lalonde.questions("psid")
    assert effect.sample.n == 2675
    assert untreated.sample.n == 260 + 2490 and int(untreated.sample.t.sum()) == 260
    control = ~np.asarray(experiment.t)
    np.testing.assert_array_equal(
        np.asarray(untreated.sample.y)[np.asarray(untreated.sample.t)],
        np.asarray(experiment.y)[control],
    )
    assert "income 1975" not in earlier.sample.schema.names
    j = sample.schema.names.index("income 1975")
    np.testing.assert_allclose(np.asarray(earlier.sample.y), sample.points[:, j], rtol=1e-6)


@pytest.mark.extended
def test_engines_agree_on_every_process():
    *_, found = engines.collect(((24, 2),), 3, 20.0)
    assert len(found) == len(engines.PROCESSES) * 4
    assert (found["share proven"] == 1).all()
    for _, lines in found.groupby("process"):
        best = np.array(lines["objectives"].tolist())
        assert best.shape == (4, 3)
        assert np.ptp(best, axis=0).max() < 1e-3
    table = engines.table(found)
    assert (table["ladder's objective above"].abs() < 1e-3).all()
    assert (table["ladder / device"] > 0).all()


def test_mutual_membership_is_the_larger_share_and_jaccard_the_common_one():
    one = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    other = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    mutual, jaccard = tables.overlap(one, other)
    np.testing.assert_allclose(mutual, [1, 0, 2 / 3, np.nan])
    np.testing.assert_allclose(jaccard, [2 / 4, 0, 2 / 5, np.nan])
    for there, back in zip(tables.overlap(other, one), (mutual, jaccard)):
        np.testing.assert_array_equal(there, back)


@pytest.mark.parametrize(
    ("row", "covariates"),
    [
        ("2: quad/const+4", (6, 6)),
        ("5: p = 10", (10, 10)),
        pytest.param("6: box/box", (8, 4), marks=pytest.mark.extended),
        pytest.param("7: 2 of 20", (20, 20), marks=pytest.mark.extended),
    ],
)
def test_rows_of_the_tables_in_both_readings(row, covariates):
    assert len(tables.ROWS) == 9 + 5 + 3 + 2
    draw = tables.ROWS[row].draw
    drawn = [draw(key=0, n=40, reading=reading).sample.x.shape for reading in table2.READINGS]
    assert drawn == [(40, p) for p in covariates]


def test_the_limit_of_the_predictions_is_in_the_outcomes_units():
    x = np.random.default_rng(0).uniform(size=(80, 2))
    sample = jc.Sample(x, np.arange(80) % 2 == 0)

    def surface(x):
        return np.array([0, 1]) + 5 * x[:, :1]  # both surfaces have the same scale

    run = table2.Run(sample, None, jc.Function(surface))
    asked = dict(surface=surface, query=[0])
    boxes = jc.match(sample, pruned.methods(run)["alike"], **asked)
    level = np.asarray(surface(x))
    apart = np.abs(level - level[0]).sum(1)
    assert boxes.proof.left_out[0] == (apart > pruned.APART).sum() > 0


def test_who_is_kept_in_the_average_over_a_stack():
    effects, objective = np.arange(40.0), -np.arange(40.0)  # the last box is the best
    assert stacks.average(effects, objective, "all") == 19.5
    assert stacks.average(effects, objective, "without the best") == np.arange(38).mean()
    assert stacks.average(effects, objective, "without the worst") == np.arange(2, 40).mean()


@pytest.mark.skipif(bool(stacks.missing()), reason="LaLonde's single files are not beside the tree")
@pytest.mark.parametrize(
    ("controls", "n", "naive"), [("cps", 18790, -7729), ("psid", 5108, -14797)]
)
def test_stacks_are_those_of_the_papers_naive_differences(controls, n, naive):
    sample = stacks.stack(controls)
    assert sample.n == 185 + n and int(sample.t.sum()) == 185
    assert stacks.naive(sample) == pytest.approx(naive, abs=1)
    train, test = stacks.halves(sample, 0)
    assert train.n == int(0.8 * n) and not train.t.any() and train.n + test.n == sample.n


def few_among_many(n=120):
    """Two covariates of four values each; a third of the units treated."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, 4, (n, 2)).astype(float)
    return jc.Sample(x, rng.uniform(size=n) < 0.2 + 0.1 * x[:, 0], x[:, 0] + rng.normal(size=n))


def test_smd_and_variance_ratio_over_the_matched_data():
    sample = jc.Sample([[3.0], [1.0], [1.0], [2.0], [5.0]], [1, 1, 0, 0, 0], [0.0] * 5)
    matching = m5.pairs(sample, np.array([[2, 3], [2, -1]]))  # control 2 weighs 1.5, 3 weighs .5
    smd, ratio = cdc.balance_as_printed(sample, matching, "x0")
    treated, control = np.array([3.0, 1.0]), np.array([1.0, 1.0, 1.0, 2.0])
    spread = np.sqrt((treated.var() + control.var()) / 2)
    assert smd == pytest.approx((treated.mean() - control.mean()) / spread)
    assert ratio == pytest.approx(treated.var() / control.var())


def test_a_draw_takes_some_treated_and_all_or_some_controls():
    sample = jc.Sample(np.arange(1300.0)[:, None], np.arange(1300) < 700, np.zeros(1300))
    one, other = cdc.draw(sample, 0), cdc.draw(sample, 1, 50)
    assert (int(one.t.sum()), one.n) == (500, 1100) and (int(other.t.sum()), other.n) == (500, 550)
    kept = set(one.points[:, 0].tolist())
    assert kept >= set(range(700, 1300)) and len(kept) == 1100  # nobody twice
    assert kept != set(cdc.draw(sample, 1).points[:, 0].tolist())


def test_weighting_by_a_saturated_propensity_standardises():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, 400).astype(float)
    t, y = rng.uniform(size=400) < 0.2 + 0.4 * x, 3 * x + rng.normal(size=400)
    within = [y[t & (x == v)].mean() - y[~t & (x == v)].mean() for v in (0, 1)]
    wanted = np.average(within, weights=[(t & (x == v)).sum() for v in (0, 1)])
    one = m5.weighting(jc.Sample(x[:, None], t, y), 0)
    assert one.att == pytest.approx(wanted, abs=1e-3)  # the regression's own tolerance
    assert one.lower < wanted < one.upper


def test_nearest_propensity_is_the_nearest():
    sample = few_among_many()
    t, y, logit = np.asarray(sample.t), np.asarray(sample.y, float), m5.propensity(sample)
    gap = np.abs(logit[t][:, None] - logit[~t])
    one = m5.nearest_propensity(sample, 0)
    tied = np.isclose(gap, gap.min(1, keepdims=True))
    ends = [
        y[t].mean() - part(np.where(tied, y[~t], fill), 1).mean()
        for part, fill in ((np.max, -np.inf), (np.min, np.inf))
    ]
    assert ends[0] - 1e-5 <= one.att <= ends[1] + 1e-5


def test_errors_and_coverage_of_simulated_runs():
    records = pd.DataFrame(
        dict(row="s", seed=[0, 1], method="M", bias=[-1.0, 3.0], covered=[1, 0], width=[2.0, 4.0])
    ).assign(seconds=[1.0, 2.0])
    [line] = simulated.table(records, dict(seconds="s")).to_dict("records")
    assert line["mean absolute bias"] == "2.000 (1.000)" and line["bias"] == 1
    assert (line["coverage"], line["width"], line["s"]) == (0.5, 3, 1.5)


@pytest.mark.extended
def test_what_is_taken_away_is_away():
    sample = few_among_many()
    found = dict(simulated.take_away_of(sample))
    treated = np.asarray(sample.t)
    assert found["no tree"].leaves == found["neither"].leaves == 1
    full = jc.fit(m5.everybody_a_control(sample), m5.PASSING, arms="control")
    assert int(full.controls.sum()) == sample.n
    own = jc.fit(sample, m5.PASSING, arms="control")
    assert int(own.controls.sum()) == (~treated).sum()
    gap = np.asarray(sample.y)[treated] - np.asarray(own(sample.x)[:, 0])[treated]
    told = found["regressions of the leaves"].bounds
    assert told.att == pytest.approx(gap.mean(), rel=1e-4) and told.lower < told.att < told.upper
    assert found["neither"].bounds.att != found["no tree"].bounds.att
