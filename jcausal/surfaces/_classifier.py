"""Classifiers of scikit-learn's kind as models of the treatment, on the host."""

import inspect
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from jcausal.data import DataError, Options, Sample, check_object, rows_in_words
from jcausal.surfaces._encoding import Encoding


class Classifier(Options, eqx.Module):
    """A classifier of another library as the model of `jc.Propensity`.

    It is cloned for every fit and learns the treatment from the covariates, of which a category is
    one feature per level. Sampling weights are passed on; where they differ, a classifier that
    takes none is refused. If it has `random_state` None, the key decides, without one the seed 0.

    **Arguments:** `estimator`: an unfitted classifier with `fit` and `predict_proba`.

    **Raises:** ValueError for what is none, and for weights that it cannot take; `DataError` for
    chances that are not within 0 to 1.

    **Example:**

        >>> import jcausal as jc
        >>> from sklearn.ensemble import HistGradientBoostingClassifier
        >>> trees = jc.surfaces.Classifier(HistGradientBoostingClassifier(max_iter=20))
        >>> sample = jc.datasets.lalonde("experiment")
        >>> model = jc.Propensity(classifier=trees, folds=5)
        >>> jc.surfaces.propensity_scores(sample, model, key=0).shape
        (445,)
    """

    estimator: Any = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_object(self.estimator)
        lacks = [
            name
            for name in ("fit", "predict_proba", "get_params")
            if not hasattr(self.estimator, name)
        ]
        if lacks:
            raise ValueError(
                f"{self.estimator!r} has no {' and no '.join(lacks)}: give an unfitted classifier "
                "that gives chances, such as HistGradientBoostingClassifier()."
            )

    def chances(
        self, sample: Sample, train: Bool[np.ndarray, " n"], key: PRNGKeyArray | None
    ) -> Float[np.ndarray, " n"]:
        """The chance of treatment of every row by a clone that is fitted to the rows `train`."""
        features = np.asarray(Encoding(sample.schema)(sample.x))
        return self.fitted(sample, train, key)(features, np.asarray(sample.valid))

    def fitted(
        self, sample: Sample, train: Bool[np.ndarray, " n"], key: PRNGKeyArray | None
    ) -> "FittedClassifier":
        """A clone that is fitted to the rows `train`."""
        from sklearn.base import clone

        model: Any = clone(self.estimator)
        if model.get_params().get("random_state", 0) is None:
            model.set_params(random_state=seed_of(key))
        features = np.asarray(Encoding(sample.schema)(sample.x))
        given = weights_taken(model, np.asarray(sample.weight)[train])
        model.fit(features[train], np.asarray(sample.t)[train], **given)
        return FittedClassifier(model)


class FittedClassifier(NamedTuple):
    """A fitted classifier: features (m, f) to the chance of treatment."""

    model: Any

    def __call__(
        self, features: Float[np.ndarray, "m f"], counts: Bool[np.ndarray, " m"] | None = None
    ) -> Float[np.ndarray, " m"]:
        """The chance at each point; those that count are checked, by default all."""
        found = np.asarray(self.model.predict_proba(features), np.float64)
        chance = found[:, np.flatnonzero(np.asarray(self.model.classes_, bool))[0]]
        valid = np.ones(len(chance), bool) if counts is None else counts
        _check_chances(chance, valid, type(self.model).__name__)
        return chance


def seed_of(key: PRNGKeyArray | None) -> int:
    """A seed for another library."""
    return 0 if key is None else int(jax.random.randint(key, (), 0, 2**31 - 1))


def weights_taken(model: Any, weight: Float[np.ndarray, " m"]) -> dict[str, np.ndarray]:
    """What `fit` of an estimator, or of the last step of a pipeline, gets: weights that differ.

    **Raises:** ValueError where it takes none.
    """
    if not (weight != weight[0]).any():
        return {}
    steps = getattr(model, "steps", None)
    last, name = (model, "") if steps is None else (steps[-1][1], f"{steps[-1][0]}__")
    if "sample_weight" not in inspect.signature(last.fit).parameters:
        raise ValueError(
            f"{type(last).__name__} takes no sample_weight, and the sampling weights differ (or "
            "those that a method gives the units): give one whose fit takes them, or a sample and "
            "a method without weights."
        )
    return {f"{name}sample_weight": weight}


def _check_chances(
    chance: Float[np.ndarray, " n"], valid: Bool[np.ndarray, " n"], name: str
) -> None:
    bad = np.flatnonzero(valid & ~((chance >= 0) & (chance <= 1)))
    if bad.size:
        raise DataError(
            f"{name} gives {bad.size} of {int(valid.sum())} units no chance within 0 to 1 "
            f"({rows_in_words(bad)}): check its predict_proba."
        )
