"""What a cut of a node is worth, from sums over the node and over one side of the cut."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jcausal_kernels.segments import sums_by_group

# level, cut and the code above it, of k nodes and c of the covariates
Cuts = tuple[Float[Array, "k c"], Int[Array, "k c"], Int[Array, "k c"]]


class Scanned(NamedTuple):
    """What the units of k nodes bring to every scan, whatever the covariate.

    - `node` (n,): the node of each unit, of another number than 0 to k - 1 for none.
    - `columns` (n, d): 1, w, w y and w y^2 of each unit, without the second where w is 1; y centred
      in each node; 0 for a unit of no node.
    - `totals` (k, d): their sums by node.
    - `minimum` (): units on either side of a cut, in the dtype of the outcomes.
    """

    node: Int[Array, " n"]
    columns: Float[Array, "n d"]
    totals: Float[Array, "k d"]
    minimum: Float[Array, ""]

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return self.totals.shape[0]

    @property
    def place(self) -> Int[Array, " n"]:
        """The node of each unit, k for none."""
        inside = (self.node >= 0) & (self.node < self.nodes)
        return jnp.where(inside, self.node, self.nodes)


class CutSums(NamedTuple):
    """Sums over a node or a side of it, all of one shape, with y centred in the node.

    - `units`, `weight`: how many, and sum w.
    - `first`, `second`: sum w y and sum w y^2.
    """

    units: Float[Array, "*k"]
    weight: Float[Array, "*k"]
    first: Float[Array, "*k"]
    second: Float[Array, "*k"]

    @property
    def sd(self) -> Float[Array, "*k"]:
        """The weighted standard deviation; 0 without weight."""
        safe = jnp.where(self.weight > 0, self.weight, 1)
        return jnp.sqrt(jnp.maximum(self.second / safe - jnp.square(self.first / safe), 0))

    def without(self, other: "CutSums") -> "CutSums":
        """The rest of the node beside a side of it."""
        return CutSums(*(whole - part for whole, part in zip(self, other)))


def sums_of(sums: Float[Array, "*k d"]) -> CutSums:
    """Columns by name; the units are the weight where there is none."""
    return CutSums(sums[..., 0], sums[..., -3], sums[..., -2], sums[..., -1])


def scanned(
    node: Int[Array, " n"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"] | None,
    minimum: Float[Array, ""],
    nodes: int,
) -> Scanned:
    """Columns of the units, and their sums by node."""
    inside = (node >= 0) & (node < nodes)
    place = jnp.where(inside, node, nodes)
    one = inside.astype(y.dtype)
    w = one if weight is None else jnp.where(inside, weight, 0)
    totals = sums_by_group(jnp.stack([w, w * jnp.where(inside, y, 0)], axis=1), place, nodes)
    mean = totals[:, 1] / jnp.where(totals[:, 0] > 0, totals[:, 0], 1)
    centred = jnp.where(inside, y - jnp.pad(mean, (0, 1))[place], 0)
    parts = [w, w * centred, w * centred**2]
    columns = jnp.stack(parts if weight is None else [one, *parts], axis=1)
    return Scanned(node, columns, sums_by_group(columns, place, nodes), minimum)


def steps_of(dtype: jnp.dtype) -> int:
    """In how many steps reductions are told apart."""
    return 2**30 if dtype == jnp.float64 else 2**16


def level_of(node: CutSums, side: CutSums, minimum: Float[Array, ""]) -> Float[Array, "*k"]:
    """The rounded share of sd that a cut takes off; 0 where a side is too small."""
    rest = node.without(side)
    kept = side.weight * side.sd + rest.weight * rest.sd
    sd, weight, count = node.sd, node.weight, side.units
    share = 1 - kept / jnp.where(weight > 0, weight, 1) / jnp.where(sd > 0, sd, 1)
    able = (count >= minimum) & (node.units - count >= minimum) & (sd > 0)
    steps = steps_of(share.dtype)
    return jnp.where(able, jnp.maximum(jnp.round(share * steps), 0), 0) / steps
