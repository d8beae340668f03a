"""Growth of the M5 tree (first version: node by node)."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jcausal.match.tree._tree import Fits, Nodes


class Rules(NamedTuple):
    minimum: int
    depth: int
    search: str
    criterion: str
    free: int


def _rss(x, y, w):
    """Centre and residual and total sums of weighted least squares."""
    share = w / w.sum()
    z, e = x - share @ x, y - share @ y
    root = np.sqrt(w)[:, None]
    b = np.linalg.lstsq(z * root, e * root[:, 0], rcond=1e-10)[0]
    return (w * (e - z @ b) ** 2).sum(), (w * e**2).sum(), b


def _adjusted(x, y, w, free):
    rss, tss, _ = _rss(x, y, w)
    n = len(y)
    if tss <= 1e-12 * (w * y**2).sum() or np.ptp(y) == 0:
        return 1.0
    return 1 - rss / tss * (n - 1) / (n - free - 1) if n > free + 1 else -np.inf


def _splits(x, y, w, minimum):
    """For each feature the best (score, threshold)."""
    out = []
    total, mean = w.sum(), (w * y).sum() / w.sum()
    e = y - mean
    sd = np.sqrt((w * e**2).sum() / total)
    for j in range(x.shape[1]):
        order = np.argsort(x[:, j], kind="stable")
        v, ww, ee = x[order, j], w[order], e[order]
        a, b, c = np.cumsum(ww), np.cumsum(ww * ee), np.cumsum(ww * ee**2)
        i = np.arange(1, len(v))
        ok = (v[1:] > v[:-1]) & (i >= minimum) & (len(v) - i >= minimum)
        best = (-np.inf, np.nan)
        for k in np.flatnonzero(ok):
            parts = ((a[k], b[k], c[k]), (total - a[k], b[-1] - b[k], c[-1] - c[k]))
            s = sd - sum(
                np.sqrt(max(q / m - (p / m) ** 2, 0)) * m / total for m, p, q in parts
            )
            if s > best[0] + 1e-9 * sd:
                best = (s, (v[k] + v[k + 1]) / 2)
        out.append(best if best[0] > 1e-9 * sd else (-np.inf, np.nan))
    return out


def grow_on_host(x, y, w, rules, dtype):
    feature, threshold, left, right, leaf, groups = [], [], [], [], [], []

    def add(rows, depth):
        i = len(feature)
        for a, v in ((feature, -1), (threshold, 0.0), (left, 0), (right, 0), (leaf, -1)):
            a.append(v)
        found = None
        if depth < rules.depth and len(rows) >= 2 * rules.minimum:
            own = _adjusted(x[rows], y[rows], w[rows], rules.free)
            splits = _splits(x[rows], y[rows], w[rows], rules.minimum)
            order = sorted(range(len(splits)), key=lambda j: -splits[j][0])
            for j in order[: 1 if rules.search == "best" else None]:
                if splits[j][0] == -np.inf:
                    break
                side = x[rows, j] <= splits[j][1]
                if any(
                    _adjusted(x[r], y[r], w[r], rules.free) > own + 1e-9
                    for r in (rows[side], rows[~side])
                ):
                    found = j, splits[j][1], side
                    break
        if found is None:
            leaf[i] = len(groups)
            groups.append(rows)
            return i
        j, cut, side = found
        feature[i], threshold[i] = j, cut
        left[i] = add(rows[side], depth + 1)
        right[i] = add(rows[~side], depth + 1)
        return i

    add(np.arange(len(y)), 0)
    ints = [jnp.asarray(np.array(a, np.int32)) for a in (feature, left, right, leaf)]
    nodes = Nodes(ints[0], jnp.asarray(np.array(threshold), dtype), *ints[1:])
    rows = []
    for g in groups:
        rss, tss, b = _rss(x[g], y[g], w[g])
        share = w[g] / w[g].sum()
        c = share @ x[g]
        z = (x[g] - c) * np.sqrt(w[g])[:, None]
        inv, rank = np.linalg.pinv(z.T @ z, rcond=1e-10, hermitian=True), np.linalg.matrix_rank(z)
        df = len(g) - rank - 1
        s2 = rss / w[g].sum() * len(g) / df if df > 0 else np.nan
        rows.append((len(g), w[g].sum(), c, share @ y[g], b, inv, rank, s2,
                     _adjusted(x[g], y[g], w[g], rules.free), x[g].min(0), x[g].max(0)))
    kinds = [np.int32, dtype, dtype, dtype, dtype, dtype, np.int32, dtype, dtype, dtype, dtype]
    return nodes, Fits(*(jnp.asarray(np.array(a), k) for a, k in zip(zip(*rows), kinds)))
