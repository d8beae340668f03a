"""Level boxes: an oracle in NumPy, invariances, honesty, folds, points, tracing, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample, wavy
from oracles.level_boxes import level_box

import jcausal as jc
from jcausal.matching.boxes.levels import _host_batches

N = 60


def members(matching, i):
    return matching.group(i)[0].tolist()


def assert_same_groups(sample, method, surface, query, use, flags=None):
    """The library's groups are the oracle's; edges hold the members and no more."""
    found = jc.match(sample, method, surface=surface, query=query)
    x = sample.points
    for i, row in enumerate(query):
        _, best, inside = level_box(
            x,
            np.asarray(sample.t),
            np.asarray(sample.weight, float),
            sample.schema.categories.tolist(),
            lambda points: surface(jnp.asarray(points, sample.x.dtype)),
            x[row].copy(),
            use=use(bool(sample.t[row])),
            noise=np.asarray(surface.noise, float),
            minimum=(method.min_controls, method.min_treated),
            flags=flags,
            fill=np.asarray(sample.fill),
        )
        assert (best is not None) == bool(found.matched[i])
        if best is not None:
            assert members(found, i) == np.flatnonzero(inside).tolist(), f"query {row}"


OTHER = lambda treated: (1.0, 0.0) if treated else (0.0, 1.0)  # noqa: E731
CASES = {
    "numbers": (dict(n=N, p=3), {}, OTHER),
    "one covariate": (dict(n=N, p=1), {}, OTHER),
    "ties and twins": (dict(n=N, p=3, integers=True), {}, OTHER),
    "a category": (dict(n=N, p=3, category=3), {}, OTHER),
    "both surfaces": (dict(n=N, p=3), dict(gamma0=1.0, gamma1=2.0), lambda _: (1.0, 2.0)),
    "larger groups": (
        dict(n=N, p=3, category=3),
        dict(min_controls=7, min_treated=4),
        OTHER,
    ),
}


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize("name", CASES)
def test_groups_equal_the_oracle(name, surface):
    given, options, use = CASES[name]
    sample = draw_sample(3, **given)
    assert_same_groups(sample, jc.AHB(**options), surface, [0, 1, 2, 3, 7, 11, 20, 33], use)


@pytest.mark.extended
def test_groups_equal_the_oracle_with_weights_and_noise():
    weight = np.random.default_rng(0).integers(0, 4, N) / 2
    weight[[0, 1, 4, 9]] = 1.5
    sample = draw_sample(5, n=N, p=3, weight=weight)
    noisy = jc.fit(sample, jc.Ridge())
    assert float(noisy.noise[0]) > 0
    method = jc.AHB(min_controls=3)
    found = jc.match(sample, method, surface=noisy, query=[0, 1, 4, 9], honest=False)
    surface = dataclasses.replace(noisy, trained=None)
    assert_same_groups(sample, method, surface, [0, 1, 4, 9], OTHER)
    assert found.matched.all()


def holed(seed=0):
    rng = np.random.default_rng(seed)
    pay, age = (rng.integers(-128, 128, N) / 64 for _ in range(2))
    pay[rng.random(N) < 0.3] = np.nan
    frame = pd.DataFrame(dict(t=(np.arange(N) % 3 == 0) * 1, y=age, pay=pay, age=age))
    frame["town"] = rng.choice(np.array(["a", "b", None], object), N)
    return jc.Sample.from_frame(
        frame, treatment="t", outcome="y", categorical=["town"], missing="indicator"
    )


@pytest.mark.extended
def test_missing_values_are_a_level_of_their_own():
    sample = holed()
    names = sample.schema.names

    def f(x):
        pay, flag = x[:, names.index("pay")], x[:, names.index("pay missing")]
        f0 = jnp.sin(2 * pay) + 0.7 * flag + 0.2 * x[:, names.index("town")]
        return jnp.stack([f0, f0], axis=1)

    flags = sample.schema.flag_of
    gaps = np.flatnonzero(np.isnan(sample.points[:, names.index("pay")]))
    query = [*gaps[:4].tolist(), *[k for k in range(8) if k not in gaps]]
    assert_same_groups(sample, jc.AHB(), jc.Function(f), query, OTHER, flags)


def test_a_covariate_that_the_surface_does_not_see_is_open_from_end_to_end():
    sample = draw_sample(1, n=N, p=5, category=3)
    boxes = jc.match(sample, jc.AHB(), surface=jc.Function(wavy))
    for j in (2, 3, 4):
        assert (boxes.lower[:, j] == sample.points[:, j].min()).all()
        assert (boxes.upper[:, j] == sample.points[:, j].max()).all()
    assert np.asarray(boxes.open)[:, 0].all()


@pytest.mark.extended
def test_long_ladders_are_taken_in_steps_and_edges_are_values_of_the_data(surface):
    sample = draw_sample(2, n=400, p=2)
    for bins in (4, 16, 64, 400):
        boxes = jc.match(sample, jc.AHB(bins=bins), surface=surface)
        assert (
            np.isin(boxes.lower, sample.points).all() and np.isin(boxes.upper, sample.points).all()
        )
        inside = (boxes.lower <= boxes.point) & (boxes.point <= boxes.upper)
        assert inside.all() and boxes.matched.all()
        for i in range(0, 134, 19):
            held = (sample.points >= boxes.lower[i]) & (sample.points <= boxes.upper[i])
            assert np.flatnonzero(held.all(1)).tolist() == members(boxes, i)
    exact = jc.match(sample, jc.AHB(bins=400), surface=surface)
    assert (
        np.asarray(exact.lower_code)
        == np.asarray(jc.match(sample, jc.AHB(bins=1000), surface=surface).lower_code)
    ).all()


@pytest.mark.extended
def test_row_and_covariate_order_and_names_of_levels_change_no_group(surface):
    sample = draw_sample(4, n=N, p=3, integers=True, category=4)
    rng = np.random.default_rng(0)
    rows, t, x = rng.permutation(N), np.asarray(sample.t), sample.points
    swap = np.array([2, 0, 3, 1])

    def f(points):
        return jnp.stack([jnp.sin(points[:, 0]) + points[:, 3] ** 2, points[:, 1]], axis=1)

    def turned(points):  # covariates in the order 3, 1, 2, 0, and levels renamed
        back = jnp.asarray(np.argsort(swap), points.dtype)[points[:, 0].astype(int)]
        return f(jnp.stack([points[:, 3], points[:, 1], points[:, 2], back], axis=1))

    kinds = ["number"] * 3 + ["category"]
    boxes = jc.match(sample, jc.AHB(), surface=jc.Function(f))
    moved = np.stack([swap[x[:, 3].astype(int)], x[:, 1], x[:, 2], x[:, 0]], axis=1)[rows]
    other = jc.Sample(moved, t[rows], kinds=kinds[::-1])
    again = jc.match(other, jc.AHB(), surface=jc.Function(turned))
    for i, row in enumerate(np.flatnonzero(t)):
        j = np.flatnonzero(t[rows]).tolist().index(np.flatnonzero(rows == row)[0])
        assert sorted(rows[members(again, j)].tolist()) == members(boxes, i)


def test_twins_of_a_query_are_in_its_group(surface):
    sample = draw_sample(4, n=N, p=2, integers=True)
    boxes = jc.match(sample, jc.AHB(), surface=surface, estimand="ate")
    x = sample.points
    for i, row in enumerate(np.asarray(boxes.query)):
        assert np.isin(np.flatnonzero((x == x[row]).all(1)), members(boxes, i)).all()


def test_outcomes_inside_a_fold_move_none_of_its_boxes():
    sample = draw_sample(6, n=N)
    method = jc.AHB(outcome=jc.Ridge())
    found = jc.estimate(sample, method, key=3).matching
    fold, y = np.asarray(found.fold), np.array(sample.y)
    inside = np.flatnonzero(fold == 1)
    y[inside] = y[np.random.default_rng(0).permutation(inside)] * 5
    moved = jc.estimate(sample.with_outcome(y), method, key=3).matching
    mine = np.asarray(found.query_fold) == 1
    assert (found.lower[mine] == moved.lower[mine]).all()
    assert (found.upper[mine] == moved.upper[mine]).all()
    assert not (found.lower[~mine] == moved.lower[~mine]).all()


@pytest.mark.extended
def test_each_query_is_matched_in_its_own_fold_for_every_estimand():
    sample = draw_sample(7, n=90, p=2)
    for estimand in ("att", "atc", "ate"):
        effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), estimand=estimand, key=0)
        fold, matching = np.asarray(effects.matching.fold), effects.matching
        for i in range(0, len(matching.query), 7):
            assert (fold[members(matching, i)] == int(matching.query_fold[i])).all()
        fitted = ~np.isnan(np.asarray(effects.surfaces[0].noise))
        assert fitted.tolist() == [estimand != "atc", estimand != "att"]


@pytest.mark.extended
def test_points_between_values_and_beyond_them(surface):
    sample = draw_sample(2, n=N, p=2)
    at = np.array([[0.01, 0.02], [-50.0, 0.0], [60.0, -70.0], sample.points[3]])
    boxes = jc.match(sample, jc.AHB(), surface=surface, at=at)
    assert boxes.matched.all() and (np.asarray(boxes.sizes) >= 1).all()
    assert (boxes.lower <= at).all() and (boxes.upper >= at).all()
    both = jc.match(sample, jc.AHB(gamma0=1.0, gamma1=1.0), surface=surface, query=[3])
    assert members(boxes, 3) == members(both, 0)
    effects = jc.estimate(sample, boxes, effect="group")
    assert effects.adjusted and np.isfinite(np.asarray(effects.ite)).all()


@pytest.mark.extended
@pytest.mark.x64
def test_jit_gives_the_same_boxes_and_effects():
    for given in (dict(n=64, p=3), dict(n=64, p=2, integers=True, category=3)):
        sample = draw_sample(8, **given)
        method = jc.AHB(outcome=jc.Ridge())
        host = jc.estimate(sample, method, key=1, estimand="ate")
        traced = jax.jit(lambda s, m=method: jc.estimate(s, m, key=1, estimand="ate", throw=False))(
            sample
        )
        place = {int(q): i for i, q in enumerate(np.asarray(traced.matching.query))}
        for i, row in enumerate(np.asarray(host.matching.query)):
            j = place[int(row)]
            assert (host.matching.lower_code[i] == traced.matching.lower_code[j]).all()
            assert (host.matching.upper_code[i] == traced.matching.upper_code[j]).all()
            assert (host.matching.open[i] == traced.matching.open[j]).all()
        np.testing.assert_allclose(host.ate, traced.ate, rtol=2e-4)


@pytest.mark.extended
def test_data_sets_in_one_call_equal_a_loop():
    xs = jnp.stack([draw_sample(s, n=48).x for s in range(3)])
    ts = jnp.stack([draw_sample(s, n=48).t for s in range(3)])
    ys = jnp.stack([draw_sample(s, n=48).y for s in range(3)])

    def att(x, t, y):
        return jc.estimate(jc.Sample(x, t, y), jc.AHB(outcome=jc.Ridge()), key=0, throw=False).att

    found = jax.jit(jax.vmap(att))(xs, ts, ys)
    each = [att(x, t, y) for x, t, y in zip(xs, ts, ys)]
    np.testing.assert_allclose(found, each, rtol=2e-4)


@pytest.mark.extended
def test_a_sample_of_the_units_chooses_where_there_are_very_many(surface, monkeypatch):
    sample = draw_sample(9, n=3000, p=2)
    whole = jc.match(sample, jc.AHB(), surface=surface)
    monkeypatch.setattr(_host_batches, "PAIRS", 2**16)
    monkeypatch.setattr(_host_batches, "FEWEST", 64)
    some = jc.match(sample, jc.AHB(), surface=surface)
    assert some.matched.all()
    assert (np.asarray(some.sizes)[:, 0] >= 1).all()
    drift = [
        np.abs(np.asarray(jc.estimate(sample.with_outcome(np.asarray(sample.x[:, 0])), b).drift))
        for b in (whole, some)
    ]
    assert np.median(drift[1]) < 3 * np.median(drift[0]) + 0.05
    again = jc.match(sample, jc.AHB(), surface=surface)
    assert (np.asarray(again.lower_code) == np.asarray(some.lower_code)).all()


def test_who_cannot_be_matched_is_told():
    sample = draw_sample(1, n=30, p=2)
    boxes = jc.match(sample, jc.AHB(min_controls=25), surface=jc.Function(wavy), throw=False)
    assert set(np.asarray(boxes.status).tolist()) == {int(jc.RESULTS.no_control._value)}
    boxes = jc.match(sample, jc.AHB(min_treated=11), surface=jc.Function(wavy), throw=False)
    assert set(np.asarray(boxes.status).tolist()) == {int(jc.RESULTS.no_treated._value)}
    with pytest.raises(jc.MatchError, match="surface gave NaN"):
        jc.match(sample, jc.AHB(), surface=jc.Function(lambda x: jnp.full((len(x), 2), jnp.nan)))


@pytest.mark.extended
def test_gammas_that_leave_nothing_to_choose_by_are_refused(surface):
    sample = draw_sample(1, n=30, p=2)
    with pytest.raises(ValueError, match="no surface counts"):
        jc.match(sample, jc.AHB(gamma0=0.0), surface=surface)
    assert jc.match(sample, jc.AHB(gamma0=0.0), surface=surface, estimand="atc").matched.all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(bins=1), "at least 2 steps"),
        (dict(min_controls=0), "at least 1"),
        (dict(gamma0=-1.0), "not negative"),
        (dict(gamma0=0.0, gamma1=0.0), "one must be positive"),
        (dict(gamma1=np.nan), "finite"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        jc.AHB(**options)
