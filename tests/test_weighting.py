"""Weightings against NumPy: weights, averages, and the sandwich of their estimating equations."""

import jax
import numpy as np
import pytest
from conftest import close, draw_sample
from scipy.optimize import root
from sklearn.linear_model import LogisticRegression
from statsmodels.api import WLS

import jcausal as jc

pytestmark = pytest.mark.x64


def confounded(seed=0, n=400, p=3, weight=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    t = rng.uniform(size=n) < 1 / (1 + np.exp(-0.6 * x[:, 0] + 0.4 * x[:, 1]))
    y = x @ np.arange(1, p + 1) + t * (1 + x[:, 0]) + rng.normal(size=n)
    w = rng.uniform(0.5, 2, n) if weight else None
    return jc.Sample(x, t, y, weight=w)


class Equations:
    """The stacked estimating equations of a weighting: (n, g) at coefficients, written anew."""

    def __init__(self, sample, family, estimand):
        self.z = np.column_stack([np.ones(sample.n), np.asarray(sample.points)])
        self.t = np.asarray(sample.t, float)
        self.y = np.asarray(sample.y, float)
        self.w = np.asarray(sample.weight, float)
        self.w = self.w / self.w.mean()
        self.family, self.estimand = family, estimand
        g = self.z.shape[1]
        self.models = 2 if (family, estimand) == ("entropy", "ate") else 1
        self.size = g * self.models

    def weights(self, b):
        g, t = self.z.shape[1], self.t
        score = self.z @ b[:g]
        odds = np.exp(score)
        if self.family == "overlap":
            return t / (1 + odds) + (1 - t) * odds / (1 + odds)
        if self.family == "entropy" and self.estimand == "atc":
            return t * odds + (1 - t)
        if self.models == 2:
            return t * odds + (1 - t) * np.exp(self.z @ b[g:])
        treated = dict(att=1, atc=1 / odds, ate=1 + 1 / odds)[self.estimand]
        control = dict(att=odds, atc=1, ate=1 + odds)[self.estimand]
        return t * treated + (1 - t) * control

    def of_weights(self, b):
        """Rows of the equations that fix the weights."""
        g, t, z, w = self.z.shape[1], self.t, self.z, self.weights(b)
        if self.family in ("inverse", "overlap"):
            chance = 1 / (1 + np.exp(-z @ b[:g]))
            return (t - chance)[:, None] * z * self.w[:, None]
        if self.models == 2:
            rows = np.column_stack([((t * w) - 1)[:, None] * z, (((1 - t) * w) - 1)[:, None] * z])
        else:
            rows = ((2 * t - 1) * w)[:, None] * z
        return rows * self.w[:, None]

    def rows(self, theta):
        b, (m1, m0) = theta[: self.size], theta[self.size :]
        w = self.weights(b) * self.w
        means = [self.t * w * (self.y - m1), (1 - self.t) * w * (self.y - m0)]
        return np.column_stack([self.of_weights(b), *means])

    def solved(self):
        """Average and standard error."""
        start = np.zeros(self.size)
        found = root(lambda b: self.of_weights(b).mean(0), start, tol=1e-13)
        assert np.abs(self.of_weights(found.x).mean(0)).max() < 1e-9
        w = self.weights(found.x) * self.w
        means = [np.average(self.y, weights=w * arm) for arm in (self.t, 1 - self.t)]
        theta = np.concatenate([found.x, means])
        step = 1e-6
        jacobian = np.stack(
            [
                (self.rows(theta + step * e).mean(0) - self.rows(theta - step * e).mean(0))
                / (2 * step)
                for e in np.eye(theta.size)
            ],
            axis=1,
        )
        undone = np.linalg.inv(jacobian)
        rows, n = self.rows(theta), len(self.t)
        covariance = undone @ (rows.T @ rows / n) @ undone.T / n
        pick = np.zeros(theta.size)
        pick[-2:] = 1, -1
        return means[0] - means[1], np.sqrt(pick @ covariance @ pick), w


CASES = [("inverse", jc.IPTW(), e) for e in ("att", "atc", "ate")]
CASES += [("overlap", jc.OverlapWeights(), "ato")]
CASES += [("entropy", jc.EntropyBalance(), e) for e in ("att", "atc", "ate")]
CASES += [("moments", jc.CBPS(), "ate")]


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize(("family", "method", "estimand"), CASES)
def test_average_and_error_solve_the_stacked_equations(family, method, estimand, weight):
    sample = confounded(weight=weight)
    average, error, weights = Equations(sample, family, estimand).solved()
    found = jc.estimate(sample, method, estimand=estimand)
    close(found.average, average, rtol=1e-3)
    close(found.std_error, error, rtol=2e-3)
    own, t = np.asarray(found.unit_weight, float), np.asarray(sample.t)
    for arm in (False, True):
        close(
            own[t == arm] / own[t == arm].sum(),
            weights[t == arm] / weights[t == arm].sum(),
            rtol=2e-3,
        )
    total = np.asarray(found.influence, float)
    close(np.sqrt((total**2).sum()) / sample.n, error, rtol=2e-3)


@pytest.mark.parametrize("estimand", ["att", "atc", "ate"])
def test_entropy_balancing_makes_moments_equal(estimand):
    sample = draw_sample(5, n=200, p=3, category=4)
    found = jc.estimate(sample, jc.EntropyBalance(), estimand=estimand)
    own, t = np.asarray(found.unit_weight, float), np.asarray(sample.t)
    table = np.column_stack([sample.points[:, :3], sample.points[:, 3:] == np.arange(4)])
    means = [np.average(table[t == arm], axis=0, weights=own[t == arm]) for arm in (False, True)]
    close(means[0], means[1], atol=2e-5 if sample.x.dtype == np.float32 else 1e-9)
    target = dict(att=t, atc=~t, ate=np.ones_like(t))[estimand]
    close(means[0], table[target].mean(0), atol=2e-5)


def test_the_balancing_score_of_the_treated_is_entropy_balancing():
    sample = confounded(3)
    one, two = (jc.estimate(sample, m) for m in (jc.CBPS(), jc.EntropyBalance()))
    close(one.average, two.average, rtol=1e-5)
    assert one.summary().startswith("ATT: ") and "CBPS" in one.summary()


def test_trimming_renames_the_average():
    sample = confounded(1, n=600)
    found = jc.estimate(sample, jc.IPTW(trim=0.3), estimand="ate")
    assert found.summary().startswith("ATE of units with a propensity of 0.3 to 0.7: ")
    first = np.asarray(jc.estimate(sample, jc.IPTW(), estimand="ate").propensity)
    kept = (first >= 0.3) & (first <= 0.7)
    assert (np.asarray(found.fold) == np.where(kept, 0, -1)).all()
    alone = jc.estimate(sample.take(np.flatnonzero(kept)), jc.IPTW(), estimand="ate")
    close(found.average, alone.average, rtol=1e-4)
    close(found.std_error, alone.std_error, rtol=1e-4)


def test_coverage_of_the_sandwich():
    """200 data sets: 95% intervals of the ATE cover with at most 4 binomial errors' distance."""

    @jax.jit
    @jax.vmap
    def bounds(x, t, y):
        sample = jc.Sample(x, t, y)
        found = jc.estimate(sample, jc.IPTW(), estimand="ate", throw=False)
        return found.average, found.std_error

    rng, runs, n = np.random.default_rng(0), 200, 300
    x = rng.normal(size=(runs, n, 2))
    t = rng.uniform(size=(runs, n)) < 1 / (1 + np.exp(-0.5 * x[..., 0]))
    y = 2 * x[..., 0] + x[..., 1] + t + rng.normal(size=(runs, n))
    average, error = (np.asarray(a) for a in bounds(x, t, y))
    covered = (np.abs(average - 1) < 1.96 * error).mean()
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs)


def test_clusters_sum_before_they_are_squared():
    base = confounded(2, n=200)
    x, t, y = (
        np.tile(np.asarray(a), (2,) + (1,) * (np.ndim(a) - 1)) for a in (base.x, base.t, base.y)
    )
    twice = jc.Sample(x, t, y, cluster=np.tile(np.arange(200), 2))
    one, two = (jc.estimate(s, jc.IPTW()) for s in (base, twice))
    close(two.average, one.average, rtol=1e-4)
    close(two.std_error, one.std_error * np.sqrt(200 / 199), rtol=1e-3)


def test_bad_input_is_one_sentence():
    x = np.linspace(-1, 1, 60)[:, None]
    apart = jc.Sample(x, x[:, 0] > 0, x[:, 0])
    for method, estimand in ((jc.IPTW(), "ate"), (jc.OverlapWeights(), "ato")):
        with pytest.raises(
            jc.DataError, match="60 of 60 units .* are told apart without error, the most by 'x0'"
        ):
            jc.estimate(apart, method, estimand=estimand)
    with pytest.raises(jc.DataError, match="no weights make the arms' means alike, and 'x0'"):
        jc.estimate(apart, jc.EntropyBalance())
    with pytest.raises(jc.DataError, match="left: make trim smaller"):
        jc.estimate(apart, jc.IPTW(trim=0.4), estimand="ate")
    with pytest.raises(ValueError, match="use estimand='ato'"):
        jc.estimate(apart, jc.OverlapWeights())
    with pytest.raises(ValueError, match="trim is 0.6"):
        jc.IPTW(trim=0.6)
    with pytest.raises(ValueError, match="penalty is -1"):
        jc.IPTW(propensity=jc.Propensity(penalty=-1.0))


@pytest.mark.parametrize("method", [jc.IPTW, jc.OverlapWeights])
def test_a_bare_classifier_is_no_propensity(method, unchecked):
    with pytest.raises(ValueError, match=r"write propensity=jc.Propensity\(\)"):
        method(propensity=LogisticRegression())


SMOOTH = jc.Propensity(classifier=LogisticRegression(C=0.05))


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize(
    ("method", "estimand"),
    [
        (jc.IPTW(propensity=SMOOTH), "att"),
        (jc.IPTW(propensity=SMOOTH), "atc"),
        (jc.IPTW(propensity=SMOOTH), "ate"),
        (jc.IPTW(propensity=SMOOTH, trim=0.3), "ate"),
        (jc.OverlapWeights(propensity=SMOOTH), "ato"),
    ],
)
def test_known_chances_are_a_weighted_regression_of_statsmodels(method, estimand, weight):
    sample = confounded(weight=weight)
    found = jc.estimate(sample, method, estimand=estimand)
    x, t, y, w = (np.asarray(a, float) for a in (sample.points, sample.t, sample.y, sample.weight))
    given = dict(sample_weight=w) if weight else {}
    model = LogisticRegression(C=0.05).fit(x, t, **given)
    kept = np.ones(len(t), bool)
    if getattr(method, "trim", 0):
        chance = model.predict_proba(x)[:, 1]
        kept = (chance >= 0.3) & (chance <= 0.7)
        given = {name: a[kept] for name, a in given.items()}
        model = LogisticRegression(C=0.05).fit(x[kept], t[kept], **given)
    e = model.predict_proba(x)[:, 1]
    treated = dict(att=1 + 0 * e, atc=(1 - e) / e, ate=1 / e, ato=1 - e)[estimand]
    control = dict(att=e / (1 - e), atc=1 + 0 * e, ate=1 / (1 - e), ato=e)[estimand]
    stands = w * np.where(t == 1, treated, control)
    design = np.column_stack([np.ones(len(t)), t])[kept]
    line = WLS(y[kept], design, weights=stands[kept]).fit(cov_type="HC0")
    close(found.average, line.params[1], rtol=1e-4)
    close(found.std_error, line.bse[1], rtol=1e-4)
    assert "taken as known" in found.summary()
    assert "taken as known" not in jc.estimate(sample, jc.IPTW(), estimand="ate").summary()


def test_a_propensity_by_folds_or_with_a_penalty_is_that_of_propensity_scores():
    sample = confounded()
    held = jc.Propensity(penalty=0.2)
    found = jc.estimate(sample, jc.IPTW(propensity=held), estimand="ate")
    close(found.propensity, jc.surfaces.propensity_scores(sample, held), rtol=1e-4, atol=1e-5)
    by_folds = jc.IPTW(propensity=jc.Propensity(folds=4))
    one, two = (jc.estimate(sample, by_folds, estimand="ate", key=0) for _ in range(2))
    assert one.average == two.average
    plain = jc.estimate(sample, jc.IPTW(), estimand="ate")
    assert abs(float(one.average - plain.average)) < 0.3 and one.std_error > plain.std_error
    with pytest.raises(ValueError, match="a propensity by folds draws at random: give key="):
        jc.estimate(sample, by_folds)
    with pytest.raises(ValueError, match="runs on the host and cannot be used under jit"):
        jax.jit(
            lambda y: (
                jc.estimate(sample.with_outcome(y), jc.IPTW(propensity=SMOOTH), throw=False).average
            )
        )(sample.y)


class Certain(LogisticRegression):
    """A classifier that is sure of everything."""

    def predict_proba(self, X):
        sure = super().predict(X).astype(float)
        return np.column_stack([1 - sure, sure])


def test_chances_of_0_and_1_are_refused_where_a_unit_is_divided_by_them():
    sample, certain = confounded(), jc.Propensity(classifier=Certain())
    with pytest.raises(jc.DataError, match="units would stand for more than 1,000,000 others"):
        jc.estimate(sample, jc.IPTW(propensity=certain), estimand="ate")
    held = jc.estimate(sample, jc.AIPW(outcome=jc.Ridge(), propensity=certain), key=0)
    assert np.isfinite(held.average) and "was held at the bound (clip)" in held.summary()


def test_all_levels_of_a_category_do_no_harm():
    sample = confounded(4)
    x = np.column_stack([sample.points, sample.points[:, 0] > 0])
    found = []
    for kind in ("category", "number"):
        one = jc.Sample(x, sample.t, sample.y, kinds=["number"] * 3 + [kind])
        found.append(jc.estimate(one, jc.IPTW(), estimand="ate"))
    close(found[0].average, found[1].average, rtol=1e-3)
    close(found[0].std_error, found[1].std_error, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "estimand"), [(jc.EntropyBalance(), "att"), (jc.OverlapWeights(), "ato")]
)
def test_balance_of_weights(method, estimand):
    sample = confounded(6)
    found = jc.estimate(sample, method, estimand=estimand)
    table = jc.balance(sample, found)
    weight, t = np.asarray(found.unit_weight, float), np.asarray(sample.t)
    x = sample.points
    for j, name in enumerate(sample.schema.names):
        one, two = (np.average(x[t == arm, j], weights=weight[t == arm]) for arm in (True, False))
        close(table.loc[name, "mean_treated_matched"], one, rtol=1e-5, atol=1e-6)
        close(table.loc[name, "mean_control_matched"], two, rtol=1e-5, atol=1e-6)
        assert abs(table.loc[name, "smd_after"]) < 1e-4 < abs(table.loc[name, "smd_before"])
    close(table.attrs["ess_control_after"], found.effective[0], rtol=1e-4)
    with pytest.raises(ValueError, match="AIPW is no difference of two weighted means"):
        jc.balance(sample, jc.estimate(sample, jc.AIPW(outcome=jc.Ridge()), key=0))
    with pytest.raises(ValueError, match="on other rows"):
        jc.balance(sample.take(np.arange(100)), found)
