"""Classifiers of scikit-learn's kind as models of the treatment, on the host."""

import inspect
from typing import Any

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
        from sklearn.base import clone

        model: Any = clone(self.estimator)
        if model.get_params().get("random_state", 0) is None:
            model.set_params(random_state=_seed(key))
        features = np.asarray(Encoding(sample.schema)(sample.x))
        weight = np.asarray(sample.weight)[train]
        given = {}
        if (weight != weight[0]).any():
            _check_takes_weights(model)
            given = dict(sample_weight=weight)
        model.fit(features[train], np.asarray(sample.t)[train], **given)
        found = np.asarray(model.predict_proba(features), np.float64)
        chance = found[:, np.flatnonzero(np.asarray(model.classes_, bool))[0]]
        _check_chances(chance, np.asarray(sample.valid), type(model).__name__)
        return chance


def _seed(key: PRNGKeyArray | None) -> int:
    return 0 if key is None else int(jax.random.randint(key, (), 0, 2**31 - 1))


def _check_takes_weights(model: Any) -> None:
    if "sample_weight" not in inspect.signature(model.fit).parameters:
        raise ValueError(
            f"{type(model).__name__} takes no sample_weight, and the sampling weights differ: give "
            "a classifier whose fit takes them, or a sample without weights."
        )


def _check_chances(
    chance: Float[np.ndarray, " n"], valid: Bool[np.ndarray, " n"], name: str
) -> None:
    bad = np.flatnonzero(valid & ~((chance >= 0) & (chance <= 1)))
    if bad.size:
        raise DataError(
            f"{name} gives {bad.size} of {int(valid.sum())} units no chance within 0 to 1 "
            f"({rows_in_words(bad)}): check its predict_proba."
        )
