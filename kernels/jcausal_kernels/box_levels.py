"""For each query, the level whose box balances squared bias against variance best.

(1) Formula, shapes, cost
    delta[i, k] = max_j lines[i, cells[k, j]]                       (0 where there are no columns)
    box(u)      = the units k with delta[i, k] <= u; of the units of arm a in it
        m_a = sum w f_a / sum w,    n_a = (sum w)^2 / (sum w^2) / share_a
    cost(u)     = sum_a use[i, a] ((m_a - home[i, a])^2 + noise_a / n_a)
    level[i]    = of the levels u = delta[i, k] whose cost is within a millionth of the least, the
                  largest: of boxes equally good, the one that holds the others
n units in d columns, q queries, s cells of all columns side by side. A level is infinitely dear
where a box holds fewer than minimum_a units of an arm, or none of an arm that is in use.

On CPU every unit is added to the bin of its level, and sums run along the bins: a query takes n d
gathers, n additions of 4 numbers by index, and a sort of m = min(s, n). Elsewhere the n levels are
sorted with their units. Bytes a query, float32: about 12 n + 260 m on CPU, 150 n elsewhere; as
many queries at once, 64 at most, as `max_bytes` allows. Seconds on two CPU cores, queries x units
x columns of 64 cells: 1,000 x 1,775 x 50 .28 (of 16 cells .11), 92 x 8,000 x 8 .011,
10,000 x 2,000 x 10 .74, 64 x 100,000 x 10 .08; by the sort .55 (.37), .28, -, 2.3.

Predictions are centred at the query's own before they are summed. On CPU what rounding takes off a
sum is carried beside it from chunk to chunk of c = max(1024, s) units, so that a sum is wrong by
less than c eps / 2 of its absolute terms, whatever n is (1e-5 for 1e7 equal numbers); elsewhere
by as much as the platform's running sum. Counts are exact.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels.blocks import add

Implementation = Literal["auto", "reference", "xla", "sort"]
Sums = tuple[Array, Array, Array, Array]  # units, weight, squares, drift: (m levels, 2 arms, b)
QUERIES, CHUNK, COLUMNS = 64, 1024, 16  # queries and units at once, columns in one pass
NEAR = 1e-6  # costs that differ by less, relatively, are equal
LEAST = 1e-12  # of the largest weight: the least that a unit counts (squares must not vanish)


class Levels(NamedTuple):
    """What is chosen for each of q queries.

    - `level` (q,): the level of its box.
    - `cost` (q,): its squared bias plus variance.
    - `counts` (q, 2): units in its box, controls and treated.
    """

    level: Float[Array, " q"]
    cost: Float[Array, " q"]
    counts: Int[Array, "q 2"]


class LevelUnits(NamedTuple):
    """The n units of which boxes are made, in d columns.

    - `cells` (n, d): where a unit stands, one place in the lines a column: outside 0 to s - 1 for a
      cell that is never opened.
    - `values` (n, 2): predictions without and with treatment, of which its own arm's is used.
    - `arm` (n,): True for the treated.
    - `weight` (n,): sampling weights; a unit of none or less is nobody.
    """

    cells: Int[Array, "n d"]
    values: Float[Array, "n 2"]
    arm: Bool[Array, " n"]
    weight: Float[Array, " n"]


class LevelRule(NamedTuple):
    """What makes a box good, for q queries; arms are controls and treated.

    - `home` (q, 2): the query's own predictions.
    - `use` (q, 2): how much each arm's error counts, 0 for not at all.
    - `noise` (2,): variances of an outcome about its prediction.
    - `minimum` (2,): units that a box needs.
    - `share` (2,): the part of each arm that was drawn, so that a unit stands for 1 / share.
    """

    home: Float[Array, "q 2"]
    use: Float[Array, "q 2"]
    noise: Float[Array, "2"]
    minimum: Int[Array, "2"]
    share: Float[Array, "2"]


class _Units(NamedTuple):
    """The units as they are summed.

    - `cells` (n, d): as in `LevelUnits`, s for one that is never opened.
    - `arm` (n,): True for the treated.
    - `weight` (n,): over the largest; 0 for nobody.
    - `own` (n,): the prediction in the unit's arm.
    """

    cells: Int[Array, "*n d"]
    arm: Bool[Array, "*n"]
    weight: Float[Array, "*n"]
    own: Float[Array, "*n"]


class _Rule(NamedTuple):
    """As `LevelRule`, for b queries that are solved together: `home` and `use` are (2, b)."""

    home: Float[Array, "2 b"]
    use: Float[Array, "2 b"]
    noise: Float[Array, "2"]
    minimum: Int[Array, "2"]
    share: Float[Array, "2"]


def _costs(sums: Sums, rule: _Rule) -> Array:
    """The cost of every level: (m, b)."""
    count, weight, square, drift = sums
    noise, minimum, share = (each[:, None] for each in (rule.noise, rule.minimum, rule.share))
    error = (drift / weight) ** 2 + noise * share * (square / weight) / weight
    used = rule.use > 0
    cost = jnp.where(used, rule.use * error, 0).sum(1)
    allowed = (count >= minimum) & (~used | (count > 0))
    return jnp.where(allowed.all(1), cost, jnp.inf)


def _choose(sums: Sums, total: Array, rule: _Rule, level: Array, real: Array) -> tuple:
    """The best of the levels (m, b) that are `real`; sound if the drift of all units is."""
    cost = jnp.where(real, _costs(sums, rule), jnp.inf)
    least = cost.min(0)
    near = (cost <= least * (1 + NEAR)) & (cost < jnp.inf)
    at = jnp.where(near, level, -jnp.inf).argmax(0)[None]
    found = near.any(0)
    chosen = jnp.where(found, jnp.take_along_axis(level, at, 0)[0], jnp.nan)
    counts = jnp.take_along_axis(sums[0], at[:, None], 0)[0]
    sound = ~((rule.use > 0) & ~jnp.isfinite(total)).any(0)
    return chosen, least, jnp.where(found, counts, 0).T, sound


def _drift(units: _Units, home: Array) -> Array:
    """Prediction less the query's own in the unit's arm, weighted: (n, b)."""
    at = jnp.where(units.arm[:, None], home[1], home[0])
    return units.weight[:, None] * (units.own[:, None] - at)


# (2) The reference: every unit's box, by comparing all with all.


def _reference(units: _Units, lines: Array, rule: _Rule) -> tuple:
    level = lines[:, units.cells].max(2).T  # (n, b)
    there = level < jnp.inf
    arms = jnp.stack([~units.arm, units.arm])[:, :, None] & there
    member = (level <= level[:, None])[:, None] & arms  # (box, arm, unit, b)

    def add(each: Array) -> Array:
        return jnp.where(member, each, 0).sum(2)

    w, drift = units.weight[:, None], _drift(units, rule.home)
    sums = member.sum(2, dtype=jnp.int32), add(w), add(w * w), add(drift)
    return _choose(sums, jnp.where(arms, drift, 0).sum(1), rule, level, there)


# (3) The tuned versions: bins of equal levels filled by index, or a sort.


def _flip(bits: Array) -> Array:
    """Bits of floats as integers of the same order (several times faster to sort), and back."""
    return bits ^ ((bits >> (8 * bits.dtype.itemsize - 1)) & jnp.iinfo(bits.dtype).max)


def _keys(levels: Array) -> Array:
    kind = jnp.dtype(f"int{8 * levels.dtype.itemsize}")
    return _flip(lax.bitcast_convert_type(jnp.where(levels == 0, 0, levels), kind))


_below = jax.vmap(partial(jnp.searchsorted, method="scan_unrolled"))  # how many edges, by query


def _deepest(table: Array, cells: Array) -> Array:
    """The largest entry of `table` (s, b) among each unit's cells (n, d): (n, b)."""

    def look(cells: Array) -> Array:
        rows = (table.at[cells[:, j]].get(mode="promise_in_bounds") for j in range(cells.shape[1]))
        return reduce(jnp.maximum, rows)

    n, d = cells.shape
    few = (d - 1) % COLUMNS + 1
    rest = cells[:, few:].reshape(n, -1, COLUMNS).swapaxes(0, 1)
    first = look(cells[:, :few])
    return lax.scan(lambda out, part: (jnp.maximum(out, look(part)), None), first, rest)[0]


def _bins(cells: Array, lines: Array) -> tuple[Array, Array]:
    """The sorted levels (m, b), and the place of each unit's among them: (k, c, b), m for none."""
    keys, never = _keys(lines), _keys(jnp.asarray(jnp.inf, lines.dtype))
    k, c, _ = cells.shape
    if lines.shape[1] <= k * c:
        edges = lax.sort(keys, dimension=1, is_stable=False)
        table = jnp.where(keys == never, edges.shape[1], _below(edges, keys)).T
        return edges.T, lax.map(partial(_deepest, table), cells)
    deep = lax.map(partial(_deepest, keys.T), cells).reshape(k * c, -1).T
    edges = lax.sort(deep, dimension=1, is_stable=False)
    place = jnp.where(deep == never, edges.shape[1], _below(edges, deep))
    return edges.T, place.T.reshape(k, c, -1)


def _fill(units: _Units, place: Array, home: Array, m: int) -> tuple[Array, Array]:
    """Sums over the units of each bin, (m, 2, b, 4), and what rounding took off them."""
    b, dtype = place.shape[2], jnp.result_type(units.own, home)
    query = jnp.arange(b, dtype=jnp.int32)

    def more(total: tuple[Array, Array], chunk: tuple[_Units, Array]) -> tuple:
        unit, place = chunk
        row = (2 * place + unit.arm[:, None]) * b + query
        w = jnp.broadcast_to(unit.weight[:, None], place.shape)
        columns = [jnp.ones_like(w), w, w * w, _drift(unit, home)]
        columns = jnp.stack(columns, 2).astype(dtype).reshape(-1, 4)
        part = jnp.zeros((2 * (m + 1) * b, 4), dtype)
        part = part.at[row.reshape(-1)].add(columns, mode="promise_in_bounds")
        return add(total, part[: 2 * m * b]), None

    none = jnp.zeros((2 * m * b, 4), dtype)
    total, rest = lax.scan(more, (none, none), (units, place))[0]
    return total.reshape(m, 2, b, 4), rest.reshape(m, 2, b, 4)


def _binned(units: _Units, lines: Array, rule: _Rule) -> tuple:
    """The choice for one block of queries, on CPU."""
    chunk, never = max(CHUNK, lines.shape[1]), lines.shape[1] - 1
    units = _Units(
        _equal_blocks(units.cells, chunk, never),
        *(_equal_blocks(each, chunk) for each in units[1:]),
    )
    edges, place = _bins(units.cells, lines)
    whole, rest = _fill(units, place, rule.home, edges.shape[0])

    def run(total: tuple[Array, Array], part: tuple[Array, Array]) -> tuple:
        total = add((total[0], total[1] + part[1]), part[0])
        count = sum(each[..., 0].astype(jnp.int32) for each in total)
        return total, (count, total[0] + total[1])

    none = jnp.zeros_like(whole[0])
    count, sums = lax.scan(run, (none, none), (whole, rest))[1]
    weight, square, drift = (sums[..., i] for i in (1, 2, 3))
    level, real = lax.bitcast_convert_type(_flip(edges), lines.dtype), (whole[..., 0] > 0).any(1)
    return _choose((count, weight, square, drift), drift[-1], rule, level, real)


def _sorted(units: _Units, lines: Array, rule: _Rule) -> tuple:
    """The same elsewhere: units in the order of their level, and running sums."""
    deep = _deepest(lines.T, units.cells).T
    unit = jnp.broadcast_to(jnp.arange(deep.shape[1], dtype=jnp.int32), deep.shape)
    level, unit = (each.T for each in lax.sort((deep, unit), dimension=1, num_keys=1))
    there = level < jnp.inf
    arm = units.arm[unit]
    member = jnp.stack([there & ~arm, there & arm], 1)

    def run(each: Array) -> Array:
        return lax.cumsum(jnp.where(member, each[:, None], 0), axis=0)

    w = units.weight[unit]
    drift = run(jnp.take_along_axis(_drift(units, rule.home), unit, 0))
    sums = lax.cumsum(member.astype(jnp.int32), axis=0), run(w), run(w * w), drift
    last = jnp.concatenate([level[1:] != level[:-1], jnp.ones_like(there[:1])])
    return _choose(sums, drift[-1], rule, level, there & last)


# (4) The choice: "auto" and "xla" are the bins on CPU and the sort elsewhere.


def _equal_blocks(array: Array, most: int, value: float = 0) -> Array:
    """Pad and split the first axis into the fewest equal blocks, one at least: (k, block, ...)."""
    n = array.shape[0]
    k = max(-(-n // most), 1)
    block = max(-(-n // k), 1)
    pad = [(0, k * block - n)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, pad, constant_values=value).reshape(k, block, *array.shape[1:])


def _in_blocks(solve: Callable, queries: int, units: _Units, lines: Array, rule: _Rule) -> tuple:
    """The choice for block after block of queries."""

    def one(block: tuple[Array, Array, Array]) -> tuple:
        table, home, use = block
        return solve(units, table, rule._replace(home=home.T, use=use.T))

    blocks = tuple(_equal_blocks(each, queries) for each in (lines, rule.home.T, rule.use.T))
    out = lax.map(one, blocks)
    return tuple(each.reshape(-1, *each.shape[2:])[: lines.shape[0]] for each in out)


def _tuned(units: _Units, lines: Array, rule: _Rule, how: str, sizes: tuple) -> tuple:
    bins, sort = (partial(_in_blocks, *each) for each in zip((_binned, _sorted), sizes))
    if how == "sort":
        return sort(units, lines, rule)
    return lax.platform_dependent(units, lines, rule, cpu=bins, default=sort)


def _prepare(lines: Array, units: LevelUnits) -> tuple[_Units, Array]:
    """The units, nobody if there are none, and the lines with a last cell that is never opened."""
    cells, values, arm, weight = units
    if cells.shape[1] == 0:
        cells = jnp.zeros((arm.shape[0], 1), jnp.int32)
        lines = jnp.zeros((lines.shape[0], 1), lines.dtype)
    s, nobody = lines.shape[1], weight <= 0
    largest = weight.max(initial=0)
    share = jnp.maximum(weight / jnp.where(largest > 0, largest, 1), LEAST)
    own = jnp.where(arm, values[:, 1], values[:, 0])
    never = (cells < 0) | (cells >= s) | nobody[:, None]
    cells = jnp.where(never, s, cells).astype(jnp.int32)
    lines = jnp.pad(lines, [(0, 0), (0, 1)], constant_values=jnp.inf)
    rest = arm, jnp.where(nobody, 0, share), jnp.where(nobody, 0, own)
    some = max(arm.shape[0], 1)
    return _Units(
        _equal_blocks(cells, some, s)[0], *(_equal_blocks(each, some)[0] for each in rest)
    ), lines


def _sound(lines: Array, weight: Array, rule: _Rule) -> Array:
    """The queries (q,) of which all that is in use is a number."""
    use = rule.use.T
    right = jnp.isfinite(rule.home.T) & jnp.isfinite(rule.noise) & (rule.share > 0)
    right = (use == 0) | ((use > 0) & (use < jnp.inf) & right)
    return (lines > -jnp.inf).all(1) & right.all(1) & (weight < jnp.inf).all()


@partial(jax.jit, static_argnames=("how", "sizes"))
def _solve(
    lines: Array, units: LevelUnits, given: LevelRule, how: str, sizes: tuple[int, int]
) -> Levels:
    lines, units, given = lax.stop_gradient((lines, units, given))
    rule = _Rule(given.home.T, given.use.T, *given[2:])
    these, table = _prepare(lines, units)
    solve = _reference if how == "reference" else partial(_tuned, how=how, sizes=sizes)
    level, cost, counts, sound = solve(these, table, rule)
    sound &= _sound(lines, units.weight, rule)
    level, cost = (jnp.where(sound, each, jnp.nan) for each in (level, cost))
    return Levels(level, cost, jnp.where(sound[:, None], counts, 0))


# (5) The public function.


def _sizes(n: int, s: int, item: int, max_bytes: int) -> tuple[int, int]:
    """Queries at once in bins and in a sort, within the budget."""
    bins = min(s, n) + 1
    bytes_a_query = 12 * n + item * (56 * bins + 8 * min(n, max(CHUNK, s))), 36 * item * n + 1
    queries = [max(1, min(QUERIES, max_bytes // each)) for each in bytes_a_query]
    return queries[0], queries[1]


def box_levels(
    lines: Float[Array, "q s"],
    units: LevelUnits,
    rule: LevelRule,
    *,
    max_bytes: int = 2**26,
    implementation: Implementation = "auto",
) -> Levels:
    """For each query, the level of its nested boxes with the least squared bias plus variance.

    Under vmap and jit; the gradient of a choice is zero.

    **Arguments:** `lines` (q, s) the level at which a query's box opens each cell of each column,
    the cells of all columns side by side: +inf for never; `units`, `rule` (see the classes);
    `max_bytes` the budget of working memory; `implementation` "auto" and "xla" for what is fastest,
    "sort" for one way on every platform.

    **Returns:** `Levels`: level (q,), cost (q,), units in the box by arm (q, 2) int32. Where no
    level is allowed, NaN, inf and 0. NaN, NaN and 0 where a query has a line of NaN or -inf, or in
    an arm that it uses: a `home` or `noise` that is not finite, a `share` not above 0, or a unit
    with a value that is not finite in its largest box. A negative `use` and a weight that is not
    finite do the same, the latter to all queries.

    **Raises:** ValueError when rows do not agree, or for an unknown `implementation`.
    """
    if implementation not in ("auto", "reference", "xla", "sort"):
        raise ValueError(f"implementation is {implementation!r}: use auto, reference, xla or sort.")
    rows = {a.shape[0] for a in units}, {a.shape[0] for a in (lines, rule.home, rule.use)}
    if len(rows[0]) > 1 or len(rows[1]) > 1:
        wanted = "one row a unit in cells, values, arm, weight; one a query in lines, home, use"
        raise ValueError(f"The rows disagree: {wanted}.")
    item = jnp.result_type(lines, units.values, rule.home).itemsize
    sizes = _sizes(units.cells.shape[0], lines.shape[1], item, max_bytes)
    return _solve(lines, units, rule, implementation, sizes)
