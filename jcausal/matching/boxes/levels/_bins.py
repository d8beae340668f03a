"""Steps on the ladders: neighbouring values together where a ladder is long."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal_kernels import MISSING


class Bins(NamedTuple):
    """At most b steps of each of o ladders; a step is a run of codes.

    `first`, `last` (o, b) codes of each step, `bottom`, `top` (o, b) their values, `steps` (o,)
    that there are; `of_code` (o, l) the step of each code; `of_unit` (n, o), b for a missing
    value.
    """

    first: Int[Array, "o b"]
    last: Int[Array, "o b"]
    bottom: Float[Array, "o b"]
    top: Float[Array, "o b"]
    steps: Int[Array, " o"]
    of_code: Int[Array, "o l"]
    of_unit: Int[Array, "n o"]


def make_bins(
    codes: Int[Array, "n o"],
    use: Bool[Array, " n"],
    ladder: Float[Array, "o l"],
    heights: Int[Array, " o"],
    most: int,
) -> Bins:
    """Every code a step where there are at most `most`; else steps of about equally many units.

    A code of many units is a step of its own, or shares one with few.
    """
    wide = min(most, ladder.shape[1])

    def one(code: Array, values: Array, height: Array) -> tuple[Array, ...]:
        each = jnp.arange(values.shape[0], dtype=jnp.int32)  # every code that there may be
        present = use & (code != MISSING) & (code >= 0)
        units = jax.ops.segment_sum(
            present.astype(jnp.int32), jnp.where(present, code, values.shape[0] - 1), len(values)
        )
        middle = (jnp.cumsum(units) - units + units / 2) / jnp.maximum(units.sum(), 1)
        fair = jnp.minimum((middle * wide).astype(jnp.int32), wide - 1)
        new = jnp.concatenate([jnp.zeros(1, bool), fair[1:] > fair[:-1]])
        step = jnp.where(height <= wide, each, jnp.cumsum(new)).astype(jnp.int32)
        inside = each < height
        place = jnp.where(inside, step, wide)
        first = jnp.full(wide + 1, values.shape[0], jnp.int32).at[place].min(each)[:wide]
        last = jnp.full(wide + 1, -1, jnp.int32).at[place].max(each)[:wide]
        count = jnp.where(inside, step, 0).max() + 1
        own = jnp.where(code == MISSING, wide, step[jnp.clip(code, 0, len(values) - 1)])
        top = len(values) - 1
        ends = values[jnp.clip(first, 0, top)], values[jnp.clip(last, 0, top)]
        return first, last, *ends, count, step, own

    parts = jax.vmap(one, in_axes=(1, 0, 0), out_axes=(0, 0, 0, 0, 0, 0, 1))(codes, ladder, heights)
    return Bins(*parts)
