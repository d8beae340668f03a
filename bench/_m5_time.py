"""Seconds of the tree, M5Model and M5Match against the number of units and of covariates."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pandas as pd

import jcausal as jc
from bench._m5_methods import BEST, PASSING
from bench._speed import timed

TREATED = 200
SIZES = (
    *((n, 20) for n in (1_000, 10_000, 100_000, 1_000_000)),
    *((100_000, p) for p in (5, 10, 50)),
)
FEW = ((1_000, 5), (2_000, 5))
TREES = {"first_passing": PASSING, "best": BEST}


def draw(n: int, p: int) -> jc.Sample:
    """Five numbers (with all values distinct) and coins; bent in three of them; 200 treated."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(n, 5)), rng.integers(0, 2, (n, p - 5))], axis=1)
    y = 5 * x[:, 0] + 3 * x[:, 1] ** 2 + 4 * np.maximum(x[:, 2], 0) + x[:, -1] + rng.normal(size=n)
    t = np.zeros(n, bool)
    t[rng.choice(n, TREATED, replace=False)] = True
    return jc.Sample(x, t, y + 10 * t)


def collect(sizes: tuple[tuple[int, int], ...]) -> Iterator[pd.DataFrame]:
    """One line a size and tree; so far."""
    lines = []
    for n, p in sizes:
        sample = draw(n, p)
        for search, tree in TREES.items():
            lines.append(dict(n=n, p=p, split_search=search) | measure(sample, tree))
            told = ", ".join(f"{k} {v:.2f}" for k, v in lines[-1].items() if str(k).endswith(", s"))
            print(f"  n {n:,}, p {p}, {search}: {told}", flush=True)
            yield pd.DataFrame(lines)


def measure(sample: jc.Sample, tree: jc.M5Tree, repeats: int = 3) -> dict[str, Any]:
    """Seconds of the tree, of M5Model and M5Match from the sample on, of M5Match given the tree.

    What M5Match takes given the tree is the most that it takes more than M5Model.
    """

    def grow() -> jc.matching.Tree:
        grown = jc.fit(sample, tree, arms="control")
        assert isinstance(grown, jc.matching.Tree)
        jax.block_until_ready(grown.coef)
        return grown

    def ask(method: jc.matching.Matcher) -> float:
        return float(jc.estimate(sample, method, key=0).att)

    grown = timed(grow, repeats)
    model = timed(lambda: ask(jc.M5Model(tree=tree)), repeats)
    match = timed(lambda: ask(jc.M5Match(tree=tree)), repeats)
    ready = grow()

    def match_only() -> float:
        matching = jc.match(sample, jc.M5Match(tree=tree), surface=ready, honest=False)
        return float(jc.estimate(sample, matching).att)

    beyond = timed(match_only, repeats)
    return {
        "leaves": ready.leaves,
        "compile, s": sum(first - later for first, later in (grown, model, match)),
        "tree, s": grown[1],
        "M5Model, s": model[1],
        "M5Match, s": match[1],
        "M5Match without its tree, s": beyond[1],
    }


def doubling(sizes: list[int], draws: Any, tree: jc.M5Tree) -> pd.DataFrame:
    """Seconds at each size, and by how much more than at the size before, which is half of it."""
    lines: list[dict[str, Any]] = []
    for n in sizes:
        found = measure(draws(n), tree)
        line = dict(units=n) | {
            k: found[k] for k in ("leaves", "tree, s", "M5Model, s", "M5Match, s")
        }
        for name in ("M5Model", "M5Match"):
            before = lines[-1][f"{name}, s"] if lines else np.nan
            line[f"{name}, times the half's"] = line[f"{name}, s"] / before
        lines.append(line)
    return pd.DataFrame(lines)
