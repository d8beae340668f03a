"""Every way through the search gives the same boxes: batches, lanes, levels, budgets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import draw_sample, wavy

import jcausal as jc
from jcausal.matching.boxes.fast import _counts, _grow_all
from jcausal.surfaces import _by_evaluation, evaluate_along

PAPER = dict(tolerance=0.0, caliper=None)


def edges(boxes):
    return [np.asarray(a) for a in (boxes.lower_code, boxes.upper_code, boxes.open, boxes.status)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.extended
@pytest.mark.parametrize("method", [jc.FastAHB(), jc.FastAHB(levels=3), jc.FastAHB(**PAPER)])
def test_small_batches_that_are_filled_up_give_the_same_boxes(method, monkeypatch):
    sample = draw_sample(5, n=230, category=3)
    whole = edges(jc.match(sample, method, surface=jc.Function(wavy), estimand="ate"))
    monkeypatch.setattr(_grow_all, "BATCH", 48)
    assert_same(edges(jc.match(sample, method, surface=jc.Function(wavy), estimand="ate")), whole)


@pytest.mark.extended
@pytest.mark.x64
@pytest.mark.parametrize(
    "method",
    [
        jc.FastAHB(),
        jc.FastAHB(levels=3, min_controls=5),
        jc.FastAHB(**PAPER, min_treated=4),
        jc.FastAHB(min_controls=10_000),
    ],
)
def test_lanes_under_jit_give_the_boxes_of_the_host(method):
    """The queries are several times as many as the lanes, and treated and controls mixed."""
    sample = draw_sample(6, n=230)
    surface = jc.Function(wavy)

    def traced(x, t):
        found = jc.match(jc.Sample(x, t), method, surface=surface, throw=False)
        return found.lower_code, found.upper_code, found.open, found.status

    host = jc.match(sample, method, surface=surface, throw=False)
    rows = np.asarray(host.query)
    ours = [np.asarray(a)[rows] for a in jax.jit(traced)(sample.x, sample.t)]
    assert_same(ours, edges(host))


@pytest.mark.extended
def test_one_level_goes_to_the_end_in_one_step():
    sample = draw_sample(7, n=60)
    boxes = jc.match(sample, jc.FastAHB(levels=1), surface=jc.Function(wavy))
    codes = np.asarray(sample.codes)[np.asarray(boxes.query)]
    last = np.asarray(sample.heights) - 1
    lower, upper = np.asarray(boxes.lower_code), np.asarray(boxes.upper_code)
    assert ((lower == codes) | (lower == 0)).all() and ((upper == codes) | (upper == last)).all()
    assert ((lower == 0) & (codes > 0)).any() and ((upper == last) & (codes < last)).any()


@pytest.mark.extended
def test_a_ladder_of_one_rung_under_jit_and_no_ladder_at_all():
    """On the host a constant column is refused; in a trace it holds everybody."""
    t = np.arange(40) % 2 == 0
    surface = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1))
    with pytest.raises(jc.DataError, match="a constant column matches everybody"):
        jc.Sample(np.ones((40, 2)), t)
    sizes = jax.jit(
        lambda x: jc.match(jc.Sample(x, t), jc.FastAHB(), surface=surface, throw=False).sizes
    )(jnp.ones((40, 2)))
    assert (np.asarray(sizes)[t] == 20).all()
    levels = np.random.default_rng(0).integers(0, 3, (40, 1)).astype(float)
    only = jc.Sample(levels, t, kinds=["category"])
    boxes = jc.match(only, jc.FastAHB(), surface=surface)
    own = np.asarray(only.codes)[np.asarray(boxes.query), 0]
    assert np.asarray(boxes.open)[np.arange(len(own)), 0, own].all()


@pytest.mark.extended
def test_counting_a_few_units_first_gives_the_same_boxes(monkeypatch):
    sample = draw_sample(9, n=300)
    for method in (jc.FastAHB(), jc.FastAHB(**PAPER, min_treated=4), jc.FastAHB(min_controls=30)):
        whole = edges(jc.match(sample, method, surface=jc.Function(wavy)))
        with monkeypatch.context() as patch:
            patch.setattr(_counts, "SCREEN", 20)
            jax.clear_caches()
            screened = edges(jc.match(sample, method, surface=jc.Function(wavy)))
        jax.clear_caches()
        assert_same(screened, whole)


@pytest.mark.extended
def test_many_short_rounds(monkeypatch):
    """However quick the rounds are, the steps of the next one stay a number that fits."""
    monkeypatch.setattr(_grow_all, "BATCH", 16)
    sample = draw_sample(10, n=60, p=1)
    at = np.random.default_rng(0).normal(size=(800, 1))
    surface = jc.Function(lambda x: jnp.concatenate([x, 2 * x], axis=1))
    limits = []
    real = _grow_all.advance

    def watched(problem, queries, state, limit, *rest):
        limits.append(int(limit))
        return real(problem, queries, state, limit, *rest)

    monkeypatch.setattr(_grow_all, "advance", watched)
    boxes = jc.match(sample, jc.FastAHB(levels=2), surface=surface, at=at)
    assert np.asarray(boxes.matched).all()
    assert len(limits) > 40 and max(limits) <= _grow_all.LONGEST + 1


@pytest.mark.x64
def test_lines_that_are_not_wanted_are_left_out(monkeypatch):
    rng = np.random.default_rng(0)
    centre, at = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((50, 3), (50, 3, 2)))
    j = jnp.array([[2, 0, 1]])
    whole = evaluate_along(jc.Function(wavy), centre, j, at)
    monkeypatch.setattr(_by_evaluation, "LINES", 8)
    for share in (0.0, 0.02, 0.5, 1.0):
        wanted = jnp.asarray(rng.uniform(size=(50, 3)) < share)
        some = evaluate_along(jc.Function(wavy), centre, j, at, wanted)
        np.testing.assert_allclose(some, jnp.where(wanted[..., None, None], whole, 0), atol=1e-6)


@pytest.mark.extended
def test_leaving_out_lines_gives_the_same_boxes(monkeypatch):
    sample = draw_sample(11, n=120, category=3)
    for grid in ("line", "lattice"):
        method = jc.FastAHB(grid=grid)
        whole = edges(jc.match(sample, method, surface=jc.Function(wavy)))
        with monkeypatch.context() as patch:
            patch.setattr(_by_evaluation, "LINES", 8)
            some = edges(jc.match(sample, method, surface=jc.Function(lambda x: wavy(x))))
        assert_same(some, whole)
