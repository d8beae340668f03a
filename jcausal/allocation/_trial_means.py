"""Differences in means by group: sums over the cells of group and arm."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from jcausal.data import By, DataError, Sample, is_traced, row_draws
from jcausal.effects import factorized, group_labels


class MeanDifferences(NamedTuple):
    """What a trial tells of each group: the mean of its treated less that of its controls.

    `value` (k,), `std_error` (k,), `df` (k,) of the error; `effective` (k, 2) effective units by
    arm, controls first; `halves` (r, 2, k) the same differences in random halves, None without
    keys; `label` the groups' names.
    """

    value: Float[np.ndarray, " k"]
    std_error: Float[np.ndarray, " k"]
    df: Float[np.ndarray, " k"]
    effective: Float[np.ndarray, "k 2"]
    halves: Float[np.ndarray, "r 2 k"] | None
    label: tuple


class _TrialRows(NamedTuple):
    """Valid rows of positive weight: outcomes around their mean, and the cell 2 group + arm."""

    y: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    cell: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]
    cells: int

    def sums(self, values: np.ndarray, use: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Values (n,) summed by cell, (k, 2): controls first."""
        found = np.bincount(self.cell[use], values[use], minlength=self.cells)
        return found.reshape(-1, 2)


def mean_differences(sample: Sample, by: By, keys: list[PRNGKeyArray]) -> MeanDifferences:
    """Estimates, errors and halves of every group.

    **Raises:** `DataError` without outcomes, and for a group with fewer than two units in an arm;
    ValueError for clusters, and under tracing.
    """
    if is_traced(sample, by):
        raise ValueError("a trial's groups need concrete arrays: estimate them outside of jit.")
    if sample.y is None:
        raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
    if sample.cluster is not None:
        raise ValueError(
            "differences in means would ignore the sample's clusters: use effects with "
            "method=jc.Bootstrap(), or a sample without cluster=."
        )
    rows, label = _rows(sample, by)
    _check_cells(rows, label)
    weight = rows.sums(rows.weight)
    mean = rows.sums(rows.weight * rows.y) / weight
    square = rows.sums(rows.weight * (rows.y - mean.ravel()[rows.cell]) ** 2)
    effective = weight**2 / rows.sums(rows.weight**2)
    spread = square / weight / (effective - 1)  # variance of the mean: s^2 / effective
    halves = [_halves(rows, np.asarray(row_draws(sample, key))[rows.place]) for key in keys]
    return MeanDifferences(
        mean[:, 1] - mean[:, 0],
        np.sqrt(spread.sum(1)),
        _degrees_of_freedom(spread, effective),
        effective,
        np.stack(halves) if halves else None,
        label,
    )


def _rows(sample: Sample, by: By) -> tuple[_TrialRows, tuple]:
    weight = np.asarray(sample.weight, np.float64)
    place = np.flatnonzero(np.asarray(sample.valid) & (weight > 0))
    labels = pd.Series(group_labels(sample, by)).iloc[place]
    if labels.isna().any():
        raise DataError(
            f"by= is missing in {int(labels.isna().sum())} of {place.size} rows: name their group, "
            "or leave the rows out."
        )
    code, found = factorized(labels)
    y = np.asarray(sample.y, np.float64)[place]
    weight = weight[place]
    cell = 2 * code + np.asarray(sample.t)[place]
    around = y - np.average(y, weights=weight)
    return _TrialRows(around, weight, cell, place, 2 * len(found)), tuple(found.tolist())


def _check_cells(rows: _TrialRows, label: tuple) -> None:
    """Two units in each arm of each group, of comparable weight."""
    count = np.bincount(rows.cell, minlength=rows.cells).reshape(-1, 2)
    for few, word in ((1, "no"), (2, "only one")):
        for arm, units in enumerate(("control", "treated unit")):
            groups = np.flatnonzero(count[:, arm] < few)
            if groups.size:
                listed = ", ".join(repr(label[g]) for g in groups[:5])
                more = f" and {groups.size - 5} more" if groups.size > 5 else ""
                raise DataError(
                    f"group {listed}{more} has {word} {units} ({groups.size} of {len(label)} "
                    "groups): an effect with an error takes two in each arm; merge these groups or "
                    "leave them out."
                )


def _degrees_of_freedom(
    spread: Float[np.ndarray, "k 2"], effective: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, " k"]:
    """Welch and Satterthwaite's degrees of freedom, at least those of the smaller arm."""
    least = (effective - 1).min(1)
    parts = (spread**2 / (effective - 1)).sum(1)
    known = parts > 0
    found = spread.sum(1) ** 2 / np.where(known, parts, 1)
    return np.where(known, np.maximum(found, least), least)


def _dealt(rows: _TrialRows, draw: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """0 or 1 a row: in the order of the draws every other unit of each cell."""
    order = np.lexsort((draw, rows.cell))
    first = np.searchsorted(rows.cell[order], np.arange(rows.cells))
    half = np.empty(order.size, int)
    half[order] = (np.arange(order.size) - first[rows.cell[order]]) % 2
    return half


def half_of(sample: Sample, by: By, key: PRNGKeyArray) -> Int[np.ndarray, " n"]:
    """A random half (n,), 0 or 1, by group and arm; -1 for rows that do not count."""
    rows, _ = _rows(sample, by)
    found = np.full(sample.n, -1)
    found[rows.place] = _dealt(rows, np.asarray(row_draws(sample, key))[rows.place])
    return found


def _halves(rows: _TrialRows, draw: Float[np.ndarray, " n"]) -> Float[np.ndarray, "2 k"]:
    """Differences in means of two random halves."""
    half, found = _dealt(rows, draw), []
    for one in (0, 1):
        use: Bool[np.ndarray, " n"] = half == one
        mean = rows.sums(rows.weight * rows.y, use) / rows.sums(rows.weight, use)
        found.append(mean[:, 1] - mean[:, 0])
    return np.stack(found)
