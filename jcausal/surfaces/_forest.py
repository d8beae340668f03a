"""Sums of trees on the device: table look-ups for small trees, walks for the rest."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int, Int32

from jcausal.surfaces._cells import (
    Cells,
    look_cells,
    look_cells_along,
    make_cells,
    read,
    total,
)
from jcausal.surfaces._masks import (
    LEAVES,
    Masks,
    leaf_bits,
    look,
    look_along,
    make_masks,
    mask_bytes,
)
from jcausal.surfaces._trees import (
    TreeArrays,
    depth_of,
    every_tree,
    merge,
    pad_tables,
    pad_trees,
    pick_trees,
    tabulate,
    trees_by_feature,
)


class Pairs(NamedTuple):
    """Where to read: value[offset + bin[own] * own_stride + bin[other] * other_stride]."""

    other: Int32[Array, "*r k"]
    offset: Int32[Array, "*r k"]
    own_stride: Int32[Array, "*r k"]
    other_stride: Int32[Array, "*r k"]


class Walk(NamedTuple):
    """Trees that are walked, as in `TreeArrays`."""

    var: Int32[Array, "t s"]
    cut: Int32[Array, "t s"]
    child: Int32[Array, "t s"]
    value: Float32[Array, "t s"]


class Forest(eqx.Module):
    """f(x) = offset + the sum over all trees, exactly, at points given as features (m, f).

    A bin is the number of a feature's cut points below the value. Trees on at most two features
    are tables over their bins, small ones on at most six are tables over the bins that they tell
    apart, others with at most 32 leaves are masks, and what is left is walked. `lines` leaves
    out what does not hold the moving feature, but for one look at the small tables a point.
    """

    cuts: Float32[Array, "f c"]
    offset: Float32[Array, ""]
    table: Float32[Array, " s"]
    first: Int32[Array, " k"]
    pairs: Pairs
    partners: Pairs
    cells: Cells
    first_bin: Int32[Array, " f"]
    masks: Masks
    mask_partners: Masks
    rest: Walk
    holds: Int32[Array, "f r"]
    depth: int = eqx.field(static=True)

    def __init__(
        self,
        trees: TreeArrays,
        cuts: Float[np.ndarray, "f c"],
        offset: float,
        *,
        max_table_bytes: int = 2**26,
        max_cell_bytes: int = 2**24,
        max_mask_bytes: int = 2**28,
    ) -> None:
        features = cuts.shape[0]
        bins = (cuts < np.inf).sum(1) + 1
        tables, rest = tabulate(merge(trees), bins, max_table_bytes)
        self.cells, inside = make_cells(rest, bins, max_cell_bytes)
        rest = pick_trees(rest, ~inside)
        few = leaf_bits(rest)[0] <= LEAVES
        small = pick_trees(rest, few)
        few &= mask_bytes(small, trees_by_feature(small, features)) <= max_mask_bytes
        small, rest = (pick_trees(rest, which) for which in (few, ~few))
        tables, rest = pad_tables(tables), pad_trees(rest)
        own = np.where(tables.offset > 0, tables.stride, 0)
        twice = (tables.offset > 0) & (tables.first != tables.second)
        self.cuts = jnp.asarray(cuts, jnp.float32)
        self.offset = jnp.asarray(offset, jnp.float32)
        self.table = jnp.asarray(tables.value, jnp.float32)
        self.first = jnp.asarray(tables.first, jnp.int32)
        self.pairs = _as_pairs(tables.second, tables.offset, own, twice.astype(int))
        self.partners = _partners(tables.first, self.pairs, features)
        self.first_bin = jnp.asarray(np.cumsum([0, *bins[:-1]]), jnp.int32)
        self.masks = make_masks(small, every_tree(small), bins)
        self.mask_partners = make_masks(small, trees_by_feature(small, features), bins)
        var, cut, child = (jnp.asarray(a, jnp.int32) for a in rest[:3])
        self.rest = Walk(var, cut, child, jnp.asarray(rest.value, jnp.float32))
        self.depth = 4 * -(-depth_of(rest) // 4)
        holds = trees_by_feature(rest, features)
        self.holds = jnp.asarray(np.where(holds < 0, len(rest.var) - 1, holds), jnp.int32)

    @property
    def masked(self) -> bool:
        """Whether any tree is a mask."""
        return self.masks.leaf.shape[2] > 1

    @eqx.filter_jit
    def __call__(
        self, features: Float[Array, "m f"], max_bytes: int = 2**26
    ) -> Float32[Array, " m"]:
        """The value at each point."""
        width = self.first.shape[0] + self.rest.var.shape[0] + self.masks.mask.shape[1]
        row_bytes = 12 * (width + self.cells.member.size + self.cells.table.size)
        return _in_blocks(self._evaluate, (features,), max(1, max_bytes // row_bytes))

    @eqx.filter_jit
    def lines(
        self,
        features: Float[Array, "m f"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        max_bytes: int = 2**26,
    ) -> Float32[Array, "m k g"]:
        """How the value of each row changes when feature `j` alone moves to `at`."""
        width = self.partners.other.shape[1] + self.mask_partners.mask.shape[1]
        width += self.cells.table.shape[1] + (self.holds.shape[1] if len(self.rest.var) else 0)
        row_bytes = 12 * at.shape[1] * (at.shape[2] + 1) * width
        row_bytes += 12 * (self.cells.member.size + self.cells.table.size)
        j = jnp.broadcast_to(j, at.shape[:2]) if j.shape[0] > 1 else j
        return _in_blocks(self._along, (features, at, j), max(1, max_bytes // row_bytes))

    def _evaluate(self, features: Float[Array, "m f"]) -> Float32[Array, " m"]:
        bins = self._bins(features)
        pairs = self.pairs
        place = bins[:, self.first] * pairs.own_stride + bins[:, pairs.other] * pairs.other_stride
        value = self.offset + total(read(self.table, pairs.offset + place))
        value += total(look_cells(self.cells, self.first_bin + bins).value)
        if self.masked:
            first = jnp.zeros(features.shape[0], jnp.int32)
            value += look(self.masks, first, self.first_bin + bins)
        if len(self.rest.var):
            trees = jnp.arange(len(self.rest.var))
            value += self._walk(bins, jnp.broadcast_to(trees, (len(bins), len(trees))))
        return value

    def _bins(self, features: Float[Array, "m f"]) -> Int[Array, "m f"]:
        return _bins(self.cuts, jnp.arange(features.shape[1]), features)

    def _along(
        self, features: Float[Array, "m f"], at: Float[Array, "m k g"], j: Int[Array, "#m k"]
    ) -> Float32[Array, "m k g"]:
        bins = self._bins(features)
        there = _bins(self.cuts, j[:, :, None], at)
        flat, line = self.first_bin + bins, self.first_bin[j][:, :, None] + there
        change = look_cells_along(self.cells, look_cells(self.cells, flat), j, line)
        own = read(bins, jnp.arange(len(bins))[:, None], j)[:, :, None]
        moved = jnp.concatenate([there, own], axis=2)
        held = self._pairs_along(j, bins, moved)
        if self.masked or len(self.rest.var):
            held += self._others_along(j, bins, moved)
        return change + held[:, :, :-1] - held[:, :, -1:]

    def _pairs_along(
        self, j: Int[Array, "#m k"], bins: Int[Array, "m f"], moved: Int[Array, "m k g"]
    ) -> Float32[Array, "m k g"]:
        """The sum of the pair tables that hold feature j."""
        mine = Pairs(*(a[j] for a in self.partners))
        others = read(bins, jnp.arange(len(bins))[:, None, None], mine.other)
        fixed = others * mine.other_stride + mine.offset
        place = fixed[:, :, None] + moved[..., None] * mine.own_stride[:, :, None]
        return total(read(self.table, place))

    def _others_along(
        self, j: Int[Array, "#m k"], bins: Int[Array, "m f"], moved: Int[Array, "m k g"]
    ) -> Float32[Array, "m k g"]:
        """The sum of the masked and walked trees that hold feature j: each line on its own."""
        m, k, g = moved.shape
        flat = jnp.broadcast_to(j, (m, k)).ravel()
        bins, line = jnp.repeat(bins, k, axis=0), moved.reshape(m * k, g)
        start, value = self.first_bin, jnp.zeros(line.shape, jnp.float32)
        if self.masked:
            line_bins = start[flat][:, None] + line
            value += look_along(self.mask_partners, flat, start + bins, line_bins)
        if len(self.rest.var):
            here = jnp.arange(bins.shape[1]) == flat[:, None, None]
            points = jnp.where(here, line[:, :, None], bins[:, None]).reshape(m * k * g, -1)
            walked = self._walk(points, jnp.repeat(self.holds[flat], g, axis=0))
            value += walked.reshape(line.shape)
        return value.reshape(m, k, g)

    def _walk(self, bins: Int[Array, "m f"], trees: Int[Array, "m r"]) -> Float32[Array, " m"]:
        """The sum over some trees of each point's leaf."""
        slots = self.rest.var.shape[1]
        rest = Walk(*(a.ravel() for a in self.rest))

        def deeper(_: Array, at: Array) -> Array:
            here = trees * slots + at
            child = rest.child[here]
            right = jnp.take_along_axis(bins, rest.var[here], axis=1) >= rest.cut[here]
            return jnp.where(child > 0, child + right, at)

        at = lax.fori_loop(0, self.depth, deeper, jnp.ones_like(trees))
        return rest.value[trees * slots + at].sum(1)


def _as_pairs(*columns: np.ndarray) -> Pairs:
    return Pairs(*(jnp.asarray(c, jnp.int32) for c in columns))


def _partners(first: np.ndarray, pairs: Pairs, features: int) -> Pairs:
    """The pairs again, listed for each feature as the one that moves; zeros read entry 0."""
    second, offset, own, other = (np.asarray(a) for a in pairs)
    rows: list[list[tuple[int, int, int, int]]] = [[] for _ in range(features)]
    for k in np.flatnonzero(offset > 0):
        rows[first[k]].append((second[k], offset[k], own[k], other[k]))
        if other[k]:
            rows[second[k]].append((first[k], offset[k], other[k], own[k]))
    width = max(1, *(len(r) for r in rows))
    padded = np.array([r + [(0, 0, 0, 0)] * (width - len(r)) for r in rows])
    return _as_pairs(*np.moveaxis(padded, 2, 0))


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


def _in_blocks(function, arrays: tuple[Array, ...], block: int) -> Array:  # noqa: ANN001
    """Apply a function of rows in blocks of at most `block` rows; arrays of one row go whole."""
    m = arrays[0].shape[0]
    if m <= block:
        return function(*arrays)
    pad, many = -m % block, [a.shape[0] == m for a in arrays]
    cut = tuple(
        jnp.pad(a, [(0, pad)] + [(0, 0)] * (a.ndim - 1), mode="edge").reshape(
            -1, block, *a.shape[1:]
        )
        for a, rows in zip(arrays, many)
        if rows
    )

    def one(rows: tuple[Array, ...]) -> Array:
        mine = iter(rows)
        return function(*(next(mine) if whole else a for a, whole in zip(arrays, many)))

    out = lax.map(one, cut)
    return out.reshape(-1, *out.shape[2:])[:m]
