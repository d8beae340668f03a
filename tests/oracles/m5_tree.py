"""An M5 tree by plain recursion in NumPy: one node, one feature, one threshold at a time."""

from typing import NamedTuple

import numpy as np

STEPS = 2**30  # reductions are compared as shares of sd(T) rounded to this many steps
TIE = 1e-9


class Leaf(NamedTuple):
    rows: np.ndarray
    slope: np.ndarray
    centre: np.ndarray
    level: float

    def predict(self, x):
        return self.level + (x - self.centre) @ self.slope


class Split(NamedTuple):
    feature: int
    threshold: float
    left: object
    right: object


def least_squares(x, y, w):
    """Slopes of the shortest kind in standard deviations, means, residual and total sums."""
    share = w / w.sum()
    centre, level = share @ x, share @ y
    z, e, root = x - centre, y - level, np.sqrt(w)
    scale = np.sqrt(share @ z**2)
    constant = np.ptp(x, axis=0) == 0
    scale = np.where(constant, 1, scale)
    z = np.where(constant, 0, z / scale)
    b = np.linalg.lstsq(z * root[:, None], e * root, rcond=1e-5)[0]
    return b / scale, centre, level, (w * (e - z @ b) ** 2).sum(), (w * e**2).sum()


def adjusted_r2(x, y, w, free):
    n = len(y)
    if np.ptp(y) == 0:
        return 1.0
    if n <= free + 1:
        return -np.inf
    *_, rss, tss = least_squares(x, y, w)
    return 1 - rss / tss * (n - 1) / (n - free - 1)


def residual_sum(x, y, w):
    return least_squares(x, y, w)[3] / w.sum() * len(y)


def deviation(y, w):
    mean = (w * y).sum() / w.sum()
    return np.sqrt((w * (y - mean) ** 2).sum() / w.sum())


def best_cut(x, y, w, minimum):
    """(rounded share of sd taken off, threshold) of one feature; share 0 where there is none."""
    values, sd, best = np.unique(x), deviation(y, w), (0.0, np.nan)
    for low, high in zip(values[:-1], values[1:]):
        left = x <= low
        if min(left.sum(), (~left).sum()) < minimum or sd == 0:
            continue
        kept = sum(w[s].sum() * deviation(y[s], w[s]) for s in (left, ~left)) / w.sum()
        share = np.round((1 - kept / sd) * STEPS)
        if share > best[0]:
            best = share, (low + high) / 2
    return best


def stands(x, y, w, left, free, criterion):
    sides = (left, ~left)
    if criterion == "adjusted_r2":
        own = adjusted_r2(x, y, w, free)
        return any(adjusted_r2(x[s], y[s], w[s], free) > own + TIE for s in sides)
    if min(s.sum() for s in sides) <= free + 1:
        return False
    both = sum(residual_sum(x[s], y[s], w[s]) for s in sides) / (len(y) - 2 * (free + 1))
    return both < residual_sum(x, y, w) / (len(y) - free - 1) * (1 - TIE)


def grow(x, y, w, *, minimum, free, search, criterion="adjusted_r2", depth=30, rows=None):
    rows = np.arange(len(y)) if rows is None else rows
    xs, ys, ws = x[rows], y[rows], w[rows]
    if depth > 0 and len(rows) >= 2 * minimum:
        cuts = [best_cut(xs[:, j], ys, ws, minimum) for j in range(x.shape[1])]
        order = sorted(range(len(cuts)), key=lambda j: -cuts[j][0])  # stable
        for j in order[:1] if search == "best" else order:
            left = xs[:, j] <= cuts[j][1]
            if cuts[j][0] > 0 and stands(xs, ys, ws, left, free, criterion):
                go_on = dict(minimum=minimum, free=free, search=search, criterion=criterion)
                parts = [grow(x, y, w, **go_on, depth=depth - 1, rows=rows[s]) for s in (left, ~left)]
                return Split(j, cuts[j][1], *parts)
    slope, centre, level, _, _ = least_squares(xs, ys, ws)
    return Leaf(rows, slope, centre, level)


def leaves(node):
    """From left to right."""
    return [node] if isinstance(node, Leaf) else leaves(node.left) + leaves(node.right)


def splits(node):
    """(feature, threshold) of the inner nodes, each before its children, left before right."""
    if isinstance(node, Leaf):
        return []
    return [(node.feature, node.threshold), *splits(node.left), *splits(node.right)]
