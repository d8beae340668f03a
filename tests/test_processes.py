"""Spawned processes and threads give what the same calls give one after another."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import draw_sample

import jcausal as jc

METHODS = {
    "boxes": jc.AHB(outcome=jc.Ridge()),
    "trees": jc.AHB(outcome=jc.BoostedTrees()),
    "leaves": jc.M5Model(jc.M5Tree(min_controls=8)),
}


def estimate(method, seed=0):
    return partial(jc.estimate, method=METHODS[method], key=seed)


def same(one, other):
    """Equal in every bit."""
    assert type(one) is type(other) and str(one) == str(other)
    for name in ("ite", "totals", "sizes", "matched", "contributions", "r2"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert float(one.att) == float(other.att) and np.isfinite(float(one.att))
    pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())


@pytest.fixture(scope="module")
def sample():
    ids = [f"u{i}" for i in range(60)]
    return draw_sample(0, n=60, category=3, id=ids, names=["age", "pay ($)", "home", "town"])


@pytest.fixture(scope="module")
def panel():
    d = np.zeros((12, 10))
    d[3, 7:] = 1
    return jc.Panel(np.random.default_rng(0).normal(size=(12, 10)), d)


@pytest.mark.extended
def test_a_spawned_process_gives_the_same(sample, panel, repository_on_path):
    """Samples and panels go there, effects, completions and intervals come back."""
    spawn = multiprocessing.get_context("spawn")
    complete = partial(jc.complete, completer=jc.TwoWayFixedEffects())
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        there = {name: pool.submit(estimate(name), sample) for name in METHODS}
        filled = pool.submit(complete, panel)
        here = {name: estimate(name)(sample) for name in METHODS}
        for name, effects in here.items():
            same(there[name].result(timeout=300), effects)
        found = filled.result(timeout=300)
        effects = here["boxes"]
        for method in (jc.AbadieImbens(), jc.ConservativeNormal()):
            far = pool.submit(jc.interval, effects, method).result(timeout=300)
            near = jc.interval(effects, method)
            for field in ("estimate", "lower", "upper"):
                np.testing.assert_array_equal(getattr(far, field), getattr(near, field))
    np.testing.assert_array_equal(found.effect, complete(panel).effect)


@pytest.mark.extended
@pytest.mark.parametrize("name", METHODS)
def test_effects_survive_a_pickle(sample, name):
    effects = estimate(name)(sample)
    again = pickle.loads(pickle.dumps(effects))
    same(again, effects)
    assert again.sample.schema == sample.schema
    assert again.sample.id.tolist() == sample.id.tolist()
    pd.testing.assert_frame_equal(jc.balance(again.sample, again), jc.balance(sample, effects))


@pytest.mark.extended
def test_threads_give_the_same_as_one_after_another(sample):
    """Eight estimates on four threads: three methods and other keys, of one sample at once."""
    asked = [(name, seed) for seed in range(3) for name in METHODS][:8]
    alone = [estimate(name, seed)(sample) for name, seed in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda ask: estimate(*ask)(sample), asked))
    for one, other in zip(together, alone, strict=True):
        same(one, other)
    assert len({float(effects.att) for effects in alone}) > 3
