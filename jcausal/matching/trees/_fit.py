"""Least squares of many groups of units at once, from their cross products."""

from collections.abc import Callable
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


class Groups(NamedTuple):
    """Units that stand together in a list: where each group starts, its units, one to start from.

    `first` (k,) is the unit whose features and outcome are taken off those of its group.
    """

    start: Int[Array, " k"]
    units: Int[Array, " k"]
    first: Int[Array, " k"]


class Blocks(NamedTuple):
    """How units are taken: `rows` of one group in a block, `blocks` at a time."""

    rows: int
    blocks: int


class Quality(NamedTuple):
    """How well a regression fits: units, adjusted R2, residual squares per weight times n."""

    units: Int[Array, "..."]
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
    design: Design,
    listed: Int[Array, " m"],
    groups: Groups,
    blocks: Blocks,
    counts: Callable[[Int[Array, " b"], Int[Array, "b r"]], Bool[Array, "b r"]] | None = None,
    more_shift: Float[Array, "k g"] | float = 0.0,
) -> Float[Array, "k h h"]:
    """Sum w (1, z)(1, z)' over each group of a list of units, z less a unit's.

    The shift keeps the digits of groups far from the middle; no statistic around a mean sees it.
    `counts` tells which units of the groups of some blocks are in; None for all. `more_shift` is
    taken off too.
    """
    k, m = groups.start.shape[0], listed.shape[0]
    wide = design.z.shape[1] + 1
    many = -(-groups.units // blocks.rows)
    ends = jnp.cumsum(many)
    shift = design.z[groups.first] + more_shift
    product = partial(jnp.einsum, "bri,brj->bij", precision=lax.Precision.HIGHEST)

    def more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, total = carry
        at = done + jnp.arange(blocks.blocks, dtype=jnp.int32)
        own = jnp.minimum(jnp.searchsorted(ends, at, side="right"), k - 1)
        first = groups.start[own] + (at - ends[own] + many[own]) * blocks.rows
        place = first[:, None] + jnp.arange(blocks.rows, dtype=jnp.int32)
        beyond = (groups.start + groups.units)[own]
        inside = (at < ends[-1])[:, None] & (place < beyond[:, None])
        unit = listed[jnp.clip(place, 0, m - 1)]
        if counts is not None:
            inside &= counts(own, unit)
        z = design.z[unit] - shift[own][:, None]
        one = jnp.where(inside[..., None], jnp.concatenate([jnp.ones_like(z[..., :1]), z], -1), 0)
        heavy = one if design.weight is None else one * design.weight[unit][..., None]
        return done + blocks.blocks, total + _add_up(product(heavy, one), own, k)

    none = jnp.zeros((k, wide, wide), design.z.dtype)
    start = (jnp.zeros((), jnp.int32), none)
    return lax.while_loop(lambda carry: carry[0] < ends[-1], more, start)[1]


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


def whole(
    design: Design, order: Int[Array, " n"], start: Array, count: Array, blocks: Blocks
) -> Float[Array, "k h h"]:
    """The cross products of groups that stand together in an order of all units."""
    first = order[jnp.clip(start, 0, order.shape[0] - 1)]
    return cross_products(design, order, Groups(start, count, first), blocks)


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
