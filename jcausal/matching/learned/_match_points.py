"""The points of a metric: distinct covariate values, or units, in an order that no row decides."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import Sample
from jcausal.matching._order import groups_of, packed_codes, value_order
from jcausal.matching.neighbors._space import columns_of

TINY = 1e-9  # of a column's variance: what is left of it beyond those before is nothing
Scaling = Literal["cholesky", "sd"]


class MatchPoints(NamedTuple):
    """m points, in the order of their covariates' values: of each all units that are alike.

    - `labels` [f]: what each column is.
    - `order` (v,): the valid rows in the order of the points, units of a point by id.
    - `place` (v,): the point of each of them.
    - `raw` (m, f): the columns in units of their standard deviation; 0 for a constant one.
    - `scaled` (m, r): coordinates, of whose squared differences a metric is a weighted sum.
    - `of_scaled` [r]: what each coordinate is.
    - `group` (m,): points of one group agree in what is matched exactly.
    - `filled`: values that stand at a mean because they are missing.
    """

    labels: list[str]
    order: Int[np.ndarray, " v"]
    place: Int[np.ndarray, " v"]
    raw: Float[np.ndarray, "m f"]
    scaled: Float[np.ndarray, "m r"]
    of_scaled: list[str]
    group: Int[np.ndarray, " m"]
    filled: int

    def added(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """The sums (m,) of values of the sample's rows over the units of each point."""
        return np.bincount(self.place, values[self.order], len(self.raw))


def match_points(
    sample: Sample,
    block: Int[np.ndarray, " n"] | None,
    scaling: Scaling,
    alike: bool,
    score: Float[np.ndarray, " n"] | None = None,
) -> MatchPoints:
    """The points of a sample's valid rows.

    `block` (n,): rows of one block agree in what is matched exactly; None for nothing of the kind.
    `alike`: units of the same covariates are one point; else each is a point of its own. `score`
    (n,) is one more column, which stands first.
    """
    rows = np.flatnonzero(np.asarray(sample.valid))
    order = rows[value_order(sample, rows)]
    place, first = np.arange(order.size), np.arange(order.size)
    if alike:
        place, first = groups_of(packed_codes(sample, order))
    table = columns_of(sample)
    labels, values = table.labels, table.values[order[first]]
    if score is not None:
        labels, values = (
            ["propensity score", *labels],
            np.column_stack([score[order[first]], values]),
        )
    raw = _standardised(values, _weights(sample, order, place, len(first)))
    scaled, kept = raw, np.flatnonzero((raw != 0).any(0))
    if scaling == "cholesky":
        scaled, kept = _uncorrelated(raw, _weights(sample, order, place, len(first)))
    return MatchPoints(
        labels,
        order,
        place,
        raw,
        scaled[:, kept],
        [labels[j] for j in kept],
        np.zeros(len(first), int) if block is None else block[order[first]],
        table.filled,
    )


def _weights(
    sample: Sample, order: Int[np.ndarray, " v"], place: Int[np.ndarray, " v"], points: int
) -> Float[np.ndarray, " m"]:
    """The share of each point in the sample's weight."""
    share = np.bincount(place, np.asarray(sample.weight, np.float64)[order], points)
    return share / share.sum()


def _standardised(
    values: Float[np.ndarray, "m f"], share: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "m f"]:
    """Columns with mean 0 and sd 1; what does not vary is 0."""
    centred = values - share @ values
    sd = np.sqrt(share @ centred**2)
    counted = values[share > 0]
    varies = counted.max(0) > counted.min(0)
    return np.where(varies, centred / np.where(varies, sd, 1), 0)


def _uncorrelated(
    raw: Float[np.ndarray, "m f"], share: Float[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, "m f"], Int[np.ndarray, " r"]]:
    """L^-1 x, L L' the correlation matrix: each column less what those before it foretell.

    And which columns are left: one that the others before it make up adds nothing.
    """
    left, kept = np.array(raw), []
    for j in range(raw.shape[1]):
        for k in kept:
            left[:, j] -= (share * left[:, k]) @ left[:, j] * left[:, k]
        variance = share @ left[:, j] ** 2
        if variance > TINY:
            left[:, j] /= np.sqrt(variance)
            kept.append(j)
    return left, np.array(kept, np.int64)


def fits_caliper(
    query: Float[np.ndarray, "a f"], partner: Float[np.ndarray, "c f"], caliper: float
) -> Bool[np.ndarray, "a c"]:
    """Which points lie within so many standard deviations of each other in every column."""
    inside = np.ones((len(query), len(partner)), bool)
    for one, other in zip(query.T, partner.T):
        inside &= np.abs(one[:, None] - other) <= caliper
    return inside
