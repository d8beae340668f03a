"""As many pairs as can be, of the least total distance: an assignment on sparse pairs."""

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from jcausal.matching.networks._near_pairs import NearPairs

FOUND_BYTES, SOLVED_BYTES = (
    64,
    24,
)  # what a pair takes while it is found; each copy of it in solving
EXACT = 2.0**52  # float64 adds whole numbers up to here without rounding


def bytes_a_pair(ratio: int) -> int:
    """The most that a pair takes at any time."""
    return FOUND_BYTES + SOLVED_BYTES * ratio


def least_total(pairs: NearPairs, ratio: int) -> Int[np.ndarray, "m r"]:
    """Up to `ratio` partners of each query, by place, nearest first; -1 where there is none.

    No partner is taken twice. As many pairs are made as can be, among those with as many queries
    matched as can be, and among those with the least total distance.

    Each query stands `ratio` times, each time with an empty place of its own; an empty place costs
    more than all distances together, and one of a query's first more than that of a later. So all
    find a place, and the least total tells. Costs are whole numbers, of which float64 rounds no
    sum: a distance is off by at most half a unit, which for a million queries is under 2^-27 of the
    largest, for two thousand under 2^-36.

    **Source:** Rosenbaum (1989), JASA 84; solved by Jonker and Volgenant's LAPJVsp (1987),
    Computing 38, as SciPy has it.
    """
    place = np.full((pairs.start.size - 1, ratio), -1)
    near = np.flatnonzero(np.diff(pairs.start))
    if near.size:
        start = np.append(pairs.start[near], pairs.start[-1])
        place[near] = _assigned(pairs._replace(start=start), ratio)
    return _nearest_first(pairs, place)


def _assigned(pairs: NearPairs, ratio: int) -> Int[np.ndarray, "m r"]:
    """The partners of queries that have some near them all (LAPJVsp asks for two places each)."""
    queries = pairs.start.size - 1
    cost = whole_costs(pairs.distance, queries * ratio)
    every = (cost.max() + 1) * queries * ratio
    copies = [_with_empty(pairs, cost, every * (2 if c == 0 else 1)) for c in range(ratio)]
    count = np.tile(np.diff(pairs.start) + 1, ratio)
    start = np.concatenate([[0], np.cumsum(count)])
    column = np.concatenate([_columns(pairs, c * queries) for c in range(ratio)])
    shape = queries * ratio, pairs.partners + queries * ratio
    matrix = csr_array((np.concatenate(copies), column, start), shape=shape)
    place = min_weight_full_bipartite_matching(matrix)[1]
    return np.where(place < pairs.partners, place, -1).reshape(ratio, queries).T


def whole_costs(distance: np.ndarray, terms: int) -> np.ndarray:
    """Distances as whole numbers from 0, held as floats: sums of so many terms are exact."""
    largest = distance.max(initial=0)
    if largest == 0:
        return np.zeros(distance.size)
    units = 2.0 ** np.floor(np.log2(EXACT / (16 * max(terms, 1))))
    return np.rint(distance / largest * min(units, 2.0**40))


def _with_empty(pairs: NearPairs, cost: np.ndarray, empty: float) -> np.ndarray:
    """Each query's costs, then that of its empty place; from 1, since 0 would be no entry."""
    return np.insert(cost, pairs.start[1:], empty) + 1


def _columns(pairs: NearPairs, first: int) -> np.ndarray:
    """Each query's partners, then its empty place."""
    empty = pairs.partners + first + np.arange(pairs.start.size - 1)
    return np.insert(pairs.partner, pairs.start[1:], empty.astype(np.int32))


def _nearest_first(pairs: NearPairs, place: Int[np.ndarray, "m r"]) -> Int[np.ndarray, "m r"]:
    """The partners of each query by distance, then by place; none last."""
    if place.shape[1] == 1:
        return place
    key = pairs.query * np.int64(pairs.partners) + pairs.partner
    wanted = np.arange(place.shape[0])[:, None] * np.int64(pairs.partners) + place
    at = np.minimum(np.searchsorted(key, wanted), key.size - 1)
    distance = np.where(place < 0, np.inf, pairs.distance[at] if key.size else np.inf)
    order = np.lexsort((np.where(place < 0, pairs.partners, place), distance), axis=1)
    return np.take_along_axis(place, order, axis=1)
