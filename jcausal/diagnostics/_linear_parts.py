"""An average as a linear form in the outcomes, and what regressions on the covariates leave."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import Sample, to_device
from jcausal.effects import Average, Effects
from jcausal.surfaces import Encoding

CLIP = 0.01  # chances of treatment are held within CLIP and 1 - CLIP, where weights are made here
BYTES = 2**26  # of the features of a block of rows
RIDGE = 1e-9  # of a correlation matrix: of covariates that are the sum of others nothing is left


class LinearParts(NamedTuple):
    """What the bound of an omitted variable is made of.

    - `coefficient` (n,): c_k, average = sum_k c_k y_k and terms without y.
    - `mass` (n,): sampling weights that add up to 1, 0 for units that do not count.
    - `residual` (n,): of an outcome model, centred in each arm; None where there is none.
    """

    coefficient: Float[np.ndarray, " n"]
    mass: Float[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"] | None


def linear_parts(found: Effects | Average) -> LinearParts:
    """Coefficients and residuals of an average, on the host in float64."""
    sample = found.sample
    fold = found.matching.fold if isinstance(found, Effects) else found.fold
    counts = np.asarray(sample.valid) & (np.asarray(fold) >= 0)
    mass = np.where(counts, np.asarray(sample.weight, np.float64), 0)
    mass = mass / mass.sum()
    if isinstance(found, Effects):
        c = np.asarray(found.contributions, np.float64)
        left = np.asarray(found.residual, np.float64) if found.adjusted else None
    else:
        c, left = _coefficients(found, mass), _left_by_model(found)
    if left is not None:
        left = _centred(left, np.asarray(sample.t), mass)
    return LinearParts(c, mass, left)


def _coefficients(found: Average, mass: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weights of the means of the arms, with a minus for controls; by the chance if none are."""
    t = np.asarray(found.sample.t)
    if found.unit_weight is not None:
        stands = np.asarray(found.unit_weight, np.float64)
    else:
        e = np.clip(
            np.nan_to_num(np.asarray(found.propensity, np.float64), nan=0.5), CLIP, 1 - CLIP
        )
        own, other = np.where(t, e, 1 - e), np.where(t, 1 - e, e)
        over = dict(
            att=np.where(t, 1, other / own),
            atc=np.where(t, other / own, 1),
            ate=1 / own,
            ato=other,
        )
        stands = mass * over[found.estimand]
    sums = [stands[t == arm].sum() for arm in (False, True)]
    return np.where(t, stands / sums[1], -stands / sums[0])


def _left_by_model(found: Average) -> Float[np.ndarray, " n"] | None:
    """Outcomes less the prediction for the own arm, or for the other where it was not fitted."""
    if found.predicted is None:
        return None
    t, told = np.asarray(found.sample.t), np.asarray(found.predicted, np.float64)
    counts = np.asarray(found.fold) >= 0
    absent = ~np.isfinite(told[counts]).all(0)
    told = np.where(absent, told[:, ::-1], told)
    return np.asarray(found.sample.y, np.float64) - np.where(t, told[:, 1], told[:, 0])


def _centred(
    left: Float[np.ndarray, " n"], t: Bool[np.ndarray, " n"], mass: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Residuals less their mean in each arm: a model of one arm foretells no effect."""
    left = np.where(mass > 0, left, 0)
    for arm in (False, True):
        mine = (t == arm) & (mass > 0)
        left[mine] -= np.average(left[mine], weights=mass[mine])
    return left


class PartialR2(NamedTuple):
    """Of each covariate by name: shares of treatment and of outcome that it alone explains.

    `treatment` (k,): R2 of the treatment on the covariate, given the others; `outcome` (k,): of the
    outcome, given the others and the treatment; `left`: the residual variance of the outcome.
    """

    names: tuple[str, ...]
    treatment: Float[np.ndarray, " k"]
    outcome: Float[np.ndarray, " k"]
    left: float


def partial_r2(sample: Sample, mass: Float[np.ndarray, " n"]) -> PartialR2:
    """By linear regressions, weighted; a category's levels, and a number's gaps, go together.

    **Raises:** ValueError for no more units than these regressions have coefficients.
    """
    correlation, spread, column = _correlations(sample, mass)
    f = len(column)
    _check_left(int((mass > 0).sum()), correlation[: f + 1, : f + 1])
    of = np.array([{v: k for k, v in sample.schema.flag_of.items()}.get(int(j), j) for j in column])
    names = [j for j in range(sample.p) if j not in sample.schema.flag_of.values()]
    groups = [np.flatnonzero(of == j) for j in names]
    treatment, _ = _explained(correlation[:f, :f], correlation[:f, f], groups)
    outcome, left = _explained(correlation[: f + 1, : f + 1], correlation[: f + 1, f + 1], groups)
    told = tuple(sample.schema.names[j] for j in names)
    return PartialR2(told, treatment, outcome, left * spread**2)


def _check_left(units: int, among: Float[np.ndarray, "f f"]) -> None:
    """Refuse a regression of the outcome that leaves nothing, since units are too few."""
    coefficients = 1 + int(np.linalg.matrix_rank(among, tol=1e-6, hermitian=True))
    if units <= coefficients:
        raise ValueError(
            f"what the covariates leave of the outcome is not told by {units:,} units, since a "
            f"regression on them has {coefficients:,} coefficients: use fewer covariates, or give "
            "more units."
        )


def _explained(
    among: Float[np.ndarray, "f f"],
    target: Float[np.ndarray, " f"],
    groups: list[np.ndarray],
) -> tuple[Float[np.ndarray, " k"], float]:
    """Each group's partial R2 in a regression, and the residual variance, of correlations."""
    inverse = np.linalg.inv(among + RIDGE * np.eye(len(among)))
    slope = inverse @ target
    left = max(1 - float(slope @ target), 0.0)
    found = np.zeros(len(groups))
    for k, rows in enumerate(groups):
        if rows.size:
            gain = float(slope[rows] @ np.linalg.solve(inverse[np.ix_(rows, rows)], slope[rows]))
            found[k] = gain / (left + gain) if left + gain > 0 else 0.0
    return found, left


def _correlations(
    sample: Sample, mass: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "g g"], float, Int[np.ndarray, " f"]]:
    """Of features that vary, treatment and outcome; the outcome's sd; the features' covariates."""
    encoding = Encoding(sample.schema)
    rows = np.flatnonzero(mass > 0)
    x, t, y = (np.asarray(a) for a in (sample.x, sample.t, sample.y))
    column = np.asarray(encoding.column)
    wide = column.size + 2
    block = max(1, BYTES // (8 * wide))
    parts = [rows[a : a + block] for a in range(0, rows.size, block)]

    def values(some: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b g"]:
        features = np.asarray(encoding(to_device(x[some])), np.float64)
        return np.column_stack([features, t[some].astype(float), y[some].astype(float)])

    near = values(parts[0]).mean(0)  # about the mean, so that squares keep their digits
    away, square = np.zeros(wide), np.zeros((wide, wide))
    for some in parts:
        apart = values(some) - near
        away += mass[some] @ apart
        square += apart.T @ (mass[some, None] * apart)
    mean, square = near + away, square - np.outer(away, away)
    spread = np.sqrt(np.maximum(np.diag(square), 0))
    varies = spread > 1e-7 * np.maximum(np.abs(mean), 1e-30)
    varies[-2:] = True
    kept = np.ix_(varies, varies)
    correlation = square[kept] / np.outer(spread[varies], spread[varies])
    return correlation, float(spread[-1]), column[varies[:-2]]
