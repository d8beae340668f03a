"""How well outcomes are foretold by some of the covariates alone: every subset from one Gram."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.matching.strata._cells import CoarseCells

MOST_LEVELS = 16  # of a covariate in a regression; of more, those that predict alike are one


class ForetoldRows(NamedTuple):
    """What a surface foretells of the m units of a fold.

    - `values` (m, 2): outcomes without and with the treatment.
    - `noise` (2,): variance of the outcomes around them.
    - `treated` (m,), `weight` (m,): arm and sampling weight.
    """

    values: Float[np.ndarray, "m 2"]
    noise: Float[np.ndarray, " 2"]
    treated: Bool[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]


class ArmSums(NamedTuple):
    """The normal equations of one arm, weights adding up to its units.

    - `gram` (f, f), `product` (f,): of centred features, with themselves and with the outcome.
    - `square`: of the centred outcome; `units`; `noise`: the variance around the outcome.
    - `column` (f,): the covariate of each feature.
    """

    gram: Float[np.ndarray, "f f"]
    product: Float[np.ndarray, " f"]
    square: float
    units: float
    noise: float
    column: Int[np.ndarray, " f"]


class PredictiveErrors(NamedTuple):
    """Errors of ridge regressions of the foretold outcomes on any of the covariates."""

    arms: tuple[ArmSums, ...]
    penalty: float

    def of(self, kept: Bool[np.ndarray, " c"]) -> float:
        """The error of a set of covariates, as a share of the error of the arms' means.

        sum over arms of noise + RSS / units, over the same without any covariate.
        """
        return float(self._shares(sum(_mean_square(arm, kept, self.penalty) for arm in self.arms)))

    def without_one(self, kept: Bool[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
        """The error of the set without each of its covariates; inf for those it does not hold."""
        return self._shares(sum(_mean_squares(arm, kept, self.penalty) for arm in self.arms))

    def _shares(self, error: Any) -> Any:
        """Rounded, so that the order of a sum decides no tie."""
        whole = sum(arm.noise + arm.square / arm.units for arm in self.arms)
        return np.round(error / whole, 12) if whole > 0 else np.where(np.isinf(error), error, 0.0)


def predictive_errors(cells: CoarseCells, rows: ForetoldRows, penalty: float) -> PredictiveErrors:
    """Sum up the normal equations of both arms, cell by cell."""
    arms = [_sums_of_arm(cells, rows, arm) for arm in (0, 1)]
    return PredictiveErrors(tuple(arm for arm in arms if arm is not None), penalty)


def _sums_of_arm(cells: CoarseCells, rows: ForetoldRows, arm: int) -> ArmSums | None:
    """One arm's; None where it has no unit of weight."""
    weight = np.where(rows.treated == arm, rows.weight, 0)
    units = int((weight > 0).sum())
    if not units:
        return None
    weight = weight * (units / weight.sum())
    value = rows.values[:, arm] - (weight * rows.values[:, arm]).sum() / units
    size = cells.counts.shape[0]
    mass = np.bincount(cells.cell, weights=weight, minlength=size)
    total = np.bincount(cells.cell, weights=weight * value, minlength=size)
    levels = [_few_levels(codes, mass, total) for codes in cells.codes.T]
    count = np.array([int(level.max(initial=0)) + 1 for level in levels])
    column, level = _features(count)
    joint, product = _joint_sums(levels, count, mass, total)
    kept = np.flatnonzero(level >= 0)
    joint, product, column = joint[np.ix_(kept, kept)], product[kept], column[kept]
    mean = np.diag(joint)
    return ArmSums(
        gram=joint - np.outer(mean, mean) / units,
        product=product,
        square=float((weight * value**2).sum()),
        units=units,
        noise=float(rows.noise[arm]),
        column=column,
    )


def _features(count: Int[np.ndarray, " c"]) -> tuple[np.ndarray, np.ndarray]:
    """The covariate and the level of each 0/1 column of all levels; -1 for a level without one.

    The first of two levels has none, nor has the only level of a covariate.
    """
    column = np.repeat(np.arange(count.size), count)
    level = np.concatenate([np.arange(k) for k in count]) if count.size else np.zeros(0, int)
    without = (count[column] == 1) | ((count[column] == 2) & (level == 0))
    return column, np.where(without, -1, level)


def _joint_sums(
    levels: list[Int[np.ndarray, " g"]],
    count: Int[np.ndarray, " c"],
    mass: Float[np.ndarray, " g"],
    total: Float[np.ndarray, " g"],
) -> tuple[Float[np.ndarray, "f f"], Float[np.ndarray, " f"]]:
    """Units that are of two levels at once, for all pairs, and the outcome's sum at each level.

    Tables of pairs of covariates: no matrix of all units and levels is made.
    """
    first = np.append(0, np.cumsum(count))
    joint, product = np.zeros((first[-1], first[-1])), np.zeros(first[-1])
    for j, one in enumerate(levels):
        mine = slice(first[j], first[j + 1])
        product[mine] = np.bincount(one, weights=total, minlength=count[j])
        for i in range(j + 1):
            pair = np.bincount(one * count[i] + levels[i], mass, count[j] * count[i])
            table = pair.reshape(count[j], count[i])
            theirs = slice(first[i], first[i + 1])
            joint[mine, theirs], joint[theirs, mine] = table, table.T
    return joint, product


def _few_levels(
    codes: Int[np.ndarray, " g"], mass: Float[np.ndarray, " g"], total: Float[np.ndarray, " g"]
) -> Int[np.ndarray, " g"]:
    """Levels without gaps; of more than 16 those of like means of the outcome are one."""
    found, level = np.unique(codes, return_inverse=True)
    if found.size <= MOST_LEVELS:
        return level
    units = np.bincount(level, weights=mass)
    mean = np.bincount(level, weights=total) / np.where(units > 0, units, 1)
    order = np.lexsort([found, mean])
    up_to = np.cumsum(units[order]) - units[order] / 2
    part = np.empty(found.size, int)
    part[order] = np.minimum(up_to / max(units.sum(), 1e-300) * MOST_LEVELS, MOST_LEVELS - 1)
    return np.unique(part, return_inverse=True)[1][level]


def _mean_square(arm: ArmSums, kept: Bool[np.ndarray, " c"], penalty: float) -> float:
    """Noise + RSS / units of the ridge regression on a set."""
    use = kept[arm.column]
    inverse = _inverse(arm, use, penalty)
    return arm.noise + _rss(arm, arm.product[use], inverse @ arm.product[use], penalty) / arm.units


def _mean_squares(
    arm: ArmSums, kept: Bool[np.ndarray, " c"], penalty: float
) -> Float[np.ndarray, " c"]:
    """The same without each covariate of the set, from one inverse A of its system.

    Without the features J the slopes are b - A_J (A_JJ)^-1 b_J.
    """
    use = kept[arm.column]
    inverse, right, column = _inverse(arm, use, penalty), arm.product[use], arm.column[use]
    slope = inverse @ right
    found = np.full(kept.size, np.inf)
    for j in np.flatnonzero(kept):
        own = column == j
        less = np.linalg.solve(inverse[np.ix_(own, own)], slope[own])
        found[j] = _rss(arm, right, slope - inverse[:, own] @ less, penalty)
    return arm.noise + np.maximum(found, 0) / arm.units


def _inverse(arm: ArmSums, use: Bool[np.ndarray, " f"], penalty: float) -> np.ndarray:
    """(G + penalty I)^-1 on some features."""
    return np.linalg.inv(arm.gram[np.ix_(use, use)] + penalty * np.eye(int(use.sum())))


def _rss(arm: ArmSums, right: np.ndarray, slope: np.ndarray, penalty: float) -> float:
    """With (G + penalty I) b = g the residual sum of squares is y'y - g'b - penalty b'b."""
    return max(float(arm.square - right @ slope - penalty * slope @ slope), 0.0)
