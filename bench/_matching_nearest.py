"""Nearest neighbours: seconds and memory beside scikit-learn and R MatchIt."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.neighbors import NearestNeighbors as SklearnNeighbors

import jcausal as jc
from bench._large import peak
from bench._speed import timed
from bench.kernels import measured_rates

GOLDEN = Path(__file__).parents[1] / "tests" / "goldens" / "matching" / "times.json.gz"
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
LARGE = 10**10  # pairs of a query and a unit, from where no peer is asked
MANY = 15  # features, from where a tree looks at every unit


def run(quick: bool) -> pd.DataFrame:
    """With replacement beside scikit-learn, at two sizes; greedy beside MatchIt."""
    sizes = [(500, 4_500, 10)] if quick else [(20_000, 180_000, 10), (100_000, 900_000, 10)]
    sizes += [] if quick else [(20_000, 180_000, 5), (20_000, 180_000, 30)]
    lines = [with_replacement(*size) for size in sizes] + greedy(2_000 if quick else 20_000)
    table = pd.DataFrame(lines)
    rate = measured_rates().flops  # at the end: it takes memory
    table["share of the matmul rate"] = table.pop("flops") / table["next, s"] / rate
    return table


def normal_sample(queries: int, units: int, features: int) -> jc.Sample:
    """Independent normal numbers; the treated ask."""
    x = np.random.default_rng(0).normal(size=(queries + units, features))
    return jc.Sample(x, np.arange(len(x)) < queries, x[:, 0])


def with_replacement(queries: int, units: int, features: int) -> dict[str, Any]:
    """One nearest neighbour of every query; the peer gets the same points, whitened."""
    sample, method = normal_sample(queries, units, features), jc.NearestNeighbors()
    first, later = timed(lambda: jc.match(sample, method), 3)
    memory, pairs = 1000 * peak(), queries * units
    line: dict[str, Any] = {
        "method": "1-NN with replacement, Mahalanobis",
        "size": f"{queries:,} x {units:,} x {features}",
        "first, s": first,
        "next, s": later,
        "peak, MB": memory,
        "flops": 2.0 * (features + 1) * pairs,
    }
    if pairs > LARGE:
        return line
    rows = np.asarray(jc.match(sample, method).rows)[:, 0]  # type: ignore[attr-defined]
    points, t = whitened(sample), np.asarray(sample.t)
    for algorithm in ("brute", "kd_tree"):
        if algorithm == "kd_tree" and features > MANY:
            continue
        peer = SklearnNeighbors(n_neighbors=1, algorithm=algorithm, n_jobs=2)
        began = time.perf_counter()
        found = peer.fit(points[~t]).kneighbors(points[t])[1][:, 0]
        line[f"scikit-learn {algorithm}, s"] = time.perf_counter() - began
        line["the same partners"] = float(np.mean(np.flatnonzero(~t)[found] == rows))
    return line


def whitened(sample: jc.Sample) -> np.ndarray:
    """Points whose Euclidean distance is Mahalanobis' within the arms."""
    x, t = np.asarray(sample.points, np.float64), np.asarray(sample.t)
    gap = np.where(t[:, None], x - x[t].mean(0), x - x[~t].mean(0))
    return x @ np.linalg.cholesky(np.linalg.inv(np.cov(gap, rowvar=False)))


def greedy(n: int) -> list[dict[str, Any]]:
    """Without replacement on the units that MatchIt's golden times were taken on."""
    i = np.arange(1, n + 1)
    columns = [ndtri(i * np.sqrt(prime) % 1) for prime in PRIMES]
    pull = 0.5 * columns[0] + 0.5 * columns[1] + columns[10]
    treated = round(0.15435 * n)
    t = np.zeros(n, bool)
    t[np.argsort(-pull)[:treated]] = True
    sample = jc.Sample(np.stack(columns[:10], axis=1), t, pull)
    golden = json.loads(gzip.decompress(GOLDEN.read_bytes())) if n == 20_000 else None
    lines = []
    for order in ("data", "largest", "closest"):
        method = jc.NearestNeighbors(replace=False, order=order)
        first, later = timed(lambda: jc.match(sample, method), 3)  # noqa: B023
        line: dict[str, Any] = {
            "method": f"1-NN without replacement, Mahalanobis, order {order}",
            "size": f"{treated:,} x {n - treated:,} x 10",
            "first, s": first,
            "next, s": later,
            "peak, MB": 1000 * peak(),
        }
        if golden is not None and order == "data":
            rows = np.asarray(jc.match(sample, method).rows)[:, 0]  # type: ignore[attr-defined]
            line["R MatchIt, s"] = golden["seconds"]["mahalanobis"]
            line["the same partners"] = float(np.mean(rows == golden["mahalanobis_rows"]))
        lines.append(line)
    return lines
