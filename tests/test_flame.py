"""FLAME and DAME against dame-flame's groups, an oracle of the papers, and invariances."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, wavy
from oracles.flame import UNITS, Search, dame, flame

import jcausal as jc
from jcausal.matching.strata._cells import cells_of
from jcausal.matching.strata._coarse_columns import coarse_columns
from jcausal.matching.strata._predictive_errors import (
    MOST_LEVELS,
    ForetoldRows,
    predictive_errors,
)

GOLDEN = Path(__file__).parent / "goldens" / "flame.json.gz"
CASES = {
    "flame C=0 repeats": jc.FLAME(balance=0, bins="exact"),
    "flame C=0": jc.FLAME(balance=0, repeats=False, bins="exact"),
    "flame C=0.02": jc.FLAME(balance=0.02, repeats=False, bins="exact"),
    "flame C=1": jc.FLAME(balance=1, repeats=False, bins="exact"),
    "dame repeats": jc.DAME(bins="exact"),
    "dame": jc.DAME(repeats=False, bins="exact"),
}
pytestmark = pytest.mark.x64


@pytest.fixture(scope="module")
def golden():
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


def frame_of(name, golden):
    return UNITS[name]() if name in UNITS else pd.DataFrame(golden["data"][name])


def first_groups(matching):
    """The group of every query, by its row."""
    query, held = np.asarray(matching.query), np.asarray(matching.matched)
    return {int(query[i]): frozenset(matching.group(i)[0].tolist()) for i in np.flatnonzero(held)}


SAME = [(name, case) for name in (*UNITS, "own") for case in CASES]
SAME.remove(("levels", "dame repeats"))  # it regresses on numbers of levels, and ranks sets so


@pytest.mark.parametrize(("name", "case"), SAME)
def test_groups_are_those_of_dame_flame(name, case, golden):
    """With the units themselves as holdout: their least squares is the surface."""
    frame = frame_of(name, golden)
    sample = jc.Sample.from_frame(frame, treatment="treated", outcome="outcome")
    surface = jc.fit(sample, jc.Ridge(penalty=1e-9))
    found = jc.match(sample, CASES[case], surface=surface, honest=False, estimand="ate")
    wanted = {}
    for group in golden["results"][name][case]["groups"]:
        for row in group:
            wanted.setdefault(row, frozenset(group))
    assert first_groups(found) == wanted


def units_of(seed, *, missing=False, n=120):
    """Categories and coins with a surface that is not linear in them; some values missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        dict(
            a=rng.integers(0, 3, n),
            b=rng.integers(0, 2, n),
            c=rng.integers(0, 4, n),
            d=rng.integers(0, 2, n),
            e=rng.integers(0, 3, n),
            t=(rng.random(n) < 0.3).astype(int),
            y=rng.normal(size=n),
        )
    )
    if missing:
        frame = frame.astype(dict(a=object, c=object))
        frame.loc[rng.random(n) < 0.15, "a"] = None
        frame.loc[rng.random(n) < 0.15, "c"] = None
    sample = jc.Sample.from_frame(
        frame, treatment="t", outcome="y", categorical=["a", "c", "e"], missing="indicator"
    )
    gap = {j for j, own in sample.schema.flags if j == own}
    codes = np.asarray(sample.points).astype(int)
    for j in gap:
        codes[codes[:, j] == len(sample.schema.levels[j]) - 1, j] = -1
    return sample, codes


def rough(x):
    """A surface with interactions, which no regression on the covariates foretells fully."""
    import jax.numpy as jnp

    f0 = x[:, 0] * x[:, 1] + jnp.cos(2.0 * x[:, 2]) + 0.6 * x[:, 3] * x[:, 4] + 0.25 * x[:, 4]
    return jnp.stack([f0, f0 + 0.3 * x[:, 2] - x[:, 1]], axis=1)


METHODS = {
    "flame": (jc.FLAME(), lambda s: flame(s, 0.1)),
    "flame, no balance": (jc.FLAME(balance=0), lambda s: flame(s, 0)),
    "flame, once": (jc.FLAME(repeats=False, balance=0.5), lambda s: flame(s, 0.5)),
    "dame": (jc.DAME(), dame),
    "dame, once": (jc.DAME(repeats=False, penalty=2.0), dame),
    "hybrid": (jc.DAME(most=3), lambda s: dame(s, flame(s, 0, 3))),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_the_papers(name, missing, seed):
    method, search = METHODS[name]
    sample, codes = units_of(seed, missing=missing)
    found = jc.match(sample, method, surface=jc.Function(rough), estimand="ate", throw=False)
    oracle = Search(
        codes,
        np.asarray(sample.t),
        np.asarray(found.prognosis.units, float),
        np.zeros(2),
        penalty=method.penalty,
        repeats=method.repeats,
    )
    search(oracle)
    assert first_groups(found) == oracle.group


@pytest.mark.parametrize("estimand", ["att", "atc"])
def test_queries_of_one_arm_have_the_groups_of_all(estimand):
    sample, _ = units_of(7)
    surface = jc.Function(rough)
    every = first_groups(jc.match(sample, jc.FLAME(), surface=surface, estimand="ate"))
    some = first_groups(jc.match(sample, jc.FLAME(), surface=surface, estimand=estimand))
    assert some == {row: every[row] for row in some} and len(some) > 10


def errors_of(sample, values, noise, penalty):
    columns = coarse_columns(sample, "quantile", "quantile")
    cells = cells_of(sample, columns, np.arange(sample.n), np.ones(sample.n, bool))
    weight = np.asarray(sample.weight, float)
    rows = ForetoldRows(values, noise, np.asarray(sample.t), weight)
    return columns, predictive_errors(cells, rows, penalty)


@pytest.mark.parametrize("seed", range(3))
def test_errors_of_all_subsets_are_those_of_single_regressions(seed):
    from oracles.flame import error

    sample, codes = units_of(seed)
    values = np.random.default_rng(seed).normal(size=(sample.n, 2)) + codes[:, [0]]
    noise, t = np.array([0.5, 2.0]), np.asarray(sample.t)
    _, errors = errors_of(sample, values, noise, 0.7)
    for number in range(1, 32):
        kept = np.array([number >> j & 1 for j in range(5)], bool)
        wanted = error(codes, t, values, noise, np.flatnonzero(kept), 0.7)
        close(errors.of(kept), wanted, rtol=1e-9)
        for j in np.flatnonzero(kept):
            rest = [k for k in np.flatnonzero(kept) if k != j]
            close(errors.without_one(kept)[j], error(codes, t, values, noise, rest, 0.7), rtol=1e-9)
        assert np.isinf(errors.without_one(kept)[~kept]).all()


def test_many_levels_are_taken_together_for_the_errors():
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 200, 2000), rng.integers(0, 2, 2000)], axis=1).astype(float)
    t = rng.random(2000) < 0.5
    sample = jc.Sample(x, t, x[:, 0], kinds=["category", "binary"])
    values = np.stack([x[:, 0] % 50, x[:, 0] % 50], axis=1)
    _, errors = errors_of(sample, values, np.zeros(2), 0.1)
    assert all(arm.column.size == MOST_LEVELS + 1 for arm in errors.arms)
    assert errors.of(np.array([True, False])) < 0.01
    assert errors.of(np.array([False, True])) > 0.9


def test_numbers_are_cut_into_fifths():
    sample = draw_sample(1, n=100, p=2)
    columns = coarse_columns(sample, jc.FLAME().bins, "quantile")
    points = np.asarray(sample.points)
    for column, x in zip(columns, points.T):
        wanted = np.searchsorted(np.quantile(x, [0.2, 0.4, 0.6, 0.8]), x, side="right")
        assert (column.code == wanted).all()


def test_estimates_are_honest_and_every_query_is_matched():
    sample = jc.datasets.lalonde("psid")
    for method in (jc.FLAME(), jc.DAME()):
        effects = jc.estimate(sample, method, key=0)
        assert effects.share_matched == 1 and effects.adjusted
        text = effects.summary()
        assert "of 8 covariates on average" in text
        matching = effects.matching
        fold, query = np.asarray(matching.fold), np.asarray(matching.query)
        for i in range(0, 185, 20):
            rows, weight = matching.group(i)
            assert (fold[rows] == fold[query[i]]).all() and query[i] in rows
            close(weight.sum(), 2, rtol=1e-6)
    with pytest.raises(jc.HonestyError):
        jc.match(sample, jc.FLAME(), surface=jc.fit(sample, jc.Ridge()))


def test_a_group_says_what_it_agrees_in():
    sample, _ = units_of(2)
    found = jc.match(sample, jc.FLAME(), surface=jc.Function(rough), estimand="ate")
    points, schema = np.asarray(sample.points), sample.schema
    for i in range(0, 120, 7):
        if not bool(found.matched[i]):
            continue
        rows, _ = found.group(i)
        rule = found.describe(i).rsplit(": ", 1)[0]
        alike = [name for j, name in enumerate(schema.names) if np.ptp(points[rows][:, j]) == 0]
        said = [part.removeprefix("not ").split(" ")[0] for part in rule.split(", ")]
        assert set(said) <= set(alike)


def test_row_order_names_of_levels_and_weights():
    sample, _ = units_of(3)
    surface = jc.Function(rough)
    order = np.random.default_rng(0).permutation(sample.n)
    turned = sample.take(order)
    for method in (jc.FLAME(), jc.DAME()):
        base = first_groups(jc.match(sample, method, surface=surface))
        other = first_groups(jc.match(turned, method, surface=surface))
        assert base == {
            int(order[row]): frozenset(order[list(rows)].tolist()) for row, rows in other.items()
        }
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    weight = np.where((np.arange(120) < 60) & ~t, 0, 1)
    light = jc.Sample(x, t, y, kinds=sample.schema.kinds, weight=weight)
    found = jc.match(light, jc.FLAME(), surface=surface)
    used = np.asarray(found.matched_weights()) > 0
    assert not used[:60][~t[:60]].any() and used[60:][~t[60:]].any()


def test_sixty_columns_of_a_thousand_levels():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 1000, (10, 60)).astype(float)
    x = few[rng.integers(0, 10, 400)]
    x[::2, 0] = rng.integers(0, 1000, 200)  # which must be given up
    sample = jc.Sample(x, np.arange(400) % 4 < 2, rng.normal(size=400), kinds=["category"] * 60)

    def plain(points):
        return points[:, 1:3] * 1.0

    found = jc.match(sample, jc.FLAME(), surface=jc.Function(plain), estimand="ate")
    assert bool(found.matched.all())
    same = np.unique(x[:, 1:], axis=0, return_inverse=True)[1]
    for i in range(0, 400, 50):
        rows, _ = found.group(i)
        assert len(set(same[rows])) == 1


def test_one_control_and_no_partner():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1.0]])
    t = np.array([1, 1, 1, 1, 0])
    sample = jc.Sample(x, t, np.arange(5.0))
    found = jc.match(sample, jc.FLAME(), surface=jc.Function(wavy), throw=False)
    assert first_groups(found)[3] == frozenset({3, 4}) and not bool(found.matched[0])
    assert "no unit of the other arm" in found.reason(0)
    assert "not of the" in found.caution


@pytest.mark.parametrize(
    ("options", "fewer"),
    [
        (dict(stop_drops=1), True),
        (dict(stop_controls=0.9), True),
        (dict(stop_treated=0.9), True),
        (dict(stop_error=0.0), True),
        (dict(stop_error=100.0), False),
        (dict(stop_drops=99), False),
    ],
)
def test_early_stops_leave_queries_out(options, fewer):
    sample, _ = units_of(1)
    for kind in (jc.FLAME, jc.DAME):
        every = jc.match(sample, kind(), surface=jc.Function(rough))
        some = jc.match(sample, kind(**options), surface=jc.Function(rough))
        groups, whole = first_groups(some), first_groups(every)
        assert all(whole[row] == rows for row, rows in groups.items())
        assert (len(groups) < len(whole)) == fewer


def test_what_cannot_be_is_refused(unchecked):
    sample, _ = units_of(1)
    with pytest.raises(ValueError, match="balance is -1"):
        jc.FLAME(balance=-1)
    with pytest.raises(ValueError, match="penalty is 0"):
        jc.DAME(penalty=0)
    with pytest.raises(ValueError, match="stop_controls is 1"):
        jc.FLAME(stop_controls=1)
    with pytest.raises(ValueError, match="stop_error is -0.5"):
        jc.FLAME(stop_error=-0.5)
    with pytest.raises(ValueError, match="most is 0"):
        jc.DAME(most=0)
    with pytest.raises(ValueError, match="bins is 'five'"):
        jc.FLAME(bins="five")
    with pytest.raises(ValueError, match="outcome is the text 'ridge'"):
        jc.FLAME(outcome="ridge")
    with pytest.raises(ValueError, match="FLAME matches rows of the sample"):
        jc.match(sample, jc.FLAME(), surface=jc.Function(rough), at=np.zeros((1, 5)))
    lone = jc.fit(sample, jc.Ridge(), arms="control")
    with pytest.raises(ValueError, match="the surface has one: fit it with arms='both'"):
        jc.match(sample, jc.FLAME(), surface=lone, honest=False)

    def broken(points):
        return points[:, :2] / 0 * 0

    with pytest.raises(jc.MatchError, match="the surface gave NaN"):
        jc.match(sample, jc.FLAME(), surface=jc.Function(broken))
