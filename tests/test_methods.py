"""The common battery: what every method of the table must do."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import close, draw_sample, wavy
from methods import METHODS, SURFACE

import jcausal as jc
from jcausal.cli import METHODS as WORDS

N = 96
pytestmark = pytest.mark.x64


def of(rows):
    """The methods of the table that a test is about."""
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


every = of(METHODS)
traced = of([row for row in METHODS if row.traceable])
hosted = of([row for row in METHODS if not row.traceable])
of_both_arms = of([row for row in METHODS if "atc" in row.estimands and not row.chains])
matchers = of([row for row in METHODS if issubclass(WORDS[row.name], jc.matching.Matcher)])
with_duplicates = of([row for row in METHODS if row.duplicates])


def sample_of(seed=0, **options):
    return draw_sample(seed, n=N, p=2, id=np.arange(N) + 1000, **options)


def arrays_of(seed=0):
    one = draw_sample(seed, n=N, p=2)
    return jnp.asarray(one.x), jnp.asarray(one.t), jnp.asarray(one.y)


def average_of(sample, row, surface=SURFACE, **options):
    asked = dict(estimand=row.estimands[0]) | options
    return jc.estimate(sample, row.make(surface), key=3, **asked).average


def test_the_table_holds_every_method_of_the_library():
    assert {row.name for row in METHODS} == set(WORDS)
    for row in METHODS:
        assert isinstance(row.make(SURFACE), WORDS[row.name])
    oracles = Path(__file__).parent
    for row in METHODS:
        files = [oracles / "oracles" / f"{row.oracle}.py", oracles / f"{row.oracle}.py"]
        assert any(f.exists() for f in files), row


@every
def test_it_estimates_what_it_says_and_refuses_the_rest(row):
    for estimand in ("att", "atc", "ate", "ato"):
        if estimand in row.estimands:
            found = jc.estimate(sample_of(), row.make(SURFACE), estimand=estimand, key=0)
            assert found.estimand == estimand and np.isfinite(found.average)
        else:
            with pytest.raises(ValueError, match=r"use (estimand=)?'at[to]'"):
                jc.estimate(sample_of(), row.make(SURFACE), estimand=estimand, key=0)


@matchers
def test_it_asks_for_a_surface_and_for_a_key_as_the_table_says(row):
    data, method = sample_of(), row.make(SURFACE)
    if row.surface:
        with pytest.raises(ValueError, match="a surface is needed"):
            jc.match(data, method)
    surface = SURFACE if row.surface else None
    if row.surface and isinstance(method.outcome, jc.surfaces.OutcomeModel):
        surface = jc.fit(data, method.outcome, key=0)
    given = dict(surface=surface, honest=False)
    one, two = (jc.match(data, method, key=key, **given) for key in (0, 1))
    same = all(np.array_equal(one.group(i)[0], two.group(i)[0]) for i in range(len(one.query)))
    assert same != row.draws


@every
def test_the_order_of_rows_changes_nothing(row):
    data = sample_of()
    order = np.random.default_rng(1).permutation(N)
    turned = data.take(order)
    close(average_of(turned, row), average_of(data, row), rtol=2e-4)


@of_both_arms
def test_swapped_arms_give_the_negative(row):
    x, t, y = arrays_of()

    def other(points):
        return wavy(points)[:, ::-1]

    one = average_of(jc.Sample(x, t, y, id=np.arange(N)), row, estimand="att")
    swapped = jc.Function(other)
    two = average_of(jc.Sample(x, ~t, y, id=np.arange(N)), row, swapped, estimand="atc")
    close(two, -np.asarray(one), rtol=2e-4)


@every
def test_weights_count_relative_to_each_other(row):
    weight = np.random.default_rng(2).uniform(0.5, 2, N)
    one = average_of(sample_of(weight=weight), row)
    close(average_of(sample_of(weight=4 * weight), row), one, rtol=2e-4)
    assert abs(float(one) - float(average_of(sample_of(), row))) > 1e-6


@with_duplicates
def test_a_unit_of_weight_two_is_two_units(row):
    x, t, y = (np.asarray(a) for a in arrays_of())
    twice = np.arange(N) % 3 == 0
    every_row = np.concatenate([np.arange(N), np.flatnonzero(twice)])
    one = jc.Sample(x, t, y, weight=1.0 + twice)
    two = jc.Sample(x[every_row], t[every_row], y[every_row])
    query, found = np.flatnonzero(t), []
    for sample in (one, two):
        if not issubclass(WORDS[row.name], jc.matching.Matcher):
            found.append(average_of(sample, row))
            continue
        matching = jc.match(sample, row.make(SURFACE), surface=SURFACE, query=query)
        found.append(np.asarray(jc.estimate(sample, matching, effect="group").ite))
    close(found[0], found[1], rtol=1e-3, atol=1e-4)


@traced
def test_jit_equals_the_host_with_one_trace_a_shape(row):
    count = []

    @jax.jit
    def att(x, t, y):
        count.append(1)
        return average_of(jc.Sample(x, t, y), row, throw=False)

    for seed in (0, 1):
        x, t, y = arrays_of(seed)
        close(att(x, t, y), average_of(jc.Sample(x, t, y), row), rtol=5e-4)
    assert len(count) == 1


@traced
def test_vmap_equals_the_loop(row):
    x, t, y = arrays_of()
    ys = jnp.stack([y, 2 * y])

    def att(outcome):
        return average_of(jc.Sample(x, t, outcome), row, throw=False)

    close(jax.jit(jax.vmap(att))(ys), [att(one) for one in ys], rtol=5e-4)


@hosted
def test_a_method_of_the_host_says_so_under_jit(row):
    x, t, y = arrays_of()
    with pytest.raises(ValueError, match="runs on the host and cannot be used under jit"):
        jax.jit(lambda y: average_of(jc.Sample(x, t, y), row, throw=False))(y)


@every
def test_a_key_gives_the_same_bits(row):
    data = sample_of()
    one, two = (average_of(data, row) for _ in range(2))
    assert np.asarray(one) == np.asarray(two)


@every
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_are_of_the_callers_kind(row, kind):
    x, t, y = (np.asarray(a) for a in arrays_of())
    frame = pd.DataFrame(dict(a=x[:, 0], b=x[:, 1], t=t.astype(int), y=y))
    given = frame if kind == "pandas" else pl.from_pandas(frame)
    data = jc.Sample.from_frame(given, treatment="t", outcome="y")
    found = jc.estimate(data, row.make(SURFACE), key=3, estimand=row.estimands[0])
    tables = [found.to_frame()]
    if not isinstance(found, jc.effects.Average):
        tables += [found.matching.to_frame(), found.matching.describe_frame()]
    assert all(isinstance(table, type(given)) for table in tables)


@every
def test_bad_input_is_one_sentence(row, unchecked):
    data = sample_of()
    with pytest.raises(jc.DataError, match="the sample has no outcome"):
        jc.estimate(sample_of(y=False), row.make(SURFACE), key=0, estimand=row.estimands[0])
    with pytest.raises(ValueError, match="estimand"):
        jc.estimate(data, row.make(SURFACE), estimand="atx", key=0)
    with pytest.raises(jc.DataError, match="y"):
        jc.Sample(data.x, data.t, np.full(N, np.nan))


@every
def test_it_prints(row):
    method = row.make(SURFACE)
    assert type(method).__name__ in repr(method)
    found = jc.estimate(sample_of(), method, key=0, estimand=row.estimands[0])
    assert found.summary().startswith(row.estimands[0].upper()) and str(found) == found.summary()
    assert "<" in found._repr_html_()
    if not isinstance(found, jc.effects.Average):
        assert f"{type(found.matching).__name__} for ATT" in str(found.matching)


@every
@pytest.mark.extended
def test_it_has_bounds_for_a_variable_that_was_left_out(row):
    """Of every estimand: finite shares, and a bias that is the estimate at the robustness value."""
    for estimand in row.estimands:
        found = jc.estimate(sample_of(), row.make(SURFACE), key=3, estimand=estimand)
        bounds = jc.sensitivity(found, jc.OmittedVariable())
        value = bounds.robustness_value
        assert 0 < value < 1
        close(bounds.adjusted(value, value), 0, atol=1e-6 * abs(bounds.estimate))
        assert np.isfinite(bounds.to_frame()["adjusted"]).any()
        assert jc.sensitivity(found, jc.EValue()).estimate > 1
