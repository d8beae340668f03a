"""Tests of balance: paired t tests and Kolmogorov-Smirnov tests, from sums over matched pairs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import kolmogorov, stdtr

ROUNDING = 1e-12  # of a squared mean: a variance below it is rounding
NOTHING = 1e-10  # a mean squared difference, in squared sd, that is rounding


class PairMoments(NamedTuple):
    """Of P sets of pairs, on the host in float64.

    - `weight` (P,), `square` (P,): sums of the matched queries' weights w and of w^2.
    - `mean` (P, f), `second` (P, f): sums of w d and w d^2, d the differences treated - control.
    - `gap` (P, f): largest distance between both arms' weighted distribution functions.
    """

    weight: Float[np.ndarray, " P"]
    square: Float[np.ndarray, " P"]
    mean: Float[np.ndarray, "P f"]
    second: Float[np.ndarray, "P f"]
    gap: Float[np.ndarray, "P f"]


def p_values(moments: PairMoments, many: Bool[np.ndarray, " f"]) -> Float[np.ndarray, "P g"]:
    """p-values of all t tests, then of the KS tests of columns of `many` (more than two) values.

    t = mean d / sqrt(s^2 / n) on n - 1 degrees of freedom, n = (sum w)^2 / sum w^2 and s^2 the
    weighted variance times n / (n - 1): of equal weights the paired t test. KS: the Kolmogorov
    distribution at sqrt(n / 2) times the gap, as for two samples of n. No pair at all has 0
    throughout, differences that are all 0 have 1.
    """
    weight, square = (np.where(a > 0, a, 1)[:, None] for a in (moments.weight, moments.square))
    n = weight**2 / square
    mean, second = moments.mean / weight, moments.second / weight
    variance = np.maximum(second - mean**2, ROUNDING * mean**2)
    free = np.maximum(n - 1, 1e-9)
    error = np.sqrt(variance / free)  # s^2 / n, with s^2 over n - 1
    t = np.abs(mean) / np.where(error > 0, error, 1)
    differ = (error > 0) & (second > NOTHING) & (n > 1 + 1e-6)
    by_t = np.where(differ, 2 * stdtr(free, -t), 1.0)
    by_gap = kolmogorov(np.sqrt(n / 2) * moments.gap[:, many])
    found = np.concatenate([by_t, by_gap], axis=1)
    return np.where(moments.weight[:, None] > 0, found, 0.0)


def ranked(p: Float[np.ndarray, "P g"]) -> Int[np.ndarray, " P"]:
    """Places from the best to the worst: the smallest p-value decides, then the next, and so on."""
    ordered = np.sort(p, axis=1)
    return np.lexsort((*(-ordered.T[::-1]),))


def is_gain(new: Float[np.ndarray, " g"], old: Float[np.ndarray, " g"]) -> bool:
    """Whether the sorted p-values `new` are larger than `old` where they first differ.

    They differ from the third digit on.
    """
    new, old = np.sort(new), np.sort(old)
    differ = np.flatnonzero(np.abs(new - old) > 5e-3 * np.maximum(new, old))
    return bool(differ.size and new[differ[0]] > old[differ[0]])
