"""Coverage of the intervals of the ATT over many simulated data sets."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from itertools import product
from multiprocessing import get_context
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from scipy.stats import binom

import jcausal as jc
from jcausal.simulate import Simulated

Column = Callable[[Array], Array]  # x (n, p) -> (n,)
EDGES, ERROR = (0.93, 0.97), 0.01  # coverage that passes, and the share of sound rows refused
SETS, FEW = 1000, 300  # data sets where they are cheap, and where not
CHEAP, LARGE = 300, 5000  # units up to which traced data sets are; up to which they are traced
MAX_BYTES = 2**28
BRUTE = 2**20  # units from which a population's ATT is computed


class Process(NamedTuple):
    """Outcome without treatment, effect and logit of treatment, of p covariates in U(0, 1)."""

    control: Column
    effect: Column
    logit: Column
    p: int = 2
    noise: float = 0.5


def _one(x: Array) -> Array:
    return jnp.ones(x.shape[0], x.dtype)


def _tilt(x: Array) -> Array:
    return 1.5 * (x[:, 0] + x[:, 1]) - 2


def _squares(x: Array) -> Array:
    return 3 * (x[:, 0] ** 2 + x[:, 1] ** 2)


def _six(x: Array) -> Array:
    return 3 * x[:, 0] + 3 * x[:, 1] ** 2 + 2 * x[:, 2] * x[:, 3] + x[:, 4]


def _step(x: Array) -> Array:
    return 2.0 * ((x[:, 0] > 0.5) & (x[:, 1] > 0.5)) + 1.0 * (x[:, 0] > 0.7)


PROCESSES = {
    "linear": Process(lambda x: 3 * x[:, 0] + 2 * x[:, 1], _one, _tilt),
    "quad": Process(_squares, _one, _tilt),
    "quad, heterogeneous": Process(_squares, lambda x: 3 * x[:, 0], _tilt),
    "six, strong": Process(_six, _one, lambda x: 3 * (x[:, 0] + x[:, 1] + x[:, 2]) - 5.5, 6),
    "step": Process(_step, _one, lambda x: 1.5 * (x[:, 0] > 0.5) + 1.0 * (x[:, 1] > 0.5) - 1.8),
}


def draw(process: Process, n: int, key: Array) -> jc.Sample:
    """One data set; it may be traced."""
    where, arm, around = jax.random.split(key, 3)
    x = jax.random.uniform(where, (n, process.p))
    t = jax.random.bernoulli(arm, jax.nn.sigmoid(process.logit(x)))
    noise = process.noise * jax.random.normal(around, (n,))
    y = process.control(x) + jnp.where(t, process.effect(x), 0) + noise
    return jc.Sample(x, t, y, kinds=["number"] * process.p)


@cache
def truth(name: str) -> float:
    """The ATT of a process's population: its effect by the probability of treatment."""
    process = PROCESSES[name]
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(BRUTE, process.p)))
    share = np.asarray(jax.nn.sigmoid(process.logit(x)), np.float64)
    return float(share @ np.asarray(process.effect(x), np.float64) / share.sum())


class Case(NamedTuple):
    """A method, and whether its plain means are shown beside."""

    method: jc.matching.Matcher
    unadjusted: bool = False


def case_of(method: str, surface: str | None = None) -> Case:
    """A method with a surface (its own if none is named), at the defaults of both."""
    surfaces = {"Ridge": jc.Ridge, "BoostedTrees": jc.BoostedTrees}
    options = {} if surface is None else {"outcome": surfaces[surface]()}
    if method == "AHB":
        return Case(jc.AHB(**options), unadjusted=True)
    return Case(jc.FastAHB(**options))


INTERVALS = {
    "Abadie-Imbens/population": jc.AbadieImbens(),
    "bootstrap/population": jc.Bootstrap(),
}
OWN = {"Abadie-Imbens/sample": jc.AbadieImbens(target="sample")}  # of a data set's own treated
BOTH = OWN | {"Abadie-Imbens/population": jc.AbadieImbens()}  # where every unit's effect is one
Intervals = dict[str, Any]  # by interval and target
Make = Callable[[Array], tuple[jc.Sample, Array]]  # a key's data set, and the ATT to be covered


class Study(NamedTuple):
    """Data sets of one kind, and what is asked of them."""

    make: Make
    n: int
    p: int
    case: Case
    intervals: Intervals


def measure(study: Study, key: Array) -> dict[str, Array]:
    """Estimate, error, lower, upper and truth (5,) of one data set, by reading and interval."""
    sample, target = study.make(key)
    effects = jc.estimate(sample, study.case.method, key=key, throw=False)
    readings = {"adjusted": effects}
    if study.case.unadjusted:
        readings["plain means"] = effects.unadjusted
    found = {}
    for reading, one in readings.items():
        for name, interval in study.intervals.items():
            bounds = jc.interval(one, interval, key=key)
            numbers = (bounds.estimate, bounds.std_error, bounds.lower, bounds.upper, target)
            found[f"{reading}/{name}"] = jnp.stack([jnp.asarray(v) for v in numbers])
    return found


def together(study: Study, keys: Array) -> dict[str, np.ndarray]:
    """All data sets in one compiled call a chunk, as many at once as the byte budget holds."""
    block = min(len(keys), max(1, MAX_BYTES // (16 * study.p * study.n**2)))
    chunk = eqx.filter_jit(jax.vmap(lambda key: measure(study, key)))
    parts = []
    for start in range(0, len(keys), block):
        some = keys[jnp.minimum(start + jnp.arange(block), len(keys) - 1)]  # one shape
        parts.append(jax.tree.map(np.asarray, chunk(some)))
    return {name: np.concatenate([p[name] for p in parts])[: len(keys)] for name in parts[0]}


def one_by_one(study: Study, keys: Array) -> dict[str, np.ndarray]:
    """The same where a method runs on the host, or one data set is enough for it."""
    parts = [jax.tree.map(np.asarray, measure(study, key)) for key in keys]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def records_of(study: Study, about: dict[str, Any], sets: int) -> list[dict[str, Any]]:
    """One record a data set, reading and interval: how far off, stated error, covered or not."""
    traced = study.case.method.traceable and study.n <= LARGE
    keys = jax.random.split(jax.random.key(study.n), sets)
    began = time.perf_counter()
    found = (together if traced else one_by_one)(study, keys)
    about = dict(about, n=study.n, seconds=(time.perf_counter() - began) / sets)
    records = []
    for words, rows in found.items():
        said = dict(zip(("reading", "interval", "target"), words.split("/")))
        for estimate, error, lower, upper, target in rows.astype(float).tolist():
            held = dict(
                bias=estimate - target, error=error, covered=float(lower <= target <= upper)
            )
            records.append(about | said | held)
    jax.clear_caches()
    return records


def of_process(name: str, n: int, method: str, surface: str, sets: int) -> list[dict[str, Any]]:
    """A method with a surface on data sets of a process, fewer of them where they are not cheap."""
    process, case = PROCESSES[name], case_of(method, surface)
    target = jnp.asarray(truth(name))
    cheap = case.method.traceable and n <= CHEAP
    study = Study(lambda key: (draw(process, n, key), target), n, process.p, case, INTERVALS)
    about = dict(data=name, method=f"{method}, {surface}")
    return records_of(study, about, sets if cheap else min(sets, FEW))


def of_simulated(
    name: str, simulate: Callable[[Array], Simulated], constant: bool, runs: int
) -> list[dict[str, Any]]:
    """The default method on data sets of the papers' processes, whose own ATT is known."""

    def make(key: Array) -> tuple[jc.Sample, Array]:
        data = simulate(key)
        return data.sample, data.att

    n, p = jax.eval_shape(lambda key: simulate(key).sample.x, jax.random.key(0)).shape
    study = Study(make, n, p, case_of("AHB"), BOTH if constant else OWN)
    return records_of(study, dict(data=name, method="AHB"), runs)


def of_table2(row: str, reading: Any, runs: int) -> list[dict[str, Any]]:
    """A row of Table 2 under a reading, 600 units cross-fitted."""

    def simulate(key: Array) -> Simulated:
        return jc.simulate.ahb_table2(row, key=key, reading=reading)

    return of_simulated(row, simulate, row.split("+")[0].endswith("/const"), runs)


def of_m5(row: str, runs: int) -> list[dict[str, Any]]:
    """A process for trees of regressions, 200 treated among 20,000."""
    return of_simulated(row, lambda key: jc.simulate.m5(row, key=key), row != "s2", runs)


def collect(
    job: Callable[..., list[dict[str, Any]]], columns: Sequence[Sequence[Any]], workers: int
) -> Iterator[pd.DataFrame]:
    """All records so far, after each job; `columns` hold the jobs' arguments."""
    with ExitStack() as stack:
        if workers == 1:
            parts = map(job, *columns)
        else:
            context = get_context("spawn")
            parts = stack.enter_context(ProcessPoolExecutor(workers, context)).map(job, *columns)
        records: list[dict[str, Any]] = []
        began = time.perf_counter()
        for about, part in zip(zip(*columns), parts):
            records += part
            print(f"  {about}: {time.perf_counter() - began:.0f} s", flush=True)
            jax.clear_caches()  # a process can hold the compiled code of some shapes only
            yield pd.DataFrame(records)


def grid(*parts: Sequence[Any]) -> list[list[Any]]:
    """Every combination of the parts, as columns of arguments."""
    return [list(column) for column in zip(*product(*parts))]


BY = ["data", "n", "method", "reading", "interval", "target"]


def table(records: pd.DataFrame) -> pd.DataFrame:
    """Coverage with its Monte-Carlo error, bias, RMSE, spread, stated over true error."""
    lines, p_values = [], []
    for _, seen in records.groupby(BY, sort=False):
        runs, covered, bias = len(seen), seen["covered"], seen["bias"]
        sd = bias.std() if runs > 1 else np.nan
        share = covered.mean()
        p_values.append(outside(int(np.sum(covered)), runs))
        lines.append(
            seen[BY].iloc[0].to_dict()
            | {
                "sets": runs,
                "coverage of 95%": f"{share:.3f} ({np.sqrt(share * (1 - share) / runs):.3f})",
                "bias": bias.mean(),
                "rmse": float(np.sqrt((bias**2).mean())),
                "sd": sd,
                "mean error / sd": seen["error"].mean() / sd,
                "s a set": seen["seconds"].mean(),
            }
        )
    found = pd.DataFrame(lines)
    found.insert(8, "93% to 97%", np.where(refused(np.array(p_values)), "no", "yes"))
    return found


def outside(covered: int, runs: int) -> float:
    """How probable at most so extreme a share is if coverage lies within `EDGES`."""
    low, high = binom.cdf(covered, runs, EDGES[0]), binom.sf(covered - 1, runs, EDGES[1])
    return min(1.0, 2 * float(min(low, high)))


def refused(p_values: np.ndarray) -> np.ndarray:
    """Holm's test of all rows at `ERROR`: which rows cover less or more than they should."""
    order = np.argsort(p_values)
    limits = ERROR / np.arange(len(p_values), 0, -1)
    passed = np.cumsum(p_values[order] > limits) > 0
    found = np.zeros(len(p_values), bool)
    found[order] = ~passed
    return found
