"""The units nearest to each query in what a surface predicts, by arm.

(1) Formula, shapes, cost
    distance[i, k] = sum_s |at[i, s] - values[k, s]|
    out[i, a]      = the d units k of arm a with the smallest distance, nearest first; of equal
                     ones, those of the lower row
n units, q queries, s surfaces, d units an arm. Operations: 2 s q n, and a partial sort of each
block. Bytes: 8 q (d + block), the block chosen so that this stays within `max_bytes`; nothing is
ever q x n.
"""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Implementation = Literal["auto", "reference", "xla"]


def _finite(distance: Array) -> Array:
    return jnp.where(jnp.isfinite(distance), distance, jnp.inf)


# (2) The reference: all distances at once.


def _reference(values: Array, arm: Array, member: Array, at: Array, d: int) -> tuple[Array, Array]:
    distance = _finite(jnp.abs(at[:, None] - values).sum(-1))
    there = jnp.stack([member & ~arm, member & arm])
    masked = jnp.where(there, distance[:, None], jnp.inf)
    masked = jnp.pad(masked, [(0, 0), (0, 0), (0, d)], constant_values=jnp.inf)
    rows = jnp.argsort(masked, axis=-1, stable=True)[..., :d]
    near = jnp.take_along_axis(masked, rows, -1)
    return jnp.where(near < jnp.inf, rows, values.shape[0]), near


# (3) The tuned version: the nearest so far beside one block of units at a time.


def _streamed(
    values: Array, arm: Array, member: Array, at: Array, d: int, block: int
) -> tuple[Array, Array]:
    n, q = values.shape[0], at.shape[0]
    more = -n % block
    values = jnp.pad(values, [(0, more), (0, 0)]).reshape(-1, block, values.shape[1])
    member, arm = (jnp.pad(each, (0, more)).reshape(-1, block) for each in (member, arm))

    def look(
        kept: tuple[Array, Array], part: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array], None]:
        rows, near = kept
        start, value, there, treated = part
        distance = _finite(jnp.abs(at[:, None] - value).sum(-1))
        new = jnp.stack([there & ~treated, there & treated])
        new = jnp.where(new, distance[:, None], jnp.inf)
        both = jnp.concatenate([near, new], -1)
        least, place = lax.top_k(-both, d)
        names = jnp.concatenate([rows, jnp.broadcast_to(start + jnp.arange(block), new.shape)], -1)
        return (jnp.take_along_axis(names, place, -1), -least), None

    start = (jnp.full((q, 2, d), n), jnp.full((q, 2, d), jnp.inf, at.dtype))
    firsts = jnp.arange(values.shape[0]) * block
    (rows, near), _ = lax.scan(look, start, (firsts, values, member, arm))
    return jnp.where(near < jnp.inf, rows, n), near


# (4) The choice: "auto" is the streamed version on every platform.
# (5) The public function.


def prune_pairs(
    values: Float[Array, "n s"],
    arm: Bool[Array, " n"],
    member: Bool[Array, " n"],
    at: Float[Array, "q s"],
    d: int,
    *,
    max_bytes: int = 2**26,
    implementation: Implementation = "auto",
) -> tuple[Int[Array, "q 2 d"], Float[Array, "q 2 d"]]:
    """The d units of each arm that are nearest to each query in weighted predictions.

    **Arguments:** `values` (n, s) predictions times their weights; `arm` (n,) True for the treated;
    `member` (n,) who may be a neighbour; `at` (q, s) the queries' own, weighted alike.

    **Returns:** rows (q, 2, d), nearest first, n where an arm has fewer, and distances (q, 2, d),
    there infinite. A distance that is NaN or infinite is no neighbour's.

    **Raises:** ValueError for d below 1, or an unknown `implementation`.
    """
    if d < 1:
        raise ValueError(f"d is {d}: at least one unit an arm.")
    if implementation == "reference":
        return _reference(values, arm, member, at, d)
    if implementation not in ("auto", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    block = max(1, max_bytes // (16 * max(at.shape[0], 1)) - d)
    return _streamed(values, arm, member, at, d, min(block, max(values.shape[0], 1)))
