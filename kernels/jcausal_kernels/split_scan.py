"""The best threshold of every covariate in every node of a tree, in one pass over the units.

(1) Formula, shapes, cost
    A cut at code c of covariate j parts the units T of a node in L = {codes[k, j] <= c} and R. With
    weights w, W(T) = sum w and sd(T) the weighted standard deviation of y (divided by W),
    score[k, j] = max_c sd(T) - (W(L) sd(L) + W(R) sd(R)) / W(T)
    over the cuts that leave `minimum` units and more on either side. Reductions are compared as
    shares of sd(T) rounded to 1/2^30 (float32: 1/2^16): of equal ones the lowest code is taken, so
    that neither rounding nor row order decides.
n units, p covariates of r values, k nodes. Outcomes are centred in each node before squaring.
Histogram (r values): n p additions of 3 or 4 columns, then 20 k p r operations; 32 k p r bytes, or
256 MB where that is more than 256 MB, for some covariates at a time.
Sorted (any number of values): a sort of n units for each covariate unless `order` is given, and two
segmented scans, about 40 n p operations; 80 n p bytes. Steps (the same, all covariates of a
position at once, one position after the other): 90,000 x 20 in 24 nodes .07 s where the segmented
scans take .22 (float64, 2 cores).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal_kernels.segments import segmented_scan

Implementation = Literal["auto", "reference", "histogram", "sorted", "steps"]
FEW_RUNGS = 256  # up to here histograms are quicker on a CPU
BLOCK = 1024  # units that are looked at together where sums are products
SHORT = 2**10  # float32 numbers that are added up one by one
BYTES = 2**28  # of histograms that are made together
WINDOWS = 256  # units that are added up at a time where all covariates of a unit are one window


class Splits(NamedTuple):
    """The best cut of each covariate in each node: left are the units with codes <= `cut`.

    `score` (k, p) in outcome units, -inf where no cut reduces the spread; `level` (k, p) the share
    of sd that it takes off, rounded, 0 where none; `above` (k, p) the lowest code on the right;
    `sd` (k,) of the node.
    """

    score: Float[Array, "k p"]
    level: Float[Array, "k p"]
    cut: Int[Array, "k p"]
    above: Int[Array, "k p"]
    sd: Float[Array, " k"]


class _Node(NamedTuple):
    """Sums over a node or a side of it: units, weight, w y, w y^2, with y centred."""

    units: Array
    weight: Array
    first: Array
    second: Array

    @property
    def sd(self) -> Array:
        return _spread(self.weight, self.first, self.second)


def _spread(weight: Array, first: Array, second: Array) -> Array:
    """Standard deviation from sums; 0 without weight."""
    safe = jnp.where(weight > 0, weight, 1)
    return jnp.sqrt(jnp.maximum(second / safe - jnp.square(first / safe), 0))


def steps_of(dtype: jnp.dtype) -> int:
    """In how many steps reductions are told apart."""
    return 2**30 if dtype == jnp.float64 else 2**16


def _level(node: _Node, side: _Node, minimum: Array) -> Array:
    """The rounded share of sd that a cut takes off; 0 where a side is too small."""
    rest = _Node(*(whole - part for whole, part in zip(node, side)))
    kept = side.weight * side.sd + rest.weight * rest.sd
    sd, weight, count = node.sd, node.weight, side.units
    share = 1 - kept / jnp.where(weight > 0, weight, 1) / jnp.where(sd > 0, sd, 1)
    able = (count >= minimum) & (node.units - count >= minimum) & (sd > 0)
    steps = steps_of(share.dtype)
    return jnp.where(able, jnp.maximum(jnp.round(share * steps), 0), 0) / steps


def _columns(node: Array, y: Array, weight: Array | None, nodes: int) -> tuple[Array, Array]:
    """Columns 1, w, w y, w y^2 of each unit (without the second if w is 1), and their node sums.

    y is centred in each node; units of no node are 0.
    """
    inside = (node >= 0) & (node < nodes)
    one = inside.astype(y.dtype)
    w = one if weight is None else jnp.where(inside, weight, 0)
    place = jnp.where(inside, node, nodes)
    totals = _by_node(jnp.stack([w, w * jnp.where(inside, y, 0)], axis=1), place, nodes)
    mean = totals[:, 1] / jnp.where(totals[:, 0] > 0, totals[:, 0], 1)
    centred = jnp.where(inside, y - jnp.pad(mean, (0, 1))[place], 0)
    parts = [w, w * centred, w * centred**2]
    columns = jnp.stack(parts if weight is None else [one, *parts], axis=1)
    return columns, _by_node(columns, place, nodes)


def _by_node(columns: Array, place: Array, nodes: int) -> Array:
    """Sums by node: by one pass on a CPU, elsewhere by products with the members of each node."""

    def scatter(columns: Array, place: Array) -> Array:
        return _in_parts(columns, place, nodes + 1)[:nodes]

    def members(columns: Array, place: Array) -> Array:
        more = -place.shape[0] % BLOCK
        place = jnp.pad(place, (0, more), constant_values=nodes).reshape(-1, BLOCK)
        columns = jnp.pad(columns, [(0, more), (0, 0)]).reshape(-1, BLOCK, columns.shape[1])

        def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
            one = (at[0] == jnp.arange(nodes)[:, None]).astype(columns.dtype)
            return total + jnp.matmul(one, at[1], precision=lax.Precision.HIGHEST), None

        none = jnp.zeros((nodes, columns.shape[2]), columns.dtype)
        return lax.scan(add, none, (place, columns))[0]

    return lax.platform_dependent(columns, place, cpu=scatter, default=members)


def _in_parts(columns: Array, place: Array, count: int) -> Array:
    """Sums by place; in float32 of some units each first, since long sums of equal signs drift."""
    n = columns.shape[0]
    lanes = max(1, min(n // SHORT, 4 * n // count))
    if columns.dtype == jnp.float64 or lanes == 1:
        return jax.ops.segment_sum(columns, place, count)
    lane = jnp.arange(n, dtype=place.dtype) % lanes
    parts = jax.ops.segment_sum(columns, place * lanes + lane, count * lanes)
    return parts.reshape(count, lanes, -1).sum(1)


def _starts(segment: Array) -> Array:
    """Where a segment begins."""
    return jnp.concatenate([jnp.ones(1, bool), segment[1:] != segment[:-1]])


def _sums(totals: Array) -> _Node:
    """Columns by name; the units are the weight where there is none."""
    return _Node(totals[..., 0], totals[..., -3], totals[..., -2], totals[..., -1])


def _splits(node: _Node, level: Array, cut: Array, above: Array) -> Splits:
    found = level > 0
    score = jnp.where(found, level * node.sd, -jnp.inf)
    return Splits(score, level, jnp.where(found, cut, 0), jnp.where(found, above, 0), node.sd[:, 0])


# (2) The reference: the definition, every cut of every node by itself.


def _reference(
    codes: Array, node: Array, columns: Array, totals: Array, minimum: Array, heights: int
) -> tuple[Array, Array, Array]:
    code, precision = jnp.arange(heights), lax.Precision.HIGHEST
    member = (node == jnp.arange(totals.shape[0])[:, None]).astype(columns.dtype)
    below = (codes[:, :, None] <= code).astype(columns.dtype)
    sums = jnp.einsum("kn,npr,nc->kprc", member, below, columns, precision=precision)
    here = (codes[:, :, None] == code).astype(columns.dtype)
    held = jnp.einsum("kn,npr->kpr", member, here, precision=precision) > 0
    level = jnp.where(held, _level(_sums(totals[:, None, None]), _sums(sums), minimum), 0)
    cut = level.argmax(2)
    above = jnp.where(held & (code > cut[..., None]), code, heights).min(2)
    return level.max(2), cut, above


# (3) The tuned versions: histograms over values (for two, one addition a unit), and segmented scans
# over sorted units, or running sums over them.


def _value_sums(codes: Array, place: Array, columns: Array, nodes: int, heights: int) -> Array:
    """(heights, k, p, d): sums over the units of each code."""
    (n, p), d = codes.shape, columns.shape[1]
    where = (place[:, None] * p + jnp.arange(p, dtype=jnp.int32)) * heights + codes
    spread = jnp.broadcast_to(columns[:, None], (n, p, d)).reshape(n * p, d)
    sums = _in_parts(spread, where.reshape(-1), (nodes + 1) * p * heights)
    return jnp.moveaxis(sums.reshape(nodes + 1, p, heights, d)[:nodes], 2, 0)


def _histogram(
    codes: Array, node: Array, columns: Array, totals: Array, minimum: Array, heights: int
) -> tuple[Array, Array, Array]:
    nodes = totals.shape[0]
    place = jnp.where((node >= 0) & (node < nodes), node, nodes)
    sums = _value_sums(codes, place, columns, nodes, heights)
    of = _sums(sums.sum(0))  # the total of these very sums, so that both sides add up to it

    def step(carry: tuple, at: tuple[Array, Array]) -> tuple[tuple, None]:
        left, best, cut, above = carry
        code, here = at
        held = here[..., 0] > 0
        above = jnp.where(held & (above < 0) & (best > 0), code, above)
        left = left + here
        level = jnp.where(held, _level(of, _sums(left), minimum), 0)
        better = level > best
        cut, above = jnp.where(better, code, cut), jnp.where(better, -1, above)
        return (left, jnp.maximum(level, best), cut, above), None

    shape = (nodes, codes.shape[1])
    none = jnp.zeros(shape, jnp.int32)
    left, best = jnp.zeros((*shape, totals.shape[1])), jnp.zeros(shape)
    start = (left.astype(columns.dtype), best.astype(columns.dtype), none, none - 1)
    return lax.scan(step, start, (jnp.arange(heights, dtype=jnp.int32), sums))[0][1:]


def _two_codes(
    codes: Array, node: Array, columns: Array, totals: Array, minimum: Array
) -> tuple[Array, Array, Array]:
    """Of 0/1 covariates: a unit adds all its covariates to its node at once."""
    (n, p), d, nodes = codes.shape, columns.shape[1], totals.shape[0]
    place = jnp.where((node >= 0) & (node < nodes), node, nodes)
    windows = -(-n // WINDOWS)
    if columns.dtype != jnp.float64:  # stretches first, as `_in_parts`
        windows = min(windows, max(SHORT, nodes) // WINDOWS)
    shape = (-1, max(windows, 1), WINDOWS)
    more = -n % (shape[1] * WINDOWS)
    place = jnp.pad(place, (0, more), constant_values=nodes).reshape(shape)
    codes = jnp.pad(codes, [(0, more), (0, 0)]).reshape(*shape, p)
    columns = jnp.pad(columns, [(0, more), (0, 0)]).reshape(*shape, d)
    none = jnp.zeros((nodes + 1, p, d), columns.dtype)

    def add(total: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        place, codes, columns = at
        above = jnp.where(codes[:, :, None] > 0, columns[:, None], 0)
        return total.at[place].add(above), None

    def stretch(total: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return total + lax.scan(add, none, at)[0], None

    above = lax.scan(stretch, none, (place, codes, columns))[0][:nodes]
    of = _sums(totals[:, None])
    left = _Node(*(whole - part for whole, part in zip(of, _sums(above))))
    level = jnp.where(left.units > 0, _level(of, left, minimum), 0)
    zero = jnp.zeros((nodes, p), jnp.int32)
    return level, zero, zero + 1


def sorted_order(codes: Int[Array, "n p"], node: Int[Array, " n"]) -> Int[Array, "p n"]:
    """Units by node, and within a node by code, for each covariate.

    **Arguments:** `codes` (n, p), `node` (n,) of each unit. **Returns:** rows (p, n), stable.
    """
    n, p = codes.shape
    keys = (jnp.broadcast_to(node, (p, n)), codes.T, jnp.broadcast_to(jnp.arange(n), (p, n)))
    return lax.sort(keys, dimension=1, num_keys=2, is_stable=True)[2].astype(jnp.int32)


def _sorted(
    codes: Array,
    node: Array,
    columns: Array,
    totals: Array,
    minimum: Array,
    order: Array | None,
) -> tuple[Array, Array, Array]:
    nodes, d = totals.shape
    order = sorted_order(codes, node) if order is None else order
    place = jnp.where((node >= 0) & (node < nodes), node, nodes)

    def one(order: Array, codes: Array) -> tuple[Array, Array, Array]:
        at, code = place[order], codes[order]
        sums = segmented_scan(jnp.add, _starts(at), columns[order], 0)
        follows = jnp.concatenate([at[1:] == at[:-1], jnp.zeros(1, bool)])
        last = jnp.where(follows, nodes + 1, at)
        of = _sums(jnp.zeros((nodes + 1, d), sums.dtype).at[last].set(sums, mode="drop")[at])
        after = jnp.concatenate([code[1:], code[-1:]])
        level = _level(of, _sums(sums), minimum)
        level = jnp.where(follows & (after > code), level, 0)

        def larger(a: tuple, b: tuple) -> tuple:
            keep = a[0] >= b[0]
            return jnp.where(keep, a[0], b[0]), jnp.where(keep, a[1], b[1])

        values = (level, jnp.arange(level.shape[0], dtype=jnp.int32))
        best, where = segmented_scan(larger, _starts(at), values, (-1, 0))
        end = jnp.full(nodes + 1, -1).at[last].set(values[1], mode="drop")[:nodes]
        found = jnp.where(end >= 0, best[end], 0)
        return found, code[where[end]], after[where[end]]

    return jax.vmap(one, in_axes=(0, 1), out_axes=1)(order, codes)


def _in_order(columns: Array, rows: Array, inside: Array) -> Array:
    """Columns of the units in `rows` (n, p); of units without weights only w y is looked up."""
    if columns.shape[1] > 3:
        return columns[rows]
    first = columns[:, 1][rows]
    one = jnp.broadcast_to(inside[:, None], first.shape).astype(first.dtype)
    return jnp.stack([one, first, first**2], axis=2)


def _steps(
    codes: Array,
    node: Array,
    columns: Array,
    totals: Array,
    minimum: Array,
    order: Array | None,
) -> tuple[Array, Array, Array]:
    """As `_sorted`; every row of the order has the nodes in the same places."""
    (n, p), (nodes, d) = codes.shape, totals.shape
    order = sorted_order(codes, node) if order is None else order
    rows = order.T
    at = jnp.where((node >= 0) & (node < nodes), node, nodes)[rows[:, 0]]
    place = jnp.arange(n, dtype=jnp.int32)[:, None]

    def add(total: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        total = jnp.where(row[0], 0, total) + row[1]
        return total, total

    none = jnp.zeros(p * d, columns.dtype)
    ordered = _in_order(columns, rows, at < nodes).reshape(n, p * d)
    sums = lax.scan(add, none, (_starts(at), ordered))[1].reshape(n, p, d)
    follows = jnp.concatenate([at[1:] == at[:-1], jnp.zeros(1, bool)])
    end = jnp.zeros(nodes + 1, jnp.int32)
    end = end.at[jnp.where(follows, nodes + 1, at)].set(place[:, 0], mode="drop")
    of = _sums(sums[end][at])
    code = jnp.take_along_axis(codes, rows, axis=0)
    after = jnp.concatenate([code[1:], code[-1:]])
    level = jnp.where(follows[:, None] & (after > code), _level(of, _sums(sums), minimum), 0)
    best = jnp.zeros((nodes + 1, p), level.dtype).at[at].max(level)
    first = jnp.full((nodes + 1, p), n - 1, jnp.int32)
    first = first.at[at].min(jnp.where(level == best[at], place, n - 1))[:nodes]
    cut, above = (jnp.take_along_axis(each, first, axis=0) for each in (code, after))
    return best[:nodes], cut, above


# (4) The choice: "auto" is the histogram for few values on a CPU, else the sorted version; on a CPU
# steps where the dtype is wide enough for long running sums.


def _by_size(heights: tuple[int, ...]) -> dict[int, list[int]]:
    """Covariates by the size of their histogram, a power of 4 or `FEW_RUNGS`; 0 for larger ones."""
    sizes: dict[int, list[int]] = {}
    for j, count in enumerate(heights):
        size = next((s for s in (2, 4, 16, 64, FEW_RUNGS) if count <= s), 0)
        sizes.setdefault(size, []).append(j)
    return sizes


def with_many_values(heights: tuple[int, ...]) -> list[int]:
    """The covariates whose units "auto" keeps sorted.

    **Arguments:** `heights` of each covariate. **Returns:** their places.
    """
    return _by_size(heights).get(0, [])


def _few(rest: tuple, codes: Array, heights: tuple[int, ...]) -> list:
    """Histograms, one size after the other, of some covariates at a time."""
    (nodes, d), found = rest[2].shape, []
    for size, which in _by_size(heights).items():
        if size == 2:
            found.append(_two_codes(codes[:, jnp.asarray(which)], *rest))
        elif size:
            most = max(1, BYTES // ((nodes + 1) * size * d * rest[2].dtype.itemsize))
            for first in range(0, len(which), most):
                some = jnp.asarray(which[first : first + most])
                found.append(_histogram(codes[:, some], *rest, heights=size))
    return found


def _auto(rest: tuple, codes: Array, heights: tuple[int, ...], order: Array | None) -> list:
    sizes = _by_size(heights)
    listed = [j for size, which in sizes.items() if size for j in which]
    found, features = [], listed + sizes.get(0, [])
    if listed:

        def by_histogram(codes: Array, *rest: Array) -> tuple[Array, ...]:
            parts = zip(*_few(rest, codes, heights))
            return tuple(jnp.concatenate(part, axis=1) for part in parts)

        def by_sorting(codes: Array, *rest: Array) -> tuple[Array, ...]:
            return _sorted(codes[:, jnp.asarray(listed)], *rest, order=None)

        found.append(lax.platform_dependent(codes, *rest, cpu=by_histogram, default=by_sorting))
    if 0 in sizes:
        many, choice = codes[:, jnp.asarray(sizes[0])], dict(cpu=_steps, default=_sorted)
        if rest[1].dtype != jnp.float64:
            choice["cpu"] = _sorted
        found.append(lax.platform_dependent(many, *rest, order, **choice))
    back = sorted(range(len(features)), key=features.__getitem__)
    return [jnp.concatenate(part, axis=1)[:, jnp.asarray(back)] for part in zip(*found)]


@partial(jax.jit, static_argnums=(6, 7, 8))
def _jitted(
    codes: Array,
    node: Array,
    y: Array,
    weight: Array | None,
    least: Array,
    order: Array | None,
    nodes: int,
    heights: tuple[int, ...],
    implementation: Implementation,
) -> Splits:
    columns, totals = _columns(node, y, weight, nodes)
    rest = (node, columns, totals, least)
    if implementation == "reference":
        found = _reference(codes, *rest, heights=max(heights, default=1))
    elif implementation == "histogram":
        found = _histogram(codes, *rest, heights=max(heights, default=1))
    elif implementation == "sorted":
        found = _sorted(codes, *rest, order=order)
    elif implementation == "steps":
        found = _steps(codes, *rest, order=order)
    else:
        found = _auto(rest, codes, heights, order)
    return _splits(_sums(totals[:, None]), *found)


# (5) The public function.


def split_scan(
    codes: Int[Array, "n p"],
    node: Int[Array, " n"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"] | None = None,
    *,
    nodes: int,
    heights: int | tuple[int, ...],
    minimum: int | Int[Array, ""],
    order: Int[Array, "s n"] | None = None,
    implementation: Implementation = "auto",
) -> Splits:
    """The largest reduction of the standard deviation by one cut, for each node and covariate.

    Works under jit and vmap; carries no gradient (a cut is a place on a ladder).

    **Arguments:** `codes` (n, p) from 0; `node` (n,) the node of each unit, a unit of another
    number than 0 to `nodes` - 1 is in none; `y` (n,) in any float type; `weight` (n,) above 0, None
    for 1; `heights` above any code, for all covariates or for each; `minimum` units (not weight)
    on either side of a cut; `order` (s, n) units so that those of a node stand together, in the
    same places in every row, by code (see `sorted_order`), for the covariates that are kept sorted
    (`with_many_values`; all of them with `implementation="sorted"` or "steps"): spares a sort.

    **Returns:** `Splits`.

    **Raises:** ValueError for `nodes` or `heights` below 1 or of another number than covariates, or
    an unknown `implementation`.
    """
    p = codes.shape[1]
    each = (heights,) * p if isinstance(heights, int) else tuple(heights)
    if nodes < 1 or min(each, default=1) < 1 or len(each) != p:
        raise ValueError(
            f"nodes is {nodes} and heights {heights}: at least 1 each, one for all or for each of "
            f"the {p} covariates."
        )
    names = ("auto", "reference", "histogram", "sorted", "steps")
    if implementation not in names:
        raise ValueError(f"implementation is {implementation!r}; use one of {', '.join(names)}.")
    least = jnp.asarray(minimum, y.dtype)
    return _jitted(codes, node, y, weight, least, order, nodes, each, implementation)
