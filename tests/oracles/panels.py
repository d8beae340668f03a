"""Plain NumPy versions of the completion methods, from their formulas, in float64."""

import numpy as np


def scaled(y, use):
    """Outcomes over the row's share of cells in use."""
    share = use.mean(1, keepdims=True)
    return np.where(use, y, 0) / np.where(share > 0, share, 1)


def row_scaled(y, use, rank):
    """Algorithm 1 for one arm at a given rank."""
    u, s, vt = np.linalg.svd(scaled(y, use), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def rank_by(rule, s, shape, arm):
    """The rank of the rules "gap" (constant .3, at most a third of a side) and "median"."""
    (n, m), most = shape, min(shape) // 3
    if rule == "median":
        b = n / m
        omega = 0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43
        return int(min(most + 1, (s > omega * np.median(s)).sum()))
    k = most + 1
    tau = np.sqrt((s[k:] ** 2).sum() / ((n - k) * (m - k)))
    gaps = s[:most] - s[1:k]
    wide = np.flatnonzero(gaps >= 0.3 * tau * (np.sqrt(n) + np.sqrt(m)))
    return int(wide[-1]) + 1 if wide.size else 0


def usvt(y, use, eta, bounds, variance):
    """Universal singular value thresholding of one arm, and how many values stay."""
    n, m = y.shape
    half, middle = (bounds[1] - bounds[0]) / 2, (bounds[1] + bounds[0]) / 2
    z = np.where(use, (y - middle) / half, 0)
    p = use.mean()
    q = p * variance + p * (1 - p) * (1 - variance)
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    keep = s >= (2 + eta) * np.sqrt(max(n, m) * q)
    w = (u[:, keep] * s[keep]) @ vt[keep] / p
    return middle + half * np.clip(w, -1, 1), int(keep.sum())


def two_way(y, use, x):
    """Least squares with a dummy for every unit and every time, and covariates."""
    n, m = y.shape
    i, j = np.indices(y.shape)
    design = [(i.ravel()[:, None] == np.arange(n)), (j.ravel()[:, None] == np.arange(m))]
    if x is not None:
        design.append(x.reshape(n * m, -1))
    design = np.concatenate(design, axis=1).astype(float)
    found = np.linalg.lstsq(design[use.ravel()], y.ravel()[use.ravel()], rcond=None)[0]
    return (design @ found).reshape(n, m)


def largest_residual(y, use):
    """The largest singular value of the two-way residuals."""
    return np.linalg.norm(np.where(use, y - two_way(y, use, None), 0), 2)


def nuclear(y, use, threshold, steps=4000):
    """Soft-thresholding by blocks: L, then exact two-way effects, over and over."""
    low = np.zeros_like(y)
    effects = two_way(y, use, None)
    for _ in range(steps // 20):
        for _ in range(20):
            u, s, vt = np.linalg.svd(np.where(use, y - effects, low), full_matrices=False)
            low = (u * np.maximum(s - threshold, 0)) @ vt
        effects = two_way(y - low, use, None)
    return low + effects


def simplex(d, ridge=0.0):
    """Least |d w|^2 + ridge |w|^2 over the simplex, by every set of columns with weight."""
    count = d.shape[1]
    best, found = np.inf, None
    for code in range(1, 2**count):
        kept = np.flatnonzero(code >> np.arange(count) & 1)
        k = kept.size
        q = d[:, kept].T @ d[:, kept] + ridge * np.eye(k)
        matrix = np.block([[q, np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
        w = np.zeros(count)
        w[kept] = np.linalg.lstsq(matrix, np.append(np.zeros(k), 1.0), rcond=None)[0][:k]
        value = ((d @ w) ** 2).sum() + ridge * (w @ w)
        if w.min() > -1e-9 and abs(w.sum() - 1) < 1e-9 and value < best:
            best, found = value, w
    return found, best


def frank_wolfe(d, ridge, steps, w):
    """So many steps of Frank and Wolfe (1956) with the best step length, from w."""
    for _ in range(steps):
        g = d.T @ (d @ w) + ridge * w
        way = (np.arange(w.size) == g.argmin()) - w
        curve = ((d @ way) ** 2).sum() + ridge * (way @ way)
        w = w + np.clip(-(g @ way) / curve, 0, 1) * way
    return w


def synthetic_did(y, start):
    """Algorithm 1 for each cohort, ending in a weighted regression with dummies, and their mean."""
    m = y.shape[1]
    donors, parts = np.flatnonzero(start == m), []
    for s in np.unique(start[start < m]):
        own = np.flatnonzero(start == s)
        before, after = np.arange(m) < s, np.arange(m) >= s
        sigma = np.diff(y[donors][:, before], axis=1).std()
        zeta = (own.size * (m - s)) ** 0.25 * sigma
        pool = y[donors][:, before]
        d = pool.T - y[own][:, before].mean(0)[:, None]
        w, _ = simplex(d - d.mean(0), zeta**2 * s)
        late = pool - y[donors][:, after].mean(1, keepdims=True)
        times, _ = simplex(late - late.mean(0), (1e-6 * sigma) ** 2 * donors.size)
        rows, weight = np.append(donors, own), np.append(w, np.full(own.size, 1 / own.size))
        columns = np.append(times, np.full(m - s, 1 / (m - s)))
        i, j = (a.ravel() for a in np.indices((rows.size, m)))
        dummy = (i >= donors.size) & (j >= s)
        design = [i[:, None] == np.arange(rows.size), j[:, None] == np.arange(m), dummy[:, None]]
        root = np.sqrt((np.maximum(weight, 0)[:, None] * np.maximum(columns, 0)).ravel())
        full = np.concatenate(design, axis=1) * root[:, None]
        effect = np.linalg.lstsq(full, y[rows].ravel() * root, rcond=None)[0][-1]
        parts.append((effect, own.size * (m - s), w, times))
    total = sum(cells for _, cells, _, _ in parts)
    return sum(effect * cells for effect, cells, _, _ in parts) / total, parts
