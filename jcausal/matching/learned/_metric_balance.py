"""How balanced the matches of many metrics are: one compiled program for a whole population.

With weights w (P, r) of the squared differences of r coordinates, all P distances between b
queries and c partners are one matrix product (P, r) x (r, b c). Operations: 2 P a c (r + f) for a
queries and f covariates; bytes: 4 (P + r) b c at a time, where b is chosen to fit.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

TIE = 1e-5  # relative: distances that differ by less are as near
FEW = 16  # columns: up to here their sums cost less than to see whether they are needed
CACHED = 2**26  # bytes of distances at a time on a CPU


class MetricSide(NamedTuple):
    """The queries of one arm and their possible partners of the other, as points.

    - `query` (a, r), `partner` (c, r): coordinates; `query_raw` (a, f), `partner_raw` (c, f): what
      is to be balanced.
    - `query_weight` (a,), `partner_weight` (c,): weights of the units of each point, 0 in padding;
      `query_square` (a,): the sum of the units' squared weights.
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
    query_square: Float[Array, " a"]
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

    `block`: queries that are looked at together; `together`: metrics of which the nearest are: on a
    CPU one after the other, whose distances stay in its cache.
    """

    ratio: int
    replace: bool
    caliper: float | None
    block: int = 1
    together: int = 1


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
    weights: Float[Array, "P r"], sides: tuple[MetricSide, ...], values: ValueOrder, rule: PairRule
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

    def more(carry: tuple[Array, Array], place: tuple[Array, Array]) -> tuple[tuple, None]:
        running, largest = carry
        point, last = place
        running += by_point[point]
        here = jnp.where(last[:, None], jnp.abs(running), 0)
        return (running, jnp.maximum(largest, here)), None

    by_point = apart.T
    none = jnp.zeros((len(values.order), len(apart)), apart.dtype)
    places = values.order.T, values.last.T
    return lax.scan(more, (none, none), places)[0][1].T


class _SideQueries(NamedTuple):
    """Some queries of a side: coordinates, columns, group, weight and squared weights."""

    at: Float[Array, "b r"]
    raw: Float[Array, "b f"]
    group: Int[Array, " b"]
    weight: Float[Array, " b"]
    square: Float[Array, " b"]


def _queries(side: MetricSide) -> _SideQueries:
    every = side.query, side.query_raw, side.query_group, side.query_weight, side.query_square
    return _SideQueries(*every)


def _allowed(query: _SideQueries, side: MetricSide, caliper: float | None) -> Bool[Array, "b c"]:
    """Who may be whose partner."""
    allowed = (query.group[:, None] == side.partner_group) & (side.partner_count > 0)
    if caliper is not None:
        for one, other in zip(query.raw.T, side.partner_raw.T):
            allowed &= jnp.abs(one[:, None] - other) <= caliper * (1 + TIE)
    return allowed


def _distances(
    weights: Float[Array, "P r"], query: _SideQueries, side: MetricSide
) -> Float[Array, "P b c"]:
    """Weighted squared differences."""
    apart = jnp.square(query.at.T[:, :, None] - side.partner.T[:, None])
    flat = jnp.matmul(weights, apart.reshape(len(apart), -1), precision=lax.Precision.HIGHEST)
    return lax.optimization_barrier(flat.reshape(len(weights), *apart.shape[1:]))


def _reach(
    distance: Float[Array, "b c"], count: Float[Array, " c"], ratio: int
) -> Float[Array, "b 1"]:
    """How far the `ratio` nearest units are, those as near as the last included."""
    reach = distance.min(1, keepdims=True)
    for _ in range(ratio - 1):
        within = distance <= reach * (1 + TIE)
        farther = jnp.where(within, jnp.inf, distance).min(1, keepdims=True)
        enough = jnp.where(within, count, 0).sum(1, keepdims=True) >= ratio
        reach = jnp.where(enough | ~jnp.isfinite(farther), reach, farther)
    return jnp.where(jnp.isfinite(reach), reach * (1 + TIE), -1)


def _shared(
    weights: Float[Array, "P r"], side: MetricSide, rule: PairRule
) -> tuple[PairSums, Float[Array, "P a"], Float[Array, "P c"]]:
    """With replacement: all of the nearest share a query's weight, by their sampling weights.

    Also the weight of each query that is matched, and what each partner carries.
    """
    columns = jnp.concatenate([jnp.ones_like(side.partner_raw[:, :1]), side.partner_raw], axis=1)
    columns = columns * side.partner_weight[:, None]

    def more(carry: tuple, query: _SideQueries) -> tuple[tuple, Array]:
        allowed = _allowed(query, side, rule.caliper)

        def one(distance: Float[Array, "b c"]) -> tuple[PairSums, Array, Array]:
            distance = jnp.where(allowed, distance, jnp.inf)
            near = distance <= _reach(distance, side.partner_count, rule.ratio)
            found = _sums_of_near(near, columns)
            near = near.astype(columns.dtype)
            own = jnp.where(found[:, 0] > 0, query.weight, 0)
            held = jnp.where(found[:, 0] > 0, found[:, 0], 1)
            gap = side.sign * (query.raw - found[:, 1:] / held[:, None])
            used = jnp.matmul((own / held)[None], near, precision=lax.Precision.HIGHEST)[0]
            return _pair_sums(own, gap, query.square), own, used

        distance = _distances(weights, query, side)
        if rule.together == 1:
            sums, own, used = lax.map(one, distance)
        else:
            sums, own, used = lax.map(one, distance, batch_size=rule.together)
        return jax.tree.map(jnp.add, carry, (sums, used)), own

    a, blocks = len(side.query), -(-len(side.query) // rule.block)
    size = blocks * rule.block
    every = _queries(side)
    cut = [jnp.pad(each, [(0, size - a), *[(0, 0)] * (each.ndim - 1)]) for each in every]
    cut = _SideQueries(*(each.reshape(blocks, rule.block, *each.shape[1:]) for each in cut))
    none = jnp.zeros((len(weights), len(side.partner)), weights.dtype)
    (sums, used), own = lax.scan(more, (_nothing(weights, side), none), cut)
    matched = own.swapaxes(0, 1).reshape(len(weights), size)[:, :a]
    return sums, matched, used * side.partner_weight


def _sums_of_near(near: Bool[Array, "b c"], columns: Float[Array, "c g"]) -> Float[Array, "b g"]:
    """Sums of columns over what is near; where that is one point each, its own columns."""

    def summed() -> Float[Array, "b g"]:
        return jnp.matmul(near.astype(columns.dtype), columns, precision=lax.Precision.HIGHEST)

    def picked() -> Float[Array, "b g"]:
        place = jnp.where(near, jnp.arange(len(columns)), len(columns)).min(1)
        there = place < len(columns)
        return jnp.where(there[:, None], columns[jnp.where(there, place, 0)], 0)

    if columns.shape[1] <= FEW:
        return summed()
    return lax.cond((near.sum(1) > 1).any(), summed, picked)


def _taken(
    weights: Float[Array, "P r"], side: MetricSide, rule: PairRule
) -> tuple[PairSums, Float[Array, "P a"], Float[Array, "P c"]]:
    """Without replacement: query by query in their order, each takes the nearest that is free."""
    c, population = len(side.partner), len(weights)
    places = jnp.arange(c, dtype=jnp.int32)
    every = _queries(side)

    def take(owner: Int[Array, "P c"], query: tuple[_SideQueries, Array]) -> tuple[Array, Array]:
        one, who = jax.tree.map(lambda each: each[None], query[0]), query[1]
        free = (owner < 0) & _allowed(one, side, rule.caliper)
        distance = jnp.where(free, _distances(weights, one, side)[:, 0], jnp.inf)
        least = distance.min(1, keepdims=True)
        near = (distance <= least * (1 + TIE)) & jnp.isfinite(least)
        chosen = jnp.where(near, places, c).min(1)
        return jnp.where(places == chosen[:, None], who, owner), chosen

    owner, rounds = jnp.full((population, c), -1, jnp.int32), []
    for _ in range(rule.ratio):
        who = jnp.arange(len(side.query), dtype=jnp.int32)
        owner, chosen = lax.scan(take, owner, (every, who))
        rounds.append(chosen.T)
    partner = jnp.append(side.partner_weight, 0)
    raw = jnp.append(side.partner_raw, jnp.zeros_like(side.partner_raw[:1]), axis=0)
    held = sum(partner[chosen] for chosen in rounds)
    own = jnp.where(held > 0, side.query_weight, 0)
    held = jnp.where(held > 0, held, 1)
    mean = sum(partner[chosen][..., None] * raw[chosen] for chosen in rounds) / held[..., None]
    gap = side.sign * (side.query_raw - mean)
    sums = jax.vmap(_pair_sums, in_axes=(0, 0, None))(own, gap, side.query_square)
    share = jnp.take_along_axis(own / held, jnp.maximum(owner, 0), axis=1)
    return sums, own, jnp.where(owner >= 0, share * side.partner_weight, 0)


def _nothing(weights: Float[Array, "P r"], side: MetricSide) -> PairSums:
    none = jnp.zeros(len(weights), weights.dtype)
    columns = jnp.zeros((len(weights), side.query_raw.shape[1]), weights.dtype)
    return PairSums(none, none, columns, columns)


def _pair_sums(
    own: Float[Array, " b"], gap: Float[Array, "b f"], square: Float[Array, " b"]
) -> PairSums:
    """Sums over some queries by one metric; `own` is 0 of one without a partner."""
    weighted = own[:, None] * gap
    second = (weighted * gap).sum(0)
    return PairSums(own.sum(), jnp.where(own > 0, square, 0).sum(), weighted.sum(0), second)


def pair_rule(
    rule: PairRule, population: int, cells: tuple[int, int, int], max_bytes: int
) -> PairRule:
    """The rule with blocks that fit: `cells` is (a, c, r) of the larger side."""
    queries, partners, columns = cells
    on_cpu = jax.default_backend() == "cpu"
    room = min(max_bytes, CACHED) if on_cpu else max_bytes
    block = room // max(4 * partners * ((1 if on_cpu else 3) * population + columns), 1)
    block = int(np.clip(block, 1, max(queries, 1)))
    return rule._replace(block=block, together=1 if on_cpu else population)
