"""Points at which the surface is asked about what a box would take in: on lines and lattices."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcausal.matching.boxes.fast._problem import GrowthProblem
from jcausal.surfaces import line_offsets
from jcausal_kernels import Slabs, grid_variance


def points_on_line(
    start: Float[Array, "*r"], stop: Float[Array, "*r"], points: int
) -> Float[Array, "*r g"]:
    """Evenly spaced points, both ends included."""
    share = line_offsets(points, 1)[:, 0].astype(start.dtype)
    return start[..., None] + share * (stop - start)[..., None]


def lattice_offsets(points: int, p: int) -> Float[np.ndarray, "g p"]:
    """A rank-1 lattice of `points` points in [0, 1)^p, by powers of the generalised golden ratio.

    **Source:** the R-sequence; the ratio solves r^(p+1) = r + 1.
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (p + 1))
    generator = ratio ** -np.arange(1, p + 1)
    return (0.5 + np.outer(np.arange(points), generator)) % 1.0


def lattice_variance(problem: GrowthProblem, slabs: Slabs) -> Float[Array, "m 2"]:
    """Variance of the surface over a lattice in each slab.

    In a category an offset below one half stands for the query's own level.
    """
    columns = problem.columns
    category = jnp.zeros(slabs.lower.shape[1], bool).at[columns.categories].set(True)
    shares = jnp.asarray(lattice_offsets(problem.points, len(columns.kinds)), slabs.lower.dtype)
    return grid_variance(problem.ask, slabs, shares, category)
