"""Synthetic control and synthetic DiD beside enumeration, regressions and published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close
from oracles import panels as oracle

import jcausal as jc
from jcausal.panels._simplex_weights import simplex_weights

N, M = 9, 8
START = np.array([8, 4, 8, 8, 6, 8, 4, 8, 6])  # two cohorts of two, five donors
D = np.arange(M) >= START[:, None]
DONORS, TREATED = np.flatnonzero(START == M), np.flatnonzero(START < M)
METHODS = [jc.SyntheticControl(), jc.SyntheticControl(penalty=0.1), jc.SyntheticDiD()]


def name(value):
    if not isinstance(value, jc.panels.Completer):
        return None
    return type(value).__name__ + ("+" if getattr(value, "penalty", 0) else "")


def draw(seed):
    """Walks around unit and time effects, levels far from 0."""
    rng = np.random.default_rng(seed)
    y = 20 + 3 * rng.normal(size=(N, 1)) + rng.normal(size=(N, M)).cumsum(1)
    return np.asarray(y + rng.normal(size=M), np.float32).astype(float)


def problems(seed):
    """Sixteen problems of 4 times and 6 donors: random, copies, far apart, an exact fit."""
    d = np.random.default_rng(seed).normal(size=(16, 4, 6))
    d[:8] += 1.0
    d[2:4, :, 3:] = d[2:4, :, :3]
    d[4:6] += 30 * np.random.default_rng(seed + 1).normal(size=(2, 1, 6))
    d[6, :, 0] = 0
    d[7] = 0
    return np.asarray(d, np.float32).astype(float)


solve = jax.jit(jax.vmap(simplex_weights, in_axes=(0, 0, None)))


@pytest.mark.x64
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_weights_are_the_best_of_all_supports(ridge):
    """The objective as close as `converged` claims; the weights where they are unique."""
    d = problems(0)
    found = solve(jnp.asarray(d), jnp.ones((16, 6), bool), ridge)
    eps = float(jnp.finfo(found.w.dtype).eps)
    assert bool(found.converged.all())
    w = np.asarray(found.w, float)
    assert w.min() >= 0
    close(w.sum(1), 1, atol=8 * eps)
    for k in range(16):
        best, value = oracle.simplex(d[k], ridge)
        mine = ((d[k] @ w[k]) ** 2).sum() + ridge * (w[k] @ w[k])
        assert mine - value <= eps**0.6 * value + 4 * eps * (d[k] ** 2).sum(0).max()
        if ridge:
            close(w[k], best, atol=2e-3 if eps > 1e-10 else 1e-7)
            assert (w[k][best < 1e-9] == 0).all()


@pytest.mark.x64
def test_copies_fit_as_one_and_unused_columns_have_no_weight():
    d = problems(1)
    use = np.array([True, True, False, True, True, False])
    d[:, :, ~use], d[3, 0, 0] = np.nan, np.nan
    found = solve(jnp.asarray(d), jnp.asarray(np.tile(use, (16, 1))), 0.0)
    w = np.asarray(found.w)
    close(w[2, [0, 1]] + w[2, [3, 4]], oracle.simplex(d[2, :, :2])[0], atol=1e-5)
    assert (np.delete(w, 3, axis=0)[:, ~use] == 0).all()
    assert np.isnan(w[3]).all() and np.flatnonzero(~np.asarray(found.converged)).tolist() == [3]


@pytest.mark.x64
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_the_synthetic_control_is_its_definition(penalty):
    y = draw(0)
    found = jc.complete(jc.Panel(y, D), jc.SyntheticControl(penalty=penalty))
    y0, weights = np.asarray(found.y0), np.asarray(found.completed.details["weights"])
    assert weights.shape == (4, 5)
    for k, i in enumerate(TREATED):
        s = START[i]
        d = (y[DONORS, :s] - y[i, :s]).T
        w, value = oracle.simplex(d, s * penalty)
        mine = weights[k].astype(float)
        assert ((d @ mine) ** 2).sum() + s * penalty * mine @ mine <= value * 1.0002 + 1e-4
        if penalty:
            close(y0[i], w @ y[DONORS], atol=0.02 if y0.dtype == np.float32 else 1e-6)
        close(y0[i], mine @ y[DONORS], rtol=1e-6)
    assert np.isnan(y0[DONORS]).all()
    close(found.att, (y - y0)[D].mean(), rtol=1e-4)
    events = found.event_study()
    assert events["event"].tolist() == list(range(-6, 4))


@pytest.mark.x64
def test_synthetic_did_is_the_weighted_regression_of_every_cohort():
    y = draw(1)
    found = jc.complete(jc.Panel(y, D), jc.SyntheticDiD())
    loose = found.y0.dtype == jnp.float32
    effect, parts = oracle.synthetic_did(y, START)
    close(found.att, effect, atol=2e-3 if loose else 1e-6)
    cohorts = found.cohort_average()
    close(cohorts["effect"], [part[0] for part in parts], atol=2e-3 if loose else 1e-6)
    details = found.completed.details
    for g, (_, _, w, times) in enumerate(parts):
        close(details["donor weights"][g], w, atol=2e-3 if loose else 1e-7)
        s = (4, 6)[g]
        close(details["time weights"][g, :s], times, atol=2e-3 if loose else 1e-6)
        assert (np.asarray(details["time weights"])[g, s:] == 0).all()
    gap = np.asarray(found.gap)[TREATED]
    times = np.asarray(details["time weights"])[[0, 1, 0, 1]]
    close((gap * times).sum(1), 0, atol=1e-4)
    assert np.isnan(np.asarray(found.y0)[DONORS]).all()


@pytest.mark.extended
def test_a_large_zeta_weighs_all_donors_alike():
    found = jc.complete(jc.Panel(draw(2), D), jc.SyntheticDiD(zeta=1e4))
    close(found.completed.details["donor weights"], 0.2, atol=1e-5)
    close(found.completed.details["zeta"], 1e4)


@pytest.mark.extended
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_constants_and_order_change_nothing(method):
    """Times before the first start are put in another order with zeta given: it reads steps."""
    y, rng = draw(3), np.random.default_rng(0)
    if isinstance(method, jc.SyntheticDiD):
        method = jc.SyntheticDiD(zeta=1.0)
    one = jc.complete(jc.Panel(y, D), method)
    rows = rng.permutation(N)
    columns = np.append(rng.permutation(4), np.arange(4, M))
    two = jc.complete(jc.Panel(y[rows][:, columns], D[rows]), method)
    close(two.effect, np.asarray(one.effect)[rows], atol=5e-3)
    shift = rng.normal(size=M) + 50
    if isinstance(method, jc.SyntheticDiD):
        shift = shift + rng.normal(size=(N, 1))
    three = jc.complete(jc.Panel(y + shift, D), method)
    close(three.effect, one.effect, atol=5e-3)


@pytest.mark.x64
@pytest.mark.parametrize("method", [jc.SyntheticControl(), jc.SyntheticDiD(zeta=0.0)], ids=name)
def test_means_of_donors_are_recovered(method):
    """Every treated unit is a mean of donors, and for DiD moved by a constant."""
    y, rng = draw(4), np.random.default_rng(1)
    y[TREATED] = rng.dirichlet(np.ones(5), 4) @ y[DONORS]
    y[TREATED[2]] = y[TREATED[0]]  # one cohort's mean is a mean of donors as well
    y[TREATED[3]] = y[TREATED[1]]
    if isinstance(method, jc.SyntheticDiD):
        y[TREATED] += 7
    found = jc.complete(jc.Panel(y + 2.5 * D, D), method)
    tight = found.y0.dtype == jnp.float64
    before = np.asarray(found.gap)[TREATED][:, :4]
    close(before, 0, atol=1e-6 if tight else 5e-3)
    if tight:  # 4 or 6 times tell 5 donors apart only for the later cohort
        close(np.asarray(found.effect)[D & (START == 6)[:, None]], 2.5, atol=1e-5)


@pytest.mark.extended
@pytest.mark.parametrize(
    "make", [lambda v: jc.SyntheticControl(penalty=v), lambda v: jc.SyntheticDiD(zeta=v)]
)
def test_many_panels_in_one_call_with_gradients(make):
    """Slopes in the outcomes, along a direction, and in the option: the difference quotients."""
    y = jnp.asarray(np.stack([draw(5), draw(7)]))
    way = jnp.asarray(np.random.default_rng(0).normal(size=y.shape))

    def att(y, option, d):
        found = jc.complete(jc.Panel(y, d), make(option), throw=False)
        return found.att

    both = jax.jit(jax.vmap(jax.value_and_grad(att, argnums=(0, 1)), in_axes=(0, None, None)))
    one = jnp.asarray(1.0)
    values, (slopes, by_option) = both(y, one, jnp.asarray(D))
    eps = float(jnp.finfo(y.dtype).eps)
    for k in range(2):
        with jax.enable_x64(True):  # the quotients' own error is then that of their steps
            wide, there = np.asarray(y[k], float), np.asarray(way[k], float)
            value = float(att(wide, 1.0, D))
            h = 1e-3  # no donor or time gains or loses all its weight on the way
            up, down = (float(att(wide + side * h * there, 1.0, D)) for side in (1, -1))
            more, less = (float(att(wide, 1.0 + side * h, D)) for side in (1, -1))
        assert float(values[k]) == pytest.approx(value, abs=2e4 * eps)
        slope = float((slopes[k] * way[k]).sum())
        assert slope == pytest.approx((up - down) / (2 * h), rel=0.01)
        assert float(by_option[k]) == pytest.approx((more - less) / (2 * h), rel=0.01)


def test_what_does_not_fit_is_refused(unchecked):
    y = draw(9)
    never, all_of_them = D[TREATED], np.arange(M) >= np.full((N, 1), 5)
    comes, mask = D.copy(), np.ones_like(D)
    comes[TREATED[0], 6], mask[0, 0] = False, False
    cases = [
        (jc.Panel(y, comes), "comes and goes .switching.*stays; use"),
        (jc.Panel(y[TREATED], never), "all 4 units are treated .*no donor"),
        (jc.Panel(y, all_of_them), "all 9 units are treated"),
        (jc.Panel(y, D, mask=mask), "1 of 72 cells were not observed"),
        (jc.Panel(y, np.tile(START < M, (M, 1)).T), "constant: 4 of 9 units"),
    ]
    for method in (jc.SyntheticControl(), jc.SyntheticDiD()):
        for panel, words in cases:
            with pytest.raises(jc.PatternError, match=words):
                jc.complete(panel, method)
        with pytest.raises(ValueError, match="does not use covariates"):
            jc.complete(jc.Panel(y, D, covariates=y[:, :, None]), method)
    for make, words in (
        (lambda: jc.SyntheticControl(penalty=-1.0), "penalty is -1.0: it must be finite"),
        (lambda: jc.SyntheticDiD(zeta=float("nan")), "zeta is nan: it must be a finite number"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


@pytest.mark.parametrize(
    ("method", "start", "words"),
    [
        (jc.SyntheticControl(), 0, "5 without a treated cell, 2 without an untreated cell"),
        (jc.SyntheticDiD(), 1, "5 without a treated cell, 2 whose cells the method could not"),
    ],
)
def test_units_treated_too_early_have_no_effect(method, start, words):
    """Units 1 and 6 have no time before treatment, or for differences only one."""
    d = D.copy()
    d[[1, 6], start:] = True
    with pytest.warns(jc.CompletionWarning, match=r"2 of 4 \(1, 6\) without an effect"):
        found = jc.complete(jc.Panel(draw(10), d), method)
    assert np.flatnonzero(np.asarray(found.identified)).tolist() == [4, 8]
    assert words in found.summary()
    assert bool(found.completed.converged) and np.isfinite(float(found.att))


def test_missing_cells_under_tracing_are_not_passed_over():
    mask = np.ones_like(D)
    mask[DONORS[0], 0] = False

    def att(y):
        panel = jc.Panel(y, D, mask=mask)
        found = jc.complete(panel, jc.SyntheticDiD(zeta=1.0), throw=False)
        return found.att, found.completed.converged

    value, converged = att(jnp.asarray(draw(11)))
    assert np.isnan(value) and not bool(converged)


@pytest.fixture(scope="module")
def prop99():
    return jc.datasets.prop99()


def test_proposition_99_by_synthetic_control(prop99):
    """The published -19.6 is short of the minimum, which lies at -19.51.

    Table 1 of Arkhangelsky et al. (2021) comes of so many steps of Frank and Wolfe: 100 from equal
    weights, weights below a quarter of the largest set to 0, then 10,000. That leads here to -19.6
    as well, at a larger objective than ours; that ours is the least, the duality gap proves.
    """
    found = jc.complete(prop99, jc.SyntheticControl())
    assert float(found.att) == pytest.approx(-19.514, abs=2e-3)
    y = np.asarray(prop99.y, float)
    california = prop99.unit == "California"
    d = (y[~california] - y[california])[:, :19].T
    w = np.asarray(found.completed.details["weights"][0], float)
    w = w / w.sum()
    r = d @ w
    assert 2 * (r @ r - (d.T @ r).min()) < 1e-3 * (r @ r)
    rough = oracle.frank_wolfe(d, 0.0, 100, np.full(38, 1 / 38))
    rough = np.where(rough > rough.max() / 4, rough, 0)
    rough = oracle.frank_wolfe(d, 0.0, 10_000, rough / rough.sum())
    theirs = (y[california][0] - rough @ y[~california])[19:].mean()
    assert round(theirs, 1) == -19.6
    assert r @ r < ((d @ rough) ** 2).sum()
    names = ", ".join(prop99.unit[~california][w > 0.01])
    assert names == "Colorado, Connecticut, Montana, Nevada, New Hampshire, Utah"


@pytest.mark.extended
def test_proposition_99_by_synthetic_did(prop99):
    """-15.6, table 1 of Arkhangelsky et al. (2021); time weights are on 1986 to 1988."""
    found = jc.complete(prop99, jc.SyntheticDiD())
    assert float(found.att) == pytest.approx(-15.604, abs=1e-3)
    details = found.completed.details
    times = np.asarray(details["time weights"][0])
    assert np.flatnonzero(times).tolist() == [16, 17, 18]
    close(times[16:19], [0.366, 0.206, 0.427], atol=1e-3)
    y = np.asarray(prop99.y, float)[prop99.unit != "California"][:, :19]
    close(details["zeta"][0], 12**0.25 * np.diff(y, axis=1).std(), rtol=1e-5)
    events = found.event_study()
    close(events["effect"][19:].mean(), found.att, rtol=1e-5)


@pytest.mark.extended
def test_placebos_of_proposition_99(prop99):
    """All 38 states in turn: the published error of synthetic DiD, 8.4, is of random draws.

    The ratio of gaps singles California out under synthetic DiD. Under the synthetic control by
    outcomes alone it does not, as with Abadie, Diamond and Hainmueller's covariates: Missouri and
    Virginia, whose gaps before are small, stand before it.
    """
    control, did = (jc.placebo(jc.complete(prop99, m)) for m in METHODS[::2])
    assert did.p_value("ratio") == pytest.approx(1 / 39)
    assert did.std_error == pytest.approx(9.49, abs=0.02)
    rows = control.to_frame().sort_values("ratio", ascending=False)
    assert rows["label"].tolist()[:3] == ["Missouri", "Virginia", "the treated"]
    assert control.p_value("ratio") == pytest.approx(3 / 39)
    bounds = did.interval()
    assert float(bounds.lower) < -15.6 < float(bounds.upper)


def test_intervals_and_pictures():
    found = jc.complete(jc.Panel(draw(12), D), jc.SyntheticControl())
    with pytest.raises(ValueError, match="4 of 9 units are treated .* use jc.placebo"):
        jc.interval(found, jc.PanelBootstrap(draws=2), key=0)
    with pytest.raises(ValueError, match="no standard errors of its own"):
        jc.interval(found, jc.OwnErrors())
    ax = jc.plot.panel(found, unit=TREATED[0])
    assert ax.get_title() == f"{TREATED[0]}: synthetic control"
    assert jc.plot.panel(found, show="effects").get_title() == "Effects: synthetic control"
    assert len(jc.plot.panel(found, show="gaps").lines) == 3
    frame = found.to_frame()
    assert frame["effect"].notna().sum() == D.sum()


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.extended) for s in range(1, 4))]
)
def test_parallel_panels_without_noise(seed):
    """All that is left to fit is rounding: any weights will do, and the effect is exact."""
    rng = np.random.default_rng(seed)
    d = np.zeros((10, 8), bool)
    d[:5, 5:] = True
    y = rng.normal(size=(10, 1)) + rng.normal(size=(1, 8)) + 2 * d
    found = jc.complete(jc.Panel(y, d), jc.SyntheticDiD())
    assert float(found.att) == pytest.approx(2, abs=1e-5)
    same = np.broadcast_to(rng.normal(size=(1, 8)), (10, 8)) + 2 * d
    for method in (jc.SyntheticDiD(), jc.SyntheticControl()):
        found = jc.complete(jc.Panel(same, d), method)
        assert float(found.att) == pytest.approx(2, abs=1e-5)


@pytest.mark.extended
def test_few_times_before_the_treatment_are_told():
    """A single outcome is fitted by many weights; time weights are of two times at least."""
    y = draw(3)
    d = np.arange(M) >= np.array([1, 5, *[M] * 7])[:, None]
    panel = jc.Panel(y, d, unit=list("abcdefghi"))
    with pytest.warns(jc.CompletionWarning, match="asks for 2 times .* 1 of 2 [(]a[)] fitted to"):
        found = jc.complete(panel, jc.SyntheticControl())
    assert np.isfinite(found.effect[0, 1:]).all() and "fitted to too little" in found.summary()
    with pytest.warns(
        jc.CompletionWarning, match="asks for 2 times .* 1 of 2 [(]a[)] without an e"
    ):
        found = jc.complete(panel, jc.SyntheticDiD())
    alone = jc.complete(panel.take(np.arange(1, N)), jc.SyntheticDiD())
    assert float(found.att) == pytest.approx(float(alone.att), rel=1e-5)
    first = jc.Panel(y, np.arange(M) >= np.array([1, *[M] * 8])[:, None])
    with pytest.raises(jc.PatternError, match="no treated unit has 2 times before its treatment"):
        jc.complete(first, jc.SyntheticDiD())
    assert "SyntheticDiD" not in first.completers() and "SyntheticControl" in first.completers()
