"""Trees on three to six features as tables: bins between which no tree of a table splits are one.

Trees on the same features share a table as long as it stays small, so that a point reads one entry
for all of them.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int, Int32

from jcausal.data import pad_rows
from jcausal.outcome._trees import TreeArrays, families, octave, pick_trees, reached

MOST = 6  # features of a table
LARGEST = 2**16  # entries of a table
EACH = 2**11  # entries that a table may have for each of its trees


class Where(NamedTuple):
    """Where w tables of as many features each read.

    The entry is base + sum over the features of strides[row + the feature's bin]. Lists of tables
    by feature have that feature first.
    """

    feature: Int32[Array, "*r w a"]
    row: Int32[Array, "*r w a"]
    base: Int32[Array, "*r w"]


class Cells(NamedTuple):
    """All tables, for each number of features: every one of them, and those that hold a feature.

    Tables that only fill up a list read entry 0, which is 0.
    """

    strides: Int32[Array, " s"]
    value: Float32[Array, " c"]
    every: tuple[Where, ...]
    holding: tuple[Where, ...]


class Table(NamedTuple):
    """Some trees, their features, and each feature's cuts in any of them."""

    trees: Int[np.ndarray, " t"]
    features: tuple[int, ...]
    cuts: tuple[Int[np.ndarray, " c"], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(c) + 1 for c in self.cuts)


def make_cells(
    trees: TreeArrays, bins: Int[np.ndarray, " f"], max_bytes: int
) -> tuple[Cells, Bool[np.ndarray, " t"]]:
    """Tables within a byte budget, and which trees they hold."""
    found, spent, inside = [], 0, np.zeros(len(trees.var), bool)
    for table in _group(trees):
        size = 4 * int(np.prod(table.shape))
        if spent + size <= max_bytes:
            spent += size
            inside[table.trees] = True
            found.append(table)
    tallest = int(bins.max(initial=1))
    strides, values, rows, bases = [np.zeros(tallest, int)], [np.zeros(1)], [], []
    place, base = tallest, 1
    for table in found:
        own = []
        for cuts, step, f in zip(table.cuts, _steps(table.shape), table.features):
            strides.append(step * np.searchsorted(cuts, np.arange(bins[f]), side="right"))
            own.append(place)
            place += int(bins[f])
        rows.append(own)
        bases.append(base)
        values.append(_entries(pick_trees(trees, table.trees), table).ravel())
        base += values[-1].size
    every, holding = _lists(found, rows, bases, len(bins))
    flat, value = np.concatenate(strides), np.concatenate(values)
    return Cells(
        jnp.asarray(pad_rows(flat, octave(len(flat))), jnp.int32),
        jnp.asarray(pad_rows(value, octave(len(value))), jnp.float32),
        every,
        holding,
    ), inside


def _group(trees: TreeArrays) -> Iterator[Table]:
    """Trees on the same features together, parted where a table would grow too large."""
    inner = trees.child > 0
    together: dict[tuple[int, ...], list[int]] = {}
    for t, (row, mine) in enumerate(zip(trees.var, inner)):
        together.setdefault(tuple(np.unique(row[mine]).tolist()), []).append(t)
    for features, members in sorted(together.items()):
        if not 0 < len(features) <= MOST:
            continue
        held: list[int] = []
        cuts = [np.zeros(0, int)] * len(features)
        for t in members:
            own = [trees.cut[t][inner[t] & (trees.var[t] == f)] for f in features]
            wider = [np.union1d(a, b) for a, b in zip(cuts, own)]
            if held and np.prod([len(c) + 1.0 for c in wider]) > LARGEST:
                yield from _worthy(held, features, cuts)
                held, wider = [], [np.unique(c) for c in own]
            held.append(t)
            cuts = wider
        yield from _worthy(held, features, cuts)


def _worthy(held: list[int], features: tuple[int, ...], cuts: list[np.ndarray]) -> Iterator[Table]:
    """The table, unless it is much larger than its trees."""
    if np.prod([len(c) + 1.0 for c in cuts]) <= min(LARGEST, EACH * len(held)):
        yield Table(np.array(held), features, tuple(cuts))


def _steps(shape: tuple[int, ...]) -> list[int]:
    """How many entries apart neighbours along each axis are."""
    return np.cumprod([1, *shape[:0:-1]])[::-1].tolist()


def _entries(trees: TreeArrays, table: Table) -> np.ndarray:
    """The sum of the trees on the grid of a table, by corner differences and prefix sums."""
    count, slots = trees.child.shape
    lo = np.zeros((count, slots, len(table.features)), int)
    hi = np.broadcast_to(table.shape, lo.shape).copy()
    for rows, parent, child in families(trees):
        axis = np.searchsorted(table.features, trees.var[rows, parent])
        at = np.zeros(len(rows), int)
        for a, cuts in enumerate(table.cuts):
            mine = axis == a
            at[mine] = np.searchsorted(cuts, trees.cut[rows[mine], parent]) + 1
        for own in (child, child + 1):
            lo[rows, own], hi[rows, own] = lo[rows, parent], hi[rows, parent]
        hi[rows, child, axis] = np.minimum(hi[rows, child, axis], at)
        lo[rows, child + 1, axis] = np.maximum(lo[rows, child + 1, axis], at)
    tree, slot = np.nonzero(reached(trees) & (trees.child == 0) & (lo < hi).all(2))
    ends, value = (lo[tree, slot], hi[tree, slot]), trees.value[tree, slot]
    wide = tuple(side + 1 for side in table.shape)
    grid = np.zeros(int(np.prod(wide)))
    for corner in product((0, 1), repeat=len(wide)):
        place = np.stack([ends[c][:, a] for a, c in enumerate(corner)])
        grid += np.bincount(
            np.ravel_multi_index(place, wide), (-1) ** sum(corner) * value, len(grid)
        )
    grid = grid.reshape(wide)
    for axis in range(len(wide)):
        grid = grid.cumsum(axis)
    return grid[tuple(slice(side) for side in table.shape)]


def _lists(
    tables: list[Table], rows: list[list[int]], bases: list[int], features: int
) -> tuple[tuple[Where, ...], tuple[Where, ...]]:
    """The tables of each number of features, and the same by feature."""
    every, holding = [], []
    for a in sorted({len(table.features) for table in tables}):
        entries = [
            (table.features, row, base)
            for table, row, base in zip(tables, rows, bases)
            if len(table.features) == a
        ]
        whole = _where([entries], a)
        every.append(Where(*(field[0] for field in whole)))
        by_feature: list[list] = [[] for _ in range(features)]
        for mine, row, base in entries:
            for k, f in enumerate(mine):
                order = [k, *(i for i in range(a) if i != k)]
                by_feature[f].append(([mine[i] for i in order], [row[i] for i in order], base))
        holding.append(_where(by_feature, a))
    return tuple(every), tuple(holding)


def _where(lists: list[list], a: int) -> Where:
    """Lists of tables side by side, padded to a power of two."""
    width = octave(max(len(entries) for entries in lists))
    feature, row = (np.zeros((len(lists), width, a), np.int32) for _ in range(2))
    base = np.zeros((len(lists), width), np.int32)
    for k, entries in enumerate(lists):
        for i, (own, where, start) in enumerate(entries):
            feature[k, i], row[k, i], base[k, i] = own, where, start
    return Where(jnp.asarray(feature), jnp.asarray(row), jnp.asarray(base))


def look_cells(cells: Cells, bins: Int[Array, "m f"]) -> Float32[Array, " m"]:
    """The sum of all tables at each point."""
    total = jnp.zeros(bins.shape[0], jnp.float32)
    for where in cells.every:
        place = where.base + cells.strides[where.row + bins[:, where.feature]].sum(-1)
        total += cells.value[place].sum(1)
    return total


def look_cells_along(
    cells: Cells, j: Int[Array, "#m k"], bins: Int[Array, "m f"], moved: Int[Array, "m k g"]
) -> Float32[Array, "m k g"]:
    """The sum of the tables that hold feature j, whose bin takes each of the values `moved`."""
    total = jnp.zeros(moved.shape, jnp.float32)
    rows = jnp.arange(bins.shape[0])[:, None, None, None]
    for where in cells.holding:
        feature, row, base = (field[j] for field in where)
        others = cells.strides[row[..., 1:] + bins[rows, feature[..., 1:]]].sum(-1)
        own = cells.strides[row[:, :, None, :, 0] + moved[..., None]]
        total += cells.value[(base + others)[:, :, None] + own].sum(3)
    return total


def cells_width(cells: Cells) -> int:
    """Tables that a point reads at most."""
    return sum(where.base.shape[-1] for where in cells.every)
