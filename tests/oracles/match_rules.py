"""How R Matching 4.10 matches with ties and what its standard error is, measured from its results.

NumPy only, ATT, with replacement. What was found:

- Weight 1 divides each covariate by its sd in the whole sample (n - 1); Weight 2 takes the
  covariance of the whole sample, treated and controls together. A factor enters as the caller's
  own 0/1 columns, one level left out.
- Tied are all controls whose squared distance is at most 1e-5 above that of the M-th nearest; a
  treated unit's partners share the weight 1 equally.
- Bias adjustment: least squares of the partners' outcomes on their covariates, each by the weight
  that it has as a partner in all (Abadie and Imbens, 2011).
- The standard error is that of Abadie and Imbens (2006) for the population: sum of the squared
  (tau_i - tau), plus sigma^2 sum over controls of K^2 - K', all over N1^2, where K is a control's
  sum of weights and K' that of its squared weights, and sigma^2 half of the weighted mean of the
  squared (difference of a pair - tau).
"""

import numpy as np

TOLERANCE = 1e-5


def scaled(x, weight):
    """Points whose squared Euclidean distances are those of Weight = 1 or 2."""
    if weight == 1:
        return x / x.std(0, ddof=1)
    return x @ np.linalg.cholesky(np.linalg.inv(np.cov(x, rowvar=False)))


def matches(points, t, m=1):
    """Rows of treated and controls, and weights, one each pair."""
    focal, partners = np.flatnonzero(t), np.flatnonzero(~t)
    square = ((points[focal][:, None] - points[partners][None]) ** 2).sum(2)
    near = square <= np.sort(square, axis=1)[:, m - 1 : m] + TOLERANCE
    i, j = np.nonzero(near)
    return focal[i], partners[j], 1 / near.sum(1)[i]


def estimate(y, pairs, x=None):
    """The ATT and its standard error; adjusted for bias where covariates are given."""
    treated, control, weight = pairs
    difference = y[treated] - y[control]
    if x is not None:
        root = np.sqrt(weight)[:, None]
        design = root * np.column_stack([np.ones(len(control)), x[control]])
        slope = np.linalg.lstsq(design, root[:, 0] * y[control], rcond=None)[0][1:]
        difference = difference - (x[treated] - x[control]) @ slope
    of_unit = np.bincount(treated, weight * difference, len(y))[np.unique(treated)]
    effect, n = of_unit.mean(), len(of_unit)
    used, squares = (np.bincount(control, w, len(y)) for w in (weight, weight**2))
    variance = (weight * (difference - effect) ** 2).sum() / n / 2
    total = ((of_unit - effect) ** 2).sum() + variance * (used**2 - squares).sum()
    return effect, np.sqrt(total) / n
