"""Least squares of many groups of units at once, from their cross products."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


class Design(NamedTuple):
    """What the regressions see: features and, last, the outcome, centred and scaled.

    `z` (n, f + 1); `weight` (n,), None for 1; `codes` (n, f) the place of each feature among its
    values.
    """

    z: Float[Array, "n g"]
    weight: Float[Array, " n"] | None
    codes: Int[Array, "n f"]


class Part(NamedTuple):
    """Groups of units that stand together in an order, each cut in two at a feature's rung."""

    start: Int[Array, " k"]
    count: Int[Array, " k"]
    feature: Int[Array, " k"]
    cut: Int[Array, " k"]


class Blocks(NamedTuple):
    """How units are taken: `rows` of one group in a block, `blocks` at a time."""

    rows: int
    blocks: int


class Quality(NamedTuple):
    """How well a regression fits: units, adjusted R2, residual sum of squares per weight times n."""

    count: Int[Array, "..."]
    adjusted: Float[Array, "..."]
    residual: Float[Array, "..."]


def precision_of(dtype: jnp.dtype) -> tuple[float, float]:
    """What is added to each variance so that collinear columns do no harm, and what is a tie."""
    return (1e-12, 1e-9) if dtype == jnp.float64 else (2e-5, 1e-4)


def _add_up(parts: Array, place: Array, groups: int) -> Array:
    """Sums of the blocks of each group."""

    def by_matmul(parts: Array, place: Array) -> Array:
        one = (place == jnp.arange(groups)[:, None]).astype(parts.dtype)
        flat = jnp.matmul(one, parts.reshape(len(place), -1), precision=lax.Precision.HIGHEST)
        return flat.reshape(groups, *parts.shape[1:])

    return lax.platform_dependent(
        parts,
        place,
        cpu=lambda parts, place: jax.ops.segment_sum(parts, place, groups),
        default=by_matmul,
    )


def cross_products(
    design: Design, order: Int[Array, " n"], part: Part, blocks: Blocks
) -> tuple[Float[Array, "k 2 h h"], Int[Array, "k 2"]]:
    """Sum w (1, z)(1, z)' and units on either side of each group's cut, z less a unit of the group.

    The shift keeps the digits of groups far from the middle; no statistic around a mean sees it.
    """
    groups, n = part.start.shape[0], order.shape[0]
    many = -(-part.count // blocks.rows)
    ends = jnp.cumsum(many)
    shift = design.z[order[jnp.clip(part.start, 0, n - 1)]]
    product = partial(jnp.einsum, "bri,brj->bij", precision=lax.Precision.HIGHEST)

    def more(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        done, total, units = carry
        at = done + jnp.arange(blocks.blocks, dtype=jnp.int32)
        k = jnp.minimum(jnp.searchsorted(ends, at, side="right"), groups - 1)
        first = part.start[k] + (at - ends[k] + many[k]) * blocks.rows
        place = first[:, None] + jnp.arange(blocks.rows, dtype=jnp.int32)
        inside = (at < ends[-1])[:, None] & (place < (part.start + part.count)[k][:, None])
        row = order[jnp.clip(place, 0, n - 1)]
        z = design.z[row] - shift[k][:, None]
        one = jnp.where(inside[..., None], jnp.concatenate([jnp.ones_like(z[..., :1]), z], -1), 0)
        low = inside & (design.codes[row, part.feature[k][:, None]] <= part.cut[k][:, None])
        heavy = one if design.weight is None else one * design.weight[row][..., None]
        both = product(heavy, one)
        left = product(jnp.where(low[..., None], heavy, 0), one)
        counts = jnp.stack([low.sum(1), (inside & ~low).sum(1)], 1).astype(z.dtype)
        total = total + _add_up(jnp.stack([left, both - left], 1), k, groups)
        units = units + _add_up(counts, k, groups).astype(jnp.int32)
        return done + blocks.blocks, total, units

    wide = design.z.shape[1] + 1
    none = jnp.zeros((groups, 2, wide, wide), design.z.dtype)
    start = (jnp.zeros((), jnp.int32), none, jnp.zeros((groups, 2), jnp.int32))
    return lax.while_loop(lambda carry: carry[0] < ends[-1], more, start)[1:]


class Moments(NamedTuple):
    """Weight, means (less the shift) and products around the means; which columns vary."""

    weight: Float[Array, "..."]
    mean: Float[Array, "... g"]
    product: Float[Array, "... g g"]
    varies: Bool[Array, "... g"]


def moments(gram: Float[Array, "... h h"]) -> Moments:
    """From cross products with the constant first."""
    weight = gram[..., 0, 0]
    mean = gram[..., 0, 1:] / jnp.where(weight > 0, weight, 1)[..., None]
    product = gram[..., 1:, 1:] - weight[..., None, None] * mean[..., :, None] * mean[..., None, :]
    about = jnp.diagonal(gram, axis1=-2, axis2=-1)[..., 1:]
    spread = jnp.diagonal(product, axis1=-2, axis2=-1)
    return Moments(weight, mean, product, spread > 64 * jnp.finfo(gram.dtype).eps * about)


def correlations(found: Moments) -> tuple[Float[Array, "... g g"], Float[Array, "... g"]]:
    """Correlations of the columns that vary (0 for others, 1 with themselves), and 1 / sqrt(spread)."""
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


class Solved(NamedTuple):
    """Least squares of each group in the columns' own scale: slopes, rank, rss.

    `root` R with R R' the pseudo-inverse of the products around the means.
    """

    slope: Float[Array, "k f"]
    root: Float[Array, "k f f"]
    rank: Int[Array, " k"]
    rss: Float[Array, " k"]


def solve(found: Moments) -> Solved:
    """Slopes of the last column on the others; of equally good ones the shortest.

    Short in units of each column's standard deviation in the group. Eigenvalues of the correlations
    below 1e-9 (float32: 1e-5) of the number of columns count as 0, and so do constant columns.
    """
    matrix, inverse = correlations(found)
    varies, scale = found.varies[:, :-1], inverse[:, :-1]
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
    return Solved(
        slope * scale * jnp.sqrt(jnp.maximum(total, 0))[:, None],
        root * scale[:, :, None],
        kept.sum(1).astype(jnp.int32),
        jnp.where(found.varies[:, -1], jnp.clip(1 - explained, 0, 1) * total, 0),
    )
