"""Plain NumPy versions of the panel methods on latent factors, from their formulas, in float64."""

import numpy as np


def low(a, rank):
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def quarters(a, rows, columns, rank):
    """Each quarter by regression on the tall matrix's factors; halves are bool by row and column.

    The rotation between the factors of the two matrices is least squares on the rows they share.
    """
    out = np.full(a.shape, np.nan)
    for r in (rows, ~rows):
        for c in (columns, ~columns):
            u, s, _ = np.linalg.svd(a[:, ~c], full_matrices=False)
            factors = u[:, :rank] * s[:rank]
            wide = low(a[~r], rank)
            loadings = np.linalg.lstsq(factors[~r], wide, rcond=1e-9)[0]
            out[np.ix_(r, c)] = (factors[r] @ loadings)[:, c]
    return out


def doubly_robust(y, d, mask, rows, columns, rank, chance_rank, clip):
    """Theta and DR terms by arm, the IPW terms, and the cells' variance terms."""
    treated, control = d & mask, ~d & mask
    first = quarters(treated.astype(float), rows, columns, chance_rank)
    seen = quarters(mask.astype(float), rows, columns, chance_rank)
    theta, terms, weighting, square = [], [], [], 0.0
    for use, raw in ((control, seen - first), (treated, first)):
        p = np.clip(raw, clip, 1 - clip)
        middle = y[use].mean()
        t = middle + quarters(np.where(use, y - middle, 0), rows, columns, rank) / p
        theta.append(t)
        terms.append(t + np.where(use, y - t, 0) / p)
        weighting.append(np.where(use, y, 0) / p)
        square = square + np.where(use, y - t, 0) ** 2 / p**2
    return theta, terms, weighting, square


def _distance(y, use, i, other, without):
    """Mean squared difference of two rows where both are in use, one column left out."""
    both = use[i] & use[other]
    both[without] = False
    return ((y[i] - y[other])[both] ** 2).mean() if both.any() else np.inf


def neighbors(y, use, row, column, i, j):
    """One cell from its pairs of a near row and a near column, by loops; NaN without a pair."""
    n, m = y.shape
    rows = [k for k in range(n) if k != i and _distance(y, use, i, k, j) <= row]
    columns = [k for k in range(m) if k != j and _distance(y.T, use.T, j, k, i) <= column]
    found = [
        y[i, c] + y[r, j] - y[r, c]
        for r in rows
        for c in columns
        if use[i, c] and use[r, j] and use[r, c]
    ]
    return np.mean(found) if found else np.nan


def largest_biclique(block):
    """The largest (min(rows, columns), rows x columns) over all sets of rows, all columns kept."""
    best = (0, 0)
    for code in range(1, 2 ** len(block)):
        rows = np.array([code >> k & 1 for k in range(len(block))], bool)
        sizes = int(rows.sum()), int(block[rows].all(0).sum())
        best = max(best, (min(sizes), sizes[0] * sizes[1]))
    return best


def synthetic_neighbor(y, i, j, rows, columns, rank):
    """One cell by the pseudo-inverse of the anchors at a rank; and both shares that are tested."""
    s = low(y[np.ix_(rows, columns)], rank)
    q, x = y[i, columns], y[rows, j]
    beta = np.linalg.pinv(s.T, rcond=1e-9) @ q
    span = s @ np.linalg.pinv(s, rcond=1e-9) @ x
    return x @ beta, [((s.T @ beta - q) ** 2).sum() / (q @ q), ((x - span) ** 2).sum() / (x @ x)]
