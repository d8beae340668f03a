"""The nodes of a tree, and the way of a unit through them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal.data import Values, on_host


class TreeNodes(eqx.Module):
    """The splits: at node i a unit goes to `left[i]` when feature `feature[i]` <= `threshold[i]`.

    Node 0 is the root. A leaf has feature -1 and the number `leaf[i]`; inner nodes have leaf -1.
    """

    feature: Int[Array, " k"]
    threshold: Float[Array, " k"]
    left: Int[Array, " k"]
    right: Int[Array, " k"]
    leaf: Int[Array, " k"]


def route(nodes: TreeNodes, features: Float[Array, "m f"]) -> Int[Array, " m"]:
    """The leaf of each row of features; carries no gradient."""
    return _routed(*lax.stop_gradient((nodes, features)))


@on_host
def _routed(lib: Any, nodes: TreeNodes, features: Float[Array, "m f"]) -> Int[Array, " m"]:
    row = lib.arange(features.shape[0])

    def step(place: Values) -> Any:
        split = nodes.feature[place]
        value = features[row, lib.maximum(split, 0)]
        below = lib.where(value <= nodes.threshold[place], nodes.left[place], nodes.right[place])
        return lib.where(split >= 0, below, place)

    place = lib.zeros(features.shape[0], lib.int32)
    unfinished = lambda place: (nodes.feature[place] >= 0).any()  # noqa: E731
    if lib is jnp:
        return nodes.leaf[lax.while_loop(unfinished, step, place)]
    while unfinished(place):
        place = step(place)
    return nodes.leaf[place]
