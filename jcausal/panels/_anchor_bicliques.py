"""Anchors of a cell: units and times that were all observed together, and beside the cell.

For a target (i, j) anchor rows are rows observed at j, anchor columns columns at which i was
observed, and every cell of anchor rows x anchor columns was observed: a biclique. On the host.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

Rows = Int[np.ndarray, " a"]
Columns = Int[np.ndarray, " b"]


class Anchors(NamedTuple):
    """Anchor rows and columns, and the targets (k, 2) that share them."""

    rows: Rows
    columns: Columns
    targets: Int[np.ndarray, "k 2"]


def anchors_of(use: Bool[np.ndarray, "n m"], targets: Int[np.ndarray, "k 2"]) -> list[Anchors]:
    """Anchors of targets outside the cells in use, targets with the same ones together.

    Searched once for all targets that may have the same anchors. The group with the most targets
    comes last.
    """
    row, column = _alike(use), _alike(use.T)
    code = row[targets[:, 0]] * use.shape[1] + column[targets[:, 1]]
    order = np.argsort(code, kind="stable")
    cuts = np.flatnonzero(np.diff(code[order])) + 1
    shared: dict[tuple[bytes, bytes], tuple[Rows, Columns, list[list[int]]]] = {}
    for members in np.split(targets[order], cuts) if len(targets) else ():
        i, j = members[0]
        rows, columns = biclique(use, np.flatnonzero(use[:, j]), np.flatnonzero(use[i]))
        name = (rows.tobytes(), columns.tobytes())
        shared.setdefault(name, (rows, columns, []))[2].extend(members.tolist())
    found = [Anchors(rows, columns, np.asarray(cells)) for rows, columns, cells in shared.values()]
    return sorted(found, key=lambda group: len(group.targets))


def _alike(use: Bool[np.ndarray, "n m"]) -> Int[np.ndarray, " n"]:
    """The same number for rows with the same cells in use."""
    packed = np.packbits(use, axis=1)
    return np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1)


def biclique(
    use: Bool[np.ndarray, "n m"], rows: Int[np.ndarray, " k"], columns: Int[np.ndarray, " l"]
) -> tuple[Rows, Columns]:
    """Rows and columns, out of those given, with every cell in use: a large min(rows, columns).

    All of them where every cell is in use. Else rows are added one at a time, always the one that
    leaves the most columns in use in all rows (the first of several), and the best stage stays:
    largest min(rows, columns), then largest product. That is exact where the rows' sets of columns
    are nested, as under absorbing treatment; in general it is greedy.
    """
    block = use[np.ix_(rows, columns)]
    if not block.size:
        return rows[:0], columns[:0]
    if block.all():
        return rows, columns
    columns_left = np.ones(columns.size, bool)
    rows_left = np.ones(rows.size, bool)
    best, stage = (0, 0), np.zeros(columns.size, bool)
    for count in range(1, rows.size + 1):
        kept = np.where(rows_left, (block & columns_left).sum(1), -1)
        row = int(kept.argmax())
        rows_left[row] = False
        columns_left = columns_left & block[row]
        size = int(kept[row])
        if (min(count, size), count * size) > best:
            best, stage = (min(count, size), count * size), columns_left
        if size < best[0]:
            break
    if not stage.any():
        return rows[:0], columns[:0]
    return rows[block[:, stage].all(1)], columns[stage]
