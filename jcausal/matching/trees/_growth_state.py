"""Where the growth of an M5 tree stands: its rules, its nodes, and those that may be split."""

from typing import Literal, NamedTuple

import equinox as eqx
from jaxtyping import Array, Int

from jcausal.matching.trees._least_squares import Quality, ScaledSample

Search = Literal["best", "first_passing"]
Criterion = Literal["adjusted_r2", "residual_variance"]
NOWHERE = 2**30  # the slot of a unit whose node is finished


class GrowthRules(eqx.Module):
    """Which nodes are split.

    `min_controls`: units that a child needs; `max_depth`: levels below the root; `free`: slopes of
    a regression (p). `search`: which cuts of a node are tried; `criterion`: what they must improve.
    """

    min_controls: Int[Array, ""]
    max_depth: Int[Array, ""]
    free: Int[Array, ""]
    search: Search = eqx.field(static=True)
    criterion: Criterion = eqx.field(static=True)


class GrowthRoom(NamedTuple):
    """How many nodes a tree may have, and how many of a level may be split."""

    nodes: int
    slots: int


class GrowingNodes(NamedTuple):
    """All nodes so far, of which the first are in use.

    `feature` (k,) that a node is split by, -1 for none yet; `cut` the largest code that goes left,
    `above` the smallest that goes right; `left` its left child, which the right one follows;
    `start` and `units`: its units are so many of the growth's order from there.
    """

    feature: Int[Array, " k"]
    cut: Int[Array, " k"]
    above: Int[Array, " k"]
    left: Int[Array, " k"]
    start: Int[Array, " k"]
    units: Int[Array, " k"]


class Frontier(NamedTuple):
    """The nodes of one level that may be split, by slot; `node` -1 marks an empty slot."""

    node: Int[Array, " s"]
    quality: Quality


class TreeGrowth(eqx.Module):
    """A tree that grows on a sample by rules, level by level.

    `used` nodes stand in `nodes`, at most `depth` levels below the root. `order` (n,) units so that
    those of a node stand together; `sorted` (g, n) the same for each feature that is kept sorted,
    by its codes; `slot` (n,) each unit's slot in the frontier.
    """

    sample: ScaledSample
    rules: GrowthRules
    nodes: GrowingNodes
    used: Int[Array, ""]
    depth: Int[Array, ""]
    frontier: Frontier
    order: Int[Array, " n"]
    sorted: Int[Array, "g n"]
    slot: Int[Array, " n"]
