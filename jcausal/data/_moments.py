"""Weighted mean and standard deviation of columns."""

from typing import Any

from jaxtyping import Shaped

from jcausal.data._host import Values

EPS = 16  # rounding errors of the largest value, within which a column is constant


def weighted_moments(
    lib: Any, values: Shaped[Values, "n *d"], weight: Shaped[Values, "n *a"]
) -> tuple[Any, Any]:
    """Weighted mean and sd of each column; sd 0 for a constant one, both 0 without weight.

    `weight` (n, 1), or one of the columns' shape; rows of weight 0 may hold anything.
    """
    total = weight.sum(0)
    share = weight / lib.where(total > 0, total, 1)
    inside = lib.where(weight > 0, values, 0)
    mean = (share * inside).sum(0)
    sd = lib.sqrt((share * lib.square(inside - mean)).sum(0))
    return mean, lib.where(sd > EPS * lib.finfo(sd.dtype).eps * lib.abs(inside).max(0), sd, 0)
