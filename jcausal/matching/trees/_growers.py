"""A tree grown from a sample: level by level on the host, or in one loop under tracing."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, bucket, pad_rows, to_device
from jcausal.matching.trees._finish import fits_of, nodes_of
from jcausal.matching.trees._grow import begin, grow_level, grow_whole
from jcausal.matching.trees._growth_state import (
    Criterion,
    GrowthRoom,
    GrowthRules,
    Search,
    TreeGrowth,
)
from jcausal.matching.trees._leaf_fits import LeafFits
from jcausal.matching.trees._least_squares import CHUNK, Blocks
from jcausal.matching.trees._nodes import TreeNodes
from jcausal.matching.trees._prepare import (
    PlaceValues,
    TrainingRows,
    heights_of,
    host_codes,
    scaled,
    traced_codes,
)
from jcausal.surfaces import Encoding

LARGE = 2**15  # rows from which on blocks are larger
SLOTS = (64, 512, 4096)  # sizes of a level


class GrowthOptions(NamedTuple):
    """What a tree is grown by: the options of `M5Tree`, and `free` slopes of a regression (p)."""

    min_controls: int
    max_depth: int
    free: int
    search: Search
    criterion: Criterion
    bins: int | None

    @property
    def rules(self) -> GrowthRules:
        """As arrays, so that trees that differ in numbers alone share a trace."""
        numbers = (self.min_controls, self.max_depth, self.free)
        least, depth, free = (to_device(np.int32(number)) for number in numbers)
        return GrowthRules(least, depth, free, self.search, self.criterion)


def grow_traced(
    sample: Sample, features: Float[Array, "n f"], use: Bool[Array, " n"], options: GrowthOptions
) -> tuple[TreeNodes, LeafFits]:
    """One loop, with room for as many leaves as there could be; `use` marks the rows to grow on."""
    n, f = features.shape
    codes, values = traced_codes(features, use, options.bins)
    height = np.full(f, n if options.bins is None else options.bins)
    height[np.asarray(Encoding(sample.schema).level) >= 0] = 2
    leaves = max(1, n // options.min_controls)
    chunk = min(CHUNK, leaves)
    blocks = Blocks(32, min(32, n // 32 + chunk))
    with jax.enable_x64(True):
        parts = (features, sample.y, sample.weight)
        x, y, w = (jnp.asarray(part, jnp.float64) for part in parts)
        rows = TrainingRows(x, y, w, use, jnp.asarray(codes))
        seen = scaled(rows, heights_of(height, n), blocks)
        room = GrowthRoom(2 * leaves, max(1, leaves // 2))
        growth = grow_whole(seen, use, options.rules, room)
        nodes, fits = _ended(growth, x, values, -(-leaves // chunk) * chunk)
        dtype = sample.x.dtype
        shorter = lambda a: a.astype(dtype) if a.dtype == jnp.float64 else a  # noqa: E731
        return nodes, jax.tree.map(shorter, fits)


def grow_on_host(
    sample: Sample,
    features: Float[np.ndarray, "n f"],
    rows: Int[np.ndarray, " r"],
    options: GrowthOptions,
) -> tuple[TreeNodes, LeafFits]:
    """Level by level on some rows, in shapes that near sizes share."""
    codes, values, places = host_codes(sample, features, rows, options.bins)
    wide = bucket(rows.size)
    blocks = Blocks(64, 64) if wide >= LARGE else Blocks(32, 32)
    weight = np.asarray(sample.weight, np.float64)[rows]
    even = bool((weight == weight[0]).all())
    outcome = np.asarray(sample.y, np.float64)[rows]
    room = GrowthRoom(2 * max(1, wide // options.min_controls), SLOTS[0])
    x = features[rows].astype(np.float64)
    with jax.enable_x64(True):
        parts = (x, outcome, weight, np.ones(rows.size, bool), codes)
        x, y, w, use, codes = (pad_rows(np.asarray(a), wide) for a in parts)
        seen = TrainingRows(x, y, None if even else w, use, codes)
        growth = _begun(seen, options.rules, room, heights_of(places, wide), blocks)
        while (np.asarray(growth.frontier.node) >= 0).any():
            growth = _level(_resized(growth, wide // (2 * options.min_controls)))
        used = int(growth.used)
        leaves = int((np.asarray(growth.nodes.feature)[:used] < 0).sum())
        size = next(size for size in _sizes() if size >= leaves)
        found = _jitted_end(growth, x, _padded(values, wide), size)
    nodes, fits = jax.tree.map(np.asarray, found)
    if even and weight[0] != 1:
        fits = _reweighed(fits, weight[0])
    nodes = jax.tree.map(lambda a: to_device(a[:used]), nodes)
    return nodes, _cut_fits(fits, leaves, sample.x.dtype)


@partial(jax.jit, static_argnames=("room", "heights", "blocks"))
def _begun(
    rows: TrainingRows,
    rules: GrowthRules,
    room: GrowthRoom,
    heights: tuple[int, ...],
    blocks: Blocks,
) -> TreeGrowth:
    return begin(scaled(rows, heights, blocks), rows.use, rules, room)


_level = jax.jit(grow_level)


def _ended(
    growth: TreeGrowth, features: Float[Array, "n f"], values: PlaceValues, leaves: int
) -> tuple[TreeNodes, LeafFits]:
    """With room for so many leaves."""
    return nodes_of(growth, values, leaves), fits_of(growth, features, leaves)


_jitted_end = jax.jit(_ended, static_argnames="leaves")


def _sizes() -> Iterator[int]:
    """Sizes of arrays of leaves, far apart: near numbers share a trace."""
    return (4 * CHUNK * 8**k for k in count())


def _padded(values: PlaceValues, wide: int) -> PlaceValues:
    """Values of each place, as wide as there could be places."""
    return PlaceValues(*(pad_rows(np.asarray(each).T, wide).T for each in values))


def _resized(growth: TreeGrowth, most: int) -> TreeGrowth:
    """The frontier with room for all children of its nodes."""
    open_ = int((np.asarray(growth.frontier.node) >= 0).sum())
    wanted = max(1, min(2 * open_, most))
    size = next((s for s in SLOTS if s >= wanted), 1 << (wanted - 1).bit_length())
    now = growth.frontier.node.shape[0]
    if size == now:
        return growth

    def fit(array: Array, fill: int) -> Array:
        cut = np.asarray(array)[:size]
        return to_device(pad_rows(cut, size, cut.dtype.type(fill)))

    frontier = growth.frontier._replace(
        node=fit(growth.frontier.node, -1),
        quality=jax.tree.map(partial(fit, fill=0), growth.frontier.quality),
    )
    return eqx.tree_at(lambda g: g.frontier, growth, frontier)


def _cut_fits(fits: LeafFits, leaves: int, dtype: np.dtype) -> LeafFits:
    """The leaves that there are, in the dtype of the data; all arrays on the host."""

    def one(array: np.ndarray) -> Array:
        kept = array[:leaves]
        return to_device(kept.astype(dtype) if kept.dtype.kind == "f" else kept)

    return jax.tree.map(one, fits)


def _reweighed(fits: LeafFits, weight: float) -> LeafFits:
    """The regressions of units of weight 1 as those of units of another weight."""
    changed = (fits.weight * weight, fits.root / np.sqrt(weight))
    return eqx.tree_at(lambda f: (f.weight, f.root), fits, changed)
