"""pandas objects in another order: by label where both are labelled, else refused."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jcausal as jc

N = 24
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
T = np.arange(N) % 2
Y = X[:, 0] + 2.0 * T + RNG.normal(size=N)
GROUP = np.array(["a", "a", "b"] * 8)
PERM = RNG.permutation(N)
NAMED = [f"r{i}" for i in range(N)]
FLAT = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0]], axis=1))
METHOD = jc.FastAHB(outcome=FLAT)


def labelled(index=None):
    """x, t and y of pandas, by row number or by name."""
    frame = pd.DataFrame(X, columns=["a", "b"], index=index)
    return frame, pd.Series(T, frame.index), pd.Series(Y, frame.index)


def same(one, other):
    for field in ("x", "t", "y", "weight", "codes"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("index", [None, NAMED])
def test_a_sample_lays_its_parts_by_label(index):
    x, t, y = labelled(index)
    weight, cluster = pd.Series(1.0 + np.arange(N), x.index), pd.Series(GROUP, x.index)
    plain = jc.Sample(X, T, Y, weight=weight.to_numpy(), cluster=GROUP, id=np.arange(N))
    order = {
        "t": t,
        "y": y,
        "weight": weight,
        "cluster": cluster,
        "id": pd.Series(range(N), x.index),
    }
    mixed = {name: part.iloc[PERM] for name, part in order.items()}
    found = jc.Sample(x, mixed.pop("t"), mixed.pop("y"), **mixed)
    same(found, plain)
    np.testing.assert_array_equal(found.cluster, plain.cluster)
    assert found.id.tolist() == list(range(N))
    by_rows = jc.Sample(X, t, y.iloc[PERM]) if index else jc.Sample(X, t, y)
    same(by_rows, jc.Sample(X, T, Y))


def test_other_labels_are_refused():
    x, t, y = labelled()
    with pytest.raises(jc.DataError, match="y is labelled otherwise than x: 24 of the 24 labels"):
        jc.Sample(x, t, y.set_axis(NAMED))
    with pytest.raises(jc.DataError, match="the label 'r0' stands twice"):
        jc.Sample(x.set_axis(NAMED), t.set_axis(NAMED), y.set_axis(["r0", *NAMED[:-1]]))
    with pytest.raises(jc.DataError, match="y has its rows in another order .* x has no labels"):
        jc.Sample(X, T, y.iloc[PERM])
    with pytest.raises(jc.DataError, match=r"y has shape \(23,\) but x has 24 rows"):
        jc.Sample(x, t, y.iloc[1:])
    same(jc.Sample(X, T, y.set_axis(NAMED)), jc.Sample(X, T, Y))
    same(jc.Sample(x, t, y.set_axis(NAMED).to_numpy()), jc.Sample(X, T, Y))


def test_outcomes_that_come_later_follow_the_rows():
    x, t, y = labelled()
    plain = jc.Sample(X, T, Y)
    same(jc.Sample(x, t).with_outcome(y.iloc[PERM]), plain)
    frame = x.assign(t=t, who=NAMED)
    design = jc.Sample.from_frame(frame.sample(frac=1, random_state=1), treatment="t", id="who")
    again = design.with_outcome(y.iloc[PERM])
    expected = y[[NAMED.index(v) for v in design.id]].to_numpy()
    np.testing.assert_array_equal(again.y, expected.astype(again.y.dtype))
    same(again, design.with_outcome(y.set_axis(NAMED).iloc[PERM]))  # by the ids too
    part = jc.Sample(x, t).take(np.array([7, 2, 9, 4]))
    np.testing.assert_array_equal(part.with_outcome(y).y, Y[[7, 2, 9, 4]].astype(again.y.dtype))
    with pytest.raises(jc.DataError, match="y is labelled otherwise than the sample: 1 of the 4"):
        part.with_outcome(y.drop(9))
    with pytest.raises(jc.DataError, match="the sample has no labels"):
        jc.Sample(X, T).with_outcome(y.iloc[PERM])
    holed = frame.assign(a=x["a"].where(x.index > 1))
    with pytest.warns(UserWarning, match="dropped 2 of 24"):
        left = jc.Sample.from_frame(holed, treatment="t", id="who", missing="drop")
    np.testing.assert_array_equal(left.with_outcome(y.iloc[PERM]).y, Y[2:].astype(again.y.dtype))


def test_outcomes_of_a_part_of_an_array_follow_its_row_numbers():
    sample, y = jc.Sample(X, T), pd.Series(Y)
    part = jc.split(sample, key=0)[1]
    right = np.float32(Y[part.id])
    assert not np.array_equal(part.id, np.arange(part.n))
    for given in (y, y.iloc[PERM], y.loc[part.id], y.loc[part.id[::-1]]):
        np.testing.assert_array_equal(part.with_outcome(given).y, right)
    own = pd.Series(Y[part.id])  # numbered afresh: by position
    for given in (own, own.set_axis([f"p{i}" for i in range(part.n)]), own.to_numpy()):
        np.testing.assert_array_equal(part.with_outcome(given).y, right)
    other = np.setdiff1d(np.arange(N), part.id)[: part.n]
    assert len(other) == part.n
    words = rf"than the sample: {part.n} of the {part.n} labels .* \(first {part.id[0]}\)"
    with pytest.raises(jc.DataError, match=words):
        part.with_outcome(y.loc[other])
    with pytest.raises(jc.DataError, match=r"y has shape \(3,\)"):
        part.with_outcome(y.loc[part.id[-3:]])
    turned = sample.take(PERM)
    with pytest.raises(jc.DataError, match=r"y as y.loc\[sample.id\] to take it by row"):
        turned.with_outcome(y)
    np.testing.assert_array_equal(turned.with_outcome(y.loc[turned.id]).y, np.float32(Y[PERM]))


def test_outcomes_follow_ids_where_rows_have_no_labels():
    frame = pl.DataFrame(dict(a=[None, *X[1:, 0]], b=X[:, 1], t=T))
    with pytest.warns(UserWarning, match="dropped 1 of 24"):
        left = jc.Sample.from_frame(frame, treatment="t", missing="drop")
    y = pd.Series(Y)
    for given in (y, y.iloc[PERM], y.iloc[:0:-1], pd.Series(Y[1:])):
        np.testing.assert_array_equal(left.with_outcome(given).y, np.float32(Y[1:]))
    with pytest.raises(jc.DataError, match=r"1 of the 23 labels of the sample are not in it"):
        left.with_outcome(y.iloc[-2::-1])  # row 0 is there, the last is not
    named = jc.Sample(X, T, id=NAMED)
    np.testing.assert_array_equal(
        named.take(PERM[:9]).with_outcome(y.set_axis(NAMED)).y, np.float32(Y[PERM[:9]])
    )


def test_groups_follow_the_rows(unchecked):
    x, t, y = labelled(NAMED)
    group = pd.Series(GROUP, NAMED).iloc[PERM]
    sample = jc.Sample(x, t, y)
    effects = jc.estimate(sample, METHOD, folds=1)
    right = effects.cate(by=GROUP)
    pd.testing.assert_frame_equal(effects.cate(by=group), right)
    table = jc.interval(effects, jc.AbadieImbens(), by=group).to_frame()
    pd.testing.assert_frame_equal(
        table, jc.interval(effects, jc.AbadieImbens(), by=GROUP).to_frame()
    )
    trial = jc.GroupEstimates.from_trial(sample, by=GROUP)
    np.testing.assert_array_equal(jc.GroupEstimates.from_trial(sample, by=group).value, trial.value)
    own = jc.allocation.group(sample, jc.allocation.ByColumn(GROUP))
    np.testing.assert_array_equal(
        jc.allocation.group(sample, jc.allocation.ByColumn(group)).code, own.code
    )
    strata = jc.allocation.group(sample, jc.allocation.Quantiles(X[:, 1], 3))
    number = pd.Series(X[:, 1], NAMED).iloc[PERM]
    np.testing.assert_array_equal(
        jc.allocation.group(sample, jc.allocation.Quantiles(number, 3)).code, strata.code
    )
    mask = pd.Series((T == 1) & (X[:, 0] > 0), NAMED)
    rows = jc.estimate(sample, METHOD, folds=1, query=mask.iloc[PERM])
    np.testing.assert_array_equal(rows.matching.query, np.flatnonzero(mask))
    for verb in (effects.cate, lambda by: jc.interval(effects, jc.AbadieImbens(), by=by)):
        with pytest.raises(jc.DataError, match="by is labelled otherwise than the sample"):
            verb(by=pd.Series(GROUP))
    with pytest.raises(jc.DataError, match="by has its rows in another order"):
        jc.estimate(jc.Sample(X, T, Y), METHOD, folds=1).cate(by=pd.Series(GROUP).iloc[PERM])


def test_points_follow_the_names_of_their_columns():
    sample = jc.Sample(X, T, Y, names=["a", "b"])
    at = pd.DataFrame(X[:3], columns=["a", "b"])
    plain = jc.match(sample, METHOD, surface=FLAT, at=X[:3])
    found = jc.match(sample, METHOD, surface=FLAT, at=at[["b", "a"]])
    np.testing.assert_array_equal(found.lower, plain.lower)
    with pytest.raises(ValueError, match="at has the columns a, c and the sample a, b"):
        jc.match(sample, METHOD, surface=FLAT, at=at.rename(columns={"b": "c"}))


@pytest.mark.parametrize(
    "kind",
    [
        pd.DataFrame,
        pytest.param(pl.DataFrame, marks=pytest.mark.extended),
        pytest.param(pa.table, marks=pytest.mark.extended),
    ],
    ids=["pd", "pl", "pa"],
)
def test_a_frame_of_covariates_names_them(kind, unchecked):
    frame = pd.DataFrame(X, columns=["z", "x"])
    made = lambda columns: kind({name: frame[name].to_numpy() for name in columns})  # noqa: E731
    sample = jc.Sample(made(["z", "x"]), T, Y)
    assert sample.schema.names == ("z", "x")
    plain = jc.match(sample, METHOD, surface=FLAT, at=X[:3])
    at = made(["x", "z"])
    found = jc.match(sample, METHOD, surface=FLAT, at=at[:3] if kind is not pa.table else at)
    np.testing.assert_array_equal(found.lower[:3], plain.lower)
    named = jc.Sample(made(["z", "x"]), T, Y, names=["a", "b"])
    assert named.schema.names == ("a", "b")
    with pytest.raises(ValueError, match="at has the columns x, z and the sample a, b"):
        jc.match(named, METHOD, surface=FLAT, at=at)


def test_numbers_that_only_count_columns_name_none(unchecked):
    assert jc.Sample(pd.DataFrame(X), T).schema.names == ("x0", "x1")
    assert jc.Sample(pl.DataFrame(X), T).schema.names == ("x0", "x1")
    turned = jc.Sample(pd.DataFrame(X)[[1, 0]], T, Y)
    assert turned.schema.names == ("1", "0")
    right = jc.match(turned, METHOD, surface=FLAT, at=X[:3, ::-1])
    found = jc.match(turned, METHOD, surface=FLAT, at=pd.DataFrame(X[:3]))
    np.testing.assert_array_equal(found.lower, right.lower)


def test_estimates_costs_and_rho_follow_the_groups():
    value = pd.Series([7.0, 4.5, 4.0], ["a", "b", "c"])
    error = pd.Series([0.1, 0.2, 0.3], value.index)
    turned = [2, 0, 1]
    made = jc.GroupEstimates(value, std_error=error.iloc[turned])
    assert made.labels == ("a", "b", "c")
    np.testing.assert_array_equal(made.std_error, [0.1, 0.2, 0.3])
    cost, kind = pd.Series([6.0, 5.0, 5.0], value.index), pd.Series(list("uvv"), value.index)
    knapsack = jc.Knapsack(10.0, cost=cost.iloc[turned])
    found = jc.allocate(value, knapsack, rho=pd.Series([0.3, 0.1, 0.2], value.index).iloc[turned])
    assert found.chosen.tolist() == [False, True, True] and found.spend == 10.0
    np.testing.assert_array_equal(found.rho, [0.3, 0.1, 0.2])
    assert knapsack.fractional(value) == jc.Knapsack(10.0, cost=cost.to_numpy()).fractional(
        value.to_numpy()
    )
    capped = jc.Knapsack(11.0, cost=cost, category=kind.iloc[turned], cap={"v": 1})
    assert jc.allocate(made, capped).chosen.tolist() == [True, True, False]
    with pytest.raises(jc.DataError, match="cost is labelled otherwise than the estimates: 1 of"):
        jc.allocate(made, jc.Knapsack(10.0, cost=cost.rename({"a": "z"})))
    by_number = cost.reset_index(drop=True).iloc[turned]
    with pytest.raises(jc.DataError, match="cost has its rows in another order"):
        jc.allocate([7.0, 4.5, 4.0], jc.Knapsack(10.0, cost=by_number), rho=0.1)
    with pytest.raises(jc.DataError, match="std_error is labelled otherwise than value"):
        jc.GroupEstimates(value, std_error=error.rename({"a": "z"}))


def test_another_assignment_must_have_the_labels_of_the_panel(unchecked):
    y = pd.DataFrame([[1.0, 2.0], [3.0, 5.0]], index=["u", "v"], columns=[2001, 2002])
    d = pd.DataFrame([[0, 0], [0, 1]], index=["u", "v"], columns=[2001, 2002])
    panel = jc.Panel(y, d)
    assert panel.with_treatment(d).d.tolist() == [[False, False], [False, True]]
    for change in (d.iloc[::-1], d[[2002, 2001]]):
        with pytest.raises(jc.DataError, match="of d are labelled otherwise than the panel's"):
            panel.with_treatment(change)


def test_a_panel_has_groups_of_its_own(unchecked):
    panel = jc.Panel([[1.0, 2.0], [3.0, 5.0]], [[0, 0], [0, 1]])
    found = jc.complete(panel, jc.TwoWayFixedEffects())
    with pytest.raises(ValueError, match="by is a Series: a panel has by='unit'"):
        jc.interval(found, jc.PanelJackknife(), by=pd.Series(["a", "b"]))
