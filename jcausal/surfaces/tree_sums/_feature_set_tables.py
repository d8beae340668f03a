"""Trees on three to six features as tables: bins between which no tree of a table splits are one.

Trees on the same set of features share a table as long as it stays small, so that a point reads one
entry for all of them.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int, Int32

from jcausal.data import pad_rows
from jcausal.surfaces._arrays import read, total
from jcausal.surfaces.tree_sums._tree_arrays import (
    TreeArrays,
    families,
    octave,
    pick_trees,
    reached,
)

MOST = 6  # features of a table
LARGEST = 2**16  # entries of a table
EACH = 2**11  # entries that a table may have for each of its trees


class FeatureSetTables(eqx.Module):
    """The sum of k tables. Table k is read at base[k] + the steps of each of its features.

    A flat bin counts the bins of all features, feature by feature. Table 0 is empty, and what
    fills up the lists; the last column of `step` is all zeros.

    - `step` (b, w): for each flat bin, and each of at most w tables that hold its feature, how far
      the bin moves the place in that table.
    - `table` (f, w): which tables these are.
    - `member` (k, a): where the steps of each table stand when the rows of `step` of all features
      lie side by side: feature times w + column, one for each of at most a features.
    - `base` (k,): where each table begins.
    - `value` (c,): all tables one after the other.
    """

    step: Int32[Array, "b w"]
    table: Int32[Array, "f w"]
    member: Int32[Array, "k a"]
    base: Int32[Array, " k"]
    value: Float32[Array, " c"]

    def values(self, flat: Int[Array, "m f"]) -> Float32[Array, " m"]:
        """The sum of all tables at each point, given as flat bins."""
        return total(read(self.value, self._places(read(self.step, flat))))

    def along(
        self, j: Int[Array, "#m k"], flat: Int[Array, "m f"], line: Int[Array, "m k g"]
    ) -> Float32[Array, "m k g"]:
        """How the sum changes when feature j alone moves to each flat bin of `line`."""
        step, rows, mine = read(self.step, flat), jnp.arange(len(line))[:, None], self.table[j]
        place = self._places(step)
        others = read(place, rows[..., None], mine) - read(step, rows, j)
        there = read(self.value, others[:, :, None] + read(self.step, line))
        here = read(read(self.value, place), rows[..., None], mine)
        return total(there) - total(here)[:, :, None]

    def _places(self, step: Int32[Array, "m f w"]) -> Int32[Array, "m k"]:
        """Where points of these steps read each table."""
        steps, rows = step.reshape(len(step), -1), jnp.arange(len(step))[:, None]
        place = self.base
        for a in range(self.member.shape[1]):
            place = place + read(steps, rows, self.member[:, a])
        return place

    @property
    def held(self) -> Bool[Array, " f"]:
        """Which features any table holds."""
        return (self.table > 0).any(1)


class _TreesOfTable(NamedTuple):
    """What a table will hold.

    - `trees` (t,): their numbers.
    - `features`: all that they split on, in order.
    - `cuts`: for each of these its cuts in any of the trees, in order.
    """

    trees: Int[np.ndarray, " t"]
    features: tuple[int, ...]
    cuts: tuple[Int[np.ndarray, " c"], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(c) + 1 for c in self.cuts)


def make_feature_set_tables(
    trees: TreeArrays, bins: Int[np.ndarray, " f"], max_bytes: int
) -> tuple[FeatureSetTables, Bool[np.ndarray, " t"]]:
    """Tables within a byte budget, and which trees they hold."""
    found, spent, inside = [], 0, np.zeros(len(trees.var), bool)
    held = np.zeros(len(bins), int)
    for table in _group(trees):
        more = held + np.isin(np.arange(len(bins)), table.features)
        size = spent + int(np.prod(table.shape)) + MOST
        if 4 * (size + int(bins.sum()) * _roomy(1 + int(more.max()))) <= max_bytes:
            spent, held = size, more
            inside[table.trees] = True
            found.append(table)
    return _lay_out(trees, found, bins), inside


def _lay_out(
    trees: TreeArrays, tables: list[_TreesOfTable], bins: Int[np.ndarray, " f"]
) -> FeatureSetTables:
    """The arrays of some tables; numbers of tables are padded to few sizes."""
    first = np.cumsum([0, *bins])
    holding: list[list[int]] = [[] for _ in bins]
    for k, table in enumerate(tables, start=1):
        for f in table.features:
            holding[f].append(k)
    width = _roomy(1 + max(len(mine) for mine in holding))  # the last column is always empty
    step = np.zeros((first[-1], width), np.int32)
    number = np.stack([np.pad(mine, (0, width - len(mine))).astype(int) for mine in holding])
    most = max((len(table.features) for table in tables), default=1)
    member = np.full((_roomy(1 + len(tables)), 4 if most <= 4 else MOST), width - 1)
    base, values, place = np.zeros(len(member), int), [np.zeros(1)], 1
    taken = np.zeros(len(bins), int)
    for k, table in enumerate(tables, start=1):
        for a, (cuts, size, f) in enumerate(zip(table.cuts, _steps(table.shape), table.features)):
            column = taken[f]
            local = np.searchsorted(cuts, np.arange(bins[f]), side="right")
            step[first[f] : first[f + 1], column] = size * local
            member[k, a] = f * width + column
            taken[f] += 1
        base[k] = place
        values.append(_entries(pick_trees(trees, table.trees), table).ravel())
        place += values[-1].size
    value = np.concatenate(values)
    return FeatureSetTables(
        jnp.asarray(step),
        jnp.asarray(number, jnp.int32),
        jnp.asarray(member, jnp.int32),
        jnp.asarray(base, jnp.int32),
        jnp.asarray(pad_rows(value, octave(len(value))), jnp.float32),
    )


def _roomy(size: int) -> int:
    """A power of two up to 64, above that in steps of an eighth of one: wide lists cost time."""
    return octave(size) if size <= 64 else -(-size // (octave(size) // 8)) * (octave(size) // 8)


def _group(trees: TreeArrays) -> Iterator[_TreesOfTable]:
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


def _worthy(
    held: list[int], features: tuple[int, ...], cuts: list[np.ndarray]
) -> Iterator[_TreesOfTable]:
    """The table, unless it is much larger than its trees."""
    if np.prod([len(c) + 1.0 for c in cuts]) <= min(LARGEST, EACH * len(held)):
        yield _TreesOfTable(np.array(held), features, tuple(cuts))


def _steps(shape: tuple[int, ...]) -> list[int]:
    """How many entries apart neighbours along each axis are."""
    return np.cumprod([1, *shape[:0:-1]])[::-1].tolist()


def _entries(trees: TreeArrays, table: _TreesOfTable) -> np.ndarray:
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
