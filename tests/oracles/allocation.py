"""Allocations by enumeration: regularity, worst cases, failed budgets, the trials of the paper."""

from itertools import combinations, product

import numpy as np


def regularity(values, rho):
    """The largest share by length over all pairs of values."""
    v, m = np.sort(values), len(values)
    return max((j - i + 1) / (m * max(2 * rho, v[j] - v[i])) for i in range(m) for j in range(i, m))


def worst_ratio(tau, k, rho):
    """The least valuable K groups that estimates within rho can make the K largest."""
    tau = np.asarray(tau)
    everyone = set(range(len(tau)))
    values = [
        tau[list(chosen)].sum()
        for chosen in combinations(everyone, k)
        if max((tau[a] for a in everyone - set(chosen)), default=-1) - tau[list(chosen)].min()
        <= 2 * rho
    ]
    return min(values) / np.sort(tau)[::-1][:k].sum()


def worst_of_box(estimates, chosen, against, rho):
    """The least V(first `chosen`) / V*(`against`) over the corners of effects within rho."""
    t = np.sort(estimates)[::-1]
    ends = [(max(0, v - rho), min(1, v + rho)) for v in t]
    ratios = []
    for corner in product(*ends):
        best = np.sort(corner)[::-1][:against].sum()
        ratios.append(sum(corner[:chosen]) / best if best > 0 else 0.0)
    return min(1.0, min(ratios))


def mended(value, best, eps):
    """For each K: failed, |K - K'| to any and to a smaller K' that is fine (-1), extra groups."""
    m = len(best)
    fine = [value[k] >= (1 - eps) * best[k] for k in range(m)]
    any_, under, extra = [], [], []
    for k in range(m):
        ways = [abs(k - j) for j in range(m) if fine[j]]
        any_.append(min(ways, default=-1))
        under.append(min([k - j for j in range(k + 1) if fine[j]], default=-1))
        enough = [j for j in range(m) if value[j] >= (1 - eps) * best[k]]
        extra.append(max(0, min(enough) - k))
    return [not f for f in fine], any_, under, extra


def equal_trial(tau, n, rng):
    """V for K = 1 to M of one trial with n samples of every group."""
    mean = rng.binomial(n, tau) / n
    order = np.lexsort((rng.random(len(tau)), -mean))
    return np.cumsum(np.asarray(tau)[order])


def random_trial(tau, total, rng):
    """V for K = 1 to M of one trial with samples on groups at random; means of none are 0."""
    where = rng.integers(0, len(tau), total)
    one = rng.random(total) < np.asarray(tau)[where]
    n = np.bincount(where, minlength=len(tau))
    mean = np.bincount(where, one, len(tau)) / np.maximum(n, 1)
    order = np.lexsort((rng.random(len(tau)), -mean))
    return np.cumsum(np.asarray(tau)[order])
