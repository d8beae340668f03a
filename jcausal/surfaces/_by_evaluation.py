"""What is right for every surface: changes told by evaluating it at both ends."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.surfaces._surface import ResponseSurface

LINES = 256  # up to here all lines are evaluated, wanted or not


class EvaluatedSurface(ResponseSurface):
    """A surface of which only its values are known: a subclass needs `__call__` and `lean`."""

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """By evaluation."""
        return evaluate_along(self, centre, j, at, wanted)

    def level_changes(
        self,
        centre: Float[Array, "m p"],
        column: Int[Array, " m"],
        level: Int[Array, "m k"],
        wanted: Bool[Array, "m k"],
    ) -> Float[Array, "m k 2"]:
        """By evaluation at all levels."""
        j, at = jnp.broadcast_to(column[:, None], level.shape), level.astype(centre.dtype)
        return evaluate_along(self, centre, j, at[:, :, None], wanted)[:, :, 0]

    def all_level_changes(
        self,
        centre: Float[Array, "m p"],
        columns: Int[np.ndarray, " c"],
        heights: Int[np.ndarray, " c"],
    ) -> Float[Array, "m c l 2"]:
        """By evaluation at all levels."""
        m, c, tallest = len(centre), len(columns), int(max(heights))
        slot = np.repeat(np.arange(c), heights)
        level = np.concatenate([np.arange(height) for height in heights])
        moved = jnp.repeat(centre[:, None], len(level), axis=1)
        moved = moved.at[:, np.arange(len(level)), columns[slot]].set(level.astype(moved.dtype))
        there = self(moved.reshape(-1, centre.shape[1])).reshape(m, len(level), 2)
        change = there - self(centre)[:, None]
        return jnp.zeros((m, c, tallest, 2), change.dtype).at[:, slot, level].set(change)

    def sees(self, p: int) -> Bool[Array, " p"]:
        """Any covariate may matter."""
        return jnp.ones(p, bool)


def evaluate_along(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]],
    centre: Float[Array, "m p"],
    j: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
    wanted: Bool[Array, "m k"] | None = None,
) -> Float[Array, "m k g 2"]:
    """`along` by evaluating the surface: right for every surface.

    Many lines of which some are not wanted are evaluated block by block, the wanted ones first, and
    no block without any; the others are 0.
    """
    (m, k, g), here = at.shape, surface(centre)
    j = jnp.broadcast_to(j, (m, k)).ravel()
    lines = at.reshape(m * k, g)

    def ask(pairs: Int[Array, " b"]) -> Float[Array, "b g 2"]:
        moving = jnp.arange(centre.shape[1]) == j[pairs][:, None, None]
        points = jnp.where(moving, lines[pairs][..., None], centre[pairs // k][:, None])
        return surface(points.reshape(-1, centre.shape[1])).reshape(len(pairs), g, 2)

    if wanted is None or m * k <= LINES:
        return ask(jnp.arange(m * k)).reshape(m, k, g, 2) - here[:, None, None]
    block = max(LINES, -(-m * k // 4))
    room = -(-m * k // block) * block
    rank = jnp.cumsum(wanted.ravel()) - 1
    place = jnp.where(wanted.ravel(), rank, room)
    order = jnp.zeros(room, jnp.int32).at[place].set(jnp.arange(m * k), mode="drop")

    def more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, out = carry
        found = ask(lax.dynamic_slice_in_dim(order, done, block))
        return done + block, lax.dynamic_update_slice_in_dim(out, found, done, 0)

    none = jnp.zeros((room, g, 2), here.dtype)
    start = jnp.zeros((), rank.dtype)
    out = lax.while_loop(lambda carry: carry[0] <= rank[-1], more, (start, none))[1]
    there = out[jnp.maximum(rank, 0)].reshape(m, k, g, 2)
    return jnp.where(wanted[..., None, None], there - here[:, None, None], 0)


def all_levels_row_by_row(
    level_changes: Callable[[Array, Array, Array, Array], Float[Array, "r l 2"]],
    centre: Float[Array, "m p"],
    columns: Int[np.ndarray, " c"],
    heights: Int[np.ndarray, " c"],
) -> Float[Array, "m c l 2"]:
    """All levels of all categories, by a surface's own `level_changes`, a row for each category."""
    m, c, tallest = len(centre), len(columns), int(max(heights))
    rows, column = jnp.repeat(centre, c, axis=0), jnp.tile(jnp.asarray(columns), m)
    each = jnp.broadcast_to(jnp.arange(tallest), (m * c, tallest))
    each = jnp.minimum(each, jnp.tile(jnp.asarray(heights - 1), m)[:, None])
    found = level_changes(rows, column, each, jnp.ones(each.shape, bool))
    return found.reshape(m, c, tallest, 2)
