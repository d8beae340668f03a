"""Variance of a response surface over the points that a proposed slab adds to a box.

(1) Formula, shapes, cost
    point[i, g, r]         = lower[i, r] + offsets[g, r] (upper[i, r] - lower[i, r])
    point[i, g, column[i]] = start[i] + offsets[g, column[i]] (stop[i] - start[i])  (its column)
    out[i, s]              = (1/G) sum_g (f_s(point[i, g]) - mean_g)^2                   s = 0, 1
m proposals, p covariates, G points. A category column is never interpolated: below one half an
offset means `start`, from one half on `stop`; elsewhere in the row it stands at `lower`.
Operations: m G evaluations of the surface. Bytes: 4 m G p for the points, made in blocks of at
most `max_bytes`. Two-pass variance: the mean is subtracted before squaring.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Implementation = Literal["auto", "reference", "xla"]
Surface = Callable[[Float[Array, "m p"]], Float[Array, "m 2"]]


class Slabs(NamedTuple):
    """m proposals, in the covariates' own units.

    - `lower`, `upper` (m, p): the box around each.
    - `column` (m,): the covariate in which it grows.
    - `start`, `stop` (m,): the stretch of that covariate that is new.
    """

    lower: Float[Array, "m p"]
    upper: Float[Array, "m p"]
    column: Int[Array, " m"]
    start: Float[Array, " m"]
    stop: Float[Array, " m"]


# (2) The reference: all points at once.


def slab_points(
    slabs: Slabs, offsets: Float[Array, "g p"], category: Bool[Array, " p"]
) -> Float[Array, "m g p"]:
    """Lay out the points of each slab.

    **Returns:** (m, g, p), in the covariates' own units.
    """
    share = jnp.where(category, offsets >= 0.5, offsets)
    low, width = slabs.lower[:, None], (slabs.upper - slabs.lower)[:, None]
    inside = low + jnp.where(category, 0, share) * width
    moved = slabs.start[:, None, None] + share * (slabs.stop - slabs.start)[:, None, None]
    columns = jnp.arange(offsets.shape[1])
    return jnp.where(columns == slabs.column[:, None, None], moved, inside)


def _reference(surface: Surface, slabs: Slabs, offsets: Array, category: Array) -> Array:
    points = slab_points(slabs, offsets, category)
    m, g, p = points.shape
    values = surface(points.reshape(m * g, p)).reshape(m, g, 2)
    centred = values - values.mean(1, keepdims=True)
    return jnp.square(centred).mean(1)


# (3) The tuned version: blocks of slabs within the byte budget.


def _blocked(surface: Surface, slabs: Slabs, offsets: Array, category: Array, block: int) -> Array:
    m = slabs.column.shape[0]
    if m <= block:
        return _reference(surface, slabs, offsets, category)
    pad = -m % block
    padded = [jnp.pad(a, [(0, pad)] + [(0, 0)] * (a.ndim - 1), mode="edge") for a in slabs]
    blocks = Slabs(*(a.reshape(-1, block, *a.shape[1:]) for a in padded))
    out = lax.map(lambda b: _reference(surface, b, offsets, category), blocks)
    return out.reshape(-1, 2)[:m]


# (4) The choice: "auto" is the blocked version on every platform.
# (5) The public function.


def grid_variance(
    surface: Surface,
    slabs: Slabs,
    offsets: Float[Array, "g p"],
    category: Bool[Array, " p"],
    *,
    max_bytes: int = 2**26,
    implementation: Implementation = "auto",
) -> Float[Array, "m 2"]:
    """Variance (population form) of both surfaces over the points of each proposed slab.

    **Arguments:** `surface` maps points (m, p) to (m, 2); `slabs` the m proposals; `offsets`
    (g, p) in [0, 1], where the points stand between the ends; `category` (p,) which columns hold
    a level; `max_bytes` the budget for the points of one block.

    **Returns:** (m, 2), in squared outcome units.

    **Raises:** ValueError for offsets of another width, or an unknown `implementation`.
    """
    g, p = offsets.shape
    if slabs.lower.shape[1] != p or category.shape[0] != p:
        raise ValueError(f"offsets have {p} columns, slabs {slabs.lower.shape[1]}.")
    if implementation == "reference":
        return _reference(surface, slabs, offsets, category)
    if implementation not in ("auto", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    block = max(1, max_bytes // (g * p * offsets.dtype.itemsize))
    return _blocked(surface, slabs, offsets, category, block)
