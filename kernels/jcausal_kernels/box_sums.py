"""Sums over the units in each box, and the adjoint of that sum.

(1) Formula, shapes, cost
    member[q, k] = all_j (lower[q, j] <= codes[k, j] <= upper[q, j] or codes[k, j] = MISSING)
                   and all_c open[q, c, level[k, c]]
    box_sums:    out[q, a, :] = sum_{k: arm[k] = a} member[q, k] values[k, :]
    box_counts:  out[q, a]    = sum_{k: arm[k] = a} member[q, k]               (int32)
    box_weights: out[k, :]    = sum_q member[q, k] cotangent[q, arm[k], :]     (the adjoint)
n units, q boxes, p ordered columns, c category columns, d value columns. MISSING is the code of a
value that is missing: it passes every interval, and a category's levels alone decide on it.
Operations: q n (2 p + c) comparisons and 4 q n (d + 1) flops. Bytes: the codes once per block of
boxes, 4 n p q / block; working memory is at most `max_bytes`, never q x n.
A value that is not finite makes NaN the boxes that hold its unit and no others.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Implementation = Literal["auto", "reference", "xla"]
MISSING = 2**31 - 1  # above every rung; the rungs of a box lie between -MISSING and MISSING


class Units(NamedTuple):
    """The units on their ladders: a unit with a negative code is in no box.

    A code of `MISSING` passes every interval of its column.
    """

    codes: Int[Array, "n p"]
    levels: Int[Array, "n c"]
    arm: Bool[Array, " n"]


class Rungs(NamedTuple):
    """Boxes on the ladders: inclusive rungs, and for each category the levels that are open."""

    lower: Int[Array, "q p"]
    upper: Int[Array, "q p"]
    open: Bool[Array, "q c l"]


# (2) The reference: the definition, with the whole q x n matrix.


def membership(units: Units, rungs: Rungs) -> Bool[Array, "q n"]:
    """Tell which unit is in which box, as a whole matrix: for references and single boxes.

    **Returns:** (q, n) bool.
    """
    lower, upper, codes = rungs.lower.T, rungs.upper.T, units.codes.T
    least = jnp.where(codes == MISSING, -MISSING, codes)  # below every upper rung
    columns = [
        (lower[j][:, None] <= codes[j]) & (least[j] <= upper[j][:, None])
        for j in range(codes.shape[0])
    ]
    sets = [rungs.open[:, c][:, units.levels[:, c]] for c in range(units.levels.shape[1])]
    everyone = jnp.ones((rungs.lower.shape[0], units.arm.shape[0]), bool)
    return reduce(jnp.logical_and, columns + sets, everyone)


def _reference_sums(units: Units, rungs: Rungs, values: Array) -> Array:
    finite = jnp.isfinite(values).all(1, keepdims=True)
    values = jnp.where(finite, values, jnp.nan)
    member = membership(units, rungs)[:, None, :, None]
    arm = jnp.stack([~units.arm, units.arm])[None, :, :, None]
    return jnp.where(member & arm, values, 0).sum(2)


def _reference_weights(units: Units, rungs: Rungs, cotangent: Array) -> Array:
    finite = jnp.isfinite(cotangent).all(2, keepdims=True)
    own_arm = jnp.where(finite, cotangent, jnp.nan)[:, units.arm.astype(int)]
    return jnp.where(membership(units, rungs)[:, :, None], own_arm, 0).sum(0)


# (3) The tuned version: blocks of boxes by blocks of units, a matmul in each.


def _blocks(n: int, q: int, max_bytes: int) -> tuple[int, int]:
    """Block sizes (boxes, units) so that one block's membership fits the byte budget."""
    boxes = min(max(q, 1), 256)
    units = max(128, max_bytes // (8 * boxes))
    return boxes, min(max(n, 1), units, 2**24 - 1)


def _cut(array: Array, block: int, fill: int | bool) -> Array:
    """Pad the first axis to whole blocks and split it: (rows, ...) -> (blocks, block, ...)."""
    pad = -array.shape[0] % block
    padded = jnp.pad(array, [(0, pad)] + [(0, 0)] * (array.ndim - 1), constant_values=fill)
    return padded.reshape(padded.shape[0] // block, block, *array.shape[1:])


def _cut_units(units: Units, block: int) -> Units:
    return Units(
        _cut(units.codes, block, -1), _cut(units.levels, block, 0), _cut(units.arm, block, False)
    )


def _cut_rungs(rungs: Rungs, block: int) -> Rungs:
    return Rungs(
        _cut(rungs.lower, block, 1), _cut(rungs.upper, block, 0), _cut(rungs.open, block, False)
    )


def _by_arm(values: Array, arm: Array) -> Array:
    """Columns for the controls, then the same for the treated: (n, d) -> (n, 2 d)."""
    return jnp.concatenate(
        [jnp.where(arm[:, None], 0, values), jnp.where(arm[:, None], values, 0)], axis=1
    )


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _stream(
    units: Units, rungs: Rungs, values: Array, sizes: tuple[int, int], dtype: jnp.dtype
) -> Array:
    """sum_k member[q, k] values[k] per arm, accumulated in `dtype`: (q, 2, d)."""
    q, d = rungs.lower.shape[0], values.shape[1]
    unit_blocks = (_cut_units(units, sizes[1]), _cut(values, sizes[1], 0))

    def per_box_block(block: Rungs) -> Array:
        def add(total: Array, unit_block: tuple[Units, Array]) -> tuple[Array, None]:
            member = membership(unit_block[0], block).astype(values.dtype)
            part = _matmul(member, _by_arm(unit_block[1], unit_block[0].arm))
            return total + part.astype(dtype), None

        start = jnp.zeros((sizes[0], 2 * d), dtype)
        return lax.scan(add, start, unit_blocks)[0]

    out = lax.map(per_box_block, _cut_rungs(rungs, sizes[0]))
    return out.reshape(-1, 2, d)[:q]


def _xla_sums(units: Units, rungs: Rungs, values: Array, sizes: tuple[int, int]) -> Array:
    finite = jnp.isfinite(values)
    bad = ~finite.all(1, keepdims=True)
    columns = jnp.concatenate([jnp.where(finite, values, 0), bad.astype(values.dtype)], axis=1)
    out = _stream(units, rungs, columns, sizes, values.dtype)
    return jnp.where(out[..., -1:] > 0, jnp.nan, out[..., :-1])


def _xla_weights(units: Units, rungs: Rungs, cotangent: Array, sizes: tuple[int, int]) -> Array:
    n, d = units.arm.shape[0], cotangent.shape[2]
    finite = jnp.isfinite(cotangent)
    bad = ~finite.all(2, keepdims=True)
    columns = jnp.concatenate([jnp.where(finite, cotangent, 0), bad], axis=2)
    columns = _cut(columns.astype(cotangent.dtype).reshape(-1, 2 * (d + 1)), sizes[0], 0)
    box_blocks = (_cut_rungs(rungs, sizes[0]), columns)

    def per_unit_block(block: Units) -> Array:
        def add(total: Array, box_block: tuple[Rungs, Array]) -> tuple[Array, None]:
            member = membership(block, box_block[0]).astype(cotangent.dtype)
            return total + _matmul(member.T, box_block[1]), None

        start = jnp.zeros((sizes[1], 2 * (d + 1)), cotangent.dtype)
        both = lax.scan(add, start, box_blocks)[0].reshape(-1, 2, d + 1)
        return jnp.where(block.arm[:, None], both[:, 1], both[:, 0])

    out = lax.map(per_unit_block, _cut_units(units, sizes[1])).reshape(-1, d + 1)[:n]
    return jnp.where(out[:, -1:] > 0, jnp.nan, out[:, :-1])


# (4) The choice: "auto" is the blocked version on every platform (no GPU kernel has shown a win).


def _chosen(
    implementation: Implementation, reference: Callable, tuned: Callable
) -> Callable[..., Array]:
    if implementation not in ("auto", "reference", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    if implementation == "reference":
        return lambda units, rungs, values, sizes: reference(units, rungs, values)
    return tuned


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _sums(
    units: Units,
    rungs: Rungs,
    values: Array,
    sizes: tuple[int, int],
    implementation: Implementation,
) -> Array:
    chosen = _chosen(implementation, _reference_sums, _xla_sums)
    return chosen(units, rungs, values, sizes)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _weights(
    units: Units,
    rungs: Rungs,
    cotangent: Array,
    sizes: tuple[int, int],
    implementation: Implementation,
) -> Array:
    chosen = _chosen(implementation, _reference_weights, _xla_weights)
    return chosen(units, rungs, cotangent, sizes)


# Each is linear in its values, so the gradient of one is the other; boxes carry no gradient.
def _forward(primal: Callable) -> Callable:
    def rule(
        units: Units, rungs: Rungs, values: Array, sizes: tuple[int, int], how: Implementation
    ) -> tuple:
        return primal(units, rungs, values, sizes, how), (units, rungs)

    return rule


def _backward(adjoint: Callable) -> Callable:
    def rule(
        sizes: tuple[int, int], how: Implementation, boxes: tuple[Units, Rungs], cotangent: Array
    ) -> tuple:
        return None, None, adjoint(*boxes, cotangent, sizes, how)

    return rule


_sums.defvjp(_forward(_sums), _backward(_weights))
_weights.defvjp(_forward(_weights), _backward(_sums))


def _counts(units: Units, rungs: Rungs, sizes: tuple[int, int]) -> Array:
    ones = jnp.ones((units.arm.shape[0], 1), jnp.float32)
    return _stream(units, rungs, ones, sizes, jnp.dtype(jnp.int32))[..., 0]


_jitted_sums = jax.jit(_sums, static_argnums=(3, 4))
_jitted_weights = jax.jit(_weights, static_argnums=(3, 4))
_jitted_counts = jax.jit(_counts, static_argnums=2)


# (5) The public functions.


def _check(units: Units, rungs: Rungs) -> None:
    shapes = (units.codes.shape[1], units.levels.shape[1])
    wanted = (rungs.lower.shape[1], rungs.open.shape[1])
    if shapes != wanted:
        raise ValueError(
            f"units have {shapes[0]} ordered and {shapes[1]} category columns, "
            f"boxes {wanted[0]} and {wanted[1]}."
        )


def box_sums(
    units: Units,
    rungs: Rungs,
    values: Float[Array, "n d"],
    *,
    max_bytes: int = 2**25,
    implementation: Implementation = "auto",
) -> Float[Array, "q 2 d"]:
    """Sum value columns over the units in each box, by arm (0 controls, 1 treated).

    Differentiable in `values` (its gradient is `box_weights`); under vmap and jit.

    **Arguments:** `units`, `rungs` (see the classes), `values` (n, d) in any float type,
    `max_bytes` the budget of working memory.

    **Returns:** (q, 2, d), in the type of `values`.

    **Raises:** ValueError when columns disagree or `implementation` is unknown.
    """
    _check(units, rungs)
    sizes = _blocks(units.arm.shape[0], rungs.lower.shape[0], max_bytes)
    return _jitted_sums(units, rungs, values, sizes, implementation)


def box_weights(
    units: Units,
    rungs: Rungs,
    cotangent: Float[Array, "q 2 d"],
    *,
    max_bytes: int = 2**25,
    implementation: Implementation = "auto",
) -> Float[Array, "n d"]:
    """Add up, for each unit, the values of the boxes that hold it: the adjoint of `box_sums`.

    sum(box_sums(values) * cotangent) = sum(values * box_weights(cotangent)).

    **Arguments:** as `box_sums`; `cotangent` (q, 2, d), one row a box and arm.

    **Returns:** (n, d).

    **Raises:** as `box_sums`, and ValueError when boxes and cotangent differ in number.
    """
    _check(units, rungs)
    if cotangent.shape[0] != rungs.lower.shape[0]:
        raise ValueError(
            f"cotangent has {cotangent.shape[0]} rows, there are {rungs.lower.shape[0]} boxes."
        )
    sizes = _blocks(units.arm.shape[0], rungs.lower.shape[0], max_bytes)
    return _jitted_weights(units, rungs, cotangent, sizes, implementation)


def box_counts(units: Units, rungs: Rungs, *, max_bytes: int = 2**25) -> Int[Array, "q 2"]:
    """Count the units in each box by arm, exactly (int32; a block never exceeds 2**24 units).

    **Arguments:** as `box_sums`.

    **Returns:** (q, 2) int32: controls, treated.

    **Raises:** as `box_sums`.
    """
    _check(units, rungs)
    n = units.arm.shape[0]
    sizes = _blocks(n, rungs.lower.shape[0], max_bytes)
    return _jitted_counts(units, rungs, sizes)
