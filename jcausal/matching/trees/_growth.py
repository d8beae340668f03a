"""Where the growth of an M5 tree stands: its plan, limits, nodes and frontier."""

from typing import Literal, NamedTuple

from jaxtyping import Array, Int

from jcausal.matching.trees._fit import Blocks, Quality

Search = Literal["best", "first_passing"]
Criterion = Literal["adjusted_r2", "residual_variance"]
CHUNK = 32  # nodes whose regressions are fitted at a time
NOWHERE = 2**30  # the slot of a unit whose node is finished


class Plan(NamedTuple):
    """How a tree is grown: static under jit.

    `heights` more than any code of each feature.
    """

    search: Search
    criterion: Criterion
    heights: tuple[int, ...]
    blocks: Blocks


class Limits(NamedTuple):
    """Units that a child needs, levels below the root, free slopes of a regression."""

    minimum: Int[Array, ""]
    depth: Int[Array, ""]
    free: Int[Array, ""]


class Grown(NamedTuple):
    """All nodes so far: splits (feature -1: none yet), left child (the right follows), units."""

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


class Growth(NamedTuple):
    """Where the growth stands.

    `order` (n,) units so that those of a node stand together; `sorted` (g, n) the same for each
    feature that is kept sorted, by its codes; `slot` (n,) each unit's slot in the frontier.
    """

    nodes: Grown
    used: Int[Array, ""]
    depth: Int[Array, ""]
    frontier: Frontier
    order: Int[Array, " n"]
    sorted: Int[Array, "g n"]
    slot: Int[Array, " n"]
