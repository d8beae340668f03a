"""Matched sets: the groups of a matching where these are the same or share no unit."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

DIGIT = 1024  # numbers below it keep their value through sums in float32


def sets_one_by_one(
    n: int, groups: Iterable[Int[np.ndarray, " m"]]
) -> Int[np.ndarray, " n"] | None:
    """The set of each of n units, -1 for none, from the members of each group; None if they mix."""
    label, sizes = np.full(n, -1), []
    for members in groups:
        found = np.unique(label[members])
        if found.size > 1 or (found[0] >= 0 and sizes[found[0]] != members.size):
            return None
        if found[0] < 0:
            label[members] = len(sizes)
            sizes.append(members.size)
    return label


def sets_with_queries(
    label: Int[np.ndarray, " n"], query: Int[np.ndarray, " q"], own: Int[np.ndarray, " q"]
) -> Int[np.ndarray, " n"] | None:
    """Labels of units with each query's row in its own set, numbered from 0; None if they mix."""
    rows, own = query[query >= 0], own[query >= 0]
    label = label.copy()
    before = label[rows]
    label[rows] = own
    if ((before >= 0) & (before != own)).any() or (label[rows] != own).any():
        return None
    held, place = np.unique(label, return_inverse=True)
    return place.ravel() - int((held < 0).any())


def in_digits(numbers: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m 3"]:
    """1, and two digits of each number, none of them too large for a sum in float32."""
    high, low = np.divmod(numbers, DIGIT)
    return np.stack([np.ones(numbers.size), high, low], axis=1)


def of_digits(weighted: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
    """The numbers again from their digits times weights; -1 where the weight is 0."""
    weight = weighted[:, 0]
    high, low = np.rint(weighted[:, 1:] / np.where(weight != 0, weight, 1)[:, None]).T
    return np.where(weight != 0, high * DIGIT + low, -1).astype(int)
