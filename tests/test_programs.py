"""How many programs an analysis compiles: few, and none for a second sample of near size."""

import os
import subprocess
import sys

import pytest

SCRIPT = r"""
import logging
import re
import sys

import jax
import numpy as np

import jcausal as jc

names = []


class Seen(logging.Handler):
    def emit(self, record):
        found = re.match(r"Finished XLA compilation of jit\((.+)\) in ", record.getMessage())
        if found:
            names.append(found[1])


for name in ("jax", "jax._src.dispatch", "jax._src.interpreters.pxla"):
    logging.getLogger(name).propagate = False
logging.getLogger("jax._src.dispatch").addHandler(Seen())
jax.config.update("jax_log_compiles", True)


def told(what):
    print(what, *names)
    names.clear()


"""
ESTIMATE = r"""
def whole(sample, key):
    effects = jc.estimate(sample, METHOD, key=key, estimand=ESTIMAND)
    jc.interval(effects, jc.INTERVAL, key=key)
    effects.summary()
    jc.balance(sample, effects)
    effects.to_frame()


sample = jc.datasets.lalonde("experiment")
told("reading")
whole(sample, 0)
told("first")
whole(sample.take(np.arange(3, sample.n)), 1)
told("near")
"""
PANEL = r"""
panel = jc.datasets.prop99()
told("reading")
for time in ("first", "again"):
    found = jc.complete(panel, METHOD, key=0)
    found.summary()
    found.event_study()
    found.to_frame()
    told(time)
"""
SWITCHING = r"""
rng = np.random.default_rng(0)
panel = jc.Panel(rng.normal(size=(40, 30)), rng.uniform(size=(40, 30)) < 0.4)
told("reading")
for time in ("first", "again"):
    found = jc.complete(panel, METHOD, key=0, throw=False)
    found.summary()
    found.unit_frame()
    found.to_frame()
    told(time)
"""
ALLOCATION = r"""
rng = np.random.default_rng(0)
for time, groups in (("first", 20), ("near", 22)):
    estimates = jc.GroupEstimates(rng.uniform(0, 1, groups), std_error=np.full(groups, 0.05))
    jc.allocate(estimates, METHOD).summary()
    told(time)
"""
OF_JAX = {  # made by keys, or no more than a copy
    *("_threefry_seed", "_threefry_fold_in", "_threefry_split"),
    *("convert_element_type", "stage"),
}


def compiled(method: str, estimand: str, interval: str) -> dict[str, list[str]]:
    """The names of the programs of a process of its own, by what they were compiled for."""
    script = ESTIMATE.replace("METHOD", method).replace("ESTIMAND", repr(estimand))
    return names_of(script.replace("INTERVAL", interval))


def names_of(script: str) -> dict[str, list[str]]:
    """The names that a script tells, without those of JAX."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0]: [name for name in row[1:] if name not in OF_JAX] for row in rows}


@pytest.mark.extended
@pytest.mark.parametrize(
    ("method", "estimand", "interval", "programs"),
    [
        ("jc.AHB()", "att", "AbadieImbens()", range(5, 13)),
        ("jc.AHB(outcome=jc.Ridge())", "ate", "AbadieImbens()", range(5, 13)),
        ("jc.AHB(outcome=jc.Ridge())", "att", "Bootstrap(draws=100)", range(5, 13)),
        ("jc.M5Model()", "att", "AbadieImbens()", [3]),
        ("jc.M5Model()", "att", "Bootstrap(draws=100)", range(3, 7)),
        ("jc.M5Match()", "att", "AbadieImbens()", [6]),
    ],
)
def test_an_analysis_is_a_few_programs(method, estimand, interval, programs):
    found = compiled(method, estimand, interval)
    assert not found["reading"]
    assert len(found["first"]) in programs, found["first"]  # fewer: the log's words have changed
    assert not found["near"], found["near"]


@pytest.mark.extended
@pytest.mark.parametrize(
    ("script", "method", "programs"),
    [
        (PANEL, "jc.TwoWayFixedEffects()", range(1, 2)),
        (PANEL, "jc.SyntheticControl()", range(1, 2)),
        (PANEL, "jc.SyntheticDiD()", range(1, 2)),
        (PANEL, "jc.MCNNM()", range(5, 13)),
        (SWITCHING, "jc.RowScaledSpectral()", range(1, 2)),
        (SWITCHING, "jc.USVT()", range(1, 2)),
        (SWITCHING, "jc.DoublyRobustNeighbors()", range(1, 2)),
        (SWITCHING, "jc.CrossFittedDR()", range(1, 3)),
        (SWITCHING, "jc.UnitMeans()", range(1, 2)),
        (SWITCHING, "jc.SyntheticNearestNeighbors()", range(0, 1)),
        (ALLOCATION, "jc.TopK(budget=3)", range(0, 1)),
        (ALLOCATION, "jc.Knapsack(budget=3.0, cost=np.ones(groups))", range(0, 1)),
    ],
)
def test_panels_and_allocations_are_a_few_programs(script, method, programs):
    found = names_of(script.replace("METHOD", method))
    assert not found.get("reading")
    assert len(found["first"]) in programs, found["first"]
    later = found["near"] if "near" in found else found["again"]
    assert not later, later
