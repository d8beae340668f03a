"""How R MatchIt 4.5.1 defines its distances, matches and strata, measured from its results.

NumPy only, O(n^2), written to be read. What was found:

- A factor is one 0/1 column for each level. The covariance is pooled: deviations from the mean of
  the own arm, over n - 2. Mahalanobis takes its pseudo-inverse.
- "scaled_euclidean" divides by the root of its diagonal; a numeric covariate of 0 and 1 by that
  of the mean of p (1 - p) over all units (over n, not n - 2), but a factor's columns are not.
  "euclidean" multiplies a factor's columns by the root of 1/2: two levels are 1 apart.
- The rank-based distance is Rosenbaum's (2010, ch. 8); 4.5.1 stops with an error in its own.
- Nearest without replacement goes in rounds: each focal unit takes one partner, in the order asked
  for ("data" for a distance of covariates, "largest" score for ATT, "smallest" for ATC), and then
  each its second. With replacement each takes its `ratio` nearest. Of equally near
  partners the first row is taken (with replacement and ratio > 1: any).
- A caliper is in sd of the whole sample (n - 1), also for a covariate; differences equal to it
  are allowed. `exact` allows partners of the same values only; the scale of distances stays that
  of the whole sample.
- Coarsened exact matching: a numeric covariate, 0/1 ones too, has equal bins from its least to its
  largest value, Sturges' ceil(log2 n + 1) of them; an edge's own value is in the higher bin; a
  factor is not coarsened. "q5" has its edges at the quantiles 1/5 ... 4/5 (type 7).
- Subclasses are cut at quantiles (type 7) of the score of the treated for ATT, of the controls for
  ATC, of all for ATE; a cut's own value is in the higher subclass.
- Weights of strata: with p the treated share of a stratum, ATT 1 and p / (1 - p), ATC (1 - p) / p
  and 1, ATE 1 / p and 1 / (1 - p), then divided by their mean in each arm.
"""

from math import ceil, log2

import numpy as np


def columns_of(frame, numeric, factors):
    """Numeric columns, then one 0/1 column for each level of the factors; which are of factors."""
    columns = [np.asarray(frame[name], float) for name in numeric]
    for name in factors:
        values = np.asarray(frame[name], dtype=object)
        columns += [(values == level).astype(float) for level in sorted(set(values))]
    x = np.column_stack(columns)
    return x, np.arange(x.shape[1]) >= len(numeric)


def pooled_covariance(x, t):
    """Deviations from the mean of the own arm, over n - 2."""
    z = np.where(t[:, None], x - x[t].mean(0), x - x[~t].mean(0))
    return z.T @ z / (len(x) - 2)


def points_of(x, covariance):
    """Points whose Euclidean distances are those of a covariance, which may be singular."""
    scale = np.sqrt(np.diag(covariance))  # dollars beside 0/1: in units of their own sd first
    inverse = np.linalg.pinv(covariance / np.outer(scale, scale), rcond=1e-12)
    values, vectors = np.linalg.eigh(inverse)
    return (x / scale) @ (vectors * np.sqrt(np.maximum(values, 0)))


def mahalanobis_points(x, t):
    """Points whose Euclidean distances are Mahalanobis distances."""
    return points_of(x, pooled_covariance(x, t))


def robust_points(x):
    """Points whose distances are the rank-based Mahalanobis distance of Rosenbaum (2010, ch. 8).

    Ranks with ties averaged; their correlation times the variance of ranks without ties.
    """
    less = (x[:, None, :] > x[None, :, :]).sum(1)
    equal = (x[:, None, :] == x[None, :, :]).sum(1)
    ranks = less + (equal + 1) / 2
    untied = np.var(np.arange(len(x)), ddof=1)
    covariance = np.corrcoef(ranks, rowvar=False) * untied
    return ranks @ np.linalg.cholesky(np.linalg.inv(covariance))


def scaled_points(x, t, of_factor):
    """Points whose distances are "scaled_euclidean"."""
    variance = np.diag(pooled_covariance(x, t)).copy()
    binary = ((x == 0) | (x == 1)).all(0) & ~of_factor
    variance[binary] *= (len(x) - 2) / len(x)
    return x / np.sqrt(variance)


def euclidean_points(x, of_factor):
    """Points whose distances are "euclidean"."""
    return x * np.where(of_factor, np.sqrt(0.5), 1)


def distances(points, focal, partners):
    """(focal, partners) Euclidean distances."""
    difference = points[focal][:, None] - points[partners][None]
    return np.sqrt((difference**2).sum(2))


def allowed(focal, partners, calipers=(), exact=()):
    """(focal, partners): whether a pair keeps calipers [(values, width)] and equals in `exact`."""
    pairs = np.ones((len(focal), len(partners)), bool)
    for values, width in calipers:
        pairs &= np.abs(values[focal][:, None] - values[partners]) <= width
    for values in exact:
        pairs &= values[focal][:, None] == values[partners]
    return pairs


def order_of(score, how):
    """Places of the focal units in the order of matching; equal scores stay as in the data."""
    if how == "data":
        return np.arange(len(score))
    return np.argsort(-score if how == "largest" else score, kind="stable")


def nearest_without_replacement(distance, order, ratio):
    """(focal, ratio) places of partners, -1 for none; `distance` is inf where not allowed."""
    free, rows = np.ones(distance.shape[1], bool), np.full((len(distance), ratio), -1)
    for k in range(ratio):
        for i in order:
            here = np.where(free, distance[i], np.inf)
            j = int(here.argmin())
            if np.isfinite(here[j]):
                rows[i, k], free[j] = j, False
    return rows


def nearest_with_replacement(distance, ratio):
    """(focal, ratio) places of the nearest partners, -1 for none."""
    rows = np.argsort(distance, axis=1, kind="stable")[:, :ratio]
    return np.where(np.isfinite(np.take_along_axis(distance, rows, axis=1)), rows, -1)


def excess(distance, rows, order, replace):
    """The most by which a partner of `rows` (focal, ratio) is farther than the nearest then free.

    Zero for every matching that is greedy, however it breaks ties; inf where a partner is not
    allowed, is used twice, or is missing though one was free.
    """
    free, found = np.ones(distance.shape[1], bool), 0.0
    own = np.ones(distance.shape, bool)
    for k in range(rows.shape[1]):
        for i in order:
            here, j = np.where(free & own[i], distance[i], np.inf), rows[i, k]
            least = here.min()
            if (j < 0 and np.isfinite(least)) or (j >= 0 and not np.isfinite(here[j])):
                return np.inf
            if j >= 0:
                found, own[i, j], free[j] = max(found, here[j] - least), False, replace
    return found


def bins_of(x, rule):
    """The number of bins of Sturges, Scott or Freedman and Diaconis (whose IQR must be above 0)."""
    n, third = len(x), len(x) ** (-1 / 3)
    if rule == "sturges":
        return ceil(log2(n) + 1)
    width = 3.49 * x.std(ddof=1) * third
    if rule == "fd":
        low, high = np.quantile(x, [0.25, 0.75])
        width = 2 * (high - low) * third
    return ceil((x.max() - x.min()) / width)


def bin_places(x, rule):
    """Each value's bin: `rule` is a word, "q5", a number of bins or a sequence of edges."""
    if isinstance(rule, str) and rule.startswith("q"):
        edges = np.quantile(x, np.arange(1, int(rule[1:])) / int(rule[1:]))
    elif isinstance(rule, str | int):
        bins = rule if isinstance(rule, int) else bins_of(x, rule)
        edges = np.linspace(x.min(), x.max(), bins + 1)[1:-1]
    else:
        edges = np.asarray(rule, float)
    return np.searchsorted(edges, x, side="right")


def cem_strata(numeric, factors, t, rules):
    """(n,) strata from 0 of units that agree in every bin and factor; -1 where an arm lacks."""
    places = [bin_places(x, rule) for x, rule in zip(numeric, rules)]
    places += [np.unique(values, return_inverse=True)[1] for values in factors]
    stratum = np.unique(np.column_stack(places), axis=0, return_inverse=True)[1].ravel()
    both = np.intersect1d(stratum[t], stratum[~t])
    return np.where(np.isin(stratum, both), stratum, -1)


def subclass_strata(score, t, subclasses, estimand="att"):
    """(n,) subclasses from 0 of the score, before any unit is moved to fill an empty one."""
    base = score[{"att": t, "atc": ~t, "ate": np.ones_like(t)}[estimand]]
    cuts = np.quantile(base, np.arange(1, subclasses) / subclasses)
    return np.searchsorted(cuts, score, side="right")


def strata_weights(stratum, t, estimand="att"):
    """(n,) weights of strata, 0 where `stratum` is -1."""
    weight = np.zeros(len(t))
    for s in np.unique(stratum[stratum >= 0]):
        here = stratum == s
        p = t[here].mean()
        treated, control = {
            "att": (1, p / (1 - p)),
            "atc": ((1 - p) / p, 1),
            "ate": (1 / p, 1 / (1 - p)),
        }[estimand]
        weight[here] = np.where(t[here], treated, control)
    for arm in (t, ~t):
        mine = arm & (weight > 0)
        weight[mine] /= weight[mine].mean()
    return weight
