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
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jcausal_kernels.box_blocks import blocked_counts, blocked_sums, blocked_weights
from jcausal_kernels.box_members import (
    FEW_LEVELS,
    MISSING,
    BlockPlan,
    CodedBoxes,
    Units,
    membership,
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


# (3) The tuned version: blocks of units by blocks of boxes, bits for membership (`box_blocks`).
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
    chosen = _chosen(implementation, _reference_sums, blocked_sums)
    return chosen(units, coded, values, plan)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _weights(
    units: Units,
    coded: CodedBoxes,
    cotangent: Array,
    plan: BlockPlan,
    implementation: Implementation,
) -> Array:
    chosen = _chosen(implementation, _reference_weights, blocked_weights)
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
_jitted_counts = jax.jit(blocked_counts, static_argnums=2)


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
