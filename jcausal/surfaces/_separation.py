"""Separation: covariates that tell some units' treatment without error, so that no fit exists."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jcausal.data import DataError, Sample, rows_in_words
from jcausal.surfaces._encoding import Encoding

STEPS = 25  # a fit that exists is reached in about ten
SETTLED = 1e-6  # of a step in log odds: the fit exists
STRAY = 1e-3  # of the longest step: what a unit that is not told apart may still move


class Separated(NamedTuple):
    """Units that a direction tells apart.

    - `apart` (n,): whose log odds grow without end in the direction of their own arm.
    - `way` (f,): the direction, in standardised features.
    """

    apart: Bool[np.ndarray, " n"]
    way: Float[np.ndarray, " f"]


def check_separation(sample: Sample, train: Bool[np.ndarray, " n"]) -> None:
    """Refuse a maximum-likelihood fit that does not exist on the rows `train`.

    **Raises:** `DataError` that names the covariate, the units and what to do.

    **Source:** Albert and Anderson (1984), Biometrika 71(1).
    """
    encoding = Encoding(sample.schema)
    t, weight = np.asarray(sample.t)[train], np.asarray(sample.weight, np.float64)[train]
    features = np.asarray(encoding(sample.x), np.float64)[train]
    found = separated(features, t, weight / weight.sum())
    if found is None:
        return
    rows = np.flatnonzero(train)[found.apart]
    if not rows.size:
        raise DataError(
            "without a penalty the regression for the chance of treatment does not settle: use a "
            "penalty above 0, or leave out covariates that nearly repeat others."
        )
    j = int(encoding.column[int(np.abs(found.way).argmax())])
    raise DataError(
        f"without a penalty the chance of treatment has no fit: {rows.size:,} of {len(t):,} units "
        f"({rows_in_words(rows)}) are told apart without error, the most by "
        f"{sample.schema.names[j]!r}{_level(sample, rows, j)}: use a penalty above 0, or leave out "
        "that covariate or those units."
    )


def _level(sample: Sample, rows: np.ndarray, j: int) -> str:
    """The level that all these units share in a category."""
    held, labels = np.asarray(sample.codes)[:, j], sample.schema.levels[j]
    code = held[rows[0]]
    if not labels or (held[rows] != code).any():
        return ""
    return f" ({labels[int(code)]!r} in all of them)"


def separated(
    features: Float[np.ndarray, "n f"], t: Bool[np.ndarray, " n"], share: Float[np.ndarray, " n"]
) -> Separated | None:
    """Which units a direction tells apart, if any; None where the fit exists.

    Newton's steps go to 0 where the loss has a minimum. Where it has none they tend to a direction
    in which no unit's log odds move towards the other arm, and some grow by about 1 a step. `apart`
    is empty where the steps do neither.
    """
    z = features - share @ features
    scale = np.sqrt(share @ z**2)
    varies = scale > 16 * np.finfo(float).eps * np.abs(features).max(0)
    z = np.where(varies, z / np.where(varies, scale, 1), 0)
    variance, direction = np.linalg.eigh((z * share[:, None]).T @ z)
    kept = variance > 4 * z.shape[1] * np.finfo(float).eps * max(variance[-1], 1)
    turn = direction[:, kept] / np.sqrt(variance[kept])
    design = np.column_stack([np.ones(len(t)), z @ turn])
    step = _last_step(design, t, share)
    moved = np.where(t, 1, -1) * (design @ step)
    most = np.abs(moved).max()
    if most < SETTLED:
        return None
    held = moved.min() >= -STRAY * most
    return Separated(held & (moved > STRAY * most), turn @ step[1:])


def _last_step(
    design: Float[np.ndarray, "n g"], t: Bool[np.ndarray, " n"], share: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " g"]:
    """Newton's step after so many others that were halved until the loss fell."""
    sign = np.where(t, -1.0, 1.0)
    b, step = np.zeros(design.shape[1]), np.zeros(design.shape[1])

    def loss(b: np.ndarray) -> float:
        return float(share @ np.logaddexp(0, sign * (design @ b)))

    for _ in range(STEPS):
        wrong = np.exp(-np.logaddexp(0, -sign * (design @ b)))  # the chance of the other arm
        curve = (design * (share * wrong * (1 - wrong))[:, None]).T @ design
        step = np.linalg.lstsq(curve, -(share * sign * wrong) @ design, rcond=0)[0]
        if np.abs(design @ step).max() < SETTLED:
            break
        size, now = 1.0, loss(b)
        while loss(b + size * step) > now and size > 1e-6:
            size /= 2
        b = b + size * step
    return step
