"""The regressions of a tree's leaves on other units than it was grown on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal.data import bucket, pad_rows, to_device
from jcausal.matching.trees._finish import ranges
from jcausal.matching.trees._group_sums import units_by_group
from jcausal.matching.trees._least_squares import CHUNK, Blocks, least_squares, own_products
from jcausal.matching.trees._prepare import TrainingRows, scaled
from jcausal.matching.trees._projections import projecting_rows


class RefitRows(NamedTuple):
    """Units by leaf.

    `features` (n, f) and `weight` (n,) of every unit; `leaf` (n,) that it falls into, -1 for none;
    `member` (n,) the leaf whose regression it is in, -1 for none.
    """

    features: Float[Array, "n f"]
    weight: Float[Array, " n"]
    leaf: Int[Array, " n"]
    member: Int[Array, " n"]


class Refitted(NamedTuple):
    """Fields of `LeafRegressions`: see there."""

    row: Float[Array, "n h"]
    lower: Float[Array, "l f"]
    upper: Float[Array, "l f"]
    rank: Int[Array, " l"]
    controls: Int[Array, " l"]


def refit_traced(rows: RefitRows, leaves: int) -> Refitted:
    """Regressions of all leaves, worked out in float64."""
    dtype = rows.features.dtype
    with jax.enable_x64(True):
        x, w = rows.features.astype(jnp.float64), rows.weight.astype(jnp.float64)
        found = _refit(rows._replace(features=x, weight=w), leaves)
        return Refitted(*(a.astype(dtype) if a.dtype == jnp.float64 else a for a in found))


def refit_on_host(rows: RefitRows, leaves: int) -> Refitted:
    """The same in shapes that near sizes share."""
    n, dtype = rows.leaf.shape[0], rows.features.dtype
    wide, none = bucket(n), np.int32(-1)
    x, w = (pad_rows(np.asarray(a, np.float64), wide) for a in (rows.features, rows.weight))
    leaf, member = (pad_rows(np.asarray(a), wide, none) for a in (rows.leaf, rows.member))
    with jax.enable_x64(True):
        row, *rest = map(np.asarray, _jitted(RefitRows(x, w, leaf, member), bucket(leaves)))
    cut = [row[:n], *(a[:leaves] for a in rest)]
    return Refitted(*(to_device(a.astype(dtype) if a.dtype.kind == "f" else a) for a in cut))


def _refit(rows: RefitRows, leaves: int) -> Refitted:
    features, use = rows.features, rows.member >= 0
    place = jnp.where(use, rows.member, leaves)
    order = jnp.argsort(place, stable=True).astype(jnp.int32)
    count = units_by_group(rows.member, use, leaves)
    start = (jnp.cumsum(count) - count).astype(jnp.int32)
    codes, blank = jnp.zeros(features.shape, jnp.int32), jnp.zeros(len(use), features.dtype)
    seen = TrainingRows(features, blank, rows.weight, use, codes)
    sample = scaled(seen, (), Blocks(32, 32))

    def some(at: tuple[Array, Array]) -> tuple[Array, ...]:
        gram = own_products(sample, order, *at)
        found = least_squares(sample, gram, order[at[0]])
        return found.weight, found.centre, found.root, found.rank

    chunk = min(CHUNK, leaves)
    parts = (jnp.pad(a, (0, -leaves % chunk)).reshape(-1, chunk) for a in (start, count))
    mapped = lax.map(some, tuple(parts))
    mass, centre, root, rank = (a.reshape(-1, *a.shape[2:])[:leaves] for a in mapped)
    row = projecting_rows(features, rows.leaf, mass, centre, root)
    return Refitted(row, *ranges(features, place, leaves), rank, count)


_jitted = jax.jit(_refit, static_argnums=1)
