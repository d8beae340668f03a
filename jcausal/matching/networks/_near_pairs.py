"""The pairs that calipers and exact columns leave, counted before they are laid out."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.matching._matching import MatchError
from jcausal.matching.networks._finders import PairFinder, PairReach, SideOfPairs, finder

HALVINGS = 12  # looks for the caliper that would fit


class PairSpace(NamedTuple):
    """Where m units stand, and which may be partners.

    - `points` (m, d): Euclidean distances between them are those of the metric.
    - `columns` (m, g): those that have calipers of their own.
    - `block` (m,): units of other blocks are never partners.
    - `reach`: how far partners may be.
    - `unit`: the distance of a caliper of 1.
    """

    points: Float[np.ndarray, "m d"]
    columns: Float[np.ndarray, "m g"]
    block: Int[np.ndarray, " m"]
    reach: PairReach
    unit: float


class PairRoom(NamedTuple):
    """What may be laid out: `max_bytes`, of which a pair takes `pair_bytes`."""

    max_bytes: int
    pair_bytes: int


class NearPairs(NamedTuple):
    """Pairs of m queries and k partners by rising query and, within it, rising partner.

    - `start` (m + 1,): query i has the pairs `start[i]` to `start[i + 1]`.
    - `partner` (e,): places among the partners; `distance` (e,): how far they are.
    - `partners`: k.
    """

    start: Int[np.ndarray, " m1"]
    partner: Int[np.ndarray, " e"]
    distance: Float[np.ndarray, " e"]
    partners: int

    @property
    def query(self) -> Int[np.ndarray, " e"]:
        """The query of each pair."""
        return np.repeat(np.arange(self.start.size - 1), np.diff(self.start))


class PairsAsked(NamedTuple):
    """Units whose pairs are asked for: `queries` (q,) and `partners` (k,), places in a space.

    With `ratio` only the pairs that a matching without replacement can need: where all queries of
    a block take `ratio` partners each, one of as many nearest is always free. None keeps all.
    """

    queries: Int[np.ndarray, " q"]
    partners: Int[np.ndarray, " k"]
    ratio: int | None = None


class BlockOfPairs(NamedTuple):
    """Queries and partners of one block: their places, who finds, how many each may need."""

    queries: Int[np.ndarray, " a"]
    partners: Int[np.ndarray, " b"]
    finder: PairFinder
    most: int


def near_pairs(space: PairSpace, ask: PairsAsked, room: PairRoom) -> NearPairs:
    """The pairs within reach.

    **Raises:** `MatchError` when they are more than there is room for, before they are laid out.
    """
    found = [(b, b.finder.pairs(b.most)) for b in blocks_within(space, ask, room)]
    none = np.zeros(0, np.int64)
    query = np.concatenate([none, *(b.queries[f.query] for b, f in found)])
    partner = np.concatenate([none, *(b.partners[f.partner] for b, f in found)])
    distance = np.concatenate([np.zeros(0), *(f.distance for _, f in found)])
    order = np.argsort(query * ask.partners.size + partner)
    start = np.searchsorted(query[order], np.arange(ask.queries.size + 1))
    return NearPairs(start, partner[order].astype(np.int32), distance[order], ask.partners.size)


def blocks_within(space: PairSpace, ask: PairsAsked, room: PairRoom) -> list[BlockOfPairs]:
    """The blocks that hold queries and partners.

    **Raises:** `MatchError` when their pairs are more than there is room for.
    """
    blocks = list(_blocks(space, ask))
    count = _count(blocks)
    if count * room.pair_bytes > room.max_bytes:
        raise MatchError(_too_many(space, ask, count, room))
    return blocks


def _blocks(space: PairSpace, ask: PairsAsked) -> Iterator[BlockOfPairs]:
    """The blocks that hold both, with places among the queries and among the partners."""
    for own, other, sides in sides_of_blocks(space, ask):
        most = other.size if ask.ratio is None else min(other.size, own.size * ask.ratio)
        yield BlockOfPairs(own, other, finder(*sides, space.reach), most)


def sides_of_blocks(
    space: PairSpace, ask: PairsAsked
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[SideOfPairs, SideOfPairs]]]:
    """Each block that holds both: who of the queries, who of the partners, and their points."""
    own_places, other_places = (
        dict(_runs(space.block[rows])) for rows in (ask.queries, ask.partners)
    )
    for name in sorted(own_places.keys() & other_places.keys()):
        own, other = own_places[name], other_places[name]
        yield own, other, (_side(space, ask.queries[own]), _side(space, ask.partners[other]))


def _runs(names: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each name with its places."""
    order = np.argsort(names, kind="stable")
    sorted_ = names[order]
    edges = np.flatnonzero(np.diff(sorted_)) + 1
    firsts = [0, *edges.tolist()] if names.size else []
    yield from zip(sorted_[firsts].tolist(), np.split(order, edges))


def _side(space: PairSpace, rows: np.ndarray) -> SideOfPairs:
    return SideOfPairs(space.points[rows], space.columns[rows])


def _count(blocks: list[BlockOfPairs]) -> int:
    return sum(int(np.minimum(b.finder.counts(), b.most).sum()) for b in blocks)


def _too_many(space: PairSpace, ask: PairsAsked, count: int, room: PairRoom) -> str:
    """How many pairs, how many bytes, and the caliper that would fit, by counting."""
    told = (
        f"{count:,} pairs would be laid out, {count * room.pair_bytes:,} bytes, and max_bytes is "
        f"{room.max_bytes:,}: "
    )
    by_column = bool(space.reach.gaps.size)
    whole = 1.0 if by_column else _widest(space) / space.unit

    def fits(caliper: float) -> bool:
        there = list(_blocks(_within(space, caliper), ask))
        return _count(there) * room.pair_bytes <= room.max_bytes

    low, high = 0.0, whole
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    fitting = _rounded_down(low)
    if fitting <= 0 or not fits(fitting):
        least = _count(list(_blocks(_within(space, 0.0), ask)))
        return told + f"even units that are alike are {least:,} pairs: raise max_bytes."
    if by_column:
        return told + f"calipers {fitting:g} times as wide would fit, or raise max_bytes."
    return told + f"caliper={fitting:g} would fit, or raise max_bytes."


def _within(space: PairSpace, caliper: float) -> PairSpace:
    """The same units under another caliper, or under their own calipers times so much."""
    if space.reach.gaps.size:
        return space._replace(reach=space.reach._replace(gaps=space.reach.gaps * caliper))
    return space._replace(reach=space.reach._replace(distance=caliper * space.unit))


def _widest(space: PairSpace) -> float:
    """A distance that no pair exceeds."""
    across = float(np.sqrt((np.ptp(space.points, axis=0) ** 2).sum()))
    return min(float(space.reach.distance), across)


def _rounded_down(value: float) -> float:
    """Two digits, rounded towards 0."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.floor(value / step) * step)
