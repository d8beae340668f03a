"""A sample as the rows that trees are fitted to, and its average from their draws."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray

from jcausal.data import DataError, Sample, as_key, bucket, pad_rows, step_key, to_device
from jcausal.effects._average import Average, Population
from jcausal.effects._posterior import Averaging, EffectForest, EffectPosterior, draw_units
from jcausal.surfaces import (
    Chances,
    Encoding,
    FittedPropensity,
    Propensity,
    chances_of,
    fit_propensity,
    shares_beyond,
)

LEAST_DRAWS = 2
beyond_of = jax.jit(shares_beyond)


class Features(NamedTuple):
    """Points as features of trees: an encoding, and the chance of treatment beside it or None."""

    encoding: Encoding
    propensity: FittedPropensity | None

    def __call__(self, x: Float[Array, "m p"]) -> Float32[np.ndarray, "m f"]:
        """Features of each point, the chance of treatment last."""
        columns = [np.asarray(self.encoding(x), np.float32)]
        if self.propensity is not None:
            columns.append(np.asarray(self.propensity(x), np.float32)[:, None])
        return np.concatenate(columns, axis=1)


class FitRows(NamedTuple):
    """The rows that count, in an order which follows from what they hold.

    - `features` (r, f); `t` (r,) 0 and 1; `y`, `weight` (r,).
    - `made`: how the features were made.
    """

    features: Float32[np.ndarray, "r f"]
    t: Float32[np.ndarray, " r"]
    y: Float[np.ndarray, " r"]
    weight: Float[np.ndarray, " r"]
    made: Features


class BayesAsk(NamedTuple):
    """What is asked of a Bayesian method.

    `estimand`; `name` of the method; `propensity`: the model of the treatment; `with_score`:
    whether the chance of treatment is a covariate; `max_bytes` of draws.
    """

    estimand: Population
    name: str
    propensity: Propensity
    with_score: bool
    max_bytes: int


class Keys(NamedTuple):
    """A key for the propensity and one for the chains."""

    propensity: PRNGKeyArray
    chains: PRNGKeyArray


def keys_of(key: PRNGKeyArray | None, ask: BayesAsk) -> Keys:
    """Keys by name.

    **Raises:** ValueError without one.
    """
    made = as_key(key, ask.name)
    return Keys(step_key(made, "propensity"), step_key(made, "fit"))


def rows_to_fit(sample: Sample, ask: BayesAsk, key: PRNGKeyArray) -> FitRows:
    """The rows that count, sorted by all that they hold, so that their order changes nothing.

    **Raises:** `DataError` where an arm is empty.
    """
    score = fit_propensity(sample, ask.propensity, key) if ask.with_score else None
    made = Features(Encoding(sample.schema), score)
    kept = rows_that_count(sample)
    features = made(sample.x)[kept]
    y, weight = (np.asarray(a, np.float64)[kept] for a in (sample.y, sample.weight))
    t = np.asarray(sample.t)[kept].astype(np.float32)
    order = np.lexsort([*features.T, weight, y, t])
    return FitRows(features[order], t[order], y[order], weight[order], made)


def rows_that_count(sample: Sample) -> Int[np.ndarray, " r"]:
    """Valid rows with weight."""
    return np.flatnonzero(np.asarray(sample.valid) & (np.asarray(sample.weight) > 0))


def posterior_average(
    sample: Sample,
    ask: BayesAsk,
    forest: EffectForest,
    noise: Float[np.ndarray, "c s k"],
    key: PRNGKeyArray,
) -> Average:
    """The average of the units that are asked for under every draw, and what stands beside it."""
    kept = rows_that_count(sample)
    use = np.zeros(sample.n, bool)
    use[kept] = True
    t, weight = np.asarray(sample.t), np.asarray(sample.weight, np.float64)
    whose = dict(att=t, atc=~t).get(ask.estimand, np.ones_like(t)) & use
    share = np.where(whose, weight, 0) / weight[whose].sum()
    asked, shape = Averaging(sample.x, use, share), noise.shape[:2]
    drawn = draw_units(forest, asked, shape, ask.max_bytes)
    chances = chances_of(sample, ask.propensity, key)
    posterior = EffectPosterior(
        drawn.average, noise, drawn.units, drawn.rhat, forest, ask.max_bytes
    )
    dtype = sample.x.dtype

    def told(value: Any) -> Array:
        return to_device(np.asarray(value, dtype))

    return Average(
        average=told(drawn.average.mean()),
        std_error=told(drawn.average.std(ddof=1)),
        influence=None,
        propensity=chances.chance,
        fold=to_device(np.where(use, 0, -1).astype(np.int32)),
        slope=chances.slope,
        counts=to_device(np.array([(use & ~t).sum(), (use & t).sum()], np.int32)),
        effective=None,
        beyond=_beyond(sample, chances, kept),
        sample=sample,
        estimand=ask.estimand,
        method=ask.name,
        ite=told(drawn.mean),
        posterior=posterior,
    )


def _beyond(sample: Sample, chances: Chances, kept: Int[np.ndarray, " r"]) -> Float[Array, " 2"]:
    """The shares that the other arm hardly reaches, of the rows that count."""
    columns = chances.chance, sample.t, sample.weight
    return beyond_of(*(pad_rows(np.asarray(a)[kept], bucket(kept.size)) for a in columns))


def check_chains(chains: int, draws: int) -> None:
    """Refuse what no interval can be made of.

    **Raises:** ValueError.
    """
    if chains * draws < LEAST_DRAWS:
        raise ValueError(
            f"draws is {draws} in {chains} chain: an interval needs more, such as draws=250."
        )


def check_finite(forest_draws: Float[np.ndarray, "..."], name: str) -> None:
    """Refuse draws that are no numbers.

    **Raises:** `DataError`.
    """
    bad = int((~np.isfinite(forest_draws)).sum())
    if bad:
        raise DataError(
            f"{name}: {bad} of {forest_draws.size} values of the posterior's trees are not finite: "
            "look for outcomes that are far out (jc.describe(sample)), and scale or cut them."
        )
