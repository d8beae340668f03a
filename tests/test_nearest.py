"""Nearest neighbours against a brute force, scikit-learn, R MatchIt and R Matching."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import close, draw_sample, wavy
from sklearn.neighbors import NearestNeighbors as SklearnNeighbors

import jcausal as jc
from jcausal import kernels
from jcausal.data import readable_columns
from jcausal.matching.neighbors import _nearest_lists
from jcausal.matching.neighbors._nearest_lists import NearestLists
from jcausal_kernels.specs import POINT_SPECS

pytestmark = pytest.mark.x64
METRICS = ("mahalanobis", "robust_mahalanobis", "scaled_euclidean", "euclidean", "propensity")


# The oracle: all distances, then one query after another.


def columns_of(sample):
    """Columns with missing numbers at the mean of the known."""
    values = readable_columns(sample)[1]
    weight = np.asarray(sample.weight, float)[:, None] * ~np.isnan(values)
    mean = (weight * np.nan_to_num(values)).sum(0) / weight.sum(0)
    return np.where(np.isnan(values), mean, values)


def within_arms(values, t, weight):
    weight = weight / weight.mean()
    out = np.zeros((values.shape[1],) * 2)
    for i, row in enumerate(values):
        gap = row - np.average(values[t == t[i]], axis=0, weights=weight[t == t[i]])
        out += weight[i] * np.outer(gap, gap)
    return out / (weight.sum() - 1)


def ranks(column, inside):
    among = column[inside]
    return np.array([(among < v).sum() + ((among == v).sum() + 1) / 2 for v in column])


def squares(sample, metric):
    """Squared distances (n, n)."""
    x, t = columns_of(sample), np.asarray(sample.t)
    if isinstance(metric, np.ndarray):
        inverse = metric
    elif metric == "propensity":
        e = jc.surfaces.propensity_scores(sample, jc.Propensity())
        return np.subtract.outer(np.log(e / (1 - e)), np.log(e / (1 - e))) ** 2
    elif metric == "robust_mahalanobis":
        inside = np.asarray(sample.weight) > 0
        x = np.stack([ranks(column, inside) for column in x.T], axis=1)
        untied = np.std(np.arange(inside.sum()), ddof=1)
        correlation = np.corrcoef(x[inside].T)
        inverse = np.linalg.pinv(correlation, rcond=1e-10) / untied**2
    else:
        inverse = within_arms(x, t, np.asarray(sample.weight, float))
        if metric == "mahalanobis":
            inverse = np.linalg.pinv(inverse, rcond=1e-10)
        elif metric == "scaled_euclidean":
            variance = np.diag(inverse)
            inverse = np.diag(np.where(variance > 0, 1 / np.where(variance > 0, variance, 1), 0))
        else:
            levels = np.array([": " in name for name in readable_columns(sample)[0]])
            inverse = np.diag(np.where(levels, 0.5, 1))
    gap = x[:, None] - x
    return np.einsum("ijf,fg,ijg->ij", gap, inverse, gap)


def by_value(sample, rows):
    """Rows in the order that breaks ties."""
    words = np.column_stack([np.asarray(sample.codes, np.uint64), np.asarray(sample.row)])
    return sorted(rows, key=lambda r: words[r].tolist())


def brute(sample, square, ratio, ties, allowed=None):
    """The partners of every row, by the definition."""
    t, weight = np.asarray(sample.t), np.asarray(sample.weight)
    allowed = np.ones(square.shape, bool) if allowed is None else allowed
    found = []
    for i in range(sample.n):
        units = by_value(sample, np.flatnonzero((t != t[i]) & (weight > 0) & allowed[i]))
        far = np.array([square[i, k] for k in units])
        if len(units) <= ratio:
            found.append(set(units))
            continue
        last = np.sort(far)[ratio - 1]
        near = [k for k, d in zip(units, far) if d < last * (1 - 1e-9)]
        tied = [k for k, d in zip(units, far) if abs(d - last) <= last * 1e-9]
        found.append({*near, *(tied if ties == "all" else tied[: ratio - len(near)])})
    return found


def partners(matching):
    rows = np.asarray(matching.rows)
    return [set(row[row >= 0].tolist()) for row in rows]


def check(sample, method, square, allowed=None):
    """Every query against the brute force, in both arms, and how queries ended."""
    found = jc.match(sample, method, estimand="ate", throw=False)
    expected = brute(sample, square, method.ratio, method.ties, allowed)
    assert partners(found) == expected
    assert (np.asarray(found.matched) == [bool(each) for each in expected]).all()
    weight = np.asarray(sample.weight, float)
    for i, rows in enumerate(expected):
        row = np.asarray(found.rows)[i]
        mine = weight[list(rows)].sum()
        close([*np.asarray(found.weights)[i][row >= 0], 1], [*(weight[row[row >= 0]] / mine), 1], rtol=1e-5)
    return found


def odd_sample(seed, integers=True, n=60, missing=False):
    """Ties, twins, a category, weights of which some are 0, and gaps."""
    rng = np.random.default_rng(seed)
    t = (np.arange(n) % 3 == 0).astype(int)
    rng.shuffle(t)
    first = rng.integers(0, 4, n) if integers else rng.normal(size=n)
    columns = dict(
        a=first.astype(float),
        b=rng.integers(0, 3, n).astype(float) if integers else rng.normal(size=n),
        kind=np.array(["red", "green", "blue"])[rng.integers(0, 3, n)],
        t=t,
        y=rng.normal(size=n),
        w=rng.choice([0.0, 0.5, 1.0, 2.0], n, p=[0.1, 0.3, 0.3, 0.3]),
        id=np.arange(n) + 1000,
    )
    frame = pd.DataFrame(columns)
    if missing:
        frame.loc[rng.random(n) < 0.2, "b"] = np.nan
    return jc.Sample.from_frame(
        frame,
        treatment="t",
        outcome="y",
        weight="w",
        categorical=["kind"],
        id="id",
        missing="indicator" if missing else "error",
    )


@pytest.mark.parametrize("ties", ["all", "first"])
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_against_a_brute_force(metric, ties):
    for seed, integers, missing in ((0, True, False), (1, False, False), (2, True, True)):
        sample = odd_sample(seed, integers, missing=missing)
        for ratio in (1, 3):
            method = jc.NearestNeighbors(metric=metric, ratio=ratio, ties=ties)
            found = check(sample, method, squares(sample, metric))
        assert any("missing values stand at the mean" in note for note in found.notes()) == (
            missing and metric != "propensity"
        )


@pytest.mark.parametrize("ties", ["all", "first"])
def test_a_matrix_and_a_function(ties):
    sample = odd_sample(3)
    f = columns_of(sample).shape[1]
    half = np.random.default_rng(0).normal(size=(f, 2))
    matrix = half @ half.T  # of rank 2
    check(sample, jc.NearestNeighbors(metric=matrix, ties=ties), squares(sample, matrix))
    method = jc.NearestNeighbors(metric=lambda columns: columns @ half, ties=ties)
    check(sample, method, squares(sample, matrix))
    one = jc.NearestNeighbors(metric=jnp.asarray(matrix), ties=ties)
    assert partners(jc.match(sample, one)) == partners(jc.match(sample, method))


def gaps(sample, name):
    """Differences in a number, NaN where one side is missing and 0 where both are."""
    column = sample.points[:, sample.schema.names.index(name)]
    gap = np.abs(column[:, None] - column)
    gap[np.isnan(column)[:, None] & np.isnan(column)] = 0
    weight = np.where(np.isnan(column), 0, np.asarray(sample.weight, float))
    known = weight > 0
    mass = weight[known] / weight[known].mean()
    around = column[known] - np.average(column[known], weights=mass)
    return gap, np.sqrt((mass * around**2).sum() / (mass.sum() - 1))


@pytest.mark.parametrize("ratio", [1, 3])
def test_calipers_and_exact_columns(ratio):
    for missing in (False, True):
        sample = odd_sample(4, missing=missing)
        square = squares(sample, "mahalanobis")
        gap, sd = gaps(sample, "b")
        kind = np.asarray(sample.codes)[:, sample.schema.names.index("kind")]
        same = kind[:, None] == kind
        for options, allowed in (
            (dict(caliper={"b": 0.5}), gap <= 0.5 * sd * (1 + 1e-9)),
            (dict(caliper={"b": 1.0}, caliper_unit="raw"), gap <= 1),
            (dict(caliper={"b": 0}, exact="kind"), (gap == 0) & same),
            (dict(caliper=1.0), square <= 1 + 1e-9),
            (dict(caliper=1.0, exact=["kind"]), (square <= 1 + 1e-9) & same),
            (dict(exact=("kind", "b")), (gap == 0) & same),
        ):
            found = check(sample, jc.NearestNeighbors(ratio=ratio, **options), square, allowed)
            said = {found.reason(i)[:32] for i in np.flatnonzero(~np.asarray(found.matched))}
            assert said <= {"no unit of the other arm is as n"}


def test_calipers_of_the_propensity():
    sample = odd_sample(5, integers=False)
    square = squares(sample, "propensity")
    logit = np.log(jc.surfaces.propensity_scores(sample, jc.Propensity()))
    logit -= np.log1p(-np.exp(logit))
    weight = np.asarray(sample.weight, float)
    mass = weight / weight[weight > 0].mean()
    around = logit - np.average(logit, weights=mass)
    sd = np.sqrt((mass * around**2).sum() / (mass.sum() - 1))
    inside, raw = square <= (0.1 * sd) ** 2, square <= 0.05**2
    check(sample, jc.NearestNeighbors(metric="propensity", caliper=0.1), square, inside)
    by_hand = jc.NearestNeighbors(metric="propensity", caliper=0.05, caliper_unit="raw")
    found = check(sample, by_hand, square, raw)
    assert 0 < int(found.matched.sum()) < sample.n
    within = jc.NearestNeighbors(caliper={"propensity": 0.1})
    check(sample, within, squares(sample, "mahalanobis"), inside)


# Without replacement.


def brute_greedy(sample, square, ratio, order, allowed=None, arm=True):
    """The partners of the queries of an arm, one pair after another."""
    t, weight = np.asarray(sample.t), np.asarray(sample.weight)
    free = set(np.flatnonzero((t != arm) & (weight > 0)).tolist())
    found = {i: [] for i in order}

    def best(i):
        there = [k for k in by_value(sample, free) if allowed is None or allowed[i, k]]
        far = [square[i, k] for k in there]
        least = min(far, default=np.inf)
        near = [k for k, d in zip(there, far) if d <= least * (1 + 1e-9)]
        return (least, near[0]) if near else (np.inf, None)

    for _ in range(ratio):
        left = [i for i in order if len(found[i]) == _]
        while left:
            i = left[0]
            if order is not left and isinstance(order, tuple):  # closest first
                least = min(best(j)[0] for j in left)
                i = next(j for j in left if best(j)[0] <= least * (1 + 1e-9))
            unit = best(i)[1]
            left.remove(i)
            if unit is not None:
                found[i].append(unit)
                free.remove(unit)
    return found


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("order", ["data", "largest", "closest"])
@pytest.mark.parametrize("metric", ["mahalanobis", "propensity"])
def test_without_replacement_against_a_brute_force(metric, order, ratio):
    for seed, integers, arm in ((6, True, True), (7, False, False)):
        sample = odd_sample(seed, integers)
        square = squares(sample, metric)
        estimand = "att" if arm else "atc"  # of the controls there are more than treated
        method = jc.NearestNeighbors(metric=metric, ratio=ratio, replace=False, order=order)
        found = jc.match(sample, method, estimand=estimand)
        queries = np.flatnonzero(np.asarray(sample.t) == arm).tolist()
        turn = queries if order == "data" else by_value(sample, queries)
        if order == "largest" and metric == "propensity":
            score = jc.surfaces.propensity_scores(sample, jc.Propensity())
            turn = sorted(turn, key=lambda i: -score[i] if arm else score[i])
        expected = brute_greedy(
            sample, square, ratio, tuple(turn) if order == "closest" else turn, arm=arm
        )
        assert partners(found) == [set(expected[i]) for i in queries]
        used = [k for each in expected.values() for k in each]
        assert len(set(used)) == len(used)
        said = {found.reason(i)[:30] for i in np.flatnonzero(~np.asarray(found.matched))}
        assert said == (set() if arm else {"its possible partners are all "})
