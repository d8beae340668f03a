"""Boosted trees at points and along lines."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from jcausal.surfaces._boosted_tree import Trees, binned, tree_values
from jcausal.surfaces._boosting import Boosted
from jcausal.surfaces._ridge import product

BYTES = 2**26  # of what is held for a block of rows, at most


def evaluate_boosted(
    arms: Boosted, z: Float[Array, "m f"], depth: int, ordered: int
) -> Float[Array, "m 2"]:
    """Both outcomes at each point, a block of rows at a time.

    Cost: 2^depth selects for a row and a tree. Trees have no slope: the derivative is the line's.
    """

    def arm(one: Boosted) -> Float[Array, " m"]:
        inside = lax.stop_gradient(one)

        def block(z: Float[Array, "b f"]) -> Float[Array, " b"]:
            bins = bins_of(z, inside.cuts, ordered)

            def more(t: Array, total: Array) -> Array:
                return total + tree_values(bins, _tree(inside.trees, t), depth)

            return lax.fori_loop(0, inside.grown, more, jnp.zeros(len(z), one.level.dtype))

        stairs = _by_blocks(block, lax.stop_gradient(z), z.shape[1] + 32)
        return one.level + product(z, one.slope) + stairs

    return lax.map(arm, arms).T


def _tree(trees: Trees, t: Int[Array, ""]) -> Trees:
    return Trees(*(lax.dynamic_index_in_dim(a, t, keepdims=False) for a in trees))


def _by_blocks(f: Callable[[Any], Array], rows: Any, row_bytes: int) -> Array:
    """A function of rows in blocks that hold at most `BYTES`."""
    size = max(1, BYTES // row_bytes)
    n = len(jax.tree.leaves(rows)[0])
    if n <= size:
        return f(rows)
    blocks = -(-n // size)
    size = -(-n // blocks)
    padded = jax.tree.map(
        lambda a: jnp.pad(a, [(0, blocks * size - n)] + [(0, 0)] * (a.ndim - 1)).reshape(
            blocks, size, *a.shape[1:]
        ),
        rows,
    )
    out = lax.map(f, padded)
    return out.reshape(blocks * size, *out.shape[2:])[:n]


def boosted_points(
    arms: Boosted,
    centre: Float[Array, "m f"],
    feature: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
    depth: int,
    ordered: int,
) -> Float[Array, "m k g 2"]:
    """As `boosted_lines`, for few points: every tree is asked at every point.

    Only the bin of the feature that moves is another; about 2^depth selects for a point and a tree.
    """
    feature = jnp.broadcast_to(feature, at.shape[:2])

    def arm(one: Boosted) -> Float[Array, "m k g"]:
        nodes = one.trees.feature.shape[1]

        def block(rows: tuple[Array, Array, Array]) -> Float[Array, "b k g"]:
            z, own, value = rows
            here = bins_of(z, one.cuts, ordered)
            start = jnp.take_along_axis(here.T, own, 1)[:, :, None].astype(jnp.int32)
            there = (value[..., None] > one.cuts[own][:, :, None]).sum(-1, dtype=jnp.int32)
            there = jnp.concatenate([there, start], axis=2)

            def more(t: Array, total: Array) -> Array:
                tree = _tree(one.trees, t)

                def found(node: int) -> Array:
                    if node >= nodes:
                        return tree.leaf[node - nodes]
                    name, cut = tree.feature[node], tree.cut[node]
                    stays = (here[name] > cut)[:, None, None]
                    right = jnp.where((own == name)[:, :, None], there > cut, stays)
                    return jnp.where(right, found(2 * node + 2), found(2 * node + 1))

                return total + found(0)

            stairs = lax.fori_loop(0, one.grown, more, jnp.zeros(there.shape, at.dtype))
            way = value - jnp.take_along_axis(z, own, 1)[..., None]
            known = jnp.where(jnp.isnan(one.level), jnp.nan, 0)  # NaN for an arm that is not fitted
            return stairs[..., :-1] - stairs[..., -1:] + way * one.slope[own][..., None] + known

        width = at.dtype.itemsize * (at.shape[1] * at.shape[2] * (one.cuts.shape[-1] + 8))
        return _by_blocks(block, (centre, feature, at), width)

    return jnp.moveaxis(lax.map(arm, arms), 0, -1)


def bins_of(z: Float[Array, "m f"], cuts: Float[Array, "f c"], ordered: int) -> UInt8[Array, "f m"]:
    """Bins of encoded points; a level is there or not, which needs no look at all cuts."""
    off, on = binned(jnp.stack([jnp.zeros_like(z[0]), jnp.ones_like(z[0])]), cuts).T
    levels = jnp.where(z.T > 0, on[:, None], off[:, None])
    return jnp.concatenate([binned(z[:, :ordered], cuts[:ordered]), levels[ordered:]])


def boosted_lines(
    arms: Boosted,
    centre: Float[Array, "m f"],
    feature: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
    depth: int,
    ordered: int,
) -> Float[Array, "m k g 2"]:
    """Change of both outcomes when one ordered feature alone moves from the centre to `at`.

    A tree is asked once for each of its features, in every bin of that feature, the other nodes
    standing where the centre puts them: about 2^(depth + 1) selects for a row, tree, feature of
    the tree and bin. The values asked for are then looked up by their bins.
    """
    m, k, g = at.shape
    bins = arms.cuts.shape[-1] + 1
    feature = jnp.broadcast_to(feature, (m, k))

    def arm(one: Boosted) -> Float[Array, "m k g"]:
        terms, count = _terms(one, ordered)

        def block(rows: tuple[Array, Array, Array]) -> Float[Array, "b k g"]:
            z, own, value = rows
            here = bins_of(z, one.cuts, ordered)
            table = _tables(one.trees, terms, count, here, depth, ordered, bins)
            place = (own * len(z) + jnp.arange(len(z))[:, None]) * bins
            start = jnp.take_along_axis(here.T, own, 1).astype(jnp.int32)
            there = (value[..., None] > one.cuts[own][:, :, None]).sum(-1, dtype=jnp.int32)
            stairs = table[place[..., None] + there] - table[place + start][..., None]
            way = value - jnp.take_along_axis(z, own, 1)[..., None]
            known = jnp.where(jnp.isnan(one.level), jnp.nan, 0)  # NaN for an arm that is not fitted
            return stairs + way * one.slope[own][..., None] + known

        width = at.dtype.itemsize * (ordered + k) * bins + 3 * k * g * at.dtype.itemsize
        return _by_blocks(block, (centre, feature, at), width)

    return jnp.moveaxis(lax.map(arm, arms), 0, -1)


def _terms(one: Boosted, ordered: int) -> tuple[Int[Array, " s"], Int[Array, ""]]:
    """Nodes (tree times nodes of a tree + node) with an ordered feature new in the tree, first."""
    feature, cut = one.trees.feature, one.trees.cut
    splits = (cut <= one.cuts.shape[-1]) & (feature < ordered)
    splits &= (jnp.arange(len(cut)) < one.grown)[:, None]
    nodes = jnp.arange(feature.shape[1])
    same = (feature[:, :, None] == feature[:, None]) & splits[:, None]
    needed = splits & ~(same & (nodes < nodes[:, None])).any(-1)
    return jnp.argsort(~needed.ravel(), stable=True), needed.sum()


def _tables(
    trees: Trees,
    terms: Int[Array, " s"],
    count: Int[Array, ""],
    here: UInt8[Array, "f m"],
    depth: int,
    ordered: int,
    bins: int,
) -> Float[Array, " e"]:
    """For each ordered feature, row and bin: the sum of the trees that have the feature."""
    m, nodes = here.shape[1], trees.feature.shape[1]
    bin_of = jnp.arange(bins)

    def add(i: Array, table: Float[Array, "o m b"]) -> Float[Array, "o m b"]:
        tree = _tree(trees, terms[i] // nodes)
        moving = tree.feature[terms[i] % nodes]

        def goes_right(node: int) -> Bool[Array, "m b"]:
            there = bin_of > tree.cut[node]
            stays = here[tree.feature[node]] > tree.cut[node]
            return jnp.where(tree.feature[node] == moving, there, stays[:, None])

        def value(node: int) -> Array:
            if node >= nodes:
                return tree.leaf[node - nodes]
            return jnp.where(goes_right(node), value(2 * node + 2), value(2 * node + 1))

        new = lax.dynamic_index_in_dim(table, moving, keepdims=True) + value(0)[None]
        return lax.dynamic_update_index_in_dim(table, new, moving, 0)

    none = jnp.zeros((max(ordered, 1), m, bins), trees.leaf.dtype)
    return lax.fori_loop(0, count, add, none).ravel()
