"""What `bench m5` compares: an ATT with its interval from a sample, by each method."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression

import jcausal as jc

BEST, PASSING = jc.M5Tree(split_search="best"), jc.M5Tree(split_search="first_passing")
NORMAL = 1.959964  # of a 95% interval
LEVELS = 20  # of Fast AHB


class Found(NamedTuple):
    """An average effect with a 95% interval."""

    att: float
    lower: float
    upper: float


def found(effects: jc.effects.Effects) -> Found:
    """The average and its interval by the estimator's own default."""
    bounds = jc.interval(effects, jc.AbadieImbens())
    return Found(float(bounds.estimate), float(bounds.lower), float(bounds.upper))


def _by(method: jc.matching.Matcher) -> Callable[[jc.Sample, int], Found]:
    return lambda sample, seed: found(jc.estimate(sample, method, key=seed))


def propensity(sample: jc.Sample) -> np.ndarray:
    """Logits (n,) of a logistic regression of the treatment, practically without a penalty."""
    x = sample.points
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(x, np.asarray(sample.t))
    return model.decision_function(x)


def weighting(sample: jc.Sample, seed: int) -> Found:
    """IPTW: controls weighted by the odds of treatment; the propensity is taken as known."""
    t, y = np.asarray(sample.t), np.asarray(sample.y, np.float64)
    odds = np.exp(propensity(sample)[~t])
    share = odds / odds.sum()
    level = share @ y[~t]
    variance = y[t].var(ddof=1) / t.sum() + (share**2 * (y[~t] - level) ** 2).sum()
    att, width = y[t].mean() - level, NORMAL * np.sqrt(variance)
    return Found(att, att - width, att + width)


def nearest_propensity(sample: jc.Sample, seed: int) -> Found:
    """1-NN: the control with the nearest logit, with replacement."""
    t, logit = np.asarray(sample.t), propensity(sample)
    controls, queries = np.flatnonzero(~t), np.flatnonzero(t)
    controls = controls[np.argsort(logit[controls], kind="stable")]
    ladder = logit[controls]
    above = np.searchsorted(ladder, logit[queries]).clip(1, ladder.size - 1)
    nearer = np.abs(ladder[above - 1] - logit[queries]) <= np.abs(ladder[above] - logit[queries])
    matched = pairs(sample, controls[above - nearer][:, None])
    return found(jc.estimate(sample, matched, adjust=None))


def pairs(sample: jc.Sample, rows: np.ndarray) -> jc.matching.Pairs:
    """All treated, with partners (q, k) of equal weight; -1 where there is none."""
    query = jnp.asarray(np.flatnonzero(sample.t))
    held = rows >= 0
    weights = held / np.maximum(held.sum(1, keepdims=True), 1)
    matched, none = int(jc.RESULTS.matched._value), int(jc.RESULTS.no_leaf_control._value)
    return jc.matching.Pairs(
        sample=sample,
        fold=jnp.zeros(sample.n, int),
        query=query,
        query_fold=jnp.zeros(query.size, int),
        rows=jnp.asarray(rows, jnp.int32),
        weights=jnp.asarray(weights, sample.x.dtype),
        status=jnp.where(held.any(1), matched, none),
        estimand="att",
    )


def _plain(method: jc.matching.Matcher) -> Callable[[jc.Sample, int], Found]:
    """The same with plain means of the groups."""
    return lambda sample, seed: found(jc.estimate(sample, method, key=seed, adjust=None))


def _average(method: jc.effects.Estimator) -> Callable[[jc.Sample, int], Found]:
    """An estimator without groups, with its own interval."""

    def ask(sample: jc.Sample, seed: int) -> Found:
        one = jc.estimate(sample, method, key=seed)
        return Found(float(one.average), *(float(bound) for bound in one.bounds()))

    return ask


METHODS: dict[str, Callable[[jc.Sample, int], Found]] = {
    "AHB": _by(jc.AHB()),
    "AHB, plain means": _plain(jc.AHB()),
    "AIPW": _average(jc.AIPW()),
    "M5Match": _by(jc.M5Match(tree=PASSING)),
    "M5Match, plain means": _plain(jc.M5Match(tree=PASSING)),
    "M5Match, euclidean": _plain(jc.M5Match(tree=PASSING, metric="euclidean")),
    "M5Match, best": _plain(jc.M5Match(tree=BEST)),
    "M5Match, best, euclidean": _plain(jc.M5Match(tree=BEST, metric="euclidean")),
    "M5Model": _by(jc.M5Model(tree=PASSING)),
    "M5Model, best": _by(jc.M5Model(tree=BEST)),
    "Fast AHB, Ridge": _plain(jc.FastAHB(gamma1=0.0, levels=LEVELS, outcome=jc.Ridge())),
    "Fast AHB, MLP": _plain(jc.FastAHB(gamma1=0.0, levels=LEVELS, outcome=jc.MLP())),
    "IPTW": _average(jc.IPTW()),
    "1-NN propensity": _plain(jc.NearestNeighbors(metric="propensity")),
    "genetic matching": _plain(jc.GeneticMatching(population=50, generations=10)),
    "FLAME": _by(jc.FLAME()),
    "R-learner": _average(jc.RLearner()),
    "IPTW (the bench's own)": weighting,
    "1-NN propensity (the bench's own)": nearest_propensity,
}


DEFAULTS = ("AHB", "AHB, plain means", "AIPW", "M5Match", "M5Match, plain means", "M5Model")


def record(call: Callable[[], Found], truth: float) -> dict[str, Any]:
    """How far the average is from the truth, whether the interval holds it, and seconds."""
    began = time.perf_counter()
    one = call()
    return dict(
        seconds=time.perf_counter() - began,
        bias=one.att - truth,
        covered=float(one.lower <= truth <= one.upper),
        width=one.upper - one.lower,
    )


def everybody_a_control(sample: jc.Sample) -> jc.Sample:
    """The same rows and outcomes with nobody treated: what a full-sample tree is grown on."""
    return eqx.tree_at(lambda s: s.t, sample, jnp.zeros_like(sample.t))
