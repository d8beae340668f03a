"""The best subset by trying each, one at a time."""

from itertools import combinations

import numpy as np


def best_subset(d, s, balance, alpha=None, tolerance=1e-5):
    """Places of the best subset of the candidates with weight s > 0, its A and its B."""
    d, s = np.asarray(d, float), np.asarray(s, float)
    members = np.flatnonzero(s > 0)
    delta = tolerance * np.abs(d[members]).max(initial=0)
    sets = [c for size in range(1, members.size + 1) for c in combinations(members, size)]
    if not sets:
        return (), np.inf, np.inf
    a, b = [], []
    for each in map(list, sets):
        total = s[each].sum() if balance == "mean" else 1
        a.append(np.abs(s[each] @ d[each]).max(initial=0) / total)
        b.append(np.abs(d[each]).max(initial=0))
    a, b = np.array(a), np.array(b)
    value = np.where(a <= a.min() + delta, b, np.inf) if alpha is None else alpha * a + b
    tied = np.flatnonzero(value <= value.min() + delta)
    best = min(tied, key=lambda i: (-len(sets[i]), sets[i]))
    return sets[best], a[best], b[best]


def draw_problem(seed, k, f):
    """Deviations of k candidates: plain, on a grid, with duplicates, or with exact matches."""
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(k, f))
    if seed % 4 == 1:
        d = rng.integers(-2, 3, (k, f)) / 2
    if seed % 4 == 2:
        d[k // 2 :] = d[: k - k // 2]
    if seed % 4 == 3:
        d[rng.random(k) < 0.4] = 0
    return d
