"""The M5 tree in plain NumPy, node by node, after the formulas (Yang and Noor-E-Alam, 1 to 5)."""

import numpy as np


def adjusted_r2(x, y):
    """Of least squares with an intercept; 1 where all outcomes are equal."""
    n, p = x.shape
    design = np.column_stack([np.ones(n), x])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    total = ((y - y.mean()) ** 2).sum()
    if total <= 1e-12 * (1 + (y**2).sum()):
        return 1.0
    return 1 - (residual @ residual / total) * (n - 1) / (n - p - 1)


def best_cut(column, y, least):
    """The threshold of the largest reduction on one feature; of ties the lowest."""
    values, best = np.unique(column), (-np.inf, None)
    for cut in (values[1:] + values[:-1]) / 2:
        left, right = y[column <= cut], y[column > cut]
        if min(left.size, right.size) < least:
            continue
        found = y.std() - (left.size * left.std() + right.size * right.std()) / y.size
        if found > best[0] + 1e-10:
            best = (found, cut)
    return best


def grow(x, y, least, split_search="first_passing", depth=30):
    """Leaves as (rows, path), the path a list of (feature, threshold, goes left)."""

    def node(rows, path):
        here = [best_cut(x[rows, j], y[rows], least) for j in range(x.shape[1])]
        order = sorted(
            (j for j, (gain, cut) in enumerate(here) if cut is not None),
            key=lambda j: (-round(here[j][0], 9), j),
        )
        if len(path) == depth or np.ptp(y[rows]) == 0:
            order = []
        own = adjusted_r2(x[rows], y[rows]) if order else 0
        for j in order[:1] if split_search == "best" else order:
            left = x[rows, j] <= here[j][1]
            parts = rows[left], rows[~left]
            if max(adjusted_r2(x[part], y[part]) for part in parts) > own + 1e-10:
                sides = [(j, here[j][1], True), (j, here[j][1], False)]
                return [
                    leaf for part, side in zip(parts, sides) for leaf in node(part, [*path, side])
                ]
        return [(rows, path)]

    return node(np.arange(y.size), [])
