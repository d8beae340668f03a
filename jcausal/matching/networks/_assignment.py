"""As many pairs as can be, of the least total distance: an assignment on sparse pairs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from jcausal.matching.networks._finders import OnLine
from jcausal.matching.networks._line_matching import least_total_on_line
from jcausal.matching.networks._near_pairs import (
    NearPairs,
    PairRoom,
    PairsAsked,
    PairSpace,
    blocks_within,
    near_pairs,
)

FOUND_BYTES, COPY_BYTES = 72, 32  # what a pair takes as it is found; each copy of it in solving
LINE_BYTES = 8  # what each copy takes on a line
EXACT = 2.0**52  # float64 adds whole numbers up to here without rounding


class BestPartners(NamedTuple):
    """Whom each of m queries is given, and whether any partner was near enough to it.

    - `place` (m, r): places among the partners, nearest first, -1 where there is none.
    - `near` (m,).
    """

    place: Int[np.ndarray, "m r"]
    near: Bool[np.ndarray, " m"]


def best_partners(space: PairSpace, ask: PairsAsked, ratio: int, max_bytes: int) -> BestPartners:
    """Up to `ratio` partners of each query, none taken twice: most pairs, then least total.

    On a line without calipers by column the pairs need not be laid out.

    **Raises:** `MatchError` when pairs take more than `max_bytes`.
    """
    ask = ask._replace(ratio=ratio)
    if space.points.shape[1] > 1 or space.reach.gaps.size:
        room = PairRoom(max_bytes, FOUND_BYTES + COPY_BYTES * ratio)
        pairs = near_pairs(space, ask, room)
        return BestPartners(least_total(pairs, ratio), np.diff(pairs.start) > 0)
    place, near = np.full((ask.queries.size, ratio), -1), np.zeros(ask.queries.size, bool)
    for block in blocks_within(space, ask, PairRoom(max_bytes, LINE_BYTES * ratio)):
        assert isinstance(block.finder, OnLine)
        found = least_total_on_line(block.finder, ratio, block.most)
        place[block.queries] = np.where(found < 0, -1, block.partners[found])
        near[block.queries] = block.finder.counts() > 0
    return BestPartners(place, near)


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
