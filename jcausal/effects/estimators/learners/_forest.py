"""The T-learner of random forests."""

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import Sample
from jcausal.effects._learned import Learned
from jcausal.effects.estimators.learners._learner import Averaged, Learner
from jcausal.effects.estimators.learners._t_learner import TwoSurfaces
from jcausal.surfaces import (
    LOGISTIC,
    MaxFeatures,
    OutcomeModel,
    Propensity,
    RandomForest,
    check_forest,
    fit,
)


class Forest(Learner):
    """One random forest of each arm's outcomes; the effect is their difference.

    `TLearner` with forests of scikit-learn (the extra `sklearn`), cross-fitted as all learners are:
    no tree that foretells a unit has seen an outcome of the unit's fold.

    **Arguments:**

    - `trees`, `min_leaf`, `max_features`: as in `jc.surfaces.RandomForest`.
    - `propensity`, `clip`, `average`: as in `TLearner`.

    **Raises:** ImportError that names the extra.

    **Source:** Breiman (2001), Machine Learning 45(1); as a comparator of effects Künzel, Sekhon,
    Bickel and Yu (2019), PNAS 116(10).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.Forest(trees=50), key=0)
        >>> found.ite.shape, found.predict(sample.x[:3]).shape
        ((445,), (3,))
    """

    trees: int = eqx.field(static=True, default=500)
    min_leaf: int = eqx.field(static=True, default=5)
    max_features: MaxFeatures = eqx.field(static=True, default=0.33)
    propensity: Propensity = LOGISTIC
    clip: float | Array = 0.01
    average: Averaged = eqx.field(static=True, default="doubly_robust")

    def __check_init__(self) -> None:
        check_forest(self.trees, self.min_leaf, self.max_features)

    @property
    def outcome(self) -> OutcomeModel:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The forest of an arm."""
        return RandomForest(self.trees, self.min_leaf, self.max_features)

    @property
    def models(self) -> dict[str, OutcomeModel]:
        """The forest of an arm."""
        return dict(outcome=self.outcome)

    def learn(self, train: Sample, key: PRNGKeyArray) -> Learned:
        """Grow a forest for each arm."""
        return TwoSurfaces(fit(train, self.outcome, key=key).lean())
