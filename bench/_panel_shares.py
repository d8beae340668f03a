"""Held-out errors of units where 30%, 50% or 70% of the cells are treated, by unit."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import jcausal as jc
from bench._panel_errors import errors
from bench._panel_methods import SWITCHING
from jcausal.simulate import SimulatedPanel

SHARES = (0.3, 0.5, 0.7)
N = M = 200


def draw(seed: int, share: float, n: int, m: int) -> SimulatedPanel:
    """Outcomes of `simulate.low_rank_panel`; units with high ones are likelier to be treated.

    p_i is the logistic of the unit's standardised mean outcome without treatment, moved so that the
    mean is `share`, and kept within .1 and .9: assignment depends on the unit alone, and on what
    the outcomes depend on too.
    """
    data = jc.simulate.low_rank_panel(key=seed, n=n, m=m)
    level = np.asarray(data.signal0.mean(1), float)
    level = (level - level.mean()) / level.std()
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        p = np.clip(1 / (1 + np.exp(-(middle + level))), 0.1, 0.9)
        low, high = (middle, high) if p.mean() < share else (low, middle)
    rng = np.random.default_rng(seed)
    d = rng.random((n, m)) < p[:, None]
    noise = jnp.asarray(rng.uniform(-(0.75**0.5), 0.75**0.5, (n, m)))
    y = jnp.where(d, data.signal1, data.signal0) + noise
    return SimulatedPanel(
        jc.Panel(y, d), data.signal0, data.signal1, jnp.broadcast_to(p[:, None], (n, m))
    )


def collect(runs: int, few: bool) -> Iterator[pd.DataFrame]:
    """All records so far, after each share.

    The error is against the noiseless effect in every cell, none of which was seen in both arms.
    """
    n, m = (40, 40) if few else (N, M)
    records: list[dict[str, Any]] = []
    for share in SHARES:
        for seed in range(runs):
            data = draw(seed, share, n, m)
            for name, method in SWITCHING.items():
                if method.cells is None or n * m <= method.cells:
                    found = errors(data, method, seed)
                    records.append(dict(share=share, seed=seed, method=name) | found)
        jax.clear_caches()
        print(f"  share {share:g}, {runs} runs", flush=True)
        yield pd.DataFrame(records)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """One line a share and method."""
    mean = records.groupby(["share", "method"], sort=False)[["worst", "rows", "units"]].mean()
    names = dict(worst="largest row error", rows="rms row error", units="RMSE of unit effects")
    return mean.rename(columns=names).reset_index()
