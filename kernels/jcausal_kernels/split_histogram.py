"""The best cuts of covariates of few values: from sums over the units of each value."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal_kernels.segments import SHORT, sums_in_one_pass
from jcausal_kernels.split_score import Cuts, Scanned, level_of, sums_of

WINDOWS = 256  # units that are added up at a time where all covariates of a unit are one window


def by_histogram(codes: Int[Array, "n p"], units: Scanned, heights: int) -> Cuts:
    """The best cut of each covariate in each node, value by value."""
    nodes, dtype = units.nodes, units.columns.dtype
    sums = _value_sums(codes, units, heights)
    of = sums_of(sums.sum(0))  # the total of these very sums, so that both sides add up to it

    def step(carry: tuple, at: tuple[Array, Array]) -> tuple[tuple, None]:
        left, best, cut, above = carry
        code, here = at
        held = here[..., 0] > 0
        above = jnp.where(held & (above < 0) & (best > 0), code, above)
        left = left + here
        level = jnp.where(held, level_of(of, sums_of(left), units.minimum), 0)
        better = level > best
        cut, above = jnp.where(better, code, cut), jnp.where(better, -1, above)
        return (left, jnp.maximum(level, best), cut, above), None

    shape = (nodes, codes.shape[1])
    none = jnp.zeros(shape, jnp.int32)
    left, best = jnp.zeros((*shape, units.columns.shape[1]), dtype), jnp.zeros(shape, dtype)
    at = (jnp.arange(heights, dtype=jnp.int32), sums)
    return lax.scan(step, (left, best, none, none - 1), at)[0][1:]


def _value_sums(
    codes: Int[Array, "n p"], units: Scanned, heights: int
) -> Float[Array, "heights k p d"]:
    """Sums over the units of each code, node and covariate."""
    (n, p), d, nodes = codes.shape, units.columns.shape[1], units.nodes
    bin_of = (units.place[:, None] * p + jnp.arange(p, dtype=jnp.int32)) * heights + codes
    each = jnp.broadcast_to(units.columns[:, None], (n, p, d)).reshape(n * p, d)
    sums = sums_in_one_pass(each, bin_of.reshape(-1), (nodes + 1) * p * heights)
    return jnp.moveaxis(sums.reshape(nodes + 1, p, heights, d)[:nodes], 2, 0)


def of_two_codes(codes: Int[Array, "n p"], units: Scanned) -> Cuts:
    """The only cut of each 0/1 covariate: a unit adds all its covariates to its node at once."""
    p, d, nodes = codes.shape[1], units.columns.shape[1], units.nodes
    none = jnp.zeros((nodes + 1, p, d), units.columns.dtype)

    def add(total: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        place, codes, columns = at
        above = jnp.where(codes[:, :, None] > 0, columns[:, None], 0)
        return total.at[place].add(above), None

    def stretch(total: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return total + lax.scan(add, none, at)[0], None

    above = lax.scan(stretch, none, _in_stretches(codes, units))[0][:nodes]
    of = sums_of(units.totals[:, None])
    left = of.without(sums_of(above))
    level = jnp.where(left.units > 0, level_of(of, left, units.minimum), 0)
    zero = jnp.zeros((nodes, p), jnp.int32)
    return level, zero, zero + 1


def _in_stretches(
    codes: Int[Array, "n p"], units: Scanned
) -> tuple[Int[Array, "s w 256"], Int[Array, "s w 256 p"], Float[Array, "s w 256 d"]]:
    """Place, codes and columns, cut into stretches of windows that are summed by themselves.

    Stretches are short where the dtype is narrow, as in `sums_in_one_pass`.
    """
    (n, p), d = codes.shape, units.columns.shape[1]
    windows = -(-n // WINDOWS)
    if units.columns.dtype != jnp.float64:
        windows = min(windows, max(SHORT, units.nodes) // WINDOWS)
    shape = (-1, max(windows, 1), WINDOWS)
    more = -n % (shape[1] * WINDOWS)
    place = jnp.pad(units.place, (0, more), constant_values=units.nodes).reshape(shape)
    codes = jnp.pad(codes, [(0, more), (0, 0)]).reshape(*shape, p)
    columns = jnp.pad(units.columns, [(0, more), (0, 0)]).reshape(*shape, d)
    return place, codes, columns
