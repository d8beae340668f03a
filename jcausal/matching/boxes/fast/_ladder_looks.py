"""What the surface says of the next step along each ladder."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcausal.matching.boxes.fast._centres import BoxCentres
from jcausal.matching.boxes.fast._problem import GrowthProblem
from jcausal.matching.boxes.fast._proposals import Proposals
from jcausal.matching.boxes.fast._slab_points import lattice_variance, points_on_line
from jcausal_kernels import Slabs


def look_along_ladders(
    problem: GrowthProblem, centres: BoxCentres, steps: Proposals, wanted: Bool[Array, "q o"]
) -> tuple[Float[Array, "q o 2"], Float[Array, "q o 2"]]:
    """Variance over the points that each step adds, and shift to its end."""
    ordered = jnp.asarray(problem.columns.ordered)
    line = points_on_line(steps.start, steps.stop, problem.points_of_line)
    change = problem.surface.along(centres.centre, ordered[None], line, wanted)
    shift = change[:, :, -1] + centres.change[:, None]
    if problem.grid == "line":
        return change.var(2), shift
    q, width = wanted.shape
    low, high = (jnp.repeat(corner, width, axis=0) for corner in (centres.low, centres.high))
    ends = steps.start.ravel(), steps.stop.ravel()
    slabs = Slabs(low, high, jnp.tile(ordered, q), *ends)
    return lattice_variance(problem, slabs).reshape(q, width, 2), shift
