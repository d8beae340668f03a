"""A model of the treatment that was fitted once and tells the chance at any point."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import Sample, bucket, is_traced, on_host, pad_rows, to_device
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._logistic import Standard, in_standard, standard_of
from jcausal.surfaces._propensity import (
    NEAR,
    Propensity,
    as_penalty,
    check_arms_outside,
    coefficients,
)
from jcausal.surfaces._separation import check_separation


class FittedPropensity(eqx.Module):
    """The chance of treatment as one callable: points (m, p) -> (m,). Made by `fit_propensity`."""

    @abstractmethod
    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, " m"]:
        """The chance at each point."""


class LogisticPropensity(FittedPropensity):
    """A logistic regression: `slope` (g,) is the intercept, then the standardised slopes."""

    encoding: Encoding
    standard: Standard
    slope: Float[Array, " g"]

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, " m"]:
        """By the regression."""
        return _chance(self.encoding(x), self.standard, self.slope)


class ClassifiedPropensity(FittedPropensity):
    """A fitted classifier of another library, on the host."""

    encoding: Encoding
    model: Any = eqx.field(static=True)

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, " m"]:
        """By the classifier."""
        found = self.model(np.asarray(self.encoding(x)))
        return to_device(found.astype(np.asarray(x).dtype))


@on_host
def _chance(
    lib: Any, features: Float[Array, "m f"], standard: Standard, slope: Float[Array, " g"]
) -> Float[Array, " m"]:
    score = slope[0] + (in_standard(lib, features, standard) * slope[1:]).sum(1)
    return lib.exp(-lib.logaddexp(lib.zeros((), score.dtype), -score))


def fit_propensity(
    sample: Sample, propensity: Propensity, key: PRNGKeyArray | None
) -> FittedPropensity:
    """Fit the model of the treatment to all valid rows; its `folds` are for those rows alone.

    May run under jit and vmap, but for a classifier.

    **Raises:** `DataError` where an arm is empty, and for units that are told apart without error
    when the penalty is 0; ValueError for a classifier under jit.
    """
    encoding = Encoding(sample.schema)
    if propensity.classifier is not None:
        if is_traced(sample, key):
            raise ValueError("a classifier runs on the host and cannot be used under jit.")
        train = _training(sample)
        return ClassifiedPropensity(encoding, propensity.classifier.fitted(sample, train, key))
    penalty = as_penalty(propensity.penalty, sample.x.dtype)
    arrays = sample.x, sample.t, sample.weight, sample.valid
    if is_traced(arrays, penalty):
        return LogisticPropensity(encoding, *_fitted(encoding, arrays, penalty))
    train = _training(sample)
    size = bucket(sample.n)
    rows = tuple(pad_rows(np.asarray(a), size) for a in arrays)
    made = LogisticPropensity(encoding, *_fitted(encoding, rows, penalty))
    if penalty is None:
        chance = np.asarray(made(sample.x))[train]
        if not (np.minimum(chance, 1 - chance) >= NEAR).all():
            check_separation(sample, train)
    return made


def _training(sample: Sample) -> Bool[np.ndarray, " n"]:
    """The rows that are fitted to, of which both arms have some."""
    fold = np.where(np.asarray(sample.valid), 0, -1)
    weight = np.asarray(sample.weight)
    check_arms_outside(np.asarray(sample.t), weight, fold, 1)
    return (fold == 0) & (weight > 0)


@eqx.filter_jit
def _fitted(
    encoding: Encoding, rows: tuple[Array, Array, Array, Array], penalty: Float[Array, ""] | None
) -> tuple[Standard, Float[Array, " g"]]:
    """Means, sds and slopes of x, t, weight, valid; NaN slopes where an arm is empty."""
    x, t, weight, valid = rows
    train = valid & (weight > 0)
    features = jnp.where(train[:, None], encoding(x), 0)
    w = jnp.where(train, weight, 0)
    share = w / jnp.where(w.sum() > 0, w.sum(), 1)
    standard = standard_of(features, share, train)
    b = coefficients(in_standard(jnp, features, standard), t, share, penalty)
    both = (train & t).any() & (train & ~t).any()
    return standard, jnp.where(both, b, jnp.nan)
