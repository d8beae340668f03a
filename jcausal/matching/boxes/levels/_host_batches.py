"""Level boxes on the host: fold by fold, batch by batch."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import bucket, pad_rows, row_draws, to_device
from jcausal.matching._matcher import Progress
from jcausal.matching.boxes._rows import take
from jcausal.matching.boxes.levels._level_boxes import Batch, Crowd, LevelBoxes, level_boxes
from jcausal.matching.boxes.levels._level_task import LevelTask
from jcausal.surfaces import ResponseSurface

PAIRS = 2**28  # queries times units from which units are sampled for the choice of a level
FEWEST = 4096  # units that are looked at however many queries there are


def grow_on_host(
    work: LevelTask, surfaces: Sequence[ResponseSurface], progress: Progress | None
) -> LevelBoxes:
    """Every query's box, by programs of bucketed shapes that near sizes and all folds share."""
    _check_uses(work)
    query_fold, total = np.asarray(work.task.query_fold), work.task.query.shape[0]
    of_fold = [np.flatnonzero(query_fold == k) for k in range(len(surfaces))]
    crowds = [_crowd(work, k, mine) for k, mine in enumerate(of_fold)]
    room = bucket(max(crowd.arm.size for crowd in crowds))
    size = min(bucket(max(mine.size for mine in of_fold)), work.at_once)
    every = jax.tree.map(np.asarray, work.every())
    where, parts, done = [], [], 0
    for surface, mine, few in zip(surfaces, of_fold, crowds):
        crowd, lean = _filled_up(few, room), surface.lean()
        for start in range(0, mine.size, size):
            rows = mine[start : start + size]
            batch = _batch(every, rows, size)
            one = level_boxes(lean, work.cells, crowd, batch, work.minimum, work.columns)
            parts.append(take(jax.tree.map(np.asarray, one), np.arange(rows.size)))
            where.append(rows)
            done += rows.size
            if progress is not None:
                progress("boxes", done, total)
    order = np.argsort(np.concatenate(where), kind="stable")
    return jax.tree.map(lambda *a: to_device(np.concatenate(a)[order]), *parts)


def _check_uses(work: LevelTask) -> None:
    """Refuse queries for which no surface counts."""
    if not (np.asarray(work.uses) > 0).any(1).all():
        raise ValueError(
            "with these gammas no surface counts for some queries, so that any box is as good: "
            "leave gamma0 and gamma1 at None, or give the other one too."
        )


def _batch(every: Batch, rows: Int[np.ndarray, " r"], size: int) -> Batch:
    """Some queries, and copies of the last that are not asked for up to `size`."""
    batch = take(every, np.pad(rows, (0, size - rows.size), mode="edge"))
    asked = batch.asked & (np.arange(size) < rows.size)
    return jax.tree.map(to_device, batch._replace(asked=asked))


def _crowd(work: LevelTask, k: int, mine: Int[np.ndarray, " r"]) -> Crowd:
    """The units of a fold that may be matched, of the arms that its queries need.

    At most so many of an arm: the first in an order that follows the units' identity.
    """
    sample = work.task.sample
    most = max(FEWEST, PAIRS // max(mine.size, 1))
    arm, weight = np.asarray(sample.t), np.asarray(sample.weight)
    member = (np.asarray(work.task.fold) == k) & (weight > 0) & np.asarray(sample.valid)
    there = np.array([(member & ~arm).sum(), (member & arm).sum()], np.int32)
    rows, share = [np.zeros(0, int)], np.ones(2, sample.x.dtype)
    for a in np.flatnonzero(_needed(work, mine)):
        units = np.flatnonzero(member & (arm == bool(a)))
        if units.size > most:
            draw = np.asarray(row_draws(sample, jax.random.key(0)))[units]
            share[a] = most / units.size
            units = np.sort(units[np.argsort(draw, kind="stable")[:most]])
        rows.append(units)
    chosen = np.concatenate(rows)
    cells = np.asarray(work.cells.cells)[chosen]
    values = np.asarray(work.prognosis.units)[chosen]
    columns = (cells, arm[chosen], weight[chosen], values, share, there)
    return Crowd(*map(to_device, columns))


def _needed(work: LevelTask, mine: Int[np.ndarray, " r"]) -> Bool[np.ndarray, " 2"]:
    """The arms whose surface counts for some of these queries, or that a box needs units of."""
    return (np.asarray(work.uses)[mine] > 0).any(0) | (np.asarray(work.minimum) > 1)


def _filled_up(crowd: Crowd, size: int) -> Crowd:
    """The same with units of weight 0 up to `size`."""
    cells, arm, weight, values = (to_device(pad_rows(np.asarray(a), size)) for a in crowd[:4])
    return Crowd(cells, arm, weight, values, crowd.share, crowd.there)
