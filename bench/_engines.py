"""The engines of Exact AHB side by side: seconds a unit, share proven, nodes."""

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import GLPK_SECONDS
from jcausal.matching import foretell, make_task
from jcausal.matching.boxes.exact._found_boxes import FoundBoxes
from jcausal.matching.boxes.exact._integer_programs import (
    PlacesAround,
    big_m_program,
    ladder_program,
    objective,
)
from jcausal.matching.boxes.exact._places import Quest, places_around
from jcausal.surfaces import as_surface


class Process(NamedTuple):
    """A surface, and how many covariates it looks at (all without a number)."""

    name: str
    value: Callable[[jax.Array], jax.Array]
    relevant: int | None = None


FEW_UNITS = 3  # whose programs are solved
HARD = 4000  # units times covariates from where on only HARD_UNITS are searched for
HARD_UNITS = 3
PROCESSES = (
    Process("linear", lambda x: x.sum(1)),
    Process("quadratic", lambda x: (x**2).sum(1)),
    Process("quadratic of 2", lambda x: (x**2).sum(1), 2),
    Process("box of 2", lambda x: (x > 0.5).all(1) * 1.0, 2),
)
SIZES = tuple((n, p) for n in (100, 200, 400, 1000) for p in (2, 5, 10, 20))
FEW = ((100, 2), (200, 5))
FORMULATIONS = {"big-M, HiGHS": big_m_program, "ladder, HiGHS": ladder_program}
WIGGLE = 0.02  # no two units are alike


class Case(NamedTuple):
    """One sample and the surface of one process on it."""

    sample: jc.Sample
    surface: jc.Function


def draw(process: Process, n: int, p: int) -> Case:
    """Uniform covariates; both surfaces are the process and a wiggle that tells units apart."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(n, p))
    lines = jnp.asarray(rng.normal(size=(p, 2)) * 50)

    def surface(x: jax.Array) -> jax.Array:
        value = process.value(x[:, : process.relevant])[:, None]
        return value + WIGGLE * jnp.sin(x @ lines)

    return Case(jc.Sample(x, np.arange(n) % 2 == 0), jc.Function(surface))


def collect(sizes: tuple, units: int, limit: float) -> Iterator[pd.DataFrame]:
    """One line a process, size and engine; so far.

    A formulation that proved nothing within the limit is not tried on more units and covariates.
    """
    lines: list[dict[str, Any]] = []
    beyond: set[tuple] = set()
    for process, (n, p) in product(PROCESSES, sizes):
        case, about = draw(process, n, p), dict(process=process.name, n=n, p=p)
        asked = min(units, HARD_UNITS) if n * p >= HARD else units
        lines += [dict(about, **found) for found in _device(case, asked, limit)]
        for name in FORMULATIONS:
            smaller = [(process.name, name, m, k) for m, k in sizes if m <= n and k <= p]
            if beyond.intersection(smaller):
                lines.append(dict(about, engine=name, units=0, objectives=[]))
                continue
            found = _programs(case, name, min(units, FEW_UNITS), limit)
            if found["share proven"] == 0:
                beyond.add((process.name, name, n, p))
            lines.append(dict(about, **found))
        print(f"  {process.name}, {n} units, p {p}", flush=True)
        yield pd.DataFrame(lines)


def table(found: pd.DataFrame) -> pd.DataFrame:
    """One line a case: seconds, shares proven, and by how much the search is faster and better.

    A ratio with a formulation that did not prove everything counts its limit: it is a lower bound.
    """
    lines = []
    for about, rows in found.groupby(["process", "n", "p"], sort=False):
        by = rows.set_index("engine")
        seconds, proven = by["s a unit, mean"], by["share proven"]
        ladder, device = by.loc["ladder, HiGHS"], by.loc["device"]
        names = [name for name in (*FORMULATIONS, "device", "auto") if name in by.index]
        lines.append(
            dict(zip(("process", "n", "p"), about))
            | {f"s, {name}": seconds[name] for name in names}
            | {"s, GLPK": GLPK_SECONDS.get(about[1:], np.nan)}
            | {f"proven, {name}": proven[name] for name in names}
            | {
                "ladder / device": ladder["s a unit, mean"] / device["s a unit, mean"],
                "ladder's objective above": _above(ladder, by.loc["auto"]),
                "largest gap, auto": by.loc["auto", "gap, largest"],
                "nodes, median": device["nodes, median"],
            }
        )
    return pd.DataFrame(lines)


def _device(case: Case, units: int, limit: float) -> Iterator[dict[str, Any]]:
    """The search alone, and with integer programs for what is left; a first call compiles.

    Where the search left nothing, "auto" is the search, and is not run again.
    """
    rows = np.flatnonzero(case.sample.t)[:units]
    asked: dict[str, Any] = dict(surface=case.surface, query=rows)
    jc.match(case.sample, jc.ExactAHB(engine="device", max_nodes=1), **asked)
    found: dict[str, Any] = {}
    for engine in ("device", "auto"):
        if found.get("share proven") == 1:
            yield found | dict(engine=engine)
            continue
        method = jc.ExactAHB(engine=engine, time_limit=limit)
        began = time.perf_counter()
        boxes = jc.match(case.sample, method, **asked)
        seconds = np.full(rows.size, (time.perf_counter() - began) / rows.size)
        nodes, totals = boxes.proof.nodes, boxes.objective
        found = _line(engine, seconds, boxes.proven, nodes, boxes.gap, totals)
        yield found


def _programs(case: Case, name: str, units: int, limit: float) -> dict[str, Any]:
    """Units' programs, one after the other on one thread, up to the first that is not solved.

    Building them counts.
    """
    seconds, solutions, totals = [], [], []
    with jc.solvers.SolverPool(1) as pool:
        for each in _arounds(case, units):
            began = time.perf_counter()
            program, decode = FORMULATIONS[name](each)
            [solution] = pool.solve([program], time_limit=limit)
            seconds.append(time.perf_counter() - began)
            solutions.append(solution)
            values = solution.values
            totals.append(np.nan if values is None else objective(each, decode(values)))
            if solution.ended != "optimal":
                break
    proven = np.array([solution.ended == "optimal" for solution in solutions])
    gaps = np.array(totals) - [solution.bound for solution in solutions]
    nodes = np.array([solution.nodes for solution in solutions])
    return _line(name, np.array(seconds), proven, nodes, gaps, np.array(totals))


def _arounds(case: Case, units: int) -> Iterator[PlacesAround]:
    """What the search sees of the first treated units."""
    method, fold = jc.ExactAHB(), jnp.zeros(case.sample.n, int)
    rows = np.flatnonzero(case.sample.t)[:units]
    task = make_task(case.sample, fold, "att", rows)
    surface = as_surface(case.surface)
    found = FoundBoxes(task, foretell(case.sample.plain(), fold, task.query, [surface]))
    quest: Quest = method.quest(0, surface, found)
    yield from (places_around(quest, i) for i in range(units))


def _above(one: pd.Series, other: pd.Series) -> float:
    """By how much one engine's objectives lie above another's, on the units of both, at most."""
    pairs = zip(one["objectives"], other["objectives"])
    return max((a - b for a, b in pairs), default=np.nan)


def _line(
    engine: str,
    seconds: np.ndarray,
    proven: np.ndarray,
    nodes: np.ndarray,
    gaps: np.ndarray,
    totals: np.ndarray,
) -> dict[str, Any]:
    return {
        "engine": engine,
        "units": seconds.size,
        "s a unit, mean": float(seconds.mean()),
        "s a unit, median": float(np.median(seconds)),
        "share proven": float(proven.mean()),
        "nodes, median": float(np.median(nodes)),
        "gap, median": float(np.median(gaps)),
        "gap, largest": float(gaps.max()),
        "objectives": totals[:FEW_UNITS].tolist(),
    }
