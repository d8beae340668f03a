"""Sums over the units in boxes, and their adjoint, in blocks of units by blocks of boxes.

Every operation has two ways to look at a block: as words, 32 units in each, on a CPU; and by plain
comparison elsewhere. A value that is not finite is added as 0, and who holds it is kept beside.
"""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal_kernels.blocks import add, cut, each, fold, whole
from jcausal_kernels.box_members import (
    Block,
    BlockPlan,
    CodedBoxes,
    Units,
    block_of,
    flags_of,
    pack,
    rows_at,
    scan_bits,
    start_of,
    words_of,
)


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


def blocked_sums(
    units: Units, coded: CodedBoxes, values: Float[Array, "n d"], plan: BlockPlan
) -> Float[Array, "q 2 d"]:
    """`box_sums`, block by block."""
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


def blocked_weights(
    units: Units, coded: CodedBoxes, cotangent: Float[Array, "q 2 d"], plan: BlockPlan
) -> Float[Array, "n d"]:
    """`box_weights`, block by block."""
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


def blocked_counts(units: Units, coded: CodedBoxes, plan: BlockPlan) -> Int[Array, "q 2"]:
    """`box_counts`, block by block."""
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
