"""A matching of a user's own goes through every verb, the summary, the pictures and the report."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close, draw_sample, wavy

import jcausal as jc


class RandomControls(jc.matching.Matching):
    """The query against k controls of its fold, drawn at random, with equal weights."""

    sample: jc.Sample
    fold: jax.Array
    query: jax.Array
    query_fold: jax.Array
    status: jax.Array
    member: jax.Array  # (q, 2, n): the weight of each unit, by arm of the group
    estimand: Any = eqx.field(static=True, default="att")
    prognosis: None = None

    def sums(self, values, power=1):
        return jnp.einsum("qan,nd->qad", self.member.astype(values.dtype) ** power, values)

    def scatter(self, shares, power=1):
        return jnp.einsum("qan,qa->n", self.member.astype(shares.dtype) ** power, shares)

    @property
    def sizes(self):
        return (self.member > 0).sum(2)

    def group(self, i):
        weight = np.asarray(self.member)[i].sum(0)
        return np.flatnonzero(weight), weight[weight > 0]


def random_controls(sample, k, seed):
    """k random controls for every treated unit; the last treated one gets none."""
    rng, t = np.random.default_rng(seed), np.asarray(sample.t)
    query, controls = np.flatnonzero(t), np.flatnonzero(~t)
    member = np.zeros((query.size, 2, sample.n), np.float32)
    member[np.arange(query.size), 1, query] = 1
    for i in range(query.size - 1):
        member[i, 0, rng.choice(controls, k, replace=False)] = 1 / k
    member[-1] = 0
    status = np.zeros(query.size, np.int32)
    status[-1] = jc.matching.code(jc.RESULTS.no_control)
    zero, each = jnp.zeros(sample.n, jnp.int32), jnp.zeros(query.size, jnp.int32)
    return RandomControls(sample, zero, jnp.asarray(query), each, jnp.asarray(status), member)


class DrawnControls(jc.matching.Matcher):
    """Each treated unit against the k controls that a draw puts first: a method of a user's own."""

    k: int = eqx.field(static=True, default=3)

    @property
    def outcome(self):
        return None  # no surface guides it

    @property
    def cross_fits(self):
        return False

    @property
    def traceable(self):
        return False

    def arms(self, estimand, effect):
        return "control"

    def run(self, task, surfaces, progress):
        sample, query = task.sample, np.asarray(task.query)
        draw = np.where(sample.t, np.inf, jc.data.row_draws(sample, task.key))
        chosen = np.argsort(draw)[: self.k].astype(np.int32)
        rows = jnp.asarray(np.tile(chosen, (query.size, 1)))
        status = jnp.zeros(query.size, jnp.int32)
        return jc.matching.Pairs(
            sample=sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            rows=rows,
            weights=jnp.full(rows.shape, 1 / self.k, sample.x.dtype),
            status=status,
            estimand=task.estimand,
        )


def test_a_method_of_ones_own_draws_by_the_key(own):
    sample = own.sample
    one = jc.estimate(sample, DrawnControls(), key=0)
    again, other = (jc.estimate(sample, DrawnControls(), key=k) for k in (0, 1))
    assert (one.matching.rows == again.matching.rows).all()
    assert (one.matching.rows != other.matching.rows).any()
    turned = sample.take(np.arange(sample.n)[::-1])
    close(jc.estimate(turned, DrawnControls(), key=0).att, one.att, rtol=1e-5)  # by ids
    adjusted = jc.estimate(sample, DrawnControls(), key=0, adjust=jc.Ridge())
    assert adjusted.adjusted and np.isfinite(adjusted.att)


@pytest.fixture(scope="module")
def own():
    return random_controls(draw_sample(4, n=60, p=2, category=3, id=np.arange(60)), 4, seed=1)


def test_its_effects_are_means_over_its_groups(own):
    effects = jc.estimate(own.sample, own)
    y, found = np.asarray(own.sample.y), []
    for i in range(len(own.query) - 1):
        rows, weight = own.group(i)
        partner = ~np.asarray(own.sample.t)[rows]
        found.append(y[int(own.query[i])] - (weight * y[rows])[partner].sum())
    close(effects.ite[:-1], found, rtol=1e-5)
    close(effects.att, np.mean(found), rtol=1e-5)
    close(effects.contributions @ own.sample.y, effects.att, rtol=1e-5)
    assert np.isnan(effects.ite[-1]) and "too few controls" in effects.summary()


@pytest.mark.parametrize("method", [jc.AbadieImbens(), jc.Bootstrap(draws=50)])
def test_intervals_of_averages_and_groups(own, method):
    effects = jc.estimate(own.sample, own)
    found = jc.interval(effects, method, key=0)
    assert float(found.lower) < float(effects.att) < float(found.upper)
    assert len(jc.interval(effects, method, by="x2", key=0).to_frame()) == 3


def test_where_no_group_holds_two_of_an_arm_the_nearest_of_the_arm_tell_its_variance(own):
    effects = jc.estimate(own.sample, own)
    found = jc.interval(effects, jc.ConservativeNormal())
    assert found.pooled[: len(effects.matched)][np.asarray(effects.matched)].all()
    assert np.isfinite(found.std_error)[np.asarray(effects.matched)].all()
    assert np.isnan(found.std_error)[~np.asarray(effects.matched)].all()


def test_adjustment_and_tables(own):
    adjusted = jc.estimate(own.sample, own, adjust=jc.Function(wavy))
    assert adjusted.adjusted and np.isfinite(adjusted.att)
    table = jc.balance(own.sample, own)
    assert {"x0", "x1"} <= set(table.index) and np.isfinite(table.loc["x0", "smd_after"])
    assert adjusted.cate("x2")["queries"].sum() == len(own.query)
    assert len(adjusted.to_frame()) == len(own.query)
    assert (own.to_frame()["weight"] > 0).all()
    groups = own.describe_frame()
    assert groups["group"].iloc[0] == own.describe(0) == "4 controls, 1 treated"
    assert groups["group"].iloc[-1] == "" and len(own.unmatched()) == 1


def test_it_prints_and_tells_of_itself(own):
    assert "RandomControls for ATT" in str(own) and "4 controls, 1 treated" in own._repr_html_()
    assert own.notes() == [] and own.columns() == {} and own.smoother() is None
    assert not own.grew_on_outcomes and not own.has_weights and not own.pairs_are_disjoint
    one = random_controls(own.sample, 1, seed=2)
    alone = eqx.tree_at(
        lambda m: m.member, one, one.member * (np.arange(one.query.size) == 0)[:, None, None]
    )
    alone = eqx.tree_at(
        lambda m: m.status, alone, jnp.where(jnp.arange(one.query.size) == 0, 0, one.status[-1])
    )
    assert alone.pairs_are_disjoint


def test_pictures(own):
    import matplotlib.pyplot as plt

    effects = jc.estimate(own.sample, own)
    assert jc.plot.effects(effects).get_ylabel()
    assert jc.plot.love(jc.balance(own.sample, own)).get_xlabel()
    with pytest.raises(ValueError, match="groups of RandomControls are no boxes"):
        jc.plot.boxes(own)
    plt.close("all")


def test_the_report_of_the_command(own, tmp_path):
    from jcausal.cli._report import Results, pictures, report, tables

    effects = jc.estimate(own.sample, own)
    average = jc.interval(effects, jc.AbadieImbens())
    balance = jc.balance(own.sample, effects)
    results = Results(
        effects=effects, average=average, units=None, balance=balance, groups={}, notes=[]
    )
    text = report(results)
    assert "some groups" in text and "4 controls, 1 treated" in text
    assert "4 controls, 1 treated" in jc.report(effects, tmp_path / "r.html").read_text()
    for name, write in (tables(results, text, parquet=False) | pictures(results, unit="")).items():
        write(tmp_path / name)
    assert {"groups.csv", "matched.csv", "effects.png"} <= {f.name for f in tmp_path.iterdir()}


def test_it_goes_through_jit_and_grad(own):
    def att(y):
        return jc.estimate(own.sample.with_outcome(y), own, throw=False).att

    y = own.sample.y
    close(jax.jit(att)(y), jc.estimate(own.sample, own).att, rtol=1e-5)
    close(jax.grad(att)(y), jc.estimate(own.sample, own).contributions, atol=1e-6)
