"""The M5 tree in plain NumPy, node by node, after the formulas (Yang and Noor-E-Alam, 1 to 5)."""

import numpy as np


def residual_squares(x, y, w):
    """Weighted residual and total sums of squares of least squares with an intercept."""
    design, root = np.column_stack([np.ones(y.size), x]), np.sqrt(w)
    coef = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    total = w @ (y - np.average(y, weights=w)) ** 2
    return w @ (y - design @ coef) ** 2, total


def adjusted_r2(x, y, w=None, free=None):
    """With `free` slopes, default all; 1 where all outcomes are equal."""
    w, free = np.ones(y.size) if w is None else w, x.shape[1] if free is None else free
    residual, total = residual_squares(x, y, w)
    if total <= 1e-12 * (w.sum() + w @ y**2):
        return 1.0
    return 1 - (residual / total) * (y.size - 1) / (y.size - free - 1)


def spread(y, w):
    """Standard deviation, times the weight."""
    return np.sqrt(w.sum() * (w @ (y - np.average(y, weights=w)) ** 2))


def best_cut(column, y, w, least):
    """The threshold of the largest reduction on one feature; of ties the lowest."""
    values, best = np.unique(column), (-np.inf, None)
    for cut in (values[1:] + values[:-1]) / 2:
        left = column <= cut
        if min(left.sum(), (~left).sum()) < least:
            continue
        found = spread(y, w) - spread(y[left], w[left]) - spread(y[~left], w[~left])
        if found / w.sum() > best[0] + 1e-10:
            best = (found / w.sum(), cut)
    return best


def grow(
    x,
    y,
    least,
    split_search="first_passing",
    *,
    depth=30,
    w=None,
    free=None,
    criterion="adjusted_r2",
):
    """Leaves as (rows, path), the path a list of (feature, threshold, goes left)."""
    w, free = np.ones(y.size) if w is None else w, x.shape[1] if free is None else free

    def better(rows, parts):
        if criterion == "adjusted_r2":
            own, *children = (adjusted_r2(x[at], y[at], w[at], free) for at in (rows, *parts))
            return max(children) > own + 1e-10
        # in numbers of units, as n and p are
        own, *children = (
            residual_squares(x[at], y[at], w[at])[0] / w[at].sum() * at.size
            for at in (rows, *parts)
        )
        n = rows.size
        return sum(children) / (n - 2 * (free + 1)) < own / (n - free - 1) * (1 - 1e-10)

    def node(rows, path):
        here = [best_cut(x[rows, j], y[rows], w[rows], least) for j in range(x.shape[1])]
        order = sorted(
            (j for j, (gain, cut) in enumerate(here) if cut is not None),
            key=lambda j: (-round(here[j][0], 9), j),
        )
        if len(path) == depth or np.ptp(y[rows]) == 0:
            order = []
        for j in order[:1] if split_search == "best" else order:
            left = x[rows, j] <= here[j][1]
            parts = rows[left], rows[~left]
            if better(rows, parts):
                sides = [(j, here[j][1], True), (j, here[j][1], False)]
                return [
                    leaf for part, side in zip(parts, sides) for leaf in node(part, [*path, side])
                ]
        return [(rows, path)]

    return node(np.arange(y.size), [])
