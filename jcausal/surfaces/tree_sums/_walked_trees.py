"""Trees that are too large for a table or a mask: every point walks from the root to a leaf."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32

from jcausal.surfaces.tree_sums._tree_arrays import (
    TreeArrays,
    depth_of,
    octave,
    trees_by_feature,
)


class WalkedTrees(eqx.Module):
    """The sum of t trees of s slots each, laid out as `TreeArrays` tells.

    - `var`, `cut`, `child` (t, s): feature, cut and left child of each slot.
    - `value` (t, s): of the leaves. The last tree is a single leaf of value 0.
    - `holds` (f, r): for each feature the trees that split on it; -1, the last tree, fills up.
    - `depth`: steps that reach every leaf.
    """

    var: Int32[Array, "t s"]
    cut: Int32[Array, "t s"]
    child: Int32[Array, "t s"]
    value: Float32[Array, "t s"]
    holds: Int32[Array, "f r"]
    depth: int = eqx.field(static=True)

    def __init__(self, trees: TreeArrays, features: int) -> None:
        trees = _padded(trees)
        self.var, self.cut, self.child = (jnp.asarray(a, jnp.int32) for a in trees[:3])
        self.value = jnp.asarray(trees.value, jnp.float32)
        self.holds = jnp.asarray(trees_by_feature(trees, features), jnp.int32)
        self.depth = 4 * -(-depth_of(trees) // 4)

    def __len__(self) -> int:
        return self.var.shape[0]

    def values(self, bins: Int[Array, "m f"]) -> Float32[Array, " m"]:
        """The sum of all trees at each point."""
        trees = jnp.arange(len(self))
        return self._walk(bins, jnp.broadcast_to(trees, (len(bins), len(trees))))

    def along(
        self, j: Int[Array, " m"], bins: Int[Array, "m f"], moved: Int[Array, "m g"]
    ) -> Float32[Array, "m g"]:
        """The sum of the trees that hold feature j, where its bin alone is one of `moved`."""
        (m, g), here = moved.shape, jnp.arange(bins.shape[1]) == j[:, None, None]
        points = jnp.where(here, moved[:, :, None], bins[:, None]).reshape(m * g, -1)
        trees = jnp.where(self.holds < 0, len(self) - 1, self.holds)[j]
        return self._walk(points, jnp.repeat(trees, g, axis=0)).reshape(m, g)

    @property
    def held(self) -> Bool[Array, " f"]:
        """Which features any tree splits on."""
        return jnp.zeros(self.holds.shape[0], bool).at[self.var].max(self.child > 0)

    def _walk(self, bins: Int[Array, "m f"], trees: Int[Array, "m r"]) -> Float32[Array, " m"]:
        """The sum over some trees of each point's leaf."""
        slots = self.var.shape[1]
        var, cut, child, value = (a.ravel() for a in (self.var, self.cut, self.child, self.value))

        def deeper(_: Array, at: Array) -> Array:
            here = trees * slots + at
            right = jnp.take_along_axis(bins, var[here], axis=1) >= cut[here]
            return jnp.where(child[here] > 0, child[here] + right, at)

        at = lax.fori_loop(0, self.depth, deeper, jnp.ones_like(trees))
        return value[trees * slots + at].sum(1)


def _padded(trees: TreeArrays) -> TreeArrays:
    """None, or powers of two of trees and slots; padding trees are single leaves of value 0."""
    count, slots = trees.child.shape
    if not count:
        return TreeArrays(*(a[:, :2] for a in trees))
    wide = [(0, octave(count + 1) - count), (0, octave(slots) - slots)]
    return TreeArrays(*(np.pad(a, wide) for a in trees))
