"""Seconds and memory of the M5 methods' parts beside what they are to take, compile time apart."""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

import jcausal as jc
from bench import _m5_cdc, _m5_time
from bench._large import peak
from bench._m5_methods import PASSING
from bench._speed import timed
from jcausal.matching.trees._subset_program import (
    SubsetObjective,
    SubsetProblem,
    problem,
    solve_subsets,
)
from jcausal.matching.trees._subset_program import _least as least_program
from jcausal.matching.trees._subset_program import measure as set_measures

TARGETS = {"best": 4.0, "first_passing": 8.0}  # seconds of M5Model
MORE, MEMORY = 2.0, 4.0  # seconds of M5Match beyond M5Model's; GB
SUBSETS, RATIO, DOUBLE, MAPPED = 20.0, 100.0, 2.3, 5.0
ALPHA = 1e4  # of the program with one number


def one_draw(controls: int | None) -> pd.DataFrame:
    """One line a split rule, each in a process of its own."""
    lines = []
    for search in ("best", "first_passing"):
        command = [sys.executable, "-m", "bench._m5_speed", search]
        command += [] if controls is None else ["--controls", str(controls)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"  one draw, {search}: M5Model {lines[-1]['M5Model, s']:.2f} s", flush=True)
    return pd.DataFrame(lines)


def measure_draw(search: str, controls: int | None) -> dict[str, Any]:
    """Tree, M5Model and M5Match, then memory, then scikit-learn's tree of the same controls."""
    sample = _m5_cdc.draw(_m5_cdc.read(), 0, controls)
    tree = _m5_cdc.TREES[search]
    found = _m5_time.measure(sample, tree)
    memory = peak()
    grown = jc.fit(sample, tree, arms="control")
    assert isinstance(grown, jc.matching.Tree)
    rows = ~np.asarray(sample.t)
    x = np.asarray(grown.features(sample.x), np.float32)[rows]
    y = np.asarray(sample.y, np.float64)[rows]
    least = 2 * x.shape[1]  # what our tree asks of a leaf
    other = DecisionTreeRegressor(min_samples_leaf=least, random_state=0)
    theirs = timed(lambda: other.fit(x, y), 3)[1]
    return {
        "split_search": search,
        "controls": int(rows.sum()),
        "features": x.shape[1],
        **found,
        "target, M5Model": TARGETS[search],
        "target, M5Match without its tree": MORE,
        "peak memory, GB": memory,
        "target, GB": MEMORY,
        "fewest controls in a leaf, both trees": least,
        "scikit-learn tree, s": theirs,
        "its leaves": int(other.get_n_leaves()),
        "tree / scikit-learn": found["tree, s"] / theirs,
        "M5Model / scikit-learn": found["M5Model, s"] / theirs,
    }


def doubling(quick: bool) -> dict[str, pd.DataFrame]:
    """Of the case study's controls, and of simulated data with distinct numbers."""
    if quick:
        return {
            "simulated": _m5_time.doubling([1_000, 2_000], lambda n: _m5_time.draw(n, 5), PASSING)
        }
    whole = _m5_cdc.read()
    return {
        "the case study": _m5_time.doubling(
            [60_000, 120_000, 240_000], lambda n: _m5_cdc.draw(whole, 0, n - 500), PASSING
        ),
        "simulated, p = 20": _m5_time.doubling(
            [50_000, 100_000, 200_000], lambda n: _m5_time.draw(n, 20), PASSING
        ),
    }


def subsets(queries: int, k: int, f: int = 20) -> pd.DataFrame:
    """The kernel over many queries, in float64 as M5Match runs it."""
    gap = np.random.default_rng(0).normal(size=(queries, k, f))
    with jax.enable_x64(True):
        d, member = jnp.asarray(gap), jnp.ones((queries, k), bool)
        call = lambda: jax.block_until_ready(jc.kernels.subset_search(d, member))  # noqa: E731
        first, later = timed(call, 3)
    line = {"queries": queries, "k": k, "f": f, "compile, s": first - later, "s": later}
    return pd.DataFrame([line | {"target, s": SUBSETS if k == 12 else np.nan}])


def against_programs(queries: int, few: int, k: int = 10, f: int = 20) -> pd.DataFrame:
    """The kernel beside integer programs of the same sets by HiGHS, on one thread.

    With a number alpha one program a unit, the paper's. A, then B: three, the last for the ties.
    """
    gap, ones = np.random.default_rng(1).normal(size=(queries, k, f)), np.ones(k)
    problems = [problem(each, ones, "mean") for each in gap[:few]]
    lines = []
    for words, alpha in ((f"{ALPHA:g} A + B", ALPHA), ("A, then B, and ties", None)):
        with jax.enable_x64(True):
            d, member = jnp.asarray(gap), jnp.ones((queries, k), bool)
            call = partial(jc.kernels.subset_search, d, member, alpha=alpha)
            kernel = timed(lambda: jax.block_until_ready(call()), 3)[1] / queries  # noqa: B023
            chosen = np.asarray(call().chosen)[:few]
        began = time.perf_counter()
        sets = _by_programs(problems, SubsetObjective("mean", alpha, 1e-5))
        spent = (time.perf_counter() - began) / few
        values = [
            [total(each, one, alpha) for each, one in zip(problems, found)]
            for found in (chosen, sets)
        ]
        lines.append(
            {
                "minimised": words,
                "k": k,
                "kernel, us a unit": 1e6 * kernel,
                "HiGHS, ms a unit": 1e3 * spent,
                "times faster": spent / kernel,
                "target": RATIO,
                "kernel as good": f"{int((np.subtract(*values) < 1e-4).sum())} of {few}",
                "same sets": f"{sum((a == b).all() for a, b in zip(chosen, sets))} of {few}",
            }
        )
    return pd.DataFrame(lines)


def _by_programs(problems: list[SubsetProblem], aim: SubsetObjective) -> list[np.ndarray]:
    with jc.solvers.SolverPool(1) as pool:
        if aim.alpha is None:
            return solve_subsets(problems, aim, pool)
        solutions = pool.solve([least_program(one, aim) for one in problems])
    return [np.asarray(each.values)[: one.s.size] > 0.5 for one, each in zip(problems, solutions)]


def total(one: SubsetProblem, chosen: np.ndarray, alpha: float | None) -> float:
    """A of a set, or A + B / alpha; relative to the largest deviation."""
    a, b = set_measures(one, chosen, "mean")
    return a if alpha is None else a + b / alpha


def many_trees(sets: int, n: int = 600) -> pd.DataFrame:
    """Trees of many data sets in one vmapped call, and one after the other."""
    keys = jax.random.split(jax.random.key(0), sets)

    def draw(key: jax.Array) -> tuple[jax.Array, ...]:
        data = jc.simulate.m5("s2", key=key, n=n, treated=30).sample
        assert data.y is not None
        return data.x, data.t, data.y

    data = jax.jit(jax.vmap(draw))(keys)

    def grow(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, t, y = arrays
        tree = jc.fit(jc.Sample(x, t, y), PASSING, arms="control")
        assert isinstance(tree, jc.matching.Tree)
        return tree(x)[:, 0], (tree.controls > 0).sum()

    mapped = jax.jit(jax.vmap(grow))
    together = timed(lambda: jax.block_until_ready(mapped(*data)), 3)
    rows = [tuple(np.asarray(a[i]) for a in data) for i in range(sets)]
    loop = timed(lambda: [jax.block_until_ready(grow(*row)) for row in rows], 1)
    single = jax.jit(grow)
    jitted = timed(lambda: [jax.block_until_ready(single(*row)) for row in rows], 1)
    values, leaves = (np.asarray(a) for a in mapped(*data))
    alone = [grow(*row) for row in rows]
    return pd.DataFrame(
        [
            {
                "data sets": sets,
                "units": n,
                "leaves, mean": leaves.mean(),
                "vmap, compile, s": together[0] - together[1],
                "vmap, ms a set": 1000 * together[1] / sets,
                "loop, ms a set": 1000 * loop[1] / sets,
                "jitted loop, ms a set": 1000 * jitted[1] / sets,
                "loop / vmap": loop[1] / together[1],
                "jitted loop / vmap": jitted[1] / together[1],
                "target": MAPPED,
                "as many leaves": f"{sum(int(a[1]) == b for a, b in zip(alone, leaves))} of {sets}",
                "largest difference": max(
                    float(np.abs(np.asarray(a[0]) - b).max()) for a, b in zip(alone, values)
                ),
            }
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("search", choices=tuple(TARGETS))
    parser.add_argument("--controls", type=int)
    asked = parser.parse_args()
    print(json.dumps(measure_draw(asked.search, asked.controls)))
