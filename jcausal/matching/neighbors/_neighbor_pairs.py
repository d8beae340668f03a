"""Pairs from a search for the nearest units."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import to_device
from jcausal.matching._matcher import Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors._pairs import Pairs
from jcausal.matching.neighbors._search_space import SearchSpace, blocks_of
from jcausal.matching.neighbors._with_replacement import NearestRule, Partners, with_replacement
from jcausal.matching.neighbors._without_replacement import without_replacement


def neighbor_pairs(space: SearchSpace, task: Task, rule: NearestRule, **fields: Any) -> Pairs:
    """The partners of every query; `fields` are what else `Pairs` may be told."""
    status, parts = _without_partners(space, task), []
    for block in blocks_of(space, task):
        if rule.replace:
            parts.append(with_replacement(space, block, rule))
        else:
            found, hopeless = without_replacement(space, block, rule, task)
            parts.append(found)
            status[block.queries.rows[~hopeless]] = int(code(RESULTS.all_taken))
    none = Partners(np.zeros(0, int), np.zeros(0, int))
    found = Partners(*(np.concatenate(each) for each in zip(none, *parts)))
    status[found.query] = int(code(RESULTS.matched))
    rows = _side_by_side(found, status.size)
    sample = task.sample
    return Pairs(
        sample=sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        rows=to_device(rows.astype(np.int32)),
        weights=to_device(_shares(rows, np.asarray(sample.weight, np.float64), sample.x.dtype)),
        status=to_device(status),
        estimand=task.estimand,
        **fields,
    )


def _side_by_side(found: Partners, q: int) -> Int[np.ndarray, "q k"]:
    """The partners of each query in a row, in their order; -1 behind them."""
    order = np.argsort(found.query, kind="stable")
    query, row = found.query[order], found.row[order]
    count = np.bincount(query, minlength=q)
    place = np.arange(query.size) - np.repeat(np.cumsum(count) - count, count)
    rows = np.full((q, max(int(count.max(initial=0)), 1)), -1)
    rows[query, place] = row
    return rows


def _shares(
    rows: Int[np.ndarray, "q k"], weight: Float[np.ndarray, " n"], dtype: np.dtype
) -> Float[np.ndarray, "q k"]:
    """Sampling weights of the partners, which add up to 1."""
    own = np.where(rows >= 0, weight[rows], 0)
    total = own.sum(1, keepdims=True)
    return (own / np.where(total > 0, total, 1)).astype(dtype)


def _without_partners(space: SearchSpace, task: Task) -> Int[np.ndarray, " q"]:
    """Why a query would have no partner, were none found: no unit at all, or none allowed."""
    t, query = np.asarray(task.sample.t), np.asarray(task.query)
    status = np.full(query.size, int(code(RESULTS.outside_caliper)), np.int32)
    fold, own = np.asarray(task.fold), np.asarray(task.query_fold)
    for arm, none in ((False, RESULTS.no_treated), (True, RESULTS.no_control)):
        there = np.unique(fold[space.able & (t != arm)])
        status[(t[query] == arm) & ~np.isin(own, there)] = int(code(none))
    status[~np.asarray(task.asked)] = int(code(RESULTS.not_asked))
    return status
