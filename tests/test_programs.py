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
OF_JAX = {"_threefry_seed", "_threefry_fold_in", "convert_element_type", "stage"}  # made by keys


def compiled(method: str, estimand: str, interval: str) -> dict[str, list[str]]:
    """The names of the programs of a process of its own, by what they were compiled for."""
    script = SCRIPT.replace("METHOD", method).replace("ESTIMAND", repr(estimand))
    script = script.replace("INTERVAL", interval)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=kept, capture_output=True, text=True, check=False
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
