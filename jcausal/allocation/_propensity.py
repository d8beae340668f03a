"""The chance of treatment by logistic regression, cross-fitted."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import DataError, FoldError, FoldWords

STEPS = 100
CLOSE = 1e-8  # of the gradient, by weight
FOLD_WORDS = FoldWords(more="give more rows of that arm")


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def logistic(
    x: Float[np.ndarray, "n f"],
    t: Bool[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
    penalty: float,
) -> Float[np.ndarray, " g"]:
    """The intercept and slopes (f + 1,) with the least loss + penalty |slopes|^2 / 2, by Newton.

    The step is halved until the loss falls. **Raises:** `DataError` when 100 steps do not settle.
    """
    design = np.column_stack([np.ones(len(x)), x])
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 0
    sign = np.where(t, 1.0, -1.0)

    def loss(b: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0, -sign * (design @ b)) + (ridge * b**2).sum() / 2)

    share = np.clip(np.average(t, weights=weight), 1e-6, 1 - 1e-6)
    b = np.zeros(design.shape[1])
    b[0] = np.log(share / (1 - share))
    for _ in range(STEPS):
        p = _sigmoid(design @ b)
        gradient = design.T @ (weight * (p - t)) + ridge * b
        if np.abs(gradient).max() <= CLOSE * weight.sum():
            return b
        curve = design.T @ (design * (weight * p * (1 - p))[:, None]) + np.diag(ridge + 1e-12)
        step, now, size = np.linalg.solve(curve, gradient), loss(b), 1.0
        while loss(b - size * step) > now and size > 1e-10:
            size /= 2
        b = b - size * step
    raise DataError(
        "the chance of treatment could not be fitted: a covariate tells the arms apart almost "
        "surely; use a larger penalty, or leave that covariate out."
    )


def cross_fitted(
    x: Float[np.ndarray, "n f"],
    t: Bool[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
    fold: Int[np.ndarray, " n"],
    penalty: float,
) -> Float[np.ndarray, " n"]:
    """Each row's chance of treatment, fitted without the rows of its fold; NaN for fold -1."""
    found = np.full(len(x), np.nan)
    for k in range(int(fold.max()) + 1):
        train, here = (fold >= 0) & (fold != k), fold == k
        for arm in (False, True):
            if not (train & (t == arm) & (weight > 0)).any():
                word = "treated" if arm else "controls"
                units = int(((fold >= 0) & (t == arm) & (weight > 0)).sum())
                fact = f"there are no {word} outside of fold {k + 1}"
                raise FoldError(fact, units, int(fold.max()) + 1, words=FOLD_WORDS)
        b = logistic(x[train], t[train], weight[train], penalty)
        found[here] = _sigmoid(b[0] + x[here] @ b[1:])
    return found
