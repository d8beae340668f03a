"""How far groups reach in one covariate."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jcausal.data import Sample
from jcausal.matching._matching import Matching


class GroupBounds(NamedTuple):
    """The least and the largest value of each group (q,); NaN without a match or a known value."""

    lower: Float[np.ndarray, " q"]
    upper: Float[np.ndarray, " q"]


def ordered_place(sample: Sample, covariate: str) -> int:
    """The column of a covariate that has an order.

    **Raises:** ValueError for another.
    """
    schema = sample.schema
    if covariate not in schema.names:
        raise ValueError(
            f"there is no covariate {covariate!r}: they are {', '.join(schema.names)}."
        )
    j = schema.names.index(covariate)
    if schema.kinds[j] == "category":
        raise ValueError(
            f"{covariate!r} is a category, whose levels have no order and no bounds: "
            f"effects.cate({covariate!r}) is the table of its levels."
        )
    return j


def group_bounds(matching: Matching, j: int) -> GroupBounds:
    """The edges of boxes in a covariate; of other groups the least and the largest value."""
    edges, matched = matching.edges(), np.asarray(matching.matched)
    if edges is not None:
        lower, upper = (np.where(matched, np.asarray(a)[:, j], np.nan) for a in edges[:2])
        return GroupBounds(lower, upper)
    ends = np.full((2, matched.size), np.nan)
    values = matching.sample.points[:, j]
    for i in np.flatnonzero(matched):
        held = values[np.asarray(matching.group(int(i))[0])]
        held = held[~np.isnan(held)]
        if held.size:
            ends[:, i] = held.min(), held.max()
    return GroupBounds(ends[0], ends[1])
