"""FLAME and DAME as their papers tell them, unit by unit and regression by regression.

Wang et al. (JMLR 2021) and Dieng et al. (AISTATS 2019). Groups are found by comparing rows; every
predictive error is a regression of its own. Slow, and written to be read.
"""

from itertools import combinations

import numpy as np
import pandas as pd


def indicators(codes, kept):
    """0/1 columns of the levels of some covariates; a covariate of two levels has one."""
    columns = [np.zeros((len(codes), 0))]
    for j in kept:
        found = np.unique(codes[:, j])
        found = found[1:] if len(found) == 2 else found if len(found) > 2 else found[:0]
        columns.append((codes[:, [j]] == found).astype(float))
    return np.hstack(columns)


def error(codes, t, foretold, noise, kept, penalty):
    """sum over arms of noise + mean squared residual of a ridge regression, over that of means."""
    found = whole = 0.0
    for arm in (0, 1):
        mine = t == bool(arm)
        x, y = indicators(codes, kept)[mine], foretold[mine, arm]
        x, y = x - x.mean(0), y - y.mean()
        b = np.linalg.lstsq(
            np.vstack([x, np.sqrt(penalty) * np.eye(x.shape[1])]),
            np.append(y, np.zeros(x.shape[1])),
            rcond=None,
        )[0]
        found += noise[arm] + ((y - x @ b) ** 2).mean()
        whole += noise[arm] + (y**2).mean()
    return round(found / whole, 12)


class Search:
    """Who is unmatched, and everybody's first group."""

    def __init__(self, codes, t, foretold, noise, *, penalty=0.1, repeats=True):
        self.codes, self.t, self.foretold, self.noise = codes, t, foretold, noise
        self.penalty, self.repeats = penalty, repeats
        self.unmatched, self.group = np.ones(len(t), bool), {}
        self.order = []
        self.match(range(codes.shape[1]))

    def groups(self, kept):
        """Groups of equal rows that hold both arms, among those who may be matched."""
        kept = list(kept)
        free = np.ones(len(self.t), bool) if self.repeats else self.unmatched
        free = np.flatnonzero(free & (self.codes[:, kept] >= 0).all(1))  # -1: lacks a value
        rows = pd.DataFrame(self.codes[free][:, kept]).groupby(list(range(len(kept))))
        members = [free[places] for places in rows.indices.values()] if len(free) else []
        return [m for m in members if self.t[m].any() and not self.t[m].all()]

    def match(self, kept):
        for members in self.groups(kept):
            for i in members[self.unmatched[members]]:
                self.group[int(i)] = frozenset(members.tolist())
        for members in list(self.groups(kept)):
            self.unmatched[members] = False

    def error(self, kept):
        codes = np.where(self.codes < 0, self.codes.max() + 1, self.codes)
        return error(codes, self.t, self.foretold, self.noise, list(kept), self.penalty)

    def share(self, kept):
        """The share of the unmatched controls plus that of the treated who would be matched."""
        newly = np.zeros(len(self.t), bool)
        for members in self.groups(kept):
            newly[members] = True
        newly &= self.unmatched
        return sum(
            (newly & (self.t == arm)).sum() / max((self.unmatched & (self.t == arm)).sum(), 1)
            for arm in (False, True)
        )

    def over(self):
        left = [(self.unmatched & (self.t == arm)).any() for arm in (False, True)]
        return not any(left) or (not self.repeats and not all(left))


def flame(search, balance, fewest=1):
    """Give up one covariate after another."""
    kept = list(range(search.codes.shape[1]))
    while len(kept) > fewest and not search.over():
        gains = []
        for j in kept:
            rest = [k for k in kept if k != j]
            gain = balance * search.share(rest) if balance else 0
            gains.append(round(gain - search.error(rest), 12))
        lost = kept[int(np.argmax(gains))]
        search.order.append(lost)
        kept = [k for k in kept if k != lost]
        search.match(kept)
    return kept


def dame(search, kept=None):
    """Give up sets, the one of the least error first among those whose subsets all went before."""
    kept = list(range(search.codes.shape[1])) if kept is None else kept
    done = {()}
    while not search.over():
        active = [
            (search.error([k for k in kept if k not in s]), size, s)
            for size in range(1, len(kept))
            for s in combinations(kept, size)
            if s not in done and all(less in done for less in combinations(s, size - 1))
        ]
        if not active:
            return
        best = min(active)[2]
        done.add(best)
        search.order.append(best)
        search.match([k for k in kept if k not in best])


def fraction(i, prime):
    """Numbers between 0 and 1 that look drawn."""
    return (i * np.sqrt(prime)) % 1


def binary_units(n=400):
    """Eight coins, a fifth treated, and an outcome in which they matter less and less."""
    i = np.arange(1, n + 1)
    primes = (2, 3, 5, 7, 11, 13, 17, 19)
    x = np.stack([fraction(i, p) > 0.35 for p in primes], axis=1).astype(int)
    t = (fraction(i, 23) + 0.1 * x[:, 0] > 0.85).astype(int)
    y = x @ (8.0 / 1.7 ** np.arange(8)) + t * (1 + x[:, 1]) + 2 * fraction(i, 29)
    return pd.DataFrame(x, columns=[f"c{j}" for j in range(8)]).assign(treated=t, outcome=y)


def level_units(n=500):
    """Six covariates of three to five levels, in whose number the outcome is linear."""
    i = np.arange(1, n + 1)
    counts = (3, 4, 3, 5, 3, 4)
    x = [(fraction(i, p) * k).astype(int) for p, k in zip((2, 3, 5, 7, 11, 13), counts)]
    t = (fraction(i, 23) + 0.05 * x[0] > 0.7).astype(int)
    y = sum(w * c for w, c in zip((5, 3.1, 2.3, 1.2, 0.8, 0.3), x)) + t * x[1] + fraction(i, 29)
    frame = pd.DataFrame(np.stack(x, axis=1), columns=[f"c{j}" for j in range(6)])
    return frame.assign(treated=t, outcome=y)


UNITS = dict(binary=binary_units, levels=level_units)
