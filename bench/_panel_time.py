"""Seconds and memory of the completion methods."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import jcausal as jc
from bench._large import peak
from bench._speed import timed
from jcausal.panels._mcnnm import _beginning
from jcausal.panels._nuclear_norm import walk

LARGE = ((1_000, 1_000), (5_000, 1_000), (20_000, 1_000))
GPU = ((100_000, 1_000),)
FEW = ((100, 80), (200, 80))


def spectral(sizes: tuple[tuple[int, int], ...]) -> Iterator[pd.DataFrame]:
    """RowScaledSpectral at rank 10 on panels of rank 3, each in a process of its own; so far."""
    lines: list[dict[str, Any]] = []
    on_gpu = jax.default_backend() == "gpu"
    for n, m in (*sizes, *(GPU if on_gpu else ())):
        command = [sys.executable, "-m", "bench._panel_time", str(n), str(m)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"  {n:,} x {m:,}: {lines[-1]['seconds']:.2f} s", flush=True)
        yield pd.DataFrame(lines)


def measure(n: int, m: int, repeats: int = 2) -> dict[str, Any]:
    """Compile time apart, and the most memory that the process held, the simulation included."""
    panel = jc.simulate.low_rank_panel(key=0, n=n, m=m).panel
    method = jc.RowScaledSpectral(rank=10)
    first, later = timed(lambda: _once(panel, method), repeats)
    line: dict[str, Any] = {"n": n, "m": m, "rank": 10, "compile, s": first - later}
    return line | {"seconds": later, "most memory, GB": peak()}


def _once(panel: jc.Panel, method: jc.panels.Completer) -> None:
    jax.block_until_ready(jc.complete(panel, method, key=0).effect)


def path(size: int, values: int = 30) -> pd.DataFrame:
    """MCNNM's whole path for the untreated cells of one panel: no held-out cells."""
    panel = jc.simulate.low_rank_panel(key=0, n=size, m=size).panel
    use = panel.control
    _, y, top, _ = _beginning(panel.y, use)
    thresholds = top * 1e-3 ** jnp.linspace(0, 1, values)

    def run() -> list[int]:
        return [int(found.iterations) for found in walk(y, use, thresholds, 0 * y, 1e-5)]

    first, later = timed(run, 1)
    line = {"n": size, "m": size, "values of lambda": values, "compile, s": first - later}
    return pd.DataFrame([line | {"seconds": later, "iterations": sum(run())}])


def many(count: int, size: int = 100) -> pd.DataFrame:
    """Panels in one vmapped call, beside a loop over `jc.complete` and one over a jitted core."""
    sets = [jc.simulate.low_rank_panel(key=seed, n=size, m=size).panel for seed in range(count)]
    y, d = (jnp.stack([getattr(panel, name) for panel in sets]) for name in "yd")
    method = jc.RowScaledSpectral(rank=3)

    def effects(y: jax.Array, d: jax.Array) -> jax.Array:
        return jc.complete(jc.Panel(y, d), method, throw=False).unit_effect

    one, all_ = jax.jit(effects), jax.jit(jax.vmap(effects))
    host = [(np.asarray(a), np.asarray(b)) for a, b in zip(y, d)]
    ways: dict[str, Callable[[], object]] = {
        "vmapped call": lambda: jax.block_until_ready(all_(y, d)),
        "loop over a jitted call": lambda: [jax.block_until_ready(one(a, b)) for a, b in zip(y, d)],
        "loop over jc.complete": lambda: [
            jax.block_until_ready(jc.complete(jc.Panel(a, b), method).unit_effect) for a, b in host
        ],
    }
    lines = []
    for name, way in ways.items():
        first, later = timed(way, 2)
        lines.append({"way": name, "panels": count, "compile, s": first - later, "seconds": later})
    found = pd.DataFrame(lines)
    return found.assign(**{"over the vmapped": found["seconds"] / found["seconds"][0]})


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
