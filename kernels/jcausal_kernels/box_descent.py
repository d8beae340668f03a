"""One step of coordinate descent, for one box a lane: good boxes early, so that nodes close."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from jcausal_kernels.box_cells import LAST, LaneProblems, none, running


def totals(
    lanes: LaneProblems, reach: Int[Array, "g 2 c"], minimum: Int[Array, " 2"]
) -> Int[Array, " g"]:
    """The cost of one box a lane, that of no box where it lacks units."""
    away = lanes.away
    held = ((away >= -reach[:, 0]) & (away <= reach[:, 1])).all(-1)
    enough = jnp.where(held[..., None], lanes.units, 0).sum(0) >= minimum
    total = jnp.where(held, lanes.cost, 0).sum(0)
    return jnp.where(enough.all(-1), total, none(total.dtype))


def descend(lanes: LaneProblems, reach: Int[Array, "g 2 c"]) -> Int[Array, "g 2 c"]:
    """Move both edges of the one column that helps most to where they are best, others fixed."""
    code, sides = lanes.code, (lanes.code < 0, lanes.code > 0)
    step = _steps(lanes, reach)
    most, last = none(step.dtype), lanes.mark & LAST != 0
    sums = [running(jnp.where(side, step, 0)) for side in sides]
    gains = [jnp.where(last & side, r, most) for side, r in zip(sides, sums)]
    least = [jnp.minimum(gain.min(0), 0) for gain in gains]
    edge = [
        jnp.where((gain == low) & (gain < 0), jnp.abs(code), 0).max(0)
        for gain, low in zip(gains, least)
    ]
    total = jnp.where(code == 0, step, 0).sum(0) + least[0] + least[1]
    best = jnp.argmin(total, axis=1)
    change = (jnp.arange(total.shape[1]) == best[:, None])[:, None]
    return jnp.where(change, jnp.stack(edge, 1), reach)


def _steps(lanes: LaneProblems, reach: Int[Array, "g 2 c"]) -> Int[Array, "n g c"]:
    """Costs of the sorted cells that no other column keeps out of the box; 0 for the others."""
    away, code = lanes.away, lanes.code
    times = ((away < -reach[:, 0]) | (away > reach[:, 1])).sum(-1)
    lane = jnp.arange(times.shape[1])[:, None]
    here: Array = (code < -reach[:, 0]) | (code > reach[:, 1])
    return jnp.where(times[lanes.order, lane] == here, lanes.price, 0)
