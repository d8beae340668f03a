"""Ways to divide units into groups: by columns, quantiles, propensity, clusters."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, PRNGKeyArray, Shaped

from jcausal.allocation._groups import GroupingMethod, Labelled
from jcausal.allocation._k_means import k_means
from jcausal.data import (
    By,
    DataError,
    FoldError,
    FoldWords,
    Sample,
    as_key,
    as_labels,
    check_names,
    deal,
    named,
    weighted_moments,
)
from jcausal.effects import factorized
from jcausal.surfaces import (
    Encoding,
    OutcomeModel,
    check_model,
    deal_folds,
    fitted_chances,
    fold_surface,
)

FOLD_WORDS = FoldWords(more="give more rows of that arm")


def _as_names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(check_names("covariates", names))


def _place(sample: Sample, name: str) -> int:
    if name not in sample.schema.names:
        raise ValueError(f"{name!r} is no covariate: they are {', '.join(sample.schema.names)}.")
    return sample.schema.names.index(name)


def _column(sample: Sample, by: By) -> np.ndarray:
    """Levels by their labels, numbers, or labels as given; missing values are NaN or None.

    **Raises:** ValueError for an unknown name or a wrong length.
    """
    if not isinstance(by, str):
        found = as_labels("by", sample.beside("by", by))
        if found.shape != (sample.n,):
            raise ValueError(f"by has shape {found.shape}: give one label for each of {sample.n}.")
        return found
    j = _place(sample, by)
    values = sample.points[:, j]
    if sample.schema.kinds[j] != "category":
        return values
    return np.array(sample.schema.levels[j], object)[values.astype(int)]


def _check_by(by: Any) -> None:
    """Refuse what neither names a covariate nor holds a label for each unit.

    **Raises:** ValueError.
    """
    shape: tuple[int, ...] = () if isinstance(by, type) else np.shape(by)
    if isinstance(by, str) or len(shape) == 1:
        return
    is_ = f"is {named(by)}" if isinstance(by, type) or not hasattr(by, "ndim") else None
    is_ = is_ or f"has shape {shape}"
    raise ValueError(f"by {is_}: name a covariate, by='NAME', or give one label for each unit.")


def _labelled(values: np.ndarray) -> Labelled:
    """Distinct values in order, missing ones last as a group "missing"."""
    code, found = factorized(values)
    missing = np.asarray(pd.isna(found), bool)
    code, found = np.where(missing[code], -1, code), found[~missing]  # the missing one is last
    label = [f"{v:.10g}" if isinstance(v, float) else str(v) for v in found.tolist()]
    if len(set(label)) < len(label):
        label = [repr(v) for v in found.tolist()]
    if (code < 0).any():
        label.append("missing")
    return Labelled(np.where(code < 0, len(found), code), tuple(label))


class ByColumn(GroupingMethod):
    """One group for each value of a column, or for each combination of several.

    **Arguments:** `by` a covariate's name, several names, or labels (n,). Missing values are a
    group of their own.

    **Example:**

        >>> import jcausal as jc
        >>> men = jc.datasets.lalonde("experiment")
        >>> jc.allocation.group(men, jc.allocation.ByColumn(["black", "married"])).label
        ('0, 0', '0, 1', '1, 0', '1, 1')
    """

    by: By | Sequence[str]

    def __check_init__(self) -> None:
        several = isinstance(self.by, list | tuple) and len(self.by) > 0
        for one in self.by if several else [self.by]:
            _check_by(one)

    def divide(self, sample: Sample, key: PRNGKeyArray | None) -> Labelled:
        """Distinct values. **Raises:** ValueError for an unknown name or a wrong length."""
        if isinstance(self.by, str) or hasattr(self.by, "shape"):
            return _labelled(_column(sample, self.by))  # type: ignore[arg-type]
        parts = [_labelled(_column(sample, name)) for name in self.by]
        words = [np.array(part.label, object)[part.code] for part in parts]
        table = np.stack([part.code for part in parts], axis=1)
        first, code = np.unique(table, axis=0, return_index=True, return_inverse=True)[1:]
        label = tuple(", ".join(str(word[i]) for word in words) for i in first)
        return Labelled(code.ravel(), label)


class Quantiles(GroupingMethod):
    """Strata of about equal size by a number.

    **Arguments:** `by` a covariate's name or numbers (n,); `groups` at most so many: where many
    units have one value, strata fall together. Missing values are a group of their own.

    **Example:**

        >>> import jcausal as jc
        >>> men = jc.datasets.lalonde("experiment")
        >>> jc.allocation.group(men, jc.allocation.Quantiles("age", 3)).label
        ('17 to 21', '22 to 27', '28 to 55')
    """

    by: By
    groups: int = eqx.field(static=True, default=50)

    def __check_init__(self) -> None:
        _check_by(self.by)
        _check_groups(self.groups)

    def divide(self, sample: Sample, key: PRNGKeyArray | None) -> Labelled:
        """Cut at the quantiles of the valid rows.

        **Raises:** ValueError for a column that is a category, and as `ByColumn`.
        """
        values = _column(sample, self.by)
        if values.dtype.kind not in "biuf":
            raise ValueError("strata need numbers: use jc.allocation.ByColumn for a category.")
        return _strata(values.astype(float), np.asarray(sample.valid), self.groups)


def _strata(
    values: Float[np.ndarray, " n"], valid: Shaped[np.ndarray, " n"], groups: int
) -> Labelled:
    """Intervals (a, b] between quantiles, named by the values that they hold."""
    seen = np.sort(values[valid & ~np.isnan(values)])
    if not seen.size:
        raise DataError("the column to divide by is missing in every row.")
    inner = np.unique(np.quantile(seen, np.arange(1, groups) / groups))
    code = np.searchsorted(inner, values, side="left")
    place = np.searchsorted(inner, seen, side="left")
    ends = [(part[0], part[-1]) for g in np.unique(place) if (part := seen[place == g]).size]
    names = [f"{a:.6g} to {b:.6g}" if a < b else f"{a:.6g}" for a, b in ends]
    if len(set(names)) < len(names):
        names = [f"{name} ({g + 1})" for g, name in enumerate(names)]
    label = dict(zip(np.unique(place).tolist(), names))
    full = [label.get(g, f"empty {g}") for g in range(len(inner) + 1)]
    missing = np.isnan(values)
    if missing.any():
        full.append("missing")
    return Labelled(np.where(missing, len(inner) + 1, code), tuple(full))


class PropensityStrata(GroupingMethod):
    """Strata of about equal size by the chance of treatment.

    The chance is a logistic regression on the standardised covariates, with a penalty on its
    slopes, fitted without the fold of the row. In a randomised trial it is noise around the share
    treated, and so are the strata.

    **Arguments:** `groups` at most; `folds` of the cross-fitting; `penalty` times half the squared
    slopes, beside the sum of the log losses of all units outside of a fold.

    **Example:**

        >>> import jcausal as jc
        >>> men = jc.datasets.lalonde("experiment")
        >>> jc.allocation.group(men, jc.allocation.PropensityStrata(20), key=0).groups
        20
    """

    groups: int = eqx.field(static=True, default=50)
    folds: int = eqx.field(static=True, default=5)
    penalty: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        _check_groups(self.groups)
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}: it must be at least 2.")
        if not self.penalty > 0:
            raise ValueError(f"penalty is {self.penalty}: it must be a positive number.")

    def divide(self, sample: Sample, key: PRNGKeyArray | None) -> Labelled:
        """Fit and cut. **Raises:** `DataError` when a fold lacks an arm."""
        fold = deal(sample, self.folds, as_key(key, "a propensity by folds"))
        valid = np.asarray(sample.valid)
        total = np.asarray(sample.weight, np.float64)[valid].sum() * (1 - 1 / self.folds)
        try:
            chance = fitted_chances(sample, fold, self.folds, self.penalty / total).chance
        except FoldError as error:
            raise DataError(error.told(FOLD_WORDS)) from error
        return _strata(np.where(valid, np.asarray(chance), 0.0), valid, self.groups)


class KMeans(GroupingMethod):
    """Clusters of units that are alike in their covariates.

    Covariates are standardised, a category counts one feature for each level, and missing numbers
    stand at the mean. The best of `tries` runs of Lloyd's algorithm from k-means++ starts is taken.

    **Arguments:** `groups`; `covariates` names, None for all; `tries`.

    **Source:** Arthur and Vassilvitskii (2007), SODA.

    **Example:**

        >>> import jcausal as jc
        >>> men = jc.datasets.lalonde("experiment")
        >>> method = jc.allocation.KMeans(8, covariates=["age", "education"])
        >>> jc.allocation.group(men, method, key=0).groups
        8
    """

    groups: int = eqx.field(static=True, default=30)
    covariates: Sequence[str] | None = eqx.field(
        static=True, default=None, converter=lambda names: _as_names(names)
    )
    tries: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        _check_groups(self.groups)
        _check_tries(self.tries)

    def divide(self, sample: Sample, key: PRNGKeyArray | None) -> Labelled:
        """Standardise and cluster.

        **Raises:** `DataError` with more groups than distinct rows; ValueError for unknown names.
        """
        x = _standardised(sample, self.covariates)
        return _clusters(sample, x, self.groups, self.tries, key)


class EffectKMeans(GroupingMethod):
    """Clusters of units that are alike in their covariates and in their predicted effect.

    A model of the outcome is fitted to each arm (a T-learner); its predicted effect f1 - f0 is one
    more feature for `KMeans`. With `jc.Trees(RandomForestRegressor(n_estimators=100))` and one
    fold it is what the paper calls a causal forest. With one fold each unit's own outcome shapes
    its group: effects of such groups are spread too far. With more it is not used.

    **Arguments:** `outcome` a model, such as `jc.Trees(...)` or `jc.Ridge()`; `groups`; `folds` of
    the cross-fitting, 1 for none; `tries`.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, appendix B; cross-fitting is ours.

    **Example:**

        >>> import jcausal as jc
        >>> men = jc.datasets.lalonde("experiment")
        >>> jc.allocation.group(men, jc.allocation.EffectKMeans(jc.Ridge(), 8), key=0).groups
        8
    """

    outcome: OutcomeModel
    groups: int = eqx.field(static=True, default=30)
    folds: int = eqx.field(static=True, default=2)
    tries: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        _check_groups(self.groups)
        _check_tries(self.tries)
        if self.folds < 1:
            raise ValueError(f"folds is {self.folds}: it must be at least 1.")

    def divide(self, sample: Sample, key: PRNGKeyArray | None) -> Labelled:
        """Fit, predict and cluster. **Raises:** as the model and `jc.allocation.KMeans` do."""
        key = as_key(key, "clusters of effects")
        fold = deal_folds(sample, self.folds, key, least=2)
        effect = np.zeros(sample.n)
        for k in range(self.folds):
            held = fold if self.folds > 1 else jnp.where(fold >= 0, 1, -1)  # 1: none is left out
            surface = fold_surface(sample, self.outcome, "both", held, k, key)
            both = np.asarray(surface(sample.x), np.float64)
            effect = np.where(np.asarray(fold) == k, both[:, 1] - both[:, 0], effect)
        x = np.column_stack([_standardised(sample, None), _scaled(sample, effect[:, None])])
        return _clusters(sample, x, self.groups, self.tries, key)


def _check_groups(groups: int) -> None:
    if groups < 2:
        raise ValueError(f"groups is {groups}: it must be at least 2.")


def _check_tries(tries: int) -> None:
    if tries < 1:
        raise ValueError(f"tries is {tries}: it must be at least 1.")


def _standardised(sample: Sample, covariates: Sequence[str] | None) -> Float[np.ndarray, "n f"]:
    """Features in standard deviations of the valid rows around their mean; constants are 0."""
    encoding = Encoding(sample.schema)
    features = np.asarray(encoding(sample.x), np.float64)
    if covariates is not None:
        wanted = [_place(sample, name) for name in covariates]
        features = features[:, np.isin(encoding.column, wanted)]
    return _scaled(sample, features)


def _scaled(sample: Sample, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    weight = np.where(np.asarray(sample.valid), np.asarray(sample.weight, np.float64), 0)
    middle, spread = weighted_moments(np, features, weight[:, None])
    spread = np.where(spread > 1e-6 * np.abs(middle), spread, 0)  # float32 may have rounded them
    return np.where(spread > 0, (features - middle) / np.where(spread > 0, spread, 1), 0)


def _clusters(
    sample: Sample, x: Float[np.ndarray, "n f"], groups: int, tries: int, key: PRNGKeyArray | None
) -> Labelled:
    """Clusters in the order of their first feature, then the next."""
    valid = np.asarray(sample.valid)
    distinct = len(np.unique(x[valid], axis=0))
    if distinct < groups:
        raise DataError(f"{groups} groups are asked of {distinct} distinct units: ask for fewer.")
    weight = np.where(valid, np.asarray(sample.weight), 0)
    points = jnp.asarray(x, sample.x.dtype)
    mass = jnp.asarray(weight, sample.x.dtype)
    found = k_means(points, mass, as_key(key, "k-means"), k=groups, tries=tries)
    rank = np.empty(groups, int)
    rank[np.lexsort(np.asarray(found.centre).T[::-1])] = np.arange(groups)
    label = tuple(f"cluster {g + 1}" for g in range(groups))
    return Labelled(rank[np.asarray(found.code)], label)
