"""The bench's own arithmetic: errors, verdicts, placebos."""

import numpy as np
import pandas as pd
import pytest

import jcausal as jc

table2 = pytest.importorskip("bench._table2", reason="the bench is not part of the wheel")
engines = pytest.importorskip("bench._engines", reason="the bench is not part of the wheel")
lalonde = pytest.importorskip("bench._lalonde", reason="the bench is not part of the wheel")


def test_errors_against_the_matched_and_against_all():
    run = table2.Run(None, np.array([2.0, 2.0, 4.0, 4.0]), None)
    hat, matched = np.array([3.0, 2.0, 4.0, np.nan]), np.array([True, True, True, False])
    found = table2.errors(run, hat, matched)
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


def test_engines_agree_on_every_process():
    *_, found = engines.collect(((24, 2),), 3, 20.0)
    assert len(found) == len(engines.PROCESSES) * 4
    assert (found["share proven"] == 1).all()
    for _, lines in found.groupby("process"):
        best = lines["objective, first units"]
        assert best.max() - best.min() < 1e-3
