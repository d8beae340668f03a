"""The kernels: seconds, bytes, operations, and the share of the machine's measured rates."""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bench._keep import keep, markdown
from jcausal.kernels import (
    CodedBoxes,
    LevelRule,
    LevelUnits,
    Slabs,
    Units,
    bootstrap_sums,
    box_counts,
    box_levels,
    box_sums,
    box_weights,
    grid_variance,
)


class Rates(NamedTuple):
    """What the machine does in a second: matmul flops, bytes moved, operations on words."""

    flops: float
    bytes: float
    words: float


class Case(NamedTuple):
    """A kernel at one size: what it does, what it costs by its formula, and the call."""

    kernel: str
    size: str
    flops: float
    words: float
    bytes: float
    call: Callable[[], Any]


def main(options: argparse.Namespace) -> None:
    """Measure the rates, then every kernel."""
    repeats = 1 if options.quick else 3
    rates = measured_rates()
    lines = []
    for case in cases(100_000 if options.quick else 1_000_000):
        first, took = seconds(case.call, repeats)
        ideal = case.flops / rates.flops + case.words / rates.words
        lines.append(
            {
                "kernel": case.kernel,
                "size": case.size,
                "compile, s": first - took,
                "s": took,
                "Gflop": case.flops / 1e9,
                "G word operations": case.words / 1e9,
                "GB": case.bytes / 1e9,
                "share of the rates": max(ideal, case.bytes / rates.bytes) / took,
            }
        )
        print(f"  {case.kernel} {case.size}: {took:.2f} s", flush=True)
    text = (
        f"# Kernels, median of {repeats} calls, compile time apart\n\n"
        "Operations and bytes by each kernel's formula. Rates of the machine, the best of several "
        f"calls in this run: {rates.flops / 1e9:.0f} Gflop a second (a float32 matmul), "
        f"{rates.words / 1e9:.0f} billion operations on words of 32 bits (a chain of them, in "
        f"cache), {rates.bytes / 1e9:.1f} GB (read and written, 256 MB at a time). Share: the time "
        "that operations or bytes alone would take at those rates, over the time taken.\n\n"
        f"{markdown(pd.DataFrame(lines))}"
    )
    name = "kernels" + ("-quick" if options.quick else "")
    command = "python -m bench kernels" + (" --quick" if options.quick else "")
    print(keep(options.out, name, command, text, dict(rates=rates._asdict(), rows=lines)))


def cases(n: int) -> list[Case]:
    """10,000 boxes over n units and smaller things."""
    q, p, d = 10_000, 10, 8
    rng = np.random.default_rng(0)
    units, boxes = random_boxes(rng, n, q, p)
    values = jnp.asarray(rng.normal(size=(n, d)), jnp.float32)
    shares = jnp.asarray(rng.normal(size=(q, 2, 1)), jnp.float32)
    words, size = q * n / 32, f"{q:,} boxes, {n:,} units, p {p}"
    once = 4.0 * n * p
    m, g = 20_000, 16
    slabs = random_slabs(rng, m, p)
    offsets = jnp.asarray(rng.uniform(size=(g, p)), jnp.float32)
    key, every = jax.random.key(0), jnp.ones(n, bool)
    identity = jnp.asarray(rng.integers(0, 2**32, (n, 2), dtype=np.uint32))
    return [
        Case("box_counts", size, 0.0, words * (4 * p + 6), once, lambda: box_counts(units, boxes)),
        Case(
            "box_sums",
            f"{size}, {d} columns",
            4.0 * q * n * d,
            words * (4 * p + 96),
            once + 4.0 * n * d,
            lambda: box_sums(units, boxes, values),
        ),
        Case(
            "box_weights",
            size,
            4.0 * q * n,
            words * (4 * p + 96),
            once + 4.0 * n,
            lambda: box_weights(units, boxes, shares),
        ),
        Case(
            "grid_variance",
            f"{m:,} slabs, {g} points, p {p}",
            2.0 * m * g * p,
            0.0,
            4.0 * m * g * p,
            lambda: grid_variance(_quadratic, slabs, offsets, jnp.zeros(p, bool)),
        ),
        Case(
            "bootstrap_sums",
            f"{n:,} units, 100 draws, 2 columns",
            2.0 * n * 100 * 3,
            13.0 * n * 100,
            12.0 * n,
            lambda: bootstrap_sums(values[:, :2], identity, every, key, draws=100),
        ),
        level_case(rng, 1000, 10_000, p),
    ]


def level_case(rng: np.random.Generator, q: int, n: int, p: int) -> Case:
    """Levels of 64 cells a column that grow with the distance from the query's own cell."""
    cells, own = rng.integers(0, 64, (n, p)), rng.integers(0, 64, (q, p))
    lines = np.abs(np.arange(64) - own[:, :, None]).reshape(q, 64 * p)
    values, home = (np.repeat(each.mean(1)[:, None], 2, 1) for each in (cells, own))
    places = jnp.asarray(cells + 64 * np.arange(p), jnp.int32)
    table, values, home = (jnp.asarray(each, jnp.float32) for each in (lines, values, home))
    arm, ones = jnp.asarray(rng.uniform(size=n) < 0.5), jnp.ones(2, jnp.float32)
    rule = LevelRule(home, jnp.ones((q, 2)), ones, jnp.ones(2, jnp.int32), ones)
    units = LevelUnits(places, values, arm, jnp.ones(n))
    return Case(
        "box_levels",
        f"{q:,} queries, {n:,} units, p {p}, 64 cells each",
        4.0 * q * n,
        1.0 * q * n * p,
        4.0 * n * p + 4.0 * q * 64 * p,
        lambda: box_levels(table, units, rule),
    )


def random_boxes(rng: np.random.Generator, n: int, q: int, p: int) -> tuple[Units, CodedBoxes]:
    """Units on ladders of 64 values; boxes that hold about half of each ladder."""
    codes = rng.integers(0, 64, (n, p), dtype=np.int32)
    lower = rng.integers(0, 32, (q, p), dtype=np.int32)
    upper = lower + rng.integers(16, 48, (q, p), dtype=np.int32)
    arm = rng.uniform(size=n) < 0.5
    none = jnp.zeros((n, 0), jnp.int32)
    units = Units(jnp.asarray(codes), none, jnp.asarray(arm))
    return units, CodedBoxes(jnp.asarray(lower), jnp.asarray(upper), jnp.zeros((q, 0, 1), bool))


def random_slabs(rng: np.random.Generator, m: int, p: int) -> Slabs:
    """Slabs in the unit cube."""
    low, high, start, stop = (
        jnp.asarray(rng.uniform(size=shape), jnp.float32) for shape in ((m, p), (m, p), m, m)
    )
    return Slabs(low, high, jnp.asarray(rng.integers(0, p, m, dtype=np.int32)), start, stop)


def _quadratic(x: jax.Array) -> jax.Array:
    return jnp.stack([(x**2).sum(1), x.sum(1)], axis=1)


def measured_rates() -> Rates:
    """A matmul of 2,048, passes over 256 MB, and a chain of operations on words in cache."""
    a = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    block = jnp.ones(2**26, jnp.float32)
    copies = jax.jit(lambda b: jax.lax.fori_loop(0, 8, lambda _, b: b + 1, b))
    words = jnp.arange(2**18, dtype=jnp.uint32)
    chain = jax.jit(lambda x: jax.lax.fori_loop(0, 64, lambda _, y: _chain(y, x), x))
    return Rates(
        flops=2 * 2048**3 / best(lambda: product(a), 9),
        bytes=8 * 2 * 4 * 2**26 / best(lambda: copies(block), 5),
        words=64 * 96 * 2**18 / best(lambda: chain(words), 9),
    )


def _chain(y: jax.Array, x: jax.Array) -> jax.Array:
    """96 operations on each word, none of which can be saved."""
    for _ in range(32):
        y = ((y << 1) & x) ^ y
    return y


def best(call: Callable[[], Any], repeats: int) -> float:
    """The shortest of several calls after the first: what the machine can do."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - began)
    return min(taken)


def seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """The first call, and the median of the next."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - began)
    return taken[0], float(np.median(taken[1:]))
