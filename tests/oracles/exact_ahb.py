"""The best box in plain NumPy: every box whose edges are values of the data, one by one."""

from itertools import chain, combinations, product

import numpy as np


def subsets(items):
    items = list(items)
    return chain.from_iterable(combinations(items, k) for k in range(len(items) + 1))


def best_box(x, t, cost, point, categories=(), minimum=(1, 1), weight=None):
    """The least sum of costs (n,) over boxes around `point` that hold enough of both arms.

    Returns (objective, members), or None where no box holds enough.
    """
    n, p = x.shape
    weight = np.ones(n) if weight is None else weight
    sides = []
    for j in range(p):
        values = np.unique(x[:, j])
        if j in categories:
            others = subsets(v for v in values if v != point[j])
            sides.append([np.isin(x[:, j], (point[j], *more)) for more in others])
        else:
            lows = [*values[values < point[j]], point[j]]
            highs = [point[j], *values[values > point[j]]]
            sides.append([(x[:, j] >= a) & (x[:, j] <= b) for a, b in product(lows, highs)])
    best = None
    for parts in product(*sides):
        inside = np.logical_and.reduce(parts) & (weight > 0)
        if (inside & ~t).sum() >= minimum[0] and (inside & t).sum() >= minimum[1]:
            total = (cost * weight)[inside].sum()
            if best is None or total < best[0] - 1e-12:
                best = total, inside
    return best
