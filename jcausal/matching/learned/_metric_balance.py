"""How balanced the matches of many metrics are: one compiled program for a whole population.

With weights w (P, r) of the squared differences of r coordinates, all P distances between b
queries and c partners are one matrix product (P, r) x (r, b c). Operations: 2 P a c (r + f) for a
queries and f covariates; bytes: about 12 P b c + 4 r b c at a time, where b is chosen to fit.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

TIE = 1e-5  # relative: distances that differ by less are as near


class Side(NamedTuple):
    """The queries of one arm and their possible partners of the other, as points.

    - `query` (a, r), `partner` (c, r): coordinates; `query_raw` (a, f), `partner_raw` (c, f): what
      is to be balanced.
    - `query_weight` (a,), `partner_weight` (c,): weights of the units of each point, 0 in padding.
    - `partner_count` (c,): units of each point that may be partners.
    - `query_group` (a,), `partner_group` (c,): partners are of the same group.
    - `query_of` (m,), `partner_of` (m,): the place of each of all m points here, a or c for none.
    - `sign`: 1 where the queries are the treated, else -1.
    """

    query: Float[Array, "a r"]
    partner: Float[Array, "c r"]
    query_raw: Float[Array, "a f"]
    partner_raw: Float[Array, "c f"]
    query_weight: Float[Array, " a"]
    partner_weight: Float[Array, " c"]
    partner_count: Float[Array, " c"]
    query_group: Int[Array, " a"]
    partner_group: Int[Array, " c"]
    query_of: Int[Array, " m"]
    partner_of: Int[Array, " m"]
    sign: Float[Array, ""]


class ValueOrder(NamedTuple):
    """All m points sorted by each of f columns.

    `order` (f, m); `last` (f, m): the last of those of one value.
    """

    order: Int[Array, "f m"]
    last: Bool[Array, "f m"]


class PairRule(NamedTuple):
    """Who may be whose partner: `ratio` each, with or without replacement, in a caliper in sd.

    `block`: queries that are looked at together.
    """

    ratio: int
    replace: bool
    caliper: float | None
    block: int


class PairSums(NamedTuple):
    """Of each of P metrics, with d = treated - control of a matched query (d is a column's).

    - `weight` (P,), `square` (P,): sums of the matched queries' weights w and of w^2.
    - `mean` (P, f), `second` (P, f): sums of w d and w d^2.
    """

    weight: Float[Array, " P"]
    square: Float[Array, " P"]
    mean: Float[Array, "P f"]
    second: Float[Array, "P f"]


@eqx.filter_jit
def population_balance(
    weights: Float[Array, "P r"], sides: tuple[Side, ...], values: ValueOrder, rule: PairRule
) -> tuple[PairSums, Float[Array, "P f"]]:
    """Sums of paired differences, and the largest distance between both arms' distributions."""
    parts, apart = [], []
    for side in sides:
        sums, matched, used = (_shared if rule.replace else _taken)(weights, side, rule)
        parts.append(sums)
        none = jnp.zeros((len(weights), 1), matched.dtype)
        here, there = (jnp.concatenate([part, none], axis=1) for part in (matched, used))
        apart.append(side.sign * (here[:, side.query_of] - there[:, side.partner_of]))
    sums = jax.tree.map(lambda *each: sum(each), *parts)
    total = jnp.where(sums.weight > 0, sums.weight, 1)[:, None]
    return sums, _largest_gaps(sum(apart) / total, values)


def _largest_gaps(apart: Float[Array, "P m"], values: ValueOrder) -> Float[Array, "P f"]:
    """The largest |F_treated - F_control| of each column, from the points' signed weights."""

    def one(column: tuple[Array, Array]) -> Array:
        order, last = column
        running = jnp.cumsum(apart[:, order], axis=1)
        return jnp.where(last, jnp.abs(running), 0).max(1)

    return lax.map(one, (values.order, values.last)).T


def _distances(
    weights: Float[Array, "P r"],
    side: Side,
    query: tuple[Float[Array, "b r"], Float[Array, "b f"], Int[Array, " b"]],
    caliper: float | None,
) -> Float[Array, "P b c"]:
    """Weighted squared differences; infinite where a pair is not allowed."""
    coordinates, raw, group = query
    apart = jnp.square(coordinates.T[:, :, None] - side.partner.T[:, None])
    flat = jnp.matmul(weights, apart.reshape(len(apart), -1), precision=lax.Precision.HIGHEST)
    allowed = (group[:, None] == side.partner_group) & (side.partner_count > 0)
    if caliper is not None:
        for one, other in zip(raw.T, side.partner_raw.T):
            allowed &= jnp.abs(one[:, None] - other) <= caliper * (1 + TIE)
    return jnp.where(allowed, flat.reshape(len(weights), *allowed.shape), jnp.inf)


def _reach(
    distance: Float[Array, "P b c"], count: Float[Array, " c"], ratio: int
) -> Float[Array, "P b 1"]:
    """How far the `ratio` nearest units are, those as near as the last included."""
    reach = distance.min(2, keepdims=True)
    for _ in range(ratio - 1):
        within = distance <= reach * (1 + TIE)
        farther = jnp.where(within, jnp.inf, distance).min(2, keepdims=True)
        enough = jnp.where(within, count, 0).sum(2, keepdims=True) >= ratio
        reach = jnp.where(enough | ~jnp.isfinite(farther), reach, farther)
    return jnp.where(jnp.isfinite(reach), reach * (1 + TIE), -1)


def _shared(
    weights: Float[Array, "P r"], side: Side, rule: PairRule
) -> tuple[PairSums, Float[Array, "P a"], Float[Array, "P c"]]:
    """With replacement: all of the nearest share a query's weight, by their sampling weights.

    Also the weight of each query that is matched, and what each partner carries.
    """
    columns = jnp.concatenate([jnp.ones_like(side.partner_raw[:, :1]), side.partner_raw], axis=1)
    columns = columns * side.partner_weight[:, None]

    def more(carry: tuple, block: tuple) -> tuple[tuple, Array]:
        sums, used = carry
        coordinates, raw, group, own = block
        distance = _distances(weights, side, (coordinates, raw, group), rule.caliper)
        near = distance <= _reach(distance, side.partner_count, rule.ratio)
        near = near.astype(raw.dtype)
        found = jnp.matmul(near, columns, precision=lax.Precision.HIGHEST)
        held, own = found[..., 0], jnp.where(found[..., 0] > 0, own, 0)
        held = jnp.where(held > 0, held, 1)
        gap = side.sign * (raw - found[..., 1:] / held[..., None])
        used += jnp.matmul((own / held)[:, None], near, precision=lax.Precision.HIGHEST)[:, 0]
        return (_with(sums, own, gap), used), own

    a, blocks = len(side.query), -(-len(side.query) // rule.block)
    per_query = (side.query, side.query_raw, side.query_group, side.query_weight)
    size = blocks * rule.block
    cut = [jnp.pad(each, [(0, size - a), *[(0, 0)] * (each.ndim - 1)]) for each in per_query]
    cut = tuple(each.reshape(blocks, rule.block, *each.shape[1:]) for each in cut)
    start = _nothing(weights, side), jnp.zeros((len(weights), len(side.partner)), weights.dtype)
    (sums, used), own = lax.scan(more, start, cut)
    matched = own.swapaxes(0, 1).reshape(len(weights), size)[:, :a]
    return sums, matched, used * side.partner_weight


def _taken(
    weights: Float[Array, "P r"], side: Side, rule: PairRule
) -> tuple[PairSums, Float[Array, "P a"], Float[Array, "P c"]]:
    """Without replacement: query by query in their order, each takes the nearest that is free."""
    c, population = len(side.partner), len(weights)
    places = jnp.arange(c, dtype=jnp.int32)
    queries = jnp.arange(len(side.query), dtype=jnp.int32)

    def take(owner: Int[Array, "P c"], query: tuple) -> tuple[Array, Array]:
        coordinates, raw, group, who = query
        one = coordinates[None], raw[None], group[None]
        distance = _distances(weights, side, one, rule.caliper)[:, 0]
        distance = jnp.where(owner < 0, distance, jnp.inf)
        least = distance.min(1, keepdims=True)
        near = (distance <= least * (1 + TIE)) & jnp.isfinite(least)
        chosen = jnp.where(near, places, c).min(1)
        return jnp.where(places == chosen[:, None], who, owner), chosen

    owner, rounds = jnp.full((population, c), -1, jnp.int32), []
    for _ in range(rule.ratio):
        asked = side.query, side.query_raw, side.query_group, queries
        owner, chosen = lax.scan(take, owner, asked)
        rounds.append(chosen.T)
    partner = jnp.append(side.partner_weight, 0)
    raw = jnp.append(side.partner_raw, jnp.zeros_like(side.partner_raw[:1]), axis=0)
    held = sum(partner[chosen] for chosen in rounds)
    own = jnp.where(held > 0, side.query_weight, 0)
    held = jnp.where(held > 0, held, 1)
    mean = sum(partner[chosen][..., None] * raw[chosen] for chosen in rounds) / held[..., None]
    sums = _with(_nothing(weights, side), own, side.sign * (side.query_raw - mean))
    share = jnp.take_along_axis(own / held, jnp.maximum(owner, 0), axis=1)
    return sums, own, jnp.where(owner >= 0, share * side.partner_weight, 0)


def _nothing(weights: Float[Array, "P r"], side: Side) -> PairSums:
    none = jnp.zeros(len(weights), weights.dtype)
    columns = jnp.zeros((len(weights), side.query_raw.shape[1]), weights.dtype)
    return PairSums(none, none, columns, columns)


def _with(sums: PairSums, own: Float[Array, "P b"], gap: Float[Array, "P b f"]) -> PairSums:
    """The sums and those of some more queries."""
    weighted = own[..., None] * gap
    return PairSums(
        sums.weight + own.sum(1),
        sums.square + jnp.square(own).sum(1),
        sums.mean + weighted.sum(1),
        sums.second + (weighted * gap).sum(1),
    )


def block_size(population: int, side: tuple[int, int], columns: int, max_bytes: int) -> int:
    """How many of a queries are looked at together, given (a, c) and the columns of a point."""
    queries, partners = side
    one = 4 * partners * (3 * population + 2 * columns)
    return int(np.clip(max_bytes // max(one, 1), 1, max(queries, 1)))
