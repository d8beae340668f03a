"""Bins of every covariate's marginal, and of pairs of covariates."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import Sample


class MarginalBins(NamedTuple):
    """The bins that units are counted in.

    - `cell` (n, k): of each of k marginals the bin that a row is in, numbered over all marginals.
    - `cells`: how many there are in all.
    """

    cell: Int[np.ndarray, "n k"]
    cells: int


def marginal_bins(
    sample: Sample, focal: Int[np.ndarray, " a"], bins: int, pairs: bool
) -> MarginalBins:
    """Bins of each covariate, and with `pairs` of each two besides.

    A number of more than `bins` values is cut at the quantiles k / `bins` of the rows `focal`, a
    quantile's own value below it; one of fewer, and a category, has a bin for each value. Missing
    is a bin of its own. Marginals of one bin are left out.
    """
    points, category = sample.points, sample.schema.categories
    valid = np.asarray(sample.valid)
    columns = [
        _binned(points[:, j], focal, valid, points.shape[0] if j in category else bins)
        for j in range(points.shape[1])
    ]
    columns = [column for column in columns if column[valid].max(initial=0) > 0]
    if pairs:
        joint = [a * (b[valid].max() + 1) + b for a, b in combinations(columns, 2)]
        columns = columns + [np.unique(each, return_inverse=True)[1] for each in joint]
    start, out = 0, []
    for column in columns:
        out.append(start + column)
        start += int(column.max(initial=0)) + 1
    cell = np.stack(out, axis=1) if out else np.zeros((sample.n, 0))
    return MarginalBins(cell.astype(np.int32), start)


def _binned(
    values: Float[np.ndarray, " n"],
    focal: Int[np.ndarray, " a"],
    valid: np.ndarray,
    bins: int,
) -> Int[np.ndarray, " n"]:
    """The bin of each value, from 0; rows that are not valid are in the first."""
    known = values[valid & ~np.isnan(values)]
    distinct = np.unique(known)
    cuts = distinct[:-1]
    if distinct.size > bins:
        mine = values[focal]
        mine = mine[~np.isnan(mine)]
        cuts = np.unique(np.quantile(mine if mine.size else known, np.arange(1, bins) / bins))
    found = np.searchsorted(cuts, values)
    found = np.where(np.isnan(values), cuts.size + 1, found)
    return np.unique(np.where(valid, found, found[valid].min()), return_inverse=True)[1]
