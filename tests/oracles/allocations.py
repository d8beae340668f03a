"""Allocations by looking at every set of groups, and the certificate of sorted pairs."""

import itertools

import numpy as np


def all_sets(groups):
    """Every set of groups as a row of 0 and 1."""
    return np.array(list(itertools.product([False, True], repeat=groups)))


def sets_of(groups, most, exactly=False):
    """The sets of at most, or exactly, so many groups."""
    sets = all_sets(groups)
    size = sets.sum(1)
    return sets[size == most if exactly else size <= most]


def within(cost, budget, category=None, floor=None, cap=None):
    """The sets that the budget pays for, with each category between its floor and its cap."""
    sets = all_sets(len(cost))
    keep = sets @ np.asarray(cost) <= budget + 1e-9
    for bounds, compare in ((floor or {}, np.greater_equal), (cap or {}, np.less_equal)):
        for label, count in bounds.items():
            member = np.array([one == label for one in category])
            keep &= compare(sets @ member.astype(int), count)
    return sets[keep]


def corners(lower, upper):
    """Every vector of effects at one of their ends."""
    ends = np.stack([lower, upper])
    return np.array(
        [ends[list(c), np.arange(len(lower))] for c in all_sets(len(lower)).astype(int)]
    )


def least_ratio(chosen, sets, lower, upper):
    """The least V / V* of a chosen set over the corners; V* the best of the sets there."""
    tau = corners(lower, upper)
    best = (tau @ sets.T).max(1)
    return ((tau @ chosen) / best).min()


def top_ratio(tau, chosen, budget, exactly):
    """V / V* (b,) for rows of effects (b, k) and as many budgets."""
    order = -np.sort(-tau, axis=1)
    if not exactly:
        order = np.maximum(order, 0)
    best = np.where(np.arange(tau.shape[1]) < budget[:, None], order, 0).sum(1)
    return np.where(chosen, tau, 0).sum(1), best


def sorted_pairs(value, rho, chosen):
    """kept and lost of K chosen groups: the worst chosen against the best others, pair by pair."""
    low, high = value - rho, value + rho
    given, taken = np.sort(low[chosen]), -np.sort(-high[~chosen])
    pairs = min(given.size, taken.size)
    return low[chosen].sum(), np.maximum(0, taken[:pairs] - given[:pairs]).sum()
