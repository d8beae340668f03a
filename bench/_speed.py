"""Seconds of Fast AHB's parts and of AHB, compile time apart, beside the paper's scripts."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import bartz
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from sklearn.ensemble import RandomForestRegressor

import jcausal as jc
from bench._published import SCRIPTS_SECONDS
from bench._table2 import MODEL
from jcausal.surfaces._bart import Posterior, as_posterior, cut_points

SIZES = tuple(SCRIPTS_SECONDS)
FEW = ((200, 2),)
SURFACES = {
    "BART": MODEL,
    "Ridge": jc.Ridge(),
    "MLP": jc.MLP(),
    "Trees": jc.Trees(RandomForestRegressor(100, max_leaf_nodes=32)),
}
TRAINING = 400
SHARED = 100  # units that share out the time in which a surface's tables are built
COARSE = 32  # levels
LONG = 10.0  # seconds: a longer call is measured once


class Case(NamedTuple):
    """One line of the table."""

    n: int
    p: int
    surface: str
    levels: int | None


def cases(quick: bool) -> list[Case]:
    """Every surface at the sizes of the scripts, and more units and coarser ladders."""
    sizes = FEW if quick else SIZES
    every = [Case(n, p, name, None) for n, p in sizes for name in SURFACES]
    if quick:
        return every
    more = [Case(800, 10, name, None) for name in ("Ridge", "MLP")]
    return every + more + [Case(800, p, name, COARSE) for p in (2, 10) for name in SURFACES]


def collect(wanted: list[Case], repeats: int) -> Iterator[pd.DataFrame]:
    """One line a case: the fit, its tables, and the boxes of all treated; so far."""
    lines = []
    for n, p, name, levels in wanted:
        train, test = quadratic(TRAINING, p, 0), quadratic(n, p, 1)
        model = SURFACES[name]
        fitted = timed(lambda: jc.fit(train, model, key=0), 1)  # noqa: B023
        surface = jc.fit(train, model, key=0)
        tables = _tables(surface, repeats)
        method = jc.FastAHB(levels=levels)
        matched = timed(lambda: _match(test, method, surface), repeats)  # noqa: B023
        queries = int(test.t.sum())
        unit = matched[1] / queries + tables / SHARED
        level = timed(lambda: _match(test, jc.AHB(), surface), repeats)  # noqa: B023
        one = level[1] / queries + tables / SHARED
        theirs = SCRIPTS_SECONDS.get((n, p), np.nan) if name == "BART" else np.nan
        lines.append(
            {
                "units": n,
                "p": p,
                "surface": name,
                "levels": "all" if levels is None else str(levels),
                "queries": queries,
                "fit, s": fitted[1],
                "tables, s": tables,
                "compile, s": matched[0] - matched[1],
                "boxes, s": matched[1],
                "ms a unit": 1000 * unit,
                "scripts, ms a unit": 1000 * theirs,
                "times faster": theirs / unit,
                "AHB: compile, s": level[0] - level[1],
                "AHB: boxes, s": level[1],
                "AHB: ms a unit": 1000 * one,
                "AHB: times faster": theirs / one,
            }
        )
        told = f"{1000 * unit:.3g} ms a unit, AHB {1000 * one:.3g}"
        print(f"  {n} units, p {p}, {name}: {told}", flush=True)
        yield pd.DataFrame(lines)


def quadratic(n: int, p: int, key: int) -> jc.Sample:
    """Table 2's row quad/const, with irrelevant covariates of the same law up to p."""
    data = jc.simulate.ahb_table2("quad/const", key=key, n=n, reading="scripts").sample
    more = [
        jc.simulate.ahb_table2("quad/const", key=1000 * key + k, n=n, reading="scripts").sample
        for k in range(1, p // 2 + 1)
    ]
    x = np.concatenate([data.points, *(one.points for one in more)], axis=1)[:, :p]
    return jc.Sample(x, data.t, data.y)


def _tables(surface: jc.surfaces.ResponseSurface, repeats: int) -> float:
    """Seconds to turn a posterior's trees into tables and masks, both arms."""
    if not isinstance(surface, jc.surfaces.BARTSurface) or surface.posterior is None:
        return 0.0
    arms = [arm for arm in surface.posterior if arm is not None]
    return timed(lambda: [arm.mean() for arm in arms], repeats)[1]


def _match(
    test: jc.Sample, method: jc.FastAHB | jc.AHB, surface: jc.surfaces.ResponseSurface
) -> None:
    boxes = jc.match(test, method, surface=surface, throw=False)
    jax.block_until_ready(boxes.status)


def timed(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The first call, and the median of the next; a long call is made once more only."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) <= repeats and taken[-1] < LONG):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken[0], float(np.median(taken[1:]))


def posterior_means(points: int = 1000) -> pd.DataFrame:
    """BART's posterior mean: bartz's own predictions beside ours, and the time to build ours."""
    lines = []
    for p in (2, 10):
        train, new = quadratic(TRAINING, p, 0), quadratic(points, p, 1)
        fitted, posterior = fit_one(train)
        x = np.asarray(new.points, np.float32)
        theirs = timed(lambda: np.asarray(fitted.predict(x.T, kind="mean")), 3)  # noqa: B023
        built = timed(posterior.mean, 3)
        forest = eqx.filter_jit(posterior.mean())
        ours = timed(lambda: np.asarray(forest(jnp.asarray(x))), 3)  # noqa: B023
        y = np.asarray(train.y)[~np.asarray(train.t)]
        own = np.asarray(fitted.predict(x.T, kind="mean")) * y.std() + y.mean()
        apart = np.abs(np.asarray(forest(jnp.asarray(x))) - own).max() / np.ptp(own)
        lines.append(
            {
                "p": p,
                "trees": int(np.prod(posterior.var.shape[:2])),
                "build, s": built[1],
                "bartz, us a point": 1e6 * theirs[1] / points,
                "ours, us a point": 1e6 * ours[1] / points,
                "times faster": theirs[1] / ours[1],
                "largest difference, of the range": apart,
            }
        )
    return pd.DataFrame(lines)


def fit_one(train: jc.Sample) -> tuple[Any, Posterior]:
    """Bartz itself on the controls, and its draws as ours."""
    rows = ~np.asarray(train.t)
    x, y = np.asarray(train.points, np.float32)[rows], np.asarray(train.y)[rows]
    cuts = cut_points(x, MODEL.max_bins)
    fitted = bartz.Bart(
        x.T,
        ((y - y.mean()) / y.std()).astype(np.float32),
        binner=partial(
            bartz.prepcovars.GivenSplitsBinner,
            xinfo=np.where(np.isfinite(cuts), cuts, np.nan).astype(np.float32),
        ),
        num_trees=MODEL.trees,
        num_chains=MODEL.chains,
        num_chain_devices=None,
        n_burn=MODEL.burn,
        n_save=MODEL.draws,
        n_skip=MODEL.thin,
        printevery=None,
        seed=1,
    )
    return fitted, as_posterior(fitted, cuts, float(y.mean()), float(y.std()), MODEL.chains)


def many_sets(sets: int, n: int = 300) -> pd.DataFrame:
    """All of many data sets in one vmapped call, and one after the other."""
    keys = jax.random.split(jax.random.key(0), sets)

    def draw(key: Array) -> tuple[Array, Array, Array]:
        data = jc.simulate.ahb_table2("quad/const", key=key, n=n, reading="scripts").sample
        assert data.y is not None
        return data.x, data.t, data.y

    data = jax.jit(jax.vmap(draw))(keys)
    method = jc.FastAHB(outcome=jc.Ridge())

    def att(x: Array, t: Array, y: Array) -> Array:
        return jc.estimate(jc.Sample(x, t, y), method, key=0, throw=False).att

    mapped = jax.jit(jax.vmap(att))
    together = timed(lambda: jax.block_until_ready(mapped(*data)), 3)
    rows = [tuple(np.asarray(a[i]) for a in data) for i in range(sets)]
    one_by_one = timed(lambda: [float(att(*row)) for row in rows], 1)
    apart = np.abs(np.asarray(mapped(*data)) - [float(att(*row)) for row in rows]).max()
    return pd.DataFrame(
        [
            {
                "data sets": sets,
                "units": n,
                "vmap, compile, s": together[0] - together[1],
                "vmap, ms a set": 1000 * together[1] / sets,
                "loop, ms a set": 1000 * one_by_one[1] / sets,
                "times faster": one_by_one[1] / together[1],
                "largest difference": apart,
            }
        ]
    )
