"""Forests and boosted trees of scikit-learn, LightGBM and XGBoost as response surfaces."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from jcausal.data import DataError, Sample, Trained, check_object, hold_out, step_key, trained_on
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._surface import Arms, Noise, OutcomeModel, without_training
from jcausal.surfaces.tree_sums import TreeSum, TreeSumSurface, as_arrays, read_ensemble

CLOSE = 1e-4  # of the spread of the predictions: what float32 sums of trees may be apart


class TreesSurface(TreeSumSurface):
    """Two fitted ensembles of trees as arrays. Made by `jc.fit(sample, jc.Trees(...), key=0)`."""

    control: TreeSum | None
    treated: TreeSum | None
    noise: Noise
    encoding: Encoding
    trained: Trained | None

    def lean(self) -> "TreesSurface":
        """Without the training rows."""
        return without_training(self)


class Trees(OutcomeModel):
    """An ensemble of trees of another library, fitted to each arm and evaluated on the device.

    The estimator is cloned and fitted to the controls and to the treated, with sampling weights;
    its trees then become arrays. Trees on at most two features and small ones on up to six are
    tables, others of at most 32 leaves masks, as those of `jc.BART`; larger trees are walked node
    by node, which is slower: `max_leaf_nodes=32` avoids it. Categories have one feature per level.
    A fifth of each arm is held out once to measure the noise; then the ensemble is fitted to all
    rows. If it has `random_state` None, the key decides.

    **Arguments:**

    - `estimator`: an unfitted regressor (or, for outcomes 0 and 1, a classifier of random trees)
      of scikit-learn (decision trees, sums, extra trees, gradient boosting, histogram gradient
      boosting), LightGBM or XGBoost, whose prediction is a plain sum of trees.

    **Raises:** ValueError for an estimator that cannot be read, or whose own predictions differ
    from those of the arrays.

    **Example:**

        >>> import jcausal as jc
        >>> from sklearn.ensemble import RandomForestRegressor
        >>> sample = jc.datasets.lalonde("experiment")
        >>> forest = jc.Trees(RandomForestRegressor(20, max_leaf_nodes=32))
        >>> surface = jc.fit(sample, forest, key=0)
        >>> surface(sample.x).shape
        (445, 2)
    """

    estimator: Any = eqx.field(static=True)
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        if not hasattr(self.estimator, "fit") or not hasattr(self.estimator, "get_params"):
            raise ValueError(
                f"{self.estimator!r} is no estimator: give an unfitted one, such as "
                "RandomForestRegressor(200)."
            )
        check_object(self.estimator)
        if _of_no_trees(type(self.estimator)):
            raise ValueError(
                f"{type(self.estimator).__name__} of sklearn is no sum of trees: give one of "
                "sklearn.tree or sklearn.ensemble, such as RandomForestRegressor(200)."
            )

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> TreesSurface:
        """Fit each arm twice: without the held-out rows for the noise, then on all rows."""
        assert key is not None and sample.y is not None
        encoding = Encoding(sample.schema)
        features = np.asarray(encoding(sample.x), np.float32)
        used = np.asarray(sample.valid & (sample.weight > 0))
        held = np.asarray(
            hold_out(sample.with_valid(jnp.asarray(used)), 0.2, step_key(key, "held"))
        )
        treated = np.asarray(sample.t)
        wanted = {"both": (0, 1), "control": (0,), "treated": (1,)}[arms]
        sums: list[TreeSum | None] = [None, None]
        noise = np.full(2, np.nan)
        for arm in wanted:
            rows = np.flatnonzero(used & (treated == bool(arm)))
            apart = held[rows]
            if rows.size < 2 or apart.all() or not apart.any():
                raise DataError(
                    f"the {rows.size} {'treated' if arm else 'control'} rows (of positive weight) "
                    "cannot be divided into a part to train on and a part to hold out: give more."
                )
            one = jax.random.fold_in(key, arm)
            rest, out = rows[~apart], rows[apart]
            first = _predictions(self._fitted(sample, features, rest, one), features[out])
            y, weight = np.asarray(sample.y)[out], np.asarray(sample.weight)[out]
            noise[arm] = np.average((y - first) ** 2, weights=weight)
            sums[arm] = _as_tree_sum(self._fitted(sample, features, rows, one), features[rows])
        return TreesSurface(
            control=sums[0],
            treated=sums[1],
            noise=noise,
            encoding=encoding,
            trained=trained_on(sample, np.flatnonzero(used & np.isin(treated, wanted))),
        )

    def _fitted(
        self,
        sample: Sample,
        features: Float[np.ndarray, "n f"],
        rows: Int[np.ndarray, " r"],
        key: PRNGKeyArray,
    ) -> Any:
        """A clone, fitted to some rows."""
        from sklearn.base import clone

        model: Any = clone(self.estimator)
        if model.get_params().get("random_state", 0) is None:
            model.set_params(random_state=int(jax.random.randint(key, (), 0, 2**31 - 1)))
        y, weight = np.asarray(sample.y)[rows], np.asarray(sample.weight)[rows]
        even = (weight == weight[0]).all()
        model.fit(features[rows], y, **{} if even else dict(sample_weight=weight))
        classes = getattr(model, "classes_", np.zeros(1))
        if not np.isin(classes, (0, 1)).all():
            raise ValueError(
                f"{type(model).__name__} has the classes {', '.join(map(str, classes))}: a "
                "classifier needs outcomes 0 and 1; use a regressor."
            )
        return model


def _of_no_trees(estimator: type) -> bool:
    """Whether a class is one of scikit-learn's without trees: it shows before any fit."""
    modules = {".".join(base.__module__.split(".")[:2]) for base in estimator.__mro__}
    own = {m for m in modules if m.startswith("sklearn.")} - {"sklearn.base", "sklearn.utils"}
    return bool(own) and not own & {"sklearn.tree", "sklearn.ensemble"}


def _predictions(model: Any, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
    """The model's own predictions; of a classifier the mean of the class, which is 0 or 1."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(features), float) @ model.classes_
    return np.asarray(model.predict(features), float)


def _as_tree_sum(model: Any, features: Float[np.ndarray, "n f"]) -> TreeSum:
    """The trees as arrays, compared with the model's own predictions."""
    ensemble = read_ensemble(model)
    ours = TreeSum(*as_arrays(ensemble, features.shape[1]), ensemble.offset)
    some = features[:1000]
    theirs, found = _predictions(model, some), np.asarray(ours(jnp.asarray(some)), float)
    scale = np.ptp(theirs) + 1e-3 * np.abs(theirs).max() + 1e-12
    if not np.abs(found - theirs).max() <= CLOSE * scale:
        raise ValueError(
            f"{type(model).__name__} predicts otherwise than the sum of its trees (a link "
            "function or a custom objective?): use one that predicts that sum."
        )
    return ours
