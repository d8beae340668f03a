"""What the regressions of leaves make of columns: formulas over the rows that project.

A control k of weight w_k carries w_k row_q' row_k in the prediction at a query q of its leaf; the
treated arm of a group is the query itself.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Values, add_at, on_host
from jcausal.matching.trees._group_sums import (
    members,
    quadratic_forms,
    rows_of_block,
    square_sums,
    sums_by_group,
)


class LeafArrays(NamedTuple):
    """What the formulas use: of n units, q queries and l leaves.

    `row`, `leaf`, `rank` and `controls` as in `LeafRegressions`, the others as in `Matching`.
    """

    row: Float[Array, "n h"]
    leaf: Int[Array, " n"]
    rank: Int[Array, " l"]
    controls: Int[Array, " l"]
    t: Bool[Array, " n"]
    valid: Bool[Array, " n"]
    fold: Int[Array, " n"]
    weight: Float[Array, " n"]
    query: Int[Array, " q"]
    query_fold: Int[Array, " q"]


def _carries(lib: Any, on: LeafArrays) -> Any:
    """Weights of the controls that regressions may use: (n,)."""
    return lib.where(~on.t & (on.fold >= 0) & on.valid, on.weight, 0)


def _own(lib: Any, on: LeafArrays) -> Any:
    """Weights of the treated queries, which are the treated arm of their group: (q,)."""
    use = on.t[on.query] & (on.query_fold == on.fold[on.query])
    return lib.where(use, on.weight[on.query], 0)


@on_host
def carried_and_own(lib: Any, on: LeafArrays) -> tuple[Float[Array, " n"], Float[Array, " q"]]:
    """Weights of the controls that regressions may use, and of the treated queries."""
    return _carries(lib, on), _own(lib, on)


def _sums(lib: Any, on: LeafArrays, values: Float[Values, "n d"], power: int) -> Any:
    groups, dtype = on.rank.shape[0], values.dtype
    weight, at = _carries(lib, on).astype(dtype), on.leaf[on.query]
    row, clean = on.row.astype(dtype), lib.where(weight[:, None] > 0, values, 0)
    here = row[on.query]
    if power == 1:
        totals = sums_by_group(lib, row * weight[:, None], clean, on.leaf, groups)
        each = [(totals[..., i][at] * here).sum(1) for i in range(totals.shape[2])]
        control = lib.stack(each, axis=1) if each else lib.zeros((len(here), 0), dtype)
    else:
        columns = clean * lib.square(weight)[:, None]
        control = square_sums(lib, row, columns, on.leaf, here, at, groups)
    own = _own(lib, on).astype(dtype)[:, None]
    treated = lib.where(own > 0, values[on.query] * own**power, 0)
    return lib.stack([lib.where((at >= 0)[:, None], control, 0), treated], axis=1)


@on_host
def projected_sums(
    lib: Any, on: LeafArrays, values: Float[Array, "n d"], power: int
) -> Float[Array, "q 2 d"]:
    """Predictions of each column at each query; with power 2 sums by squared weights."""
    return _sums(lib, on, values, power)


@on_host
def projected_scatter(
    lib: Any, on: LeafArrays, shares: Float[Array, "q 2"], power: int
) -> Float[Array, " n"]:
    """The adjoint of `projected_sums`."""
    groups, dtype = on.rank.shape[0], shares.dtype
    at, row = on.leaf[on.query], on.row.astype(dtype)
    here = row[on.query]
    if power == 1:
        total = sums_by_group(lib, here, shares[:, :1], at, groups)[..., 0]
        found = (total[on.leaf] * row).sum(1)
    else:
        found = quadratic_forms(lib, here, shares[:, 0], at, row, on.leaf, groups)
    found = lib.where(on.leaf >= 0, found, 0) * _carries(lib, on).astype(dtype) ** power
    own = shares[:, 1] * _own(lib, on).astype(dtype) ** power
    return found + add_at(lib, on.row.shape[0], on.query, own)


def _squares(lib: Any, on: LeafArrays) -> Any:
    here = on.row[on.query]
    known = on.weight[on.valid] if lib is np else None
    if known is None or (known != known[0]).any():
        return _sums(lib, on, lib.ones((on.row.shape[0], 1), on.row.dtype), 2)[..., 0]
    control = lib.where(on.leaf[on.query] >= 0, known[0] * lib.square(here).sum(1), 0)
    return lib.stack([control, _own(lib, on) ** 2], axis=1)


@on_host
def squared_weights(lib: Any, on: LeafArrays) -> Float[Array, "q 2"]:
    """Sum of the squared weights of each group by arm: with equal weights w |row|^2."""
    return _squares(lib, on)


@on_host
def projected_totals(
    lib: Any, on: LeafArrays, y: Float[Array, " n"], also: Float[Array, "n d"] | None
) -> Float[Array, "q 2 e"]:
    """`Matching.totals`: a group's variance is that of its leaf's residuals."""
    columns = lib.stack([lib.ones_like(y), y], axis=1)
    columns = columns if also is None else lib.concatenate([columns, also], axis=1)
    sums = _sums(lib, on, columns, 1)
    total, square = sums[..., 0], _squares(lib, on).astype(y.dtype)
    effective = total**2 / lib.where(square > 0, square, 1)
    at = on.leaf[on.query]
    noise = lib.where(at >= 0, _residuals(lib, on, y)[2][at], 0)
    spread = lib.stack([noise, lib.zeros_like(noise)], axis=1)
    spread = spread * total * (1 - 1 / lib.where(effective > 1, effective, 1))
    heavy = 1 / lib.where(effective > 0, effective, 1)
    found = lib.stack([total, sums[..., 1], spread, effective, heavy], axis=2)
    return lib.concatenate([found, sums[..., 2:]], axis=2)


@on_host
def group_sizes(lib: Any, on: LeafArrays) -> Int[Array, "q 2"]:
    """Controls of each query's leaf, and the query itself."""
    at = on.leaf[on.query]
    controls = lib.where(at >= 0, on.controls[at], 0)
    return lib.stack([controls, (_own(lib, on) > 0).astype(controls.dtype)], axis=1)


@on_host
def beyond_controls(
    lib: Any,
    on: LeafArrays,
    features: Float[Array, "n f"],
    lower: Float[Array, "l f"],
    upper: Float[Array, "l f"],
) -> Bool[Array, "q f"]:
    """`Leaves.outside`, from the features of all units and their range in each leaf."""
    at = on.leaf[on.query]
    here, holds = features[on.query], (on.controls > 0)[:, None]
    beyond = (here < lower[at]) | (here > upper[at])
    if lib is np and (on.rank[at] == features.shape[1]).all():
        return beyond
    low = lib.where(holds, lower, lib.inf).min(0)
    high = lib.where(holds, upper, -lib.inf).max(0)
    middle = lib.where(high >= low, (low + high) / 2, 0)
    reached = _sums(lib, on, features - middle, 1)[:, 0] + middle
    return beyond | (lib.abs(reached - here) > (high - low) / 100)


def _residuals(lib: Any, on: LeafArrays, y: Float[Values, " n"]) -> Any:
    groups = on.rank.shape[0]
    weight, row = _carries(lib, on).astype(y.dtype), on.row.astype(y.dtype)
    use = weight > 0
    column = lib.where(use, y, 0)[:, None]
    total = sums_by_group(lib, row * weight[:, None], column, on.leaf, groups)[..., 0]
    residual = lib.where(use, y - (total[on.leaf] * row).sum(1), 0)
    leverage = lib.where(use, weight * lib.square(row).sum(1), 0)
    columns = lib.stack([weight, weight * residual**2], axis=1)
    both = sums_by_group(lib, lib.ones_like(columns[:, :1]), columns, on.leaf, groups)
    mass, square = both[:, 0, 0], both[:, 0, 1]
    n = on.controls.astype(y.dtype)
    df = n - on.rank.astype(y.dtype) - 1
    known = (df > 0) & (mass > 0)
    own = square / lib.where(known, mass, 1) * n / lib.where(known, df, 1)
    pooled = lib.where(known, mass * own, 0).sum() / lib.where(known, mass, 0).sum()
    return residual, leverage, lib.where(known, own, pooled)


@on_host
def leaf_residuals(
    lib: Any, on: LeafArrays, y: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " l"]]:
    """`Leaves.residuals`."""
    return _residuals(lib, on, y)


@on_host
def projecting_rows(
    lib: Any,
    features: Float[Array, "n f"],
    leaf: Int[Array, " n"],
    weight: Float[Array, " l"],
    centre: Float[Array, "l f"],
    root: Float[Array, "l f f"],
) -> Float[Array, "n h"]:
    """(1 / sqrt(leaf's weight), R'(x - centre)) of every unit; 0 in a leaf without weight."""
    n, f = features.shape
    first = lib.where(weight > 0, 1 / lib.sqrt(lib.where(weight > 0, weight, 1)), 0)
    if lib is np:
        out = np.zeros((n, f + 1), features.dtype)
        for k, rows in members(np.where(weight[leaf] > 0, leaf, -1)):
            out[rows, 0] = first[k]
            out[rows, 1:] = (features[rows] - centre[k]) @ root[k]
        return out  # type: ignore[return-value]

    def one(at: tuple[Array, Array]) -> Array:
        x, k = at
        rest = jnp.einsum("f,fg->g", x - centre[k], root[k], precision=lax.Precision.HIGHEST)
        return jnp.where((k >= 0) & (weight[k] > 0), jnp.append(first[k], rest), 0)

    block = rows_of_block(min(4096, n), f, features.dtype)
    return lax.map(one, (features, leaf), batch_size=block)
