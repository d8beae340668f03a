"""Sums of trees on the device: each tree goes to the quickest way of evaluation that it fits."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from jcausal.surfaces._arrays import in_blocks, read
from jcausal.surfaces.tree_sums._feature_set_tables import (
    FeatureSetTables,
    make_feature_set_tables,
)
from jcausal.surfaces.tree_sums._leaf_masks import MaskedTrees, fit_for_masks
from jcausal.surfaces.tree_sums._pair_tables import PairTables, make_pair_tables
from jcausal.surfaces.tree_sums._tree_arrays import TreeArrays, merge, pick_trees
from jcausal.surfaces.tree_sums._walked_trees import WalkedTrees


class TreeSum(eqx.Module):
    """f(x) = offset + the sum over all trees, exactly, at points given as features (m, f).

    A bin is the number of a feature's cut points below the value; a flat bin counts on over all
    features. `lines` leaves out what does not hold the moving feature, but for one look at the
    small tables a point.

    - `cuts` (f, c): the cut points of each feature in order, ended with +inf.
    - `offset` (): what is added to the trees.
    - `first_bin` (f,): the flat bin of each feature's bin 0.
    - `pair_tables`: the trees on at most two features, over all bins of both.
    - `set_tables`: small trees on three to six features, over the bins that they tell apart.
    - `masked`: other trees with at most 32 leaves.
    - `walked`: what is left.
    """

    cuts: Float32[Array, "f c"]
    offset: Float32[Array, ""]
    first_bin: Int32[Array, " f"]
    pair_tables: PairTables
    set_tables: FeatureSetTables
    masked: MaskedTrees
    walked: WalkedTrees

    def __init__(
        self,
        trees: TreeArrays,
        cuts: Float[np.ndarray, "f c"],
        offset: float,
        *,
        max_pair_bytes: int = 2**26,
        max_set_bytes: int = 2**24,
        max_mask_bytes: int = 2**28,
    ) -> None:
        bins = (cuts < np.inf).sum(1) + 1
        self.cuts = jnp.asarray(cuts, jnp.float32)
        self.offset = jnp.asarray(offset, jnp.float32)
        self.first_bin = jnp.asarray(np.cumsum([0, *bins[:-1]]), jnp.int32)
        self.pair_tables, rest = make_pair_tables(merge(trees), bins, max_pair_bytes)
        self.set_tables, inside = make_feature_set_tables(rest, bins, max_set_bytes)
        rest = pick_trees(rest, ~inside)
        few = fit_for_masks(rest, len(bins), max_mask_bytes)
        self.masked = MaskedTrees(pick_trees(rest, few), bins)
        self.walked = WalkedTrees(pick_trees(rest, ~few), len(bins))

    @eqx.filter_jit
    def __call__(
        self, features: Float[Array, "m f"], max_bytes: int = 2**26
    ) -> Float32[Array, " m"]:
        """The value at each point."""
        width = len(self.pair_tables.first) + len(self.walked) + self.masked.whole.mask.shape[1]
        row_bytes = 12 * (width + self._set_width)
        return in_blocks(self._values, (features,), max(1, max_bytes // row_bytes))

    @eqx.filter_jit
    def lines(
        self,
        features: Float[Array, "m f"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        max_bytes: int = 2**26,
    ) -> Float32[Array, "m k g"]:
        """How the value of each row changes when feature `j` alone moves to `at`."""
        width = self.pair_tables.by_feature.other.shape[1] + self.set_tables.table.shape[1]
        width += self.masked.by_feature.mask.shape[1]
        width += self.walked.holds.shape[1] if len(self.walked) else 0
        row_bytes = 12 * (at.shape[1] * (at.shape[2] + 1) * width + self._set_width)
        j = jnp.broadcast_to(j, at.shape[:2]) if j.shape[0] > 1 else j
        return in_blocks(self._along, (features, at, j), max(1, max_bytes // row_bytes))

    @property
    def held(self) -> Bool[Array, " f"]:
        """Which features any tree splits on."""
        return self.pair_tables.held | self.set_tables.held | self.masked.held | self.walked.held

    @property
    def _set_width(self) -> int:
        return self.set_tables.member.size + self.set_tables.table.size

    def _values(self, features: Float[Array, "m f"]) -> Float32[Array, " m"]:
        bins = self._bins(features)
        flat = self.first_bin + bins
        value = self.offset + self.pair_tables.values(bins)
        value += self.set_tables.values(flat)
        if not self.masked.empty:
            value += self.masked.values(flat)
        if len(self.walked):
            value += self.walked.values(bins)
        return value

    def _bins(self, features: Float[Array, "m f"]) -> Int[Array, "m f"]:
        return _bins(self.cuts, jnp.arange(features.shape[1]), features)

    def _along(
        self, features: Float[Array, "m f"], at: Float[Array, "m k g"], j: Int[Array, "#m k"]
    ) -> Float32[Array, "m k g"]:
        bins = self._bins(features)
        there = _bins(self.cuts, j[:, :, None], at)
        line = self.first_bin[j][:, :, None] + there
        change = self.set_tables.along(j, self.first_bin + bins, line)
        own = read(bins, jnp.arange(len(bins))[:, None], j)[:, :, None]
        moved = jnp.concatenate([there, own], axis=2)
        held = self.pair_tables.along(j, bins, moved)
        if not self.masked.empty or len(self.walked):
            held += self._line_by_line(j, bins, moved)
        return change + held[:, :, :-1] - held[:, :, -1:]

    def _line_by_line(
        self, j: Int[Array, "#m k"], bins: Int[Array, "m f"], moved: Int[Array, "m k g"]
    ) -> Float32[Array, "m k g"]:
        """The sum of the masked and walked trees that hold feature j: each line on its own."""
        m, k, g = moved.shape
        each = jnp.broadcast_to(j, (m, k)).ravel()
        bins, line = jnp.repeat(bins, k, axis=0), moved.reshape(m * k, g)
        value = jnp.zeros(line.shape, jnp.float32)
        if not self.masked.empty:
            flat = self.first_bin[each][:, None] + line
            value += self.masked.along(each, self.first_bin + bins, flat)
        if len(self.walked):
            value += self.walked.along(each, bins, line)
        return value.reshape(m, k, g)


def _bins(
    cuts: Float32[Array, "f c"], feature: Int[Array, "*#r"], value: Float[Array, "*r"]
) -> Int[Array, "*r"]:
    """How many cut points of the feature lie below the value, by bisection.

    In a loop, since what is written out is worked out again for every table that reads a bin.
    """
    value = value.astype(cuts.dtype)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        above = read(cuts, feature, jnp.minimum(middle, cuts.shape[1] - 1)) < value
        go = low < high
        return jnp.where(go & above, middle + 1, low), jnp.where(go & ~above, middle, high)

    low = jnp.zeros(value.shape, jnp.int32)
    high = jnp.full(value.shape, cuts.shape[1], jnp.int32)
    return lax.fori_loop(0, cuts.shape[1].bit_length(), halve, (low, high))[0]
