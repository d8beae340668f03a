"""The pairs that a caliper and exact columns leave, counted before they are laid out."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.matching._matching import MatchError
from jcausal.matching.networks._finders import Finder, finder

CaliperUnit = Literal["sd", "raw"]
HALVINGS = 12  # looks for the caliper that would fit


class Space(NamedTuple):
    """Where units stand, and which may be partners.

    - `points` (n, d): Euclidean distances between them are those of the metric.
    - `block` (n,): units of other blocks are never partners.
    - `width`: the largest distance of partners, inf for any.
    - `unit`: what a caliper of 1 is in distances.
    """

    points: Float[np.ndarray, "n d"]
    block: Int[np.ndarray, " n"]
    width: float
    unit: float


class Room(NamedTuple):
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


class _Block(NamedTuple):
    """Queries and partners of one block: their places, who finds, how many each may need."""

    queries: Int[np.ndarray, " a"]
    partners: Int[np.ndarray, " b"]
    finder: Finder
    most: int


def near_pairs(
    space: Space,
    queries: Int[np.ndarray, " m"],
    partners: Int[np.ndarray, " k"],
    ratio: int | None,
    room: Room,
) -> NearPairs:
    """The pairs within the caliper, by rows of queries and of partners.

    With `ratio` only those that a matching without replacement can need: where all queries of a
    block take `ratio` partners each, one of as many nearest is always free. None keeps all.

    **Raises:** `MatchError` when they are more than there is room for, before they are laid out.
    """
    blocks = list(_blocks(space, queries, partners, ratio))
    count = _count(blocks, space.width)
    if count * room.pair_bytes > room.max_bytes:
        raise MatchError(_too_many(blocks, space, count, room))
    found = [(b, b.finder.pairs(space.width, b.most)) for b in blocks]
    none = np.zeros(0, np.int64)
    query = np.concatenate([none, *(b.queries[f.query] for b, f in found)])
    partner = np.concatenate([none, *(b.partners[f.partner] for b, f in found)])
    distance = np.concatenate([np.zeros(0), *(f.distance for _, f in found)])
    order = np.argsort(query * partners.size + partner)
    start = np.searchsorted(query[order], np.arange(queries.size + 1))
    return NearPairs(start, partner[order].astype(np.int32), distance[order], partners.size)


def _blocks(
    space: Space, queries: np.ndarray, partners: np.ndarray, ratio: int | None
) -> Iterator[_Block]:
    """The blocks that hold both, with places among the queries and among the partners."""
    places = []
    for rows in (queries, partners):
        order = np.argsort(space.block[rows], kind="stable")
        places.append(dict(_runs(space.block[rows][order], order)))
    for name in sorted(places[0].keys() & places[1].keys()):
        own, other = places[0][name], places[1][name]
        points = space.points[queries[own]], space.points[partners[other]]
        most = other.size if ratio is None else min(other.size, own.size * ratio)
        yield _Block(own, other, finder(*points), most)


def _runs(names: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each name with its part of the order."""
    edges = np.flatnonzero(np.diff(names)) + 1
    firsts = [0, *edges.tolist()] if names.size else []
    yield from zip(names[firsts].tolist(), np.split(order, edges))


def _count(blocks: list[_Block], width: float) -> int:
    return sum(int(np.minimum(b.finder.counts(width), b.most).sum()) for b in blocks)


def _too_many(blocks: list[_Block], space: Space, count: int, room: Room) -> str:
    """How many pairs, how many bytes, and the caliper that would fit, by counting."""
    low, high = 0.0, space.width
    if np.isinf(high):
        points = space.points[np.isfinite(space.points).all(1)]
        high = float(np.sqrt((np.ptp(points, axis=0) ** 2).sum()))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = _count(blocks, middle) * room.pair_bytes <= room.max_bytes
        low, high = (middle, high) if fits else (low, middle)
    told = (
        f"{count:,} pairs would be laid out, {count * room.pair_bytes:,} bytes, and max_bytes is "
        f"{room.max_bytes:,}: "
    )
    fitting = _rounded_down(low / space.unit)
    if fitting > 0 and _count(blocks, fitting * space.unit) * room.pair_bytes <= room.max_bytes:
        return told + f"caliper={fitting:g} would fit, or raise max_bytes."
    return told + f"even units that are alike are {_count(blocks, 0.0):,} pairs: raise max_bytes."


def _rounded_down(value: float) -> float:
    """Two digits, rounded towards 0."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.floor(value / step) * step)
