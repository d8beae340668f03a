"""Which unit is in which box: by comparison, and as bits, 32 units in a word.

The digits of the codes are made into tables once per block of units: row r of a table has the bits
of the units whose digit is below r. The units of a column below an edge are then 2 D - 1 rows put
together, with D digits in a code: 1 for ladders of up to 64 values, 2 up to 4,096, and so on.
Operations on words, for q boxes and n units: q n / 32 (4 D p + 2 c l), with c category
columns of l levels; tables take some 30 operations a unit, digit and column.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, UInt32

MISSING = 2**31 - 1  # above every code; the codes of a box lie between -MISSING and MISSING
FEW_LEVELS = 32  # up to here a plane of bits a level is cheaper than a look at each unit


class Units(NamedTuple):
    """The n units on their ladders.

    - `codes` (n, p): the place on each ordered column's ladder, from 0; a unit with a negative code
      is in no box; `MISSING` passes every interval of its column.
    - `levels` (n, c): the level of each category, from 0.
    - `arm` (n,): True for the treated.
    """

    codes: Int[Array, "n p"]
    levels: Int[Array, "n c"]
    arm: Bool[Array, " n"]


class CodedBoxes(NamedTuple):
    """q boxes on the ladders.

    - `lower`, `upper` (q, p): the first and last code of each ordered column that is inside.
    - `open` (q, c, l): which levels of each category are inside.
    """

    lower: Int[Array, "q p"]
    upper: Int[Array, "q p"]
    open: Bool[Array, "q c l"]


def membership(units: Units, coded: CodedBoxes) -> Bool[Array, "q n"]:
    """Tell which unit is in which box, as a whole matrix: for references and single boxes.

    **Returns:** (q, n) bool.
    """
    lower, upper, codes = coded.lower.T, coded.upper.T, units.codes.T
    least = jnp.where(codes == MISSING, -MISSING, codes)  # below every upper code
    valid = (codes >= 0).all(0)
    columns = [
        (lower[j][:, None] <= codes[j]) & (least[j] <= upper[j][:, None])
        for j in range(codes.shape[0])
    ]
    sets = [coded.open[:, c][:, units.levels[:, c]] for c in range(units.levels.shape[1])]
    everyone = jnp.broadcast_to(valid, (coded.lower.shape[0], units.arm.shape[0]))
    return reduce(jnp.logical_and, columns + sets, everyone)


class BlockPlan(NamedTuple):
    """How units, boxes and codes are cut up.

    - `boxes`: boxes in a block.
    - `words`: words, of 32 units, in a block.
    - `digits`, `width`: a code has so many digits of so many bits.
    """

    boxes: int
    words: int
    digits: int
    width: int

    @property
    def units(self) -> int:
        """Units in a block."""
        return 32 * self.words

    @property
    def heights(self) -> int:
        """A bound of the codes that the digits can hold."""
        return min(2 ** (self.digits * self.width), MISSING)


class Block(NamedTuple):
    """A block of k units, and its bits in w words.

    - `units` (k): the units themselves.
    - `live` (k,): the others are in no box.
    - `below` (p, r, w): of each column, table row by row: whose digit is below r (see `_tables`).
    - `missing` (p, w): whose code is `MISSING`.
    - `levels` (c, l, w): who has each level; no rows where there are many levels.
    - `valid` (w,): who is live.
    - `arms` (2, w): the controls and the treated.
    """

    units: Units
    live: Bool[Array, " k"]
    below: UInt32[Array, "p r w"]
    missing: UInt32[Array, "p w"]
    levels: UInt32[Array, "c l w"]
    valid: UInt32[Array, " w"]
    arms: UInt32[Array, "2 w"]


def pack(flags: Array) -> Array:
    """Flags (..., 32 w) as words (..., w): bit b of word i is flag b w + i."""
    bits = flags.reshape(*flags.shape[:-1], 32, flags.shape[-1] // 32).astype(jnp.uint32)
    shifts = jnp.arange(32, dtype=jnp.uint32)[:, None]
    return (bits << shifts).sum(-2, dtype=jnp.uint32)


def scan_bits(step: Callable, words: Array, dtype: jnp.dtype, carry: Any, blocks: Any) -> Any:
    """Scan the 32 bits of words: carry, out = step(carry, flags of one bit as 0 and 1, block)."""

    def plane(carry: Any, at: tuple) -> tuple:
        bit, block = at
        return step(carry, ((words >> bit) & 1).astype(dtype), block)

    return lax.scan(plane, carry, (jnp.arange(32, dtype=jnp.uint32), blocks))


def _tables(codes: Array, plan: BlockPlan) -> Array:
    """For each column, digit and r: the bits of the units whose digit is below r."""
    p, k = codes.shape
    shifts = jnp.arange(plan.digits * plan.width, dtype=jnp.int32)[:, None]
    planes = pack((codes[:, None] >> jnp.minimum(shifts, 31)) & 1)
    planes = planes.reshape(p * plan.digits, plan.width, 1, k // 32)
    row = jnp.arange(2**plan.width, dtype=jnp.int32)[:, None]
    below = jnp.zeros((p * plan.digits, 2**plan.width, k // 32), jnp.uint32)
    for b in range(plan.width):
        zero = ~planes[:, b]
        below = jnp.where((row >> b) & 1 == 1, zero | below, zero & below)
    everyone = jnp.full_like(below[:, :1], 2**32 - 1)
    rows = plan.digits * (2**plan.width + 1)
    return jnp.concatenate([below, everyone], axis=1).reshape(p, rows, k // 32)


def rows_at(units: Array, start: Array, count: int) -> Array:
    """Take `count` rows from `start` on; an array with fewer rows is filled up with zeros."""
    short = max(count - units.shape[0], 0)
    if short:
        return jnp.pad(units, [(0, short)] + [(0, 0)] * (units.ndim - 1))
    return lax.dynamic_slice_in_dim(units, start, count)


def start_of(i: Array, n: int, plan: BlockPlan) -> Array:
    """Where block i begins: the last block ends with the last unit, so it may reach back."""
    return jnp.minimum(i * plan.units, max(n - plan.units, 0))


def block_of(units: Units, i: Array, plan: BlockPlan, count: int, again: bool = False) -> Block:
    """Block i of the units; those that an earlier block had are live only if wanted `again`.

    `count` is the number of levels that a category can have.
    """
    n, k = units.arm.shape[0], plan.units
    start = start_of(i, n, plan)
    units = Units(*(rows_at(a, start, k) for a in units))
    place = start + jnp.arange(k, dtype=jnp.int32)
    codes, levels = units.codes.T, units.levels.T
    missing = codes == MISSING
    valid = ((codes >= 0) & (missing | (codes < plan.heights))).all(0)
    valid &= (place < n) & (again | (place >= i * k))
    which = jnp.arange(count if count <= FEW_LEVELS else 0, dtype=jnp.int32)[:, None]
    block = Block(
        units=units,
        live=valid,
        below=_tables(jnp.where(missing, 0, codes), plan),
        missing=pack(missing),
        levels=pack(levels[:, None] == which),
        valid=pack(valid),
        arms=pack(jnp.stack([~units.arm, units.arm])),
    )
    return lax.optimization_barrier(block)


def _rows(edge: Array, plan: BlockPlan) -> Array:
    """Rows of the tables that tell which codes are below an edge: (q, p) -> (p, 2 D - 1, q)."""
    radix = 2**plan.width
    rows = []
    for digit in range(plan.digits):  # the lowest first
        row = edge.T >> (digit * plan.width)
        row = row if digit == plan.digits - 1 else row & (radix - 1)
        first = digit * (radix + 1)
        rows += [first + row] + ([first + jnp.minimum(row + 1, radix)] if digit else [])
    return jnp.stack(rows, axis=1)


def _below(table: Array, rows: Array) -> Array:
    """Words of the units whose code is below each box's edge: (q, w)."""
    out, *higher = (table.at[row].get(mode="promise_in_bounds") for row in rows)
    for less, not_above in zip(higher[::2], higher[1::2]):
        out = less | (not_above & out)
    return out


def words_of(block: Block, boxes: CodedBoxes, plan: BlockPlan) -> Array:
    """Membership of a block of boxes in a block of units, as words: (q, w)."""
    lower = _rows(jnp.clip(boxes.lower, 0, plan.heights), plan)
    upper = _rows(jnp.clip(boxes.upper, -1, plan.heights - 1) + 1, plan)

    def within(words: Array, column: tuple) -> tuple:
        table, missing, low, high = column
        return words & ((_below(table, high) & ~_below(table, low)) | missing), None

    words = jnp.broadcast_to(block.valid, (boxes.lower.shape[0], plan.words))
    words = lax.scan(within, words, (block.below, block.missing, lower, upper))[0]
    for c in range(boxes.open.shape[1]):
        words &= _opened(block, boxes.open[:, c], c)
    return lax.optimization_barrier(words)


def _opened(block: Block, opened: Array, c: int) -> Array:
    """Words of the units whose level of category c is open to each box: (q, w)."""
    if opened.shape[1] > FEW_LEVELS:
        return pack(opened[:, block.units.levels[:, c]])
    words = jnp.zeros((opened.shape[0], block.valid.shape[0]), jnp.uint32)
    for level in range(opened.shape[1]):
        words |= jnp.where(opened[:, level, None], block.levels[c, level], 0)
    return words


def flags_of(block: Block, boxes: CodedBoxes) -> Array:
    """Membership in a block by plain comparison: (q, k) bool."""
    return membership(block.units, boxes) & block.live
