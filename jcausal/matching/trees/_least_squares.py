"""Least squares of many groups of units at once, from their cross products."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels import sums_by_group

CHUNK = 32  # groups whose regressions are fitted at a time


class Blocks(NamedTuple):
    """How units are taken: `rows` of one group in a block, `blocks` at a time."""

    rows: int
    blocks: int


class ScaledSample(eqx.Module):
    """What the regressions see: features and, last, the outcome, centred and scaled.

    `z` (n, f + 1) is what is left of a column less `centre`, over `scale` (f + 1,); `weight` (n,),
    None for 1; `codes` (n, f) the place of each feature among its values, below its `heights`.
    """

    z: Float[Array, "n g"]
    weight: Float[Array, " n"] | None
    codes: Int[Array, "n f"]
    centre: Float[Array, " g"]
    scale: Float[Array, " g"]
    heights: tuple[int, ...] = eqx.field(static=True)
    blocks: Blocks = eqx.field(static=True)


class Runs(NamedTuple):
    """Groups of units, each of which stands together in a list.

    `listed` (m,) units, in which a group has `units` (k,) of them from `start` (k,) on; `first`
    (k,) is the unit whose features and outcome are taken off those of its group.
    """

    listed: Int[Array, " m"]
    start: Int[Array, " k"]
    units: Int[Array, " k"]
    first: Int[Array, " k"]


class Quality(NamedTuple):
    """How well a regression fits: units, adjusted R2, residual squares per weight times n."""

    units: Int[Array, "..."]
    adjusted: Float[Array, "..."]
    residual: Float[Array, "..."]


def precision_of(dtype: jnp.dtype) -> tuple[float, float]:
    """What is added to each variance so that collinear columns do no harm, and what is a tie."""
    return (1e-12, 1e-9) if dtype == jnp.float64 else (2e-5, 1e-4)


def cross_products(
    sample: ScaledSample,
    runs: Runs,
    counts: Callable[[Int[Array, " b"], Int[Array, "b r"]], Bool[Array, "b r"]] | None = None,
    more_shift: Float[Array, "k g"] | float = 0.0,
) -> Float[Array, "k h h"]:
    """Sum w (1, z)(1, z)' over each group, z less that of the group's first unit.

    The shift keeps the digits of groups far from the middle; no statistic around a mean sees it.
    `counts` tells which units of the groups of some blocks are in; None for all. `more_shift` is
    taken off too.
    """
    rows, blocks = sample.blocks
    k, wide = runs.start.shape[0], sample.z.shape[1] + 1
    many = -(-runs.units // rows)
    ends = jnp.cumsum(many)
    shift = sample.z[runs.first] + more_shift
    product = partial(jnp.einsum, "bri,brj->bij", precision=lax.Precision.HIGHEST)

    def more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, total = carry
        at = done + jnp.arange(blocks, dtype=jnp.int32)
        own = jnp.minimum(jnp.searchsorted(ends, at, side="right"), k - 1)
        first = runs.start[own] + (at - ends[own] + many[own]) * rows
        place = first[:, None] + jnp.arange(rows, dtype=jnp.int32)
        beyond = (runs.start + runs.units)[own]
        inside = (at < ends[-1])[:, None] & (place < beyond[:, None])
        unit = runs.listed[jnp.clip(place, 0, runs.listed.shape[0] - 1)]
        if counts is not None:
            inside &= counts(own, unit)
        z = sample.z[unit] - shift[own][:, None]
        one = jnp.where(inside[..., None], jnp.concatenate([jnp.ones_like(z[..., :1]), z], -1), 0)
        heavy = one if sample.weight is None else one * sample.weight[unit][..., None]
        return done + blocks, total + sums_by_group(product(heavy, one), own, k)

    none = jnp.zeros((k, wide, wide), sample.z.dtype)
    start = (jnp.zeros((), jnp.int32), none)
    return lax.while_loop(lambda carry: carry[0] < ends[-1], more, start)[1]


def own_products(
    sample: ScaledSample, order: Int[Array, " n"], start: Int[Array, " k"], units: Int[Array, " k"]
) -> Float[Array, "k h h"]:
    """The cross products of groups that stand together in an order of all units."""
    first = order[jnp.clip(start, 0, order.shape[0] - 1)]
    return cross_products(sample, Runs(order, start, units, first))


def about_another(
    gram: Float[Array, "... h h"], far: Float[Array, "... g"]
) -> Float[Array, "... h h"]:
    """Cross products about a unit as those about another one, which the first is `far` from."""
    weight, sums = gram[..., 0, 0], gram[..., 0, 1:]
    moved = sums + weight[..., None] * far
    cross = far[..., :, None] * sums[..., None, :] + moved[..., :, None] * far[..., None, :]
    top = jnp.concatenate([weight[..., None], moved], -1)[..., None, :]
    rest = jnp.concatenate([moved[..., None], gram[..., 1:, 1:] + cross], -1)
    return jnp.concatenate([top, rest], -2)


class CentralMoments(NamedTuple):
    """Weight, means (less the shift) and products around the means; which columns vary."""

    weight: Float[Array, "..."]
    mean: Float[Array, "... g"]
    product: Float[Array, "... g g"]
    varies: Bool[Array, "... g"]


def moments(gram: Float[Array, "... h h"]) -> CentralMoments:
    """From cross products with the constant first."""
    weight = gram[..., 0, 0]
    mean = gram[..., 0, 1:] / jnp.where(weight > 0, weight, 1)[..., None]
    product = gram[..., 1:, 1:] - weight[..., None, None] * mean[..., :, None] * mean[..., None, :]
    about = jnp.diagonal(gram, axis1=-2, axis2=-1)[..., 1:]
    spread = jnp.diagonal(product, axis1=-2, axis2=-1)
    return CentralMoments(weight, mean, product, spread > 64 * jnp.finfo(gram.dtype).eps * about)


def correlations(found: CentralMoments) -> tuple[Float[Array, "... g g"], Float[Array, "... g"]]:
    """Correlations of the columns that vary (0 for others, 1 on the diagonal), 1 / sqrt(spread)."""
    spread = jnp.diagonal(found.product, axis1=-2, axis2=-1)
    inverse = jnp.where(found.varies, lax.rsqrt(jnp.where(found.varies, spread, 1)), 0)
    scaled = found.product * inverse[..., :, None] * inverse[..., None, :]
    eye = jnp.eye(spread.shape[-1], dtype=spread.dtype)
    return scaled * (1 - eye) + eye, inverse


def quality(gram: Float[Array, "... h h"], count: Int[Array, "..."], free: Array) -> Quality:
    """Adjusted R2 and residuals of the regression of the last column on the others.

    1 - (1 - R2)(n - 1)/(n - free - 1); 1 for an outcome that does not vary; -inf where n is at
    most free + 1. By the Cholesky root of the correlations, a trifle added to their diagonal.
    """
    found, n = moments(gram), count.astype(gram.dtype)
    trifle = precision_of(gram.dtype)[0]
    matrix = correlations(found)[0]
    root = jnp.linalg.cholesky(matrix + trifle * jnp.eye(matrix.shape[-1], dtype=matrix.dtype))
    rest = jnp.clip(root[..., -1, -1] ** 2 - trifle, 0, 1)
    rest = jnp.where(found.varies[..., -1], rest, 0)
    able = count > free + 1
    adjusted = 1 - rest * (n - 1) / jnp.where(able, n - free - 1, 1)
    adjusted = jnp.where(found.varies[..., -1], jnp.where(able, adjusted, -jnp.inf), 1)
    per = found.product[..., -1, -1] / jnp.where(found.weight > 0, found.weight, 1)
    return Quality(count, adjusted, rest * jnp.maximum(per, 0) * n)


class LeastSquares(NamedTuple):
    """Least squares of each group in the columns' own units.

    `weight` (k,) of the group's units, `centre` (k, f) and `level` (k,) weighted means of features
    and outcome, `slope` (k, f); `root` (k, f, f) R with R R' the pseudo-inverse of the products
    around the means; `rank` (k,) of these; `rss` (k,) weighted residual sum of squares.
    """

    weight: Float[Array, " k"]
    centre: Float[Array, "k f"]
    level: Float[Array, " k"]
    slope: Float[Array, "k f"]
    root: Float[Array, "k f f"]
    rank: Int[Array, " k"]
    rss: Float[Array, " k"]


def least_squares(
    sample: ScaledSample, gram: Float[Array, "k h h"], first: Int[Array, " k"]
) -> LeastSquares:
    """The regression of the outcome on the features, from cross products about a unit each.

    Of equally good slopes the shortest, in units of each column's standard deviation in the group.
    Eigenvalues of the correlations below 1e-9 (float32: 1e-5) of the number of columns count as 0,
    and so do constant columns.
    """
    found = moments(gram)
    matrix, inverse = correlations(found)
    varies, spread = found.varies[:, :-1], inverse[:, :-1]
    inner, with_last = matrix[:, :-1, :-1], matrix[:, :-1, -1] * found.varies[:, -1:]
    inner = jnp.where(varies[:, :, None] & varies[:, None, :], inner, 0)
    values, vectors = jnp.linalg.eigh(inner)
    least = (1e-9 if inner.dtype == jnp.float64 else 1e-5) * inner.shape[1]
    kept = values > least
    root = vectors * jnp.where(kept, lax.rsqrt(jnp.where(kept, values, 1)), 0)[:, None]
    precise = lax.Precision.HIGHEST
    along = jnp.einsum("kij,ki->kj", root, with_last, precision=precise)
    slope = jnp.einsum("kij,kj->ki", root, along, precision=precise)
    total = found.product[:, -1, -1]
    explained = jnp.square(along).sum(1)
    mean = (found.mean + sample.z[first]) * sample.scale + sample.centre
    scale, y_scale = sample.scale[:-1], sample.scale[-1]
    slope = slope * spread * jnp.sqrt(jnp.maximum(total, 0))[:, None]
    rss = jnp.where(found.varies[:, -1], jnp.clip(1 - explained, 0, 1) * total, 0)
    return LeastSquares(
        weight=found.weight,
        centre=mean[:, :-1],
        level=mean[:, -1],
        slope=slope * (y_scale / scale),
        root=root * spread[:, :, None] / scale[:, None],
        rank=kept.sum(1).astype(jnp.int32),
        rss=rss * y_scale**2,
    )


def over_chunks(open_: Bool[Array, " s"], state: Any, some: Callable) -> Any:
    """Fold `some(state, places, whether each is open)` over the open places, `CHUNK` at a time."""
    chunk, many = min(CHUNK, open_.shape[0]), open_.sum()
    listed = jnp.argsort(~open_, stable=True).astype(jnp.int32)
    listed = jnp.pad(listed, (0, chunk), constant_values=0)

    def step(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        done, state = carry
        place = lax.dynamic_slice_in_dim(listed, done, chunk)
        return done + chunk, some(state, place, done + jnp.arange(chunk) < many)

    first = (jnp.zeros((), jnp.int32), state)
    return lax.while_loop(lambda carry: carry[0] < many, step, first)[1]


def put_rows(arrays: Any, rows: Any, place: Int[Array, " k"], there: Bool[Array, " k"]) -> Any:
    """Trees of arrays (s, ...) with some rows set, those that are there."""

    def put(array: Array, row: Array) -> Array:
        return array.at[jnp.where(there, place, array.shape[0])].set(row, mode="drop")

    return jax.tree.map(put, arrays, rows)
