"""Splits and folds: both arms in each part, clusters whole, ids followed, honesty enforced."""

import jax
import numpy as np
import pytest
from conftest import draw_sample

import jcausal as jc
from jcausal.data import deal


def test_parts_share_no_row_and_hold_both_arms():
    sample = draw_sample(0, n=61)
    train, test = jc.split(sample, train_size=0.3, key=1)
    assert train.n + test.n == 61
    assert not {tuple(r) for r in train.points} & {tuple(r) for r in test.points}
    for part, share in ((train, 0.3), (test, 0.7)):
        assert abs(int(part.t.sum()) - share * int(sample.t.sum())) <= 1
    again = jc.split(sample, train_size=0.3, key=jax.random.key(1))[0]
    np.testing.assert_array_equal(again.points, train.points)


def test_draws_follow_the_id_not_the_position():
    names = [f"u{i}" for i in range(40)]
    sample = draw_sample(2, n=40, id=names)
    order = np.random.default_rng(0).permutation(40)
    mixed = jc.Sample(sample.points[order], np.asarray(sample.t)[order], id=np.array(names)[order])
    first = dict(zip(sample.id, np.asarray(deal(sample, 3, jax.random.key(0))).tolist()))
    second = dict(zip(mixed.id, np.asarray(deal(mixed, 3, jax.random.key(0))).tolist()))
    assert first == second


def test_folds_are_even_and_keep_clusters():
    sample = draw_sample(3, n=60)
    fold = np.asarray(deal(sample, 4, jax.random.key(0)))
    for arm in (False, True):
        counts = np.bincount(fold[np.asarray(sample.t) == arm], minlength=4)
        assert counts.max() - counts.min() <= 1
    cluster = np.repeat(np.arange(15), 4)
    grouped = draw_sample(3, n=60, cluster=cluster)
    fold = np.asarray(deal(grouped, 3, jax.random.key(0)))
    assert all(len(set(fold[cluster == c])) == 1 for c in range(15))
    assert sorted(np.bincount(fold)) == [20, 20, 20]
    train, test = jc.split(grouped, key=0)
    assert not set(np.asarray(train.cluster)) & set(np.asarray(test.cluster))


@pytest.mark.extended
def test_a_surface_may_not_have_seen_the_outcomes_it_averages(halves):
    train, test = halves
    surface = jc.fit(train, jc.Ridge())
    assert bool(jc.match(test, jc.FastAHB(), surface=surface).matched.all())
    with pytest.raises(jc.HonestyError, match="222 of the 222 rows"):
        jc.match(train, jc.FastAHB(), surface=surface)
    assert jc.match(train, jc.FastAHB(), surface=surface, honest=False).matched.any()
    other = draw_sample(0)
    assert jc.match(other, jc.FastAHB(), surface=jc.fit(draw_sample(1), jc.Ridge())).matched.any()
    with pytest.raises(jc.HonestyError, match="at least 2 folds"):
        jc.estimate(train, jc.FastAHB(outcome=jc.Ridge()), folds=1)


def test_ids_tell_the_same_unit_in_two_samples():
    both = draw_sample(4, n=55, id=list(range(55)))
    first, second = both.take(np.arange(30)), both.take(np.arange(25, 55))
    with pytest.raises(jc.HonestyError, match="5 of the 30 rows"):
        jc.match(second, jc.FastAHB(), surface=jc.fit(first, jc.Ridge()))
    others = draw_sample(5, n=30, id=list(range(25, 55)))  # numbers of other units
    words = "5 of the 30 rows to be averaged have ids of rows that trained the surface, but neither"
    with pytest.warns(UserWarning, match=words):
        found = jc.match(others, jc.FastAHB(), surface=jc.fit(first, jc.Ridge()))
    assert found.matched.any()


def test_outcomes_inside_a_fold_move_none_of_its_boxes():
    sample = draw_sample(6, n=60)
    method = jc.FastAHB(outcome=jc.Ridge())
    found = jc.estimate(sample, method, folds=2, key=3).matching
    fold, y = np.asarray(found.fold), np.array(sample.y)
    inside = np.flatnonzero(fold == 1)
    y[inside] = y[np.random.default_rng(0).permutation(inside)] * 5
    moved = jc.estimate(sample.with_outcome(y), method, folds=2, key=3).matching
    assert (np.asarray(moved.fold) == fold).all()
    mine = np.asarray(found.query_fold) == 1
    assert (found.lower[mine] == moved.lower[mine]).all()
    assert (found.upper[mine] == moved.upper[mine]).all()
    assert not (found.lower[~mine] == moved.lower[~mine]).all()


@pytest.mark.extended
def test_groups_stay_inside_their_fold_and_every_query_has_one():
    sample = draw_sample(7, n=60)
    found = jc.estimate(sample, jc.FastAHB(outcome=jc.Ridge()), folds=3, key=0).matching
    assert sorted(np.asarray(found.query)) == np.flatnonzero(np.asarray(sample.t)).tolist()
    fold = np.asarray(found.fold)
    for i in range(found.query.shape[0]):
        assert set(fold[found.group(i)[0]]) == {fold[int(found.query[i])]}


def test_repeats_give_the_median_partition_and_the_spread():
    sample = draw_sample(8, n=60)
    method = jc.FastAHB(outcome=jc.Ridge())
    many = jc.estimate(sample, method, repeats=5, key=0)
    assert many.partitions.average.shape == (5,)
    assert float(many.att) == np.median(many.partitions.average)
    assert many.partitions.average[many.partitions.shown] == float(many.att)
    assert "over 5 partitions" in many.summary()
    assert len(set(many.partitions.average)) == 5


def test_parts_and_folds_that_lack_an_arm_are_refused():
    x = np.random.default_rng(0).normal(size=(10, 2))
    few = jc.Sample(x, [1] + [0] * 9, np.arange(10))
    with pytest.raises(jc.DataError, match="part would hold"):
        jc.split(few, key=0)
    with pytest.raises(jc.DataError, match="fold 2 of 2 holds .* and 0 treated"):
        jc.estimate(few, jc.FastAHB(outcome=jc.Ridge()), key=0)
    with pytest.raises(ValueError, match="train_size is 1"):
        jc.split(draw_sample(0), train_size=1, key=0)
    with pytest.raises(ValueError, match="give key="):
        jc.estimate(draw_sample(0), jc.FastAHB(outcome=jc.Ridge()))
    with pytest.raises(ValueError, match="folds is 0"):
        jc.estimate(draw_sample(0), jc.FastAHB(outcome=jc.Ridge()), folds=0, key=0)
