"""Groups as tables: the members of one, and effects along a covariate with the groups' bounds."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import Sample, beside_covariates, check_kind, check_place, like
from jcausal.effects import Effects, cate_frame, group_codes
from jcausal.matching import Matching, group_bounds, ordered_place

VALUES = 20  # distinct values of a covariate, up to which each has a row


def group_table(found: Effects | Matching, i: int) -> Any:
    """The i-th query's group, one row a unit: itself first, then the other arm, then its own.

    In each arm those come first that weigh most; of equal weights those most like the query, by the
    sum over covariates of |difference| over the sample's sd (1 where levels differ, or one of two
    is missing).

    **Arguments:** `found`: effects, or a matching; `i` the place of a query, as in `to_frame()`
    of a matching made outside jit.

    **Returns:** a frame of the kind that the sample was read from: id, query (whose group it is),
    treated, weight (adding up to 1 in each arm), outcome where the sample has one, and the
    covariates. A query that is a point has no row.

    **Raises:** ValueError for other objects, IndexError for a query that there is not.

    **Source:** table 9 of Morucci et al. (2020), "Adaptive Hyper-box Matching".

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.NearestNeighbors())
        >>> jc.reports.group_table(effects, 0)["treated"].tolist()
        [1, 0]
    """
    matching = found.matching if isinstance(found, Effects) else found
    check_kind(matching, Matching, "group_table", "pass what jc.estimate or jc.match returns")
    i = check_place(i, len(matching.query), "query")
    sample, own = matching.sample, int(np.asarray(matching.query)[i])
    rows, weight = members(matching, i)
    columns: dict[str, Any] = dict(
        id=sample.id[rows], query=rows == own, treated=np.asarray(sample.t)[rows].astype(int)
    )
    columns["weight"] = weight
    if sample.y is not None:
        columns["outcome"] = np.asarray(sample.y)[rows]
    return like(sample.home, beside_covariates(columns, sample.schema, sample.points[rows]))


def members(
    matching: Matching, i: int, scale: Float[np.ndarray, " p"] | None = None
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Rows of a query's group, itself first where it is a row, and their weights.

    Ordered as `group_table` says. `scale`: of the covariates, where it is at hand.
    """
    scale = scale_of(matching.sample) if scale is None else scale
    own = int(np.asarray(matching.query)[i])
    rows, weight = (np.asarray(a) for a in matching.group(i))
    weight, arm = weight.astype(np.float64), np.asarray(matching.sample.t)
    if own >= 0:
        at = np.flatnonzero(rows == own)
        held = weight[at[0]] if at.size else 0.0  # in no group of its own: it weighs nothing there
        rest = rows != own
        rows, weight = np.r_[own, rows[rest]], np.r_[held, weight[rest]]
        away = _distance(matching.sample, own, rows, scale)
        same = arm[rows] == arm[own]
        order = np.lexsort((*_ties(matching.sample, rows), away, -weight.round(12), same))
        order = np.r_[0, order[order != 0]]
    else:
        order = np.lexsort((*_ties(matching.sample, rows), -weight.round(12), arm[rows]))
    return rows[order], weight[order]


def _ties(sample: Sample, rows: Int[np.ndarray, " m"]) -> list[np.ndarray]:
    """What orders equals, the last deciding first: the rows' names, then their covariates."""
    return [*np.asarray(sample.row)[rows].T[::-1], *sample.points[rows].T[::-1]]


def _distance(
    sample: Sample, own: int, rows: Int[np.ndarray, " m"], scale: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " m"]:
    """How unlike each row is to one of them."""
    schema, points = sample.schema, sample.points
    gap = np.abs(points[rows] - points[own]) / scale
    gap[:, schema.categories] = points[rows][:, schema.categories] != points[own, schema.categories]
    return np.nan_to_num(gap, nan=1.0).sum(1)


def scale_of(sample: Sample) -> Float[np.ndarray, " p"]:
    """The sd of each covariate over the rows that count and have it; 1 where it has none."""
    points = sample.points[np.asarray(sample.valid)]
    known = ~np.isnan(points)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, points, 0).sum(0) / count
    sd = np.sqrt(np.where(known, (points - mean) ** 2, 0).sum(0) / count)
    return np.where(sd > 0, sd, 1)


def bounds_table(effects: Effects, covariate: str) -> Any:
    """Mean effect by a covariate, and the bounds that most groups of a row have there.

    A covariate of at most 20 values among the queries has a row a value, another one of each of its
    quartiles. A group's bounds are the edges of its box; of groups that are no boxes the least and
    the largest value in it. The bounds of a row are the pair that most of its groups have; of
    equally many the narrowest.

    **Arguments:** `covariate`: the name of a number or a binary.

    **Returns:** a frame of the kind that the sample was read from: group, queries, matched, effect,
    box_lower, box_upper (NaN without a match, or where a group holds only missing values) and
    share, of the matched whose groups have just these bounds.

    **Raises:** ValueError for an unknown name, and for a category, which has no bounds.

    **Source:** table 8 of Morucci et al. (2020), "Adaptive Hyper-box Matching".

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("experiment"), jc.CEM(bins=4))
        >>> list(jc.reports.bounds_table(effects, "education").columns[-3:])
        ['box_lower', 'box_upper', 'share']
    """
    check_kind(effects, Effects, "bounds_table", "pass what jc.estimate returns")
    sample, matching = effects.sample, effects.matching
    j = ordered_place(sample, covariate)
    values = _values(effects, j)
    by = covariate if values is None else values
    table, codes = cate_frame(effects, by), np.asarray(group_codes(effects, by)[0])
    lower, upper = group_bounds(matching, j)
    matched = np.asarray(effects.matched)
    rows = [_mode(lower[use], upper[use]) for use in (matched & (codes == g) for g in table.index)]
    table[["box_lower", "box_upper", "share"]] = np.array(rows).reshape(-1, 3)
    return like(sample.home, table)


def _values(effects: Effects, j: int) -> Float[np.ndarray, " n"] | None:
    """The values themselves where the queries have few; None: cut at the quartiles."""
    query = np.asarray(effects.matching.query)[np.asarray(effects.matching.asked)]
    values = effects.sample.points[:, j]
    seen = values[query[query >= 0]]
    return values if np.unique(seen[~np.isnan(seen)]).size <= VALUES else None


def _mode(
    lower: Float[np.ndarray, " m"], upper: Float[np.ndarray, " m"]
) -> tuple[float, float, float]:
    """The pair of bounds that occurs most, and its share; of equals the narrowest, then lowest."""
    known = ~np.isnan(lower)
    if not known.any():
        return np.nan, np.nan, np.nan
    pairs, count = np.unique(np.stack([lower, upper], 1)[known], axis=0, return_counts=True)
    best = np.lexsort((pairs[:, 0], pairs[:, 1] - pairs[:, 0], -count))[0]
    return float(pairs[best, 0]), float(pairs[best, 1]), float(count[best] / lower.size)
