"""Cells: units that agree in every covariate, and groups of cells that agree in some."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import Sample
from jcausal.matching._order import groups_of, packed_columns
from jcausal.matching.strata._coarse_columns import CoarseColumn


class CoarseCells(NamedTuple):
    """The distinct rows of c coarse covariates among m units of a fold.

    - `rows` (m,), `cell` (m,): the units, and the cell of each.
    - `codes` (g, c): the levels of each cell.
    - `missing` (g, c): which of them mean missing.
    - `counts` (g, 2): controls and treated of weight above 0.
    - `asked` (g,): cells that hold a query.
    """

    rows: Int[np.ndarray, " m"]
    cell: Int[np.ndarray, " m"]
    codes: Int[np.ndarray, "g c"]
    missing: Bool[np.ndarray, "g c"]
    counts: Int[np.ndarray, "g 2"]
    asked: Bool[np.ndarray, " g"]


class Level(NamedTuple):
    """Groups that were made on some covariates.

    - `kept` (c,): the covariates that units agree in.
    - `group` (g,): the group of each cell from 0, -1 for cells in none that serves a query.
    - `served` (g,): cells whose queries are matched here, and not before.
    - `groups`: how many there are.
    """

    kept: Bool[np.ndarray, " c"]
    group: Int[np.ndarray, " g"]
    served: Bool[np.ndarray, " g"]
    groups: int


def cells_of(
    sample: Sample,
    columns: list[CoarseColumn],
    rows: Int[np.ndarray, " m"],
    asked: Bool[np.ndarray, " n"],
) -> CoarseCells:
    """The cells of some rows; `asked` says which rows are queries."""
    cell, first = groups_of(packed_columns(column.code[rows] for column in columns))
    codes = np.stack([c.code[rows[first]].astype(np.int32) for c in columns], axis=1)
    missing = codes == np.array([c.gap for c in columns])
    treated, partner = np.asarray(sample.t)[rows], np.asarray(sample.weight)[rows] > 0
    counts = [np.bincount(cell[partner & (treated == a)], minlength=first.size) for a in (0, 1)]
    queried = np.bincount(cell[asked[rows]], minlength=first.size) > 0
    return CoarseCells(rows, cell, codes, missing, np.stack(counts, axis=1), queried)


class Grouped(NamedTuple):
    """CoarseCells grouped by some covariates.

    - `cells` (f,): those that take part.
    - `group` (f,): the group of each, from 0.
    - `both` (f,): whether that group holds units of both arms.
    """

    cells: Int[np.ndarray, " f"]
    group: Int[np.ndarray, " f"]
    both: Bool[np.ndarray, " f"]


def grouped(
    cells: CoarseCells, kept: Bool[np.ndarray, " c"], free: Bool[np.ndarray, " g"]
) -> Grouped:
    """Group the free cells by the covariates kept; a cell that lacks one of them takes no part."""
    inside = np.flatnonzero(free & ~cells.missing[:, kept].any(1))
    group, first = groups_of(packed_columns(cells.codes[inside][:, kept].T))
    arms = [
        np.bincount(group, weights=cells.counts[inside, arm], minlength=first.size) > 0
        for arm in (0, 1)
    ]
    return Grouped(inside, group, (arms[0] & arms[1])[group])


def level_of(
    cells: CoarseCells,
    kept: Bool[np.ndarray, " c"],
    found: Grouped,
    unmatched: Bool[np.ndarray, " g"],
) -> Level:
    """The groups with both arms that hold a query which was not matched before."""
    served = np.zeros(cells.asked.size, bool)
    served[found.cells[found.both]] = True
    served &= unmatched & cells.asked
    useful = np.zeros(found.group.max(initial=-1) + 1, bool)
    useful[found.group[served[found.cells]]] = True
    number = np.where(useful, np.cumsum(useful) - 1, -1)
    group = np.full(cells.asked.size, -1, np.int32)
    group[found.cells] = number[found.group]
    return Level(kept, group, served, int(useful.sum()))
