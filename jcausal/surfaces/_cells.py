"""Trees on three to six features as tables: bins between which no tree of a table splits are one.

Trees on the same features share a table as long as it stays small, so that a point reads one entry
for all of them.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32

from jcausal.data import pad_rows
from jcausal.surfaces._trees import TreeArrays, families, octave, pick_trees, reached

MOST = 6  # features of a table
LARGEST = 2**16  # entries of a table
EACH = 2**11  # entries that a table may have for each of its trees


class Cells(NamedTuple):
    """All tables. Table k reads value[base[k] + the steps of each of its features].

    `step` has a row for each bin of each feature, and in it one entry for each table that holds
    the feature: how far that bin moves the place. `table` names these tables, feature by feature;
    `member` finds the steps of each table in the rows of all features, side by side. Table 0 is
    empty, and what fills up the lists.
    """

    step: Int32[Array, "b w"]
    table: Int32[Array, "f w"]
    member: Int32[Array, "k a"]
    base: Int32[Array, " k"]
    value: Float32[Array, " c"]


class Read(NamedTuple):
    """What some points read: each feature's steps, and the place and value of every table."""

    step: Int32[Array, "m f w"]
    place: Int32[Array, "m k"]
    value: Float32[Array, "m k"]


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
    held = np.zeros(len(bins), int)
    for table in _group(trees):
        more = held + np.isin(np.arange(len(bins)), table.features)
        size = spent + int(np.prod(table.shape)) + MOST
        if 4 * (size + int(bins.sum()) * _roomy(1 + int(more.max()))) <= max_bytes:
            spent, held = size, more
            inside[table.trees] = True
            found.append(table)
    return _lay_out(trees, found, bins), inside


def _lay_out(trees: TreeArrays, tables: list[Table], bins: Int[np.ndarray, " f"]) -> Cells:
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
    return Cells(
        jnp.asarray(step),
        jnp.asarray(number, jnp.int32),
        jnp.asarray(member, jnp.int32),
        jnp.asarray(base, jnp.int32),
        jnp.asarray(pad_rows(value, octave(len(value))), jnp.float32),
    )


def _roomy(size: int) -> int:
    """A power of two up to 64, above that in steps of an eighth of one: wide lists cost time."""
    return octave(size) if size <= 64 else -(-size // (octave(size) // 8)) * (octave(size) // 8)


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


def read(array: Array, *place: Array) -> Array:
    """Entries at places that are within bounds: nothing is checked, which is quicker."""
    return array.at[place].get(mode="promise_in_bounds", wrap_negative_indices=False)


def total(values: Float32[Array, "*r w"]) -> Float32[Array, "*r"]:
    """Sums over the last axis as a matrix product, which is quicker where values are gathered."""
    flat = values.reshape(-1, values.shape[-1])
    ones = jnp.ones(values.shape[-1], values.dtype)
    return jnp.matmul(flat, ones, precision=lax.Precision.HIGHEST).reshape(values.shape[:-1])


def look_cells(cells: Cells, flat: Int[Array, "m f"]) -> Read:
    """What points read, given as flat bins; the sum of their values is the sum of the tables."""
    step = read(cells.step, flat)
    steps, rows = step.reshape(len(flat), -1), jnp.arange(len(flat))[:, None]
    place = cells.base
    for a in range(cells.member.shape[1]):
        place = place + read(steps, rows, cells.member[:, a])
    return Read(step, place, read(cells.value, place))


def look_cells_along(
    cells: Cells, found: Read, j: Int[Array, "#m k"], line: Int[Array, "m k g"]
) -> Float32[Array, "m k g"]:
    """How the sum of the tables changes when feature j alone moves to each flat bin of `line`."""
    rows, mine = jnp.arange(len(line))[:, None], cells.table[j]
    others = read(found.place, rows[..., None], mine) - read(found.step, rows, j)
    there = read(cells.value, others[:, :, None] + read(cells.step, line))
    return total(there) - total(read(found.value, rows[..., None], mine))[:, :, None]
