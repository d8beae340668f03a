"""Intervals, placebos and pictures of panels, and the panels that come with the library."""

import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shared

import jcausal as jc

N, M = 24, 30


def switching(seed, effect=2.0):
    rng = np.random.default_rng(seed)
    d = rng.random((N, M)) < rng.uniform(0.35, 0.65, (N, 1))
    return jc.Panel(rng.normal(size=(N, M)) + effect * d, d)


def block(seed, treated=1, effect=3.0, noise=0.3):
    rng = np.random.default_rng(seed)
    d = np.zeros((N, M), bool)
    d[:treated, 20:] = True
    y = rng.normal(size=(N, 1)) + rng.normal(size=M) + noise * rng.normal(size=(N, M))
    return jc.Panel(y + effect * d, d, unit=[f"u{i}" for i in range(N)])


def test_own_errors_are_those_of_the_method():
    found = jc.complete(switching(0), jc.UnitMeans())
    units = jc.interval(found, jc.OwnErrors(level=0.9), by="unit")
    np.testing.assert_array_equal(units.std_error, found.std_errors.unit)
    np.testing.assert_allclose(units.upper - units.estimate, 1.6449 * units.std_error, rtol=1e-4)
    average = jc.interval(found, jc.OwnErrors())
    assert float(average.estimate) == pytest.approx(float(found.ate))
    assert average.target == "average over cells" and "unit means" in str(average)
    assert jc.interval(found, jc.OwnErrors(), by="time").unbounded.all()
    two = jc.complete(block(0), jc.TwoWayFixedEffects())
    with pytest.raises(ValueError, match="no standard errors of its own"):
        jc.interval(two, jc.OwnErrors())


def test_the_jackknife_is_its_formula():
    """Unit means treat each unit alone: without a unit the mean is that of the others."""
    panel = switching(1)
    found = jc.complete(panel, jc.UnitMeans())
    theta = np.asarray(found.unit_effect, float)
    bounds = jc.interval(found, jc.PanelJackknife())
    assert float(bounds.std_error) == pytest.approx(theta.std(ddof=1) / np.sqrt(N), rel=1e-3)
    times = jc.interval(found, jc.PanelJackknife(blocks=6), by="time")
    np.testing.assert_allclose(times.estimate, found.time_effect, rtol=1e-5)
    units = jc.interval(found, jc.PanelJackknife(over="times", blocks=10), by="unit")
    again = []
    for k in range(10):
        kept = np.delete(np.arange(M), np.arange(3 * k, 3 * k + 3))
        again.append(jc.complete(panel.take_times(kept), jc.UnitMeans()).unit_effect)
    again = np.stack(again).astype(float)
    expected = np.sqrt(0.9 * ((again - again.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(units.std_error, expected, rtol=1e-3)
    own = np.asarray(found.std_errors.unit)
    assert 0.7 < np.median(np.asarray(units.std_error) / own) < 1.3


def test_the_bootstrap_draws_units():
    """Of a mean over units the error is sd / sqrt(n), within the noise of 200 draws (1 in 20)."""
    found = jc.complete(switching(2), jc.UnitMeans())
    theta = np.asarray(found.unit_effect, float)
    bounds = jc.interval(found, jc.PanelBootstrap(draws=200), key=0)
    assert float(bounds.std_error) == pytest.approx(theta.std() / np.sqrt(N), rel=0.2)
    again = jc.interval(found, jc.PanelBootstrap(draws=200), key=0)
    assert float(again.std_error) == float(bounds.std_error)


def test_what_cannot_be_drawn_is_refused():
    found = jc.complete(block(3), jc.TwoWayFixedEffects())
    for method in (jc.PanelJackknife(), jc.PanelBootstrap(draws=3)):
        with pytest.raises(ValueError, match="1 of 24 units is treated .* use jc.placebo"):
            jc.interval(found, method, key=0)
    with pytest.raises(ValueError, match="treatment follows time"):
        jc.interval(found, jc.PanelJackknife(over="times"))
    random = jc.complete(switching(3), jc.UnitMeans())
    with pytest.raises(ValueError, match="own effect does not vary"):
        jc.interval(random, jc.PanelJackknife(), by="unit")
    with pytest.raises(ValueError, match="no interval method of panels"):
        jc.interval(random, jc.AbadieImbens())
    with pytest.raises(ValueError, match="by is"):
        jc.interval(random, jc.PanelJackknife(), by="region")


def test_placebos_over_units_are_runs_on_the_untreated():
    panel = block(4)
    found = jc.complete(panel, jc.TwoWayFixedEffects())
    placebos = jc.placebo(found)
    assert len(placebos.label) == N - 1 and placebos.label[0] == "u1"
    d = np.zeros((N - 1, M), bool)
    d[6, 20:] = True
    rest = panel.take(np.arange(1, N)).with_treatment(jnp.asarray(d))
    alone = jc.complete(rest, jc.TwoWayFixedEffects())
    np.testing.assert_allclose(placebos.placebo[6], alone.att, rtol=1e-5)
    np.testing.assert_allclose(placebos.gap[6], alone.gap[6], rtol=1e-5)
    before, after = (np.asarray(alone.gap)[6, part] for part in (slice(20), slice(20, M)))
    ratio = np.sqrt((after**2).mean() / (before**2).mean())
    np.testing.assert_allclose(placebos.ratio[6], ratio, rtol=1e-4)
    assert placebos.p_value() == placebos.p_value("ratio") == pytest.approx(1 / N)
    assert placebos.p_by_time.shape == (M,) and placebos.p_by_time[25] == pytest.approx(1 / N)
    bounds = placebos.interval()
    assert float(bounds.lower) < 3 < float(bounds.upper)
    assert len(placebos.to_frame()) == N and "23 placebos over units" in str(placebos)


@pytest.mark.extended
def test_placebos_of_several_units_and_over_times():
    found = jc.complete(block(5, treated=3), jc.TwoWayFixedEffects())
    with pytest.raises(ValueError, match="draws at random"):
        jc.placebo(found)
    placebos = jc.placebo(found, draws=8, key=0)
    assert all(len(label.split(", ")) == 3 for label in placebos.label)
    assert not any("u0" in label.split(", ") for label in placebos.label)
    times = jc.placebo(found, over="times")
    assert times.label == tuple(f"from {t}" for t in range(10, 20))
    assert np.isnan(np.asarray(times.gap)[:, 20:]).all()
    assert abs(float(times.placebo[0])) < 0.5 < float(times.own)
    with pytest.raises(ValueError, match="once begun, stays"):
        jc.placebo(jc.complete(switching(5), jc.UnitMeans()), over="times")


@pytest.mark.extended
@pytest.mark.parametrize("method", [jc.TwoWayFixedEffects(), jc.SyntheticControl()])
def test_a_test_without_an_effect_has_a_uniform_p_value(method):
    """8 units, each treated in turn among all others: p-values are 1/8 ... 8/8 in some order."""
    rng = np.random.default_rng(6)
    y = rng.normal(size=(8, M))
    values = []
    for unit in range(8):
        d = np.zeros((8, M), bool)
        d[unit, 20:] = True
        found = jc.complete(jc.Panel(y, d), method)
        placebos = jc.placebo(found, pool="all")
        values.append([placebos.p_value(), placebos.p_value("ratio")])
    expected = np.arange(1, 9) / 8
    np.testing.assert_allclose(np.sort(values, axis=0), np.stack([expected] * 2, 1), rtol=1e-6)


def test_a_placebo_without_a_gap_before_counts_as_the_largest_ratio():
    """Units 1 and 2 are like the mean of the others before, so that their ratio is infinite."""
    found = jc.complete(block(7), jc.TwoWayFixedEffects())
    placebos = jc.placebo(found)
    ratio = placebos.ratio.at[:3].set(jnp.array([jnp.inf, jnp.inf, jnp.nan]))
    placebo = placebos.placebo.at[2].set(jnp.nan)
    other = eqx.tree_at(lambda p: (p.ratio, p.placebo), placebos, (ratio, placebo))
    assert placebos.p_value("ratio") == pytest.approx(1 / 24)
    assert other.p_value("ratio") == pytest.approx(3 / 23)
    assert "23 placebos (1 without an estimate)" in str(other)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (jc.MCNNM(cells="all"), "holds cells out"),
        pytest.param(
            jc.RowScaledSpectral(rank="cv"), "holds cells out", marks=pytest.mark.extended
        ),
        pytest.param(jc.DoublyRobustNeighbors(), "nearest neighbour", marks=pytest.mark.extended),
        pytest.param(
            jc.CrossFittedDR(rank=1, propensity_rank=1),
            "both of its halves",
            marks=pytest.mark.extended,
        ),
    ],
)
def test_methods_that_copies_mislead_are_not_bootstrapped(method, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jc.CompletionWarning)  # of noise the rank by "cv" is 0
        found = jc.complete(switching(8), method, key=0)
    with pytest.raises(ValueError, match=f"{words}.*use jc.PanelJackknife"):
        jc.interval(found, jc.PanelBootstrap(draws=2), key=0)


@pytest.mark.extended
def test_runs_that_do_not_converge_are_counted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jc.CompletionWarning)
        method = jc.MCNNM(penalty=1e-4, tolerance=1e-12)
        found = jc.complete(switching(9), method, key=0)
    with pytest.warns(jc.CompletionWarning, match="in 5 of 5 runs"):
        jc.interval(found, jc.PanelJackknife(blocks=5))


def test_proposition_99():
    """Difference in differences of these data is published as -27.3 (synthetic DiD's table 1)."""
    panel = jc.datasets.prop99()
    assert (panel.n, panel.m, panel.assignment.treated) == (39, 31, 12)
    california = panel.unit.tolist().index("California")
    y = np.asarray(panel.y)[california]
    assert [round(float(v), 1) for v in y[[0, 18, 30]]] == [123.0, 90.1, 41.6]
    found = jc.complete(panel, jc.TwoWayFixedEffects())
    assert float(found.att) == pytest.approx(-27.35, abs=0.01)
    assert found.cohort_average()["cohort"].tolist() == [1989]
    events = found.event_study()
    assert events["event"].tolist() == list(range(-19, 12))
    np.testing.assert_allclose(events["effect"][19:].mean(), float(found.att), rtol=1e-5)
    for name in ("RowScaledSpectral", "USVT", "UnitMeans"):
        assert name not in panel.completers()
    with pytest.raises(jc.PatternError, match="read as an effect; use .*TwoWayFixedEffects"):
        jc.complete(panel, jc.RowScaledSpectral())


def test_the_package_holds_the_shared_copy():
    import pandas as pd

    wide = pd.read_csv(shared("california_prop99.csv")).pivot(
        index="State", columns="Year", values="PacksPerCapita"
    )
    panel = jc.datasets.prop99()
    assert panel.unit.tolist() == wide.index.tolist()
    np.testing.assert_allclose(panel.y, wide.to_numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "file", "shape", "words"),
    [
        ("basque", "basque.csv", (17, 43), "block: 1 of 17 units treated from 1970"),
        ("german_reunification", "german_reunification.csv", (17, 44), "block: 1 of 17 .* 1990"),
        ("turnout", "turnout_edr.csv", (47, 24), "staggered: 9 of 47 units treated"),
    ],
)
def test_panels_by_path(name, file, shape, words):
    read = getattr(jc.datasets, name)
    with pytest.raises(jc.DataError, match="is not the file of"):
        read(jc.datasets.__path__[0] + "/lalonde_psid.csv.gz")
    panel = read(shared(file))
    assert panel.y.shape == shape and bool(panel.mask.all())
    import re

    assert re.match(words, panel.assignment.words)


def test_pictures_of_panels():
    panel = jc.datasets.prop99()
    found = jc.complete(panel, jc.TwoWayFixedEffects())
    ax = jc.plot.panel(found, unit="Utah")
    assert ax.get_title().startswith("Utah") and ax.get_ylabel() == "packs per head"
    ax = jc.plot.panel(found, show="effects")
    assert "two-way" in ax.get_title()
    few = jc.complete(block(7), jc.TwoWayFixedEffects())
    ax = jc.plot.panel(few, show="gaps", placebos=jc.placebo(few))
    assert len(ax.lines) == N + 2
    spectral = jc.complete(switching(7), jc.RowScaledSpectral(rank=3))
    ax = jc.plot.panel(spectral, show="spectrum")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "without treatment, rank 3",
        "with treatment, rank 3",
    ]
    for options, words in (
        (dict(show="spectrum"), "no singular values"),
        (dict(unit="Texas!"), "there is no unit"),
        (dict(show="gaps", unit="Utah"), "for show='unit'"),
    ):
        with pytest.raises(ValueError, match=words):
            jc.plot.panel(found, **options)
