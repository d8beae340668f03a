"""Shapes that every implementation of a kernel is tested on: odd tails, empty sets, ties."""

from typing import NamedTuple


class BoxSpec(NamedTuple):
    """n units, q boxes, p ordered columns, c category columns of `levels` levels, d values.

    The ladders have `heights` values; `max_bytes` below what one block takes means the least block.
    """

    n: int
    q: int
    p: int
    c: int
    levels: int
    d: int
    max_bytes: int
    heights: int = 6


BOX_SPECS = (
    BoxSpec(n=1, q=1, p=1, c=0, levels=1, d=1, max_bytes=2**20),
    BoxSpec(n=7, q=3, p=2, c=0, levels=1, d=2, max_bytes=2**20),
    BoxSpec(n=257, q=129, p=3, c=2, levels=5, d=3, max_bytes=2**12),
    BoxSpec(n=1000, q=300, p=5, c=1, levels=3, d=1, max_bytes=2**18),
    BoxSpec(n=300, q=257, p=0, c=2, levels=4, d=2, max_bytes=2**12),
    BoxSpec(n=33, q=5, p=2, c=0, levels=1, d=1, max_bytes=1, heights=1),
    BoxSpec(n=500, q=70, p=2, c=1, levels=40, d=2, max_bytes=2**16, heights=64),
    BoxSpec(n=500, q=130, p=2, c=0, levels=1, d=2, max_bytes=1, heights=65),
    BoxSpec(n=2000, q=40, p=3, c=0, levels=1, d=0, max_bytes=2**20, heights=300),
    BoxSpec(n=3000, q=40, p=2, c=1, levels=2, d=1, max_bytes=2**18, heights=70_000),
    BoxSpec(n=0, q=3, p=2, c=1, levels=2, d=2, max_bytes=2**20),
    BoxSpec(n=5, q=0, p=2, c=1, levels=2, d=2, max_bytes=2**20),
)


class SlabSpec(NamedTuple):
    """m proposals, g points, p columns of which the last `c` are categories."""

    m: int
    g: int
    p: int
    c: int
    max_bytes: int


SLAB_SPECS = (
    SlabSpec(m=1, g=2, p=1, c=0, max_bytes=2**20),
    SlabSpec(m=7, g=3, p=2, c=1, max_bytes=2**20),
    SlabSpec(m=131, g=5, p=4, c=2, max_bytes=2**9),
)


class DrawSpec(NamedTuple):
    """n units of which `padding` do not count, d value columns, b draws."""

    n: int
    padding: int
    d: int
    draws: int
    max_bytes: int


DRAW_SPECS = (
    DrawSpec(n=1, padding=0, d=1, draws=1, max_bytes=2**20),
    DrawSpec(n=7, padding=2, d=2, draws=33, max_bytes=2**8),
    DrawSpec(n=300, padding=41, d=3, draws=100, max_bytes=2**15),
)


class SearchSpec(NamedTuple):
    """w problems of n cells on c columns, at most `heights` codes away; units needed by arm."""

    n: int
    w: int
    c: int
    heights: int
    minimum: tuple[int, int]


SEARCH_SPECS = (
    SearchSpec(n=1, w=1, c=1, heights=1, minimum=(0, 0)),
    SearchSpec(n=9, w=3, c=1, heights=4, minimum=(1, 1)),
    SearchSpec(n=12, w=5, c=2, heights=3, minimum=(2, 0)),
    SearchSpec(n=8, w=4, c=3, heights=1, minimum=(0, 3)),
    SearchSpec(n=7, w=2, c=3, heights=2, minimum=(6, 0)),
)


class PairSpec(NamedTuple):
    """n units, q queries, s surfaces, the d nearest of either arm."""

    n: int
    q: int
    s: int
    d: int
    max_bytes: int


PAIR_SPECS = (
    PairSpec(n=1, q=1, s=1, d=1, max_bytes=2**20),
    PairSpec(n=7, q=3, s=2, d=9, max_bytes=2**20),
    PairSpec(n=257, q=33, s=2, d=5, max_bytes=2**13),
    PairSpec(n=1000, q=10, s=1, d=20, max_bytes=1),
)


class SubsetSpec(NamedTuple):
    """b queries of k candidates with f features; alpha None for the lexicographic order."""

    b: int
    k: int
    f: int
    balance: str
    alpha: float | None
    max_bytes: int


SUBSET_SPECS = (
    SubsetSpec(b=1, k=1, f=1, balance="mean", alpha=None, max_bytes=2**20),
    SubsetSpec(b=7, k=6, f=3, balance="mean", alpha=None, max_bytes=1),
    SubsetSpec(b=7, k=6, f=3, balance="sum", alpha=None, max_bytes=2**20),
    SubsetSpec(b=5, k=7, f=9, balance="mean", alpha=2.5, max_bytes=2**20),
    SubsetSpec(b=3, k=2, f=0, balance="sum", alpha=1.0, max_bytes=2**20),
    SubsetSpec(b=3, k=12, f=4, balance="mean", alpha=None, max_bytes=2**20),
    SubsetSpec(b=3, k=11, f=3, balance="sum", alpha=0.5, max_bytes=2**16),
)


class NearSpec(NamedTuple):
    """n units in g groups, q queries, f features, the k nearest."""

    n: int
    g: int
    q: int
    f: int
    k: int
    max_bytes: int


NEAR_SPECS = (
    NearSpec(n=1, g=1, q=1, f=1, k=1, max_bytes=2**20),
    NearSpec(n=60, g=7, q=70, f=3, k=5, max_bytes=2**20),
    NearSpec(n=60, g=3, q=9, f=2, k=30, max_bytes=1),
)


class PointSpec(NamedTuple):
    """n units of which a share `nobody` cannot be had, q queries, f features, the k nearest.

    Features are whole numbers from 0 to `values` - 1.
    """

    n: int
    q: int
    f: int
    k: int
    max_bytes: int
    values: int = 1000
    nobody: float = 0.0


POINT_SPECS = (
    PointSpec(n=1, q=1, f=1, k=1, max_bytes=2**20),
    PointSpec(n=7, q=3, f=2, k=9, max_bytes=2**20, values=3),
    PointSpec(n=257, q=33, f=3, k=5, max_bytes=1, nobody=0.2),
    PointSpec(n=5000, q=1030, f=11, k=2, max_bytes=2**26, nobody=0.1),
    PointSpec(n=4097, q=9, f=4, k=40, max_bytes=2**22, values=2),
    PointSpec(n=0, q=3, f=2, k=2, max_bytes=2**20),
    PointSpec(n=5, q=0, f=2, k=2, max_bytes=2**20),
    PointSpec(n=40, q=3, f=0, k=2, max_bytes=2**20),
)


class SplitSpec(NamedTuple):
    """n units in k nodes, p covariates of `heights` values, outcomes of few values or many."""

    n: int
    p: int
    nodes: int
    heights: int
    minimum: int
    few: bool = False


SPLIT_SPECS = (
    SplitSpec(n=1, p=1, nodes=1, heights=1, minimum=1),
    SplitSpec(n=9, p=2, nodes=2, heights=2, minimum=1, few=True),
    SplitSpec(n=257, p=3, nodes=5, heights=7, minimum=4, few=True),
    SplitSpec(n=300, p=2, nodes=3, heights=300, minimum=20),
)


class LevelSpec(NamedTuple):
    """n units, q queries, d columns of `cells` cells whose levels are one of `levels` numbers.

    A share `never` of the cells is never opened, a share `nobody` of the units has no weight.
    """

    n: int
    q: int
    d: int
    cells: int
    levels: int
    max_bytes: int
    never: float = 0.0
    nobody: float = 0.0
    minimum: tuple[int, int] = (1, 1)


LEVEL_SPECS = (
    LevelSpec(n=1, q=1, d=1, cells=1, levels=1, max_bytes=2**20, minimum=(0, 0)),
    LevelSpec(n=7, q=3, d=2, cells=3, levels=4, max_bytes=2**20),
    LevelSpec(n=60, q=67, d=3, cells=4, levels=5, max_bytes=1, never=0.1, nobody=0.2),
    LevelSpec(n=97, q=5, d=2, cells=80, levels=10_000, max_bytes=2**12, never=0.1),
    LevelSpec(n=130, q=9, d=17, cells=5, levels=10_000, max_bytes=2**20, nobody=0.1),
    LevelSpec(n=300, q=4, d=33, cells=2, levels=6, max_bytes=2**16, minimum=(20, 3)),
    LevelSpec(n=50, q=6, d=2, cells=4, levels=9, max_bytes=2**20, minimum=(0, 90)),
    LevelSpec(n=40, q=3, d=0, cells=1, levels=1, max_bytes=2**20, nobody=0.1),
    LevelSpec(n=0, q=3, d=2, cells=3, levels=3, max_bytes=2**20),
    LevelSpec(n=5, q=0, d=2, cells=3, levels=3, max_bytes=2**20),
)
