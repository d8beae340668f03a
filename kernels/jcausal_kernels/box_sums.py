"""Sums over the units in each box, and the adjoint of that sum.

(1) Formula, shapes, cost
    member[q, k] = all_j (lower[q, j] <= codes[k, j] <= upper[q, j] or codes[k, j] = MISSING)
                   and all_j codes[k, j] >= 0 and all_c open[q, c, level[k, c]]
    box_sums:    out[q, a, :] = sum_{k: arm[k] = a} member[q, k] values[k, :]
    box_counts:  out[q, a]    = sum_{k: arm[k] = a} member[q, k]               (int32)
    box_weights: out[k, :]    = sum_q member[q, k] cotangent[q, arm[k], :]     (the adjoint)
n units, q boxes, p ordered columns, c category columns, d value columns. MISSING is the code of a
value that is missing: it passes every interval, and a category's levels alone decide on it.

Membership is held as bits, 32 units in a word (see `box_members`): 2 D - 1 rows of bits an edge,
with D = 1 for ladders of up to 64 values, 2 up to 4,096, 3 up to 262,144, and so on.
Operations on words: q n / 32 (4 D p + 2 c l), 6 more for counts and 96 for sums and weights;
flops: 4 q n d. Bytes: the codes once; rows of bits, 4 p (4 D - 1) q n / 32, come from cache.
Working memory is at most `max_bytes`, or one block of 128 boxes by 32 units if that is more.
A value that is not finite makes NaN the boxes that hold its unit and no others. Sums carry their
rounding error from block to block, so that the error does not grow with n.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jcausal_kernels.blocks import add, cut, each, fold, whole
from jcausal_kernels.box_members import (
    FEW_LEVELS,
    MISSING,
    Block,
    BlockPlan,
    CodedBoxes,
    Units,
    block_of,
    flags_of,
    membership,
    pack,
    rows_at,
    scan_bits,
    start_of,
    words_of,
)

Implementation = Literal["auto", "reference", "xla"]
BOXES, WORDS = 128, 256  # at most, in a block


# (2) The reference: the definition, with the whole q x n matrix.


def _reference_sums(units: Units, coded: CodedBoxes, values: Array) -> Array:
    finite = jnp.isfinite(values).all(1, keepdims=True)
    values = jnp.where(finite, values, jnp.nan)
    member = membership(units, coded)[:, None, :, None]
    arm = jnp.stack([~units.arm, units.arm])[None, :, :, None]
    return jnp.where(member & arm, values, 0).sum(2)


def _reference_weights(units: Units, coded: CodedBoxes, cotangent: Array) -> Array:
    finite = jnp.isfinite(cotangent).all(2, keepdims=True)
    own_arm = jnp.where(finite, cotangent, jnp.nan)[:, units.arm.astype(int)]
    return jnp.where(membership(units, coded)[:, :, None], own_arm, 0).sum(0)


# (3) The tuned version: blocks of units by blocks of boxes, bits for membership.


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _indices(n: int, plan: BlockPlan) -> Array:
    return jnp.arange(-(-n // plan.units), dtype=jnp.int32)


def _sum_words(
    block: Block, boxes: CodedBoxes, columns: Array, bad: Array, plan: BlockPlan
) -> tuple:
    words = words_of(block, boxes, plan)
    none = jnp.zeros((words.shape[0], columns.shape[1]), columns.dtype)

    def more(total: Array, flags: Array, rows: Array) -> tuple:
        return total + _matmul(flags, rows), None

    rows = columns.reshape(32, plan.words, columns.shape[1])
    part = lax.cond(
        (words != 0).any(), lambda: scan_bits(more, words, rows.dtype, none, rows)[0], lambda: none
    )
    marks = pack(bad.T)
    spoiled = lax.cond(
        bad.any(),
        lambda: ((words[:, None] & marks) != 0).any(2),
        lambda: jnp.zeros((words.shape[0], 2), bool),
    )
    return part, spoiled


def _sum_plain(block: Block, boxes: CodedBoxes, columns: Array, bad: Array) -> tuple:
    member = flags_of(block, boxes).astype(columns.dtype)
    return _matmul(member, columns), _matmul(member, bad.astype(columns.dtype)) > 0


def _by_arm(values: Array, arm: Array) -> Array:
    """Columns for the controls, then the same for the treated: (n, d) -> (n, 2 d)."""
    return jnp.concatenate(
        [jnp.where(arm[:, None], 0, values), jnp.where(arm[:, None], values, 0)], axis=1
    )


def _xla_sums(units: Units, coded: CodedBoxes, values: Array, plan: BlockPlan) -> Array:
    (n, d), q, levels = values.shape, coded.lower.shape[0], coded.open.shape[2]
    boxes = CodedBoxes(*(cut(a, plan.boxes) for a in coded))

    def per_units(totals: tuple, i: Array) -> tuple:
        block = block_of(units, i, plan, levels)
        rows = rows_at(values, start_of(i, n, plan), plan.units)
        finite = jnp.isfinite(rows)
        columns = _by_arm(jnp.where(finite, rows, 0), block.units.arm)
        bad = _by_arm(~finite.all(1, keepdims=True), block.units.arm)

        def per_boxes(at: tuple) -> tuple:
            box, total, spoiled = at
            part, more = lax.platform_dependent(
                block, box, columns, bad, cpu=partial(_sum_words, plan=plan), default=_sum_plain
            )
            return add(total, part), spoiled | more

        return each(per_boxes, (boxes, *totals))

    none = jnp.zeros((*boxes.lower.shape[:2], 2 * d), values.dtype)
    spoiled = jnp.zeros((*boxes.lower.shape[:2], 2), bool)
    total, spoiled = fold(per_units, ((none, none), spoiled), _indices(n, plan))
    out = whole(total).reshape(boxes.lower.shape[0] * plan.boxes, 2, d)[:q]
    return jnp.where(spoiled.reshape(-1, 2, 1)[:q], jnp.nan, out)


def _scatter_words(
    block: Block, boxes: CodedBoxes, shares: Array, bad: Array, plan: BlockPlan
) -> tuple:
    words = words_of(block, boxes, plan)

    def scatter(columns: Array) -> Array:
        out = scan_bits(
            lambda _, flags, __: (None, _matmul(columns, flags)), words, columns.dtype, None, None
        )[1]
        return out.swapaxes(0, 1).reshape(columns.shape[0], plan.units)

    def nothing(columns: Array) -> Array:
        return jnp.zeros((columns.shape[0], plan.units), columns.dtype)

    part = lax.cond((words != 0).any(), scatter, nothing, shares)
    return part, lax.cond(bad.any(), scatter, nothing, bad.T.astype(shares.dtype)) > 0


def _scatter_plain(block: Block, boxes: CodedBoxes, shares: Array, bad: Array) -> tuple:
    member = flags_of(block, boxes).astype(shares.dtype)
    return _matmul(shares, member), _matmul(bad.T.astype(shares.dtype), member) > 0


def _xla_weights(units: Units, coded: CodedBoxes, cotangent: Array, plan: BlockPlan) -> Array:
    n, (d, levels) = units.arm.shape[0], (cotangent.shape[2], coded.open.shape[2])
    finite = jnp.isfinite(cotangent)
    clean = jnp.where(finite, cotangent, 0).reshape(cotangent.shape[0], 2 * d)
    parts = (*coded, clean, ~finite.all(2))
    *boxes, clean, bad = (cut(a, plan.boxes) for a in parts)
    boxes = (CodedBoxes(*boxes), clean.swapaxes(1, 2), bad)

    def per_units(out: Array, i: Array) -> Array:
        block = block_of(units, i, plan, levels, again=True)
        arm = block.units.arm

        def per_boxes(carry: tuple, at: tuple) -> tuple:
            total, spoiled = carry
            part, more = lax.platform_dependent(
                block, *at, cpu=partial(_scatter_words, plan=plan), default=_scatter_plain
            )
            part = jnp.where(arm, part[d:], part[:d])
            return add(total, part), spoiled | jnp.where(arm, more[1], more[0])

        none = jnp.zeros((d, plan.units), cotangent.dtype)
        total, spoiled = fold(per_boxes, ((none, none), jnp.zeros_like(arm)), boxes)
        rows = jnp.where(spoiled, jnp.nan, whole(total)).T[:n]
        return lax.dynamic_update_slice_in_dim(out, rows, start_of(i, n, plan), 0)

    return fold(per_units, jnp.zeros((n, d), cotangent.dtype), _indices(n, plan))


def _count_words(block: Block, boxes: CodedBoxes, plan: BlockPlan) -> Array:
    words = words_of(block, boxes, plan)
    return jnp.stack(
        [lax.population_count(words & arm).sum(1, dtype=jnp.int32) for arm in block.arms], axis=1
    )


def _count_plain(block: Block, boxes: CodedBoxes) -> Array:
    member, arm = flags_of(block, boxes), block.units.arm
    return jnp.stack([(member & a).sum(1, dtype=jnp.int32) for a in (~arm, arm)], axis=1)


def _xla_counts(units: Units, coded: CodedBoxes, plan: BlockPlan) -> Array:
    boxes = CodedBoxes(*(cut(a, plan.boxes) for a in coded))

    def per_units(totals: Array, i: Array) -> Array:
        block = block_of(units, i, plan, coded.open.shape[2])

        def per_boxes(at: tuple) -> Array:
            box, total = at
            count = partial(_count_words, plan=plan)
            return total + lax.platform_dependent(block, box, cpu=count, default=_count_plain)

        return each(per_boxes, (boxes, totals))

    none = jnp.zeros((*boxes.lower.shape[:2], 2), jnp.int32)
    out = fold(per_units, none, _indices(units.arm.shape[0], plan))
    return out.reshape(-1, 2)[: coded.lower.shape[0]]


# (4) The choice: "auto" is the blocked version on every platform (no GPU kernel has shown a win).


def _chosen(
    implementation: Implementation, reference: Callable, tuned: Callable
) -> Callable[..., Array]:
    if implementation not in ("auto", "reference", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    if implementation == "reference":
        return lambda units, coded, values, plan: reference(units, coded, values)
    return tuned


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _sums(
    units: Units,
    coded: CodedBoxes,
    values: Array,
    plan: BlockPlan,
    implementation: Implementation,
) -> Array:
    chosen = _chosen(implementation, _reference_sums, _xla_sums)
    return chosen(units, coded, values, plan)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _weights(
    units: Units,
    coded: CodedBoxes,
    cotangent: Array,
    plan: BlockPlan,
    implementation: Implementation,
) -> Array:
    chosen = _chosen(implementation, _reference_weights, _xla_weights)
    return chosen(units, coded, cotangent, plan)


# Each is linear in its values, so the gradient of one is the other; boxes carry no gradient.
def _forward(primal: Callable) -> Callable:
    def rule(
        units: Units, coded: CodedBoxes, values: Array, plan: BlockPlan, how: Implementation
    ) -> tuple:
        return primal(units, coded, values, plan, how), (units, coded)

    return rule


def _backward(adjoint: Callable) -> Callable:
    def rule(
        plan: BlockPlan, how: Implementation, boxes: tuple[Units, CodedBoxes], cotangent: Array
    ) -> tuple:
        return None, None, adjoint(*boxes, cotangent, plan, how)

    return rule


_sums.defvjp(_forward(_sums), _backward(_weights))
_weights.defvjp(_forward(_weights), _backward(_sums))


_jitted_sums = jax.jit(_sums, static_argnums=(3, 4))
_jitted_weights = jax.jit(_weights, static_argnums=(3, 4))
_jitted_counts = jax.jit(_xla_counts, static_argnums=2)


# (5) The public functions.


def _height(codes: Array, ladder: int | None) -> int:
    """A bound of how many values a ladder has."""
    if isinstance(codes, Tracer):
        return MISSING if ladder is None else ladder
    host = jax.device_get(codes)
    highest = int(host.max(initial=-1, where=host != MISSING))
    if ladder is not None and highest >= ladder:
        raise ValueError(
            f"ladder is {ladder}, but there is a code {highest}: ladder must be above every code "
            "(or None, to have it read from the codes)."
        )
    return highest + 1


def _plan(
    units: Units, coded: CodedBoxes, row_bytes: int, max_bytes: int, ladder: int | None
) -> BlockPlan:
    """Check the columns; block sizes so that bits, and `row_bytes` a unit, fit the budget."""
    (n, p), c = units.codes.shape, units.levels.shape[1]
    wanted = (coded.lower.shape[1], coded.open.shape[1])
    if (p, c) != wanted:
        raise ValueError(
            f"units have {p} ordered and {c} category columns, boxes {wanted[0]} and {wanted[1]}."
        )
    bits = max(_height(units.codes, ladder) - 1, 1).bit_length()
    digits, width = (1, 3) if bits <= 3 else (-(-bits // 6), 6)
    boxes = min(max(coded.lower.shape[0], 1), BOXES)
    tables = 8 * p * digits * (2**width + 1) + 4 * c * min(coded.open.shape[2], FEW_LEVELS)
    word = tables + 12 * boxes + 32 * (row_bytes + 8 * (p + c))
    words = min(max(max_bytes // word, 1), WORDS, -(-max(n, 1) // 32))
    return BlockPlan(boxes, words, digits, width)


def _bytes(values: Array, columns: int, q: int) -> int:
    """Bytes a unit: membership in a block of boxes as numbers, and two arms of columns, twice."""
    return values.dtype.itemsize * (min(max(q, 1), BOXES) + 4 * columns)


def box_sums(
    units: Units,
    coded: CodedBoxes,
    values: Float[Array, "n d"],
    *,
    max_bytes: int = 2**25,
    ladder: int | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "q 2 d"]:
    """Sum value columns over the units in each box, by arm (0 controls, 1 treated).

    Differentiable in `values` (its gradient is `box_weights`); under vmap and jit.

    **Arguments:** `units`, `coded` (see the classes), `values` (n, d) in any float type,
    `max_bytes` the budget of working memory, `ladder` a bound of how many values a ladder has
    (None: read from the codes). Where codes are traced the bound must hold, and makes the
    call faster.

    **Returns:** (q, 2, d), in the type of `values`.

    **Raises:** ValueError when columns disagree, units and values differ in number, a code lies
    beyond `ladder`, or `implementation` is unknown.
    """
    if values.shape[0] != units.arm.shape[0]:
        raise ValueError(
            f"values has {values.shape[0]} rows, there are {units.arm.shape[0]} units."
        )
    q, d = coded.lower.shape[0], values.shape[1]
    plan = _plan(units, coded, _bytes(values, d, q), max_bytes, ladder)
    return _jitted_sums(units, coded, values, plan, implementation)


def box_weights(
    units: Units,
    coded: CodedBoxes,
    cotangent: Float[Array, "q 2 d"],
    *,
    max_bytes: int = 2**25,
    ladder: int | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "n d"]:
    """Add up, for each unit, the values of the boxes that hold it: the adjoint of `box_sums`.

    sum(box_sums(values) * cotangent) = sum(values * box_weights(cotangent)).

    **Arguments:** as `box_sums`; `cotangent` (q, 2, d), one row a box and arm.

    **Returns:** (n, d).

    **Raises:** as `box_sums`, and ValueError when boxes and cotangent differ in number.
    """
    if cotangent.shape[0] != coded.lower.shape[0]:
        raise ValueError(
            f"cotangent has {cotangent.shape[0]} rows, there are {coded.lower.shape[0]} boxes."
        )
    q, d = coded.lower.shape[0], cotangent.shape[2]
    plan = _plan(units, coded, _bytes(cotangent, d, q), max_bytes, ladder)
    return _jitted_weights(units, coded, cotangent, plan, implementation)


def box_counts(
    units: Units, coded: CodedBoxes, *, max_bytes: int = 2**25, ladder: int | None = None
) -> Int[Array, "q 2"]:
    """Count the units in each box by arm, exactly.

    **Arguments:** as `box_sums`.

    **Returns:** (q, 2) int32: controls, treated.

    **Raises:** as `box_sums`.
    """
    plan = _plan(units, coded, min(coded.lower.shape[0], BOXES), max_bytes, ladder)
    return _jitted_counts(units, coded, plan)
