"""Every method that `bench methods` asks, at its defaults, and where it is asked."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

import jcausal as jc
from bench._real_data import Absent
from jcausal.simulate import Simulated

Method = jc.matching.Matcher | jc.effects.Estimator


class Entry(NamedTuple):
    """A method as the bench needs it.

    `make`: the method, of the data where it needs their truth; `own`: jcausal's own; `paper`: its
    column in the AHB paper's tables; `draws`: another key gives another answer; `rows`, `columns`:
    the largest samples that it answers within minutes; `extra`: what pip has to bring.
    """

    make: Callable[[Simulated | None], Method]
    own: bool = False
    paper: str = ""
    draws: bool = True
    rows: int = 50_000
    columns: int = 1_000
    extra: str = ""


MANY = 2_000_000  # rows: no end is known
FIXED = dict(draws=False)


def _best_counterfactual(data: Simulated | None) -> Method:
    if data is None:
        raise Absent("asks for the true outcomes")
    truth = np.stack([np.asarray(data.y0), np.asarray(data.y1)], axis=1)
    return jc.simulate.BestCounterfactual(truth)


ROSTER: dict[str, Entry] = {
    "AHB": Entry(lambda _: jc.AHB(), own=True, rows=MANY),
    "Fast AHB": Entry(lambda _: jc.FastAHB(), own=True, paper="fast", rows=5_000, columns=60),
    "Exact AHB": Entry(lambda _: jc.ExactAHB(), own=True, paper="mip", rows=1_000, columns=4),
    "M5Model": Entry(lambda _: jc.M5Model(), own=True, draws=False, rows=MANY),  # type: ignore[call-arg]
    "M5Match": Entry(lambda _: jc.M5Match(), own=True, draws=False, rows=300_000),  # type: ignore[call-arg]
    "best counterfactual": Entry(_best_counterfactual, paper="best CF", draws=False),
    "CEM": Entry(lambda _: jc.CEM(), paper="CEM", draws=False, rows=MANY),
    "subclassification": Entry(lambda _: jc.Subclassification(), **FIXED, rows=MANY),
    "1-NN Mahalanobis": Entry(lambda _: jc.NearestNeighbors(), paper="Mahalanobis", **FIXED),
    "1-NN propensity": Entry(
        lambda _: jc.NearestNeighbors(metric="propensity"), paper="propensity", **FIXED, rows=MANY
    ),
    "1-NN prognostic": Entry(lambda _: jc.PrognosticNeighbors(), paper="prognostic"),
    "optimal matching": Entry(lambda _: jc.OptimalMatching(), **FIXED, rows=20_000),
    "full matching": Entry(lambda _: jc.FullMatching(), paper="full", **FIXED),
    "cardinality matching": Entry(lambda _: jc.CardinalityMatching(), **FIXED, rows=5_000),
    "genetic matching": Entry(lambda _: jc.GeneticMatching(), paper="genetic", rows=3_000),
    "FLAME": Entry(lambda _: jc.FLAME()),
    "DAME": Entry(lambda _: jc.DAME(), rows=5_000, columns=20),
    "MALTS": Entry(lambda _: jc.MALTS(), rows=20_000),
    "BOSS": Entry(lambda _: jc.BOSS(), rows=20_000),
    "IPTW": Entry(lambda _: jc.IPTW(), **FIXED, rows=MANY),
    "overlap weights": Entry(lambda _: jc.OverlapWeights(), **FIXED, rows=MANY),
    "entropy balancing": Entry(lambda _: jc.EntropyBalance(), **FIXED, rows=MANY),
    "CBPS": Entry(lambda _: jc.CBPS(), **FIXED, rows=MANY),
    "AIPW": Entry(lambda _: jc.AIPW(), rows=MANY),
    "TMLE": Entry(lambda _: jc.TMLE(), rows=MANY),
    "S-learner": Entry(lambda _: jc.SLearner(), rows=MANY),
    "T-learner": Entry(lambda _: jc.TLearner(), rows=MANY),
    "X-learner": Entry(lambda _: jc.XLearner(), rows=MANY),
    "R-learner": Entry(lambda _: jc.RLearner(), rows=MANY),
    "DR-learner": Entry(lambda _: jc.DRLearner(), rows=MANY),
    "DML": Entry(lambda _: jc.DML(), rows=MANY),
    "BART": Entry(lambda _: jc.BARTEffect(), paper="bart", rows=25_000),
    "BCF": Entry(lambda _: jc.BCF(), rows=25_000),
    "forest": Entry(lambda _: jc.Forest(), rows=200_000, extra="sklearn"),
    "causal forest": Entry(lambda _: jc.CausalForest(), rows=150_000, extra="econml"),
}


def method_of(name: str, data: Simulated | None, n: int, p: int) -> Method:
    """The method at its defaults.

    **Raises:** `Absent` with the reason why it is not asked here.
    """
    entry = ROSTER[name]
    if n > entry.rows or p > entry.columns:
        raise Absent(f"takes minutes with {n:,} rows of {p} covariates")
    if entry.extra and find_spec(entry.extra) is None:
        raise Absent(f"{entry.extra} is not installed")
    return entry.make(data)
