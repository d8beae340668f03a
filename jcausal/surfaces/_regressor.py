"""Regressors of scikit-learn's kind as outcome models, on the host."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import (
    DataError,
    Sample,
    Trained,
    check_object,
    is_traced,
    rows_in_words,
    to_device,
    trained_on,
)
from jcausal.surfaces._by_evaluation import EvaluatedSurface
from jcausal.surfaces._classifier import seed_of, weights_taken
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._quality import counted
from jcausal.surfaces._surface import Arms, Noise, OutcomeModel, without_training

ARMS = ("control", "treated")


class RegressorSurface(EvaluatedSurface):
    """Two fitted regressors of another library. Made by `jc.fit(sample, Regressor(...), key=0)`.

    Nothing is known of the `noise` around it, which is 0.
    """

    noise: Noise
    encoding: Encoding
    trained: Trained | None
    control: Any = eqx.field(static=True)
    treated: Any = eqx.field(static=True)
    evaluates_on_host: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both predictions; NaN in the column of an arm that was not fitted.

        **Raises:** ValueError under jit and inside compiled methods; `DataError` for predictions
        that are no numbers.
        """
        if is_traced(x):
            name = type(self.treated if self.control is None else self.control).__name__
            raise ValueError(
                f"{name} predicts on the host, and this method evaluates its surface inside a "
                "compiled loop: use jc.Trees, jc.BoostedTrees, jc.Ridge or jc.Function, or a "
                "method that asks for the predictions of the units alone, such as jc.AIPW or "
                "jc.DRLearner."
            )
        features, points = np.asarray(self.encoding(x)), np.asarray(x)
        out = np.full((len(points), 2), np.nan, points.dtype)
        for arm, model in enumerate((self.control, self.treated)):
            if model is not None and len(points):
                out[:, arm] = _predictions(model, features)
        return to_device(out)

    def lean(self) -> "RegressorSurface":
        """Without the training rows."""
        return without_training(self)


class Regressor(OutcomeModel):
    """A regressor or pipeline of scikit-learn's kind as an outcome model.

    It is cloned and fitted to each arm, on the host, and predicts there. Categories have one
    feature per level. Weights are passed on (to the last step of a pipeline); where they differ, a
    regressor that takes none is refused. If it has `random_state` None, the key decides. For trees
    that methods evaluate inside compiled loops use `jc.Trees`.

    **Arguments:** `estimator`: an unfitted regressor with `fit` and `predict`.

    **Raises:** ValueError for what is none, and for weights that it cannot take; `DataError` for
    predictions that are no numbers.

    **Example:**

        >>> import jcausal as jc
        >>> from sklearn.linear_model import LassoCV
        >>> sample = jc.datasets.lalonde("experiment")
        >>> surface = jc.fit(sample, jc.surfaces.Regressor(LassoCV()), key=0)
        >>> surface(sample.x).shape
        (445, 2)
    """

    estimator: Any = eqx.field(static=True)
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        check_object(self.estimator)
        lacks = [
            one for one in ("fit", "predict", "get_params") if not hasattr(self.estimator, one)
        ]
        if lacks:
            raise ValueError(
                f"{self.estimator!r} has no {' and no '.join(lacks)}: give an unfitted regressor, "
                "such as HistGradientBoostingRegressor()."
            )
        if hasattr(self.estimator, "predict_proba"):
            raise ValueError(
                f"{type(self.estimator).__name__} is a classifier: give a regressor, also for "
                "outcomes 0 and 1, whose mean it predicts."
            )

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> RegressorSurface:
        """Fit a clone to each arm that is asked for."""
        assert key is not None and sample.y is not None
        encoding, t = Encoding(sample.schema), np.asarray(sample.t)
        features, use = np.asarray(encoding(sample.x)), np.asarray(counted(sample))
        y, weight = np.asarray(sample.y), np.asarray(sample.weight)
        models: list[Any] = [None, None]
        for arm, word in enumerate(ARMS):
            if arms not in ("both", word):
                continue
            rows = use & (t == bool(arm))
            if not rows.any():
                raise DataError(f"there is no {word} row to fit a surface on.")
            model = self._clone(jax.random.fold_in(key, arm))
            model.fit(features[rows], y[rows], **weights_taken(model, weight[rows]))
            models[arm] = model
        fitted = np.array([model is not None for model in models])
        return RegressorSurface(
            noise=np.where(fitted, 0, np.nan),
            encoding=encoding,
            trained=trained_on(sample, np.flatnonzero(use & fitted[t.astype(int)])),
            control=models[0],
            treated=models[1],
        )

    def _clone(self, key: PRNGKeyArray) -> Any:
        from sklearn.base import clone

        model: Any = clone(self.estimator)
        if model.get_params().get("random_state", 0) is None:
            model.set_params(random_state=seed_of(key))
        return model


def as_outcome_model(value: Any) -> Any:
    """A bare regressor of scikit-learn's kind is wrapped; anything else is as it is."""
    bare = not isinstance(value, type | eqx.Module)
    return (
        Regressor(value) if bare and hasattr(value, "fit") and hasattr(value, "predict") else value
    )


def _predictions(model: Any, features: Float[np.ndarray, "m f"]) -> Float[np.ndarray, " m"]:
    found = np.asarray(model.predict(features), np.float64)
    if found.shape != (len(features),):
        raise ValueError(
            f"{type(model).__name__} predicts an array of shape {found.shape} for {len(features)} "
            "points: it must be one number a point."
        )
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise DataError(
            f"{type(model).__name__} predicts no finite number for {bad.size} of {len(found)} "
            f"points ({rows_in_words(bad)} of those asked for): check its predict."
        )
    return found
