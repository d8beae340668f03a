"""The chance of treatment, given the covariates: by logistic regression or by a classifier."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    FoldError,
    Options,
    Sample,
    as_key,
    bucket,
    check_kind,
    is_traced,
    pad_rows,
    step_key,
    to_device,
)
from jcausal.surfaces._arrays import product
from jcausal.surfaces._classifier import Classifier
from jcausal.surfaces._cross_fitting import deal_folds
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._logistic import logistic, orthogonal, standardised, with_ones
from jcausal.surfaces._separation import check_separation

PENALTY = 1e-3
NEAR = 0.01  # a chance this far from 0 and 1 for every unit: none is told apart without error


def _as_classifier(value: Any) -> Any:
    """A bare estimator is wrapped."""
    return Classifier(value) if hasattr(value, "predict_proba") else value


class Propensity(Options, eqx.Module):
    """How the chance of treatment e(x) is found: `jc.surfaces.propensity_scores(sample, this)`.

    A logistic regression: least weighted mean log loss + penalty |slopes|^2 / 2, the covariates
    standardised by weight, a category with one feature per level, the intercept free. Or a
    classifier. It sees no outcome, and by default is fitted to the rows that it then describes,
    which is more precise; a flexible classifier needs `folds`.

    **Arguments:**

    - `penalty`: of the logistic regression; None is 1e-3, which moves the scores little and finds
      a fit always. 0 is maximum likelihood (as R's `glm`): units that the covariates tell apart
      without error are then refused.
    - `classifier`: a `jc.surfaces.Classifier(...)`, or an unfitted classifier with `predict_proba`,
      in place of the regression; it runs on the host.
    - `folds`: 1, or how many parts the rows are dealt to, each scored by a fit to the others.

    **Raises:** ValueError for a penalty below 0, or beside a classifier.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> scores = jc.surfaces.propensity_scores(sample, jc.Propensity(penalty=0))
        >>> round(float(scores.mean()), 4)  # the share of treated: 185 of 445
        0.4157

    **Source:** Rosenbaum and Rubin (1983), Biometrika 70(1); cross-fitting: Chernozhukov et al.
    (2018), Econometrics Journal 21(1).
    """

    penalty: float | int | Array | None = None
    classifier: Classifier | None = eqx.field(default=None, converter=_as_classifier)
    folds: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        penalty = self.penalty
        if penalty is not None and not is_traced(penalty) and not penalty >= 0:
            raise ValueError(f"penalty is {penalty}: it must not be negative.")
        if self.folds < 1:
            raise ValueError(f"folds is {self.folds}: it must be at least 1.")
        if self.classifier is None:
            return
        check_kind(
            self.classifier, Classifier, "classifier", "give a classifier with predict_proba"
        )
        if penalty is not None:
            raise ValueError(
                f"penalty is {penalty} beside a classifier: it belongs to the logistic regression; "
                "set the classifier's own options."
            )

    @property
    def traceable(self) -> bool:
        """Whether it may run under jit and vmap: a classifier may not."""
        return self.classifier is None

    @property
    def held(self) -> float | Array:
        """The penalty of the regression, that of None by default."""
        return PENALTY if self.penalty is None else self.penalty

    @property
    def is_one_regression(self) -> bool:
        """Whether it is a logistic regression on all rows, whose estimation an error can know."""
        return self.classifier is None and self.folds == 1


LOGISTIC = Propensity()
LIKELIEST = Propensity(penalty=1e-6)  # scores of maximum likelihood, and a fit where it has none


class DealtRows(NamedTuple):
    """Rows that are dealt to folds.

    - `x` (n, p), `t` (n,), `weight` (n,): covariates, treatment and sampling weight.
    - `fold` (n,): from 0, -1 for rows that count nothing.
    """

    x: Float[Array, "n p"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    fold: Int[Array, " n"]


class Chances(NamedTuple):
    """Chances of treatment and what they rest on.

    - `chance` (n,): of each row, NaN for rows of no fold.
    - `slope` (k, f): each fold's slopes on its standardised features; of a classifier the
      correlations of the features with its chances.
    """

    chance: Float[Array, " n"]
    slope: Float[Array, "k f"]


def propensity_scores(
    sample: Sample,
    propensity: Propensity = LOGISTIC,
    *,
    key: PRNGKeyArray | Array | int | None = None,
) -> Float[Array, " n"]:
    """Each unit's chance of treatment; may run under jit and vmap, but for a classifier.

    **Arguments:** `sample`, whose outcome is not looked at; `propensity`; `key`, a JAX key or an
    int, for more than one fold.

    **Returns:** (n,) in the dtype of the sample; NaN for padding, and under tracing where an arm
    is empty or a number is not finite.

    **Raises:** `DataError` where an arm is empty, or lacks in a fold, and for units that are told
    apart without error when the penalty is 0; ValueError without a key for several folds, and for
    a classifier under jit.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> scores = jc.surfaces.propensity_scores(sample, jc.Propensity(folds=5), key=0)
        >>> bool(((scores > 0) & (scores < 1)).all())
        True
    """
    check_kind(sample, Sample, "propensity_scores", "make one by jc.Sample(x, t)")
    check_kind(propensity, Propensity, "propensity_scores", "write jc.Propensity()")
    made = None if key is None else step_key(as_key(key, "propensity_scores"), "propensity")
    return chances_of(sample, propensity, made).chance


def chances_of(sample: Sample, propensity: Propensity, key: PRNGKeyArray | None) -> Chances:
    """The chances with the slopes of every fold; see `propensity_scores`."""
    folds = propensity.folds
    if folds > 1 and key is None:
        raise ValueError("a propensity by folds draws at random: give key= a JAX key or an int.")
    fold = deal_folds(sample, folds, key, least=0)  # what counts is who is outside of a fold
    return chances_by_folds(sample, propensity, fold, folds, key)


def chances_by_folds(
    sample: Sample,
    propensity: Propensity,
    fold: Int[Array, " n"],
    folds: int,
    key: PRNGKeyArray | None,
) -> Chances:
    """The chances by a fit to the rows of the other folds, of folds that are dealt; else as above.

    `fold` (n,) from 0, -1 for rows that count nothing. The `folds` of the propensity are not used.
    """
    if propensity.classifier is not None:
        return _classified(sample, propensity.classifier, fold, folds, key)
    return fitted_chances(sample, fold, folds, propensity.penalty)


def fitted_chances(
    sample: Sample, fold: Int[Array, " n"], folds: int, penalty: float | Array | None = None
) -> Chances:
    """Chances by logistic regressions on the rows of the other folds, with their slopes.

    May run under jit and vmap. **Arguments:** `fold` (n,) from 0, -1 for rows that count nothing;
    with one fold all rows are trained on; `penalty` as in `Propensity`, a traced one above 0.

    **Returns:** `Chances`; NaN for fold -1, and under tracing where the other folds lack an arm or
    some row that counts is not finite.

    **Raises:** `DataError` when the rows of the other folds lack an arm, or without a penalty are
    told apart; ValueError where a penalty is lost in rounding errors, so that nothing is found.

    **Source:** Cox (1958), JRSS B 20(2).
    """
    arrays = sample.x, sample.t, sample.weight, sample.valid, fold
    slight = as_penalty(penalty, sample.x.dtype)
    if is_traced(arrays, penalty):
        ours = jnp.where(sample.valid, fold, -1)
        rows = DealtRows(sample.x, sample.t, sample.weight, ours)
        found = _regressed(Encoding(sample.schema), rows, slight, folds)
        return found._replace(chance=jnp.where(_sound(rows), found.chance, jnp.nan))
    x, t, weight, valid, fold_ = (np.asarray(a) for a in arrays)
    fold_ = np.where(valid, fold_, -1)
    check_arms_outside(t, weight, fold_, folds)
    used = np.flatnonzero(fold_ >= 0)
    size = bucket(len(used))
    x, t, weight = (pad_rows(a[used], size) for a in (x, t, weight))
    rows = DealtRows(x, t, weight, pad_rows(fold_[used], size, -1))
    found = _regressed(Encoding(sample.schema), rows, slight, folds)
    out = Chances(placed(found.chance, used, np.full(sample.n, np.nan, x.dtype)), found.slope)
    if slight is None:
        _check_separation(sample, np.asarray(out.chance), fold_, folds)
    if not np.isfinite(np.asarray(out.chance)[used]).all():
        instead = (
            "a small one" if slight is None else "0, which is maximum likelihood, or a larger one"
        )
        raise ValueError(
            f"with the penalty {penalty} the regression for the chance of treatment does not "
            f"settle in {x.dtype}: use {instead}."
        )
    return out


def coefficients(
    z: Float[Array, "n f"], t: Bool[Array, " n"], share: Float[Array, " n"], penalty: Array | None
) -> Float[Array, " g"]:
    """Intercept and slopes of standardised features; without a penalty the shortest slopes."""
    if penalty is not None:
        return logistic(with_ones(z), t, share, penalty.astype(z.dtype))
    turn, kept = orthogonal(z, share)
    held = jnp.where(kept, 0, 1).astype(z.dtype)  # a column of zeros keeps its slope at 0
    b = logistic(with_ones(product(z, turn)), t, share, held)
    return jnp.concatenate([b[:1], product(turn, b[1:])])


def as_penalty(penalty: float | Array | None, dtype: np.dtype) -> Array | None:
    """The penalty as an array, that of None by default; None for 0, which is another program."""
    if is_traced(penalty):
        return jnp.asarray(penalty, dtype)
    held = PENALTY if penalty is None else penalty
    return to_device(np.asarray(held, dtype)) if held > 0 else None


def _sound(rows: DealtRows) -> Bool[Array, ""]:
    """Whether every number that counts is finite."""
    finite = jnp.isfinite(rows.x).all(1) & jnp.isfinite(rows.weight)
    return (finite | (rows.fold < 0)).all()


def training_rows(fold: np.ndarray, weight: np.ndarray, k: int, folds: int) -> np.ndarray:
    """The rows that fold k's model is trained on."""
    return (fold >= 0) & ((fold != k) | (folds == 1)) & (weight > 0)


def _check_separation(sample: Sample, chance: np.ndarray, fold: np.ndarray, folds: int) -> None:
    """Look closer where some chance is so near 0 or 1 that the fit may not exist."""
    far = np.minimum(chance, 1 - chance)
    if folds == 1 and (far[fold >= 0] >= NEAR).all():  # what is NaN is not
        return
    for k in range(folds):
        check_separation(sample, training_rows(fold, np.asarray(sample.weight), k, folds))


def _classified(
    sample: Sample,
    classifier: Classifier,
    fold: Int[Array, " n"],
    folds: int,
    key: PRNGKeyArray | None,
) -> Chances:
    """Chances by a classifier that is trained on the rows of the other folds."""
    if is_traced(sample, fold, key):
        raise ValueError("a classifier runs on the host and cannot be used under jit.")
    dealt, weight = np.asarray(fold), np.asarray(sample.weight)
    check_arms_outside(np.asarray(sample.t), weight, dealt, folds)
    chance = np.full(sample.n, np.nan)
    for k in range(folds):
        one = None if key is None else jax.random.fold_in(step_key(key, "chance"), k)
        found = classifier.chances(sample, training_rows(dealt, weight, k, folds), one)
        chance = np.where(dealt == k, found, chance)
    features = np.asarray(Encoding(sample.schema)(sample.x), np.float64)
    pull = _correlations(features, chance, np.where(dealt >= 0, weight, 0))
    return Chances(to_device(chance.astype(sample.x.dtype)), to_device(pull[None]))


def _correlations(
    features: Float[np.ndarray, "n f"], chance: Float[np.ndarray, " n"], weight: np.ndarray
) -> Float[np.ndarray, " f"]:
    """Of each feature with the chance, by weight; 0 for one that does not vary."""
    use = weight > 0
    share = weight[use].astype(np.float64) / weight[use].sum(dtype=np.float64)
    z, e = (a - share @ a for a in (features[use], chance[use]))
    spread = np.sqrt((share @ z**2) * (share @ e**2))
    return np.where(spread > 0, (share * e) @ z / np.where(spread > 0, spread, 1), 0)


def placed(
    values: Float[Array, "m ..."], rows: Int[np.ndarray, " r"], into: Float[np.ndarray, "n ..."]
) -> Float[Array, "n ..."]:
    """`into` with the first of the padded values at some rows: on the host where that is so."""
    if is_traced(values):
        return jnp.asarray(into).at[rows].set(values[: len(rows)])
    into[rows] = np.asarray(values)[: len(rows)]
    return to_device(into)


def check_arms_outside(t: np.ndarray, weight: np.ndarray, fold: np.ndarray, folds: int) -> None:
    """Every fold needs both arms outside of it."""
    for k in range(folds):
        train = training_rows(fold, weight, k, folds)
        for arm, word in ((False, "controls"), (True, "treated")):
            if not (train & (t == arm)).any():
                units = int(((fold >= 0) & (weight > 0) & (t == arm)).sum())
                if folds == 1:
                    raise DataError(f"there are no {word} at all.")
                raise FoldError(f"there are no {word} outside of fold {k + 1}", units, folds)


@eqx.filter_jit
def _regressed(
    encoding: Encoding, rows: DealtRows, penalty: Float[Array, ""] | None, folds: int
) -> Chances:
    """All folds, one after the other, in one program; maximum likelihood for a penalty of None."""
    x, t, weight, fold = rows
    use = fold >= 0
    features = jnp.where(use[:, None], encoding(x), 0)

    def one(k: Array) -> Chances:
        train = use & ((fold != k) | (folds == 1)) & (weight > 0)
        w = jnp.where(train, weight, 0)
        share = w / jnp.where(w.sum() > 0, w.sum(), 1)
        z = standardised(features, share, train)
        b = coefficients(z, t, share, penalty)
        both = (train & t).any() & (train & ~t).any()
        b = jnp.where(both, b, jnp.nan)
        return Chances(jax.nn.sigmoid(product(with_ones(z), b)), b[1:])

    found = lax.map(one, jnp.arange(folds))
    own = jnp.take_along_axis(found.chance, jnp.maximum(fold, 0)[None], axis=0)[0]
    return Chances(jnp.where(use, own, jnp.nan), found.slope)
