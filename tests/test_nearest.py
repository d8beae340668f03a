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
from jcausal.matching.neighbors import _caliper_windows, _nearest_lists
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
        e = np.asarray(jc.surfaces.propensity_scores(sample, jc.surfaces.LIKELIEST), float)
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
        close(
            [*np.asarray(found.weights)[i][row >= 0], 1],
            [*(weight[row[row >= 0]] / mine), 1],
            rtol=1e-5,
        )
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
    logit = np.log(jc.surfaces.propensity_scores(sample, jc.surfaces.LIKELIEST))
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
            score = jc.surfaces.propensity_scores(sample, jc.surfaces.LIKELIEST)
            turn = sorted(turn, key=lambda i: -score[i] if arm else score[i])
        expected = brute_greedy(
            sample, square, ratio, tuple(turn) if order == "closest" else turn, arm=arm
        )
        assert partners(found) == [set(expected[i]) for i in queries]
        used = [k for each in expected.values() for k in each]
        assert len(set(used)) == len(used)
        said = {found.reason(i)[:30] for i in np.flatnonzero(~np.asarray(found.matched))}
        assert said == (set() if arm else {"its possible partners are all "})


# Other searches, and all ways to search.


@pytest.mark.parametrize("features", [1, 3, 9])
@pytest.mark.parametrize("k", [1, 4])
def test_as_near_as_the_neighbours_of_scikit_learn(features, k):
    sample = draw_sample(features, n=600, p=features)
    found = jc.match(sample, jc.NearestNeighbors(metric="euclidean", ratio=k))
    x, t = np.asarray(sample.points), np.asarray(sample.t)
    _, rows = SklearnNeighbors(n_neighbors=k).fit(x[~t]).kneighbors(x[t])
    expected = np.flatnonzero(~t)[rows]
    assert partners(found) == [set(row.tolist()) for row in expected]


WAYS = ["tree", "host", "kernel"]


def forced(monkeypatch, way):
    """One way to search, whatever the size."""
    monkeypatch.setattr(_nearest_lists, "FEW_FEATURES", 99 if way == "tree" else 0)
    monkeypatch.setattr(_nearest_lists, "FEW_PAIRS", 2**60 if way == "host" else 0)


@pytest.mark.parametrize("kind", ["normal", "ties", "far", "twins"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_search_lists_the_nearest_and_proves_it(way, kind, monkeypatch):
    forced(monkeypatch, way)
    rng = np.random.default_rng(0)
    units, at = rng.normal(size=(900, 5)), rng.normal(size=(70, 5))
    if kind == "ties":
        units, at = np.round(units), np.round(at)
    if kind == "far":  # float32 sees little of such differences
        units, at = 1e4 + 1e-2 * units, 1e4 + 1e-2 * at
        units[:3] = 1e6
    if kind == "twins":
        units = np.repeat(units[:90], 10, axis=0)
    square = ((at[:, None] - units) ** 2).sum(2)
    lists = NearestLists(units, 2**20)
    for m in (1, 7, 300, 900, 2000):
        found = lists.ask(at, m)
        for i, (rows, near, beyond) in enumerate(zip(*found)):
            held = rows[rows >= 0]
            close(near[: held.size], square[i, held], rtol=1e-9, atol=1e-12)
            assert (np.diff(near[: held.size]) >= -1e-9 * near[1 : held.size]).all()
            others = np.setdiff1d(np.arange(900), held)
            least = square[i, others].min(initial=np.inf)
            assert least >= beyond * (1 - 1e-12) and held.size >= min(m, 900)
            assert (
                kind == "far" or others.size == 0 or beyond > 0.99 * near[: held.size].max() - 0.01
            )


@pytest.mark.parametrize("way", WAYS)
def test_matches_do_not_hang_on_the_way(way, monkeypatch):
    samples = [odd_sample(8), odd_sample(9, integers=False), odd_sample(10, missing=True)]
    methods = [
        jc.NearestNeighbors(ratio=3),
        jc.NearestNeighbors(ratio=2, ties="first", caliper={"b": 0.5}),
        jc.NearestNeighbors(replace=False, order="closest"),
        jc.NearestNeighbors(replace=False, ratio=2, caliper={"b": 0.5, "a": 1.0}),
        jc.NearestNeighbors(replace=False, ratio=2, max_bytes=1),
    ]
    expected = [[partners(jc.match(s, m, throw=False)) for m in methods] for s in samples]
    forced(monkeypatch, way)
    monkeypatch.setattr(_caliper_windows, "NARROW", 3)
    assert [[partners(jc.match(s, m, throw=False)) for m in methods] for s in samples] == expected


@pytest.mark.parametrize(
    "implementation", [pytest.param("reference", marks=pytest.mark.extended), "auto"]
)
@pytest.mark.parametrize("spec", POINT_SPECS)
def test_the_kernel_finds_the_nearest(spec, implementation):
    rng = np.random.default_rng(spec.n)
    values, at = (
        rng.integers(0, spec.values, (m, spec.f)) - spec.values // 2 for m in (spec.n, spec.q)
    )
    values = values.astype(float)
    able = rng.random(spec.n) >= spec.nobody
    values[~able & (rng.random(spec.n) < 0.5)] = np.nan
    arrays = jnp.asarray(values), jnp.asarray(able), jnp.asarray(at.astype(float))
    options = dict(max_bytes=spec.max_bytes, implementation=implementation)
    rows, near = map(np.asarray, kernels.nearest_points(*arrays, spec.k, **options))
    assert rows.shape == near.shape == (spec.q, spec.k)
    square = ((at[:, None] - np.nan_to_num(values)) ** 2).sum(-1)
    square = np.where(able, square, np.inf)
    for i in range(spec.q):  # whole numbers: float32 is exact here
        best = np.argsort(square[i], kind="stable")[: spec.k]
        best = best[square[i, best] < np.inf]
        missing = spec.k - best.size
        if spec.values > 9:
            np.testing.assert_array_equal(rows[i], [*best, *[spec.n] * missing])
        np.testing.assert_allclose(near[i], [*square[i, best], *[np.inf] * missing])
        held = np.asarray(rows[i])[: best.size]
        assert len(set(held.tolist())) == best.size
        np.testing.assert_allclose(near[i, : best.size], square[i, held])


def test_the_kernel_maps_lowers_and_refuses(unchecked):
    rng = np.random.default_rng(0)
    values, at = jnp.asarray(rng.normal(size=(300, 4))), jnp.asarray(rng.normal(size=(2, 9, 4)))
    able = jnp.ones(300, bool)

    def go(points):
        return kernels.nearest_points(values, able, points, 3)

    rows, _ = jax.jit(jax.vmap(go))(at)
    for k in (0, 1):
        np.testing.assert_array_equal(rows[k], go(at[k])[0])
    jax.jit(go).trace(at[0]).lower(lowering_platforms=("cuda",))
    broken = go(at[0].at[2].set(jnp.nan))[0]
    assert (broken[2] == 300).all() and (np.delete(broken, 2, 0) == np.delete(rows[0], 2, 0)).all()
    with pytest.raises(ValueError, match="at least one unit"):
        kernels.nearest_points(values, able, at[0], 0)
    with pytest.raises(ValueError, match="use 'auto', 'reference' or 'xla'"):
        kernels.nearest_points(values, able, at[0], 1, implementation="x")


# What changes nothing, and what is refused.


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_rows_changes_no_group(metric, replace):
    for ties in ("all", "first"):
        # scores are fitted in float32: what ties among them hangs on the order of the sums
        sample = odd_sample(11, integers=metric != "propensity")
        order = np.random.default_rng(1).permutation(sample.n)
        method = jc.NearestNeighbors(metric=metric, ratio=2, replace=replace, ties=ties)
        one, two = jc.match(sample, method), jc.match(sample.take(order), method)
        expected = dict(zip(np.asarray(one.query).tolist(), partners(one)))
        turned = {
            int(order[q]): {int(order[r]) for r in rows}
            for q, rows in zip(np.asarray(two.query).tolist(), partners(two))
        }
        assert turned == expected


@pytest.mark.parametrize("replace", [True, False])
def test_padding_changes_no_group(replace):
    sample = odd_sample(18, missing=True)
    held = np.random.default_rng(2).random(sample.n) < 0.8
    few, padded = sample.take(np.flatnonzero(held)), sample.with_valid(jnp.asarray(held))
    for metric in METRICS[:-1]:  # the padded sample's propensity is padded to another size
        method = jc.NearestNeighbors(metric=metric, ratio=2, replace=replace, exact="kind")
        one, two = (jc.match(each, method, throw=False) for each in (few, padded))
        place = np.flatnonzero(held)
        assert [{int(place[r]) for r in rows} for rows in partners(one)] == partners(two)


def test_twins_are_at_no_distance_however_points_are_rounded():
    rng = np.random.default_rng(3)
    x = np.repeat(rng.normal(size=(301, 9)), 2, axis=0)
    turn = rng.permutation(len(x))
    sample = jc.Sample(x[turn], np.tile([1, 0], 301)[turn])

    def rounded(columns):  # as a matmul may do it, row by row
        return columns + 1e-13 * rng.normal(size=columns.shape)

    for metric in ("mahalanobis", rounded):
        found = jc.match(sample, jc.NearestNeighbors(metric=metric, caliper=0))
        assert found.matched.all()
        partner, query = np.asarray(found.rows)[:, 0], np.asarray(found.query)
        assert (turn[partner] // 2 == turn[query] // 2).all()


def test_one_control_and_nobody_inside_the_caliper():
    x = np.arange(6.0)[:, None]
    sample = jc.Sample(x, [1, 1, 1, 1, 1, 0], np.arange(6.0), names=["a"])
    assert partners(jc.match(sample, jc.NearestNeighbors(ratio=3))) == [{5}] * 5
    alone = jc.match(sample, jc.NearestNeighbors(replace=False, ratio=2))
    assert sum(map(len, partners(alone))) == 1 and alone.sizes[:, 0].sum() == 1
    summary = jc.estimate(sample, jc.NearestNeighbors(replace=False)).summary()
    assert "unmatched 4: its possible partners are all taken" in summary
    with pytest.raises(jc.MatchError, match="none of the 5 queries has a match"):
        jc.match(sample, jc.NearestNeighbors(caliper={"a": 0.1}))
    near = jc.match(sample, jc.NearestNeighbors(caliper={"a": 1}, caliper_unit="raw"))
    assert np.asarray(near.matched).tolist() == [False] * 4 + [True]
    nobody = jc.Sample(x, [1, 1, 1, 0, 0, 0], weight=[1, 1, 1, 0, 0, 0])
    said = jc.match(nobody, jc.NearestNeighbors(), throw=False)
    assert said.reason(0).startswith("too few controls")
    assert jc.match(nobody, jc.NearestNeighbors(replace=False), throw=False).matched.sum() == 0


def test_options_that_cannot_be_are_refused_in_a_sentence(unchecked):
    sample = odd_sample(12)
    for options, message in (
        (dict(metric="prognostic"), "use jc.PrognosticNeighbors"),
        (dict(metric="manhattan"), "metric is 'manhattan': use"),
        (dict(ratio=0), "ratio is 0"),
        (dict(replace="no"), "replace is 'no'"),
        (dict(caliper=-1), "caliper is -1"),
        (dict(caliper={"a": -1.0}), r"caliper\['a'\] is -1.0"),
        (dict(caliper_unit="cm"), "caliper_unit is 'cm'"),
        (dict(exact=[1]), "names of covariates"),
        (dict(ties="none"), "ties is 'none'"),
        (dict(order="smallest"), "order is 'smallest'"),
        (dict(max_bytes=0), "max_bytes is 0"),
        (dict(propensity="logit"), "propensity= takes a jc.Propensity"),
    ):
        with pytest.raises(ValueError, match=message):
            jc.NearestNeighbors(**options)
    for options, message in (
        (dict(exact="c"), "exact names 'c', which is no covariate: a, b, kind"),
        (dict(caliper={"kind": 1}), "use exact= for a category"),
        (dict(metric=np.eye(2)), r"it must be \(5, 5\)"),
        (dict(metric=-np.eye(5)), "distances would be negative"),
        (dict(metric=np.triu(np.ones((5, 5)))), "not symmetric"),
        (dict(metric=lambda x: x[:3]), "one point"),
        (dict(metric=lambda x: x * np.nan), "not finite"),
        (dict(max_bytes=50), "use ties='first', or a larger max_bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            jc.match(sample, jc.NearestNeighbors(**options))
    with pytest.raises(ValueError, match="at= does not"):
        jc.match(sample, jc.NearestNeighbors(replace=False), at=sample.points[:2])


def test_bias_is_corrected_by_an_outcome_model():
    sample = draw_sample(13, n=90)
    plain = jc.estimate(sample, jc.NearestNeighbors())
    adjusted = jc.estimate(sample, jc.NearestNeighbors(), adjust=jc.Ridge(), key=0)
    assert adjusted.adjusted and not plain.adjusted
    bounds = jc.interval(adjusted, jc.AbadieImbens())
    assert float(bounds.lower) < float(adjusted.att) < float(bounds.upper)


# Under jit.


@pytest.mark.parametrize("metric", ["mahalanobis", "scaled_euclidean", "euclidean", "matrix", "f"])
@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_jit_finds_the_partners_of_the_host(metric, estimand):
    half = np.random.default_rng(0).normal(size=(3, 3))
    metric = dict(matrix=half @ half.T, f=lambda x: x @ half.astype(x.dtype)).get(metric, metric)
    method = jc.NearestNeighbors(metric=metric, ratio=2, ties="first")
    assert method.traceable and not jc.NearestNeighbors(metric="propensity", ties="first").traceable
    sample = draw_sample(14, n=80, weight=np.arange(80) % 4)
    twins = np.repeat(np.arange(40), 2)
    sample = jc.Sample(np.asarray(sample.x)[twins], sample.t, weight=sample.weight)

    @jax.jit
    def go(x, t, weight):
        found = jc.match(jc.Sample(x, t, weight=weight), method, estimand=estimand, throw=False)
        return found.rows, found.weights, found.status

    rows, weights, status = map(np.asarray, go(sample.x, sample.t, sample.weight))
    host = jc.match(sample, method, estimand=estimand)
    query = np.asarray(host.query)
    assert [set(r[r >= 0].tolist()) for r in rows[query]] == partners(host)
    np.testing.assert_array_equal(status[query], host.status)
    others = np.delete(status, query)
    assert (others == int(jc.matching.code(jc.RESULTS.not_asked))).all()
    close(np.sort(weights[query]), np.sort(np.asarray(host.weights)), rtol=1e-5)


def test_categories_and_gaps_under_jit():
    data = odd_sample(15, integers=False, missing=True)
    sample = data.take(np.flatnonzero(np.asarray(data.weight) > 0))
    for metric in ("mahalanobis", "euclidean"):
        method = jc.NearestNeighbors(metric=metric, ties="first")
        traced = jax.jit(lambda s, m=method: jc.match(s, m, throw=False).rows)(sample.plain())
        host = jc.match(sample, method)
        rows = np.asarray(traced)[np.asarray(host.query)]
        assert [set(r[r >= 0].tolist()) for r in rows] == partners(host)


# By predicted outcomes, and by the truth.


def test_prognostic_neighbours_against_a_brute_force():
    sample = draw_sample(16, n=70, integers=True, id=np.arange(70), weight=np.arange(70) % 3 + 1.0)
    surface = np.asarray(wavy(sample.x), float)
    for estimand, column in (("att", 0), ("atc", 1)):
        score = surface[:, column]
        square = np.subtract.outer(score, score) ** 2
        for options, limit in (
            (dict(ratio=2), np.inf),
            (dict(ties="first", caliper=0.3, caliper_unit="raw"), 0.3),
        ):
            method = jc.PrognosticNeighbors(outcome=jc.Function(wavy), **options)
            found = jc.match(
                sample, method, surface=jc.Function(wavy), estimand=estimand, throw=False
            )
            expected = brute(
                sample, square, method.ratio, method.ties, square <= limit**2 * (1 + 1e-9)
            )
            assert partners(found) == [expected[i] for i in np.asarray(found.query)]
            assert found.prognosis is not None


def test_prognostic_neighbours_cross_fit_and_tell_of_nan():
    sample = draw_sample(17, n=80)
    effects = jc.estimate(sample, jc.PrognosticNeighbors(outcome=jc.Ridge()), key=0)
    fold, rows = np.asarray(effects.matching.fold), np.asarray(effects.matching.rows)[:, 0]
    assert (fold[rows] == fold[np.asarray(effects.matching.query)]).all() and effects.adjusted

    def broken(x):
        return jnp.where(x[:, :1] > 1, jnp.nan, wavy(x))

    with pytest.raises(jc.MatchError, match="the surface gave NaN"):
        jc.match(sample, jc.PrognosticNeighbors(), surface=broken)
    found = jc.match(sample, jc.PrognosticNeighbors(), surface=broken, throw=False)
    nan = np.asarray(sample.x)[:, 0] > 1
    assert (np.asarray(found.matched) == ~nan[np.asarray(found.query)]).all()
    assert not nan[np.asarray(found.rows)[np.asarray(found.matched), 0]].any()
    with pytest.raises(ValueError, match="caliper names 'propensity'"):
        jc.match(sample, jc.PrognosticNeighbors(caliper={"propensity": 1}), surface=wavy)


def test_the_best_counterfactual_is_the_nearest_truth(unchecked):
    data = jc.simulate.ahb_table2("quad/const", key=0)
    truth = np.stack([data.y0, data.y1], axis=1)
    t, y = np.asarray(data.sample.t), np.asarray(data.sample.y)
    for estimand, arm in (("att", 1), ("atc", 0)):
        found = jc.match(
            data.sample, jc.simulate.BestCounterfactual(truth, ratio=3), estimand=estimand
        )
        for i, rows in zip(np.asarray(found.query), np.asarray(found.rows)):
            others = np.flatnonzero(t != arm)
            gap = np.abs(y[others] - truth[i, 1 - arm])
            close(np.sort(np.abs(y[rows] - truth[i, 1 - arm])), np.sort(gap)[:3], rtol=1e-6)
    assert "no method for data" in jc.estimate(data.sample, found).summary()
    for bad, message in ((truth[:5], "truth has 5 rows"), (truth[:, :1], r"it must be \(n, 2\)")):
        with pytest.raises(ValueError, match=message):
            jc.match(data.sample, jc.simulate.BestCounterfactual(bad))
