"""Random forests of scikit-learn as an outcome model, on the host."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from jcausal.data import Sample, check_count, row_draws
from jcausal.surfaces._classifier import seed_of
from jcausal.surfaces._quality import counted
from jcausal.surfaces._regressor import Regressor, RegressorSurface
from jcausal.surfaces._surface import Arms, OutcomeModel

MaxFeatures = float | int | Literal["sqrt", "log2"] | None


class RandomForest(OutcomeModel):
    """One random forest an arm, of scikit-learn (the extra `sklearn`).

    Rows are bootstrapped by the key, in an order that follows the units and not their places.

    **Arguments:**

    - `trees`: how many; `min_leaf`: the fewest units of a leaf.
    - `max_features`: how many features a split chooses among: a share of them, a count, "sqrt" or
      "log2" of their number, or None for all. A category is one feature a level.

    **Raises:** ImportError that names the extra; ValueError for options out of range.

    **Source:** Breiman (2001), Machine Learning 45(1).
    """

    trees: int = eqx.field(static=True, default=500)
    min_leaf: int = eqx.field(static=True, default=5)
    max_features: MaxFeatures = eqx.field(static=True, default=0.33)
    traceable: bool = eqx.field(static=True, init=False, default=False)
    needs_key: bool = eqx.field(static=True, init=False, default=True)

    def __check_init__(self) -> None:
        check_forest(self.trees, self.min_leaf, self.max_features)

    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> RegressorSurface:
        """Fit a forest to each arm that is asked for."""
        assert key is not None
        found = Regressor(self._unfitted(seed_of(key))).fit(
            sample.take(rows_by_draw(sample, key)), key, arms
        )
        for one in (found.control, found.treated):
            if one is not None:
                one.set_params(n_jobs=None)  # threads would add up trees in any order
        return found

    def _unfitted(self, seed: int) -> Any:
        """Both arms get the same seed, so that arms that change places change nothing else."""
        try:
            from sklearn.ensemble import RandomForestRegressor
        except ImportError as error:
            raise ImportError(
                'random forests need scikit-learn: pip install "jcausal[sklearn]".'
            ) from error
        features: Any = self.max_features
        return RandomForestRegressor(
            n_estimators=self.trees,
            min_samples_leaf=self.min_leaf,
            max_features=features,
            n_jobs=-1,
            random_state=seed,
        )


def check_forest(trees: int, min_leaf: int, max_features: MaxFeatures) -> None:
    """Refuse forests that cannot be grown.

    **Raises:** ValueError.
    """
    check_count("trees", trees)
    check_count("min_leaf", min_leaf)
    if max_features is None or isinstance(max_features, str):
        return
    most = 1 if isinstance(max_features, float) else np.inf
    if not 0 < max_features <= most:
        raise ValueError(
            f"max_features is {max_features}: give a share above 0 up to 1.0, a count from 1, "
            "'sqrt', 'log2' or None for all."
        )


def rows_by_draw(sample: Sample, key: PRNGKeyArray) -> Int[np.ndarray, " m"]:
    """The rows that count, in a random order that follows the units."""
    rows = np.flatnonzero(np.asarray(counted(sample)))
    return rows[np.argsort(np.asarray(row_draws(sample, key))[rows], kind="stable")]
