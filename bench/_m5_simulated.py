"""M5Match, M5Model and others on simulated data with a known ATT, and with parts taken away."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jcausal as jc
from bench import _m5_methods as methods
from bench._m5_methods import METHODS, PASSING, Found
from jcausal.matching.trees._candidates import leaf_space, nearest
from jcausal.simulate import Simulated


class Row(NamedTuple):
    """A process, and how many of its units are treated."""

    process: str
    treated: int
    n: int = 20_000

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.process}, {self.treated:,} of {self.n:,}"

    def draw(self, seed: int) -> Simulated:
        """One data set."""
        return jc.simulate.m5(self.process, key=seed, n=self.n, treated=self.treated)


ROWS = tuple(Row(name, 200) for name in ("s1/conf", "s1/rand", "s2", "s3"))
TAKEN = tuple(Row(name, many) for many in (200, 4000) for name in ("s1/conf", "s3", "s1/rand"))
FEW = (Row("s1/conf", 100, 3000),)
Job = Callable[[Row, int], list[dict[str, Any]]]


def compare(row: Row, runs: int) -> list[dict[str, Any]]:
    """Every method on each run of a row."""
    return _ask(row, runs, tuple(METHODS))


def compare_defaults(row: Row, runs: int) -> list[dict[str, Any]]:
    """The same of the library's own methods at their defaults, adjusted and plain."""
    return _ask(row, runs, methods.DEFAULTS)


def _ask(row: Row, runs: int, names: tuple[str, ...]) -> list[dict[str, Any]]:
    records = []
    for seed in range(runs):
        data = row.draw(seed)
        for name in names:
            method = METHODS[name]
            about = dict(row=row.name, seed=seed, method=name)
            found = methods.record(lambda: method(data.sample, seed), float(data.att))  # noqa: B023
            records.append(about | found)
    return records


def take_away(row: Row, runs: int) -> list[dict[str, Any]]:
    """M5Match without one of its parts, on each run of a row."""
    records = []
    for seed in range(runs):
        data = row.draw(seed)
        for name, one in take_away_of(data.sample):
            about = dict(row=row.name, seed=seed, method=name)
            truth, bounds = float(data.att), one.bounds
            covered = float(bounds.lower <= truth <= bounds.upper)
            known = not np.isnan(bounds.lower)
            records.append(
                about
                | dict(
                    bias=bounds.att - truth,
                    covered=covered if known else np.nan,
                    width=bounds.upper - bounds.lower,
                    smd=one.smd,
                    ok=one.ok,
                    leaves=one.leaves,
                )
            )
    return records


class Ablation(NamedTuple):
    """An average with its interval, leaves of the tree, and the balance of the matched data."""

    bounds: Found
    leaves: int
    smd: float = np.nan  # the largest
    ok: float = np.nan  # share of covariates


def take_away_of(sample: jc.Sample) -> Iterator[tuple[str, Ablation]]:
    """M5Match as it is, and without each of its parts."""
    own = jc.fit(sample, PASSING, arms="control")
    one_leaf = jc.fit(sample, dataclasses.replace(PASSING, max_depth=0), arms="control")
    full = jc.fit(methods.everybody_a_control(sample), PASSING, arms="control")
    yield "M5Match", _matched(sample, own, True)
    yield "no tree", _matched(sample, one_leaf, True)
    yield "no subset search", _matched(sample, own, False)
    yield "neither", _matched(sample, one_leaf, False)
    yield "full-sample tree", _matched(sample, full, True)
    yield "regressions of the leaves", _predicted(sample, own)
    yield "regressions of the leaves, full-sample tree", _predicted(sample, full)


def _matched(sample: jc.Sample, tree: jc.matching.Tree, search: bool) -> Ablation:
    """The best subsets of the candidates in a tree's leaves, or all candidates."""
    method = jc.M5Match()
    if search:
        matching = jc.match(sample, method, surface=tree, honest=False)
    else:
        queries, able = np.flatnonzero(sample.t), ~np.asarray(sample.t)
        space = leaf_space(tree, sample, method.weights)
        matching = methods.pairs(
            sample, nearest(space, sample, queries, able, method.k, method.metric)
        )
    table = jc.balance(sample, matching)
    bounds = methods.found(jc.estimate(sample, matching, adjust=None))
    smd = float(table["smd_after"].abs().max())
    return Ablation(bounds, tree.leaves, smd, float(table["ok"].mean()))


def _predicted(sample: jc.Sample, tree: jc.matching.Tree) -> Ablation:
    """M5Model in a tree's leaves: its regressions are of the sample's own controls."""
    matching = jc.match(sample, jc.M5Model(), surface=tree, honest=False)
    return Ablation(methods.found(jc.estimate(sample, matching)), tree.leaves)


def collect(job: Job, rows: tuple[Row, ...], runs: int, workers: int) -> Iterator[pd.DataFrame]:
    """All records so far, after each row; each worker takes some of its runs' rows."""
    with ExitStack() as stack:
        if workers == 1:
            parts = map(job, rows, repeat(runs))
        else:
            context = get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, context))
            parts = pool.map(job, rows, repeat(runs))
        records: list[dict[str, Any]] = []
        began = time.perf_counter()
        for row, part in zip(rows, parts):
            records += part
            print(f"  {row.name}, {runs} runs, {time.perf_counter() - began:.0f} s", flush=True)
            yield pd.DataFrame(records)


def table(records: pd.DataFrame, measures: dict[str, str]) -> pd.DataFrame:
    """One line a method and row: bias, coverage, width, and medians of other measures.

    In brackets: the standard error of the mean absolute bias.
    """
    lines = []
    for (row, method), seen in records.groupby(["row", "method"], sort=False):
        bias = seen["bias"]
        error = bias.abs().std() / np.sqrt(len(seen)) if len(seen) > 1 else np.nan
        line = {
            "data": row,
            "method": method,
            "mean absolute bias": f"{bias.abs().mean():.3f} ({error:.3f})",
            "bias": bias.mean(),
            "coverage": seen["covered"].mean(),
            "width": seen["width"].mean(),
        }
        lines.append(line | {word: seen[name].median() for name, word in measures.items()})
    return pd.DataFrame(lines)
