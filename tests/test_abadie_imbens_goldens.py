"""Abadie and Imbens' variance against the standard errors of R Matching, on the same pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close
from oracles import match_rules
from test_match_rules import LALONDE, MATCHES, lalonde  # noqa: F401

import jcausal as jc
from jcausal.inference._neighbor_noise import Neighbors, noise_variance

pytestmark = [
    pytest.mark.skipif(not LALONDE.exists(), reason=f"{LALONDE.name} is not here"),
    pytest.mark.x64,
]
KINDS = ("inverse variance", "mahalanobis")
NAMES = [f"covariates {k} ties {a}" for k in KINDS for a in ("plain", "adjusted")]
NAMES += [f"covariates inverse variance ties {w}" for w in ("plain ate", "adjusted 4")]


def exact():
    """A relative tolerance: float32 outcomes of 1e4 have errors of 1e-3, differences more."""
    return 1e-6 if jax.config.read("jax_enable_x64") else 1e-5


def columns(frame):
    race = np.asarray(frame.race, dtype=object)
    several = [frame.age, frame.educ, race == "black", race == "hispan", frame.married]
    return np.column_stack([*several, frame.nodegree, frame.re74, frame.re75]).astype(float)


def effects_of(frame, name):
    """The same pairs; adjusted by the regression that R fits to the partners."""
    x = columns(frame)
    metric = np.diag(1 / x.var(0, ddof=1))
    if "mahalanobis" in name:
        metric = np.linalg.inv(np.cov(x, rowvar=False))
    sample = jc.Sample(x, frame.treat, frame.re78)
    estimand = "ate" if name.endswith("ate") else "att"
    method = jc.NearestNeighbors(metric=metric, ratio=4 if "4" in name else 1)
    adjust = None
    if "adjusted" in name:
        theirs, y = MATCHES[name], np.asarray(frame.re78, float)
        control, root = np.array(theirs["control"]), np.sqrt(theirs["weight"])
        design = root[:, None] * np.column_stack([np.ones(len(control)), x[control]])
        slope = np.linalg.lstsq(design, root * y[control], rcond=None)[0][1:]
        adjust = jc.Function(lambda v: (v @ jnp.asarray(slope))[:, None] * jnp.ones(2))
    return jc.estimate(sample, method, estimand=estimand, adjust=adjust)


@pytest.mark.parametrize("name", NAMES)
def test_one_variance_gives_the_standard_error_of_r_matching(name, lalonde):  # noqa: F811
    effects, theirs = effects_of(lalonde, name), MATCHES[name]
    close(effects.average, theirs["estimate"], rtol=exact())
    found = jc.interval(effects, jc.AbadieImbens(variance_neighbors=0))
    close(found.std_error, theirs["se"], rtol=exact())


def test_the_variance_of_sets_of_neighbours_is_that_of_r_matching(lalonde):  # noqa: F811
    """Var.calc=4: R takes the noise of outcomes, also where effects are adjusted."""
    name = "covariates inverse variance ties adjusted 4"
    effects = effects_of(lalonde, name)
    theirs = MATCHES[f"{name} robust"]
    sample = effects.sample
    everyone = jnp.ones(sample.n, bool)
    sigma = np.asarray(
        noise_variance(sample, sample.y, Neighbors(4, "scaled_euclidean", "set"), everyone)
    )
    c, single = (np.asarray(effects.coefficients(effects.share(), power=k)) for k in (1, 2))
    share, ite = np.asarray(effects.share()), np.asarray(effects.ite)
    gap = share * (ite - theirs["estimate"])
    close(np.sqrt((gap**2).sum() + ((c**2 - single) * sigma).sum()), theirs["se"], rtol=exact())


@pytest.mark.parametrize("metric", ["scaled_euclidean", "mahalanobis"])
@pytest.mark.parametrize("spread", ["unit", "set"])
def test_the_noise_of_neighbours_by_loops(metric, spread, lalonde):  # noqa: F811
    sample = jc.Sample(columns(lalonde), lalonde.treat, lalonde.re78)
    points = match_rules.scaled(columns(lalonde), 1 if metric == "scaled_euclidean" else 2)
    y, t = np.asarray(sample.y), np.asarray(sample.t)
    found = noise_variance(
        sample, sample.y, Neighbors(3, metric, spread), jnp.arange(sample.n) < 60
    )
    for k in range(60):
        others = np.flatnonzero((t == t[k]) & (np.arange(sample.n) != k))
        square = ((points[others] - points[k]) ** 2).sum(1)
        near = others[square <= np.sort(square)[2] * (1 + 1e-5) + 1e-12]
        if spread == "set":
            expected = y[[k, *near]].var(ddof=1)
        else:
            expected = len(near) / (len(near) + 1) * (y[k] - y[near].mean()) ** 2
        digits = np.abs(y).max() * np.finfo(sample.y.dtype).eps  # of a difference of outcomes
        close(found[k], expected, rtol=1e-6, atol=1e-3 + 4 * np.sqrt(expected) * digits)
