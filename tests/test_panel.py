"""Panels in and out, assignment patterns, the baseline beside plain means, and bad input."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jcausal as jc
from jcausal.panels import Completer
from jcausal.panels._requirements import REQUIREMENTS

ROLES = dict(unit="state", time="year", outcome="packs", treatment="law")


def draw(seed, n=12, m=20, observed=1.0):
    """Outcomes of noise, and coins whose probability is the unit's own."""
    rng = np.random.default_rng(seed)
    d = rng.random((n, m)) < rng.uniform(0.3, 0.7, (n, 1))
    return rng.normal(size=(n, m)) + d, d, rng.random((n, m)) < observed


def long(y, d, mask, seed=0):
    """The same panel as a long frame, its rows in any order."""
    i, j = np.nonzero(mask)
    frame = pd.DataFrame(dict(state=i, year=1970 + j, packs=y[i, j], law=d[i, j].astype(int)))
    return frame.sample(frac=1, random_state=seed)


def starting(n, m, starts):
    """An absorbing assignment: unit i is treated from starts[i] on; m for never."""
    return np.arange(m) >= np.asarray(starts)[:, None]


@pytest.mark.x64
def test_unit_means_are_plain_means():
    y, d, mask = draw(0, observed=0.8)
    d[3] = False
    found = jc.complete(jc.Panel(y, d, mask=mask), jc.UnitMeans())
    assert not found.identified[3] and np.isnan(found.unit_effect[3])
    assert np.isnan(found.y1[3]).all() and np.isfinite(found.y0[3]).all()
    expected, square = np.full(12, np.nan), np.full(12, np.nan)
    for i in np.delete(np.arange(12), 3):
        arms = [y[i, mask[i] & (d[i] == arm)] for arm in (False, True)]
        expected[i] = arms[1].mean() - arms[0].mean()
        square[i] = sum(a.var(ddof=1) / a.size for a in arms)
    np.testing.assert_allclose(found.unit_effect, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.std_errors.unit, np.sqrt(square), rtol=1e-4)
    assert float(found.std_errors.average) == pytest.approx(
        np.sqrt(np.nansum(square)) / 11, rel=1e-4
    )
    cells = (d & mask).sum(1)
    att = np.nansum(cells * expected) / cells.sum()
    assert float(found.att) == pytest.approx(att, abs=1e-5)
    assert float(found.ate) == pytest.approx(np.nanmean(expected), abs=1e-5)
    assert "11 of 12 units identified; 1 without a treated cell" in found.summary()


def test_a_frame_is_the_panel_it_was_made_of():
    y, d, mask = draw(1, observed=0.7)
    panel = jc.Panel.from_frame(long(y, d, mask), **ROLES)
    np.testing.assert_array_equal(panel.mask, mask)
    np.testing.assert_array_equal(panel.d, d & mask)
    np.testing.assert_allclose(panel.y, np.where(mask, y, 0), rtol=1e-6)
    assert panel.time.tolist() == list(range(1970, 1990)) and panel.outcome == "packs"
    again = panel.to_frame()
    assert len(again) == mask.sum() and again["time"].min() == 1970
    frame = jc.complete(panel, jc.UnitMeans()).to_frame()
    assert len(frame) == y.size and np.isnan(frame["outcome"]).sum() == (~mask).sum()
    polars = pytest.importorskip("polars", reason="polars is not installed")
    other = jc.Panel.from_frame(polars.from_pandas(long(y, d, mask, 3)), **ROLES)
    np.testing.assert_array_equal(other.y, panel.y)
    assert isinstance(jc.complete(other, jc.UnitMeans()).unit_frame(), polars.DataFrame)


def test_rows_that_are_dropped_count_as_not_observed():
    y, d, mask = draw(2)
    frame = long(y, d, mask).reset_index(drop=True)
    frame.loc[3, "packs"] = np.nan
    frame.loc[frame["state"] == 5, "packs"] = np.nan
    with pytest.raises(jc.DataError, match="'packs' is missing .* in 21 of 240 rows"):
        jc.Panel.from_frame(frame, **ROLES)
    with pytest.warns(UserWarning, match="21 of 240 rows have missing values") as told:
        panel = jc.Panel.from_frame(frame, missing="drop", **ROLES)
    assert any("1 of 12 units have no row left" in str(w.message) for w in told)
    assert panel.n == 11 and 5 not in panel.unit and int((~panel.mask).sum()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: pd.concat([f, f.iloc[[0]]]), r"1 pairs .* unit .* at .* \(rows 0 and 240\)"),
        (lambda f: f.assign(law=f["law"].where(f["year"] != 1972, 2)), "'law' is neither 0 nor 1"),
        (lambda f: f.assign(law=0), "the treatment 'law' is 0 in all 240 observed cells"),
        (lambda f: f.assign(packs=f["packs"] * 1e30), "the largest number of outcome 'packs'"),
        (lambda f: f.assign(packs="many"), "'packs' holds text in 240 places"),
        (lambda f: f.assign(state=f["state"].where(f["state"] > 0)), "'state' is missing in 20"),
        (lambda f: f.rename(columns={"packs": "pack"}), "no column 'packs': did you mean 'pack'"),
        (lambda f: f[f["year"] == 1970], "y has shape .* at least 2 x 2"),
    ],
)
def test_wrong_frames_are_refused(change, words):
    with pytest.raises(jc.DataError, match=words):
        jc.Panel.from_frame(change(long(*draw(3))), **ROLES)


def test_wrong_arrays_are_refused():
    y, d, mask = draw(4)
    hole, none = y.copy(), mask.copy()
    hole[1, 2], none[4] = np.nan, False
    cases = [
        (dict(y=y[0], d=d[0]), "y has shape"),
        (dict(y=y, d=d[:, :5]), "d has shape"),
        (dict(y=hole, d=d), "y is NaN in 1 of 240 observed cells .unit 1 at 2."),
        (dict(y=y, d=d + 1), "neither 0 nor 1"),
        (dict(y=y, d=np.ones_like(y)), "no untreated cell"),
        (dict(y=y, d=d, mask=none), "1 of 12 units is never observed .4."),
        (dict(y=y, d=d, unit=list("aabcdefghijk")), "the unit a is named 2 times"),
        (dict(y=y, d=d, time=[1, 2]), "one label a time"),
        (dict(y=y, d=d, covariates=y), None),
        (dict(y=y, d=d, covariates=y.T), "covariates have shape"),
        (dict(y=y, d=d, covariates=0 * y), "covariate 0 is 0 in all"),
    ]
    for arguments, words in cases:
        if words is None:
            assert jc.Panel(**arguments).covariates.shape == (12, 20, 20)
            continue
        with pytest.raises(jc.DataError, match=words):
            jc.Panel(**arguments)
    assert np.isfinite(jc.Panel(hole, d, mask=np.isfinite(hole)).y).all()
    with pytest.raises(ValueError, match="without_covariates"):
        jc.complete(jc.Panel(y, d, covariates=y), jc.UnitMeans())


@pytest.mark.parametrize(
    ("d", "pattern", "words"),
    [
        (starting(6, 8, [5, 8, 8, 8, 8, 8]), "block", "a trend in time would be read"),
        (starting(6, 8, [5, 3, 8, 8, 8, 8]), "staggered", "6 units that|4 units that"),
        (starting(6, 8, [0, 0, 8, 8, 8, 8]), "constant", "no unit is seen both"),
        (np.tile(np.arange(8) % 2 == 0, (6, 1)), "switching", "treated share moves with time"),
    ],
)
def test_patterns_are_named_and_refused(d, pattern, words):
    panel = jc.Panel(np.arange(48.0).reshape(6, 8), d)
    assert panel.assignment.pattern == pattern and pattern in panel.summary()
    assert "UnitMeans" not in panel.completers()
    with pytest.raises(jc.PatternError, match=words):
        jc.complete(panel, jc.UnitMeans())


@pytest.mark.parametrize(
    "d",
    [
        starting(6, 8, [5, 8, 8, 8, 8, 8]),
        starting(6, 8, [1, 8, 8, 8, 8, 8]),  # one time before: enough for some weights only
        starting(6, 8, [5, 3, 8, 8, 8, 8]),
        starting(6, 8, [5, 3, 4, 3, 6, 7]),
        starting(6, 8, [0, 0, 8, 8, 8, 8]),
        np.tile(np.arange(8) % 2 == 0, (6, 1)),
        draw(0)[1],
    ],
)
def test_the_table_of_requirements_is_what_each_method_says_of_itself(d):
    found = jc.Panel(np.zeros(d.shape), d).assignment
    methods = {
        name: method
        for name, method in vars(jc.panels).items()
        if inspect.isclass(method) and issubclass(method, Completer) and method is not Completer
    }
    assert set(REQUIREMENTS) == set(methods)
    for name, reason in REQUIREMENTS.items():
        assert reason(found) == methods[name]().refuse(found), name


def test_random_assignment_does_not_drift():
    """By chance a statistic beyond 3 deviations happens a few times in a thousand."""
    for seed in range(20):
        _, d, _ = draw(seed)
        found = jc.Panel(np.zeros_like(d, float), d).assignment
        assert found.drift == 0 and found.pattern == "switching"
        assert found.changes == pytest.approx(found.expected_changes, rel=0.3)


def test_many_panels_in_one_call_and_gradients():
    sets = [draw(seed) for seed in range(3)]
    y, d = (jnp.asarray(np.stack(a)) for a in list(zip(*sets))[:2])

    def effects(y, d):
        return jc.complete(jc.Panel(y, d), jc.UnitMeans(), throw=False).unit_effect

    many = jax.jit(jax.vmap(effects))(y, d)
    for k in range(3):
        np.testing.assert_allclose(many[k], effects(y[k], d[k]), rtol=1e-4, atol=1e-6)
    slope = jax.grad(lambda y: effects(y, d[0]).sum())(y[0])
    treated, control = d[0].sum(1, keepdims=True), (~d[0]).sum(1, keepdims=True)
    np.testing.assert_allclose(slope, jnp.where(d[0], 1 / treated, -1 / control), rtol=1e-4)
    with pytest.raises(ValueError, match="throw=False"):
        jax.jit(lambda y: jc.complete(jc.Panel(y, d[0]), jc.UnitMeans()).att)(y[0])


def test_taking_units_and_times():
    y, d, _ = draw(7)
    panel = jc.Panel(y, d, unit=[f"u{i}" for i in range(12)])
    assert panel.take(np.array([2, 5])).unit.tolist() == ["u2", "u5"]
    assert panel.take(np.array([2, 2])).units is None
    assert panel.take_times(np.arange(4)).y.shape == (12, 4)


@pytest.mark.x64
def test_outcomes_whose_squares_do_not_fit_are_refused():
    double = jnp.result_type(float) == jnp.float64
    for scale in (1e200, 1e-160) if double else (1e39, 1e19, 1e-20):
        with pytest.raises(
            jc.DataError, match="(largest number of y is|y reaches) 1e.*other units"
        ):
            jc.Panel(np.array([[scale, 0.0], [0.0, 0.0]]), [[0, 0], [0, 1]])


def test_units_and_times_are_taken_by_position_or_mask():
    panel = jc.Panel(
        np.arange(12.0).reshape(3, 4), [[0] * 4, [0] * 4, [0, 0, 1, 1]], unit=list("abc")
    )
    for rows in ([0, 2], np.array([True, False, True])):
        assert panel.take(rows).unit.tolist() == ["a", "c"]
    assert panel.take_times([False, True, False, True]).time.tolist() == [1, 3]


def test_times_keep_the_order_that_they_bring_along():
    months = ["Jan", "Feb", "Mar", "Sep", "Oct", "Nov"]
    y, d, _ = draw(3, n=4, m=6)
    frame = long(y, d, np.ones_like(d))
    by_month = frame.assign(year=pd.Categorical.from_codes(frame["year"] - 1970, months, True))
    as_words = frame.assign(year=(frame["year"] - 1970 + 6).astype(str))
    for other, labels in ((by_month, months), (as_words, [str(k) for k in range(6, 12)])):
        panel = jc.Panel.from_frame(other, **ROLES)
        assert panel.time.tolist() == labels
        np.testing.assert_array_equal(panel.d, d)
        np.testing.assert_allclose(panel.y, y, rtol=1e-6)


def test_wide_frames_bring_their_labels():
    y, d, _ = draw(4, n=3, m=4)
    frames = [pd.DataFrame(a, index=list("abc"), columns=range(2000, 2004)) for a in (y, d)]
    panel = jc.Panel(*frames)
    assert panel.unit.tolist() == list("abc") and panel.time.tolist() == [2000, 2001, 2002, 2003]
    with pytest.raises(jc.DataError, match="rows of d are labelled otherwise"):
        jc.Panel(frames[0], frames[1].iloc[::-1])
    seen = frames[1].eq(frames[1])
    with pytest.raises(jc.DataError, match="columns of mask are labelled otherwise"):
        jc.Panel(*frames, mask=seen.rename(columns=str))
    z = pd.DataFrame(dict(size=[1.0, 2, 3]), index=list("abc"))
    assert jc.Panel(*frames, mask=seen, covariates=z).covariates[:, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(jc.DataError, match=r"covariates.reindex\(y.index\)"):
        jc.Panel(*frames, covariates=z.iloc[::-1])


def test_another_treatment_is_checked():
    y, d, _ = draw(5)
    panel = jc.Panel(y, d)
    with pytest.raises(jc.DataError, match="neither 0 nor 1|other than 0 and 1|are 0, 2"):
        panel.with_treatment(2 * d)
    with pytest.raises(jc.DataError, match="d is NaN"):
        panel.with_treatment(np.where(d, np.nan, 0))
    none = panel.take_times([0, 1]).take(np.flatnonzero(~d[:, :2].any(1)))
    with pytest.raises(jc.DataError, match="observed cells is treated"):
        none.summary()


def test_arguments_of_the_wrong_kind_are_named(unchecked):
    panel = jc.Panel(*draw(6)[:2])
    with pytest.raises(ValueError, match="complete takes a jc.Panel, not a DataFrame"):
        jc.complete(pd.DataFrame(), jc.UnitMeans())
    with pytest.raises(ValueError, match=r"UnitMeans is a class: write jc.UnitMeans\(\)"):
        jc.complete(panel, jc.UnitMeans)
    with pytest.raises(ValueError, match="rank is 2.5: it must be a whole number"):
        jc.RowScaledSpectral(rank=2.5)
    assert jc.RowScaledSpectral(rank=np.int64(2)) == jc.RowScaledSpectral(rank=2)


@pytest.mark.parametrize("method", [jc.TwoWayFixedEffects(), jc.SyntheticControl(), jc.USVT()])
def test_an_outcome_that_never_varies_is_told(method):
    """By a warning and in the summary, with the outcome's own word; a single other cell ends it."""
    d = np.zeros((6, 5), bool)
    d[0, 3:] = True
    mask = np.ones((6, 5), bool)
    mask[5, 0] = isinstance(method, jc.SyntheticControl)
    y = np.where(mask, 4.0, np.nan)
    if isinstance(method, jc.USVT):
        d[:, 1:] = np.arange(6)[:, None] % 2 == np.arange(4) % 2
    panel = jc.Panel(np.where(mask, y, 7.0), d, mask=mask, outcome="packs")
    words = f"packs is 4 in all {mask.sum()} observed cells, so that an effect of 0 tells nothing"
    with pytest.warns(jc.CompletionWarning, match=words):
        found = jc.complete(panel, method)
    assert f"beware: {words}" in str(found)
    y[3, 2] = 5.0
    varied = jc.Panel(np.where(mask, y, 7.0), d, mask=mask, outcome="packs")
    assert "observed cells, so that" not in str(jc.complete(varied, method, throw=False))


@pytest.mark.extended
def test_donors_and_times_with_weight_are_named_largest_first():
    """Weights by hand: the treated unit is the third part of one donor and two thirds of another.

    Steps of the donors differ, so that no other weights fit.
    """
    rng = np.random.default_rng(0)
    y = rng.normal(size=(5, 8))
    y[2] = y[0] / 3 + 2 * y[4] / 3
    d = np.zeros((5, 8), bool)
    d[2, 6:] = True
    panel = jc.Panel(y, d, unit=["ann", "bea", "cid", "dan", "eve"], time=np.arange(2001, 2009))
    said = str(jc.complete(panel, jc.SyntheticControl())).split("\n")
    assert "weights of cid: eve 0.6667, ann 0.3333" in said
    found = jc.complete(panel, jc.SyntheticDiD())
    donors = np.asarray(found.completed.details["donor weights"])[0]
    times = np.asarray(found.completed.details["time weights"])[0]
    begin = "weights of those treated from 2007 on"
    words = str(found).split("\n")
    [one] = [line for line in words if line.startswith(f"donor {begin}: ")]
    first = np.array(["ann", "bea", "dan", "eve"])[donors.argmax()]
    assert one.startswith(f"donor {begin}: {first} {donors.max():.4g}")
    [other] = [line for line in words if line.startswith(f"time {begin}: ")]
    assert other.startswith(f"time {begin}: {2001 + times.argmax()} {times.max():.4g}")


def test_weights_of_many_treated_units_are_told_of_the_first():
    rng = np.random.default_rng(1)
    d = np.zeros((12, 6), bool)
    d[:5, 4:] = True
    panel = jc.Panel(rng.normal(size=(12, 6)), d, unit=[f"u{k}" for k in range(12)])
    said = str(jc.complete(panel, jc.SyntheticControl(penalty=1e5))).split("\n")
    told = [line for line in said if line.startswith("weights of ")]
    assert [line.split(":")[0] for line in told[:3]] == [f"weights of u{k}" for k in range(3)]
    assert told[0].endswith(" and 1 more with 0.14 in all")
    assert told[3:] == ["weights of 2 more treated units: completed.details['weights']"]


def test_the_labels_of_units_and_times_print():
    days = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    panel = jc.Panel(np.ones((2, 2)), np.eye(2), unit=["a", "b"], time=days)
    assert repr(panel.units) == "Labels(a, b)"
    assert str(panel.times) == "Labels(2020-01-01, 2020-01-02)"
    many = jc.Panel(np.ones((120, 2)), np.eye(120, 2), unit=np.arange(120))
    assert repr(many.units).endswith(", 98, 99, ... (120 in all))")
